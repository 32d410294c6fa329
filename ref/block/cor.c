/*
 * Copy-on-read: what a read finds in the backing chain is written into the node on the way.
 *
 * Works on whole clusters, excludes overlapping requests while it does, and leaves zeroes as
 * zeroes.  With REQ_PREFETCH only the copying matters.
 */
#include <errno.h>
#include "ref/block/io_impl.h"

static int64_t cluster_size(struct node *n)
{
    struct image_info info;
    int64_t size = n->limits.request_alignment;
    if (node_info(n, &info) >= 0 && info.cluster_size > 0) {
        size = MAX(size, (int64_t)info.cluster_size);
    }
    return size;
}

/* Fills [offset, offset + bytes), which is not allocated in this layer, from buf. */
static int write_back(struct io *io, int64_t offset, int64_t bytes, const struct iov *buf)
{
    struct node *n = io->n;
    int ret;
    if (n->drv->write_zeroes && iov_is_zero(buf, 0, (size_t)bytes)) {
        ret = zeroes_body(io, offset, bytes, REQ_UNCHANGED);
    } else {
        ret = submit_write(io, offset, bytes, buf, 0, REQ_UNCHANGED);
    }
    n->write_gen++;
    return ret;
}

struct cor {
    struct io *io;
    int64_t offset, end; /* the caller's range */
    const struct iov *q; /* NULL: prefetch only */
    size_t q_off;
    void *buf;
};

/* The part of the caller's range within [at, at + len). */
static void deliver(const struct cor *c, int64_t at, int64_t len)
{
    int64_t from = MAX(at, c->offset), to = MIN(at + len, c->end);
    if (c->q && from < to) {
        iov_from_buf(c->q, c->q_off + (size_t)(from - c->offset), (char *)c->buf + (from - at),
                     (size_t)(to - from));
    }
}

static int copy_piece(struct cor *c, int64_t at, int64_t len)
{
    struct iov one;
    iov_single(&one, c->buf, (size_t)len);
    int ret = submit_read(c->io, at, len, &one, 0);
    if (ret < 0) {
        return ret;
    }
    node_event(c->io->n, LABEL_COR_WRITE, c->io->parent);
    ret = write_back(c->io, at, len, &one);
    if (ret == 0) {
        deliver(c, at, len);
    }
    return ret;
}

static int read_piece(struct cor *c, int64_t at, int64_t len)
{
    int64_t from = MAX(at, c->offset), to = MIN(at + len, c->end);
    if (!c->q || from >= to) {
        return 0;
    }
    return read_body(c->io, from, to - from, c->q, c->q_off + (size_t)(from - c->offset));
}

static int copy_clusters(struct cor *c, int64_t start, int64_t end)
{
    struct node *n = c->io->n;
    int64_t max = MIN(end - start, MAX(IO_MAX_BOUNCE, (int64_t)n->limits.request_alignment));
    int ret = 0;
    c->buf = node_try_blockalign(n, (size_t)max);
    if (!c->buf) {
        return -ENOMEM;
    }
    for (int64_t at = start; at < end && ret == 0;) {
        int64_t len = MIN(max, end - at);
        int64_t same;
        int allocated = node_is_allocated(n, at, len, &same);
        if (allocated < 0) {
            allocated = 0; /* the read will tell what is wrong */
        } else if (same > 0) {
            len = MIN(len, same);
        } else {
            allocated = 1; /* beyond the end: nothing to copy */
        }
        ret = allocated ? read_piece(c, at, len) : copy_piece(c, at, len);
        at += len;
    }
    mem_free(c->buf);
    return ret;
}

int copy_on_read(struct io *io, int64_t offset, int64_t bytes, const struct iov *q, size_t q_off,
                 unsigned flags)
{
    struct node *n = io->n;
    int64_t align = cluster_size(n);
    bool prefetch = (flags & REQ_PREFETCH) != 0;
    int64_t same;

    tracked_make_serialising(n, &io->t, (uint64_t)align);
    int64_t length = node_length(n);
    if (length < 0) {
        return (int)length;
    }
    bool writable = !n->read_only && !(n->open_flags & OPEN_INACTIVE);
    int64_t end = MIN(ROUND_UP(offset + bytes, align),
                      ROUND_UP(length, (int64_t)n->limits.request_alignment));
    int allocated = node_is_allocated(n, offset, bytes, &same);
    if (allocated < 0) {
        return allocated;
    }
    if (!writable || offset >= end || (allocated && same >= MIN(bytes, end - offset))) {
        return prefetch ? 0 : read_body(io, offset, bytes, q, q_off);
    }
    struct cor c = {.io = io,
                    .offset = offset,
                    .end = offset + bytes,
                    .q = prefetch ? NULL : q,
                    .q_off = q_off};
    int ret = copy_clusters(&c, ROUND_DOWN(offset, align), end);
    if (ret == 0 && c.q && offset + bytes > end) {
        iov_fill(q, q_off + (size_t)(end - offset), 0, (size_t)(offset + bytes - end));
    }
    return ret;
}
