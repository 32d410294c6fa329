/*
 * blkverify on two simulated disks: agreement, and every way to disagree.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include "ref/filter/filter.h"
#include "ref/protocol/protocol.h"
#include "ref/protocol/tests/rig.h"

static const struct block_driver *const drivers[] = {&driver_sim, &driver_blkverify, NULL};
#define RW   (OPEN_RDWR | OPEN_PROTOCOL)
#define BOTH "driver=blkverify,raw.driver=sim,raw.disk=d0,test.driver=sim,test.disk=d1"

static struct blk *open_both(struct rig *r)
{
    rig_disk(r, 0, 64 * KiB);
    rig_disk(r, 1, 64 * KiB);
    return rig_open(r, NULL, BOTH, RW);
}

static void agreement(struct rig *r)
{
    struct blk *b = open_both(r);
    assert_int_equal(rig_fill(b, 100, 5000, 1), 0);
    rig_check(b, 100, 5000, 1);
    assert_int_equal(blk_pwrite_zeroes(b, 0, 4096, REQ_MAY_UNMAP, NULL), 0);
    rig_check(b, 0, 4096, 0);
    assert_true(disk_equal(r->disk[0], r->disk[1]));
    assert_int_equal(blk_flush(b, NULL), 0);
    node_refresh_filename(blk_node(b));
    assert_string_equal(blk_node(b)->filename, "blkverify:sim:d0:sim:d1");
    assert_null(r->out.s);
    blk_unref(b);
}

static void contents_differ(struct rig *r)
{
    struct blk *b = open_both(r);
    uint8_t buf[4096], one = 1;
    assert_int_equal(disk_write(r->disk[0], 5000, &one, 1), 0);
    rig_check(b, 0, 4096, 0);
    assert_int_equal(blk_pread(b, 4096, buf, sizeof(buf)), -EIO);
    assert_string_equal(
        r->out.s, "blkverify: read offset=4096 bytes=4096 contents mismatch at offset 5000\n");
    blk_unref(b);
}

static void results_differ(struct rig *r)
{
    struct error *err = NULL;
    struct blk *b = open_both(r);
    /* The test image is written first. */
    assert_int_equal(fault_plan_parse(&r->plan, "error,errno=28,io=write", &err), 0);
    assert_int_equal(rig_fill(b, 0, 512, 1), -EIO);
    assert_string_equal(r->out.s,
                        "blkverify: write offset=0 bytes=512 return value mismatch -28 != 0\n");
    blk_unref(b);
}

static void refusals(struct rig *r)
{
    rig_open_fails(r, "blkverify:", NULL, RW,
                   "blkverify requires raw copy and original image path");
    rig_open_fails(r, NULL, "driver=blkverify", RW, "A block device must be specified for \"raw\"");
    rig_disk(r, 0, 64 * KiB);
    rig_open_fails(r, NULL, "driver=blkverify,raw.driver=sim,raw.disk=d0", RW,
                   "A block device must be specified for \"test\"");
    rig_disk(r, 1, 128 * KiB);
    rig_open_fails(
        r, NULL, BOTH, RW,
        "blkverify cannot compare a test image of 131072 bytes with a raw image of 65536 bytes");
}

#define TEST(name)                                                                                 \
    static void test_##name(void **state)                                                          \
    {                                                                                              \
        rig_run(drivers, name);                                                                    \
    }
TEST(agreement)
TEST(contents_differ)
TEST(results_differ)
TEST(refusals)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_agreement),
        cmocka_unit_test(test_contents_differ),
        cmocka_unit_test(test_results_differ),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
