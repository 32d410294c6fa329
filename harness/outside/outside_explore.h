/*
 * The crash and fault explorers on an unmodified QEMU.
 *
 * Models: the same walk over crash states as on the reference (fault/crash.h), over a captured log;
 * QEMU judges what is left, in several processes at once.  Each state belongs to one of them, by
 * its number, so findings do not depend on how fast they are.  Faults: the k-th request of each
 * kind fails, k rising until none fires.
 */
#ifndef BLKREF_HARNESS_OUTSIDE_EXPLORE_H
#define BLKREF_HARNESS_OUTSIDE_EXPLORE_H

#include "harness/explore/crash_explore.h"
#include "harness/explore/fault_explore.h"
#include "harness/outside/outside.h"

struct outside_options {
    struct crash_options crash;
    unsigned workers; /* processes; results with findings depend on it when max_findings cuts */
    unsigned continue_every; /* every so manieth state is used further (OUTSIDE_USE); 0: none */
    bool reference;          /* the reference judges qcow2 as well */
    bool nbd;                /* as in struct capture_how */
    bool drop_flushes;       /* as in struct capture_how */
};
extern const struct outside_options outside_options_default;

struct outside_counts {
    struct crash_counts crash; /* distinct: states judged */
    uint64_t looked;           /* contents that QEMU was shown */
};

/*
 * Judges the undisturbed end and every crash state of a capture; with o->crash.only just that
 * state. counts are added to.  0, or -errno with err when judging could not go on.
 */
int outside_crash(struct outside *x, const struct capture *c, const struct outside_options *o,
                  crash_found *found, void *opaque, struct outside_counts *counts,
                  struct error **err);
/* The same for a program: captures it first.  *text (may be NULL): the capture when anything was
 * found, mem_free(). */
int outside_crash_program(struct outside *x, const struct program *p,
                          const struct outside_options *o, crash_found *found, void *opaque,
                          struct outside_counts *counts, char **text, struct error **err);
/* Makes *p smaller as long as what is found first is found again; returns the number of programs
 * tried. */
unsigned outside_shrink(struct outside *x, struct program *p, const struct outside_options *o,
                        unsigned max_attempts);
/* Writes the disks of one crash state into the folder, under their names. */
int outside_dump(const struct capture *c, const struct crash_options *o, const char *dir,
                 struct error **err);
/* Reproducer: the program, the state, and the capture; mem_free(). */
char *outside_repro(const struct program *p, const struct outside_options *o, const char *id,
                    const char *capture);

struct outside_fault_counts {
    uint64_t runs, fired, findings;
};
/* Reproducer of a fault's finding, without the capture: the state, then what fault_repro() says. */
char *outside_fault_repro(const struct program *p, const struct fault_finding *f);
/* c: the run that left it. */
typedef void outside_fault_found(void *opaque, const struct fault_finding *f,
                                 const struct capture *c);
/*
 * Each request of each kind goes wrong in each of the ways of o->modes, one a run (hung ones are
 * left out: QEMU waits for them for ever); or (o->only) just that plan.  Of silent ways it is only
 * demanded that QEMU lives.  A finding's state is NULL, or the id of a cut in the log of that run.
 */
int outside_faults(struct outside *x, const struct program *p, const struct fault_options *o,
                   outside_fault_found *found, void *opaque, struct outside_fault_counts *counts,
                   struct error **err);

#endif
