/*
 * Trials of jobs: one small run on simulated disks, in a world of its own, with something that
 * happens at its k-th scheduling point or request; and what must hold afterwards.
 *
 * A scene makes images, opens them, makes one job, and knows what its guest must read at any time.
 */
#ifndef BLKREF_JOB_TESTS_TRIAL_H
#define BLKREF_JOB_TESTS_TRIAL_H

#include "ref/format/qcow2/tests/fixture.h"
#include "ref/job/commit.h"

#define TRIAL_CLUSTER 4096
#define TRIAL_SIZE    (16 * TRIAL_CLUSTER)

struct trial;
struct scene {
    const char *name;
    /* Makes the images (all of them flushed); the trial's disks exist and are empty. */
    void (*make)(struct trial *t);
    /* Opens what the job works on. */
    void (*open)(struct trial *t);
    /* The job in CREATED, or NULL with err. */
    struct job *(*job)(struct trial *t, struct error **err);
    /* Closes everything; `good`: the job succeeded. */
    void (*close)(struct trial *t, bool good);
    /* In a fresh world on the same disks, whatever happened: guests read what they must. */
    void (*judge)(struct trial *t);
    bool graph_changes; /* when the job succeeds */
    int disks;          /* 0 to disks - 1 are looked at by check */
};

struct trial {
    struct rig r;
    struct sched_seeded sched;
    bool (*preempt)(struct sched_policy *p, struct world *w, const struct point *pt);
    const struct scene *s;
    enum { TRIAL_NOTHING, TRIAL_CANCEL, TRIAL_STOP } act;
    uint64_t at, seen; /* scheduling points behind the making of the images, from 1 */
    bool armed, stopped;
    int ret; /* of the job, or of making it */
    struct job *j;
    struct blk *blk[4];
    struct commit commit;
    struct copy copy;
    struct copy_source source;
};

/* What a sector of cluster i holds that layer `layer` wrote; 0 is for zeroes. */
uint8_t trial_value(int layer, int cluster);
/* Writes whole clusters of disk i's image as the text says: '.' nothing, 'd' data, 'z' zeroes. */
void trial_write(struct trial *t, int i, int layer, const char *clusters);
/* The image on disk i reads as the text says: a digit is a layer's value, '0' zeroes. */
void trial_read(struct trial *t, int i, const char *layers);
/* Everything of the world's graph that a job must leave as it was; mem_free(). */
char *trial_graph(struct world *w);

/* Cancelled, failed, stopped (the world destroyed) at every point, and power cut. */
void trial_cancels(const struct scene *s);
void trial_failures(const struct scene *s);
void trial_stops(const struct scene *s);
void trial_cuts(const struct scene *s);

#endif
