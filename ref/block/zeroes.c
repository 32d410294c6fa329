/*
 * Writing zeroes: by the driver where it can, in pieces as its limits say, else with buffers of
 * zeroes.
 *
 * The part before the first and the part behind the last multiple of zeroes_alignment are requests
 * of their own, so that the driver can do the rest by metadata alone.
 */
#include <assert.h>
#include <errno.h>
#include "ref/block/io_impl.h"

/* Length of the next piece: an unaligned head, the aligned middle, an unaligned tail. */
static int64_t next_piece(int64_t offset, int64_t bytes, int64_t align, int64_t max_buffer,
                          int64_t max_zeroes)
{
    int64_t head = offset % align, tail = (offset + bytes) % align;
    int64_t len = bytes;
    if (head) {
        len = MIN(MIN(bytes, max_buffer), align - head);
    } else if (tail && bytes > align) {
        len = bytes - tail;
    }
    return MIN(len, max_zeroes);
}

/* A zeroed buffer of at least `len` bytes is kept in *buf for the next piece. */
static int write_buffer(struct io *io, int64_t offset, int64_t len, unsigned flags, void **buf,
                        int64_t *buf_len)
{
    if (*buf_len < len) {
        mem_free(*buf);
        *buf = node_try_blockalign(io->n, (size_t)len);
        *buf_len = *buf ? len : 0;
        if (!*buf) {
            return -ENOMEM;
        }
        memset(*buf, 0, (size_t)len);
    }
    struct iov q;
    iov_single(&q, *buf, (size_t)len);
    return submit_write(io, offset, len, &q, 0,
                        flags & ~(REQ_FUA | REQ_MAY_UNMAP | REQ_NO_FALLBACK));
}

int zeroes_body(struct io *io, int64_t offset, int64_t bytes, unsigned flags)
{
    struct node *n = io->n;
    const struct limits *l = &n->limits;
    int64_t align = MAX((int64_t)l->zeroes_alignment, (int64_t)l->request_alignment);
    int64_t max_zeroes = l->max_zeroes > 0 ? l->max_zeroes : IO_MAX_LENGTH;
    int64_t max_buffer = l->max_transfer > 0 ? MIN(l->max_transfer, IO_MAX_BOUNCE) : IO_MAX_BOUNCE;
    max_zeroes = MAX(ROUND_DOWN(max_zeroes, align), (int64_t)l->request_alignment);
    max_buffer =
        MAX(ROUND_DOWN(max_buffer, (int64_t)l->request_alignment), (int64_t)l->request_alignment);

    if ((flags & REQ_NO_FALLBACK) && !(n->zero_flags & REQ_NO_FALLBACK)) {
        return -ENOTSUP;
    }
    void *buf = NULL;
    int64_t buf_len = 0;
    bool flush = false;
    int ret = 0;
    while (bytes > 0 && ret == 0) {
        int64_t len = next_piece(offset, bytes, align, max_buffer, max_zeroes);
        ret = submit_zeroes(io, offset, len, flags);
        if (ret != -ENOTSUP) {
            flush |= (flags & REQ_FUA) && !(n->zero_flags & REQ_FUA);
        } else if (!(flags & REQ_NO_FALLBACK)) {
            len = MIN(len, max_buffer);
            ret = write_buffer(io, offset, len, flags, &buf, &buf_len);
            flush |= (flags & REQ_FUA) != 0;
        }
        offset += len;
        bytes -= len;
    }
    mem_free(buf);
    if (ret == 0 && flush) {
        n->write_gen++;
        ret = node_flush(n, io->parent);
    }
    return ret;
}

/* Head and tail blocks are read, zeroed in part and written back; what lies between is zeroed. */
static int zeroes_padded(struct io *io, int64_t offset, int64_t bytes, unsigned flags)
{
    struct node *n = io->n;
    int64_t align = n->limits.request_alignment;
    struct pad p;
    struct iov q;
    int ret = pad_init(&p, n, offset, bytes, NULL, 0);
    if (ret < 0) {
        return ret;
    }
    tracked_make_serialising(n, &io->t, (uint64_t)align);
    ret = pad_read(&p, io);
    if (ret < 0) {
        goto out;
    }
    if (p.one) {
        memset(p.buf + p.head, 0, (size_t)bytes);
        iov_single(&q, p.buf, (size_t)p.bytes);
        ret = write_aligned(io, REQ_WRITE, p.offset, p.bytes, &q, 0, flags);
        goto out;
    }
    int64_t at = p.offset, end = p.offset + p.bytes - (p.tail ? align : 0);
    if (p.head) {
        memset(p.buf + p.head, 0, (size_t)(align - p.head));
        iov_single(&q, p.buf, (size_t)align);
        ret = write_aligned(io, REQ_WRITE, at, align, &q, 0, flags);
        at += align;
    }
    if (ret == 0 && at < end) {
        ret = write_aligned(io, REQ_WRITE_ZEROES, at, end - at, NULL, 0, flags);
    }
    if (ret == 0 && p.tail) {
        memset(p.tail_block, 0, (size_t)(align - p.tail));
        iov_single(&q, p.tail_block, (size_t)align);
        ret = write_aligned(io, REQ_WRITE, end, align, &q, 0, flags);
    }
out:
    pad_destroy(&p);
    return ret;
}

int child_pwrite_zeroes(struct child *c, int64_t offset, int64_t bytes, unsigned flags,
                        enum label label, const struct request *parent)
{
    struct node *n = c->node;
    if (label != LABEL_NONE) {
        node_event(n, label, parent);
    }
    if (!n->drv) {
        return -ENOMEDIUM;
    }
    int ret = request_check(offset, bytes, NULL);
    if (ret < 0) {
        return ret;
    }
    assert(!(flags & (REQ_COMPRESSED | REQ_COPY_ON_READ | REQ_PREFETCH | REQ_ZERO_GROWN)));
    if (bytes == 0) {
        return 0;
    }
    if (n->read_only) {
        return -EPERM;
    }
    if (!(n->open_flags & OPEN_UNMAP)) {
        flags &= ~(unsigned)REQ_MAY_UNMAP;
    }
    if ((flags & REQ_NO_FALLBACK) && !io_aligned(n, offset, bytes)) {
        return -ENOTSUP;
    }
    struct io io;
    io_begin(&io, c, n, REQ_WRITE_ZEROES, offset, bytes, label, parent);
    if (io_aligned(n, offset, bytes)) {
        ret = write_aligned(&io, REQ_WRITE_ZEROES, offset, bytes, NULL, 0, flags);
    } else {
        ret = zeroes_padded(&io, offset, bytes, flags);
    }
    io_end(&io);
    return ret;
}
