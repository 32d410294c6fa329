/*
 * The fault explorer: each label's k-th I/O of a program goes wrong, in every way there is, k
 * rising until the program completes without the fault firing; then pairs of I/Os.
 *
 * What is demanded depends on what kind of fault it was (docs/fault-rules.md, "What a fault may
 * do"): of loud ones (error, short) the operation fails with that error, nothing flushed is lost
 * and check finds what the promise allows; of delayed and harmless ones nothing shows at all; a
 * hung one holds nobody who does not wait for it; of silent ones of guest data only the bytes of
 * that operation may be wrong; of silent ones of metadata only that nothing crashes, hangs or goes
 * on without bound: whether check notices is counted.  Allocations that may fail (those whose size
 * comes from an image) fail in the same way, one after the other.
 */
#ifndef BLKREF_HARNESS_FAULT_EXPLORE_H
#define BLKREF_HARNESS_FAULT_EXPLORE_H

#include "harness/explore/crash_explore.h"

/* A way to go wrong; the columns of results. */
struct fault_mode {
    const char *name; /* "EIO", "EIO+" (from then on) ... */
    enum fault_kind kind;
    int error;
    int64_t arg;
    bool sticky;
};
#define FAULT_MODES     24
#define FAULT_MODES_ALL ((1u << FAULT_MODES) - 1)
extern const struct fault_mode fault_modes[FAULT_MODES];
/* "EIO,lost,torn+" or "all" as a bit set; 0 when a name is unknown. */
unsigned fault_modes_parse(const char *text);
/* Those that a plan of one fault is an example of, once or sticky; 0 for other plans. */
unsigned fault_modes_like(const char *plan);

struct fault_finding {
    const char *fault; /* the plan's text (verdict.h), "none" for the undisturbed run */
    const char *state; /* crash state id when power was cut as well, or NULL */
    const char *why;
    bool died; /* the process that ran it did */
};
typedef void fault_found(void *opaque, const struct fault_finding *f);

struct fault_options {
    unsigned modes;        /* bit set: 1 << index in fault_modes */
    unsigned kmax;         /* 0: no limit */
    unsigned pairs;        /* so many pairs of failing I/Os; more than that there are are all */
    unsigned cuts;         /* so many crash states of each faulted run are judged, too */
    unsigned max_findings; /* of one program; 0: no limit */
    bool apart;            /* in a process of its own: one that dies or never ends is a finding */
    const char *only;      /* just this plan, or NULL */
    const struct failure *alike; /* just findings of that class; NULL: all */
};
extern const struct fault_options fault_options_default;

struct fault_counts {
    uint64_t programs, runs, fired, states, findings;
    uint64_t pairs;                            /* of the runs, with two faults */
    uint64_t cut_off;                          /* programs of which a bound left something out */
    uint64_t silent;                           /* metadata faults that reported success */
    uint64_t noticed;                          /* of them, check or opening tells */
    uint64_t unnoticed;                        /* of them, guest data are wrong and nothing tells */
    uint64_t reached[LABEL_COUNT];             /* I/Os and announced events, undisturbed runs */
    uint64_t failed[LABEL_COUNT][FAULT_MODES]; /* faults that fired */
};
void fault_counts_add(struct fault_counts *to, const struct fault_counts *n);

int fault_explore(struct sandbox *sb, const struct program *p, const struct fault_options *o,
                  fault_found *found, void *opaque, struct fault_counts *counts,
                  struct error **err);
/* "error,label=l1_update state c12": the fault, and the cut where there was one; mem_free(). */
char *fault_finding_id(const struct fault_finding *f);
char *fault_repro(const struct program *p, const struct fault_finding *f);

#endif
