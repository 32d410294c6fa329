/*
 * The schedule explorer: who runs next, at every scheduling point of a program whose operations run
 * beside each other ("||", trace/op.h).
 *
 * Scheduling points are submissions and completions of bottom requests, the moment between a
 * change's submission and its effect, and locks.  The schedules are a tree: at a point the one that
 * runs may go on, or another may run instead (a preemption); where it cannot go on, any other may
 * run.  First all schedules of up to `preemptions` preemptions; then `pct` schedules of
 * probabilistic concurrency testing: random priorities, lowered at `depth` random points.
 *
 * Partial-order reduction: a preemption by somebody is passed over when all that he did later in
 * the schedule without it commutes with the step that is put off (other locks, other ranges, reads
 * of the same).  The schedule that preempts one point later has the same outcome then.  Memory that
 * is touched between points is known by its lock alone: `reduce` off looks at everything.
 *
 * Each schedule is judged by the oracle (oracle_group.h), by check, and by what the image holds
 * after it was closed; a program that hangs is a finding.  Combined: with power cuts of each
 * schedule, and with each label's k-th I/O failing.
 */
#ifndef BLKREF_HARNESS_SCHEDULE_EXPLORE_H
#define BLKREF_HARNESS_SCHEDULE_EXPLORE_H

#include "harness/oracle/failure_class.h"
#include "harness/sandbox/sandbox.h"

struct schedule_finding {
    const char *schedule; /* its id, see below */
    const char *fault;    /* plan (verdict.h), or NULL */
    const char *state;    /* crash state id when power was cut, or NULL */
    const char *why;
};
typedef void schedule_found(void *opaque, const struct schedule_finding *f);

struct schedule_options {
    unsigned preemptions;
    uint64_t max;      /* schedules of one program and fault; 0: no limit */
    unsigned pct;      /* schedules of random priorities beyond */
    unsigned depth;    /* points where a priority is lowered */
    uint64_t seed;     /* of the random ones */
    bool reduce;       /* partial-order reduction */
    bool promised;     /* the state is judged that holds just what was acknowledged as durable */
    unsigned cuts;     /* crash states judged of each schedule besides */
    unsigned fail_max; /* up to so many occurrences of each label fail, each with EIO; 0: none */
    unsigned max_findings;
    /* Told of each schedule that ran to its end; NULL: nobody. */
    void (*ran)(void *opaque, const struct recording *rec);
    const char *only, *fault, *state; /* just this schedule, fault plan, crash state, or NULL */
    const struct failure *alike;      /* just findings of that class; NULL: all */
};
extern const struct schedule_options schedule_options_default;

struct schedule_counts {
    uint64_t schedules, random, skipped, steps, states, faults, findings;
};

/*
 * 0, or -errno with err when the image cannot be made or an id is no good.  A schedule's id lists
 * where it leaves the first choice (the one that runs goes on, else who came first): "N:C,..." for
 * choice C at the N-th point where there was one; "-" when it never does.
 */
int schedule_explore(struct sandbox *sb, const struct program *p, const struct schedule_options *o,
                     schedule_found *found, void *opaque, struct schedule_counts *counts,
                     struct error **err);
char *schedule_repro(const struct program *p, const struct schedule_finding *f);

#endif
