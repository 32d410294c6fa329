/*
 * bochs: images built here byte by byte, read back; every header that must be refused, with its
 * message.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include "ref/base/bytes.h"
#include "ref/block/open.h"
#include "ref/format/format.h"
#include "ref/protocol/protocol.h"
#include "ref/protocol/tests/rig.h"

static const struct block_driver *const drivers[] = {&driver_sim, &driver_raw, &driver_bochs, NULL};

#define ON_D0  "driver=bochs,file.driver=sim,file.disk=d0,read-only=on"
#define EXTENT 4096
#define DATA   1024 /* host offset of extent 0: its bitmap sector, then 4096 bytes */
#define STRIDE (512 + EXTENT)

static void put(struct rig *r, int64_t offset, const void *buf, size_t len)
{
    struct blk *b = rig_open(r, "sim:d0", "driver=raw", OPEN_RDWR | OPEN_RESIZE);
    assert_int_equal(blk_pwrite(b, offset, buf, (int64_t)len, 0), 0);
    blk_unref(b);
}

static void put32(struct rig *r, int64_t offset, uint32_t v)
{
    uint8_t b[4];
    store_le32(b, v);
    put(r, offset, b, sizeof(b));
}

static void put64(struct rig *r, int64_t offset, uint64_t v)
{
    uint8_t b[8];
    store_le64(b, v);
    put(r, offset, b, sizeof(b));
}

/* Four extents of the disk: none, the second in the file, the first, and one behind the end of the
 * file. */
static void image(struct rig *r)
{
    rig_disk(r, 0, DATA + 2 * STRIDE);
    put(r, 0, "Bochs Virtual HD Image", 23);
    put(r, 32, "Redolog", 8);
    put(r, 48, "Growing", 8);
    put32(r, 64, 0x20000);
    put32(r, 68, 512);
    put32(r, 72, 128); /* entries: up to DATA */
    put32(r, 76, 1);
    put32(r, 80, EXTENT);
    put64(r, 88, 4 * EXTENT);
    put32(r, 512, 0xffffffff);
    put32(r, 516, 1);
    put32(r, 520, 0);
    put32(r, 524, 1000);
    uint8_t bits[2] = {0x81, 0};
    put(r, DATA, bits, 1);
    bits[0] = 0x06;
    put(r, DATA + STRIDE, bits, 1);
    struct blk *b = rig_open(r, "sim:d0", "driver=raw", OPEN_RDWR);
    assert_int_equal(rig_fill(b, DATA + 512, EXTENT, 'A'), 0);
    assert_int_equal(rig_fill(b, DATA + STRIDE + 512, EXTENT, 'B'), 0);
    blk_unref(b);
}

static void reads(struct rig *r)
{
    image(r);
    struct blk *b = rig_open(r, NULL, ON_D0, 0);
    assert_int_equal(blk_length(b), 4 * EXTENT);
    rig_check(b, 0, EXTENT + 512, 0);
    rig_check(b, EXTENT + 512, 1024, 'B');
    rig_check(b, EXTENT + 1536, EXTENT - 1536, 0);
    rig_check(b, 2 * EXTENT, 512, 'A');
    rig_check(b, 2 * EXTENT + 512, 3072, 0);
    rig_check(b, 3 * EXTENT - 512, 512, 'A');
    rig_check(b, 3 * EXTENT, EXTENT, 0);
    /* Across sectors and extents at once, not aligned. */
    uint8_t buf[EXTENT];
    assert_int_equal(blk_pread(b, EXTENT + 1500, buf, sizeof(buf)), 0);
    for (int i = 0; i < EXTENT; i++) {
        int at = EXTENT + 1500 + i;
        int want = at < EXTENT + 1536 ? 'B' : at >= 2 * EXTENT && at < 2 * EXTENT + 512 ? 'A' : 0;
        assert_int_equal(buf[i], want);
    }
    blk_unref(b);
}

static void version_1(struct rig *r)
{
    image(r);
    put32(r, 64, 0x10000);
    put64(r, 84, 3 * EXTENT + 1000);
    struct blk *b = rig_open(r, NULL, ON_D0, 0);
    assert_int_equal(blk_length(b), 3 * EXTENT + 512);
    rig_check(b, EXTENT + 512, 1024, 'B');
    blk_unref(b);
}

static void probed(struct rig *r)
{
    image(r);
    struct blk *b = rig_open(r, "sim:d0", "read-only=on", 0);
    assert_string_equal(blk_node(b)->drv->name, "bochs");
    blk_unref(b);
    put32(r, 64, 0x30000);
    b = rig_open(r, "sim:d0", "read-only=on", 0);
    assert_string_equal(blk_node(b)->drv->name, "raw");
    blk_unref(b);
}

static void read_only(struct rig *r)
{
    image(r);
    rig_open_fails(r, NULL, "driver=bochs,file.driver=sim,file.disk=d0", OPEN_RDWR,
                   "Image is read-only");
    struct error *err = NULL;
    struct value *opts =
        opts_parse("driver=bochs,file.driver=sim,file.disk=d0,auto-read-only=on", NULL, &err);
    struct node *n = node_open(r->w, NULL, NULL, opts, OPEN_RDWR, &err);
    assert_non_null(n);
    assert_true(n->read_only);
    node_unref(n);
}

/* Each row pokes one field of a fresh image. */
static void refused(struct rig *r)
{
    static const struct {
        int at;
        uint32_t bad, good;
        const char *msg;
    } rows[] = {
        {0, 0, 0x68636f42, "Image not in Bochs format"},
        {22, 0x20, 0, "Image not in Bochs format"},
        {32, 0, 0x6f646552, "Image not in Bochs format"},
        {48, 0x74616c46, 0x776f7247, "Image not in Bochs format"},
        {64, 0x10001, 0x20000, "Image not in Bochs format"},
        {72, 0xffffffff, 128, "Catalog size is too large"},
        {72, 0x40000000, 128, "Catalog size is too large"},
        {72, 0x100001, 128, "Catalog size is too large"},
        {72, 3, 128, "Catalog size is too small for this disk size"},
        {72, 0, 128, "Catalog size is too small for this disk size"},
        {80, 0, EXTENT, "Extent size must be at least 512"},
        {80, 511, EXTENT, "Extent size must be at least 512"},
        {80, 513, EXTENT, "Extent size 513 is not a power of two"},
        {80, 0x80000000, EXTENT, "Extent size 2147483648 is too large"},
        {80, 0x1000000, EXTENT, "Extent size 16777216 is too large"},
        {92, 0x7f000000, 0, "Catalog size is too small for this disk size"},
        {92, 0xff000000, 0, "Catalog size is too small for this disk size"},
    };
    image(r);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        put32(r, rows[i].at, rows[i].bad);
        rig_open_fails(r, NULL, ON_D0, 0, rows[i].msg);
        put32(r, rows[i].at, rows[i].good);
    }
    struct blk *b = rig_open(r, NULL, ON_D0, 0);
    blk_unref(b);
}

/* Offsets that no file can have fail the read; nothing is read in their place. */
static void far_extents(struct rig *r)
{
    image(r);
    uint8_t buf[512];
    put32(r, 76, 0xffffffff);
    static const uint32_t far[] = {0xfffffffe, 0x80000000}; /* behind 2^64 bytes, behind 2^63 */
    struct blk *b;
    for (size_t i = 0; i < ARRAY_SIZE(far); i++) {
        put32(r, 520, far[i]);
        b = rig_open(r, NULL, ON_D0, 0);
        assert_int_equal(blk_pread(b, 2 * EXTENT, buf, 512), -EIO);
        rig_check(b, 0, EXTENT, 0);
        blk_unref(b);
    }
    put32(r, 76, 0);
    put32(r, 520, 0);
    b = rig_open(r, NULL, ON_D0, 0);
    rig_check(b, 2 * EXTENT, 512, 0); /* bitmap of 4 GiB: data behind the end of the file */
    blk_unref(b);
}

#define TEST(name)                                                                                 \
    static void test_##name(void **state)                                                          \
    {                                                                                              \
        rig_run(drivers, name);                                                                    \
    }
TEST(reads)
TEST(version_1)
TEST(probed)
TEST(read_only)
TEST(refused)
TEST(far_extents)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reads),   cmocka_unit_test(test_version_1),
        cmocka_unit_test(test_probed),  cmocka_unit_test(test_read_only),
        cmocka_unit_test(test_refused), cmocka_unit_test(test_far_extents),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
