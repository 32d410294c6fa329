/*
 * cloop: images compressed here, read back; damaged blocks fail alone; every header and table that
 * must be refused, with its message, and without memory for what is not in the file.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <zlib.h>
#include "ref/base/bytes.h"
#include "ref/block/open.h"
#include "ref/format/format.h"
#include "ref/protocol/protocol.h"
#include "ref/protocol/tests/rig.h"

static const struct block_driver *const drivers[] = {&driver_sim, &driver_raw, &driver_cloop, NULL};

#define ON_D0  "driver=cloop,file.driver=sim,file.disk=d0,read-only=on"
#define BLOCK  1536
#define BLOCKS 4
#define TABLE  136

struct image {
    uint8_t bytes[4096];
    size_t len;
};

/* Blocks of 'A', 'B', ...; a fifth offset ends the table. */
static void build(struct image *im)
{
    static const char script[] =
        "#!/bin/sh\n#V2.0 Format\nmodprobe cloop file=$0 && mount -r -t iso9660 "
        "/dev/cloop $1\nexit $?\n";
    memset(im, 0, sizeof(*im));
    memcpy(im->bytes, script, sizeof(script));
    store_be32(im->bytes + 128, BLOCK);
    store_be32(im->bytes + 132, BLOCKS);
    im->len = TABLE + 8 * (BLOCKS + 1);
    for (int i = 0; i < BLOCKS; i++) {
        uint8_t plain[BLOCK];
        uLongf size = sizeof(im->bytes) - im->len;
        memset(plain, 'A' + i, sizeof(plain));
        store_be64(im->bytes + TABLE + 8 * i, im->len);
        assert_int_equal(compress(im->bytes + im->len, &size, plain, sizeof(plain)), Z_OK);
        im->len += size;
    }
    store_be64(im->bytes + TABLE + 8 * BLOCKS, im->len);
}

/* Writes the image to d0, a disk of just its length. */
static void put(struct rig *r, const struct image *im)
{
    struct error *err = NULL;
    if (!r->disk[0]) {
        rig_disk(r, 0, 0);
    }
    struct blk *b = rig_open(r, "sim:d0", "driver=raw", OPEN_RDWR | OPEN_RESIZE);
    assert_int_equal(blk_truncate(b, 0, true, PREALLOC_OFF, 0, &err), 0);
    assert_int_equal(blk_truncate(b, (int64_t)im->len, true, PREALLOC_OFF, 0, &err), 0);
    assert_int_equal(blk_pwrite(b, 0, im->bytes, (int64_t)im->len, 0), 0);
    blk_unref(b);
}

static void check_blocks(struct rig *r, const int *results)
{
    uint8_t buf[BLOCK];
    struct blk *b = rig_open(r, NULL, ON_D0, 0);
    assert_int_equal(blk_length(b), BLOCK * BLOCKS);
    for (int i = 0; i < BLOCKS; i++) {
        if (results[i] == 0) {
            rig_check(b, i * BLOCK, BLOCK, (uint8_t)('A' + i));
        } else {
            assert_int_equal(blk_pread(b, i * BLOCK, buf, BLOCK), results[i]);
        }
    }
    blk_unref(b);
}

static void reads(struct rig *r)
{
    struct image im;
    build(&im);
    put(r, &im);
    check_blocks(r, (int[]){0, 0, 0, 0});
    struct blk *b = rig_open(r, "sim:d0", "read-only=on", 0); /* guessed */
    assert_string_equal(blk_node(b)->drv->name, "cloop");
    uint8_t buf[2 * BLOCK];
    assert_int_equal(blk_pread(b, 700, buf, sizeof(buf)), 0);
    for (int i = 0; i < 2 * BLOCK; i++) {
        assert_int_equal(buf[i], 'A' + (700 + i) / BLOCK);
    }
    blk_unref(b);
    rig_open_fails(r, NULL, "driver=cloop,file.driver=sim,file.disk=d0", OPEN_RDWR,
                   "Image is read-only");
}

/* A block that does not unpack to its size, or to its end, fails; the others do not. */
static void damaged(struct rig *r)
{
    struct image im;
    build(&im);
    uint64_t third = load_be64(im.bytes + TABLE + 16);
    im.bytes[third - 1] ^= 1; /* the second block's checksum */
    im.len -= 3;              /* the last block's end */
    put(r, &im);
    check_blocks(r, (int[]){0, -EIO, 0, -EIO});

    build(&im);
    store_be64(im.bytes + TABLE, 0); /* not the start of a stream */
    put(r, &im);
    check_blocks(r, (int[]){-EIO, 0, 0, 0});

    build(&im);
    for (int i = 0; i <= BLOCKS; i++) {
        store_be64(im.bytes + TABLE + 8 * i, INT64_MAX - 100 + (uint64_t)i);
    }
    put(r, &im);
    check_blocks(r, (int[]){-EIO, -EIO, -EIO, -EIO});

    /* A stream of another size than the block's. */
    build(&im);
    store_be32(im.bytes + 128, BLOCK - 512);
    put(r, &im);
    uint8_t buf[512];
    struct blk *b = rig_open(r, NULL, ON_D0, 0);
    assert_int_equal(blk_pread(b, 0, buf, 512), -EIO);
    blk_unref(b);
}

static void bad_headers(struct rig *r)
{
    static const struct {
        int at;
        uint32_t bad;
        const char *msg;
    } rows[] = {
        {128, 0, "block_size cannot be zero"},
        {128, 513, "block_size 513 must be a multiple of 512"},
        {128, 0xfffffe00, "block_size 4294966784 must be 64 MB or less"},
        {128, (64 << 20) + 512, "block_size 67109376 must be 64 MB or less"},
        {132, 0xffffffff, "n_blocks 4294967295 must be 536870911 or less"},
        {132, 0x1fffffff, "Could not allocate offsets table"},
        {132, 0x1ffffffe, "image requires too many offsets, try increasing block size"},
        {132, 0x4000000, "image requires too many offsets, try increasing block size"},
    };
    struct image im;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        build(&im);
        store_be32(im.bytes + rows[i].at, rows[i].bad);
        put(r, &im);
        rig_open_fails(r, NULL, ON_D0, 0, rows[i].msg);
    }
}

static void bad_tables(struct rig *r)
{
    static const struct {
        uint64_t first, second;
        const char *msg;
    } rows[] = {
        {0xffffffff, 0xfffe0000,
         "offsets not monotonically increasing at index 1, image file is corrupt"},
        {0, UINT64_MAX, "invalid compressed block size at index 1, image file is corrupt"},
        {0, (128 << 20) + 1, "invalid compressed block size at index 1, image file is corrupt"},
        {0, 128 << 20, "offsets not monotonically increasing at index 2, image file is corrupt"},
    };
    struct image im;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        build(&im);
        store_be64(im.bytes + TABLE, rows[i].first);
        store_be64(im.bytes + TABLE + 8, rows[i].second);
        put(r, &im);
        rig_open_fails(r, NULL, ON_D0, 0, rows[i].msg);
    }
}

static bool too_much(size_t size, void *opaque)
{
    return size > 1 * MiB;
}

/* A table that the file does not hold is taken as zeroes, without its 512 MiB. */
static void short_table(struct rig *r)
{
    struct image im;
    uint8_t buf[512];
    build(&im);
    store_be32(im.bytes + 132, 0x3ffffff);
    im.len = TABLE + 16;
    put(r, &im);
    mem_set_fail_hook(too_much, NULL);
    rig_open_fails(r, NULL, ON_D0, 0,
                   "offsets not monotonically increasing at index 2, image file is corrupt");
    memset(im.bytes + TABLE, 0, 16);
    put(r, &im);
    struct blk *b = rig_open(r, NULL, ON_D0, 0);
    assert_int_equal(blk_length(b), 0x3ffffffLL * BLOCK);
    assert_int_equal(blk_pread(b, blk_length(b) - 512, buf, 512), -EIO);
    blk_unref(b);
    mem_set_fail_hook(NULL, NULL);
}

#define TEST(name)                                                                                 \
    static void test_##name(void **state)                                                          \
    {                                                                                              \
        rig_run(drivers, name);                                                                    \
    }
TEST(reads)
TEST(damaged)
TEST(bad_headers)
TEST(bad_tables)
TEST(short_table)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reads),       cmocka_unit_test(test_damaged),
        cmocka_unit_test(test_bad_headers), cmocka_unit_test(test_bad_tables),
        cmocka_unit_test(test_short_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
