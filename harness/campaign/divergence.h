/*
 * The divergence list: known differences of a subject, each a predicate that a machine matches.
 *
 * The file is blocks of "key: value" lines, parted by empty lines; '#' starts a comment.  id, why
 * and repro are text; stage, subject, version, format, detail and program are globs (fnmatch, with
 * @(A|B) for alternatives) that must all match; those not given match anything.  `why` names the
 * clause or bug.  repro names a reproducer beside the list: an entry that a full campaign did not
 * meet is run from there, and fails when it no longer differs.
 */
#ifndef BLKREF_HARNESS_DIVERGENCE_H
#define BLKREF_HARNESS_DIVERGENCE_H

#include <stddef.h>
#include "ref/base/error.h"

struct divergence {
    char *id, *why, *repro;
    char *stage, *subject, *version, *format, *detail, *program;
    unsigned seen;
};

struct divergences {
    struct divergence *entries;
    size_t n;
    char *dir; /* of the file, for repro */
};

struct difference_facts {
    const char *stage, *subject, *version, *format, *detail, *program;
};

/* NULL with err; a file that is not there is an empty list. */
struct divergences *divergences_load(const char *path, struct error **err);
struct divergences *divergences_parse(const char *text, struct error **err);
void divergences_free(struct divergences *d);
/* The first entry that matches, its `seen` counted; or NULL. */
const struct divergence *divergences_match(struct divergences *d, const struct difference_facts *f);

#endif
