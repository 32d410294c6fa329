/*
 * A campaign: all stages on all subjects found, within a budget that is a count.
 */
#ifndef BLKREF_HARNESS_CAMPAIGN_H
#define BLKREF_HARNESS_CAMPAIGN_H

#include "harness/subject/subject.h"
#include "ref/engine/world.h"
#include "reports/store.h"

#define MAX_SUBJECTS 16

struct campaign {
    struct process *process;
    uint64_t seed;
    unsigned
        count; /* size of the budget: programs per subject and the like; stages scale from it */
    const char *dir;   /* scratch directory, exists */
    const char *build; /* build folder, for programs and fuzz targets */
    struct subject *subjects[MAX_SUBJECTS];
    const char *format;    /* --format: only images of this one; NULL: all */
    const char *image;     /* only images of the stages' lists whose line holds this; NULL: all */
    unsigned fuzz_seconds; /* of stage fuzz, over all formats */
    unsigned n_subjects;   /* [0] is the reference profile in process: the oracle */
    struct store *store;
    enum planted planted;
    const char *repro_dir; /* where reproducers go; NULL: nowhere */
    struct divergences *divergences;
    unsigned shrunk; /* programs shrunk in this stage so far */
    double progress_start, progress_last;
    bool progress; /* a terminal is there: show count, rate, time left */
    /* Told of each failure that the divergence list does not explain; NULL: nobody. */
    void (*failed)(struct campaign *c, const char *stage, const char *name, const char *detail);
};

/* Runs to the end even when things fail; < 0 only when the stage itself could not run. */
struct stage {
    const char *name, *what;
    int (*run)(struct campaign *c, struct error **err);
    /* Runs a reproducer's text again: 1 fails again (err says how), 0 passes, < 0 cannot run. */
    int (*repro)(struct campaign *c, const char *subject, const char *text, struct error **err);
};
extern const struct stage campaign_stages[]; /* ends with name == NULL */

const struct stage *stage_find(const char *name);
struct subject *campaign_subject(struct campaign *c, const char *name); /* NULL: not there */
/* Scratch folder of that name below c->dir, made; mem_free(). */
char *campaign_scratch(struct campaign *c, const char *name);

int stage_read(struct campaign *c, struct error **err);
int stage_write(struct campaign *c, struct error **err);
int stage_programs(struct campaign *c, struct error **err);
int stage_faults(struct campaign *c, struct error **err);
int stage_schedules(struct campaign *c, struct error **err);
int stage_crash(struct campaign *c, struct error **err);
int stage_qemu_crash(struct campaign *c, struct error **err);
int stage_trace(struct campaign *c, struct error **err);
int stage_probing(struct campaign *c, struct error **err);
int stage_hostile(struct campaign *c, struct error **err);
int stage_sequences(struct campaign *c, struct error **err);
int stage_fuzz(struct campaign *c, struct error **err);

/*
 * Hands a finding to the store: looks it up in the divergence list first, writes the reproducer
 * file, names it. repro: the program's text (or what the stage's repro() takes); a head that names
 * stage and subject is put before it.
 */
void campaign_report(struct campaign *c, const char *stage, const struct subject *s,
                     const char *format, const char *name, int verdict, const char *detail,
                     const char *repro);
/* Are images of that format wanted?  text: create options, or an image's line, in which encryption
 * would stand. */
bool campaign_wants_format(const struct campaign *c, const char *format, const char *text);
/* The kind that --format asks for, where it can be written; NULL: all kinds. */
const struct image_kind *campaign_kind(const struct campaign *c);
/* The format that results of programs of no list are told under. */
const char *campaign_special_format(const struct campaign *c);
/* Whether the image of a stage's list, by its line "image FORMAT ..." (trace/op.h), is explored. */
bool campaign_wants_image(const struct campaign *c, const char *line);
/* The same of a program that is of no list. */
bool campaign_wants_special(const struct campaign *c, const struct program *p);
/* Seconds from some instant on, by a clock that never goes back. */
double clock_seconds(void);
/* Progress line on a terminal: done of total; quiet in a pipe. */
void campaign_progress(struct campaign *c, const char *stage, uint64_t done, uint64_t total);

#endif
