/*
 * The simulated disk as a protocol: data, the log, and each kind of fault.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include "ref/block/open.h"
#include "ref/engine/clock.h"
#include "ref/protocol/protocol.h"
#include "ref/protocol/tests/rig.h"

static const struct block_driver *const drivers[] = {&driver_sim, NULL};
#define RW (OPEN_RDWR | OPEN_RESIZE | OPEN_PROTOCOL)

static struct blk *open_d0(struct rig *r)
{
    rig_disk(r, 0, 64 * KiB);
    return rig_open(r, "sim:d0", NULL, RW);
}

static void plan(struct rig *r, const char *text)
{
    struct error *err = NULL;
    assert_int_equal(fault_plan_parse(&r->plan, text, &err), 0);
}

static void data_and_log(struct rig *r)
{
    struct blk *b = open_d0(r);
    uint8_t two[2][100];
    struct iovec v[] = {{two[0], 100}, {two[1], 100}};
    struct iov q;
    memset(two[0], 7, 100);
    memset(two[1], 8, 100);
    iov_borrow(&q, v, 2);
    assert_int_equal(blk_pwritev(b, 1000, 200, &q, REQ_FUA, "guest 1"), 0);
    rig_check(b, 900, 100, 0);
    rig_check(b, 1000, 100, 7);
    rig_check(b, 1100, 100, 8);
    const struct disk_op *op = disk_log_op(r->log, 0);
    assert_int_equal(disk_log_len(r->log), 1);
    assert_int_equal(op->kind, DISK_OP_WRITE);
    assert_int_equal(op->flags, DISK_OP_FUA);
    assert_int_equal(op->offset, 1000);
    assert_int_equal(op->bytes, 200);
    assert_string_equal(op->tag, "guest 1");
    assert_true(op->issued < op->completed && op->completed != DISK_OP_IN_FLIGHT);

    assert_int_equal(blk_pwrite_zeroes(b, 0, 4096, 0, NULL), 0);
    rig_check(b, 0, 4096, 0);
    assert_int_equal(blk_flush(b, NULL), 0);
    assert_int_equal(rig_count(r, DISK_OP_ZERO), 1);
    assert_int_equal(rig_count(r, DISK_OP_FLUSH), 1);
    blk_unref(b);
}

/* The first flush of an opening covers what earlier ones wrote; closing asks for none. */
static void first_flush(struct rig *r)
{
    struct blk *b = open_d0(r);
    assert_int_equal(blk_flush(b, NULL), 0);
    assert_int_equal(rig_count(r, DISK_OP_FLUSH), 1);
    assert_int_equal(blk_flush(b, NULL), 0);
    blk_unref(b);
    assert_int_equal(rig_count(r, DISK_OP_FLUSH), 1);
    b = rig_open(r, "sim:d0", NULL, RW);
    blk_unref(b);
    assert_int_equal(rig_count(r, DISK_OP_FLUSH), 1);
    b = rig_open(r, "sim:d0", NULL, RW);
    assert_int_equal(rig_fill(b, 0, 512, 1), 0);
    blk_unref(b);
    assert_int_equal(rig_count(r, DISK_OP_FLUSH), 2);
    b = rig_open(r, "sim:d0", NULL, RW);
    assert_int_equal(blk_flush(b, NULL), 0);
    assert_int_equal(rig_count(r, DISK_OP_FLUSH), 3);
    blk_unref(b);
}

static void holes_and_sizes(struct rig *r)
{
    struct blk *b = open_d0(r);
    struct status st;
    struct error *err = NULL;
    assert_int_equal(rig_fill(b, 8192, 4096, 1), 0);
    assert_int_equal(node_block_status(blk_node(b), true, 0, 64 * KiB, &st), 0);
    assert_true((st.flags & STATUS_ZERO) && !(st.flags & STATUS_DATA));
    assert_int_equal(st.bytes, 8192);
    assert_int_equal(node_block_status(blk_node(b), true, 8192, 32 * KiB, &st), 0);
    assert_true((st.flags & STATUS_DATA) && !(st.flags & STATUS_ZERO));
    assert_int_equal(st.bytes, 4096);
    assert_int_equal(blk_truncate(b, 1 * MiB, true, PREALLOC_OFF, 0, &err), 0);
    assert_int_equal(blk_length(b), 1 * MiB);
    assert_int_equal(rig_count(r, DISK_OP_TRUNCATE), 1);
    assert_int_equal(blk_truncate(b, 2 * MiB, true, PREALLOC_FULL, 0, &err), -ENOTSUP);
    rig_expect(&err, "Unsupported preallocation mode: full");
    assert_int_equal(node_allocated_size(blk_node(b)), 4096);
    blk_unref(b);
}

static void names_and_creation(struct rig *r)
{
    struct error *err = NULL;
    rig_open_fails(r, "sim:none", NULL, RW, "Could not open 'sim:none': No such file or directory");
    rig_open_fails(r, NULL, "driver=sim", RW, "The 'sim' block driver requires the name of a disk");
    rig_disk(r, 0, 512);
    struct value *opts = value_dict();
    dict_put_str(opts, "size", "8k");
    assert_int_equal(image_create(r->w, &driver_sim, "sim:d0", opts, &err), 0);
    value_free(opts);
    assert_int_equal(disk_size(r->disk[0]), 8192);
    assert_int_equal(rig_count(r, DISK_OP_TRUNCATE), 2);
    struct blk *b = rig_open(r, NULL, "driver=sim,disk=d0", RW);
    node_refresh_filename(blk_node(b));
    assert_string_equal(blk_node(b)->filename, "sim:d0");
    blk_unref(b);
}

static void error_short_torn_lost(struct rig *r)
{
    struct blk *b = open_d0(r);
    plan(r, "error,errno=28,io=write,nth=1");
    assert_int_equal(rig_fill(b, 0, 512, 1), -ENOSPC);
    rig_check(b, 0, 512, 0);
    assert_int_equal(rig_count(r, DISK_OP_WRITE), 0);

    plan(r, "short:100,io=write,range=4096-8192");
    assert_int_equal(rig_fill(b, 4096, 512, 2), -EIO);
    rig_check(b, 4096, 100, 2);
    rig_check(b, 4196, 412, 0);
    assert_false(disk_log_op(r->log, 0)->flags & DISK_OP_FAILED); /* the part is an op of its own */
    assert_int_equal(disk_log_op(r->log, 0)->bytes, 100);

    plan(r, "torn:512,io=write,range=8192-12288");
    assert_int_equal(rig_fill(b, 8192, 1024, 3), 0);
    rig_check(b, 8192, 512, 3);
    rig_check(b, 8704, 512, 0);

    plan(r, "lost,io=write,range=12288-16384");
    assert_int_equal(rig_fill(b, 12288, 512, 4), 0);
    rig_check(b, 12288, 512, 0);
    blk_unref(b);
}

static void stale_and_misdirected(struct rig *r)
{
    struct blk *b = open_d0(r);
    plan(r, "stale,io=read,range=0-512,nth=3;misdirected:4096,io=write,range=16384-16896");
    assert_int_equal(rig_fill(b, 0, 512, 1), 0);
    assert_int_equal(rig_fill(b, 0, 512, 2), 0);
    assert_int_equal(rig_fill(b, 1024, 512, 9), 0);
    rig_check(b, 0, 512, 2);
    rig_check(b, 0, 512, 2);
    rig_check(b, 0, 512,
              1); /* the third read: what was there before the last write of that range */
    rig_check(b, 0, 512, 2);

    assert_int_equal(rig_fill(b, 16384, 512, 5), 0);
    rig_check(b, 16384, 512, 0);
    rig_check(b, 20480, 512, 5);
    blk_unref(b);
}

struct hung_write {
    struct blk *b;
    int ret;
};

static void write_hung(void *arg)
{
    struct hung_write *h = arg;
    h->ret = rig_fill(h->b, 0, 512, 1);
}

static void delayed_and_hung(struct rig *r)
{
    struct blk *b = open_d0(r);
    plan(r, "delayed:2000000,io=write;hung,io=write,nth=2");
    int64_t before = clock_now(r->w, CLOCK_REAL);
    assert_int_equal(rig_fill(b, 0, 512, 1), 0);
    assert_int_equal(clock_now(r->w, CLOCK_REAL) - before, 2000000);

    struct hung_write h = {b, 1};
    co_spawn(r->w, "hung", write_hung, &h);
    for (int i = 0; i < 10; i++) {
        co_yield (r->w);
    }
    assert_int_equal(h.ret, 1);
    sim_release_hung(r->w);
    blk_drain(b);
    co_yield (r->w);
    assert_int_equal(h.ret, -ECANCELED);
    blk_unref(b);
}

static void limits(struct rig *r)
{
    rig_disk(r, 0, 64 * KiB);
    struct sim_disk d = *sim_find(r->w, "d0");
    d.request_alignment = 512;
    d.no_fua = d.no_zeroes = true;
    sim_register(r->w, "d0", &d);
    struct blk *b = rig_open(r, "sim:d0", NULL, RW);
    uint8_t byte = 1;
    assert_int_equal(blk_pwrite(b, 700, &byte, 1, REQ_FUA), 0);
    const struct disk_op *op = disk_log_op(r->log, 0);
    assert_int_equal(op->offset, 512); /* read, modified, written */
    assert_int_equal(op->bytes, 512);
    assert_int_equal(rig_count(r, DISK_OP_FLUSH), 1);
    assert_int_equal(blk_pwrite_zeroes(b, 0, 4096, 0, NULL), 0);
    assert_int_equal(rig_count(r, DISK_OP_ZERO), 0);
    assert_int_equal(rig_count(r, DISK_OP_WRITE), 2);
    rig_check(b, 0, 4096, 0);
    blk_unref(b);
}

#define TEST(name)                                                                                 \
    static void test_##name(void **state)                                                          \
    {                                                                                              \
        rig_run(drivers, name);                                                                    \
    }
TEST(data_and_log)
TEST(first_flush)
TEST(holes_and_sizes)
TEST(names_and_creation)
TEST(error_short_torn_lost)
TEST(stale_and_misdirected)
TEST(delayed_and_hung)
TEST(limits)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_data_and_log),          cmocka_unit_test(test_first_flush),
        cmocka_unit_test(test_holes_and_sizes),       cmocka_unit_test(test_names_and_creation),
        cmocka_unit_test(test_error_short_torn_lost), cmocka_unit_test(test_stale_and_misdirected),
        cmocka_unit_test(test_delayed_and_hung),      cmocka_unit_test(test_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
