/*
 * Commit: what the layers above `base` have is written into base.
 *
 * Models: base becomes writable for the time, grows to the top's length, and receives data and
 * zeroes of the layers above it.  Leaves out: following guests that write meanwhile, and leaving
 * layers out of the graph afterwards.
 */
#ifndef BLKREF_JOB_COMMIT_H
#define BLKREF_JOB_COMMIT_H

#include "ref/job/copy.h"

struct commit {
    struct world *w;
    struct node *top, *base; /* base is in top's chain; the caller keeps top */
    struct copy copy;
    struct copy_source source;
    struct blk *target;
    bool base_was_read_only;
};

/* A job in CREATED; c stays the caller's and must outlive it.  NULL with err. */
struct job *commit_job_new(struct commit *c, const char *id, struct node *top, struct node *base,
                           int64_t speed, struct error **err);

#endif
