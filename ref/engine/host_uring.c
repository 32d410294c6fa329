/*
 * The io_uring back end: reads, writes and syncs; everything else goes to worker threads.
 *
 * Models: one ring a world, made for its first operation.  Submissions are batched: the kernel
 * hears of them when the scheduler has nothing else to run (or looks for completions).  Partial
 * transfers are continued.
 */
#include <assert.h>
#include <errno.h>
#include <liburing.h>

#include "ref/engine/hostio.h"
#include "ref/engine/sanitize.h"

#define RING_ENTRIES 128
#define SLICE_MAX    64

struct aio_uring {
    struct io_uring ring;
    bool broken;       /* the kernel refused: workers take over */
    unsigned queued;   /* not yet handed to the kernel */
    unsigned inflight; /* with those */
};

static struct aio_uring *uring_get(struct world *w)
{
    if (!w->uring) {
        w->uring = mem_zalloc(sizeof(*w->uring));
        w->uring->broken = io_uring_queue_init(RING_ENTRIES, &w->uring->ring, 0) < 0;
    }
    return w->uring->broken ? NULL : w->uring;
}

void uring_flush(struct world *w)
{
    if (w->uring && w->uring->queued > 0) {
        int n = io_uring_submit(&w->uring->ring);

        if (n > 0) {
            w->uring->queued -= MIN(w->uring->queued, (unsigned)n);
        }
    }
}

void host_limit_batch(struct world *w, uint64_t n)
{
    if (n && (!w->batch || n < w->batch)) {
        w->batch = n;
    }
}

static void prepare(struct io_uring_sqe *sqe, struct host_op *op)
{
    uint64_t at = (uint64_t)op->offset + op->done;
    int n;

    if (op->kind == HOP_SYNC) {
        io_uring_prep_fsync(sqe, op->fd, IORING_FSYNC_DATASYNC);
    } else {
        n = host_op_slice(op->q, op->q_off + op->done, op->bytes - op->done, op->slice, SLICE_MAX);
        if (op->kind == HOP_READ) {
            io_uring_prep_readv(sqe, op->fd, op->slice, (unsigned)n, at);
        } else {
            io_uring_prep_writev(sqe, op->fd, op->slice, (unsigned)n, at);
        }
    }
    io_uring_sqe_set_data(sqe, op);
}

static bool queue(struct world *w, struct host_op *op)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&w->uring->ring);

    if (!sqe) {
        uring_flush(w);
        sqe = io_uring_get_sqe(&w->uring->ring);
    }
    if (!sqe) {
        return false;
    }
    prepare(sqe, op);
    w->uring->queued++;
    w->uring->inflight++;
    if (w->batch && w->uring->queued >= w->batch) {
        uring_flush(w);
    }
    return true;
}

bool uring_run(struct world *w, struct host_op *op)
{
    struct iovec slice[SLICE_MAX];

    if ((op->kind != HOP_READ && op->kind != HOP_WRITE && op->kind != HOP_SYNC) || !uring_get(w)) {
        return false;
    }
    op->slice = slice;
    if (!queue(w, op)) {
        return false;
    }
    co_suspend(w, CO_WAITING);
    return true;
}

int uring_fd(const struct world *w)
{
    return w->uring && w->uring->inflight > 0 ? w->uring->ring.ring_fd : -1;
}

void uring_wait(struct world *w)
{
    int n = io_uring_submit_and_wait(&w->uring->ring, 1);

    if (n > 0) {
        w->uring->queued -= MIN(w->uring->queued, (unsigned)n);
    }
}

/* Valgrind does not see what the kernel writes for a ring. */
static void mark_defined(struct host_op *op, size_t bytes)
{
    for (int i = 0; op->kind == HOP_READ && bytes > 0; i++) {
        size_t n = MIN(bytes, op->slice[i].iov_len);

        (void)VALGRIND_MAKE_MEM_DEFINED(op->slice[i].iov_base, n);
        bytes -= n;
    }
}

/* True when `res` ends op; else the rest has been queued again. */
static bool finished(struct world *w, struct host_op *op, int res)
{
    if (res == -EINTR || res == -EAGAIN) {
        /* as if nothing had happened */
    } else if (res < 0 || op->kind == HOP_SYNC) {
        op->result = res;
        return true;
    } else {
        mark_defined(op, (size_t)res);
        op->done += (size_t)res;
        if (res == 0 || op->done == op->bytes) {
            op->result = op->kind == HOP_READ   ? (int64_t)op->done
                         : op->done < op->bytes ? -ENOSPC
                                                : 0;
            return true;
        }
    }
    if (!queue(w, op)) {
        op->result = -EAGAIN;
        return true;
    }
    return false;
}

bool uring_take(struct world *w)
{
    struct io_uring_cqe *cqe;
    bool any = false;

    if (!w->uring || w->uring->inflight == 0) {
        return false;
    }
    while (io_uring_peek_cqe(&w->uring->ring, &cqe) == 0) {
        struct host_op *op = io_uring_cqe_get_data(cqe);
        int res = cqe->res;

        io_uring_cqe_seen(&w->uring->ring, cqe);
        w->uring->inflight--;
        if (finished(w, op, res)) {
            host_op_complete(op);
            any = true;
        }
    }
    return any;
}

void uring_free(struct world *w)
{
    if (w->uring) {
        assert(w->uring->inflight == 0);
        if (!w->uring->broken) {
            io_uring_queue_exit(&w->uring->ring);
        }
        mem_free(w->uring);
        w->uring = NULL;
    }
}
