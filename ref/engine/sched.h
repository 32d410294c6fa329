/*
 * Scheduling policies: which ready coroutine runs next, and whether a scheduling point preempts.
 *
 * FIFO never preempts.  SEEDED picks and preempts at random from its seed.  A scripted policy
 * replays a list of choices and reports the alternatives it had: explorers (bounded exhaustive,
 * PCT) are built on it.
 */
#ifndef BLKREF_ENGINE_SCHED_H
#define BLKREF_ENGINE_SCHED_H

#include "ref/engine/world.h"

struct sched_candidate {
    struct co *co;
    unsigned id;               /* creation number in this world */
    const struct point *point; /* where it stands, or NULL for one that just became ready */
};

struct sched_policy {
    /* Index of the candidate to run.  NULL: FIFO (index 0). */
    unsigned (*pick)(struct sched_policy *p, const struct sched_candidate *c, unsigned n);
    /* True when the running coroutine goes to the ready queue at this point. NULL: never. */
    bool (*preempt)(struct sched_policy *p, struct world *w, const struct point *pt);
};

struct sched_seeded {
    struct sched_policy base;
    struct rng rng;
    unsigned preempt_permille;
};
void sched_seeded_init(struct sched_seeded *s, uint64_t seed, unsigned preempt_permille);

#endif
