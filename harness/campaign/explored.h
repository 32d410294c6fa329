/*
 * One finding of an explorer, made small and drawn: what the stages crash, faults and schedules
 * share.
 *
 * Models: a finding is a program, and where it fails: the schedule, the faults, the power cut.
 * First the program is made smaller, as long as some schedule, some fault and some cut of it fails
 * in the same class (failure_class.h); then the faults of it (fewer, once, earlier); then the
 * schedule (fewer preemptions).  Leaves out: how an explorer walks, which the stage knows.
 */
#ifndef BLKREF_HARNESS_EXPLORED_H
#define BLKREF_HARNESS_EXPLORED_H

#include "harness/campaign/campaign.h"
#include "harness/oracle/failure_class.h"
#include "harness/sandbox/sandbox.h"

/* The texts are its own; NULL where it has none of that. */
struct explored {
    char *schedule; /* id (schedule_explore.h) */
    char *fault;    /* plan (verdict.h) */
    char *state;    /* id of a crash state (crash.h) */
    char *why;
    bool died; /* with the process that ran it: not to be run in this one */
};
void explored_set(struct explored *e, const char *schedule, const char *fault, const char *state,
                  const char *why);
void explored_free(struct explored *e);

/*
 * Explores p up to the first finding that counts (alike: NULL, all do); true with one, in *first.
 * only: not NULL: just its schedule and fault, with every cut.
 */
typedef bool explore_program(void *opaque, const struct program *p, const struct explored *only,
                             const struct failure *alike, struct explored *first);

/* Makes *p and its finding *f smaller; returns the number of attempts. */
unsigned explored_shrink(explore_program *explore, void *opaque, struct program *p,
                         struct explored *f);
/* The same within a campaign: not in every stage without bound, and not when one failure is all
 * that is wanted. */
void explored_shrink_in(struct campaign *c, explore_program *explore, void *opaque,
                        struct program *p, struct explored *f);
/* `repro` (mem_free()d) with the finding's time line behind it; mem_free(). */
char *explored_draw(struct sandbox *sb, const struct program *p, const struct explored *f,
                    char *repro);

#endif
