/*
 * One program on the oracle and on a subject, in lockstep, with the shadow beside both.
 *
 * After every operation statuses and guest bytes must agree; maps where metadata is settled (after
 * flush, reopen and what closes the image); check and info at the end.  The first difference ends
 * it, but for one of maps: that is told when nothing else is found.  Leaves out: what a difference
 * means (divergence.h).
 */
#ifndef BLKREF_HARNESS_COMPARE_H
#define BLKREF_HARNESS_COMPARE_H

#include "harness/subject/shadow.h"
#include "harness/subject/subject.h"

enum difference {
    DIFF_NONE,
    DIFF_STATUS,
    DIFF_BYTES,
    DIFF_MAP,
    DIFF_CHECK,
    DIFF_INFO,
    DIFF_ORACLE,
    DIFF_SUBJECT
};
extern const char *const difference_names[];

struct finding {
    enum difference kind; /* ORACLE: the oracle itself broke its word; SUBJECT: no result */
    int op;               /* index; -1 create, n_ops the end */
    char *detail;         /* one line, "KIND at N (OPERATION): ..." */
};
void finding_free(struct finding *f);

/* subject NULL: the oracle against the shadow alone.  True when there is a finding. */
bool compare_run(struct subject *oracle, struct subject *subject, const struct program *p,
                 struct finding *out);

/* The parts, for stages that drive subjects themselves.  Each returns true and fills out when there
 * is a finding. */
struct compare {
    struct subject *oracle, *subject; /* subject may be NULL */
    const struct program *p;
    struct shadow shadow;
    struct finding *out;
    struct finding map; /* the first map that differed, while nothing else has */
    int at;             /* current operation */
    bool created;       /* the image exists on both */
    bool committed;     /* a commit was among the operations */
    /* Places where a cluster was zeroed in part: whether it became a zero cluster is a choice. */
    struct rounded {
        int64_t offset, bytes; /* whole clusters */
    } * rounded;
    size_t n_rounded;
};
/* Create, all operations, and the looks at the end; both stay open, for compare_end(). */
bool compare_program(struct compare *c);
void compare_end(struct compare *c);
bool compare_apply(struct compare *c, const struct op *op);
bool compare_bytes(struct compare *c);
bool compare_maps(struct compare *c);
bool compare_checks(struct compare *c);
bool compare_infos(struct compare *c);

#endif
