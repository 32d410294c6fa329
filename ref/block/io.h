/*
 * I/O on nodes and edges: the request path.
 *
 * child_*: what drivers, backends and jobs call.  Checks permissions and bounds, aligns
 * (read-modify-write), tracks, serialises, splits by limits, detects zeroes, copies on read, and
 * calls the driver.  A label other than LABEL_NONE is announced on the edge's node (blkdebug's
 * events) before submission, and travels with the request. All are coroutine functions; offsets and
 * lengths in bytes of the edge's node; they return 0 or -errno.
 */
#ifndef BLKREF_BLOCK_IO_H
#define BLKREF_BLOCK_IO_H

#include "ref/block/node.h"

int child_preadv(struct child *c, int64_t offset, int64_t bytes, const struct iov *q, size_t q_off,
                 unsigned flags, enum label label, const struct request *parent);
int child_pwritev(struct child *c, int64_t offset, int64_t bytes, const struct iov *q, size_t q_off,
                  unsigned flags, enum label label, const struct request *parent);
int child_pread(struct child *c, int64_t offset, void *buf, int64_t bytes, enum label label,
                const struct request *parent);
int child_pwrite(struct child *c, int64_t offset, const void *buf, int64_t bytes, enum label label,
                 const struct request *parent);
/* Write, then flush the child: metadata that must be durable before the next step. */
int child_pwrite_sync(struct child *c, int64_t offset, const void *buf, int64_t bytes,
                      enum label label, const struct request *parent);
int child_pwrite_zeroes(struct child *c, int64_t offset, int64_t bytes, unsigned flags,
                        enum label label, const struct request *parent);
int child_discard(struct child *c, int64_t offset, int64_t bytes, enum label label,
                  const struct request *parent);
int child_flush(struct child *c, const struct request *parent);
int child_truncate(struct child *c, int64_t size, bool exact, enum prealloc prealloc,
                   unsigned flags, struct error **err);
int64_t child_length(struct child *c);
/*
 * Copy offload; -ENOTSUP where the profile or a layer has none: then read and write.  Goes down the
 * source's side first (a driver's copy_range_from calls it for its child), and from its bottom down
 * the target's.
 */
int child_copy_range(struct child *src, int64_t src_off, struct child *dst, int64_t dst_off,
                     int64_t bytes, unsigned read_flags, unsigned write_flags);
int child_copy_range_to(struct child *src, int64_t src_off, struct child *dst, int64_t dst_off,
                        int64_t bytes, unsigned read_flags, unsigned write_flags);
/* Announces a label that goes with no I/O. */
void child_event(struct child *c, enum label label, const struct request *parent);
void node_event(struct node *n, enum label label, const struct request *parent);

/* What is read from, or written to, n and all it stands on is not needed again: a hint for the
 * host, in profiles with clean_cache.  Holds until the nodes are closed. */
void node_use_once(struct node *n);
int node_flush(struct node *n, const struct request *parent); /* whole subtree */
/* The same, and nothing where this node and those below wrote nothing since they were opened. */
int node_flush_closing(struct node *n);
/*
 * While an image is being made on n nobody can rely on it: flushes of n wait for the release, which
 * does one for all.  Nests.
 */
void node_hold_flush(struct node *n);
int node_release_flush(struct node *n);
int node_flush_now(struct node *n);  /* also while flushes are held */
int64_t node_length(struct node *n); /* bytes or -errno (-ENOMEDIUM) */
/* Asks the driver and keeps the answer, a multiple of 512, in n->length: after open, and what
 * changes the size. */
int node_refresh_length(struct node *n);
void node_resized(struct node *n); /* tells the parents */
int64_t node_allocated_size(struct node *n);
/* The driver's info(), for filters that have none the filtered child's; -ENOTSUP (image_info.c). */
int node_info(struct node *n, struct image_info *out);
bool node_has_zero_init(struct node *n);

/*
 * Somebody who wants to know what changed (dirty bitmaps): linked in n->write_watches.  Called
 * behind each write, write of zeroes, discard and growth, also failed ones, with the aligned range;
 * must not wait.
 */
struct write_watch {
    struct list link;
    void (*written)(struct write_watch *ww, int64_t offset, int64_t bytes);
};
void node_watch_writes(struct node *n, struct write_watch *ww);
void node_unwatch_writes(struct write_watch *ww);
void node_written(struct node *n, int64_t offset, int64_t bytes);

/* Status of this layer and, with STATUS_RAW/RECURSE, of what it stands on.  out->bytes > 0 unless
 * offset is at the end. */
int node_block_status(struct node *n, bool precise, int64_t offset, int64_t bytes,
                      struct status *out);
/* Walks from n down to, and without, `base` (NULL: whole chain); out->file's depth goes to *depth
 * when not NULL. */
int node_block_status_above(struct node *n, struct node *base, bool precise, int64_t offset,
                            int64_t bytes, struct status *out, int *depth);
/*
 * As maps of images show it: the answer of the first layer that knows it to be data or zero, which
 * is where unallocated clusters end that have nothing below; *depth is that layer, from 0.
 */
int node_map_status(struct node *n, int64_t offset, int64_t bytes, struct status *out, int *depth);
/* 1 allocated in n, 0 not, -errno; *pnum bytes for which it holds. */
int node_is_allocated(struct node *n, int64_t offset, int64_t bytes, int64_t *pnum);
/* As above, but for n and its chain above base (`include_base` adds base); returns layer number
 * from 1, 0 none. */
int node_is_allocated_above(struct node *n, struct node *base, bool include_base, int64_t offset,
                            int64_t bytes, int64_t *pnum);

/*
 * Drain: afterwards no request is in flight on n or on its way from a parent (nor, then, below n
 * for n's sake), and none starts until the end.  Nests.  Never from within a request on n or above.
 */
void node_drain_begin(struct node *n);
void node_drain_end(struct node *n);
/*
 * One level of drain, without waiting: quiesce++; on 0 to 1 tells the driver (drain_begin) and each
 * parent edge (child_quiesce_parent).  child_of_node's drained_begin is node_quiesce(parent),
 * drained_poll is node_busy(parent).
 */
void node_quiesce(struct node *n);
void node_unquiesce(struct node *n);
/* Requests in flight on n, or on their way from its parents (class->drained_poll). */
bool node_busy(struct node *n);
/* Parents without nodes call it when their drained_poll turns false: drains of n, and below it,
 * look again. */
void node_drain_kick(struct node *n);
void world_drain_all_begin(struct world *w);
void world_drain_all_end(struct world *w);

/* For drivers that make requests of their own beside a guest request: keeps drain waiting. */
void node_inc_in_flight(struct node *n);
void node_dec_in_flight(struct node *n);
/* Makes the request a serialising one of `align` bytes granularity and waits for all it overlaps.
 */
void tracked_make_serialising(struct node *n, struct tracked *t, uint64_t align);
/* The request on n that the running coroutine serves, or NULL. */
struct tracked *tracked_self(struct node *n);

int node_load_vmstate(struct node *n, struct iov *q, int64_t pos);
int node_save_vmstate(struct node *n, const struct iov *q, int64_t pos);
/* Merges children's limits and asks the driver. */
int node_refresh_limits(struct node *n, struct error **err);
/* Memory for O_DIRECT I/O on n; NULL when exhausted; mem_free(). */
void *node_try_blockalign(struct node *n, size_t size);
/* -EIO for a range that is negative or ends behind the longest image (INT64_MAX rounded down to 1
 * GiB). */
int request_check(int64_t offset, int64_t bytes, struct error **err);

#endif
