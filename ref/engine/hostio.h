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
    struct job job;              /* back ends' queues */
    struct world *w;
    struct co *co;
    unsigned id;                 /* submission number in this world */
    enum host_op_kind kind;
    int fd;
    int mode;                    /* open flags, fallocate mode */
    mode_t perm;
    const char *path;
    const struct iov *q;
    size_t q_off, bytes;
    int64_t offset;
    int to_fd;
    int64_t to_offset;
    int (*fn)(void *arg);
    void *arg;
    int64_t result;              /* count, 0 or -errno */
};

/* Runs the operation to its end in the calling thread; touches nothing but *op. */
void host_op_execute(struct host_op *op);
/* Fills v[0..max) with the pieces of q's [offset, offset + bytes): returns their number. */
int host_op_slice(const struct iov *q, size_t offset, size_t bytes, struct iovec *v, int max);

/* Waits for all operations in flight. */
void hostio_drain(struct world *w);
void hostio_free(struct world *w);

#endif
