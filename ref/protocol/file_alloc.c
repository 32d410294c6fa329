/*
 * How a file's bytes become zero, go away, or get room: the cheapest call that the host has, with
 * fall-backs.
 *
 * Models: punching holes, zeroing ranges, allocating, resizing with preallocation off, falloc and
 * full.  A call that the host refuses as unsupported is not tried again on this open file.  Leaves
 * out: writing buffers of zeroes instead (the block layer does it on -ENOTSUP).
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include "ref/protocol/file_internal.h"

#define ZERO_BUFFER (64 * KiB)
#define FIRST_BLOCK 4096

static bool unsupported(int ret)
{
    return ret == -EOPNOTSUPP || ret == -ENOSYS || ret == -ENODEV || ret == -ENOTTY;
}

/* One fallocate() call; -ENOTSUP and *never set when the host does not know it. */
static int try_fallocate(struct node *n, bool *never, int mode, int64_t offset, int64_t bytes)
{
    struct file_state *s = n->state;
    if (*never) {
        return -ENOTSUP;
    }
    int ret = host_fallocate(n->w, s->fd, mode, offset, bytes);
    if (unsupported(ret)) {
        *never = true;
        return -ENOTSUP;
    }
    return ret;
}

static int punch(struct node *n, int64_t offset, int64_t bytes)
{
    struct file_state *s = n->state;
    return try_fallocate(n, &s->no_punch, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset,
                         bytes);
}

/*
 * Without REQ_MAY_UNMAP the range stays allocated.  A range that ends behind the file grows it:
 * only the calls that never shrink are used, since another request may grow it at the same time.
 */
int file_write_zeroes(struct node *n, const struct request *r)
{
    struct file_state *s = n->state;
    struct stat st;
    int ret = host_fstat(n->w, s->fd, &st);
    if (ret < 0) {
        return ret;
    }
    bool grows = !s->is_device && r->offset + r->bytes > st.st_size;

    if ((r->flags & REQ_MAY_UNMAP) && !grows) {
        ret = punch(n, r->offset, r->bytes);
        if (ret != -ENOTSUP) {
            return ret;
        }
    }
    ret = try_fallocate(n, &s->no_zero_range, FALLOC_FL_ZERO_RANGE, r->offset, r->bytes);
    if (ret != -ENOTSUP || s->is_device) {
        return ret;
    }
    if (r->offset >= st.st_size) {
        return try_fallocate(n, &s->no_fallocate, 0, r->offset,
                             r->bytes); /* nothing there to zero */
    }
    if (s->no_fallocate) {
        return -ENOTSUP;
    }
    ret = punch(n, r->offset, r->bytes);
    return ret < 0 ? ret : try_fallocate(n, &s->no_fallocate, 0, r->offset, r->bytes);
}

int file_discard(struct node *n, const struct request *r)
{
    return punch(n, r->offset, r->bytes);
}

static int write_zero_buffers(struct world *w, int fd, int64_t from, int64_t to)
{
    void *zeroes = mem_try_aligned(FIRST_BLOCK, ZERO_BUFFER);
    int ret = 0;
    if (!zeroes) {
        return -ENOMEM;
    }
    memset(zeroes, 0, ZERO_BUFFER);
    while (from < to && ret == 0) {
        struct iov q;
        size_t len = (size_t)MIN(to - from, ZERO_BUFFER);
        iov_single(&q, zeroes, len);
        ret = host_pwritev(w, fd, &q, 0, len, from);
        from += (int64_t)len;
    }
    mem_free(zeroes);
    return ret;
}

/*
 * Gives a file that was empty its first block, so that what is found by reading there (alignment of
 * direct I/O) is true of data, not of a hole.  As a convenience only: failure is no error.
 */
static void allocate_first_block(struct world *w, int fd, int64_t size)
{
    write_zero_buffers(w, fd, 0, size < FIRST_BLOCK ? 512 : FIRST_BLOCK);
}

static int resize_full(struct world *w, int fd, int64_t old, int64_t size, struct error **err)
{
    int ret = host_ftruncate(w, fd, size);
    if (ret < 0) {
        return error_set_errno(err, -ret, "Could not resize file");
    }
    ret = write_zero_buffers(w, fd, old, size);
    if (ret < 0) {
        return error_set_errno(err, -ret, "Could not write zeros for preallocation");
    }
    ret = host_fdatasync(w, fd);
    return ret < 0 ? error_set_errno(err, -ret, "Could not flush file to disk") : 0;
}

static int resize_to(struct world *w, int fd, int64_t old, int64_t size, enum prealloc prealloc,
                     struct error **err)
{
    int ret = 0;
    switch (prealloc) {
    case PREALLOC_OFF:
        ret = host_ftruncate(w, fd, size);
        return ret < 0 ? error_set_errno(err, -ret, "Could not resize file") : 0;
    case PREALLOC_FALLOC:
        if (size > old) {
            ret = host_fallocate(w, fd, 0, old, size - old);
        }
        return ret < 0 ? error_set_errno(err, -ret, "Could not preallocate new data") : 0;
    case PREALLOC_FULL:
        return resize_full(w, fd, old, size, err);
    default:
        return error_set(err, ENOTSUP, "Unsupported preallocation mode: %s",
                         prealloc_names[prealloc]);
    }
}

int file_resize(struct world *w, int fd, int64_t size, enum prealloc prealloc, struct error **err)
{
    struct stat st;
    int ret = host_fstat(w, fd, &st);
    if (ret < 0) {
        return error_set_errno(err, -ret, "Could not inquire current file length");
    }
    int64_t old = st.st_size;
    if (prealloc != PREALLOC_OFF && prealloc != PREALLOC_METADATA && size < old) {
        return error_set(err, EINVAL, "Cannot use preallocation for shrinking files");
    }
    ret = resize_to(w, fd, old, size, prealloc, err);
    if (ret == 0 && old == 0 && size > 0 && prealloc != PREALLOC_FULL) {
        allocate_first_block(w, fd, size);
    }
    if (ret < 0 && prealloc != PREALLOC_OFF && prealloc != PREALLOC_METADATA) {
        int undo = host_ftruncate(w, fd, old);
        if (undo < 0) {
            world_report(w, REPORT_ERROR, "Failed to restore old file length: %s", strerror(-undo));
        }
    }
    return ret;
}
