/*
 * Shrinking QED images: what is kept, what growing shows again, leaks, random programs beside a
 * shadow, and every I/O of a shrink failing once.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include "ref/base/rng.h"
#include "ref/block/open.h"
#include "ref/format/format.h"
#include "ref/protocol/protocol.h"
#include "ref/protocol/tests/rig.h"
#include "specs/qed_layout.h"

static const struct block_driver *const drivers[] = {&driver_sim, &driver_raw, &driver_qed, NULL};
#define RW   (OPEN_RDWR | OPEN_RESIZE | OPEN_UNMAP)
#define C    (4 * KiB)
#define SIZE (8 * MiB) /* four L2 tables of one cluster */

static void make(struct rig *r)
{
    struct error *err = NULL;
    struct value *o = opts_parse("size=8M,cluster_size=4k,table_size=1", NULL, &err);
    if (!r->disk[0]) {
        rig_disk(r, 0, 0);
    }
    assert_int_equal(image_create(r->w, &driver_qed, "sim:d0", o, &err), 0);
    value_free(o);
}

static void resize(struct blk *b, int64_t size)
{
    struct error *err = NULL;
    int ret = blk_truncate(b, size, true, PREALLOC_OFF, 0, &err);
    if (err) {
        print_error("%s\n", err->msg);
    }
    assert_int_equal(ret, 0);
}

static int leaks(struct blk *b)
{
    struct check_result res = {0};
    assert_int_equal(node_check(blk_node(b), &res, 0), 0);
    assert_int_equal(res.corruptions + res.check_errors, 0);
    return res.leaks;
}

static uint64_t features(struct rig *r)
{
    uint8_t h[QED_HEADER_SIZE];
    disk_read(r->disk[0], 0, h, sizeof(h));
    return qed_header_get_features(h);
}

/* Written from the front: all that is cut off lies at the end of the file. */
static void gives_space_back(struct rig *r)
{
    int64_t kept = 3 * MiB + 1536;
    make(r);
    struct blk *b = rig_open(r, "sim:d0", "driver=qed", RW);
    for (int64_t at = 0; at < SIZE; at += 2 * MiB) { /* each table behind its first cluster */
        assert_int_equal(rig_fill(b, at, C, 1), 0);
        assert_int_equal(rig_fill(b, at + C, 2 * MiB - C, 1), 0);
    }
    assert_int_equal(disk_size(r->disk[0]), 2 * C + 4 * C + SIZE);
    resize(b, kept);
    assert_int_equal(disk_size(r->disk[0]), 2 * C + 2 * C + ROUND_UP(kept, C));
    assert_int_equal(features(r), 0);
    assert_int_equal(leaks(b), 0);
    rig_check(b, 0, kept, 1);
    resize(b, SIZE);
    rig_check(b, 0, kept, 1);
    rig_check(b, kept, SIZE - kept, 0);
    assert_int_equal(rig_fill(b, 5 * MiB, 64 * KiB, 2), 0);
    blk_unref(b);
    b = rig_open(r, "sim:d0", "driver=qed", RW);
    assert_int_equal(blk_length(b), SIZE);
    rig_check(b, kept, 5 * MiB - kept, 0);
    rig_check(b, 5 * MiB, 64 * KiB, 2);
    assert_int_equal(leaks(b), 0);
    resize(b, 0);
    assert_int_equal(disk_size(r->disk[0]), 2 * C);
    assert_int_equal(leaks(b), 0);
    resize(b, SIZE);
    rig_check(b, 0, SIZE, 0);
    blk_unref(b);
}

/* What was written last lies last: the first cluster and its table cannot be given back. */
static void leaks_in_the_middle(struct rig *r)
{
    make(r);
    struct blk *b = rig_open(r, "sim:d0", "driver=qed", RW);
    assert_int_equal(rig_fill(b, 5 * MiB, C, 1), 0);
    assert_int_equal(rig_fill(b, 0, C, 2), 0);
    int64_t before = disk_size(r->disk[0]);
    resize(b, MiB);
    assert_int_equal(disk_size(r->disk[0]), before);
    assert_int_equal(leaks(b), 2);
    rig_check(b, 0, C, 2);
    rig_check(b, C, MiB - C, 0);
    blk_unref(b);
}

/* An image that is not consistent is not cut: nobody knows what is in use. */
static void corrupt_is_not_cut(struct rig *r)
{
    uint8_t e[8], l1[8];
    make(r);
    struct blk *b = rig_open(r, "sim:d0", "driver=qed", RW);
    assert_int_equal(rig_fill(b, 0, SIZE, 1), 0);
    blk_unref(b);
    int64_t before = disk_size(r->disk[0]);
    disk_read(r->disk[0], C, l1, sizeof(l1));
    qed_l2_entry_set_offset(e, 7 * C);
    assert_int_equal(disk_write(r->disk[0], (int64_t)qed_l1_entry_get_offset(l1), e, 8), 0);
    b = rig_open(r, "sim:d0", "driver=qed", RW);
    resize(b, MiB);
    assert_int_equal(disk_size(r->disk[0]), before);
    assert_int_equal(blk_length(b), MiB);
    blk_unref(b);

    /* A table that is none: its entries cannot go, the size stays. */
    struct error *err = NULL;
    qed_l1_entry_set_offset(e, UINT64_C(1) << 40);
    assert_int_equal(disk_write(r->disk[0], C, e, 8), 0);
    b = rig_open(r, "sim:d0", "driver=qed", RW);
    assert_int_equal(blk_truncate(b, MiB / 2, true, PREALLOC_OFF, 0, &err), -EINVAL);
    rig_expect(&err, "Failed to discard cropped clusters: Invalid argument");
    assert_int_equal(blk_length(b), MiB);
    blk_unref(b);
}

/* ---- random programs ---- */

/* With a backing file of 1 MiB growth must begin behind its end, as QEMU. */
static int64_t random_size(struct rng *rng, bool backing)
{
    return 512 * (int64_t)(backing ? 2048 + rng_below(rng, SIZE / 512 - 2047)
                                   : rng_below(rng, SIZE / 512 + 1));
}

static void program(struct rig *r, const char *options, bool backing)
{
    uint8_t *shadow = mem_zalloc(SIZE), *buf = mem_alloc(SIZE);
    int64_t size = SIZE;
    struct rng rng;
    rng_seed(&rng, backing ? 5 : 6);
    memset(shadow, 0x5a, backing ? MiB : 0);
    struct blk *b = rig_open(r, "sim:d0", options, RW);
    for (int i = 0; i < 120; i++) {
        if (rng_below(&rng, 4) == 0) {
            int64_t to = random_size(&rng, backing);
            resize(b, to);
            if (to < size) {
                memset(shadow + to, 0, (size_t)(size - to));
            }
            size = to;
        } else if (size > 0) {
            int64_t offset = (int64_t)rng_below(&rng, (uint64_t)size);
            int64_t bytes = 1 + (int64_t)rng_below(&rng, 300000);
            bytes = MIN(bytes, size - offset);
            memset(shadow + offset, i + 1, (size_t)bytes);
            assert_int_equal(rig_fill(b, offset, bytes, (uint8_t)(i + 1)), 0);
        }
        if (i % 10 == 9) {
            blk_unref(b);
            b = rig_open(r, "sim:d0", options, RW);
            assert_int_equal(blk_length(b), size);
            assert_int_equal(blk_pread(b, 0, buf, size), 0);
            assert_memory_equal(buf, shadow, size);
            (void)leaks(b);
        }
    }
    blk_unref(b);
    mem_free(shadow);
    mem_free(buf);
}

static void random_alone(struct rig *r)
{
    make(r);
    program(r, "driver=qed", false);
}

static void random_over_backing(struct rig *r)
{
    rig_disk(r, 1, MiB);
    struct blk *base = rig_open(r, "sim:d1", "driver=raw", RW);
    assert_int_equal(rig_fill(base, 0, MiB, 0x5a), 0);
    blk_unref(base);
    rig_disk(r, 0, 0);
    struct error *err = NULL;
    struct value *o = opts_parse(
        "size=8M,cluster_size=4k,table_size=1,backing_file=sim:d1,backing_fmt=raw", NULL, &err);
    assert_int_equal(image_create(r->w, &driver_qed, "sim:d0", o, &err), 0);
    value_free(o);
    program(r, "driver=qed", true);
}

/* ---- failures ---- */

/* The k-th I/O of a kind fails: all or nothing of the size, the rest of the disk as it was. False:
 * there was no such I/O. */
static bool fails_once(struct rig *r, const char *io, int k)
{
    char text[64];
    struct error *err = NULL;
    int64_t kept = 3 * MiB + 1536;
    make(r);
    struct blk *b = rig_open(r, "sim:d0", "driver=qed", RW);
    assert_int_equal(rig_fill(b, 0, SIZE, 1), 0);
    blk_unref(b);
    b = rig_open(r, "sim:d0", "driver=qed", RW);
    snprintf(text, sizeof(text), "error,io=%s,nth=%d", io, k);
    assert_int_equal(fault_plan_parse(&r->plan, text, &err), 0);
    int ret = blk_truncate(b, kept, true, PREALLOC_OFF, 0, &err);
    error_free(err);
    bool fired = r->plan.entries[0].fired > 0;
    fault_plan_destroy(&r->plan);
    fault_plan_init(&r->plan);
    assert_int_equal(blk_length(b), ret < 0 ? SIZE : kept);
    rig_check(b, 0, kept, 1);
    blk_unref(b);
    b = rig_open(r, "sim:d0", "driver=qed", RW);
    assert_int_equal(blk_length(b), ret < 0 ? SIZE : kept);
    rig_check(b, 0, kept, 1);
    (void)leaks(b);
    resize(b, SIZE);
    if (ret == 0) {
        rig_check(b, kept, SIZE - kept, 0);
    }
    blk_unref(b);
    return fired;
}

static void every_failure(struct rig *r)
{
    static const char *const kinds[] = {"write", "flush", "write-zeroes", "read"};
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        int k = 1;
        while (fails_once(r, kinds[i], k)) {
            k++;
        }
        assert_true(k > 1); /* there is such an I/O */
    }
}

#define RUN(name)                                                                                  \
    static void test_##name(void **state)                                                          \
    {                                                                                              \
        rig_run(drivers, name);                                                                    \
    }
RUN(gives_space_back)
RUN(leaks_in_the_middle)
RUN(corrupt_is_not_cut)
RUN(random_alone)
RUN(random_over_backing)
RUN(every_failure)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gives_space_back),    cmocka_unit_test(test_leaks_in_the_middle),
        cmocka_unit_test(test_corrupt_is_not_cut),  cmocka_unit_test(test_random_alone),
        cmocka_unit_test(test_random_over_backing), cmocka_unit_test(test_every_failure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
