/*
 * What the fault explorer's files share: walking (fault_explore.c), judging (fault_judge.c), and a
 * process of its own (fault_apart.c).
 */
#ifndef BLKREF_HARNESS_FAULT_EXPLORE_INT_H
#define BLKREF_HARNESS_FAULT_EXPLORE_INT_H

#include "harness/explore/fault_explore.h"

struct faulting {
    struct sandbox *sb;
    const struct program *p;
    const struct fault_options *o;
    const struct disk_set *base;
    fault_found *found;
    void *opaque;
    /* Told before each run, so that who watches knows what it dies of; or NULL. */
    void (*starting)(void *opaque, const char *plan);
    struct fault_counts *counts;
    struct looked looked;
    int *status; /* of each operation, undisturbed */
    unsigned findings;
    bool cut_off;
};

void fault_report(struct faulting *x, const struct fault_plan *plan, const char *state,
                  const char *why);
/* Judges a run in which a fault fired, or (no entries) the undisturbed one. */
void fault_judge(struct faulting *x, struct fault_plan *plan, const struct recording *rec);
bool fault_enough(const struct faulting *x);

/* The walk itself, in this process. */
int fault_walk(struct faulting *x, struct error **err);
/* The same in a child; one that dies or never ends is reported. */
int fault_walk_apart(struct faulting *x, struct error **err);

#endif
