/*
 * The null disks: sizes, zeroes on demand, latency on simulated time, names.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include "ref/engine/clock.h"
#include "ref/protocol/protocol.h"
#include "ref/protocol/tests/rig.h"

static const struct block_driver *const drivers[] = {&driver_null_co, &driver_null_aio, NULL};

static void default_size(struct rig *r)
{
    struct blk *b = rig_open(r, "null-co://", NULL, OPEN_RDWR | OPEN_RESIZE | OPEN_PROTOCOL);
    uint8_t buf[512];
    assert_int_equal(blk_length(b), 1 * GiB);
    memset(buf, 0x5a, sizeof(buf));
    assert_int_equal(blk_pread(b, 0, buf, sizeof(buf)), 0);
    assert_int_equal(buf[17], 0x5a); /* a read leaves the buffer alone */
    assert_int_equal(rig_fill(b, 4096, 4096, 1), 0);
    assert_int_equal(blk_discard(b, 0, 4096, NULL), 0);
    node_refresh_filename(blk_node(b));
    assert_string_equal(blk_node(b)->filename, "null-co://");
    struct error *err = NULL;
    assert_int_equal(blk_truncate(b, 512, true, PREALLOC_OFF, 0, &err), -ENOTSUP);
    rig_expect(&err, "Image format driver does not support resize");
    blk_unref(b);
}

static void reads_zeroes(struct rig *r)
{
    struct blk *b = rig_open(r, NULL, "driver=null-aio,size=64k,read-zeroes=on", OPEN_RDWR);
    struct status st;
    rig_check(b, 512, 1024, 0);
    assert_int_equal(node_block_status(blk_node(b), true, 0, 64 * KiB, &st), 0);
    assert_true(st.flags & STATUS_ZERO);
    assert_int_equal(st.bytes, 64 * KiB);
    node_refresh_filename(blk_node(b));
    assert_string_equal(
        blk_node(b)->filename,
        "json:{\"read-zeroes\": \"on\", \"driver\": \"null-aio\", \"size\": \"64k\"}");
    blk_unref(b);
}

static void latency(struct rig *r)
{
    struct blk *b = rig_open(r, NULL, "driver=null-co,latency-ns=5000", OPEN_RDWR);
    int64_t before = clock_now(r->w, CLOCK_REAL);
    uint8_t buf[512];
    assert_int_equal(blk_pread(b, 0, buf, sizeof(buf)), 0);
    assert_int_equal(clock_now(r->w, CLOCK_REAL) - before, 5000);
    blk_unref(b);
}

static void refusals(struct rig *r)
{
    rig_open_fails(r, "null-co://foo", NULL, OPEN_PROTOCOL,
                   "The only allowed filename for this driver is 'null-co://'");
    rig_open_fails(r, "null-aio:x", NULL, OPEN_PROTOCOL,
                   "The only allowed filename for this driver is 'null-aio://'");
    rig_open_fails(r, NULL, "driver=null-co,latency-ns=10000000000000000000", 0,
                   "latency-ns is invalid");
    rig_open_fails(r, NULL, "driver=null-co,bogus=1", 0,
                   "Block protocol 'null-co' doesn't support the option 'bogus'");
}

#define TEST(name)                                                                                 \
    static void test_##name(void **state)                                                          \
    {                                                                                              \
        rig_run(drivers, name);                                                                    \
    }
TEST(default_size)
TEST(reads_zeroes)
TEST(latency)
TEST(refusals)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_default_size),
        cmocka_unit_test(test_reads_zeroes),
        cmocka_unit_test(test_latency),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
