/*
 * The synchronous back end: an operation as plain system calls of the calling thread.
 *
 * Models: vectors split at SLICE_MAX pieces, partial transfers continued, EINTR retried.  Worker
 * threads run the same code.
 */
#include "ref/engine/hostio.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define SLICE_MAX 256 /* below IOV_MAX, to keep the array off the guard page */
#define RETRY(call)                                                                                \
    ({                                                                                             \
        __typeof__(call) r_;                                                                       \
        do {                                                                                       \
            r_ = (call);                                                                           \
        } while (r_ < 0 && errno == EINTR);                                                        \
        r_;                                                                                        \
    })

int host_op_slice(const struct iov *q, size_t offset, size_t bytes, struct iovec *v, int max)
{
    int n = 0;

    for (int i = 0; i < q->n && bytes > 0 && n < max; i++) {
        size_t len = q->v[i].iov_len;

        if (offset >= len) {
            offset -= len;
            continue;
        }
        len = MIN(len - offset, bytes);
        v[n++] = (struct iovec){(char *)q->v[i].iov_base + offset, len};
        bytes -= len;
        offset = 0;
    }
    return n;
}

static int64_t transfer(struct host_op *op)
{
    bool write = op->kind == HOP_WRITE;
    struct iovec v[SLICE_MAX];
    size_t done = 0;

    while (done < op->bytes) {
        int n = host_op_slice(op->q, op->q_off + done, op->bytes - done, v, SLICE_MAX);
        off_t at = op->offset + (int64_t)done;
        ssize_t r = write ? RETRY(pwritev(op->fd, v, n, at)) : RETRY(preadv(op->fd, v, n, at));

        if (r < 0) {
            return -errno;
        }
        if (r == 0) {
            return write ? -ENOSPC : (int64_t)done;
        }
        done += (size_t)r;
    }
    return write ? 0 : (int64_t)done;
}

static int64_t copy(struct host_op *op)
{
    size_t done = 0;

    while (done < op->bytes) {
        off_t in = op->offset + (int64_t)done, out = op->to_offset + (int64_t)done;
        ssize_t r = RETRY(copy_file_range(op->fd, &in, op->to_fd, &out, op->bytes - done, 0));

        if (r < 0 && done == 0) {
            return -errno;
        }
        if (r <= 0) {
            break;
        }
        done += (size_t)r;
    }
    return (int64_t)done;
}

static int64_t or_errno(int r)
{
    return r < 0 ? -errno : r;
}

void host_op_execute(struct host_op *op)
{
    switch (op->kind) {
    case HOP_OPEN:
        op->result = or_errno(RETRY(open(op->path, op->mode | O_CLOEXEC, op->perm)));
        break;
    case HOP_CLOSE:
        op->result = or_errno(close(op->fd)); /* never again: after EINTR it is closed */
        op->result = op->result == -EINTR ? 0 : op->result;
        break;
    case HOP_READ:
    case HOP_WRITE:
        op->result = transfer(op);
        break;
    case HOP_SYNC:
        op->result = or_errno(RETRY(fdatasync(op->fd)));
        break;
    case HOP_TRUNCATE:
        op->result = or_errno(RETRY(ftruncate(op->fd, op->offset)));
        break;
    case HOP_ALLOCATE:
        op->result = or_errno(RETRY(fallocate(op->fd, op->mode, op->offset, (off_t)op->bytes)));
        break;
    case HOP_COPY:
        op->result = copy(op);
        break;
    case HOP_CALL:
        op->result = op->fn(op->arg);
        break;
    }
}
