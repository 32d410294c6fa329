/*
 * Record and replay: a run with workers, sockets, signals, real clocks and a random seed is
 * repeated from its log with the outside gone.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "ref/base/strbuf.h"
#include "ref/engine/clock.h"
#include "ref/engine/events.h"
#include "ref/engine/host.h"
#include "ref/engine/sched.h"

#define MS 1000000LL

struct run {
    struct process *p;
    struct world *w;
    struct sched_seeded policy;
    struct strbuf log;
    const char *path;
    int fd; /* socket */
    int file;
    int turn;
    struct co *main;
    int open;
    bool reads_clock_more;
};

static void done(struct run *r)
{
    if (--r->open == 0) {
        co_wake(r->main);
    }
}

static void receives(void *arg)
{
    struct run *r = arg;
    char buf[100];
    struct iov q;
    ssize_t n;

    iov_single(&q, buf, sizeof(buf));
    while ((n = host_recv(r->w, r->fd, &q, 0, sizeof(buf))) > 0) {
        strbuf_printf(&r->log, "recv %.*s at %lld\n", (int)n, buf,
                      (long long)clock_now(r->w, CLOCK_HOST));
    }
    strbuf_printf(&r->log, "recv %zd\n", n);
    done(r);
}

static void writes(void *arg)
{
    struct run *r = arg;
    int me = r->turn++;
    char buf[512];
    struct iov q;

    memset(buf, me, sizeof(buf));
    iov_single(&q, buf, sizeof(buf));
    for (int i = 0; i < 3; i++) {
        assert_int_equal(host_pwritev(r->w, r->file, &q, 0, sizeof(buf), me * 512), 0);
        strbuf_printf(&r->log, "writer %d.%d\n", me, i);
        sched_point(r->w, &(struct point){.kind = POINT_COMPLETE, .object = r});
    }
    done(r);
}

static void naps(void *arg)
{
    struct run *r = arg;

    for (int i = 0; i < 3; i++) {
        co_sleep(r->w, CLOCK_REAL, 100000);
        strbuf_printf(&r->log, "nap %d until %lld\n", i, (long long)clock_now(r->w, CLOCK_VIRTUAL));
    }
    if (r->reads_clock_more) {
        clock_now(r->w, CLOCK_REAL);
    }
    done(r);
}

static void on_signal(void *arg, int signo)
{
    struct run *r = arg;

    strbuf_printf(&r->log, "signal %d\n", signo);
    done(r);
}

static void program(void *arg)
{
    struct run *r = arg;
    uint8_t uuid[16];

    r->main = co_self(r->w);
    world_uuid(r->w, uuid);
    strbuf_printf(&r->log, "uuid %02x%02x%02x\n", uuid[0], uuid[1], uuid[2]);
    r->file = host_open(r->w, r->path, O_RDWR, 0);
    strbuf_printf(&r->log, "open %d\n", r->file < 0 ? r->file : 0);
    co_spawn(r->w, "receives", receives, r);
    co_spawn(r->w, "naps", naps, r);
    for (int i = 0; i < 5; i++) {
        co_spawn(r->w, "writes", writes, r);
    }
    co_park(r->w);
    host_close(r->w, r->file);
    strbuf_puts(&r->log, "end\n");
}

static void *outside(void *arg)
{
    int fd = *(int *)arg;

    for (int i = 0; i < 20; i++) {
        assert_int_equal(dprintf(fd, "message %d;", i) > 0, 1);
        sched_yield();
    }
    kill(getpid(), SIGUSR1);
    shutdown(fd, SHUT_RDWR);
    return NULL;
}

static void begin(struct run *r, struct process *p, const char *path, enum io_backend io,
                  uint64_t seed)
{
    *r = (struct run){.p = p, .path = path, .open = 8};
    sched_seeded_init(&r->policy, seed, 300);
    r->w = world_new(p, &(struct world_config){
                            .io = io,
                            .io_set = true,
                            .random_seed = true,
                            .policy = &r->policy.base,
                        });
}

static void record(struct run *r, struct event_log *log)
{
    int fd[2];
    pthread_t peer;

    world_record(r->w, log);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd), 0);
    r->fd = fd[0];
    assert_int_equal(host_on_signal(r->w, SIGUSR1, on_signal, r), 0);
    pthread_create(&peer, NULL, outside, &fd[1]);
    assert_int_equal(world_exec(r->w, program, r), 0);
    pthread_join(peer, NULL);
    close(fd[0]);
    close(fd[1]);
    world_free(r->w);
}

static int replay(struct run *r, const struct event_log *log)
{
    int ret;

    world_replay(r->w, log);
    r->fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    assert_int_equal(host_on_signal(r->w, SIGUSR1, on_signal, r), 0);
    ret = world_exec(r->w, program, r);
    close(r->fd);
    return ret;
}

struct fixture {
    struct process *p;
    char *dir, *path, *events;
};

static int setup(void **state)
{
    struct fixture *f = mem_zalloc(sizeof(*f));
    const char *tmp = getenv("TMPDIR");

    f->p = process_new();
    f->dir = str_fmt("%s/events.XXXXXX", tmp ? tmp : "/tmp");
    assert_non_null(mkdtemp(f->dir));
    f->path = str_fmt("%s/file", f->dir);
    f->events = str_fmt("%s/events", f->dir);
    close(open(f->path, O_CREAT | O_RDWR, 0600));
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    process_free(f->p);
    unlink(f->path);
    unlink(f->events);
    rmdir(f->dir);
    mem_free(f->path);
    mem_free(f->events);
    mem_free(f->dir);
    mem_free(f);
    return 0;
}

static void record_and_replay(struct fixture *f, enum io_backend io, uint64_t seed)
{
    struct event_log *log = event_log_new(), *loaded;
    struct run a, b;

    begin(&a, f->p, f->path, io, seed);
    record(&a, log);
    assert_true(event_log_count(log) > 10);
    assert_int_equal(event_log_save(log, f->events, NULL), 0);
    loaded = event_log_load(f->events, NULL);
    assert_int_equal(event_log_count(loaded), event_log_count(log));
    begin(&b, f->p, f->path, io, seed);
    assert_int_equal(replay(&b, loaded), 0);
    assert_null(world_replay_error(b.w));
    assert_true(world_replay_done(b.w));
    assert_string_equal(a.log.s, b.log.s);
    world_free(b.w);
    strbuf_free(&a.log);
    strbuf_free(&b.log);
    event_log_free(log);
    event_log_free(loaded);
}

static void test_replay_threads(void **state)
{
    for (uint64_t seed = 0; seed < 10; seed++) {
        record_and_replay(*state, IO_THREADS, seed);
    }
}

static void test_replay_uring(void **state)
{
    for (uint64_t seed = 0; seed < 10; seed++) {
        record_and_replay(*state, IO_URING, seed);
    }
}

static void test_replay_sync(void **state)
{
    record_and_replay(*state, IO_SYNC, 1);
}

/* A program that asks for something else is found out, and stops. */
static void test_other_program_diverges(void **state)
{
    struct fixture *f = *state;
    struct event_log *log = event_log_new();
    struct run a, b;

    begin(&a, f->p, f->path, IO_THREADS, 7);
    record(&a, log);
    begin(&b, f->p, f->path, IO_THREADS, 7);
    b.reads_clock_more = true;
    assert_int_equal(replay(&b, log), -EDEADLK);
    assert_non_null(world_replay_error(b.w));
    assert_false(world_replay_done(b.w));
    world_free(b.w);
    strbuf_free(&a.log);
    strbuf_free(&b.log);
    event_log_free(log);
}

static void opens(void *arg)
{
    struct run *r = arg;

    r->file = host_open(r->w, r->path, O_RDWR, 0);
    strbuf_printf(&r->log, "%d", r->file < 0);
    host_close(r->w, r->file);
}

/* Files that are not as they were are found out by the results they give. */
static void test_other_files_diverge(void **state)
{
    struct fixture *f = *state;
    struct event_log *log = event_log_new();
    struct run a, b;

    begin(&a, f->p, f->path, IO_THREADS, 0);
    world_record(a.w, log);
    assert_int_equal(world_exec(a.w, opens, &a), 0);
    world_free(a.w);
    assert_string_equal(a.log.s, "0");
    unlink(f->path);
    begin(&b, f->p, f->path, IO_THREADS, 0);
    world_replay(b.w, log);
    assert_int_equal(world_exec(b.w, opens, &b), -EDEADLK);
    assert_non_null(strstr(world_replay_error(b.w), "the log has"));
    world_free(b.w);
    strbuf_free(&a.log);
    strbuf_free(&b.log);
    event_log_free(log);
}

static void test_bad_logs_are_refused(void **state)
{
    static const char *const bad[] = {
        "",
        "blkref-events 2\n",
        "blkref-events 1\nclock 1 2\n",
        "blkref-events 1\nclock 1 2 3",
        "blkref-events 1\nclack 1 2 3\n",
        "blkref-events 1\nsocket 1 2 3 abc\n",
        "blkref-events 1\nsocket 1 2 3 xy\n",
        "blkref-events 1\nclock 1 2 3\nclock 1 2 3 00 11\n",
    };
    struct fixture *f = *state;
    struct error *err = NULL;
    struct event_log *log;
    struct strbuf text = STRBUF_INIT;
    const char *good = "blkref-events 1\nclock 0 1 -5\nsocket 3 0 2 00ff\nsignal 4 10 0\n";

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        assert_null(event_log_parse(bad[i], &err));
        assert_int_equal(err->code, EINVAL);
        error_clear(&err);
    }
    assert_null(event_log_parse(bad[7], &err));
    assert_string_equal(err->msg, "Event log, line 3: malformed");
    error_clear(&err);
    assert_null(event_log_load(f->events, &err));
    assert_int_equal(err->code, ENOENT);
    error_clear(&err);
    log = event_log_parse(good, &err);
    assert_non_null(log);
    event_log_write(log, &text);
    assert_string_equal(text.s, good);
    strbuf_free(&text);
    event_log_free(log);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_replay_threads),         T(test_replay_uring),        T(test_replay_sync),
        T(test_other_program_diverges), T(test_other_files_diverge), T(test_bad_logs_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
