/*
 * Emptying, growing with preallocation, and growth of the refcount table: what is read afterwards,
 * where things lie.  Leaves out: full preallocation, which simulated disks do not have; where
 * things lie compared with QEMU (iotests).
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

#define C (64 * KiB)

static struct blk *overlay(struct qt *t)
{
    qt_create(t, 1, "size=1M");
    struct blk *b = qt_open(t, 1, NULL);
    assert_int_equal(rig_fill(b, 0, MiB, 1), 0);
    blk_unref(b);
    qt_create(t, 0, "size=1M,backing_file=sim:d1,backing_fmt=qcow2");
    b = qt_open(t, 0, NULL);
    assert_int_equal(rig_fill(b, C, 5 * C, 2), 0);
    return b;
}

/* The metadata is laid out anew, and the image goes on working. */
static void empty(struct qt *t)
{
    struct blk *b = overlay(t);
    assert_int_equal(node_make_empty(blk_node(b), NULL), 0);
    rig_check(b, 0, MiB, 1);
    assert_int_equal(disk_size(t->r.disk[0]), 4 * C);
    assert_int_equal(rig_fill(b, 0, 2 * C, 3), 0);
    rig_check(b, 0, 2 * C, 3);
    rig_check(b, 2 * C, MiB - 2 * C, 1);
    blk_unref(b);
    qt_judge(t->r.disk[0], false, "emptied");
}

/* With a snapshot clusters are discarded one by one: the snapshot keeps its own. */
static void empty_snapshot(struct qt *t)
{
    struct blk *b = overlay(t);
    struct snapshot_info sn = {.name = "s"};
    assert_int_equal(snapshot_create(blk_node(b), &sn), 0);
    assert_int_equal(node_make_empty(blk_node(b), NULL), 0);
    rig_check(b, 0, MiB, 1);
    assert_int_equal(snapshot_goto(blk_node(b), "s", NULL), 0);
    rig_check(b, C, 5 * C, 2);
    blk_unref(b);
    qt_judge(t->r.disk[0], false, "emptied with snapshot");
}

/* A failure leaves a dirty image that the next open repairs. */
static void empty_fails(struct qt *t)
{
    char text[100];
    struct error *err = NULL;
    struct blk *b = overlay(t);
    snprintf(text, sizeof(text), "error,label=%s", (const char *)t->arg);
    assert_int_equal(fault_plan_parse(&t->r.plan, text, &err), 0);
    assert_int_equal(node_make_empty(blk_node(b), &err), -EIO);
    rig_expect(&err, "Failed to empty sim:d0: Input/output error");
    assert_true(rig_fill(b, 0, 512, 3) < 0);
    blk_unref(b);
    b = qt_open(t, 0, NULL);
    rig_check(b, 6 * C, MiB - 6 * C, 1);
    assert_int_equal(rig_fill(b, 0, 2 * C, 3), 0);
    blk_unref(b);
    qt_judge(t->r.disk[0], false, text);
}

static void test_empty(void **state)
{
    static const char *const labels[] = {
        "l1_update",      "empty_image_prepare",   "reftable_update",
        "refblock_alloc", "refblock_alloc_hookup",
    };
    qt_run(&profile_reference, 0, empty, NULL);
    qt_run(&profile_optimized, 0, empty, NULL);
    qt_run(&profile_optimized, 0, empty_snapshot, NULL);
    for (size_t i = 0; i < ARRAY_SIZE(labels); i++) {
        qt_run(&profile_reference, 0, empty_fails, (void *)labels[i]);
    }
}

/* The old disk ends inside a cluster: what it had there stays, whatever becomes of the cluster. */
static void grow_partial(struct qt *t)
{
    qt_create(t, 1, "size=128k");
    struct blk *b = qt_open(t, 1, NULL);
    assert_int_equal(rig_fill(b, 0, 2 * C, 1), 0);
    blk_unref(b);
    for (int i = 0; i < 4; i++) {
        char options[200];
        struct snapshot_info sn = {.name = "s"};
        bool ext = i & 1, snap = i & 2;
        snprintf(options, sizeof(options),
                 "size=31k,backing_file=sim:d1,backing_fmt=qcow2,extended_l2=%s",
                 ext ? "on" : "off");
        qt_create(t, 0, options);
        b = qt_open(t, 0, NULL);
        if (snap) {
            assert_int_equal(rig_fill(b, 1024, 3072, 1), 0);
            assert_int_equal(snapshot_create(blk_node(b), &sn), 0);
        }
        assert_int_equal(blk_truncate(b, 96 * KiB, true, PREALLOC_METADATA, REQ_ZERO_GROWN, NULL),
                         0);
        rig_check(b, 0, 31 * KiB, 1);
        rig_check(b, 31 * KiB, 65 * KiB, 0);
        blk_unref(b);
        qt_judge(t->r.disk[0], false, options);
    }
}

/* A zero cluster that keeps its host cluster still reads as zeroes when the disk grows inside it.
 */
static void grow_zero(struct qt *t)
{
    qt_create(t, 0, "size=96k");
    struct blk *b = qt_open(t, 0, NULL);
    assert_int_equal(rig_fill(b, 0, 96 * KiB, 7), 0);
    assert_int_equal(blk_pwrite_zeroes(b, 0, 96 * KiB, 0, NULL), 0);
    assert_int_equal(blk_truncate(b, 4 * C, true, PREALLOC_METADATA, 0, NULL), 0);
    rig_check(b, 0, 4 * C, 0);
    blk_unref(b);
    qt_judge(t->r.disk[0], false, "grown zero cluster");
}

/* The new clusters are one run behind the end; the old disk's end, compressed here, moves there. */
static void grow_space(struct qt *t)
{
    char options[100];
    const char *more = t->arg;
    snprintf(options, sizeof(options), "size=100k,cluster_size=64k%s", more);
    qt_create(t, 0, options);
    struct blk *b = qt_open(t, 0, NULL);
    assert_int_equal(rig_fill(b, 0, C, 1), 0);
    uint8_t data[36 * KiB];
    memset(data, 2, sizeof(data));
    assert_int_equal(blk_pwrite(b, C, data, sizeof(data), REQ_COMPRESSED), 0);
    assert_int_equal(blk_truncate(b, 300 * KiB, true, PREALLOC_FALLOC, 0, NULL), 0);
    /* header, two freed, L1, L2, data, compressed, new refcount table, 4 clusters */
    assert_int_equal(disk_size(t->r.disk[0]), 12 * C);
    int64_t size = disk_size(t->r.disk[0]);
    rig_check(b, 0, C, 1);
    rig_check(b, C, 36 * KiB, 2);
    rig_check(b, 100 * KiB, 200 * KiB, 0);
    assert_int_equal(rig_fill(b, C, 236 * KiB, 3), 0);
    assert_int_equal(disk_size(t->r.disk[0]), size);
    rig_check(b, 0, C, 1);
    rig_check(b, C, 236 * KiB, 3);
    blk_unref(b);
    qt_judge(t->r.disk[0], false, more);
}

/* A refcount table that is too small for the new space grows before it, not inside it. */
static void grow_space_far(struct qt *t)
{
    qt_create(t, 0, "size=1M,cluster_size=512,refcount_bits=64");
    struct blk *b = qt_open(t, 0, NULL);
    assert_int_equal(rig_fill(b, 512, 4096, 1), 0);
    assert_int_equal(blk_truncate(b, 9 * MiB, true, PREALLOC_FALLOC, 0, NULL), 0);
    rig_check(b, 512, 4096, 1);
    rig_check(b, 8192, 9 * MiB - 8192, 0);
    blk_unref(b);
    qt_judge(t->r.disk[0], false, "grown far");
}

static void test_grow(void **state)
{
    qt_run(&profile_reference, 0, grow_partial, NULL);
    qt_run(&profile_optimized, 0, grow_partial, NULL);
    qt_run(&profile_optimized, 0, grow_zero, NULL);
    static const char *const sets[] = {"", ",extended_l2=on", ",compat=v2", ",lazy_refcounts=on"};
    for (size_t i = 0; i < ARRAY_SIZE(sets); i++) {
        qt_run(&profile_reference, 0, grow_space, (void *)sets[i]);
        qt_run(&profile_optimized, 0, grow_space, (void *)sets[i]);
    }
    qt_run(&profile_optimized, 0, grow_space_far, NULL);
}

/* The clusters of the old refcount table are used again at once: sizes are those of QEMU's files.
 */
static void reftable(struct qt *t)
{
    qt_create(t, 0, "size=8M,cluster_size=512,refcount_bits=64");
    struct blk *b = qt_open(t, 0, NULL);
    assert_int_equal(rig_fill(b, 0, 4 * MiB, 1), 0);
    blk_unref(b);
    assert_int_equal(disk_size(t->r.disk[0]), 4364288);
    qt_judge(t->r.disk[0], false, "grown refcount table");
}

static void test_reftable(void **state)
{
    qt_run(&profile_optimized, 0, reftable, NULL);
}

/* A snapshot that refcounts have no room for: its L1 table is given back, or left as QEMU leaves
 * it. */
static void refused_snapshot(struct qt *t)
{
    struct snapshot_info sn = {.name = "s"};
    qt_create(t, 0, "size=1M,refcount_bits=1");
    struct blk *b = qt_open(t, 0, NULL);
    assert_int_equal(rig_fill(b, 0, C, 1), 0);
    assert_int_equal(snapshot_create(blk_node(b), &sn), -EINVAL);
    struct check_result res = {0};
    assert_int_equal(node_check(blk_node(b), &res, 0), 0);
    assert_int_equal(res.leaks, t->arg ? 1 : 0);
    blk_unref(b);
}

static void test_refused_snapshot(void **state)
{
    qt_run(&profile_reference, 0, refused_snapshot, NULL);
    qt_run_policy(&profile_reference, 0, QT_LEAK, refused_snapshot, "leaks");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_empty),
        cmocka_unit_test(test_grow),
        cmocka_unit_test(test_reftable),
        cmocka_unit_test(test_refused_snapshot),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
