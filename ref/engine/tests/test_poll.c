/*
 * Descriptors, sockets and signals as events.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/un.h>
#include <unistd.h>

#include "ref/base/strbuf.h"
#include "ref/engine/clock.h"
#include "ref/engine/host.h"

#define MS 1000000LL

struct fixture {
    struct process *p;
    struct world *w;
    struct strbuf log;
    int fd[2];
    struct co *co;
    int result;
    int64_t deadline;
    short events;
};

static int setup(void **state)
{
    struct fixture *f = mem_zalloc(sizeof(*f));

    f->p = process_new();
    f->w = world_new(f->p, &(struct world_config){.simulated_time = true});
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, f->fd), 0);
    f->deadline = -1;
    f->events = POLLIN;
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    world_free(f->w);
    process_free(f->p);
    strbuf_free(&f->log);
    close(f->fd[0]);
    close(f->fd[1]);
    mem_free(f);
    return 0;
}

static void polls(void *arg)
{
    struct fixture *f = arg;

    f->co = co_self(f->w);
    f->result = host_poll(f->w, f->fd[0], f->events, f->deadline);
    strbuf_puts(&f->log, "polled ");
}

static void test_poll(void **state)
{
    struct fixture *f = *state;

    f->events = POLLOUT;
    assert_int_equal(world_exec(f->w, polls, f), 0);
    assert_int_equal(f->result, POLLOUT);
    f->events = POLLIN;
    co_spawn(f->w, "polls", polls, f);
    world_settle(f->w); /* does not wait for sockets */
    assert_int_equal(world_live(f->w), 1);
    assert_int_equal(write(f->fd[1], "x", 1), 1);
    world_settle(f->w);
    assert_int_equal(world_live(f->w), 0);
    assert_int_equal(f->result, POLLIN);
}

static void test_poll_times_out(void **state)
{
    struct fixture *f = *state;

    f->deadline = 250 * MS;
    assert_int_equal(world_exec(f->w, polls, f), 0);
    assert_int_equal(f->result, 0);
    assert_int_equal(clock_now(f->w, CLOCK_REAL), 250 * MS);
}

static void test_poll_before_deadline(void **state)
{
    struct fixture *f = *state;

    f->deadline = 250 * MS;
    assert_int_equal(write(f->fd[1], "x", 1), 1);
    assert_int_equal(world_exec(f->w, polls, f), 0);
    assert_int_equal(f->result, POLLIN);
    world_settle(f->w);
    assert_int_equal(clock_now(f->w, CLOCK_REAL), 0); /* its timer is gone */
}

static void cancels(void *arg)
{
    struct fixture *f = arg;

    co_sleep(f->w, CLOCK_REAL, 10);
    host_poll_cancel(f->co);
    host_poll_cancel(f->co);
    host_poll_cancel(co_self(f->w));
}

static void test_poll_is_cancelled(void **state)
{
    struct fixture *f = *state;

    co_spawn(f->w, "polls", polls, f);
    assert_int_equal(world_exec(f->w, cancels, f), 0);
    world_settle(f->w);
    assert_int_equal(f->result, -ECANCELED);
    assert_string_equal(f->log.s, "polled ");
}

/* Real time: the descriptor wakes the world long before the deadline, from another thread of
 * control. */
static void sends_later(void *arg)
{
    struct fixture *f = arg;
    struct iov q;

    co_sleep(f->w, CLOCK_REAL, 1 * MS);
    iov_single(&q, "y", 1);
    assert_int_equal(host_send(f->w, f->fd[1], &q, 0, 1), 0);
}

static void test_poll_in_real_time(void **state)
{
    struct fixture *f = *state;
    struct world *simulated = f->w;

    f->w = world_new(f->p, &(struct world_config){0});
    co_spawn(f->w, "sends", sends_later, f);
    f->deadline = clock_now(f->w, CLOCK_REAL) + 60000 * MS;
    assert_int_equal(world_exec(f->w, polls, f), 0);
    assert_int_equal(f->result, POLLIN);
    f->deadline = clock_now(f->w, CLOCK_REAL) + 1 * MS;
    f->events = 0;
    assert_int_equal(world_exec(f->w, polls, f), 0);
    assert_int_equal(f->result, 0);
    world_free(f->w);
    f->w = simulated;
}

enum { BIG = 1 << 20 };

static void sends_all(void *arg)
{
    struct fixture *f = arg;
    uint8_t *buf = mem_alloc(BIG);
    struct iov q;

    for (int i = 0; i < BIG; i++) {
        buf[i] = (uint8_t)(i * 7);
    }
    iov_init(&q);
    for (int i = 0; i < 1024; i++) {
        iov_add(&q, buf + i * 1024, 1024);
    }
    assert_int_equal(host_send(f->w, f->fd[0], &q, 0, BIG), 0);
    assert_int_equal(shutdown(f->fd[0], SHUT_WR), 0);
    iov_destroy(&q);
    mem_free(buf);
}

static void receives_all(void *arg)
{
    struct fixture *f = arg;
    uint8_t *buf = mem_alloc(BIG + 1);
    struct iov q;
    size_t got = 0;
    ssize_t n;

    iov_single(&q, buf, BIG + 1);
    while ((n = host_recv(f->w, f->fd[1], &q, got, BIG + 1 - got)) > 0) {
        got += (size_t)n;
    }
    assert_int_equal(n, 0);
    assert_int_equal(got, BIG);
    for (int i = 0; i < BIG; i++) {
        assert_int_equal(buf[i], (uint8_t)(i * 7));
    }
    mem_free(buf);
}

static void test_transfer_through_small_buffers(void **state)
{
    struct fixture *f = *state;

    co_spawn(f->w, "receives", receives_all, f);
    assert_int_equal(world_exec(f->w, sends_all, f), 0);
    world_settle(f->w);
    assert_int_equal(world_live(f->w), 0);
}

static void sends_to_nobody(void *arg)
{
    struct fixture *f = arg;
    struct iov q;

    iov_single(&q, "x", 1);
    assert_int_equal(host_send(f->w, f->fd[0], &q, 0, 1), -EPIPE); /* and no SIGPIPE */
    assert_int_equal(host_recv(f->w, -1, &q, 0, 1), -EBADF);
}

static void test_send_to_closed_peer(void **state)
{
    struct fixture *f = *state;

    shutdown(f->fd[1], SHUT_RDWR);
    assert_int_equal(world_exec(f->w, sends_to_nobody, f), 0);
}

static void reads_pipe(void *arg)
{
    struct fixture *f = arg;
    char buf[8];
    struct iov q;

    iov_single(&q, buf, sizeof(buf));
    f->result = (int)host_recv(f->w, f->fd[0], &q, 0, sizeof(buf));
    assert_memory_equal(buf, "pipe", 4);
}

static void writes_pipe(void *arg)
{
    struct fixture *f = arg;
    struct iov q;

    iov_single(&q, "pipe", 4);
    assert_int_equal(host_send(f->w, f->fd[1], &q, 0, 4), 0);
}

static void test_pipe(void **state)
{
    struct fixture *f = *state;

    close(f->fd[0]);
    close(f->fd[1]);
    assert_int_equal(pipe(f->fd), 0);
    co_spawn(f->w, "reads", reads_pipe, f);
    world_settle(f->w);
    co_spawn(f->w, "writes", writes_pipe, f);
    world_settle(f->w);
    assert_int_equal(f->result, 4);
}

struct net {
    struct fixture *f;
    struct sockaddr_un addr;
    int listener;
};

static void accepts(void *arg)
{
    struct net *n = arg;
    int fd = host_accept(n->f->w, n->listener);
    struct iov q;

    assert_true(fd >= 0);
    iov_single(&q, "hi", 2);
    assert_int_equal(host_send(n->f->w, fd, &q, 0, 2), 0);
    host_close(n->f->w, fd);
}

static void connects(void *arg)
{
    struct net *n = arg;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    char buf[4];
    struct iov q;

    assert_int_equal(host_connect(n->f->w, fd, (struct sockaddr *)&n->addr, sizeof(n->addr), -1),
                     0);
    iov_single(&q, buf, sizeof(buf));
    assert_int_equal(host_recv(n->f->w, fd, &q, 0, 4), 2);
    assert_memory_equal(buf, "hi", 2);
    assert_int_equal(host_recv(n->f->w, fd, &q, 0, 4), 0);
    close(n->listener);
    unlink(n->addr.sun_path);
    close(fd);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(host_connect(n->f->w, fd, (struct sockaddr *)&n->addr, sizeof(n->addr), -1),
                     -ENOENT);
    close(fd);
}

static void test_connect_and_accept(void **state)
{
    struct fixture *f = *state;
    const char *tmp = getenv("TMPDIR");
    char *dir = str_fmt("%s/poll.XXXXXX", tmp ? tmp : "/tmp"), *path;
    struct net n = {f, {.sun_family = AF_UNIX}, -1};

    assert_non_null(mkdtemp(dir));
    path = str_fmt("%s/s", dir);
    assert_true(strlen(path) < sizeof(n.addr.sun_path));
    strcpy(n.addr.sun_path, path);
    n.listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(n.listener, (struct sockaddr *)&n.addr, sizeof(n.addr)), 0);
    assert_int_equal(listen(n.listener, 1), 0);
    co_spawn(f->w, "accepts", accepts, &n);
    assert_int_equal(world_exec(f->w, connects, &n), 0);
    world_settle(f->w);
    assert_int_equal(world_live(f->w), 0);
    rmdir(dir);
    mem_free(dir);
    mem_free(path);
}

static void on_signal(void *arg, int signo)
{
    struct fixture *f = arg;

    f->result = signo;
    co_wake(f->co);
}

static void parks(void *arg)
{
    struct fixture *f = arg;

    f->co = co_self(f->w);
    kill(getpid(), SIGUSR1);
    co_park(f->w);
}

static void test_signal(void **state)
{
    struct fixture *f = *state;
    sigset_t before, after;

    assert_int_equal(host_on_signal(f->w, SIGKILL, on_signal, f), -EINVAL);
    assert_int_equal(host_on_signal(f->w, 0, on_signal, f), -EINVAL);
    sigprocmask(SIG_SETMASK, NULL, &before);
    assert_int_equal(host_on_signal(f->w, SIGUSR1, on_signal, f), 0);
    assert_int_equal(host_on_signal(f->w, SIGUSR2, NULL, NULL), 0);
    assert_int_equal(world_exec(f->w, parks, f), 0);
    assert_int_equal(f->result, SIGUSR1);
    kill(getpid(), SIGUSR2); /* ignored */
    world_settle(f->w);
    assert_int_equal(f->result, SIGUSR1);
    kill(getpid(), SIGUSR1); /* too late for this world: must not kill us */
    world_free(f->w);
    sigprocmask(SIG_SETMASK, NULL, &after);
    assert_int_equal(sigismember(&before, SIGUSR1), sigismember(&after, SIGUSR1));
    f->w = world_new(f->p, &(struct world_config){0});
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_poll),
        T(test_poll_times_out),
        T(test_poll_before_deadline),
        T(test_poll_is_cancelled),
        T(test_poll_in_real_time),
        T(test_transfer_through_small_buffers),
        T(test_send_to_closed_peer),
        T(test_pipe),
        T(test_connect_and_accept),
        T(test_signal),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
