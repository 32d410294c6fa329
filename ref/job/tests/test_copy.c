/*
 * The copy engine over simulated disks: what is written where, under many schedules, with a
 * failure, a pause and a cancel at each of its steps; and where data is split at zeroes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include "ref/base/mem.h"
#include "ref/block/tests/memdrv.h"
#include "ref/job/copy.h"

#define SIZE (9 * MiB)

struct fixture {
    struct mem_world m;
    struct node *from, *to;
    struct blk *source, *target;
    struct copy_source s;
    struct copy c;
    struct job *j;
    int act_at, steps;
    char act;
};

/* Data in the MiBs 0, 1, 4, 5, 8; zeroes between; a zero block of 8 KiB in the first one. */
static void fill(uint8_t *data)
{
    memset(data, 0, SIZE);
    for (size_t i = 0; i < SIZE; i++) {
        if (!((i >> 20) & 2)) {
            data[i] = (uint8_t)(i % 251 + 1);
        }
    }
    memset(data + 64 * KiB, 0, 8 * KiB);
}

static struct blk *on(struct fixture *f, struct node *n, unsigned perm)
{
    struct blk *b = blk_new(f->m.w, perm, PERM_ALL);
    assert_int_equal(blk_insert(b, n, NULL), 0);
    node_unref(n);
    return b;
}

static void begin(struct fixture *f, uint64_t seed)
{
    mem_world_init(&f->m, seed);
}

static void open_disks(struct fixture *f)
{
    f->from = memdisk_new(f->m.w, "from", SIZE);
    f->to = memdisk_new(f->m.w, "to", SIZE);
    memdisk_of(f->from)->async = memdisk_of(f->to)->async = true;
    fill(memdisk_of(f->from)->data);
    memset(memdisk_of(f->to)->data, 0xee, SIZE);
    f->source = on(f, f->from, PERM_CONSISTENT_READ);
    f->target = on(f, f->to, PERM_CONSISTENT_READ | PERM_WRITE);
    f->s = (struct copy_source){.b = f->source, .bytes = SIZE};
    f->c = (struct copy){
        .w = f->m.w,
        .sources = &f->s,
        .n_sources = 1,
        .target = f->target,
        .total = SIZE,
        .min_sparse = 4 * KiB,
        .in_order = true,
        .workers = 5,
    };
    f->steps = 0;
    f->j = copy_job_new(&f->c, NULL, 0, NULL);
    job_ref(f->j);
}

static void close_disks(struct fixture *f)
{
    assert_int_equal(f->j->status, JOB_NULL);
    job_unref(f->j);
    blk_unref(f->source);
    blk_unref(f->target);
}

static void expect_copied(struct fixture *f)
{
    assert_memory_equal(memdisk_of(f->to)->data, memdisk_of(f->from)->data, SIZE);
}

static void act(struct job *j, void *opaque)
{
    struct fixture *f = opaque;
    if (++f->steps != f->act_at) {
        return;
    }
    if (f->act == 'c') {
        job_cancel(j, true, NULL);
    } else {
        job_user_pause(j, NULL);
    }
}

static void copy_body(void *arg)
{
    struct fixture *f = arg;
    for (int order = 0; order < 2; order++) {
        open_disks(f);
        f->c.in_order = order;
        assert_int_equal(job_run(f->j, NULL), 0);
        expect_copied(f);
        assert_true(f->j->done == f->j->total);
        close_disks(f);
    }
}

/* Until the job pauses or ends: then nothing moves, and it can go on. */
static void pause_body(void *arg)
{
    struct fixture *f = arg;
    for (f->act_at = 1; f->act_at <= 6; f->act_at++) {
        open_disks(f);
        f->act = 'p';
        f->j->watch = (struct job_watch){.progress = act, .opaque = f};
        job_start(f->j);
        while (f->j->status != JOB_PAUSED && f->j->status != JOB_NULL) {
            co_yield (f->m.w);
        }
        if (f->j->status == JOB_PAUSED) {
            int64_t done = f->j->done;
            assert_int_equal(blk_in_flight(f->target) + blk_in_flight(f->source), 0);
            for (int i = 0; i < 50; i++) {
                co_yield (f->m.w);
            }
            assert_int_equal(f->j->done, done);
            assert_int_equal(job_user_resume(f->j, NULL), 0);
        }
        assert_int_equal(job_wait(f->j), 0);
        expect_copied(f);
        close_disks(f);
    }
}

static void cancel_body(void *arg)
{
    struct fixture *f = arg;
    for (f->act_at = 1; f->act_at <= 6; f->act_at++) {
        open_disks(f);
        f->act = 'c';
        f->j->watch = (struct job_watch){.progress = act, .opaque = f};
        job_start(f->j);
        int ret = job_wait(f->j);
        assert_true(ret == -ECANCELED || (ret == 0 && f->steps < f->act_at));
        close_disks(f);
    }
}

/* A read or write fails: the message names the place, and all coroutines end. */
static void fail_body(void *arg)
{
    struct fixture *f = arg;
    for (int side = 0; side < 2; side++) {
        struct error *err = NULL;
        open_disks(f);
        memdisk_of(side ? f->to : f->from)->fail = -EIO;
        memdisk_of(side ? f->to : f->from)->fail_op = side ? REQ_WRITE : REQ_READ;
        assert_int_equal(job_run(f->j, &err), -EIO);
        assert_non_null(
            strstr(err->msg, side ? "error while writing at byte " : "error while reading"));
        error_free(err);
        close_disks(f);
    }
}

/* Sectors that cannot be read become zeroes, all around them comes along, and finding them takes
 * few reads. */
static void salvage_body(void *arg)
{
    struct fixture *f = arg;
    open_disks(f);
    struct memdisk *from = memdisk_of(f->from);
    from->bad_from = 4 * MiB + 1000;
    from->bad_to = 4 * MiB + 3000;
    f->c.salvage = true;
    struct error *err = NULL;
    assert_int_equal(job_run(f->j, &err), 0);
    assert_true(from->reads < 100);
    memset(from->data + 4 * MiB + 512, 0, 5 * 512);
    expect_copied(f);
    close_disks(f);
}

static void run(void (*body)(void *arg))
{
    for (uint64_t seed = 0; seed < 12; seed++) {
        struct fixture *f = mem_zalloc(sizeof(*f));
        begin(f, seed);
        mem_world_exec(&f->m, body, f);
        mem_world_destroy(&f->m);
        mem_free(f);
    }
}

static void test_copies(void **state)
{
    run(copy_body);
}
static void test_pauses(void **state)
{
    run(pause_body);
}
static void test_cancels(void **state)
{
    run(cancel_body);
}
static void test_fails(void **state)
{
    run(fail_body);
}
static void test_salvage(void **state)
{
    run(salvage_body);
}

static void expect_split(const char *blocks, int64_t offset, int64_t min_sparse, const char *runs)
{
    size_t n = strlen(blocks);
    uint8_t *buf = mem_zalloc(n * 512);
    for (size_t i = 0; i < n; i++) {
        buf[i * 512 + 17] = blocks[i] == 'd';
    }
    char *text = str_dup("");
    for (int64_t pos = 0, len; pos < (int64_t)n * 512; pos += len) {
        bool data;
        len = copy_split(buf + pos, offset + pos, (int64_t)n * 512 - pos, min_sparse, &data);
        char *more = str_fmt("%s%c%d", text, data ? 'd' : 'z', (int)(len / 512));
        mem_free(text);
        text = more;
    }
    assert_string_equal(text, runs);
    mem_free(text);
    mem_free(buf);
}

/* As qemu-img 7.2 allocates targets with clusters of 512 bytes. */
static void test_split(void **state)
{
    expect_split("dddd", 0, 4096, "d4");
    expect_split("....", 0, 4096, "z4");
    expect_split("d.......d.......", 0, 4096, "d16");
    expect_split("d...............d", 0, 4096, "d8z8d1");
    expect_split("........d", 0, 4096, "z8d1");
    expect_split("d...d...........", 0, 1536, "d6z10");
    expect_split("d.d.", 0, 512, "d1z1d1z1");
    expect_split("d...............................d", 0, 12 * KiB, "d33");
    expect_split("d...............................................d", 0, 12 * KiB, "d16z32d1");
    expect_split("d......................d", 0, 12 * KiB, "d24");
    expect_split(".d..........", 4 * 512, 4096, "d4z8");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_split),  cmocka_unit_test(test_copies),
        cmocka_unit_test(test_pauses), cmocka_unit_test(test_cancels),
        cmocka_unit_test(test_fails),  cmocka_unit_test(test_salvage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
