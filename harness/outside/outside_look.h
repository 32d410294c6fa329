/*
 * Judging a state of an image by an unmodified QEMU: its own check, and the guest's bytes.
 *
 * Models: the state is written to files, qemu-img checks it, and what it reads is compared with
 * what the oracle holds lawful.  Images that are repaired when they are opened for writing
 * (a dirty qcow2, qed, vhdx) have that done first when the check complains.  What a format cannot
 * help after a cut (a count that is off) is tolerated as long as using the image further does no
 * harm.  What was seen of a content is kept, so that equal contents are looked at once.  For qcow2
 * the reference judges as well, where the image is one file.  Leaves out: which states there are
 * (fault/crash.h).
 */
#ifndef BLKREF_HARNESS_OUTSIDE_LOOK_H
#define BLKREF_HARNESS_OUTSIDE_LOOK_H

#include "harness/outside/outside.h"

struct outside_eye;

struct outside_eye_stats {
    uint64_t looked; /* contents that QEMU was shown */
    uint64_t again;  /* that were known already */
};

/* programs as in outside_new(); dir: a scratch folder of its own (made when missing). */
struct outside_eye *outside_eye_new(const char *programs, const char *dir, struct error **err);
void outside_eye_free(struct outside_eye *e);

enum outside_look_flag {
    OUTSIDE_CLEAN = 1,     /* no cut happened: leaks are wrong, too */
    OUTSIDE_REFERENCE = 2, /* the reference judges as well (qcow2) */
    /*
     * The state is used further, as each is that the check complains about: a write to its last
     * bytes and a flush must change just these; `check -r all` must leave nothing to complain
     * about, and the guest's bytes as they are.
     */
    OUTSIDE_USE = 4,
    OUTSIDE_NO_USE = 8, /* never, not even after a complaint */
};

/* True when all is lawful; else why says what is not. */
bool outside_look(struct outside_eye *e, const struct capture *c, const struct disk_set *set,
                  const struct oracle *o, enum oracle_view view, unsigned flags,
                  struct strbuf *why);
struct outside_eye_stats outside_eye_stats(const struct outside_eye *e);
/* The image's map as the reference reads it (sandbox_map()); nothing where it is not one file. */
void outside_eye_map(struct outside_eye *e, const struct capture *c, const struct disk_set *set,
                     const char *prefix, struct strbuf *out);

#endif
