/*
 * Copy offload between qcow2 and raw images on host files: seeded ranges, compared with a shadow;
 * compressed clusters refuse it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include "ref/block/backend.h"
#include "ref/format/format.h"
#include "ref/format/qcow2/qcow2.h"
#include "ref/protocol/protocol.h"

#define SIZE    (1 * MiB)
#define CLUSTER (64 * KiB)

static const struct driver_entry entries[] = {
    {.drv = &driver_file}, {.drv = &driver_raw}, {.drv = &driver_qcow2}, {.drv = NULL}};

struct fixture {
    char dir[32];
    struct world *w;
    struct rng rng;
    uint8_t *source, *target; /* what the images must read */
    unsigned offloaded;
};

static char *path(struct fixture *f, const char *name)
{
    return str_fmt("%s/%s", f->dir, name);
}

static void make(struct fixture *f, const char *name, const struct block_driver *drv,
                 const char *backing)
{
    char *p = path(f, name);
    struct value *o = value_dict();
    dict_put_str(o, "size", "1M");
    if (backing) {
        dict_put_str(o, "backing_file", backing);
        dict_put_str(o, "backing_fmt", "qcow2");
    }
    assert_int_equal(image_create(f->w, drv, p, o, NULL), 0);
    value_free(o);
    mem_free(p);
}

static struct blk *open_image(struct fixture *f, const char *name, const struct block_driver *drv)
{
    char *p = path(f, name);
    struct value *o = value_dict();
    dict_put_str(o, "driver", drv->name);
    struct blk *b = blk_open(f->w, p, NULL, o, OPEN_RDWR | OPEN_UNMAP, NULL);
    assert_non_null(b);
    mem_free(p);
    return b;
}

/* Data, zeroes and holes, anywhere. */
static void scribble(struct fixture *f, struct blk *b, uint8_t *shadow, int count)
{
    for (int i = 0; i < count; i++) {
        int64_t at = (int64_t)rng_below(&f->rng, SIZE / 512) * 512;
        int64_t want = (int64_t)(1 + rng_below(&f->rng, 400)) * 512, n = MIN(want, SIZE - at);
        uint8_t v = rng_below(&f->rng, 4) ? (uint8_t)rng_below(&f->rng, 256) : 0;
        memset(shadow + at, v, (size_t)n);
        assert_int_equal(v ? blk_pwrite(b, at, shadow + at, n, 0)
                           : blk_pwrite_zeroes(b, at, n, REQ_MAY_UNMAP, NULL),
                         0);
    }
}

static void expect(struct blk *b, const uint8_t *shadow)
{
    uint8_t *buf = mem_alloc(SIZE);
    assert_int_equal(blk_pread(b, 0, buf, SIZE), 0);
    assert_memory_equal(buf, shadow, SIZE);
    mem_free(buf);
}

static void copy_some(struct fixture *f, struct blk *from, struct blk *to)
{
    for (int i = 0; i < 60; i++) {
        int64_t n = (int64_t)(1 + rng_below(&f->rng, 500)) * 512;
        int64_t src = (int64_t)rng_below(&f->rng, (uint64_t)(SIZE - n) / 512) * 512;
        int64_t dst = rng_below(&f->rng, 2)
                          ? src
                          : (int64_t)rng_below(&f->rng, (uint64_t)(SIZE - n) / 512) * 512;
        int ret = child_copy_range(blk_root(from), src, blk_root(to), dst, n, 0, 0);
        if (ret == -ENOTSUP) {
            uint8_t *buf = f->source + src; /* as every caller does */
            ret = blk_pwrite(to, dst, buf, n, 0);
        } else {
            f->offloaded++;
        }
        assert_int_equal(ret, 0);
        memcpy(f->target + dst, f->source + src, (size_t)n);
    }
}

static void check_clean(struct blk *b)
{
    struct check_result res = {0};
    if (blk_node(b)->drv->check) {
        assert_int_equal(node_check(blk_node(b), &res, 0), 0);
        assert_int_equal(res.corruptions + res.leaks, 0);
    }
}

static void pair(struct fixture *f, const struct block_driver *from, const struct block_driver *to)
{
    memset(f->source, 0, SIZE);
    memset(f->target, 0, SIZE);
    bool chain = from == &driver_qcow2;
    make(f, "below", &driver_qcow2, NULL);
    make(f, "from", from, chain ? "below" : NULL);
    make(f, "under", &driver_qcow2, NULL);
    make(f, "to", to, to == &driver_qcow2 ? "under" : NULL);
    struct blk *b = open_image(f, "below", &driver_qcow2);
    scribble(f, b, chain ? f->source : f->target, chain ? 6 : 0);
    blk_unref(b);
    struct blk *source = open_image(f, "from", from), *target;
    scribble(f, source, f->source, 6);
    if (to == &driver_qcow2) {
        b = open_image(f, "under", &driver_qcow2);
        scribble(f, b, f->target, 6);
        blk_unref(b);
    }
    target = open_image(f, "to", to);
    copy_some(f, source, target);
    expect(source, f->source);
    expect(target, f->target);
    check_clean(target);
    blk_unref(source);
    blk_unref(target);
}

static void pairs_body(void *arg)
{
    struct fixture *f = arg;
    f->offloaded = 0;
    pair(f, &driver_qcow2, &driver_qcow2);
    pair(f, &driver_raw, &driver_qcow2);
    pair(f, &driver_qcow2, &driver_raw);
    pair(f, &driver_raw, &driver_raw);
    assert_true(f->offloaded > 60);
}

/* A target that did not take the copy is as before. */
static void compressed_body(void *arg)
{
    struct fixture *f = arg;
    make(f, "from", &driver_qcow2, NULL);
    make(f, "to", &driver_qcow2, NULL);
    struct blk *source = open_image(f, "from", &driver_qcow2),
               *target = open_image(f, "to", &driver_qcow2);
    memset(f->source, 0x33, CLUSTER);
    memset(f->target, 0, SIZE);
    assert_int_equal(blk_pwrite(source, 0, f->source, CLUSTER, REQ_COMPRESSED), 0);
    assert_int_equal(
        child_copy_range(blk_root(source), 0, blk_root(target), 512, CLUSTER - 1024, 0, 0),
        -ENOTSUP);
    expect(target, f->target);
    check_clean(target);
    blk_unref(source);
    blk_unref(target);
}

static void run(void (*body)(void *arg), uint64_t seed)
{
    struct fixture f = {.dir = "./blkref-copy-XXXXXX"};
    static const char *const names[] = {"below", "from", "under", "to"};
    struct process *p = process_new();
    struct world_config cfg = {.profile = &profile_optimized, .io = IO_SYNC, .io_set = true};
    struct driver_list list = {entries};
    assert_non_null(mkdtemp(f.dir));
    f.source = mem_zalloc(SIZE);
    f.target = mem_zalloc(SIZE);
    rng_seed(&f.rng, seed);
    f.w = world_new(p, &cfg);
    block_set_drivers(f.w, &list);
    assert_int_equal(world_exec(f.w, body, &f), 0);
    world_free(f.w);
    process_free(p);
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        char *name = path(&f, names[i]);
        unlink(name);
        mem_free(name);
    }
    rmdir(f.dir);
    mem_free(f.source);
    mem_free(f.target);
}

static void test_pairs(void **state)
{
    for (uint64_t seed = 1; seed <= 8; seed++) {
        run(pairs_body, seed);
    }
}

static void test_compressed(void **state)
{
    run(compressed_body, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pairs),
        cmocka_unit_test(test_compressed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
