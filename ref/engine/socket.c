/*
 * Sockets: calls whose results and data go through the event record.
 *
 * Models: try without blocking, wait with host_poll(), try again.  Descriptors that are no sockets
 * (pipes, terminals) are waited for first.  Leaves out: datagrams, ancillary data.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ref/base/iov.h"
#include "ref/engine/eventq.h"
#include "ref/engine/hostio.h"

#define SLICE_MAX 64
#define OR_ERRNO(call)                                                                             \
    ({                                                                                             \
        ssize_t r_ = (call);                                                                       \
        r_ < 0 ? -errno : r_;                                                                      \
    })

enum call { CALL_RECV, CALL_SEND, CALL_CONNECT, CALL_ACCEPT };

static bool must_wait(ssize_t r)
{
    return r == -EAGAIN || r == -EWOULDBLOCK;
}

/* Replay: the recorded result; received data goes into q. */
static ssize_t replay_call(struct world *w, enum call call, const struct iov *q, size_t q_off,
                           size_t bytes)
{
    const struct event *e = event_expect(w, EVENT_SOCKET, call);

    if (!e || e->len > bytes) {
        return -ECONNABORTED;
    }
    if (e->len > 0) {
        iov_from_buf(q, q_off, e->data, e->len);
    }
    return e->value;
}

static ssize_t try_transfer(struct world *w, enum call call, int fd, const struct iov *q,
                            size_t q_off, size_t bytes, bool waited)
{
    struct iovec v[SLICE_MAX];
    struct msghdr msg = {.msg_iov = v};
    bool in = call == CALL_RECV;
    ssize_t r;

    if (replaying(w)) {
        return replay_call(w, call, q, q_off, bytes);
    }
    msg.msg_iovlen = (size_t)host_op_slice(q, q_off, bytes, v, SLICE_MAX);
    do {
        r = OR_ERRNO(in ? recvmsg(fd, &msg, MSG_DONTWAIT)
                        : sendmsg(fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL));
        if (r == -ENOTSOCK && !waited) {
            r = -EAGAIN;
        } else if (r == -ENOTSOCK) {
            r = OR_ERRNO(in ? readv(fd, v, (int)msg.msg_iovlen)
                            : writev(fd, v, (int)msg.msg_iovlen));
        }
    } while (r == -EINTR);
    event_note_data(w, EVENT_SOCKET, call, r, q, q_off, in && r > 0 ? (size_t)r : 0);
    return r;
}

static ssize_t transfer(struct world *w, enum call call, int fd, const struct iov *q, size_t q_off,
                        size_t bytes)
{
    bool waited = false;
    ssize_t r;

    assert(w->self && q_off <= q->size && bytes <= q->size - q_off);
    while (must_wait(r = try_transfer(w, call, fd, q, q_off, bytes, waited))) {
        int ret = host_poll(w, fd, call == CALL_RECV ? POLLIN : POLLOUT, -1);

        if (ret < 0) {
            return ret;
        }
        waited = true;
    }
    return r;
}

ssize_t host_recv(struct world *w, int fd, const struct iov *q, size_t q_off, size_t bytes)
{
    return bytes > 0 ? transfer(w, CALL_RECV, fd, q, q_off, bytes) : 0;
}

int host_send(struct world *w, int fd, const struct iov *q, size_t q_off, size_t bytes)
{
    while (bytes > 0) {
        ssize_t r = transfer(w, CALL_SEND, fd, q, q_off, bytes);

        if (r < 0) {
            return (int)r;
        }
        q_off += (size_t)r;
        bytes -= (size_t)r;
    }
    return 0;
}

static int set_nonblocking(int fd)
{
    int flags = fcntl(fd, F_GETFL);

    return flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ? -errno : 0;
}

static int try_connect(struct world *w, int fd, const struct sockaddr *addr, socklen_t len)
{
    int ret = set_nonblocking(fd);

    if (ret == 0) {
        ret = (int)OR_ERRNO(connect(fd, addr, len));
    }
    /* Interrupted, it goes on in the background.  A full UNIX backlog (EAGAIN) does not. */
    return ret == -EINTR ? -EINPROGRESS : ret;
}

static int connect_result(int fd)
{
    int error = 0;
    socklen_t len = sizeof(error);

    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0 ? -errno : -error;
}

int host_connect(struct world *w, int fd, const struct sockaddr *addr, socklen_t len,
                 int64_t deadline)
{
    int ret;

    assert(w->self);
    if (replaying(w)) {
        ret = (int)replay_call(w, CALL_CONNECT, NULL, 0, 0);
    } else {
        ret = try_connect(w, fd, addr, len);
        event_note(w, EVENT_SOCKET, CALL_CONNECT, ret);
    }
    if (ret != -EINPROGRESS) {
        return ret;
    }
    ret = host_poll(w, fd, POLLOUT, deadline);
    if (ret <= 0) {
        return ret < 0 ? ret : -ETIMEDOUT;
    }
    return (int)event_value(w, EVENT_SOCKET, CALL_CONNECT, replaying(w) ? 0 : connect_result(fd));
}

static int try_accept(struct world *w, int fd)
{
    int ret;

    if (replaying(w)) {
        ret = (int)replay_call(w, CALL_ACCEPT, NULL, 0, 0);
        /* Something to close; it is never read. */
        return ret < 0 ? ret : (int)OR_ERRNO(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    }
    ret = set_nonblocking(fd);
    if (ret == 0) {
        ret = (int)OR_ERRNO(accept4(fd, NULL, NULL, SOCK_CLOEXEC));
    }
    event_note(w, EVENT_SOCKET, CALL_ACCEPT, ret);
    return ret;
}

int host_accept(struct world *w, int fd)
{
    int ret;

    assert(w->self);
    for (;;) {
        ret = try_accept(w, fd);
        if (ret == -EINTR || ret == -ECONNABORTED) {
            if (replaying(w) && world_replay_error(w)) {
                return ret;
            }
            continue;
        }
        if (!must_wait(ret)) {
            return ret;
        }
        ret = host_poll(w, fd, POLLIN, -1);
        if (ret < 0) {
            return ret;
        }
    }
}
