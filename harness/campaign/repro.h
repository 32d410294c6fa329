/*
 * Reproducers: text files that name stage, subject and the way to one failure.
 *
 * "# blkref repro ID", "# stage STAGE", "# subject SUBJECT", "# detail ...", then what the stage's
 * repro() takes, and last its time line (timeline.h).  The id is made of stage, subject and a hash
 * of what stands before that, so equal failures have equal names.
 */
#ifndef BLKREF_HARNESS_REPRO_H
#define BLKREF_HARNESS_REPRO_H

#include "harness/campaign/campaign.h"

/* The whole file's text; *id (mem_free()) its name. */
char *repro_text(const char *stage, const char *subject, const char *detail, const char *body,
                 char **id);
/* Writes ID.txt into c->repro_dir (made when missing); no-op without one. */
void repro_save(struct campaign *c, const char *id, const char *text);
/* The value behind "# KEY " in the head, or NULL; mem_free(). */
char *repro_head(const char *text, const char *key);
/* Runs text again: 1 fails again (err says how), 0 passes, < 0 cannot run. */
int repro_run(struct campaign *c, const char *text, struct error **err);

#endif
