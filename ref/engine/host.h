/*
 * Host I/O: the only door to files and sockets.
 *
 * Submit and complete through the world's back end (synchronous, worker threads, io_uring);
 * completions come back through the one recorded event queue.  The calling coroutine is suspended
 * until the operation is done; with IO_SYNC nothing suspends.  All return a count or 0, or -errno;
 * EINTR is retried.
 */
#ifndef BLKREF_ENGINE_HOST_H
#define BLKREF_ENGINE_HOST_H

#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>
#include "ref/base/iov.h"
#include "ref/engine/world.h"

int host_open(struct world *w, const char *path, int flags, mode_t mode);
int host_close(struct world *w, int fd);
/* Bytes read: less than asked only at end of file. */
ssize_t host_preadv(struct world *w, int fd, const struct iov *q, size_t q_off, size_t bytes,
                    int64_t offset);
/* Writes all: returns 0 or -errno. */
int host_pwritev(struct world *w, int fd, const struct iov *q, size_t q_off, size_t bytes,
                 int64_t offset);
int host_fdatasync(struct world *w, int fd);
int host_ftruncate(struct world *w, int fd, int64_t size);
int host_fallocate(struct world *w, int fd, int mode, int64_t offset, int64_t bytes);
int host_fstat(struct world *w, int fd, struct stat *st);
ssize_t host_copy_range(struct world *w, int in, int64_t in_off, int out, int64_t out_off,
                        size_t bytes);
/* At most n requests are handed to the kernel at once (io_uring gathers them); 0: no limit.  The
 * smallest limit of a world counts. */
void host_limit_batch(struct world *w, uint64_t n);
/* Any other blocking call: fn runs on a worker (or at once, IO_SYNC); it must not touch the world.
 */
int host_call(struct world *w, int (*fn)(void *arg), void *arg);

/* Suspends until fd is readable (POLLIN) or writable (POLLOUT), or the deadline on CLOCK_REAL (ns,
 * -1: none) passes: revents, 0 on time-out, -ECANCELED. */
int host_poll(struct world *w, int fd, short events, int64_t deadline);
void host_poll_cancel(struct co *co); /* no-op when co is in no host_poll() */

/*
 * Sockets (and pipes, terminals): use these, not the system calls, so that a run can be replayed
 * from its record (events.h).  host_poll_cancel() ends them with -ECANCELED while they wait.
 */
ssize_t host_recv(struct world *w, int fd, const struct iov *q, size_t q_off,
                  size_t bytes); /* >= 1; 0: end */
int host_send(struct world *w, int fd, const struct iov *q, size_t q_off,
              size_t bytes); /* all, no SIGPIPE */
/* These make fd non-blocking.  Deadline on CLOCK_REAL as above: -ETIMEDOUT. */
int host_connect(struct world *w, int fd, const struct sockaddr *addr, socklen_t len,
                 int64_t deadline);
int host_accept(struct world *w, int fd); /* the new descriptor (close-on-exec) */

/*
 * Delivers signal `signo` as an event: fn runs in the scheduler and may only wake coroutines.  NULL
 * ignores it. The signal stays blocked in this thread until world_free(); children inherit that.
 */
int host_on_signal(struct world *w, int signo, void (*fn)(void *arg, int signo), void *arg);

#endif
