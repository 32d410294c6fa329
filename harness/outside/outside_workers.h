/*
 * Several processes that judge the states of one capture.
 *
 * Models: each state belongs to one of them, by its number, so findings do not depend on how fast
 * they are; they come back in the order of the states.  Leaves out: judging (outside_look.h).
 */
#ifndef BLKREF_HARNESS_OUTSIDE_WORKERS_H
#define BLKREF_HARNESS_OUTSIDE_WORKERS_H

#include "harness/outside/outside_explore.h"
#include "harness/outside/outside_look.h"

#define WORKERS_MAX 16

/* outside_look()'s flags for state number n. */
unsigned outside_flags_of(const struct outside_options *o, uint64_t n);

/*
 * All crash states of the capture, in o->workers processes with scratch folders in dir; with
 * o->crash.max_findings each stops after so many.  counts are added to (but for findings).  0, or
 * -errno with err.  Findings have no time line.
 */
int outside_judge_cuts(struct outside *x, const struct capture *c, const struct outside_options *o,
                       const char *dir, crash_found *found, void *opaque,
                       struct outside_counts *counts, struct error **err);

#endif
