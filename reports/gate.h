/*
 * The gate: what fails in one run of a campaign and did not fail in an earlier one.
 *
 * Results are told apart by stage, subject, format and name.  Leaves out: running the campaign
 * (harness/cli/cli_gate.c), and judging: what is a failure was decided when the result was stored.
 */
#ifndef BLKREF_REPORTS_GATE_H
#define BLKREF_REPORTS_GATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "ref/base/error.h"
#include "ref/base/strbuf.h"

enum gate_class {
    GATE_NEW,     /* fails now; passed, was explained, was an error or was not there before */
    GATE_KNOWN,   /* fails in both */
    GATE_GONE,    /* failed before; now it passes, is explained, or is met no more */
    GATE_UNKNOWN, /* failed before; its stage and subject did not run now, or it was skipped */
    GATE_ERROR,   /* the subject's own error now */
    GATE_MISSING, /* a stage and subject that had results before, and has none now */
    GATE_CLASSES,
};

struct gate_entry {
    enum gate_class class;
    char *stage, *subject, *format, *name; /* format and name "" of GATE_MISSING */
    char *detail, *repro;                  /* of the run it failed in; "" when there is none */
};

struct gate {
    struct gate_entry *entries; /* in the order of their keys, the missing ones last */
    size_t n, cap;
    size_t count[GATE_CLASSES];
    size_t compared; /* results of the current run */
};

struct gate_options {
    const char *baseline, *current; /* files of result stores */
    int64_t baseline_run;           /* 0: the newest of the file */
    bool allow_different;           /* of another seed, count or choice of formats */
};

/*
 * The newest run of the store file at path: its number, and its fact `key` in *value (mem_free();
 * NULL when there is none, key NULL: not asked).  < 0 with err: no store, or no run in it.
 */
int64_t gate_run_of(const char *path, const char *key, char **value, struct error **err);
/*
 * Compares the newest run of o->current with the baseline.  0; -EINVAL when the runs cannot be
 * compared (different seeds; the current run did not end; both are the same run), -EIO when a store
 * cannot be read, with err.  *out is to be freed in any case.
 */
int gate_compare(const struct gate_options *o, struct gate *out, struct error **err);
void gate_free(struct gate *g);
/* What a terminal shows: each entry but the known ones, then one line of totals. */
void gate_text(const struct gate *g, struct strbuf *out);
/* {"new": [{"stage", "subject", "format", "name", "detail", "again"}], "known", "gone", "unknown",
 * "subject-errors", "missing", "compared": N} */
void gate_json(const struct gate *g, struct strbuf *out);

#endif
