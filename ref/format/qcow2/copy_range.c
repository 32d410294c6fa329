/*
 * Copy offload of qcow2 images: guest data goes from host file to host file where both ends are
 * plain clusters.
 *
 * From: holes are asked of the backing file, zeroes become zeroes, compressed clusters cannot
 * (-ENOTSUP: the caller reads and writes).  To: clusters are allocated as for a write, and what is
 * copied on write around the range is copied by us.  Leaves out: encrypted images (refused above).
 */
#include "ref/format/qcow2/qcow2.h"

#include <errno.h>

struct target {
    struct child *dst;
    int64_t offset;
    unsigned read_flags, write_flags;
};

static int zeroes(const struct target *t, uint64_t bytes)
{
    return bytes ? child_pwrite_zeroes(t->dst, t->offset, (int64_t)bytes, t->write_flags,
                                       LABEL_NONE, NULL)
                 : 0;
}

/* What the backing file has, and zeroes behind its end. */
static int copy_backing(struct qcow2 *s, uint64_t offset, uint64_t bytes, struct target t)
{
    struct child *b = s->n->backing;
    int64_t len = b ? child_length(b) : 0;
    if (len < 0) {
        return (int)len;
    }
    uint64_t n = offset < (uint64_t)len ? MIN(bytes, (uint64_t)len - offset) : 0;
    int ret = n ? child_copy_range(b, (int64_t)offset, t.dst, t.offset, (int64_t)n, t.read_flags,
                                   t.write_flags)
                : 0;
    t.offset += (int64_t)n;
    return ret < 0 ? ret : zeroes(&t, bytes - n);
}

static int copy_piece(struct qcow2 *s, uint64_t offset, uint64_t bytes, uint64_t host,
                      enum subcluster_type type, const struct target *t)
{
    switch (type) {
    case SUBCLUSTER_ZERO_PLAIN:
    case SUBCLUSTER_ZERO_ALLOC:
        return zeroes(t, bytes);
    case SUBCLUSTER_UNALLOCATED_PLAIN:
    case SUBCLUSTER_UNALLOCATED_ALLOC:
        return copy_backing(s, offset, bytes, *t);
    case SUBCLUSTER_COMPRESSED:
        return -ENOTSUP;
    default:
        return child_copy_range(s->data_file, (int64_t)host, t->dst, t->offset, (int64_t)bytes,
                                t->read_flags, t->write_flags);
    }
}

int qcow2_copy_range_from(struct node *node, struct child *src, int64_t src_off, struct child *dst,
                          int64_t dst_off, int64_t bytes, unsigned read_flags, unsigned write_flags)
{
    struct qcow2 *s = qcow2_state(node);
    struct target t = {dst, dst_off, read_flags, write_flags};
    uint64_t offset = (uint64_t)src_off, left = (uint64_t)bytes;
    int ret = 0;
    while (left > 0 && ret == 0) {
        uint64_t n = left, host;
        enum subcluster_type type;
        struct qcow2_io io;
        co_lock(s->w, &s->lock);
        ret = s->dead ? -ENOMEDIUM : qcow2_get_host(s, offset, &n, &host, &type, NULL);
        bool busy = ret == 0 && type == SUBCLUSTER_NORMAL;
        if (busy) {
            qcow2_io_begin(s, &io, host, n);
        }
        co_unlock(s->w, &s->lock);
        if (ret == 0) {
            ret = copy_piece(s, offset, n, host, type, &t);
        }
        if (busy) {
            qcow2_io_end(s, &io);
        }
        offset += n;
        t.offset += (int64_t)n;
        left -= n;
    }
    return ret;
}

int qcow2_copy_range_to(struct node *node, struct child *src, int64_t src_off, struct child *dst,
                        int64_t dst_off, int64_t bytes, unsigned read_flags, unsigned write_flags)
{
    struct qcow2_source from = {.src = src, .src_off = src_off, .read_flags = read_flags};
    return qcow2_write_from(qcow2_state(node), (uint64_t)dst_off, (uint64_t)bytes, &from, NULL);
}
