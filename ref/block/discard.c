/*
 * Discard: a hint, so parts that the driver cannot take are skipped without an error.
 *
 * The part before the first and behind the last multiple of discard_alignment is offered to the
 * driver on its own (it may know better), and what does not fill a block of request_alignment is
 * dropped.
 */
#include <errno.h>
#include "ref/block/io_impl.h"

static int64_t next_piece(const struct limits *l, int64_t offset, int64_t bytes)
{
    int64_t req = l->request_alignment;
    int64_t align = MAX(l->discard_alignment, req);
    int64_t max = l->max_discard > 0 ? l->max_discard : IO_MAX_LENGTH;
    int64_t head = offset % align;
    int64_t len = bytes;

    if (offset % req) {
        return MIN(bytes, req - offset % req); /* the first block is not whole */
    }
    if (head) {
        len = MIN(bytes, align - head);
    } else if (bytes > align) {
        len = ROUND_DOWN(bytes, align);
    }
    if (len > req) {
        len = ROUND_DOWN(len, req);
    }
    return MIN(len, MAX(ROUND_DOWN(max, align), req));
}

static int discard_body(struct io *io, int64_t offset, int64_t bytes)
{
    const struct limits *l = &io->n->limits;
    while (bytes > 0) {
        int64_t len = next_piece(l, offset, bytes);
        if (io_aligned(io->n, offset, len)) {
            int ret = submit_discard(io, offset, len);
            if (ret < 0 && ret != -ENOTSUP) {
                return ret;
            }
        }
        offset += len;
        bytes -= len;
    }
    return 0;
}

int child_discard(struct child *c, int64_t offset, int64_t bytes, enum label label,
                  const struct request *parent)
{
    struct node *n = c->node;
    if (label != LABEL_NONE) {
        node_event(n, label, parent);
    }
    if (!n->drv) {
        return -ENOMEDIUM;
    }
    if (n->read_only) {
        return -EPERM;
    }
    int ret = request_check(offset, bytes, NULL);
    if (ret < 0) {
        return ret;
    }
    if (!(n->open_flags & OPEN_UNMAP) || !n->drv->discard || bytes == 0) {
        return 0;
    }
    struct io io;
    io_begin(&io, c, n, REQ_DISCARD, offset, bytes, label, parent);
    ret = write_prepare(&io, offset, bytes, 0);
    if (ret == 0) {
        ret = discard_body(&io, offset, bytes);
        write_finish(&io, REQ_DISCARD, offset, bytes, ret);
    }
    io_end(&io);
    return ret;
}
