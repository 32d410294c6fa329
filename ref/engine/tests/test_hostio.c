/*
 * Host I/O on temporary files, the same tests on every back end.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "ref/base/strbuf.h"
#include "ref/engine/clock.h"
#include "ref/engine/host.h"
#include "ref/engine/host_dir.h"
#include "ref/engine/sched.h"
#include "ref/engine/workers.h"

struct fixture {
    struct process *p;
    struct world *w;
    enum io_backend io;
    char *dir, *path;
    int fd;
    int suspended; /* turns that others had while an operation was under way */
};

static int setup(void **state, enum io_backend io)
{
    struct fixture *f = mem_zalloc(sizeof(*f));
    const char *tmp = getenv("TMPDIR");

    f->io = io;
    f->p = process_new();
    f->w = world_new(f->p, &(struct world_config){.io = io, .io_set = true});
    f->dir = str_fmt("%s/hostio.XXXXXX", tmp ? tmp : "/tmp");
    assert_non_null(mkdtemp(f->dir));
    f->path = str_fmt("%s/file", f->dir);
    f->fd = open(f->path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_true(f->fd >= 0);
    *state = f;
    return 0;
}

static int setup_sync(void **state)
{
    return setup(state, IO_SYNC);
}
static int setup_threads(void **state)
{
    return setup(state, IO_THREADS);
}
static int setup_uring(void **state)
{
    return setup(state, IO_URING);
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(world_live(f->w), 0);
    world_free(f->w);
    process_free(f->p);
    close(f->fd);
    unlink(f->path);
    rmdir(f->dir);
    mem_free(f->path);
    mem_free(f->dir);
    mem_free(f);
    return 0;
}

static void run(struct fixture *f, void (*fn)(void *arg))
{
    assert_int_equal(world_exec(f->w, fn, f), 0);
}

static void all_calls(void *arg)
{
    struct fixture *f = arg;
    char a[] = "hello, ", b[] = "world", back[32] = "";
    struct iov q, r;
    struct stat st;
    char *other = str_fmt("%s/other", f->dir);
    int fd = host_open(f->w, other, O_RDWR | O_CREAT | O_EXCL, 0600), missing;

    assert_true(fd >= 0);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    assert_int_equal(host_open(f->w, other, O_RDWR | O_CREAT | O_EXCL, 0600), -EEXIST);
    missing = host_open(f->w, "/no/such/place", O_RDONLY, 0);
    assert_int_equal(missing, -ENOENT);
    iov_init(&q);
    iov_add(&q, a, 7);
    iov_add(&q, b, 5);
    iov_single(&r, back, sizeof(back));
    assert_int_equal(host_pwritev(f->w, fd, &q, 0, 12, 100), 0);
    assert_int_equal(host_preadv(f->w, fd, &r, 0, 12, 100), 12);
    assert_memory_equal(back, "hello, world", 12);
    /* A part of the vector, at another place. */
    assert_int_equal(host_pwritev(f->w, fd, &q, 5, 4, 0), 0);
    assert_int_equal(host_preadv(f->w, fd, &r, 20, 4, 0), 4);
    assert_memory_equal(back + 20, ", wo", 4);
    /* Less only at end of file. */
    assert_int_equal(host_preadv(f->w, fd, &r, 0, 32, 105), 7);
    assert_int_equal(host_preadv(f->w, fd, &r, 0, 32, 4096), 0);
    assert_int_equal(host_preadv(f->w, fd, &r, 0, 0, 0), 0);
    assert_int_equal(host_fdatasync(f->w, fd), 0);
    assert_int_equal(host_ftruncate(f->w, fd, 4096), 0);
    assert_int_equal(host_fstat(f->w, fd, &st), 0);
    assert_int_equal(st.st_size, 4096);
    assert_int_equal(host_close(f->w, fd), 0);
    assert_int_equal(host_fdatasync(f->w, fd), -EBADF);
    assert_int_equal(host_pwritev(f->w, fd, &q, 0, 12, 0), -EBADF);
    assert_int_equal(host_preadv(f->w, fd, &q, 0, 12, 0), -EBADF);
    iov_destroy(&q);
    unlink(other);
    mem_free(other);
}

static void test_all_calls(void **state)
{
    run(*state, all_calls);
}

/* Names in the order of their bytes, links followed, a limit that is kept. */
static void list_dir(void *arg)
{
    static const char *const names[] = {"Z", "a", "dangling", "file", "link"};
    struct fixture *f = arg;
    struct host_dir *d;
    int at = open(f->dir, O_RDONLY | O_DIRECTORY);
    assert_int_equal(mkdirat(at, "a", 0700), 0);
    close(openat(at, "Z", O_WRONLY | O_CREAT, 0600));
    assert_int_equal(symlinkat("a", at, "link"), 0);
    assert_int_equal(symlinkat("nothing", at, "dangling"), 0);
    assert_int_equal(pwrite(f->fd, "abc", 3, 0), 3);

    assert_int_equal(host_list_dir(f->w, f->dir, 4, &d), -EOVERFLOW);
    assert_int_equal(host_list_dir(f->w, f->path, 9, &d), -ENOTDIR);
    assert_int_equal(host_list_dir(f->w, "/no/such/place", 9, &d), -ENOENT);
    assert_int_equal(host_list_dir(f->w, f->dir, 5, &d), 0);
    assert_int_equal(d->count, 5);
    for (size_t i = 0; i < d->count; i++) {
        assert_string_equal(d->names[i].name, names[i]);
        assert_int_equal(d->names[i].error, i == 2 ? -ENOENT : 0);
    }
    assert_true(S_ISDIR(d->names[1].st.st_mode) && S_ISDIR(d->names[4].st.st_mode));
    assert_true(d->names[4].st.st_ino == d->names[1].st.st_ino);
    assert_int_equal(d->names[3].st.st_size, 3);
    assert_true(S_ISDIR(d->self.st_mode) && S_ISDIR(d->parent.st_mode));
    assert_true(d->self.st_ino != d->parent.st_ino);
    host_dir_free(d);
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        unlinkat(at, names[i], i == 1 ? AT_REMOVEDIR : 0);
    }
    close(at);
}

static void test_list_dir(void **state)
{
    run(*state, list_dir);
}

/* More pieces than one system call takes, across every limit we have. */
static void many_pieces(void *arg)
{
    struct fixture *f = arg;
    enum { N = 3000 };
    uint8_t *out = mem_alloc(N * 3), *in = mem_zalloc(N * 3);
    struct iov q, r;

    iov_init(&q);
    iov_init(&r);
    for (int i = 0; i < N; i++) {
        memset(out + 3 * i, i, 3);
        iov_add(&q, out + 3 * i, 3);
        iov_add(&r, in + 3 * i, (size_t)(i % 2 ? 0 : 6)); /* with empty ones between */
    }
    assert_int_equal(host_pwritev(f->w, f->fd, &q, 0, q.size, 7), 0);
    assert_int_equal(host_preadv(f->w, f->fd, &r, 0, r.size, 7), N * 3);
    assert_memory_equal(in, out, N * 3);
    assert_int_equal(host_preadv(f->w, f->fd, &r, 4000, 4000, 7 + 4001), 4000);
    assert_memory_equal(in + 4000, out + 4001, 4000);
    iov_destroy(&q);
    iov_destroy(&r);
    mem_free(out);
    mem_free(in);
}

static void test_many_pieces(void **state)
{
    run(*state, many_pieces);
}

static void allocate_and_copy(void *arg)
{
    struct fixture *f = arg;
    char buf[8192], back[8192];
    struct iov q, r;
    int ret;

    memset(buf, 0x5a, sizeof(buf));
    iov_single(&q, buf, sizeof(buf));
    iov_single(&r, back, sizeof(back));
    assert_int_equal(host_pwritev(f->w, f->fd, &q, 0, sizeof(buf), 0), 0);
    assert_int_equal(host_copy_range(f->w, f->fd, 0, f->fd, 65536, sizeof(buf)), sizeof(buf));
    assert_int_equal(host_preadv(f->w, f->fd, &r, 0, sizeof(back), 65536), sizeof(back));
    assert_memory_equal(buf, back, sizeof(buf));
    /* A copy ends with its source. */
    assert_int_equal(host_copy_range(f->w, f->fd, 65536 + 4096, f->fd, 32768, sizeof(buf)), 4096);
    assert_true(host_copy_range(f->w, -1, 0, f->fd, 0, 1) == -EBADF);
    ret = host_fallocate(f->w, f->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096);
    if (ret == 0) { /* file systems may lack it */
        assert_int_equal(host_preadv(f->w, f->fd, &r, 0, 8192, 0), 8192);
        assert_true(buf_is_zero(back, 4096));
        assert_memory_equal(back + 4096, buf, 4096);
    } else {
        assert_int_equal(ret, -EOPNOTSUPP);
    }
}

static void test_allocate_and_copy(void **state)
{
    run(*state, allocate_and_copy);
}

struct writer {
    struct fixture *f;
    int64_t at;
};

static void writes_block(void *arg)
{
    struct writer *wr = arg;
    char buf[512], back[512];
    struct iov q, r;

    memset(buf, (int)wr->at, sizeof(buf));
    iov_single(&q, buf, sizeof(buf));
    iov_single(&r, back, sizeof(back));
    for (int i = 0; i < 4; i++) {
        assert_int_equal(host_pwritev(wr->f->w, wr->f->fd, &q, 0, 512, wr->at * 512), 0);
        assert_int_equal(host_preadv(wr->f->w, wr->f->fd, &r, 0, 512, wr->at * 512), 512);
        assert_memory_equal(buf, back, 512);
        assert_int_equal(host_fdatasync(wr->f->w, wr->f->fd), 0);
    }
}

/* More at a time than workers and ring entries. */
static void test_many_at_once(void **state)
{
    struct fixture *f = *state;
    enum { N = 300 };
    struct writer *wr = mem_array(N, sizeof(*wr));

    for (int i = 0; i < N; i++) {
        wr[i] = (struct writer){f, i};
        co_spawn(f->w, "writer", writes_block, &wr[i]);
    }
    world_settle(f->w);
    assert_int_equal(world_live(f->w), 0);
    mem_free(wr);
}

static void counts_turns(void *arg)
{
    struct fixture *f = arg;

    f->suspended++;
}

static void one_read(void *arg)
{
    struct fixture *f = arg;
    char c;
    struct iov q;

    co_spawn(f->w, "other", counts_turns, f);
    iov_single(&q, &c, 1);
    assert_int_equal(host_preadv(f->w, f->fd, &q, 0, 1, 0), 0);
    /* Synchronous I/O lets nobody else run; the others do. */
    assert_int_equal(f->suspended, f->io == IO_SYNC ? 0 : 1);
}

static void test_sync_does_not_suspend(void **state)
{
    struct fixture *f = *state;

    run(f, one_read);
    world_settle(f->w);
}

struct call {
    pthread_t caller;
    bool same;
};

static int runs_elsewhere(void *arg)
{
    struct call *c = arg;

    c->same = pthread_equal(c->caller, pthread_self());
    return -EXDEV;
}

static void calls(void *arg)
{
    struct fixture *f = arg;
    struct call c = {.caller = pthread_self()};

    assert_int_equal(host_call(f->w, runs_elsewhere, &c), -EXDEV);
    assert_int_equal(c.same, f->io == IO_SYNC);
}

static void test_call(void **state)
{
    run(*state, calls);
}

static void writes_and_stops(void *arg)
{
    struct fixture *f = arg;
    struct iov q;

    iov_single(&q, "abandoned", 9);
    host_pwritev(f->w, f->fd, &q, 0, 9, 0);
    co_park(f->w);
}

static void starts_a_write(void *arg)
{
    struct fixture *f = arg;

    co_spawn(f->w, "writer", writes_and_stops, f);
    co_yield (f->w);
}

/* The world waits for what is in flight before its memory goes. */
static void test_free_waits_for_io(void **state)
{
    struct fixture *f = *state;
    char back[10] = "";

    run(f, starts_a_write);
    world_free(f->w);
    assert_int_equal(pread(f->fd, back, 9, 0), 9);
    assert_string_equal(back, "abandoned");
    f->w = world_new(f->p, &(struct world_config){.io = f->io, .io_set = true});
}

static void test_io_in_simulated_time(void **state)
{
    struct fixture *f = *state;
    struct world *real = f->w;

    f->w = world_new(f->p,
                     &(struct world_config){.io = f->io, .io_set = true, .simulated_time = true});
    run(f, all_calls);
    assert_int_equal(clock_now(f->w, CLOCK_REAL), 0);
    world_free(f->w);
    f->w = real;
}

struct nap {
    struct job job;
    pthread_barrier_t *together;
};

static void meets(struct job *job)
{
    pthread_barrier_wait(container_of(job, struct nap, job)->together);
}

/* Sixteen jobs that need each other run side by side; there are never more threads. */
static void test_workers_are_bounded(void **state)
{
    enum { ROUNDS = 3 };
    struct workers *ws = workers_new();
    pthread_barrier_t together;
    struct nap naps[WORKERS_MAX * ROUNDS];

    assert_int_equal(workers_count(ws), 0);
    pthread_barrier_init(&together, NULL, WORKERS_MAX);
    for (int i = 0; i < WORKERS_MAX * ROUNDS; i++) {
        naps[i] = (struct nap){.job.run = meets, .together = &together};
        workers_queue(ws, &naps[i].job);
    }
    assert_int_equal(workers_count(ws), WORKERS_MAX);
    workers_free(ws);
    pthread_barrier_destroy(&together);
}

int main(void)
{
#define T(f)                                                                                       \
    cmocka_unit_test_setup_teardown(f, setup_sync, teardown),                                      \
        cmocka_unit_test_setup_teardown(f, setup_threads, teardown),                               \
        cmocka_unit_test_setup_teardown(f, setup_uring, teardown)
    const struct CMUnitTest tests[] = {
        T(test_all_calls),
        T(test_list_dir),
        T(test_many_pieces),
        T(test_allocate_and_copy),
        T(test_many_at_once),
        T(test_sync_does_not_suspend),
        T(test_call),
        T(test_free_waits_for_io),
        T(test_io_in_simulated_time),
        cmocka_unit_test(test_workers_are_bounded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
