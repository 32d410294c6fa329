/*
 * A header write that fails may have reached the disk: the driver goes on with what it has in
 * memory, and the header says so before anything changes that only one of the two could name.
 *
 * The fault is a short write of all bytes: it is done, and reported as failed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include "ref/base/options.h"
#include "ref/block/snapshot.h"
#include "ref/format/qcow2/tests/fixture.h"

static void plan(struct qt *t, const char *text)
{
    fault_plan_destroy(&t->r.plan);
    fault_plan_init(&t->r.plan);
    if (text) {
        assert_int_equal(fault_plan_parse(&t->r.plan, text, NULL), 0);
    }
}

/* The header names the larger L1 table; the snapshot takes COPIED flags off the one in memory. */
static void l1_switch(struct qt *t)
{
    struct snapshot_info sn = {.name = "s"};
    qt_create(t, 0, "size=1M,cluster_size=512");
    struct blk *b = qt_open(t, 0, NULL);
    assert_int_equal(rig_fill(b, 0, 1024, 1), 0);
    plan(t, "short:512,label=l1_grow_activate_table");
    assert_int_equal(blk_truncate(b, 2 * MiB, true, PREALLOC_OFF, 0, NULL), -EIO);
    assert_int_equal(snapshot_create(blk_node(b), &sn), 0);
    assert_int_equal(rig_fill(b, 0, 512, 2), 0);
    blk_unref(b);
    qt_judge(t->r.disk[0], true, "snapshot behind a failed L1 switch");
}

/* The header names the larger refcount table, whose clusters the one in memory believes to be free.
 */
static void reftable_switch(struct qt *t)
{
    qt_create(t, 0, "size=8M,cluster_size=512,refcount_bits=64");
    struct blk *b = qt_open(t, 0, NULL);
    plan(t, "short:512,label=refblock_alloc_switch_table");
    int ret = 0;
    int64_t at = 0;
    for (; ret == 0 && at < 4 * MiB; at += 64 * KiB) {
        ret = rig_fill(b, at, 64 * KiB, 1);
    }
    assert_int_equal(ret, -EIO);
    for (; at < 4 * MiB; at += 64 * KiB) {
        assert_int_equal(rig_fill(b, at, 64 * KiB, 1), 0);
    }
    blk_unref(b);
    plan(t, NULL);
    qt_judge(t->r.disk[0], true, "writes behind a failed refcount table switch");
}

/* The header says version 2; a zero cluster is version 3's. */
static void downgrade(struct qt *t)
{
    qt_create(t, 0, "size=1M,cluster_size=4k");
    struct blk *b = qt_open(t, 0, NULL);
    assert_int_equal(rig_fill(b, 0, 8192, 1), 0);
    struct value *o = opts_parse("compat=0.10", NULL, NULL);
    struct error *err = NULL;
    plan(t, "short:65536,label=header_update");
    assert_int_equal(driver_qcow2.amend(blk_node(b), o, NULL, NULL, false, &err), -EIO);
    error_free(err);
    value_free(o);
    assert_int_equal(blk_pwrite_zeroes(b, 0, 8192, REQ_MAY_UNMAP, NULL), 0);
    blk_unref(b);
    b = qt_open(t, 0, NULL);
    rig_check(b, 0, 8192, 0);
    blk_unref(b);
    qt_judge(t->r.disk[0], true, "zeroes behind a failed downgrade");
}

/* While the header cannot be written, nothing else is. */
static void stays_unsure(struct qt *t)
{
    qt_create(t, 0, "size=1M,cluster_size=512");
    struct blk *b = qt_open(t, 0, NULL);
    assert_int_equal(rig_fill(b, 0, 1024, 1), 0);
    plan(t, "error,errno=28,label=l1_grow_activate_table;error,label=header_update,sticky");
    assert_int_equal(blk_truncate(b, 2 * MiB, true, PREALLOC_OFF, 0, NULL), -ENOSPC);
    assert_int_equal(rig_fill(b, 0, 512, 2), -EIO);
    assert_int_equal(blk_discard(b, 0, 512, NULL), -EIO);
    rig_check(b, 0, 1024, 1);
    plan(t, NULL);
    assert_int_equal(rig_fill(b, 0, 512, 2), 0);
    rig_check(b, 0, 512, 2);
    blk_unref(b);
    qt_judge(t->r.disk[0], true, "settled late");
}

/* The L1 entry on disk names the copy of a table, the one in memory what it was copied from. */
static void l1_entry(struct qt *t)
{
    struct snapshot_info sn = {.name = "s"};
    struct check_result res = {0};
    qt_create(t, 0, "size=1M,cluster_size=4k");
    struct blk *b = qt_open(t, 0, NULL);
    assert_int_equal(rig_fill(b, 0, 64 * KiB, 1), 0);
    assert_int_equal(snapshot_create(blk_node(b), &sn), 0);
    plan(t, "short:512,label=l1_update");
    assert_int_equal(rig_fill(b, 0, 8 * KiB, 2), -EIO);
    assert_int_equal(node_check(blk_node(b), &res, FIX_LEAKS | FIX_ERRORS), 0);
    assert_int_equal(rig_fill(b, 0, 8 * KiB, 3), 0);
    blk_unref(b);
    plan(t, NULL);
    qt_judge(t->r.disk[0], false, "a check behind an L1 entry that was written unnoticed");
}

/* A disk that says EAGAIN is not asked for ever. */
static void eagain(struct qt *t)
{
    static const char *const plans[] = {
        "error,errno=11,label=refblock_alloc_hookup,sticky",
        "error,errno=11,label=refblock_alloc_switch_table,sticky",
        "error,errno=11,label=refblock_load,sticky",
        "error,errno=11,label=refblock_update_part,sticky",
    };
    for (size_t i = 0; i < ARRAY_SIZE(plans); i++) {
        qt_create(t, 0, "size=8M,cluster_size=512,refcount_bits=64");
        struct blk *b = qt_open(t, 0, NULL);
        plan(t, plans[i]);
        int ret = 0;
        for (int64_t at = 0; ret == 0 && at < 4 * MiB; at += 64 * KiB) {
            ret = rig_fill(b, at, 64 * KiB, 1);
            ret = ret < 0 ? ret : blk_flush(b, NULL);
        }
        assert_int_equal(ret, -EAGAIN);
        plan(t, NULL);
        blk_unref(b);
    }
}

static void test_both(void (*fn)(struct qt *t))
{
    qt_run(&profile_reference, 0, fn, NULL);
    qt_run(&profile_optimized, 0, fn, NULL);
}

static void test_l1_switch(void **state)
{
    test_both(l1_switch);
}

static void test_reftable_switch(void **state)
{
    test_both(reftable_switch);
}

static void test_downgrade(void **state)
{
    test_both(downgrade);
}

static void test_stays_unsure(void **state)
{
    test_both(stays_unsure);
}

static void test_l1_entry(void **state)
{
    test_both(l1_entry);
}

static void test_eagain(void **state)
{
    test_both(eagain);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_l1_switch), cmocka_unit_test(test_reftable_switch),
        cmocka_unit_test(test_downgrade), cmocka_unit_test(test_stays_unsure),
        cmocka_unit_test(test_l1_entry),  cmocka_unit_test(test_eagain),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
