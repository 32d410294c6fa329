/*
 * The fault explorer: each label's k-th I/O of a program fails, k rising until the program
 * completes without the fault firing.  No crash, no hang, no flushed data lost, check finds only
 * what the promise allows.
 */
#ifndef BLKREF_HARNESS_FAULT_EXPLORE_H
#define BLKREF_HARNESS_FAULT_EXPLORE_H

#include "harness/crash_explore.h"

struct fault_finding {
    const char *fault; /* the plan's text (verdict.h), "none" for the undisturbed run */
    const char *state; /* crash state id when power was cut as well, or NULL */
    const char *why;
};
typedef void fault_found(void *opaque, const struct fault_finding *f);

struct fault_options {
    const int *errors;     /* positive errnos, ends with 0 */
    unsigned kmax;         /* 0: no limit */
    unsigned cuts;         /* so many crash states of each faulted run are judged, too */
    unsigned max_findings; /* of one program; 0: no limit */
    const char *only;      /* just this plan, or NULL */
};
extern const struct fault_options fault_options_default;

struct fault_counts {
    uint64_t runs, fired, states, findings;
    uint64_t reached[LABEL_COUNT]; /* I/Os and announced events by label, undisturbed runs */
    uint64_t failed[LABEL_COUNT];  /* faults that fired, by label */
};

int fault_explore(struct sandbox *sb, const struct program *p, const struct fault_options *o,
                  fault_found *found, void *opaque, struct fault_counts *counts,
                  struct error **err);
char *fault_repro(const struct program *p, const struct fault_finding *f);

/*
 * Labels that qcow2 announces or sends, but for vmstate's and make_empty's, which no program of
 * ours can ask for; ends with LABEL_COUNT.  A label never reached is a finding of the stage.
 */
extern const enum label fault_labels_qcow2[];
/* The same of vmdk, but for tables and headers that only images of ESX servers let grow. */
extern const enum label fault_labels_vmdk[];

#endif
