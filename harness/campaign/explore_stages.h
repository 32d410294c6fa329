/*
 * What the stages crash, faults and fuzz, and their subcommands, share.
 */
#ifndef BLKREF_HARNESS_EXPLORE_STAGES_H
#define BLKREF_HARNESS_EXPLORE_STAGES_H

#include "harness/campaign/campaign.h"
#include "harness/explore/crash_explore.h"
#include "harness/explore/fault_explore.h"
#include "harness/explore/schedule_explore.h"

/* A subject that runs in this process has a profile's name; NULL for the others. */
const struct profile *subject_profile(const struct subject *s);
const struct profile *profile_named(const char *name); /* the reference when unknown */
/* One line: "qcow2 cluster_size=4k: write 0 4096 1; flush [ID]"; mem_free(). */
char *program_title(const struct program *p, const char *id);

struct first_finding {
    char *why;
};
void first_crash(void *opaque, const struct crash_finding *f);
void first_fault(void *opaque, const struct fault_finding *f);

/* Reproducers again: 1 fails again (err says how), 0 passes, < 0 cannot run. */
int repro_crash(struct campaign *c, const char *subject, const char *text, struct error **err);
int repro_qemu_crash(struct campaign *c, const char *subject, const char *text, struct error **err);
int repro_faults(struct campaign *c, const char *subject, const char *text, struct error **err);
int repro_schedules(struct campaign *c, const char *subject, const char *text, struct error **err);
int repro_sequences(struct campaign *c, const char *subject, const char *text, struct error **err);
int repro_probing(struct campaign *c, const char *subject, const char *text, struct error **err);
int repro_fuzz(struct campaign *c, const char *subject, const char *text, struct error **err);

#endif
