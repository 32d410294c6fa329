/*
 * The seam between host.h's calls and the back ends; nobody outside ref/engine includes it.
 */
#ifndef BLKREF_ENGINE_HOSTIO_H
#define BLKREF_ENGINE_HOSTIO_H

#include "ref/engine/host.h"
#include "ref/engine/internal.h"
#include "ref/engine/workers.h"

enum host_op_kind {
    HOP_OPEN,
    HOP_CLOSE,
    HOP_READ,
    HOP_WRITE,
    HOP_SYNC,
    HOP_TRUNCATE,
    HOP_ALLOCATE,
    HOP_COPY,
    HOP_CALL,
};

/* One operation; lives on the stack of the coroutine that waits for it. */
struct host_op {
    struct job job; /* its link also serves the back ends' queues */
    struct world *w;
    struct co *co;
    unsigned id; /* submission number in this world */
    enum host_op_kind kind;
    int fd;
    int mode; /* open flags, fallocate mode */
    mode_t perm;
    const char *path;
    const struct iov *q;
    size_t q_off, bytes;
    int64_t offset;
    int to_fd;
    int64_t to_offset;
    int (*fn)(void *arg);
    void *arg;
    size_t done;         /* io_uring: bytes transferred so far */
    struct iovec *slice; /* io_uring: room for the pieces in flight */
    int64_t result;      /* count, 0 or -errno */
};

/* Runs the operation to its end in the calling thread; touches nothing but *op. */
void host_op_execute(struct host_op *op);
/* Fills v[0..max) with the pieces of q's [offset, offset + bytes): returns their number. */
int host_op_slice(const struct iov *q, size_t offset, size_t bytes, struct iovec *v, int max);
/* Scheduler: op->result is final; its coroutine goes on. */
void host_op_complete(struct host_op *op);

/* host_threads.c: suspends the running coroutine until a worker has run op. */
void threads_run(struct world *w, struct host_op *op);
int threads_fd(const struct world *w); /* readable when there is something to take; -1 */
bool threads_take(struct world *w);    /* completes what is done; true when there was any */
void threads_free(struct world *w);

/* host_uring.c: as above; uring_run() returns false when the ring cannot take op. */
bool uring_run(struct world *w, struct host_op *op);
int uring_fd(const struct world *w);
/* Hands what is queued to the kernel. */
void uring_flush(struct world *w);
/* The same, and waits for a completion. */
void uring_wait(struct world *w);
bool uring_take(struct world *w);
void uring_free(struct world *w);

/* poll.c */
struct poll_wait {
    struct list link;
    struct world *w;
    struct co *co;
    unsigned id;
    int fd;
    short events;
    int result;
    struct timer timer;
};
void poll_complete(struct poll_wait *p, int result);

/* signal.c */
int signals_fd(const struct world *w);
bool signals_take(struct world *w);
void signals_deliver(struct world *w, int signo);
void signals_free(struct world *w);

/* Waits for all operations in flight. */
void hostio_drain(struct world *w);
void hostio_free(struct world *w);

#endif
