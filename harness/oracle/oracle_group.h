/*
 * The oracle of operations that run beside each other: linearizability, sector by sector.
 *
 * Models: when each operation began and ended.  One that ended before another began comes before
 * it; any other order is lawful.  So a sector may hold what an operation put there unless another
 * one, which succeeded, covers the sector and began after that one had ended; and what was there
 * before the group unless one that succeeded covers it.  A read is judged by what had begun when it
 * ended and what had ended when it began, a flush makes durable what had ended when it began.
 * Discards may be ignored, so they never take anything away.  Leaves out: order between sectors (a
 * snapshot may see one write and miss an earlier one elsewhere).
 */
#ifndef BLKREF_HARNESS_ORACLE_GROUP_H
#define BLKREF_HARNESS_ORACLE_GROUP_H

#include "harness/oracle/oracle.h"

struct oracle_member {
    const struct op *op;
    uint64_t begin, end; /* stamps; end 0: not yet */
    int status;
    bool durable;
    uint8_t *data; /* what a read returned, or NULL */
};

struct oracle_group {
    struct oracle *o;
    struct oracle base; /* before the group */
    struct oracle_member m[OP_GROUP_MAX];
    unsigned n;
    uint64_t clock;
    bool flushed;
};

void oracle_group_init(struct oracle_group *g, struct oracle *o);
void oracle_group_free(struct oracle_group *g);
/* As oracle_begin(); its number. */
unsigned oracle_group_begin(struct oracle_group *g, const struct op *op);
/* It came back; data: what a read that succeeded gave (taken over), else NULL. */
void oracle_group_end(struct oracle_group *g, unsigned i, int status, uint8_t *data);
/*
 * All have ended: the oracle goes on from here.  False when a read, or a status, was not lawful:
 * *why says so.  faulty: errors are lawful, for the disk had faults.
 */
bool oracle_group_judge(struct oracle_group *g, bool faulty, struct strbuf *why);

#endif
