/*
 * Random programs on qcow2 images against a shadow of the guest's disk, on both profiles and many
 * geometries, alone and by several coroutines under seeded schedules; the spec checker judges each
 * image at the end.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include "ref/format/qcow2/tests/fixture.h"

#define SIZE    (768 * KiB)
#define SECTORS (SIZE / 512)

struct geometry {
    const char *create, *open;
    bool backing;
};

static const struct geometry geometries[] = {
    {"size=768k", NULL, false},
    {"size=768k,cluster_size=512",
     "l2-cache-size=1024,refcount-cache-size=2048,cache-clean-interval=0", false},
    {"size=768k,cluster_size=4k,refcount_bits=64", "l2-cache-entry-size=512,l2-cache-size=1024",
     true},
    {"size=768k,cluster_size=16k,extended_l2=on", NULL, true},
    {"size=768k,extended_l2=on", "discard=unmap,pass-discard-other=on", false},
    {"size=768k,compat=v2,cluster_size=1k", "discard=unmap,pass-discard-other=on", false},
    {"size=768k,cluster_size=4k,lazy_refcounts=on", NULL, true},
    {"size=768k,cluster_size=8k,refcount_bits=1,compression_type=zstd", NULL, false},
    {"size=768k,cluster_size=8k,data_file=sim:d2", NULL, false},
    {"size=768k,cluster_size=8k,data_file=sim:d2,data_file_raw=on", NULL, false},
};

static struct blk *make(struct qt *t, const struct geometry *g, uint8_t *shadow)
{
    char options[256];
    memset(shadow, 0, SIZE);
    if (g->backing) {
        qt_create(t, 1, "size=512k,cluster_size=4k");
        struct blk *b = qt_open(t, 1, NULL);
        assert_int_equal(rig_fill(b, 0, 400 * KiB, 0x77), 0);
        blk_unref(b);
        memset(shadow, 0x77, 400 * KiB);
    }
    snprintf(options, sizeof(options), "%s%s", g->create,
             g->backing ? ",backing_file=sim:d1,backing_fmt=qcow2" : "");
    qt_create(t, 0, options);
    return qt_open(t, 0, g->open);
}

static void compare(struct blk *b, const uint8_t *shadow)
{
    uint8_t *buf = mem_alloc(SIZE);
    assert_int_equal(blk_pread(b, 0, buf, SIZE), 0);
    for (int64_t i = 0; i < SECTORS; i++) {
        if (memcmp(buf + i * 512, shadow + i * 512, 512) != 0) {
            fail_msg("sector %d: %02x, not %02x", (int)i, buf[i * 512], shadow[i * 512]);
        }
    }
    mem_free(buf);
}

/* One random operation on [lo, hi) sectors; what it did goes to the shadow. */
static void random_op(struct qt *t, struct rng *rng, struct blk *b, uint8_t *shadow)
{
    struct qcow2 *s = qcow2_state(blk_node(b));
    uint64_t n = 1 + rng_below(rng, rng_below(rng, 4) ? 40 : 400),
             at = rng_below(rng, SECTORS - n + 1);
    int64_t offset = (int64_t)at * 512, bytes = (int64_t)n * 512;
    uint8_t value = (uint8_t)(1 + rng_below(rng, 255));
    unsigned kind = (unsigned)rng_below(rng, 20);
    if (kind < 10) {
        assert_int_equal(rig_fill(b, offset, bytes, value), 0);
        memset(shadow + offset, value, (size_t)bytes);
    } else if (kind < 14) {
        assert_int_equal(blk_pwrite_zeroes(b, offset, bytes, kind % 2 ? REQ_MAY_UNMAP : 0, NULL),
                         0);
        memset(shadow + offset, 0, (size_t)bytes);
    } else if (kind < 16) {
        assert_int_equal(blk_discard(b, offset, bytes, NULL), 0);
        /* Whole clusters read as zeroes afterwards, or are left alone: which, the image says. */
        uint8_t *now = mem_alloc((size_t)bytes);
        assert_int_equal(blk_pread(b, offset, now, bytes), 0);
        for (int64_t i = 0; i < bytes; i++) {
            assert_true(now[i] == 0 || now[i] == shadow[offset + i]);
        }
        memcpy(shadow + offset, now, (size_t)bytes);
        mem_free(now);
    } else if (kind < 18 && !has_data_file(s)) {
        offset = (int64_t)start_of_cluster(s, (uint64_t)offset);
        bytes = (int64_t)s->cluster_size;
        uint8_t *buf = mem_alloc((size_t)bytes);
        memset(buf, value, (size_t)bytes);
        int ret = blk_pwrite(b, offset, buf, bytes, REQ_COMPRESSED);
        assert_true(ret == 0 || ret == -EIO); /* in use already */
        if (ret == 0) {
            memset(shadow + offset, value, (size_t)bytes);
        }
        mem_free(buf);
    } else if (kind == 18) {
        assert_int_equal(blk_flush(b, NULL), 0);
    } else {
        rig_check(b, offset, 512, shadow[offset]);
    }
}

static void programs(struct qt *t)
{
    const struct geometry *g = t->arg;
    uint8_t *shadow = mem_alloc(SIZE);
    struct rng rng;
    rng_seed(&rng, t->seed + 7);
    struct blk *b = make(t, g, shadow);
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 120; i++) {
            random_op(t, &rng, b, shadow);
        }
        compare(b, shadow);
        blk_unref(b);
        qt_judge(t->r.disk[0], false, g->create);
        b = qt_open(t, 0, g->open);
        compare(b, shadow);
    }
    blk_unref(b);
    assert_string_equal(t->r.out.s ? t->r.out.s : "", "");
    mem_free(shadow);
}

static void test_programs(void **state)
{
    for (size_t i = 0; i < ARRAY_SIZE(geometries); i++) {
        qt_run(&profile_reference, 0, programs, (void *)&geometries[i]);
        for (uint64_t seed = 1; seed <= 3; seed++) {
            qt_run(&profile_optimized, seed, programs, (void *)&geometries[i]);
        }
    }
}

/* ---- several at once ---- */

enum { WORKERS = 6, OPS = 60 };

struct crowd {
    struct qt *t;
    struct blk *b;
    uint8_t *shadow;
    unsigned done;
    struct co *waiter;
};
struct worker {
    struct crowd *c;
    unsigned id;
    struct rng rng;
};

/* Workers own every WORKERS-th run of two sectors, so they share every cluster but no sector. */
static void work(void *arg)
{
    struct worker *k = arg;
    struct crowd *c = k->c;
    for (int i = 0; i < OPS; i++) {
        uint64_t run = rng_below(&k->rng, SECTORS / 2 / WORKERS / 6) * WORKERS + k->id;
        int64_t offset = (int64_t)run * 1024;
        uint8_t value = (uint8_t)(1 + rng_below(&k->rng, 255));
        switch (rng_below(&k->rng, 6)) {
        case 0:
            assert_int_equal(blk_pwrite_zeroes(c->b, offset, 1024, REQ_MAY_UNMAP, NULL), 0);
            memset(c->shadow + offset, 0, 1024);
            break;
        case 1:
            rig_check(c->b, offset, 1024, c->shadow[offset]);
            break;
        case 2:
            assert_int_equal(blk_flush(c->b, NULL), 0);
            break;
        default:
            assert_int_equal(rig_fill(c->b, offset, 1024, value), 0);
            memset(c->shadow + offset, value, 1024);
        }
    }
    if (++c->done == WORKERS + 2) {
        co_wake(c->waiter);
    }
}

/*
 * One more has the upper half to itself, in whole clusters: frees them and takes them again.  Each
 * has its own value, so whoever reads meanwhile may see that, or zeroes, but never what another
 * cluster holds.
 */
static void churn(void *arg)
{
    struct worker *k = arg;
    struct crowd *c = k->c;
    int64_t cs = (int64_t)qcow2_state(blk_node(c->b))->cluster_size, half = SIZE / 2;
    for (int i = 0; i < OPS; i++) {
        int64_t offset = half + (int64_t)rng_below(&k->rng, (uint64_t)MIN(half / cs, 8)) * cs;
        uint8_t value = (uint8_t)(1 + offset / cs % 250);
        if (rng_below(&k->rng, 2)) {
            assert_int_equal(blk_pwrite_zeroes(c->b, offset, cs, REQ_MAY_UNMAP, NULL), 0);
            memset(c->shadow + offset, 0, (size_t)cs);
        } else {
            assert_int_equal(rig_fill(c->b, offset, cs, value), 0);
            memset(c->shadow + offset, value, (size_t)cs);
        }
    }
    if (++c->done == WORKERS + 2) {
        co_wake(c->waiter);
    }
}

static void peek(void *arg)
{
    struct worker *k = arg;
    struct crowd *c = k->c;
    int64_t cs = (int64_t)qcow2_state(blk_node(c->b))->cluster_size, half = SIZE / 2;
    uint8_t *buf = mem_alloc((size_t)cs);
    for (int i = 0; i < 2 * OPS; i++) {
        int64_t offset = half + (int64_t)rng_below(&k->rng, (uint64_t)MIN(half / cs, 8)) * cs;
        uint8_t value = (uint8_t)(1 + offset / cs % 250);
        assert_int_equal(blk_pread(c->b, offset, buf, cs), 0);
        for (int64_t j = 0; j < cs; j++) {
            if (buf[j] != 0 && buf[j] != value && buf[j] != 0x77) {
                fail_msg("offset %d reads %02x, which is another cluster's", (int)(offset + j),
                         buf[j]);
            }
        }
    }
    mem_free(buf);
    if (++c->done == WORKERS + 2) {
        co_wake(c->waiter);
    }
}

static void crowded(struct qt *t)
{
    const struct geometry *g = t->arg;
    struct crowd c = {.t = t, .shadow = mem_alloc(SIZE), .waiter = co_self(t->r.w)};
    struct worker k[WORKERS + 2];
    c.b = make(t, g, c.shadow);
    for (unsigned i = 0; i < WORKERS + 2; i++) {
        k[i] = (struct worker){.c = &c, .id = i};
        rng_seed(&k[i].rng, t->seed * 100 + i);
        co_spawn(t->r.w, "worker", i < WORKERS ? work : i == WORKERS ? churn : peek, &k[i]);
    }
    while (c.done < WORKERS + 2) {
        co_park(t->r.w);
    }
    compare(c.b, c.shadow);
    blk_unref(c.b);
    qt_judge(t->r.disk[0], false, g->create);
    c.b = qt_open(t, 0, g->open);
    compare(c.b, c.shadow);
    blk_unref(c.b);
    mem_free(c.shadow);
}

/* Few that do nothing but free, take again and read: a cluster must not be reused under a reader.
 */
static void reuse(struct qt *t)
{
    struct crowd c = {
        .t = t, .shadow = mem_alloc(SIZE), .waiter = co_self(t->r.w), .done = WORKERS - 2};
    struct worker k[4];
    c.b = make(t, t->arg, c.shadow);
    for (unsigned i = 0; i < 4; i++) {
        k[i] = (struct worker){.c = &c, .id = i};
        rng_seed(&k[i].rng, t->seed * 100 + i);
        co_spawn(t->r.w, "worker", i ? peek : churn, &k[i]);
    }
    while (c.done < WORKERS + 2) {
        co_park(t->r.w);
    }
    blk_unref(c.b);
    mem_free(c.shadow);
}

static void test_reuse(void **state)
{
    static const struct geometry g = {"size=768k,cluster_size=4k", NULL, false};
    for (uint64_t seed = 1; seed <= 60; seed++) {
        qt_run(&profile_optimized, seed, reuse, (void *)&g);
    }
}

static void test_concurrent(void **state)
{
    for (size_t i = 0; i < ARRAY_SIZE(geometries); i++) {
        for (uint64_t seed = 1; seed <= 12; seed++) {
            qt_run(seed % 4 ? &profile_optimized : &profile_reference, seed, crowded,
                   (void *)&geometries[i]);
        }
    }
}

/* ---- size ---- */

static void resizes(struct qt *t)
{
    struct error *err = NULL;
    uint8_t *shadow = mem_alloc(SIZE);
    struct blk *b = make(t, &geometries[t->seed % ARRAY_SIZE(geometries)], shadow);
    assert_int_equal(rig_fill(b, 0, SIZE, 5), 0);
    assert_int_equal(blk_truncate(b, 100 * KiB, true, PREALLOC_OFF, 0, &err), 0);
    assert_int_equal(blk_length(b), 100 * KiB);
    assert_int_equal(blk_truncate(b, SIZE, true, PREALLOC_OFF, 0, &err), 0);
    rig_check(b, 0, 100 * KiB, 5);
    blk_unref(b);
    qt_judge(t->r.disk[0], false, "resized");
    b = qt_open(t, 0, NULL);
    uint8_t *buf = mem_alloc(SIZE);
    assert_int_equal(blk_pread(b, 0, buf, SIZE), 0);
    assert_true(buf_is_zero(buf + 400 * KiB, SIZE - 400 * KiB));
    mem_free(buf);
    blk_unref(b);
    mem_free(shadow);
}

/* Preallocated clusters that were something else before read as zeroes. */
static void regrow(struct qt *t)
{
    struct error *err = NULL;
    qt_create(t, 0, "size=2M,cluster_size=512");
    struct blk *b = qt_open(t, 0, NULL);
    assert_int_equal(rig_fill(b, 0, 2 * MiB, 9), 0);
    assert_int_equal(blk_truncate(b, 64 * KiB, true, PREALLOC_OFF, 0, &err), 0);
    assert_int_equal(rig_fill(b, 0, 64 * KiB, 9), 0);
    assert_int_equal(blk_pwrite_zeroes(b, 0, 64 * KiB, REQ_MAY_UNMAP, NULL), 0);
    assert_int_equal(blk_truncate(b, 2 * MiB, true, PREALLOC_METADATA, 0, &err), 0);
    rig_check(b, 0, 2 * MiB, 0);
    blk_unref(b);
    qt_judge(t->r.disk[0], false, "regrown");
}

static void test_resize(void **state)
{
    qt_run(&profile_optimized, 1, regrow, NULL);
    qt_run(&profile_reference, 0, regrow, NULL);
    for (uint64_t seed = 1; seed <= ARRAY_SIZE(geometries); seed++) {
        qt_run(&profile_optimized, seed, resizes, NULL);
    }
}

static void vmstate(struct qt *t)
{
    qt_create(t, 0, "size=64k,cluster_size=4k");
    struct blk *b = qt_open(t, 0, NULL);
    uint8_t buf[5000], back[5000];
    memset(buf, 0x5a, sizeof(buf));
    struct iov q;
    iov_single(&q, buf, sizeof(buf));
    assert_int_equal(node_save_vmstate(blk_node(b), &q, 100), 0);
    iov_single(&q, back, sizeof(back));
    assert_int_equal(node_load_vmstate(blk_node(b), &q, 100), 0);
    assert_memory_equal(buf, back, sizeof(buf));
    assert_int_equal(blk_length(b), 64 * KiB);
    rig_check(b, 0, 64 * KiB, 0);
    blk_unref(b);
    qt_judge(t->r.disk[0], false, "vmstate");
}

static void test_vmstate(void **state)
{
    qt_run(&profile_reference, 0, vmstate, NULL);
    qt_run(&profile_optimized, 3, vmstate, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_programs), cmocka_unit_test(test_concurrent),
        cmocka_unit_test(test_reuse),    cmocka_unit_test(test_resize),
        cmocka_unit_test(test_vmstate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
