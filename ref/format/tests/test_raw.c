/*
 * raw on simulated disks: passing through, windows, guessed formats, labels, measuring; blkdebug
 * below it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include "ref/block/open.h"
#include "ref/filter/filter.h"
#include "ref/format/format.h"
#include "ref/protocol/protocol.h"
#include "ref/protocol/tests/rig.h"

/* A format that is recognised by its first bytes, and does nothing else. */
static int toy_probe(const uint8_t *buf, size_t len, const char *filename)
{
    return len >= 4 && !memcmp(buf, "TOY!", 4) ? 100 : 0;
}

static const struct block_driver toy = {.name = "toy", .kind = DRIVER_FORMAT, .probe = toy_probe};
static const struct block_driver *const drivers[] = {&driver_sim, &driver_blkdebug, &driver_raw,
                                                     &toy, NULL};
#define RW    (OPEN_RDWR | OPEN_RESIZE | OPEN_UNMAP)
#define ON_D0 "driver=raw,file.driver=sim,file.disk=d0"

static void passes(struct rig *r)
{
    rig_disk(r, 0, 64 * KiB);
    struct error *err = NULL;
    struct status st;
    struct blk *b = rig_open(r, "sim:d0", "driver=raw", RW);
    assert_string_equal(blk_node(b)->drv->name, "raw");
    assert_int_equal(rig_fill(b, 100, 5000, 1), 0);
    assert_int_equal(disk_log_op(r->log, 0)->label, LABEL_WRITE_AIO);
    rig_check(b, 100, 5000, 1);
    assert_int_equal(blk_discard(b, 4096, 4096, NULL), 0);
    assert_int_equal(node_block_status(blk_node(b), true, 4096, 4096, &st), 0);
    assert_true((st.flags & STATUS_ZERO) && (st.flags & STATUS_OFFSET_VALID));
    assert_int_equal(st.map, 4096);
    assert_ptr_equal(st.file, blk_node(b)->file->node);
    assert_int_equal(blk_pwrite_zeroes(b, 0, 4096, 0, NULL), 0);
    assert_int_equal(rig_count(r, DISK_OP_ZERO), 1);
    assert_int_equal(blk_truncate(b, 128 * KiB, true, PREALLOC_OFF, 0, &err), 0);
    assert_int_equal(blk_length(b), 128 * KiB);
    assert_int_equal(blk_flush(b, NULL), 0);
    assert_int_equal(rig_count(r, DISK_OP_FLUSH), 1);
    assert_true(node_has_zero_init(blk_node(b)));
    node_refresh_filename(blk_node(b));
    assert_string_equal(blk_node(b)->filename, "sim:d0");
    /* A filter of its file. */
    assert_int_equal(blk_node(b)->file->shared, PERM_ALL);
    blk_unref(b);
}

static void window(struct rig *r)
{
    rig_disk(r, 0, 64 * KiB);
    struct error *err = NULL;
    uint8_t buf[1024];
    struct blk *b = rig_open(r, NULL, ON_D0 ",offset=4096,size=8k", RW);
    assert_int_equal(blk_length(b), 8192);
    assert_int_equal(rig_fill(b, 0, 8192, 1), 0);
    assert_int_equal(disk_log_op(r->log, disk_log_len(r->log) - 1)->offset, 4096);
    assert_int_equal(blk_pread(b, 8192 - 512, buf, 1024), -EIO);
    assert_int_equal(rig_fill(b, 8192, 512, 2), -EIO);
    assert_int_equal(blk_truncate(b, 4096, true, PREALLOC_OFF, 0, &err), -ENOTSUP);
    rig_expect(&err, "Cannot resize fixed-size raw disks");
    /* Not the window's: nobody may change the file's size. */
    assert_int_equal(blk_node(b)->file->shared, PERM_ALL & ~PERM_RESIZE);
    node_refresh_filename(blk_node(b));
    assert_string_equal(blk_node(b)->filename,
                        "json:{\"offset\": \"4096\", \"driver\": \"raw\", \"size\": \"8k\", "
                        "\"file\": {\"driver\": \"sim\", \"disk\": \"d0\"}}");
    blk_unref(b);

    b = rig_open(r, NULL, ON_D0 ",offset=60k", RW);
    assert_int_equal(blk_length(b), 4096);
    assert_int_equal(blk_truncate(b, 8192, true, PREALLOC_OFF, 0, &err), 0);
    assert_int_equal(disk_size(r->disk[0]), 68 * KiB);
    blk_unref(b);
    b = rig_open(r, "sim:d0", "driver=raw", RW);
    rig_check(b, 0, 4096, 0);
    rig_check(b, 4096, 8192, 1);
    rig_check(b, 12288, 4096, 0);
    blk_unref(b);
}

static void bad_windows(struct rig *r)
{
    rig_disk(r, 0, 64 * KiB);
    rig_open_fails(r, NULL, ON_D0 ",size=1000", RW, "Specified size is not multiple of 512");
    rig_open_fails(r, NULL, ON_D0 ",size=1M", RW,
                   "The sum of offset (0) and size (1048576) has to be smaller or equal "
                   "to the  actual size of the containing file (65536)");
    rig_open_fails(r, NULL, ON_D0 ",offset=60k,size=8k", RW,
                   "The sum of offset (61440) and size (8192) has to be "
                   "smaller or equal to the  actual size of the containing file (65536)");
    rig_open_fails(r, NULL, ON_D0 ",offset=1M", RW,
                   "Offset (1048576) cannot be greater than size of the containing file (65536)");
    rig_open_fails(
        r, NULL, ON_D0 ",offset=9223372036854775296,size=512", RW,
        "Offset (9223372036854775296) cannot be greater than size of the containing file (65536)");
}

static void window_reopened(struct rig *r)
{
    rig_disk(r, 0, 64 * KiB);
    struct error *err = NULL;
    struct blk *b = rig_open(r, NULL, ON_D0 ",offset=4096,size=8k", RW);
    struct value *opts = opts_parse("offset=8192", NULL, &err);
    assert_int_equal(node_reopen(blk_node(b), opts, true, &err), 0);
    assert_int_equal(rig_fill(b, 0, 512, 1), 0);
    assert_int_equal(disk_log_op(r->log, disk_log_len(r->log) - 1)->offset, 8192);
    opts = opts_parse("size=1M", NULL, &err);
    assert_int_equal(node_reopen(blk_node(b), opts, true, &err), -EINVAL);
    rig_expect(&err, "The sum of offset (8192) and size (1048576) has to be smaller or equal to "
                     "the  actual size of the "
                     "containing file (65536)");
    assert_int_equal(blk_length(b), 8192);
    blk_unref(b);
}

static void guessed_format(struct rig *r)
{
    uint8_t sector[512] = "TOY!", more[1024] = "TOY!";
    rig_disk(r, 0, 64 * KiB);
    struct blk *b = rig_open(r, "sim:d0", NULL, RW);
    assert_string_equal(
        r->out.s, "WARNING: Image format was not specified for 'sim:d0' and probing guessed raw.\n"
                  "         Automatically detecting the format is dangerous for raw images, write "
                  "operations on "
                  "block 0 will be restricted.\n"
                  "         Specify the 'raw' format explicitly to remove the restrictions.\n");
    assert_int_equal(blk_pwrite(b, 0, sector, 512, 0), -EPERM);
    assert_int_equal(blk_pwrite(b, 0, more, 1024, 0), -EPERM);
    assert_int_equal(blk_pwrite(b, 0, sector, 4, 0), -EPERM); /* through read, modify, write */
    assert_int_equal(blk_pwrite(b, 512, sector, 512, 0), 0);
    assert_int_equal(rig_fill(b, 0, 512, 1), 0);
    rig_check(b, 0, 512, 1);
    blk_unref(b);
    b = rig_open(r, "sim:d0", "driver=raw", RW);
    assert_int_equal(blk_pwrite(b, 0, sector, 512, 0), 0);
    blk_unref(b);
}

static void creation_and_measure(struct rig *r)
{
    struct error *err = NULL;
    rig_disk(r, 0, 0);
    struct value *opts = opts_parse("size=8k", NULL, &err);
    assert_int_equal(image_create(r->w, &driver_raw, "sim:d0", opts, &err), 0);
    value_free(opts);
    assert_int_equal(disk_size(r->disk[0]), 8192);

    opts = opts_parse("size=1000", NULL, &err);
    struct value *m = driver_raw.measure(r->w, opts, NULL, &err);
    assert_int_equal(dict_get_int(m, "required", 0), 1024);
    assert_int_equal(dict_get_int(m, "fully-allocated", 0), 1024);
    value_free(m);
    value_free(opts);
    struct blk *b = rig_open(r, "sim:d0", "driver=raw", 0);
    m = driver_raw.measure(r->w, NULL, blk_node(b), &err);
    assert_int_equal(dict_get_int(m, "required", 0), 8192);
    value_free(m);
    blk_unref(b);
}

/* What raw announces reaches the rules below. */
static void labels_reach_blkdebug(struct rig *r)
{
    rig_disk(r, 0, 64 * KiB);
    struct blk *b = rig_open(
        r, NULL,
        "driver=raw,file.driver=blkdebug,file.image.driver=sim,file.image.disk=d0,"
        "file.set-state.0.event=write_aio,file.set-state.0.state=1,file.set-state.0.new_state=2,"
        "file.inject-error.0.event=write_aio,file.inject-error.0.state=2,"
        "file.inject-error.0.once=on,file.inject-error.0.errno=28",
        RW);
    assert_int_equal(rig_fill(b, 0, 512, 1), 0);
    assert_int_equal(rig_fill(b, 0, 512, 2), -ENOSPC);
    assert_int_equal(rig_fill(b, 512, 512, 3), 0);
    rig_check(b, 0, 512, 1);
    rig_check(b, 512, 512, 3);
    blk_unref(b);
}

#define TEST(name)                                                                                 \
    static void test_##name(void **state)                                                          \
    {                                                                                              \
        rig_run(drivers, name);                                                                    \
    }
TEST(passes)
TEST(window)
TEST(bad_windows)
TEST(window_reopened)
TEST(guessed_format)
TEST(creation_and_measure)
TEST(labels_reach_blkdebug)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_passes),
        cmocka_unit_test(test_window),
        cmocka_unit_test(test_bad_windows),
        cmocka_unit_test(test_window_reopened),
        cmocka_unit_test(test_guessed_format),
        cmocka_unit_test(test_creation_and_measure),
        cmocka_unit_test(test_labels_reach_blkdebug),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
