/*
 * Hostile qcow2 images behind a header that opens: L1 tables of snapshots, counts that are there
 * before what they count, cluster numbers out of every table, names of host files.  Headers
 * themselves are in test_open.c, damaged tables in test_check.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include "ref/block/snapshot.h"
#include "ref/format/qcow2/tests/fixture.h"

#define CS 65536

static void poke(struct disk *d, int64_t offset, unsigned width, uint64_t value)
{
    uint8_t b[8];
    store_uint(b, width, 1, value);
    assert_int_equal(disk_write(d, offset, b, width), 0);
}

static uint64_t peek(struct disk *d, int64_t offset, unsigned width)
{
    uint8_t b[8];
    disk_read(d, offset, b, width);
    return load_uint(b, width, 1);
}

static bool too_much(size_t size, void *opaque)
{
    return size > 16 * MiB;
}

/* ---- L1 tables of snapshots (CVE-2014-0143, CVE-2014-0145) ---- */

/* A disk of fours, over a snapshot "s" of threes; offset of its entry in the snapshot table. */
static int64_t with_snapshot(struct qt *t)
{
    struct snapshot_info sn = {.name = "s"};
    qt_create(t, 0, "size=1M");
    struct blk *b = qt_open(t, 0, NULL);
    assert_int_equal(rig_fill(b, 0, 2 * CS, 3), 0);
    assert_int_equal(snapshot_create(blk_node(b), &sn), 0);
    assert_int_equal(rig_fill(b, 0, 2 * CS, 4), 0);
    blk_unref(b);
    return (int64_t)peek(t->r.disk[0], QCOW2_HEADER_SNAPSHOTS_OFFSET_OFF, 8);
}

/* Applying, deleting and looking at the snapshot all fail; the disk stays. */
static void snapshot_unusable(struct qt *t, const char *why)
{
    struct error *err = NULL;
    struct blk *b = qt_open(t, 0, NULL);
    mem_set_fail_hook(too_much, NULL);
    assert_true(snapshot_goto(blk_node(b), "s", &err) < 0);
    error_clear(&err);
    assert_true(snapshot_delete(blk_node(b), NULL, "s", &err) < 0);
    rig_expect(&err, why);
    blk_unref(b);
    b = qt_open(t, 0, NULL);
    rig_check(b, 0, 2 * CS, 4);
    blk_unref(b);
    b = rig_open(&t->r, "sim:d0", "driver=qcow2", 0);
    assert_true(snapshot_load(blk_node(b), NULL, "s", &err) < 0);
    rig_expect(&err, why);
    mem_set_fail_hook(NULL, NULL);
    blk_unref(b);
}

static void snapshot_l1_limits(struct qt *t)
{
    static const struct {
        unsigned at, width;
        uint64_t value;
        const char *why;
    } cases[] = {
        {8, 4, 0x400001, "Snapshot L1 table too large"},
        {8, 4, 0x20000001, "Snapshot L1 table too large"}, /* 8 bytes, in 32 bits */
        {8, 4, 0x7fffffff, "Snapshot L1 table too large"},
        {8, 4, 0xffffffff, "Snapshot L1 table too large"},
        {0, 8, 0x12345, "Snapshot L1 table offset invalid"},
        {0, 8, UINT64_MAX - 65535, "Snapshot L1 table offset invalid"},
    };
    int64_t at = with_snapshot(t);
    struct disk *good = disk_clone(t->r.disk[0]);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        disk_assign(t->r.disk[0], good);
        poke(t->r.disk[0], at + cases[i].at, cases[i].width, cases[i].value);
        snapshot_unusable(t, cases[i].why);
    }
    disk_free(good);
}

/* Longer than the active table, which grows first: in the rest of its own cluster are zeroes,
 * behind it stands what is no table. */
static void snapshot_l1_larger(struct qt *t)
{
    static const uint32_t sizes[] = {2, CS / 8, CS / 8 + 1, 0x10000};
    int64_t at = with_snapshot(t);
    struct disk *good = disk_clone(t->r.disk[0]);
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        disk_assign(t->r.disk[0], good);
        poke(t->r.disk[0], at + 8, 4, sizes[i]);
        bool sound = sizes[i] <= CS / 8;
        struct blk *b = rig_open(&t->r, "sim:d0", "driver=qcow2", 0);
        assert_int_equal(snapshot_load(blk_node(b), NULL, "s", NULL), 0);
        rig_check(b, 0, 2 * CS, 3);
        blk_unref(b);
        b = qt_open(t, 0, NULL);
        assert_int_equal(snapshot_goto(blk_node(b), "s", NULL), sound ? 0 : -EIO);
        if (sound) {
            rig_check(b, 0, 2 * CS, 3);
            rig_check(b, 2 * CS, MiB - 2 * CS, 0);
        }
        blk_unref(b);
    }
    disk_free(good);
}

/* ---- the number of snapshots is known before they are (CVE-2014-0146) ---- */

static void half_initialised(struct qt *t)
{
    struct disk *d = t->r.disk[0];
    static const struct {
        int64_t at;
        unsigned width;
        uint64_t value;
        const char *why;
    } later[] = {
        {QCOW2_HEADER_L1_TABLE_OFFSET_OFF, 8, 0x12345, "Active L1 table offset invalid"},
        {QCOW2_HEADER_L1_SIZE_OFF, 4, 0, "L1 table is too small"},
        {QCOW2_HEADER_BACKING_FILE_OFFSET_OFF, 8, 65537, "Invalid backing file offset"},
    };
    int64_t at = with_snapshot(t);
    struct disk *good = disk_clone(d);
    for (size_t i = 0; i < ARRAY_SIZE(later); i++) {
        disk_assign(d, good);
        poke(d, QCOW2_HEADER_NB_SNAPSHOTS_OFF, 4, 65536);
        poke(d, later[i].at, later[i].width, later[i].value);
        rig_open_fails(&t->r, "sim:d0", "driver=qcow2", QT_RW, later[i].why);
    }
    for (int nth = 1; nth <= 3; nth++) {
        char plan[64];
        disk_assign(d, good);
        snprintf(plan, sizeof(plan), "error,label=snapshot_table_load,nth=%d", nth);
        assert_int_equal(fault_plan_parse(&t->r.plan, plan, NULL), 0);
        rig_open_fails(&t->r, "sim:d0", "driver=qcow2", QT_RW,
                       "Failed to read snapshot table: Input/output error");
        fault_plan_destroy(&t->r.plan);
    }
    disk_assign(d, good);
    poke(d, at + 36, 4, 0xffffffff);
    rig_open_fails(&t->r, "sim:d0", "driver=qcow2", 0,
                   "Too much extra metadata in snapshot table entry 0");
    disk_free(good);
}

/* ---- cluster numbers (CVE-2014-0143, CVE-2014-0147) ---- */

/* No refcount block is found for a cluster by a part of its number. */
static void refcount_index(struct qt *t)
{
    static const unsigned bits[] = {15, 16, 31, 32, 33, 46};
    uint64_t refcount = 7;
    qt_create(t, 0, "size=1M,cluster_size=512");
    struct blk *b = qt_open(t, 0, NULL);
    struct qcow2 *s = qcow2_state(blk_node(b));
    assert_int_equal(qcow2_get_refcount(s, 0, &refcount), 0);
    assert_int_equal(refcount, 1);
    for (size_t i = 0; i < ARRAY_SIZE(bits); i++) {
        assert_int_equal(qcow2_get_refcount(s, UINT64_C(1) << bits[i], &refcount), 0);
        assert_int_equal(refcount, 0);
        assert_int_equal(
            qcow2_get_refcount(s, (uint64_t)s->refblock_size << MIN(bits[i], 38u), &refcount), 0);
        assert_int_equal(refcount, 0);
    }
    blk_unref(b);
}

/* The place where the next free cluster is looked for lies at the end of all that can be named, or
 * behind it: nothing wraps, no memory is taken for tables that long, and nothing is lost. */
static void free_cluster_index(struct qt *t)
{
    qt_create(t, 0, "size=1M,cluster_size=512");
    struct blk *b = qt_open(t, 0, NULL);
    struct qcow2 *s = qcow2_state(blk_node(b));
    uint64_t end = QCOW2_MAX_HOST_OFFSET >> s->cluster_bits;
    const uint64_t places[] = {end - 2, end - 1, end, UINT64_MAX, 1ull << 32, 1ull << 40};
    mem_set_fail_hook(too_much, NULL);
    for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
        s->free_cluster_index = places[i];
        if (places[i] > end - 2) {
            assert_int_equal(qcow2_find_free(s, 2 * 512), -EFBIG);
        }
        assert_int_equal(qcow2_alloc_clusters(s, 2 * 512), -EFBIG);
        assert_true(s->free_cluster_index <= places[i]);
    }
    mem_set_fail_hook(NULL, NULL);
    s->free_cluster_index = 0;
    assert_int_equal(rig_fill(b, 0, MiB, 5), 0);
    blk_unref(b);
    qt_judge(t->r.disk[0], false, "free_cluster_index");
}

/* Every allocation that had to make a refcount block first gets the clusters it had found: the file
 * has no cluster that nobody uses. */
static void unfinished_allocation(struct qt *t)
{
    qt_create(t, 0, "size=256k,cluster_size=512,refcount_bits=64");
    struct blk *b = qt_open(t, 0, NULL);
    struct qcow2 *s = qcow2_state(blk_node(b));
    for (int64_t at = 0; at < 256 * KiB; at += 2048) {
        assert_int_equal(rig_fill(b, at, 2048, 6), 0);
    }
    assert_int_equal(blk_flush(b, NULL), 0);
    uint64_t n = (uint64_t)disk_size(t->r.disk[0]) / 512, refcount;
    assert_true(n > 8 * s->refblock_size);
    for (uint64_t i = 0; i < n; i++) {
        assert_int_equal(qcow2_get_refcount(s, i, &refcount), 0);
        assert_int_equal(refcount, 1);
    }
    blk_unref(b);
    qt_judge(t->r.disk[0], false, "unfinished allocation");
}

/* ---- names (CVE-2024-4467, CVE-2024-32498, CVE-2011-3147) ---- */

/* Puts `name` where the image names its data file, "sim:d2"; behind it the extensions end. */
static void name_data_file(struct disk *d, const char *name)
{
    uint8_t header[4096], *at;
    disk_read(d, 0, header, sizeof(header));
    at = memmem(header, sizeof(header), "sim:d2", 6);
    assert_non_null(at);
    int64_t place = at - header, len = (int64_t)strlen(name);
    poke(d, place - 4, 4, (uint64_t)len);
    assert_int_equal(disk_write(d, place, name, (size_t)len), 0);
    poke(d, place + ROUND_UP(len, 8), 8, 0);
}

static void name_backing_file(struct disk *d, const char *name)
{
    poke(d, QCOW2_HEADER_BACKING_FILE_OFFSET_OFF, 8, 4096);
    poke(d, QCOW2_HEADER_BACKING_FILE_SIZE_OFF, 4, strlen(name));
    assert_int_equal(disk_write(d, 4096, name, strlen(name)), 0);
}

/* Names that lead to the host just so, by a protocol, or by options: none is opened; and for the
 * image's description alone no data file is. */
static void names(struct qt *t)
{
    static const char *const bad[] = {
        "/etc/passwd",
        "file:/etc/passwd",
        "json:{\"driver\":\"file\",\"filename\":\"/etc/passwd\"}",
        "json:{\"driver\":\"raw\",\"file\":{\"driver\":\"file\",\"filename\":\"/etc/passwd\"}}",
        "nbd://host/export",
    };
    for (size_t i = 0; i < 2 * ARRAY_SIZE(bad); i++) {
        const char *name = bad[i / 2];
        bool data_file = i % 2;
        qt_create(t, 0,
                  data_file ? "size=1M,data_file=sim:d2"
                            : "size=1M,backing_file=sim:d2,backing_fmt=raw");
        (data_file ? name_data_file : name_backing_file)(t->r.disk[0], name);
        char *said =
            str_fmt("%s '%s' named by image 'sim:d0' is not opened: names in images are denied",
                    data_file ? "Data file" : "Backing file", name);
        rig_open_fails(&t->r, "sim:d0", "driver=qcow2", 0, said);
        mem_free(said);
        if (data_file) {
            blk_unref(rig_open(&t->r, "sim:d0", "driver=qcow2", OPEN_NO_IO | OPEN_NO_DATA_FILE));
        }
    }
}

#define TEST(name, profile)                                                                        \
    static void test_##name(void **state)                                                          \
    {                                                                                              \
        qt_run(&profile, 0, name, NULL);                                                           \
    }
TEST(snapshot_l1_limits, profile_optimized)
TEST(snapshot_l1_larger, profile_optimized)
TEST(half_initialised, profile_reference)
TEST(refcount_index, profile_optimized)
TEST(free_cluster_index, profile_optimized)
TEST(unfinished_allocation, profile_reference)

static void test_names(void **state)
{
    qt_run_policy(&profile_reference, 0, QT_DENY_NAMES, names, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_snapshot_l1_limits),
        cmocka_unit_test(test_snapshot_l1_larger),
        cmocka_unit_test(test_half_initialised),
        cmocka_unit_test(test_refcount_index),
        cmocka_unit_test(test_free_cluster_index),
        cmocka_unit_test(test_unfinished_allocation),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
