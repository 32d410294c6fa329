/*
 * Copying between two nodes without moving the data through us, where every layer in between can.
 *
 * Only for profiles with copy offload; -ENOTSUP tells the caller to read and write instead.
 */
#include <assert.h>
#include <errno.h>
#include "ref/block/io_impl.h"

static int copy_check(struct child *c, int64_t offset, int64_t bytes)
{
    if (!c || !c->node || !c->node->drv) {
        return -ENOMEDIUM;
    }
    return io_check(offset, bytes) < 0 ? -EIO : 0;
}

static int copy_from(struct child *src, int64_t src_off, struct child *dst, int64_t dst_off,
                     int64_t bytes, unsigned read_flags, unsigned write_flags)
{
    struct node *n = src->node;
    struct io io;
    io_begin(&io, src, n, REQ_READ, src_off, bytes, LABEL_COPY_READ, NULL);
    tracked_wait(n, &io.t);
    int ret =
        n->drv->copy_range_from(n, src, src_off, dst, dst_off, bytes, read_flags, write_flags);
    io_end(&io);
    return ret;
}

int child_copy_range_to(struct child *src, int64_t src_off, struct child *dst, int64_t dst_off,
                        int64_t bytes, unsigned read_flags, unsigned write_flags)
{
    struct node *n = dst->node;
    int ret = copy_check(dst, dst_off, bytes);
    if (ret < 0) {
        return ret;
    }
    if (!src->node->drv || !n->drv->copy_range_to || src->node->encrypted || n->encrypted ||
        !io_aligned(n, dst_off, bytes)) {
        return -ENOTSUP;
    }
    struct io io;
    io_begin(&io, dst, n, REQ_WRITE, dst_off, bytes, LABEL_COPY_WRITE, NULL);
    ret = write_prepare(&io, dst_off, bytes, write_flags);
    if (ret == 0) {
        ret = n->drv->copy_range_to(n, src, src_off, dst, dst_off, bytes, read_flags, write_flags);
        write_finish(&io, REQ_WRITE, dst_off, bytes, ret);
    }
    if (ret == 0 && (write_flags & REQ_FUA) && n->drv->kind == DRIVER_PROTOCOL) {
        ret = node_flush(n, NULL);
    }
    io_end(&io);
    return ret;
}

int child_copy_range(struct child *src, int64_t src_off, struct child *dst, int64_t dst_off,
                     int64_t bytes, unsigned read_flags, unsigned write_flags)
{
    int ret = copy_check(src, src_off, bytes);
    if (ret == 0) {
        ret = copy_check(dst, dst_off, bytes);
    }
    if (ret < 0) {
        return ret;
    }
    struct node *n = src->node;
    if (!world_profile(n->w)->copy_offload || !n->drv->copy_range_from || n->encrypted ||
        dst->node->encrypted || !io_aligned(n, src_off, bytes) ||
        !io_aligned(dst->node, dst_off, bytes)) {
        return -ENOTSUP;
    }
    return bytes ? copy_from(src, src_off, dst, dst_off, bytes, read_flags, write_flags) : 0;
}
