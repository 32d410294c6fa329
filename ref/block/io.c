/*
 * Reads and writes on edges: checks, alignment, ordering, then the driver.
 *
 * An unaligned write reads the blocks at its ends, and until it is done no request that touches
 * these blocks may run (serialising).  An unaligned read just reads more.  A read beyond the end of
 * the node gives zeroes: the file below an image may be shorter than the format expects.
 */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include "ref/block/graph.h"
#include "ref/block/io_impl.h"

int request_check(int64_t offset, int64_t bytes, struct error **err)
{
    if (offset < 0) {
        return error_set(err, EIO, "offset is negative: %" PRId64, offset);
    }
    if (bytes < 0) {
        return error_set(err, EIO, "bytes is negative: %" PRId64, bytes);
    }
    if (bytes > IO_MAX_LENGTH) {
        return error_set(err, EIO, "bytes(%" PRId64 ") exceeds maximum(%lld)", bytes,
                         IO_MAX_LENGTH);
    }
    if (offset > IO_MAX_LENGTH) {
        return error_set(err, EIO, "offset(%" PRId64 ") exceeds maximum(%lld)", offset,
                         IO_MAX_LENGTH);
    }
    if (offset > IO_MAX_LENGTH - bytes) {
        return error_set(err, EIO,
                         "sum of offset(%" PRId64 ") and bytes(%" PRId64 ") exceeds maximum(%lld)",
                         offset, bytes, IO_MAX_LENGTH);
    }
    return 0;
}

/* ---- reading ---- */

int read_body(struct io *io, int64_t offset, int64_t bytes, const struct iov *q, size_t q_off)
{
    if (offset + bytes <= io->n->length) {
        return submit_read(io, offset, bytes, q, q_off);
    }
    int64_t align = io->n->limits.request_alignment;
    int64_t length = node_length(io->n);
    if (length < 0) {
        return (int)length;
    }
    int64_t there = length > offset ? ROUND_UP(length - offset, align) : 0;
    there = MIN(there, bytes);
    if (there > 0) {
        int ret = submit_read(io, offset, there, q, q_off);
        if (ret < 0) {
            return ret;
        }
    }
    if (there < bytes) {
        iov_fill(q, q_off + (size_t)there, 0, (size_t)(bytes - there));
    }
    return 0;
}

int read_aligned(struct io *io, int64_t offset, int64_t bytes, const struct iov *q, size_t q_off,
                 unsigned flags)
{
    if (flags & REQ_COPY_ON_READ) {
        return copy_on_read(io, offset, bytes, q, q_off, flags);
    }
    if (flags & REQ_SERIALISING) {
        tracked_make_serialising(io->n, &io->t, io->n->limits.request_alignment);
    } else {
        tracked_wait(io->n, &io->t);
    }
    return read_body(io, offset, bytes, q, q_off);
}

static int read_padded(struct io *io, int64_t offset, int64_t bytes, const struct iov *q,
                       size_t q_off, unsigned flags)
{
    struct pad p;
    int ret = pad_init(&p, io->n, offset, bytes, q, q_off);
    if (ret < 0) {
        return ret;
    }
    ret = read_aligned(io, p.offset, p.bytes, &p.iov, 0, flags);
    pad_destroy(&p);
    return ret;
}

int child_preadv(struct child *c, int64_t offset, int64_t bytes, const struct iov *q, size_t q_off,
                 unsigned flags, enum label label, const struct request *parent)
{
    struct node *n = c->node;
    if (label != LABEL_NONE && !(flags & REQ_ANNOUNCED)) {
        node_event(n, label, parent);
    }
    flags &= ~(unsigned)REQ_ANNOUNCED;
    if (!n->drv) {
        return -ENOMEDIUM;
    }
    if (io_check(offset, bytes) < 0) {
        return -EIO;
    }
    assert(!(flags & ~(REQ_COPY_ON_READ | REQ_PREFETCH | REQ_SERIALISING)));
    assert(q ? q->size >= q_off && q->size - q_off >= (size_t)bytes : (flags & REQ_PREFETCH) != 0);
    if (bytes == 0) {
        return 0;
    }
    if (n->open_flags & OPEN_COPY_ON_READ) {
        flags |= REQ_COPY_ON_READ;
    }

    struct io io;
    int ret;
    io_begin(&io, c, n, REQ_READ, offset, bytes, label, parent);
    if (io_aligned(n, offset, bytes)) {
        ret = read_aligned(&io, offset, bytes, q, q_off, flags);
    } else if (!q) {
        int64_t align = n->limits.request_alignment;
        int64_t start = ROUND_DOWN(offset, align);
        ret = read_aligned(&io, start, ROUND_UP(offset + bytes, align) - start, NULL, 0, flags);
    } else {
        ret = read_padded(&io, offset, bytes, q, q_off, flags);
    }
    io_end(&io);
    return ret;
}

/* ---- writing ---- */

int write_prepare(struct io *io, int64_t offset, int64_t bytes, unsigned flags)
{
    struct node *n = io->n;
    if (n->read_only) {
        return -EPERM;
    }
    assert(!(n->open_flags & OPEN_INACTIVE));
    assert(!(flags & REQ_NO_WAIT) || (flags & REQ_SERIALISING));
    if (io->c) {
        unsigned perm = flags & REQ_UNCHANGED ? PERM_WRITE | PERM_WRITE_UNCHANGED : PERM_WRITE;
        assert(io->c->perm & perm);
        assert(offset + bytes <= n->length || (io->c->perm & PERM_RESIZE) ||
               node_length(n) >= offset + bytes);
    }
    if (flags & REQ_SERIALISING) {
        tracked_set_serialising(n, &io->t, n->limits.request_alignment);
        if ((flags & REQ_NO_WAIT) && tracked_conflicts(n, &io->t)) {
            return -EBUSY;
        }
    }
    tracked_wait(n, &io->t);
    return 0;
}

void write_finish(struct io *io, enum req_op op, int64_t offset, int64_t bytes, int ret)
{
    struct node *n = io->n;
    int64_t end = offset + bytes;
    n->write_gen++;
    if (ret >= 0 && op != REQ_DISCARD && end > n->length) {
        n->length = ROUND_UP(end, 512);
        node_resized(n);
    }
    if (bytes == 0) {
        return;
    }
    if (op != REQ_DISCARD && (uint64_t)end > n->wr_highest_offset) {
        n->wr_highest_offset = (uint64_t)end;
    }
    node_written(n, offset, bytes);
}

static bool becomes_zeroes(const struct node *n, const struct iov *q, size_t q_off, int64_t bytes,
                           unsigned flags)
{
    return n->detect_zeroes != DETECT_ZEROES_OFF && !(flags & REQ_COMPRESSED) && n->drv &&
           n->drv->write_zeroes && iov_is_zero(q, q_off, (size_t)bytes);
}

int write_aligned(struct io *io, enum req_op op, int64_t offset, int64_t bytes, const struct iov *q,
                  size_t q_off, unsigned flags)
{
    struct node *n = io->n;
    int ret = write_prepare(io, offset, bytes, flags);
    if (ret == 0 && op == REQ_WRITE && becomes_zeroes(n, q, q_off, bytes, flags)) {
        op = REQ_WRITE_ZEROES;
        if (n->detect_zeroes == DETECT_ZEROES_UNMAP) {
            flags |= REQ_MAY_UNMAP;
        }
    }
    if (ret < 0) {
        ;
    } else if (op == REQ_WRITE_ZEROES) {
        node_event(n, LABEL_PWRITEV_ZERO, io->parent);
        ret = zeroes_body(io, offset, bytes, flags);
    } else if (flags & REQ_COMPRESSED) {
        ret = submit_compressed(io, offset, bytes, q, q_off);
    } else {
        node_event(n, LABEL_PWRITEV, io->parent);
        ret = submit_write(io, offset, bytes, q, q_off, flags);
    }
    node_event(n, LABEL_PWRITEV_DONE, io->parent);
    write_finish(io, REQ_WRITE, offset, bytes, ret);
    return ret;
}

static int write_padded(struct io *io, int64_t offset, int64_t bytes, const struct iov *q,
                        size_t q_off, unsigned flags)
{
    struct pad p;
    int ret = pad_init(&p, io->n, offset, bytes, q, q_off);
    if (ret < 0) {
        return ret;
    }
    tracked_set_serialising(io->n, &io->t, io->n->limits.request_alignment);
    if ((flags & REQ_NO_WAIT) && tracked_conflicts(io->n, &io->t)) {
        ret = -EBUSY;
    } else {
        tracked_wait(io->n, &io->t);
        ret = pad_read(&p, io);
    }
    if (ret == 0) {
        ret = write_aligned(io, REQ_WRITE, p.offset, p.bytes, &p.iov, 0, flags);
    }
    pad_destroy(&p);
    return ret;
}

int child_pwritev(struct child *c, int64_t offset, int64_t bytes, const struct iov *q, size_t q_off,
                  unsigned flags, enum label label, const struct request *parent)
{
    struct node *n = c->node;
    if (label != LABEL_NONE && !(flags & REQ_ANNOUNCED)) {
        node_event(n, label, parent);
    }
    flags &= ~(unsigned)REQ_ANNOUNCED;
    if (!n->drv) {
        return -ENOMEDIUM;
    }
    if (io_check(offset, bytes) < 0) {
        return -EIO;
    }
    assert(!(flags &
             (REQ_MAY_UNMAP | REQ_NO_FALLBACK | REQ_COPY_ON_READ | REQ_PREFETCH | REQ_ZERO_GROWN)));
    assert(bytes == 0 || (q && q->size >= q_off && q->size - q_off >= (size_t)bytes));
    if (bytes == 0 && !(flags & REQ_COMPRESSED)) {
        return 0;
    }
    if (n->read_only) {
        return -EPERM;
    }

    struct io io;
    int ret;
    io_begin(&io, c, n, REQ_WRITE, offset, bytes, label, parent);
    if (io_aligned(n, offset, bytes) || (flags & REQ_COMPRESSED)) {
        ret = write_aligned(&io, REQ_WRITE, offset, bytes, q, q_off, flags);
    } else {
        ret = write_padded(&io, offset, bytes, q, q_off, flags);
    }
    io_end(&io);
    return ret;
}

/* ---- flat buffers ---- */

int child_pread(struct child *c, int64_t offset, void *buf, int64_t bytes, enum label label,
                const struct request *parent)
{
    struct iov q;
    iov_single(&q, buf, bytes > 0 ? (size_t)bytes : 0);
    return child_preadv(c, offset, bytes, &q, 0, 0, label, parent);
}

int child_pwrite(struct child *c, int64_t offset, const void *buf, int64_t bytes, enum label label,
                 const struct request *parent)
{
    struct iov q;
    iov_single(&q, (void *)(uintptr_t)buf, bytes > 0 ? (size_t)bytes : 0);
    return child_pwritev(c, offset, bytes, &q, 0, 0, label, parent);
}

int child_pwrite_sync(struct child *c, int64_t offset, const void *buf, int64_t bytes,
                      enum label label, const struct request *parent)
{
    int ret = child_pwrite(c, offset, buf, bytes, label, parent);
    return ret < 0 ? ret : child_flush(c, parent);
}
