/*
 * Changing the length of a node.
 *
 * Growth excludes requests on the new part until it is done.  Where a longer backing file would
 * show through in the new part, the driver must make that part read as zeroes.
 */
#include <assert.h>
#include <errno.h>
#include "ref/block/io_impl.h"

static int truncate_driver(struct node *n, int64_t size, bool exact, enum prealloc prealloc,
                           unsigned flags, struct error **err)
{
    struct child *filtered = node_filtered(n);
    if (n->drv->truncate) {
        if (flags & ~n->truncate_flags) {
            return error_set(err, ENOTSUP, "Block driver does not support requested flags");
        }
        return n->drv->truncate(n, size, exact, prealloc, flags, err);
    }
    if (filtered) {
        return child_truncate(filtered, size, exact, prealloc, flags, err);
    }
    return error_set(err, ENOTSUP, "Image format driver does not support resize");
}

static int truncate_tracked(struct io *io, int64_t size, bool exact, enum prealloc prealloc,
                            unsigned flags, struct error **err)
{
    struct node *n = io->n;
    struct child *cow = node_cow_child(n);
    int64_t grown = io->t.bytes;
    int ret;
    if (grown) {
        /* A format may move its last cluster, to which the old disk's end belongs. */
        tracked_make_serialising(n, &io->t, (uint64_t)MAX(n->limits.discard_alignment, 1));
    }
    if (n->read_only) {
        return error_set(err, EACCES, "Image is read-only");
    }
    ret = write_prepare(io, 0, 0, 0);
    if (ret < 0) {
        return error_set_errno(err, -ret, "Failed to prepare request for truncation");
    }
    if (grown && cow) {
        int64_t backing = node_length(cow->node);
        if (backing < 0) {
            return error_set_errno(err, (int)-backing, "Could not get backing file size");
        }
        if (backing > io->t.offset) {
            flags |= REQ_ZERO_GROWN;
        }
    }
    ret = truncate_driver(n, size, exact, prealloc, flags, err);
    if (ret < 0) {
        return ret;
    }
    ret = node_refresh_length(n);
    if (ret < 0) {
        return error_set_errno(err, -ret, "Could not refresh total sector count");
    }
    n->write_gen++;
    node_resized(n);
    if (grown) {
        node_written(n, io->t.offset, grown);
    }
    return 0;
}

int child_truncate(struct child *c, int64_t size, bool exact, enum prealloc prealloc,
                   unsigned flags, struct error **err)
{
    struct node *n = c->node;
    if (!n->drv) {
        return error_set(err, ENOMEDIUM, "No medium inserted");
    }
    if (size < 0) {
        return error_set(err, EINVAL, "Image size cannot be negative");
    }
    int ret = request_check(size, 0, err);
    if (ret < 0) {
        return ret;
    }
    int64_t old = node_length(n);
    if (old == -ENOMEDIUM) {
        return error_set(err, ENOMEDIUM, "No medium inserted");
    }
    if (old < 0) {
        return error_set_errno(err, (int)-old, "Failed to get old image size");
    }
    assert(c->perm & PERM_RESIZE);
    struct io io;
    int64_t grown = size > old ? size - old : 0;
    io_begin(&io, c, n, REQ_WRITE, size - grown, grown, LABEL_NONE, NULL);
    ret = truncate_tracked(&io, size, exact, prealloc, flags, err);
    io_end(&io);
    return ret;
}
