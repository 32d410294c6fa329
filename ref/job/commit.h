/*
 * Commit: what the layers above `base` have is written into base.
 *
 * Models: base becomes writable for the time, grows to the top's length, and receives data and
 * zeroes of the layers above it; then the top is emptied, or all layers above base leave the graph
 * (block-commit), or nothing more happens.  While it runs the chain is frozen, its nodes are
 * blocked for other operations, and a drain of one of them pauses the job.  A live commit also puts
 * a filter over top, so that guests above go on reading.  Leaves out: a top that guests write to
 * meanwhile (that takes a mirror).
 */
#ifndef BLKREF_JOB_COMMIT_H
#define BLKREF_JOB_COMMIT_H

#include "ref/job/copy.h"
#include "ref/job/job_nodes.h"

enum commit_after {
    COMMIT_KEEP,  /* the layers stay as they are */
    COMMIT_EMPTY, /* top gives back what it holds, where its format can */
    COMMIT_DROP,  /* what stands on top stands on base then */
};

struct commit_options {
    int64_t speed; /* bytes a second; 0: no limit */
    enum commit_after after;
    const char *backing_file; /* with DROP: the name of base in overlays; NULL: base's own */
    bool live;                /* with the filter, named or not */
    const char *filter_node_name;
    unsigned flags; /* enum job_flag */
};

struct commit {
    struct world *w;
    struct node *top, *base; /* base is in top's chain; the caller keeps top */
    enum commit_after after;
    char *backing_file;
    struct job_nodes nodes;
    struct node *filter; /* NULL when not live */
    struct copy copy;
    struct copy_source source;
    struct blk *target;
    struct graph_drop *dropped; /* between a good prepare and the end of the transaction */
    bool base_was_read_only, frozen;
    bool copied; /* base has it all: what failed came later */
};

/*
 * A job in CREATED; c stays the caller's and must outlive it.  NULL with err when base cannot be
 * made writable or the graph does not permit it; then all is as it was.  May wait.
 */
struct job *commit_job_new(struct commit *c, const char *id, struct node *top, struct node *base,
                           const struct commit_options *o, struct error **err);

/*
 * What a commit of `overlay` alone writes to: below filters, but not below a raw image, which
 * guards the format that was guessed.  NULL: there is no backing image.
 */
struct node *commit_target(struct node *overlay);

#endif
