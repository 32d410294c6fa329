/*
 * Running programs on subjects and reporting: what the stages read, write, programs and trace
 * share.
 */
#ifndef BLKREF_HARNESS_STAGE_PROGRAMS_H
#define BLKREF_HARNESS_STAGE_PROGRAMS_H

#include "harness/campaign/campaign.h"
#include "harness/oracle/compare.h"

/* Runs p on a subject beside the oracle (or subject alone when it is the oracle); true with a
 * finding. */
typedef bool program_run(struct campaign *c, struct subject *s, const struct program *p,
                         struct finding *out);

/* Runs, shrinks what fails, reports one result named `name`. */
void program_judge(struct campaign *c, const char *stage, struct subject *s, const char *name,
                   const struct program *p, program_run *run);
/* The same for a reproducer's text: see struct stage. */
int program_repro(struct campaign *c, const char *subject, const char *text, program_run *run,
                  struct error **err);

int programs_repro(struct campaign *c, const char *subject, const char *text, struct error **err);
int read_repro(struct campaign *c, const char *subject, const char *text, struct error **err);
int write_repro(struct campaign *c, const char *subject, const char *text, struct error **err);

#endif
