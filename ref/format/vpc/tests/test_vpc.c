/*
 * vpc on simulated disks: random programs against a shadow, hostile headers, differencing images
 * with bitmaps of several pages.
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
#include "specs/vpc_layout.h"

static const struct block_driver *const drivers[] = {&driver_sim, &driver_vpc, NULL};
#define RW   (OPEN_RDWR | OPEN_RESIZE)
#define DISK (5 * MiB)

static void make(struct rig *r, int disk, const char *options)
{
    struct error *err = NULL;
    struct value *opts = opts_parse(options, NULL, &err);
    rig_disk(r, disk, 0);
    assert_int_equal(image_create(r->w, &driver_vpc, disk ? "sim:d1" : "sim:d0", opts, &err), 0);
    value_free(opts);
}

static void program(struct rig *r, const char *options)
{
    rig_program(r, options, DISK, 300000, 60, 12345);
}

static void programs_vpc(struct rig *r)
{
    make(r, 0, "size=5M,force_size=on");
    program(r, "driver=vpc");
}

static void programs_vpc_fixed(struct rig *r)
{
    make(r, 0, "size=5M,subformat=fixed,force_size=on");
    program(r, "driver=vpc");
}

static void poke(struct rig *r, int64_t at, const void *buf, size_t len)
{
    disk_write(r->disk[0], at, buf, len);
}

static void hostile_vpc(struct rig *r)
{
    uint8_t be[4];
    make(r, 0, "size=5M");
    store_be32(be, 0);
    poke(r, 512 + 32, be, 4);
    rig_open_fails(r, "sim:d0", "driver=vpc", 0, "Invalid block size 0");
    store_be32(be, 0x200000);
    poke(r, 512 + 32, be, 4);
    store_be32(be, 0x40000001);
    poke(r, 512 + 28, be, 4);
    rig_open_fails(r, "sim:d0", "driver=vpc", 0, "Max Table Entries too large (1073741825)");
}

/* Each row pokes 32 bits of the dynamic header of a fresh image: no divisor is 0, no product wraps,
 * no table is taken that the file has not. */
static void hostile_dynamic(struct rig *r)
{
    static const char truncated[] = "block-vpc: free_data_block_offset points after the end of "
                                    "file. The image has been truncated.";
    static const struct {
        int at;
        uint32_t bad;
        const char *msg;
    } rows[] = {
        {VPC_DYNAMIC_BLOCK_SIZE_OFF, 256, "Invalid block size 256"},
        {VPC_DYNAMIC_BLOCK_SIZE_OFF, 0x180000, "Invalid block size 1572864"},
        {VPC_DYNAMIC_BLOCK_SIZE_OFF, 0x80000000, "Invalid block size 2147483648"},
        {VPC_DYNAMIC_BLOCK_SIZE_OFF, 0xffffffff, "Invalid block size 4294967295"},
        {VPC_DYNAMIC_MAX_TABLE_ENTRIES_OFF, 0, "Page table too small"},
        {VPC_DYNAMIC_MAX_TABLE_ENTRIES_OFF, 2, "Page table too small"},
        {VPC_DYNAMIC_MAX_TABLE_ENTRIES_OFF, 0x20000000, "Max Table Entries too large (536870912)"},
        {VPC_DYNAMIC_MAX_TABLE_ENTRIES_OFF, 0xffffffff, "Max Table Entries too large (-1)"},
        {VPC_DYNAMIC_MAX_TABLE_ENTRIES_OFF, 0x1fffffff, truncated}, /* 2 GiB, not in the file */
        {VPC_DYNAMIC_TABLE_OFFSET_OFF, 0x7fffffff, truncated},
        {VPC_DYNAMIC_TABLE_OFFSET_OFF, 0xffffffff, "Error reading pagetable"},
        {VPC_DYNAMIC_TABLE_OFFSET_OFF, 1, truncated},
    };
    make(r, 0, "size=5M");
    struct disk *good = disk_clone(r->disk[0]);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        uint8_t be[4];
        store_be32(be, rows[i].bad);
        poke(r, VPC_FOOTER_SIZE + rows[i].at, be, sizeof(be));
        rig_open_fails(r, "sim:d0", "driver=vpc", 0, rows[i].msg);
        disk_assign(r->disk[0], good);
    }
    disk_free(good);
}

/* ---- differencing ---- */

#define BLOCK    (64 * MiB)
#define LOCATOR  (VPC_FOOTER_SIZE + VPC_DYNAMIC_RESERVED2_OFF)
#define BITMAP   (BLOCK / VPC_SECTOR / 8)
#define BLOCK_AT (16 * MiB)

static void seal(uint8_t *p, size_t len, size_t at)
{
    uint32_t sum = 0;
    memset(p + at, 0, 4);
    for (size_t i = 0; i < len; i++) {
        sum += p[i];
    }
    store_be32(p + at, ~sum);
}

static void set_id(struct disk *d, unsigned type, const char *id)
{
    uint8_t f[VPC_FOOTER_SIZE];
    disk_read(d, 0, f, sizeof(f));
    vpc_footer_set_disk_type(f, type);
    memcpy(f + VPC_FOOTER_UNIQUE_ID_OFF, id, VPC_FOOTER_UNIQUE_ID_WIDTH);
    seal(f, sizeof(f), VPC_FOOTER_CHECKSUM_OFF);
    assert_int_equal(disk_write(d, 0, f, sizeof(f)), 0);
}

/* A child on d0 of the disk on d1, of one block of 64 MiB whose bitmap is all clear; the parent is
 * full of fives. */
static void make_child(struct rig *r, const char *name)
{
    static const char parent_id[] = "the parent's id!";
    uint8_t d[VPC_DYNAMIC_SIZE], utf16[64] = {0}, *l = d + VPC_DYNAMIC_PARENT_LOCATORS_OFF;
    make(r, 1, "size=64M,force_size=on");
    struct blk *b = rig_open(r, "sim:d1", "driver=vpc", RW);
    assert_int_equal(rig_fill(b, 0, BLOCK, 5), 0);
    blk_unref(b);
    set_id(r->disk[1], VPC_TYPE_DYNAMIC, parent_id);

    make(r, 0, "size=64M,force_size=on");
    set_id(r->disk[0], VPC_TYPE_DIFFERENCING, "the child's id ");
    for (size_t i = 0; name[i]; i++) {
        utf16[2 * i] = (uint8_t)name[i];
    }
    disk_read(r->disk[0], VPC_FOOTER_SIZE, d, sizeof(d));
    vpc_dynamic_set_block_size(d, BLOCK);
    memcpy(d + VPC_DYNAMIC_PARENT_ID_OFF, parent_id, VPC_DYNAMIC_PARENT_ID_WIDTH);
    vpc_parent_locator_set_code(l, VPC_PLATFORM_W2RU);
    vpc_parent_locator_set_data_space(l, 1);
    vpc_parent_locator_set_data_length(l, (uint32_t)strlen(name) * 2);
    vpc_parent_locator_set_data_offset(l, LOCATOR);
    memcpy(d + VPC_DYNAMIC_RESERVED2_OFF, utf16, sizeof(utf16));
    seal(d, sizeof(d), VPC_DYNAMIC_CHECKSUM_OFF);
    poke(r, VPC_FOOTER_SIZE, d, sizeof(d));
    store_be32(utf16, BLOCK_AT / VPC_SECTOR);
    poke(r, (int64_t)vpc_dynamic_get_table_offset(d), utf16, 4);
    assert_int_equal(disk_truncate(r->disk[0], BLOCK_AT + BITMAP + BLOCK), 0);
}

/* The child's own sectors, [first, end), hold sevens. */
static void own(struct rig *r, int64_t first, int64_t end)
{
    uint8_t seven[VPC_SECTOR], bits;
    memset(seven, 7, sizeof(seven));
    for (int64_t i = first; i < end; i++) {
        disk_read(r->disk[0], BLOCK_AT + i / 8, &bits, 1);
        bits |= (uint8_t)(0x80 >> i % 8);
        poke(r, BLOCK_AT + i / 8, &bits, 1);
        poke(r, BLOCK_AT + BITMAP + i * VPC_SECTOR, seven, sizeof(seven));
    }
}

/* Runs that end inside a word, at a page of the bitmap (32768 sectors), and across one. */
static void differencing(struct rig *r)
{
    static const int64_t runs[][2] = {{0, 1},         {63, 65},       {4000, 4001},
                                      {32700, 32768}, {65500, 65600}, {131071, 131072}};
    make_child(r, ".\\d1");
    for (size_t i = 0; i < ARRAY_SIZE(runs); i++) {
        own(r, runs[i][0], runs[i][1]);
    }
    struct blk *b = rig_open(r, "sim:d0", "driver=vpc", 0);
    int64_t at = 0;
    for (size_t i = 0; i < ARRAY_SIZE(runs); i++) {
        struct status st;
        int64_t first = runs[i][0] * VPC_SECTOR, end = runs[i][1] * VPC_SECTOR;
        if (first > at) {
            rig_check(b, at, first - at, 5);
        }
        rig_check(b, first, end - first, 7);
        assert_int_equal(node_block_status(blk_node(b), true, first, BLOCK - first, &st), 0);
        assert_true(st.flags & STATUS_DATA);
        assert_int_equal(st.bytes, end - first);
        assert_int_equal(st.map, BLOCK_AT + BITMAP + first);
        at = end;
    }
    assert_int_equal(rig_fill(b, 0, 512, 1), -EPERM);
    blk_unref(b);
    rig_open_fails(r, "sim:d0", "driver=vpc", RW, "Differencing VHD images can only be read");
    struct error *err = NULL;
    struct value *opts = opts_parse("driver=vpc,auto-read-only=on", NULL, &err);
    struct node *n = node_open(r->w, "sim:d0", NULL, opts, RW, &err);
    assert_non_null(n);
    assert_true(n->read_only);
    assert_true(node_set_read_only(n, false, &err) < 0);
    rig_expect(&err, "Differencing VHD images can only be read");
    node_unref(n);
}

/* A name that leads to the host is followed nowhere, not even to see whether it is there. */
static void denied(struct rig *r)
{
    make_child(r, "/dev/zero");
    rig_open_fails(r, "sim:d0", "driver=vpc", 0,
                   "Backing file '/dev/zero' named by image 'sim:d0' is not opened: names in "
                   "images are denied");
    /* One that would be there is not reached by way of one that is not. */
    poke(r, VPC_FOOTER_SIZE + VPC_DYNAMIC_PARENT_NAME_OFF, "\0d\0001\0", 6);
    rig_open_fails(r, "sim:d0", "driver=vpc", 0,
                   "Backing file '/dev/zero' named by image 'sim:d0' is not opened: names in "
                   "images are denied");
    struct blk *parent = rig_open(r, "sim:d1", "driver=vpc,node-name=parent", 0);
    blk_unref(rig_open(r, "sim:d0", "driver=vpc,backing=parent", 0));
    blk_unref(parent);
}

static void test_denied(void **state)
{
    rig_run_denying(drivers, denied);
}

#define TEST(name)                                                                                 \
    static void test_##name(void **state)                                                          \
    {                                                                                              \
        rig_run(drivers, name);                                                                    \
    }
TEST(programs_vpc)
TEST(programs_vpc_fixed)
TEST(hostile_vpc)
TEST(hostile_dynamic)
TEST(differencing)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_programs_vpc), cmocka_unit_test(test_programs_vpc_fixed),
        cmocka_unit_test(test_hostile_vpc),  cmocka_unit_test(test_hostile_dynamic),
        cmocka_unit_test(test_differencing), cmocka_unit_test(test_denied),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
