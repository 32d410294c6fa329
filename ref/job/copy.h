/*
 * The copy engine: source images, one behind the other, into one target.
 *
 * Models: what is not data is not read; coroutines that read in parallel and write in order of
 * offsets (or not); runs of zeroes in data are left out; compressed targets are written cluster by
 * cluster. Leaves out: following a source that changes meanwhile (mirror), points in time (backup).
 */
#ifndef BLKREF_JOB_COPY_H
#define BLKREF_JOB_COPY_H

#include "ref/block/backend.h"
#include "ref/job/job.h"

#define COPY_MAX_WORKERS 16
#define COPY_BUFFER      (2 * MiB)

struct copy_source {
    struct blk *b;
    int64_t start, bytes; /* place in the target; multiples of 512 */
};

struct copy {
    struct world *w;
    struct copy_source *sources;
    int n_sources;
    struct blk *target;
    int64_t total; /* bytes, sum of the sources */
    bool overlay;  /* only what the (one) source has above `base`: the target stands on the rest */
    struct node *base; /* NULL: all layers of the source are copied */
    int64_t
        backing_bytes;  /* with overlay: where the target has content below it; then it is zero */
    bool zero_init;     /* what is not written reads as zeroes */
    bool fill;          /* zeroes are written as data */
    int64_t min_sparse; /* bytes of zeroes that are left out of data; 0: data is written as it is */
    bool compressed;
    int64_t cluster; /* compressed: bytes, a power of two */
    bool in_order, copy_range, salvage;
    bool quiet; /* no warnings of what was salvaged */
    int workers;
    int64_t data_bytes; /* known after the counting pass */

    /* run time */
    struct job *job;
    int64_t next, turn; /* first byte nobody has taken; first byte not written (in order) */
    int64_t status_end; /* kind holds for [next, status_end) */
    int kind;
    struct co_mutex lock;
    struct waitq turns, finished;
    int running, ret;
    struct error *err;
};

extern const struct job_driver copy_driver;
/* A job in CREATED that copies as c says; c stays the caller's and must outlive it. NULL with err.
 */
struct job *copy_job_new(struct copy *c, const char *id, int64_t speed, struct error **err);

/*
 * Length of the first run of `bytes` in buf, which stands at `offset`: *data says whether it has
 * data.  Blocks of the largest power of two up to min_sparse, aligned to offset 0, are looked at;
 * zero blocks shorter than min_sparse in all count as data, but not at the ends of the buffer.
 */
int64_t copy_split(const uint8_t *buf, int64_t offset, int64_t bytes, int64_t min_sparse,
                   bool *data);

#endif
