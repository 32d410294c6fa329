/*
 * qcow2 check and repair: every defect planted in an image is found with its message, repaired when
 * asked, and then both our check and the spec checker find nothing.  Images of many defects at once
 * end in a fixed point, too.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include "ref/base/rng.h"
#include "ref/block/image_info.h"
#include "ref/block/snapshot.h"
#include "ref/format/qcow2/tests/fixture.h"

/* The image: header, refcount table, block, L1, L2, four data clusters. */
enum {
    CS = 65536,
    RT = 0x10000,
    RB = 0x20000,
    L1 = 0x30000,
    L2 = 0x40000,
    DATA = 0x50000,
    END = 0x90000
};
#define COPIED (UINT64_C(1) << 63)

struct plant {
    const char *name;
    int64_t offset;
    unsigned width;
    uint64_t value;
    int corruptions, leaks; /* what check counts */
    const char *text;       /* and says */
    int after;              /* corruptions that stay after a repair of all */
    const char *repair;     /* a part of what the repair says, or NULL */
};

#define OUT                                                                                        \
    "ERROR: counting reference for region exceeding the end of the file by one cluster or more: "  \
    "offset "
static const struct plant plants[] = {
    {"nothing", 0x100000, 0, 0, 0, 0, "", 0, NULL},
    {"refcount too high", RB + 2 * 2, 2, 2, 0, 1, "Leaked cluster 2 refcount=2 reference=1\n", 0,
     "Repairing cluster 2 refcount=2 reference=1\n"},
    {"refcount of data too high", RB + 5 * 2, 2, 2, 1, 1,
     "Leaked cluster 5 refcount=2 reference=1\n"
     "ERROR OFLAG_COPIED data cluster: l2_entry=8000000000050000 refcount=2\n",
     0, "Repairing cluster 5 refcount=2 reference=1\n"},
    {"refcount zero", RB + 5 * 2, 2, 0, 2, 0,
     "ERROR cluster 5 refcount=0 reference=1\n"
     "ERROR OFLAG_COPIED data cluster: l2_entry=8000000000050000 refcount=0\n",
     0,
     "Rebuilding refcount structure\n"
     "Repairing cluster 1 refcount=1 reference=0\nRepairing cluster 2 refcount=1 reference=0\n"},
    {"header without refcount", RB, 2, 0, 1, 0, "ERROR cluster 0 refcount=0 reference=1\n", 0,
     "Rebuilding refcount structure\n"},
    {"two entries, one cluster", L2 + 8, 8, COPIED | DATA, 1, 1,
     "ERROR cluster 5 refcount=1 reference=2\n"
     "Leaked cluster 6 refcount=1 reference=0\n",
     0,
     "Repairing cluster 5 refcount=1 reference=2\n"
     "Repairing cluster 6 refcount=1 reference=0\n"
     "Repairing OFLAG_COPIED data cluster: l2_entry=8000000000050000 refcount=2\n"
     "Repairing OFLAG_COPIED data cluster: l2_entry=8000000000050000 refcount=2\n"},
    {"data over L1", L2 + 9 * 8, 8, COPIED | L1, 1, 0, "ERROR cluster 3 refcount=1 reference=2\n",
     0, "Repairing cluster 3 refcount=1 reference=2\n"},
    {"lost cluster", L2 + 8, 8, 0, 0, 1, "Leaked cluster 6 refcount=1 reference=0\n", 0,
     "Repairing cluster 6 refcount=1 reference=0\n"},
    {"flag of L2 entry gone", L2 + 8, 8, 0x60000, 1, 0,
     "ERROR OFLAG_COPIED data cluster: l2_entry=60000 refcount=1\n", 0,
     "Repairing OFLAG_COPIED data cluster: l2_entry=60000 refcount=1\n"},
    {"flag of L1 entry gone", L1, 8, L2, 1, 0,
     "ERROR OFLAG_COPIED L2 cluster: l1_index=0 l1_entry=40000 refcount=1\n", 0,
     "Repairing OFLAG_COPIED L2 cluster: l1_index=0 l1_entry=40000 refcount=1\n"},
    {"unaligned data", L2 + 8, 8, COPIED | 0x62a00, 2, 0,
     "ERROR offset=62a00: Data cluster is not properly aligned; L2 entry corrupted.\n"
     "ERROR cluster 7 refcount=1 reference=2\n",
     1, "Repairing cluster 7 refcount=1 reference=2\n"},
    {"unaligned zero cluster", L2 + 8, 8, COPIED | 0x62a01, 2, 0,
     "ERROR offset=62a00: Preallocated cluster is not properly aligned; L2 entry corrupted.\n"
     "ERROR cluster 7 refcount=1 reference=2\n",
     0,
     "Repairing offset=62a00: Preallocated cluster is not properly aligned; L2 entry corrupted.\n"},
    {"entry behind the end", L2 + 9 * 8, 8, COPIED | END, 2, 0,
     OUT "0x90000 size 0x10000\n"
         "ERROR OFLAG_COPIED data cluster: l2_entry=8000000000090000 refcount=0\n",
     1, OUT},
    {"table far behind the end", L1, 8, COPIED | UINT64_C(1) << 50, 2, 5, NULL, 1, OUT},
    {"reserved bits of L1", L1, 8, COPIED | L2 | 2, 1, 0,
     "ERROR found L1 entry with reserved bits set: 8000000000040002\n", 1, NULL},
    {"reserved bits of L2", L2 + 8, 8, COPIED | 0x60002, 1, 0,
     "ERROR found l2 entry with reserved bits set: 8000000000060002\n", 1, NULL},
    {"unaligned refcount block", RT + 8, 8, 0x22a00, 1, 0,
     "ERROR refcount block 1 is not cluster aligned; refcount table entry corrupted\n", 0,
     "Rebuilding refcount structure\n"},
    {"refcount block twice", RT + 8, 8, RB, 2, 0,
     "ERROR refcount block 1 refcount=2\nERROR cluster 2 refcount=1 reference=2\n", 0,
     "Rebuilding refcount structure\n"},
    {"refcount block outside", RT + 8, 8, 0x1000000, 1, 0,
     "ERROR refcount block 1 is outside image\n", 0,
     "Repairing refcount block 1 is outside image\nERROR cluster 256 refcount=0 "
     "reference=1\nRebuilding refcount structure\n"},
    {"refcount block nowhere", RT + 8, 8, UINT64_C(0x7fffffffffff0000), 1, 0,
     "ERROR refcount block 1 is outside image\n", 0,
     "ERROR could not resize image: Invalid argument\nRebuilding refcount structure\n"},
    {"refcount block beyond the table", RT + 8, 8, UINT64_C(1) << 48, 1, 0,
     "ERROR refcount block 1 is outside image\n", 0,
     "ERROR could not resize image: File too large\nRebuilding refcount structure\n"},
    {"no refcount block", RT, 8, 0, 13, 0, NULL, 0,
     "Rebuilding refcount structure\nRepairing cluster 1 refcount=1 reference=0\n"},
    {"no refcount table", 56, 4, 0, 12, 0, NULL, 0, "Rebuilding refcount structure\n"},
    {"dirty and corrupt bits", 72, 8, 3, 0, 0, "", 0, NULL},
};

static void put(struct disk *d, int64_t offset, unsigned width, uint64_t value)
{
    uint8_t buf[8];
    store_uint(buf, width, 1, value);
    assert_int_equal(disk_write(d, offset, buf, width), 0);
}

static void make(struct qt *t, const char *options, int64_t bytes)
{
    qt_create(t, 0, options);
    struct blk *b = qt_open(t, 0, NULL);
    assert_int_equal(rig_fill(b, 0, bytes, 0x5a), 0);
    blk_unref(b);
}

static struct check_result check(struct qt *t, unsigned fix, int expected)
{
    struct check_result res;
    struct blk *b =
        rig_open(&t->r, "sim:d0", "driver=qcow2", OPEN_CHECK | (fix ? OPEN_RDWR | OPEN_RESIZE : 0));
    int ret = node_check(blk_node(b), &res, fix);
    assert_int_equal(ret, expected);
    blk_unref(b);
    return res;
}

static void clear_text(struct qt *t)
{
    strbuf_free(&t->r.out);
    t->r.out = (struct strbuf)STRBUF_INIT;
    strbuf_puts(&t->r.out, "");
}

static void one_plant(struct qt *t)
{
    const struct plant *p = t->arg;
    make(t, "size=1M", 4 * CS);
    if (p->width) {
        put(t->r.disk[0], p->offset, p->width, p->value);
    }
    clear_text(t);
    struct check_result res = check(t, 0, 0);
    if (p->text) {
        assert_string_equal(t->r.out.s, p->text);
    }
    assert_int_equal(res.corruptions, p->corruptions);
    assert_int_equal(res.leaks, p->leaks);
    assert_int_equal(res.check_errors, 0);
    clear_text(t);
    check(t, FIX_ERRORS | FIX_LEAKS, 0);
    if (p->repair && !strstr(t->r.out.s, p->repair)) {
        fail_msg("%s: %s", p->name, t->r.out.s);
    }
    clear_text(t);
    res = check(t, 0, 0);
    assert_int_equal(res.corruptions, p->after);
    assert_int_equal(res.leaks, 0);
    /* Counts of an overlap can be repaired, the overlap stays. */
    if (!p->after && (p->value & ~COPIED) != L1) {
        qt_judge(t->r.disk[0], false, p->name);
        assert_string_equal(t->r.out.s, "");
        uint8_t h[8];
        disk_read(t->r.disk[0], 72, h, 8);
        assert_int_equal(load_be64(h), 0);
    }
}

static void test_plants(void **state)
{
    for (size_t i = 0; i < ARRAY_SIZE(plants); i++) {
        qt_run(i % 2 ? &profile_optimized : &profile_reference, 0, one_plant, (void *)&plants[i]);
    }
}

/* Leaks alone may be repaired; a refcount of 0 is left to a repair of all. */
static void leaks_only(struct qt *t)
{
    make(t, "size=1M", 4 * CS);
    put(t->r.disk[0], RB + 2, 2, 7);
    check(t, FIX_LEAKS, 0);
    qt_judge(t->r.disk[0], false, "leaks");
    put(t->r.disk[0], RB + 2, 2, 0);
    clear_text(t);
    check(t, FIX_LEAKS, -EIO);
    assert_string_equal(
        t->r.out.s,
        "ERROR cluster 1 refcount=0 reference=1\nERROR need to rebuild refcount structures\n");
}

static void test_leaks_only(void **state)
{
    qt_run(&profile_reference, 0, leaks_only, NULL);
}

static void overflow(struct qt *t)
{
    make(t, "size=1M,refcount_bits=1", 4 * CS);
    put(t->r.disk[0], L2 + 8, 8, COPIED | DATA);
    clear_text(t);
    struct check_result res = check(t, 0, 0);
    assert_string_equal(
        t->r.out.s,
        "ERROR: overflow cluster offset=0x50000\n"
        "Use qemu-img amend to increase the refcount entry width or qemu-img convert to create a "
        "clean copy if "
        "the image cannot be opened for writing\nLeaked cluster 6 refcount=1 reference=0\n");
    assert_int_equal(res.corruptions, 1);
}

static void test_overflow(void **state)
{
    qt_run(&profile_reference, 0, overflow, NULL);
}

static void statistics(struct qt *t)
{
    make(t, "size=1M,cluster_size=4k", 64 * KiB);
    struct check_result res = check(t, 0, 0);
    assert_int_equal(res.total_clusters, 256);
    assert_int_equal(res.allocated_clusters, 16);
    assert_int_equal(res.fragmented_clusters, 0);
    assert_int_equal(res.image_end_offset, (5 + 16) * 4096);
}

static void test_statistics(void **state)
{
    qt_run(&profile_reference, 0, statistics, NULL);
}

/* A dirty image is repaired when a writer opens it. */
static void dirty(struct qt *t)
{
    make(t, "size=1M,lazy_refcounts=on", 4 * CS);
    put(t->r.disk[0], 72, 8, 1);
    put(t->r.disk[0], RB + 8 * 2, 2, 0);
    struct blk *b = qt_open(t, 0, NULL);
    assert_non_null(strstr(
        t->r.out.s, "ERROR cluster 8 refcount=0 reference=1\nRebuilding refcount structure\n"));
    rig_check(b, 0, 4 * CS, 0x5a);
    blk_unref(b);
    qt_judge(t->r.disk[0], false, "dirty");
}

static void test_dirty(void **state)
{
    qt_run(&profile_reference, 0, dirty, NULL);
}

/* More snapshots than an int counts: what a repair found does not wrap around to nothing. */
static void many_snapshots(struct qt *t)
{
    make(t, "size=1M", 64 * KiB);
    put(t->r.disk[0], QCOW2_HEADER_NB_SNAPSHOTS_OFF, 4, UINT32_MAX);
    put(t->r.disk[0], QCOW2_HEADER_SNAPSHOTS_OFFSET_OFF, 8, END);
    struct check_result res = {0};
    struct blk *b = rig_open(&t->r, "sim:d0", "driver=qcow2", OPEN_CHECK | OPEN_RDWR | OPEN_RESIZE);
    node_check(blk_node(b), &res, FIX_ERRORS | FIX_LEAKS);
    blk_unref(b);
    assert_true(res.corruptions + res.corruptions_fixed > 65536);
}

static void test_many_snapshots(void **state)
{
    qt_run(&profile_optimized, 0, many_snapshots, NULL);
}

/* Metadata full of noise: check ends, and what a repair says it left is what the next check finds.
 */
static void noise(struct qt *t)
{
    struct rng g;
    rng_seed(&g, *(uint64_t *)t->arg);
    make(t, "size=1M,cluster_size=4k,compat=v3", 64 * KiB);
    for (unsigned i = 0; i < 12; i++) {
        int64_t at = 4096 + (int64_t)rng_below(&g, 4 * 4096 / 8) * 8;
        put(t->r.disk[0], at, 8,
            rng_below(&g, 2) ? rng_next(&g) : COPIED | rng_below(&g, 40) * 4096);
    }
    struct check_result res;
    for (int i = 0; i < 2; i++) {
        struct blk *b = rig_open(&t->r, "sim:d0", "driver=qcow2",
                                 OPEN_CHECK | (i ? OPEN_RDWR | OPEN_RESIZE : 0));
        node_check(blk_node(b), &res, i ? FIX_ERRORS | FIX_LEAKS : 0);
        blk_unref(b);
    }
}

static void test_noise(void **state)
{
    for (uint64_t seed = 1; seed <= 60; seed++) {
        qt_run(&profile_optimized, 0, noise, &seed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plants),         cmocka_unit_test(test_leaks_only),
        cmocka_unit_test(test_overflow),       cmocka_unit_test(test_statistics),
        cmocka_unit_test(test_dirty),          cmocka_unit_test(test_noise),
        cmocka_unit_test(test_many_snapshots),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
