/*
 * Host I/O: the calls of host.h, and the choice of the back end.
 *
 * Models: one operation, submitted by a coroutine that is suspended until its completion comes back
 * through the event queue.  Outside coroutines, and with IO_SYNC, it is run in place.
 */
#include "ref/engine/eventq.h"
#include "ref/engine/hostio.h"

#include <assert.h>
#include <errno.h>

static int64_t submit(struct world *w, struct host_op *op)
{
    op->w = w;
    op->co = w->self;
    if (w->io == IO_SYNC || !w->self) {
        host_op_execute(op);
        return op->result;
    }
    op->id = w->next_op++;
    w->inflight++;
    if (replaying(w)) {
        host_op_execute(op);
        list_push(&w->events->pending, &op->job.link);
        co_suspend(w, CO_WAITING);
    } else if (w->io != IO_URING || !uring_run(w, op)) {
        threads_run(w, op);
    }
    return op->result;
}

void host_op_complete(struct host_op *op)
{
    op->w->inflight--;
    event_note(op->w, EVENT_DONE, op->id, op->result);
    co_ready(op->co);
}

int host_open(struct world *w, const char *path, int flags, mode_t mode)
{
    struct host_op op = {.kind = HOP_OPEN, .path = path, .mode = flags, .perm = mode};

    return (int)submit(w, &op);
}

int host_close(struct world *w, int fd)
{
    struct host_op op = {.kind = HOP_CLOSE, .fd = fd};

    return (int)submit(w, &op);
}

static int64_t transfer(struct world *w, enum host_op_kind kind, int fd, const struct iov *q,
                        size_t q_off, size_t bytes, int64_t offset)
{
    struct host_op op = {
        .kind = kind,
        .fd = fd,
        .q = q,
        .q_off = q_off,
        .bytes = bytes,
        .offset = offset,
    };

    assert(q_off <= q->size && bytes <= q->size - q_off && offset >= 0);
    return submit(w, &op);
}

ssize_t host_preadv(struct world *w, int fd, const struct iov *q, size_t q_off, size_t bytes,
                    int64_t offset)
{
    return transfer(w, HOP_READ, fd, q, q_off, bytes, offset);
}

int host_pwritev(struct world *w, int fd, const struct iov *q, size_t q_off, size_t bytes,
                 int64_t offset)
{
    return (int)transfer(w, HOP_WRITE, fd, q, q_off, bytes, offset);
}

int host_fdatasync(struct world *w, int fd)
{
    struct host_op op = {.kind = HOP_SYNC, .fd = fd};

    return (int)submit(w, &op);
}

int host_ftruncate(struct world *w, int fd, int64_t size)
{
    struct host_op op = {.kind = HOP_TRUNCATE, .fd = fd, .offset = size};

    return (int)submit(w, &op);
}

int host_fallocate(struct world *w, int fd, int mode, int64_t offset, int64_t bytes)
{
    struct host_op op = {
        .kind = HOP_ALLOCATE,
        .fd = fd,
        .mode = mode,
        .offset = offset,
        .bytes = (size_t)bytes,
    };

    return (int)submit(w, &op);
}

int host_fstat(struct world *w, int fd, struct stat *st)
{
    return fstat(fd, st) < 0 ? -errno : 0; /* of an open file: does not block */
}

ssize_t host_copy_range(struct world *w, int in, int64_t in_off, int out, int64_t out_off,
                        size_t bytes)
{
    struct host_op op = {
        .kind = HOP_COPY,
        .fd = in,
        .offset = in_off,
        .to_fd = out,
        .to_offset = out_off,
        .bytes = bytes,
    };

    return submit(w, &op);
}

int host_call(struct world *w, int (*fn)(void *arg), void *arg)
{
    struct host_op op = {.kind = HOP_CALL, .fn = fn, .arg = arg};

    return (int)submit(w, &op);
}

void hostio_drain(struct world *w)
{
    if (replaying(w)) {
        w->inflight = 0; /* all done, and not delivered for ever */
    }
    while (w->inflight > 0) {
        wait_events(w, -1);
    }
}

void hostio_free(struct world *w)
{
    threads_free(w);
    uring_free(w);
    signals_free(w);
}
