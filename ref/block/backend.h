/*
 * Backends: what devices, tools and exports hold on to.  A root edge with a name, permissions, a
 * write cache mode.
 */
#ifndef BLKREF_BLOCK_BACKEND_H
#define BLKREF_BLOCK_BACKEND_H

#include "ref/block/io.h"
#include "ref/block/open.h"

struct blk;
struct blk *blk_new(struct world *w, unsigned perm, unsigned shared);
/*
 * Opens as node_open() and attaches: CONSISTENT_READ, WRITE for OPEN_RDWR, RESIZE for OPEN_RESIZE;
 * shares everything (formats refuse other writers of their file on their own).
 */
struct blk *blk_open(struct world *w, const char *filename, const char *reference,
                     struct value *options, unsigned flags, struct error **err);
int blk_insert(struct blk *b, struct node *n, struct error **err); /* takes its own reference */
void blk_remove(struct blk *b);
int blk_replace(struct blk *b, struct node *n, struct error **err);
void blk_ref(struct blk *b);
void blk_unref(struct blk *b);
struct node *blk_node(const struct blk *b); /* NULL: no medium */
struct child *blk_root(const struct blk *b);
struct world *blk_world(const struct blk *b);
int blk_set_name(struct blk *b, const char *name,
                 struct error **err); /* monitor-owned when named */
const char *blk_name(const struct blk *b);
struct blk *blk_find(struct world *w, const char *name);
struct blk *blk_next(struct world *w, struct blk *b); /* every backend; starts with NULL */
int blk_set_perm(struct blk *b, unsigned perm, unsigned shared, struct error **err);
void blk_set_write_cache(struct blk *b, bool writeback);
bool blk_write_cache(const struct blk *b);
void blk_set_allow_write_beyond_eof(struct blk *b, bool allow);
void blk_set_disable_request_queuing(struct blk *b, bool disable);

/* I/O with bounds check against the length (-EIO beyond), -ENOMEDIUM without medium; tag may be
 * NULL. */
int blk_preadv(struct blk *b, int64_t offset, int64_t bytes, const struct iov *q, unsigned flags,
               const char *tag);
int blk_pwritev(struct blk *b, int64_t offset, int64_t bytes, const struct iov *q, unsigned flags,
                const char *tag);
int blk_pread(struct blk *b, int64_t offset, void *buf, int64_t bytes);
int blk_pwrite(struct blk *b, int64_t offset, const void *buf, int64_t bytes, unsigned flags);
int blk_pwrite_zeroes(struct blk *b, int64_t offset, int64_t bytes, unsigned flags,
                      const char *tag);
int blk_discard(struct blk *b, int64_t offset, int64_t bytes, const char *tag);
int blk_flush(struct blk *b, const char *tag);
int blk_truncate(struct blk *b, int64_t size, bool exact, enum prealloc prealloc, unsigned flags,
                 struct error **err);
/*
 * As a user asks for it, who may have requests under way; never from within a job.  It has the node
 * alone: what was let in before ends before, and who comes meanwhile meets the new end.  Else a
 * write could make a file longer again behind the cut.
 */
int blk_resize(struct blk *b, int64_t size, bool exact, enum prealloc prealloc, struct error **err);
int64_t blk_length(struct blk *b);
void blk_drain(struct blk *b);
unsigned blk_in_flight(const struct blk *b);

#endif
