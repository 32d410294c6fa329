/*
 * QED and qcow on simulated disks: random programs beside a shadow, hostile headers, check and
 * repair, the need-check bit, compressed clusters, growing.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include "ref/base/bytes.h"
#include "ref/base/rng.h"
#include "ref/engine/clock.h"
#include "ref/format/format.h"
#include "ref/protocol/protocol.h"
#include "ref/protocol/tests/rig.h"
#include "specs/qcow_layout.h"
#include "specs/qed_layout.h"

static const struct block_driver *const drivers[] = {&driver_sim, &driver_raw, &driver_qed,
                                                     &driver_qcow, NULL};
#define RW   (OPEN_RDWR | OPEN_RESIZE | OPEN_UNMAP)
#define SIZE (1 * MiB)

static void make(struct rig *r, const struct block_driver *drv, int i, const char *options)
{
    char name[] = "sim:d0";
    struct error *err = NULL;
    struct value *o = opts_parse(options, NULL, &err);
    name[5] = (char)('0' + i);
    if (!r->disk[i]) {
        rig_disk(r, i, 0);
    }
    int ret = image_create(r->w, drv, name, o, &err);
    if (err) {
        print_error("%s\n", err->msg);
    }
    assert_int_equal(ret, 0);
    value_free(o);
}

static void poke(struct rig *r, int i, int64_t offset, uint64_t v, unsigned width, int big)
{
    struct blk *b = rig_open(r, i ? "sim:d1" : "sim:d0", "driver=raw", RW);
    uint8_t bytes[8];
    store_uint(bytes, width, big, v);
    assert_int_equal(blk_pwrite(b, offset, bytes, width, 0), 0);
    blk_unref(b);
}

static uint64_t peek(struct rig *r, int64_t offset, unsigned width, int big)
{
    struct blk *b = rig_open(r, "sim:d0", "driver=raw", 0);
    uint8_t bytes[8];
    assert_int_equal(blk_pread(b, offset, bytes, width), 0);
    blk_unref(b);
    return load_uint(bytes, width, big);
}

/* ---- random programs ---- */

struct program {
    struct blk *b;
    uint8_t *shadow;
    struct rng rng;
    bool compressed;
};

static void check_all(struct program *p)
{
    uint8_t *buf = mem_alloc(SIZE);
    assert_int_equal(blk_pread(p->b, 0, buf, SIZE), 0);
    assert_memory_equal(buf, p->shadow, SIZE);
    mem_free(buf);
}

static void step(struct program *p)
{
    int64_t offset = (int64_t)rng_below(&p->rng, SIZE);
    int64_t bytes = 1 + (int64_t)rng_below(&p->rng, rng_below(&p->rng, 4) ? 5000 : 200000);
    uint8_t value = (uint8_t)(1 + rng_below(&p->rng, 255));
    bytes = MIN(bytes, SIZE - offset);
    switch (rng_below(&p->rng, 8)) {
    case 0:
        assert_int_equal(blk_pwrite_zeroes(p->b, offset, bytes, REQ_MAY_UNMAP, NULL), 0);
        memset(p->shadow + offset, 0, (size_t)bytes);
        break;
    case 1:
        (void)blk_discard(p->b, offset, bytes, NULL); /* neither format gives anything back */
        break;
    case 2:
        if (p->compressed) {
            uint8_t buf[4096];
            offset = ROUND_DOWN(offset, 4096);
            memset(buf, value, sizeof(buf));
            assert_int_equal(blk_pwrite(p->b, offset, buf, 4096, REQ_COMPRESSED), 0);
            memset(p->shadow + offset, value, 4096);
        }
        break;
    default:
        assert_int_equal(rig_fill(p->b, offset, bytes, value), 0);
        memset(p->shadow + offset, value, (size_t)bytes);
    }
}

static void run_program(struct rig *r, const char *driver, bool backing, uint64_t seed,
                        bool compressed)
{
    char options[64];
    struct program p = {.shadow = mem_zalloc(SIZE), .compressed = compressed};
    rng_seed(&p.rng, seed);
    snprintf(options, sizeof(options), "driver=%s%s", driver, backing ? ",backing.driver=raw" : "");
    if (backing) {
        struct blk *base = rig_open(r, "sim:d1", "driver=raw", RW);
        assert_int_equal(rig_fill(base, 0, SIZE / 2, 0x5a), 0); /* shorter than the overlay */
        memset(p.shadow, 0x5a, SIZE / 2);
        blk_unref(base);
    }
    for (int session = 0; session < 3; session++) {
        p.b = rig_open(r, "sim:d0", options, RW);
        check_all(&p);
        for (int i = 0; i < 25; i++) {
            step(&p);
        }
        check_all(&p);
        struct check_result res = {0};
        int ret = node_check(blk_node(p.b), &res, 0);
        assert_true(ret == 0 || ret == -ENOTSUP);
        assert_int_equal(res.corruptions + res.leaks + res.check_errors, 0);
        blk_unref(p.b);
    }
    mem_free(p.shadow);
}

static void qed_programs(struct rig *r)
{
    rig_disk(r, 1, SIZE / 2);
    for (uint64_t seed = 1; seed <= 10; seed++) {
        make(r, &driver_qed, 0, seed % 2 ? "size=1M,cluster_size=4k,table_size=1" : "size=1M");
        run_program(r, "qed", false, seed, false);
        assert_int_equal(peek(r, QED_HEADER_FEATURES_OFF, 8, 0), 0);
        make(r, &driver_qed, 0, "size=1M,cluster_size=8k,backing_file=sim:d1,backing_fmt=raw");
        run_program(r, "qed", true, seed, false);
    }
}

static void qcow_programs(struct rig *r)
{
    rig_disk(r, 1, SIZE / 2);
    for (uint64_t seed = 1; seed <= 10; seed++) {
        make(r, &driver_qcow, 0, "size=1M");
        run_program(r, "qcow", false, seed, true);
        make(r, &driver_qcow, 0, "size=1M,backing_file=sim:d1,backing_fmt=raw");
        run_program(r, "qcow", true, seed, false);
    }
}

/* ---- hostile headers ---- */

struct hostile {
    int64_t offset;
    unsigned width;
    uint64_t value;
    const char *msg;
};

static void qed_hostile(struct rig *r)
{
    static const struct hostile cases[] = {
        {0, 4, 0, "Image not in QED format"},
        {4, 4, 4095, "QED cluster size is invalid"},
        {4, 4, 0, "QED cluster size is invalid"},
        {4, 4, 1 << 27, "QED cluster size is invalid"},
        {8, 4, 0, "QED table size is invalid"},
        {8, 4, 3, "QED table size is invalid"},
        {8, 4, 32, "QED table size is invalid"},
        {12, 4, 0xffffffff, "QED table offset is invalid"},
        {16, 8, 8, "Unsupported QED features: 8"},
        {16, 8, UINT64_C(1) << 63, "Unsupported QED features: 8000000000000000"},
        {40, 8, 0, "QED table offset is invalid"},
        {40, 8, 0x10200, "QED table offset is invalid"},
        {40, 8, UINT64_C(1) << 40, "QED table offset is invalid"},
        {40, 8, UINT64_C(1) << 63, "QED table offset is invalid"},
        {48, 8, 100, "QED image size is invalid"},
        {48, 8, UINT64_C(1) << 60, "QED image size is invalid"},
        {48, 8, UINT64_MAX - 511, "QED image size is invalid"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        make(r, &driver_qed, 0, "size=1M");
        poke(r, 0, cases[i].offset, cases[i].value, cases[i].width, 0);
        rig_open_fails(r, "sim:d0", "driver=qed", RW, cases[i].msg);
    }
    make(r, &driver_qed, 0, "size=1M");
    poke(r, 0, QED_HEADER_FEATURES_OFF, QED_FEATURE_BACKING_FILE, 8, 0);
    poke(r, 0, QED_HEADER_BACKING_FILENAME_OFFSET_OFF, 0xfffffff0, 4, 0);
    poke(r, 0, QED_HEADER_BACKING_FILENAME_SIZE_OFF, 0xff, 4, 0);
    rig_open_fails(r, "sim:d0", "driver=qed", RW, "QED backing filename offset is invalid");
}

static void qcow_hostile(struct rig *r)
{
    static const struct hostile cases[] = {
        {0, 4, 0, "Image not in qcow format"},
        {4, 4, 0, "qcow (v1) does not support qcow version 0"},
        {24, 8, 1, "Image size is too small (must be at least 2 bytes)"},
        {24, 8, UINT64_C(0xeeeeeeeeeeeeeeee), "Image too large"},
        {24, 8, INT64_MAX, "Image too large"},
        {24, 8, UINT64_MAX, "Image too large"}, /* no L1 entries, rounded up in 64 bits */
        {24, 8, (UINT64_C(1) << 52) + 1, "Image too large"}, /* one, in 32 bits */
        {24, 8, UINT64_C(1) << 50, "Image too large"},
        {32, 1, 8, "Cluster size must be between 512 and 64k"},
        {32, 1, 17, "Cluster size must be between 512 and 64k"},
        {32, 1, 255, "Cluster size must be between 512 and 64k"},
        {33, 1, 5, "L2 table size must be between 512 and 64k"},
        {33, 1, 14, "L2 table size must be between 512 and 64k"},
        {33, 1, 27, "L2 table size must be between 512 and 64k"},
        {33, 1, 64, "L2 table size must be between 512 and 64k"},
        {33, 1, 255, "L2 table size must be between 512 and 64k"},
        {36, 4, 1, "Parameter 'encrypt.key-secret' is required for cipher"},
        {36, 4, 2, "invalid encryption method in qcow header"},
        {40, 8, UINT64_C(1) << 63, "L1 table offset is invalid"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        make(r, &driver_qcow, 0, "size=1M");
        poke(r, 0, cases[i].offset, cases[i].value, cases[i].width, 1);
        rig_open_fails(r, "sim:d0", "driver=qcow", RW, cases[i].msg);
    }
    make(r, &driver_qcow, 0, "size=1M");
    poke(r, 0, QCOW_HEADER_BACKING_FILE_OFFSET_OFF, 255, 8, 1);
    poke(r, 0, QCOW_HEADER_BACKING_FILE_SIZE_OFF, 0x7fffffff, 4, 1);
    rig_open_fails(r, "sim:d0", "driver=qcow", RW, "Backing file name too long");
}

/* Entries of a qcow image that lead nowhere: errors, not crashes. */
static void qcow_bad_entries(struct rig *r)
{
    uint8_t buf[512];
    make(r, &driver_qcow, 0, "size=1M");
    poke(r, 0, QCOW_HEADER_SIZE, UINT64_C(1) << 63, 8, 1);
    struct blk *b = rig_open(r, "sim:d0", "driver=qcow", RW);
    assert_int_equal(blk_pread(b, 0, buf, 512), -EIO);
    blk_unref(b);
    make(r, &driver_qcow, 0, "size=1M");
    b = rig_open(r, "sim:d0", "driver=qcow", RW);
    assert_int_equal(rig_fill(b, 0, 512, 1), 0);
    blk_unref(b);
    uint64_t l2 = peek(r, QCOW_HEADER_SIZE, 8, 1);
    poke(r, 0, (int64_t)l2, UINT64_C(1) << 63 | 4096, 8, 1); /* compressed, of no length */
    b = rig_open(r, "sim:d0", "driver=qcow", RW);
    assert_int_equal(blk_pread(b, 0, buf, 512), -EIO);
    blk_unref(b);
    poke(r, 0, (int64_t)l2, INT64_MAX, 8, 1);
    b = rig_open(r, "sim:d0", "driver=qcow", RW);
    assert_int_equal(blk_pread(b, 0, buf, 512), -EIO);
    blk_unref(b);
}

/* ---- check ---- */

#define L1 65536

/* An image with the cluster at 0 written and one more L2 entry, for the cluster at 64k, as given.
 */
static void damaged(struct rig *r, uint64_t entry, bool dirty)
{
    make(r, &driver_qed, 0, "size=1M");
    struct blk *b = rig_open(r, "sim:d0", "driver=qed", RW);
    assert_int_equal(rig_fill(b, 0, 65536, 1), 0);
    blk_unref(b);
    poke(r, 0, (int64_t)peek(r, L1, 8, 0) + 8, entry, 8, 0);
    if (dirty) {
        poke(r, 0, QED_HEADER_FEATURES_OFF, QED_FEATURE_NEED_CHECK, 8, 0);
    }
}

static struct check_result check(struct rig *r, unsigned fix)
{
    struct check_result res = {0};
    struct blk *b = rig_open(r, "sim:d0", "driver=qed", RW | OPEN_CHECK);
    assert_int_equal(node_check(blk_node(b), &res, fix), 0);
    blk_unref(b);
    return res;
}

static void qed_check_repair(struct rig *r)
{
    static const uint64_t dropped[] = {0x10000000, 0x50200, 2, UINT64_MAX, UINT64_C(1) << 63};
    uint8_t buf[512];
    for (size_t i = 0; i < ARRAY_SIZE(dropped); i++) {
        damaged(r, dropped[i], false);
        struct blk *b = rig_open(r, "sim:d0", "driver=qed", RW);
        assert_int_equal(blk_pread(b, 65536, buf, 512), -EINVAL);
        blk_unref(b);
        assert_int_equal(check(r, 0).corruptions, 1);
        struct check_result res = check(r, FIX_ERRORS);
        assert_int_equal(res.corruptions, 0);
        assert_int_equal(res.corruptions_fixed, 1);
        assert_int_equal(check(r, 0).corruptions, 0);
        damaged(r, dropped[i], true);
        b = rig_open(r, "sim:d0", "driver=qed", RW); /* opening repairs */
        rig_check(b, 0, 65536, 1);
        rig_check(b, 65536, 65536, 0);
        blk_unref(b);
        assert_int_equal(peek(r, QED_HEADER_FEATURES_OFF, 8, 0), 0);
    }
    /* Two references to one cluster stay, and so does the bit. */
    damaged(r, 0x50000, true);
    assert_int_equal(check(r, FIX_ERRORS).corruptions, 1);
    blk_unref(rig_open(r, "sim:d0", "driver=qed", RW));
    assert_int_equal(peek(r, QED_HEADER_FEATURES_OFF, 8, 0), QED_FEATURE_NEED_CHECK);
    /* A reader repairs nothing. */
    damaged(r, 0x10000000, true);
    blk_unref(rig_open(r, "sim:d0", "driver=qed", 0));
    assert_int_equal(peek(r, QED_HEADER_FEATURES_OFF, 8, 0), QED_FEATURE_NEED_CHECK);
}

static void qed_tables_checked(struct rig *r)
{
    damaged(r, 0, false);
    poke(r, 0, L1 + 8, peek(r, L1, 8, 0), 8, 0); /* a table of four clusters twice */
    assert_int_equal(check(r, 0).corruptions, 4);
    poke(r, 0, L1 + 8, L1, 8, 0);
    assert_int_equal(check(r, FIX_ERRORS).corruptions, 4);
    poke(r, 0, L1 + 8, 1, 8, 0);
    assert_int_equal(check(r, FIX_ERRORS).corruptions_fixed, 1);
    struct check_result res = check(r, 0);
    assert_int_equal(res.corruptions + res.leaks, 0);
    assert_int_equal(res.total_clusters, 16);
    assert_int_equal(res.allocated_clusters, 1);
}

static void qed_need_check(struct rig *r)
{
    make(r, &driver_qed, 0, "size=1M");
    struct blk *b = rig_open(r, "sim:d0", "driver=qed", RW);
    assert_int_equal(rig_fill(b, 0, 512, 1), 0);
    uint8_t h[QED_HEADER_SIZE];
    disk_read(r->disk[0], 0, h, sizeof(h));
    assert_int_equal(qed_header_get_features(h), QED_FEATURE_NEED_CHECK);
    /* Five seconds without allocation, and it is clean. */
    assert_int_equal(co_sleep(r->w, CLOCK_VIRTUAL, 6 * INT64_C(1000000000)), 0);
    disk_read(r->disk[0], 0, h, sizeof(h));
    assert_int_equal(qed_header_get_features(h), 0);
    /* Not while the node is drained, but five seconds later. */
    assert_int_equal(rig_fill(b, 128 * KiB, 512, 1), 0);
    node_drain_begin(blk_node(b));
    assert_int_equal(co_sleep(r->w, CLOCK_VIRTUAL, 20 * INT64_C(1000000000)), 0);
    assert_int_equal(peek(r, QED_HEADER_FEATURES_OFF, 8, 0), QED_FEATURE_NEED_CHECK);
    node_drain_end(blk_node(b));
    assert_int_equal(co_sleep(r->w, CLOCK_VIRTUAL, 6 * INT64_C(1000000000)), 0);
    assert_int_equal(peek(r, QED_HEADER_FEATURES_OFF, 8, 0), 0);
    blk_unref(b);
    assert_int_equal(peek(r, QED_HEADER_FEATURES_OFF, 8, 0), 0);
}

static void qed_grows(struct rig *r)
{
    struct error *err = NULL;
    make(r, &driver_qed, 0, "size=1M");
    struct blk *b = rig_open(r, "sim:d0", "driver=qed", RW);
    assert_int_equal(rig_fill(b, 0, SIZE, 1), 0);
    assert_int_equal(blk_truncate(b, 2 * SIZE, true, PREALLOC_OFF, 0, &err), 0);
    rig_check(b, SIZE, SIZE, 0);
    assert_int_equal(blk_truncate(b, 3 * SIZE, true, PREALLOC_FULL, 0, &err), -ENOTSUP);
    rig_expect(&err, "Unsupported preallocation mode 'full'");
    blk_unref(b);
    b = rig_open(r, "sim:d0", "driver=qed", RW);
    assert_int_equal(blk_length(b), 2 * SIZE);
    rig_check(b, 0, SIZE, 1);
    blk_unref(b);
}

#define RUN(name)                                                                                  \
    static void test_##name(void **state)                                                          \
    {                                                                                              \
        rig_run(drivers, name);                                                                    \
    }
RUN(qed_programs)
RUN(qcow_programs)
RUN(qed_hostile)
RUN(qcow_hostile)
RUN(qcow_bad_entries)
RUN(qed_check_repair)
RUN(qed_tables_checked)
RUN(qed_need_check)
RUN(qed_grows)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_qed_programs),       cmocka_unit_test(test_qcow_programs),
        cmocka_unit_test(test_qed_hostile),        cmocka_unit_test(test_qcow_hostile),
        cmocka_unit_test(test_qcow_bad_entries),   cmocka_unit_test(test_qed_check_repair),
        cmocka_unit_test(test_qed_tables_checked), cmocka_unit_test(test_qed_need_check),
        cmocka_unit_test(test_qed_grows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
