/*
 * vdi on simulated disks: random programs against a shadow, and hostile headers.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "ref/base/bytes.h"
#include "ref/block/open.h"
#include "ref/format/format.h"
#include "ref/protocol/protocol.h"
#include "ref/protocol/tests/rig.h"
#include "specs/vdi_layout.h"

static const struct block_driver *const drivers[] = {&driver_sim, &driver_vdi, NULL};
#define RW   (OPEN_RDWR | OPEN_RESIZE)
#define DISK (5 * MiB)

static void make(struct rig *r, const struct block_driver *drv, const char *options)
{
    struct error *err = NULL;
    struct value *opts = opts_parse(options, NULL, &err);
    rig_disk(r, 0, 0);
    assert_int_equal(image_create(r->w, drv, "sim:d0", opts, &err), 0);
    value_free(opts);
}

static void program(struct rig *r, const char *options)
{
    rig_program(r, options, DISK, 300000, 60, 12345);
}

static void programs_vdi(struct rig *r)
{
    make(r, &driver_vdi, "size=5M");
    program(r, "driver=vdi");
    struct check_result res = {0};
    struct blk *b = rig_open(r, "sim:d0", "driver=vdi", 0);
    assert_int_equal(node_check(blk_node(b), &res, 0), 0);
    assert_int_equal(res.corruptions, 0);
    blk_unref(b);
}

static void poke(struct rig *r, int64_t at, const void *buf, size_t len)
{
    disk_write(r->disk[0], at, buf, len);
}

/* The disk's size and the number of blocks, each at the values whose product or rounding wraps. */
static void hostile_sizes(struct rig *r)
{
    static const struct {
        uint64_t size;
        uint32_t blocks;
        const char *msg;
    } cases[] = {
        {UINT64_MAX, 5,
         "Unsupported VDI image size (size is 0xffffffffffffffff, max supported is "
         "0x1fffff8000000)"},
        {UINT64_C(0x1fffff8000001), 0x1fffff80,
         "Unsupported VDI image size (size is 0x1fffff8000001, max supported is 0x1fffff8000000)"},
        {UINT64_C(1) << 63, 0xffffffff,
         "Unsupported VDI image size (size is 0x8000000000000000, max supported is "
         "0x1fffff8000000)"},
        {4 * 1024 * MiB + 5 * MiB, 5, /* just the room there is, in 32 bits */
         "unsupported VDI image (disk size 4300210176, image bitmap has room for 5242880)"},
        {5 * MiB + 1, 5,
         "unsupported VDI image (disk size 5243392, image bitmap has room for 5242880)"},
        {5 * MiB, 0, "unsupported VDI image (disk size 5242880, image bitmap has room for 0)"},
        {5 * MiB, 0xffffffff,
         "unsupported VDI image (too many blocks 4294967295, max is 536870784)"},
        {0, 0x80000000, "unsupported VDI image (too many blocks 2147483648, max is 536870784)"},
    };
    make(r, &driver_vdi, "size=5M");
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        uint8_t size[8], blocks[4];
        store_le64(size, cases[i].size);
        store_le32(blocks, cases[i].blocks);
        poke(r, VDI_HEADER_DISK_SIZE_OFF, size, sizeof(size));
        poke(r, VDI_HEADER_BLOCKS_IN_IMAGE_OFF, blocks, sizeof(blocks));
        rig_open_fails(r, "sim:d0", "driver=vdi", 0, cases[i].msg);
    }
}

static void hostile_vdi(struct rig *r)
{
    uint8_t le[4];
    make(r, &driver_vdi, "size=5M");
    store_le32(le, 0x1fffff81);
    poke(r, 384, le, 4);
    rig_open_fails(r, "sim:d0", "driver=vdi", 0,
                   "unsupported VDI image (too many blocks 536870785, max is 536870784)");
    store_le32(le, 0x1fffff80); /* allowed; takes no memory for what the file has not */
    poke(r, 384, le, 4);
    blk_unref(rig_open(r, "sim:d0", "driver=vdi", 0));
    /* Blocks over header or map, the map over the header: what is written would damage them. */
    static const struct {
        int at;
        uint32_t bad, good;
    } places[] = {{344, 0, 1024}, {344, 512, 1024}, {340, 0, 512}};
    store_le32(le, 5);
    poke(r, 384, le, 4);
    for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
        store_le32(le, places[i].bad);
        poke(r, places[i].at, le, 4);
        blk_unref(rig_open(r, "sim:d0", "driver=vdi", 0));
        struct error *err = NULL;
        struct value *opts = opts_parse("driver=vdi", NULL, &err);
        assert_null(blk_open(r->w, "sim:d0", NULL, opts, OPEN_RDWR | OPEN_RESIZE, &err));
        assert_non_null(strstr(err->msg, "lie over what is before them"));
        error_free(err);
        store_le32(le, places[i].good);
        poke(r, places[i].at, le, 4);
    }
    blk_unref(rig_open(r, "sim:d0", "driver=vdi", OPEN_RDWR | OPEN_RESIZE));
    store_le32(le, 4);
    poke(r, 384, le, 4);
    rig_open_fails(r, "sim:d0", "driver=vdi", 0,
                   "unsupported VDI image (disk size 5242880, image bitmap has room for 4194304)");
}

#define TEST(name)                                                                                 \
    static void test_##name(void **state)                                                          \
    {                                                                                              \
        rig_run(drivers, name);                                                                    \
    }
TEST(programs_vdi)
TEST(hostile_vdi)
TEST(hostile_sizes)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_programs_vdi),
        cmocka_unit_test(test_hostile_vdi),
        cmocka_unit_test(test_hostile_sizes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
