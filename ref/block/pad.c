/*
 * Padding: an unaligned request made aligned by a block before and a block behind it.
 *
 * Only the first and the last block get a buffer of ours; the caller's memory is used in place
 * between them. Blocks that touch (or are the same one) share one buffer and are read at once.
 */
#include <assert.h>
#include <errno.h>
#include "ref/block/io_impl.h"

int pad_init(struct pad *p, struct node *n, int64_t offset, int64_t bytes, const struct iov *q,
             size_t q_off)
{
    int64_t align = n->limits.request_alignment;
    *p = (struct pad){.head = offset & (align - 1), .tail = -(offset + bytes) & (align - 1)};
    p->offset = offset - p->head;
    p->bytes = p->head + bytes + p->tail;
    assert(bytes > 0 && (p->head || p->tail));

    p->one = p->bytes == align || (p->bytes == 2 * align && p->head && p->tail);
    int64_t len = p->one ? p->bytes : align * ((p->head != 0) + (p->tail != 0));
    p->buf = node_try_blockalign(n, (size_t)len);
    if (!p->buf) {
        return -ENOMEM;
    }
    p->tail_block = p->buf + len - align;
    iov_init(&p->iov);
    if (!q) {
        return 0;
    }
    if (p->head) {
        iov_add(&p->iov, p->buf, (size_t)p->head);
    }
    iov_add_slice(&p->iov, q, q_off, (size_t)bytes);
    if (p->tail) {
        iov_add(&p->iov, p->tail_block + align - p->tail, (size_t)p->tail);
    }
    return 0;
}

void pad_destroy(struct pad *p)
{
    iov_destroy(&p->iov);
    mem_free(p->buf);
}

static int read_block(struct io *io, int64_t offset, void *buf, int64_t bytes)
{
    struct iov q;
    iov_single(&q, buf, (size_t)bytes);
    return read_body(io, offset, bytes, &q, 0);
}

int pad_read(struct pad *p, struct io *io)
{
    int64_t align = io->n->limits.request_alignment;
    bool tail_too = p->one && p->tail;

    if (p->head || p->one) {
        if (p->head) {
            node_event(io->n, LABEL_PWRITEV_RMW_HEAD, io->parent);
        }
        if (tail_too) {
            node_event(io->n, LABEL_PWRITEV_RMW_TAIL, io->parent);
        }
        int ret = read_block(io, p->offset, p->buf, p->one ? p->bytes : align);
        if (ret < 0) {
            return ret;
        }
        if (p->head) {
            node_event(io->n, LABEL_PWRITEV_RMW_AFTER_HEAD, io->parent);
        }
        if (tail_too) {
            node_event(io->n, LABEL_PWRITEV_RMW_AFTER_TAIL, io->parent);
        }
    }
    if (p->tail && !p->one) {
        node_event(io->n, LABEL_PWRITEV_RMW_TAIL, io->parent);
        int ret = read_block(io, p->offset + p->bytes - align, p->tail_block, align);
        if (ret < 0) {
            return ret;
        }
        node_event(io->n, LABEL_PWRITEV_RMW_AFTER_TAIL, io->parent);
    }
    return 0;
}
