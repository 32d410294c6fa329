/*
 * The crash explorer: every state that a power cut may leave of one program, judged.
 */
#ifndef BLKREF_HARNESS_CRASH_EXPLORE_H
#define BLKREF_HARNESS_CRASH_EXPLORE_H

#include "harness/oracle/failure_class.h"
#include "harness/sandbox/sandbox.h"

struct crash_finding {
    const char *id; /* of the crash state (crash.h), "end" for the undisturbed end, "run" for the
                       run itself */
    const char *why;
    const char *description; /* the state for a human; may be "" */
    const char *timeline;    /* lines of timeline.h, of a run that cannot be repeated; else NULL */
};
typedef void crash_found(void *opaque, const struct crash_finding *f);

struct crash_options {
    struct crash_bounds bounds;
    unsigned spec_every;   /* every so manieth state is judged by the spec checker too; 0: never */
    unsigned repair_every; /* every so manieth state is opened for writing too; 0: never */
    unsigned nested_every; /* every so manieth state: power is cut again while it is opened and
                              repaired; 0: never */
    unsigned max_findings; /* of one program; 0: no limit */
    const char *only;      /* just this state, or NULL; "A/B": B of the repair of A */
    const struct failure *alike; /* just findings of that class; NULL: all */
};
extern const struct crash_options crash_options_default;

#define CRASH_EPOCHS 32

struct crash_counts {
    uint64_t cuts, states, distinct, findings;
    uint64_t nested;  /* distinct states of repairs that were cut */
    uint64_t cut_off; /* programs whose walk ended at a bound of states */
    /* Of the distinct ones, those whose cut lies behind so many completed flushes; the last: as
     * many or more. */
    uint64_t epoch[CRASH_EPOCHS];
};

/* counts are added to.  Returns 0, or -errno with err when the program could not be run at all. */
int crash_explore(struct sandbox *sb, const struct program *p, const struct crash_options *o,
                  crash_found *found, void *opaque, struct crash_counts *counts,
                  struct error **err);
/* Reproducer text: the program and, as a comment that `blkref repro` reads, the state.  mem_free().
 */
char *crash_repro(const struct program *p, const struct crash_options *o, const char *id);

#endif
