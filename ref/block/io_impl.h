/*
 * The request path's inner seam: what io.c, zeroes.c, discard.c, ... share.  Private to ref/block.
 *
 * A struct io stands for one request on its way through one node.  It lives on the issuer's stack.
 * From the outside in: child_*() checks and begins it, the aligned functions wait and order,
 * submit_*() call the driver.
 */
#ifndef BLKREF_BLOCK_IO_IMPL_H
#define BLKREF_BLOCK_IO_IMPL_H

#include <errno.h>
#include "ref/block/io.h"

struct io {
    struct node *n;
    struct child *c; /* edge it came by; NULL: made by the node itself */
    struct tracked t;
    enum label label;
    const struct request *parent;
};

/* Longest request that carries a buffer: the largest int that is a multiple of 512. */
#define IO_MAX_BYTES (INT32_MAX & ~511)
/* Longest image: the largest int64_t that is a multiple of 1 GiB. */
#define IO_MAX_LENGTH (INT64_MAX & ~(GiB - 1))
/* Buffers that we make ourselves stay within this. */
#define IO_MAX_BOUNCE (16 * MiB)

/* Counts the request as in flight and enters it into the node's list (tracked.c). */
void io_begin(struct io *io, struct child *c, struct node *n, enum req_op op, int64_t offset,
              int64_t bytes, enum label label, const struct request *parent);
void io_end(struct io *io);

/* Waits until no serialising request that overlaps t is before it. */
void tracked_wait(struct node *n, struct tracked *t);
/* Widens t's range to multiples of align and makes it serialising; does not wait. */
void tracked_set_serialising(struct node *n, struct tracked *t, uint64_t align);
/* True when t would have to wait. */
bool tracked_conflicts(struct node *n, struct tracked *t);

/* -EIO for ranges that no buffer has (request_check() and IO_MAX_BYTES). */
static inline int io_check(int64_t offset, int64_t bytes)
{
    return bytes < 0 || bytes > IO_MAX_BYTES || offset < 0 || offset > IO_MAX_LENGTH - bytes ? -EIO
                                                                                             : 0;
}
static inline bool io_aligned(const struct node *n, int64_t offset, int64_t bytes)
{
    return ((offset | bytes) & (n->limits.request_alignment - 1)) == 0;
}

/*
 * Into the driver (submit.c).  Splits by max_transfer and max_iov, drops flags that the driver does
 * not take, makes FUA of a flush where needed, and passes the scheduling points of bottom requests.
 */
int submit_read(struct io *io, int64_t offset, int64_t bytes, const struct iov *q, size_t q_off);
int submit_write(struct io *io, int64_t offset, int64_t bytes, const struct iov *q, size_t q_off,
                 unsigned flags);
int submit_compressed(struct io *io, int64_t offset, int64_t bytes, const struct iov *q,
                      size_t q_off);
/* One call of the driver's write_zeroes or discard; -ENOTSUP where it has none. */
int submit_zeroes(struct io *io, int64_t offset, int64_t bytes, unsigned flags);
int submit_discard(struct io *io, int64_t offset, int64_t bytes);

/* Aligned, within limits or not, already serialised with others; zero-fills beyond the end. */
int read_body(struct io *io, int64_t offset, int64_t bytes, const struct iov *q, size_t q_off);
/* Waits, then reads; copies on read. */
int read_aligned(struct io *io, int64_t offset, int64_t bytes, const struct iov *q, size_t q_off,
                 unsigned flags);
/* Waits, then writes; q is NULL for REQ_WRITE_ZEROES. */
int write_aligned(struct io *io, enum req_op op, int64_t offset, int64_t bytes, const struct iov *q,
                  size_t q_off, unsigned flags);
/* Zeroes of an aligned range: the driver's way with its own alignment, else buffers (zeroes.c). */
int zeroes_body(struct io *io, int64_t offset, int64_t bytes, unsigned flags);
int copy_on_read(struct io *io, int64_t offset, int64_t bytes, const struct iov *q, size_t q_off,
                 unsigned flags);

/* Permission and serialising before, length, notes and generation after any change of content. */
int write_prepare(struct io *io, int64_t offset, int64_t bytes, unsigned flags);
void write_finish(struct io *io, enum req_op op, int64_t offset, int64_t bytes, int ret);

/* What an unaligned request needs around it (pad.c). */
struct pad {
    int64_t offset, bytes; /* aligned */
    int64_t head, tail;    /* bytes before and behind the caller's range, < alignment */
    bool one;              /* head and tail block are one buffer */
    uint8_t *buf;
    uint8_t *tail_block; /* start of the last block, in buf */
    struct iov iov;      /* [head][caller's][tail] */
};
/* q NULL: no vector is made, p->iov is empty. -ENOMEM. */
int pad_init(struct pad *p, struct node *n, int64_t offset, int64_t bytes, const struct iov *q,
             size_t q_off);
void pad_destroy(struct pad *p);
/* Reads the blocks at head and tail, announcing blkdebug's RMW events. */
int pad_read(struct pad *p, struct io *io);

#endif
