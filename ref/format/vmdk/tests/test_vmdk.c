/*
 * vmdk disks on simulated disks: every kind of extent as a plain array would hold it, the CID and
 * its children, grains of streams, extents of ESX servers made by hand.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include "ref/block/open.h"
#include "ref/format/vmdk/vmdk.h"
#include "ref/protocol/protocol.h"
#include "ref/protocol/sim_image.h"
#include "ref/protocol/tests/rig.h"
#include "specs/runtime/vmdk_check.h"

static const struct block_driver *const drivers[] = {&driver_sim, &driver_vmdk, NULL};
#define RW   (OPEN_RDWR | OPEN_RESIZE)
#define DISK (5 * MiB)
#define G    (64 * KiB)

/* Disk i under another name too: the extent that creation makes beside a descriptor. */
static void alias(struct rig *r, const char *name, int i)
{
    rig_disk(r, i, 0);
    struct sim_disk d = {.disk = r->disk[i], .log = r->log, .index = i, .plan = &r->plan};
    sim_register(r->w, name, &d);
}

static void make(struct rig *r, const char *name, const char *options)
{
    struct error *err = NULL;
    struct value *opts = opts_parse(options, NULL, &err);
    assert_int_equal(image_create(r->w, &driver_vmdk, name, opts, &err), 0);
    value_free(opts);
}

/* Nothing in the extent breaks the specification. */
static void check_spec(struct disk *d)
{
    struct spec_report *rep = mem_zalloc(sizeof(*rep));
    struct spec_image image = sim_image(d);
    assert_int_equal(spec_vmdk_check(&image, NULL, NULL, rep), 0);
    if (rep->nr_findings) {
        print_error("%s: %s\n", rep->findings[0].clause, rep->findings[0].message);
    }
    assert_int_equal(rep->count[SPEC_CORRUPTION], 0);
    mem_free(rep);
}

/* Writes and zeroes at random places, reopening now and then, as a plain array holds them. */
static void program(struct rig *r, const char *name, int64_t size)
{
    uint8_t *shadow = mem_zalloc((size_t)size), *buf = mem_zalloc((size_t)size);
    uint64_t seed = 12345;
    struct blk *b = NULL;
    for (int i = 0; i < 80; i++) {
        b = b ? b : rig_open(r, name, "driver=vmdk", RW);
        seed = seed * 6364136223846793005ull + 1442695040888963407ull;
        int64_t most = MIN(size / 4, 300000);
        int64_t at = (int64_t)((seed >> 33) % (uint64_t)(size - most)) / 512 * 512;
        int64_t len = ((int64_t)((seed >> 20) % (uint64_t)most) / 512 + 1) * 512;
        bool zero = i % 5 == 4;
        at = zero ? at / G * G : at;
        len = zero ? MIN(ROUND_UP(len, G), size - at) : len;
        memset(shadow + at, zero ? 0 : i + 1, (size_t)len);
        assert_int_equal(zero ? blk_pwrite_zeroes(b, at, len, 0, NULL)
                              : rig_fill(b, at, len, (uint8_t)(i + 1)),
                         0);
        if (i % 16 == 15) {
            blk_unref(b);
            b = NULL;
        }
    }
    assert_int_equal(blk_pread(b ? b : (b = rig_open(r, name, "driver=vmdk", 0)), 0, buf, size), 0);
    assert_memory_equal(buf, shadow, (size_t)size);
    struct check_result res = {0};
    assert_int_equal(node_check(blk_node(b), &res, 0), 0);
    blk_unref(b);
    mem_free(shadow);
    mem_free(buf);
}

static void sparse(struct rig *r)
{
    rig_disk(r, 0, 0);
    make(r, "sim:d0", "size=5M");
    program(r, "sim:d0", DISK);
    check_spec(r->disk[0]);
}

static void zeroed(struct rig *r)
{
    rig_disk(r, 0, 0);
    make(r, "sim:d0", "size=5M,zeroed_grain=on");
    struct blk *b = rig_open(r, "sim:d0", "driver=vmdk", RW);
    struct status st;
    assert_int_equal(rig_fill(b, 0, 3 * G, 1), 0);
    assert_int_equal(blk_pwrite_zeroes(b, G, G, 0, NULL), 0);
    assert_int_equal(node_block_status(blk_node(b), true, G, DISK - G, &st), 0);
    assert_int_equal(st.flags & (STATUS_ZERO | STATUS_DATA), STATUS_ZERO);
    assert_int_equal(st.bytes, G);
    blk_unref(b);
    make(r, "sim:d0", "size=5M,zeroed_grain=on");
    program(r, "sim:d0", DISK);
    check_spec(r->disk[0]);
}

static void flat(struct rig *r)
{
    rig_disk(r, 0, 0);
    alias(r, "d0-flat", 1);
    make(r, "sim:d0", "size=5M,subformat=monolithicFlat");
    assert_int_equal(disk_size(r->disk[1]), DISK);
    int64_t text = disk_size(r->disk[0]);
    program(r, "sim:d0", DISK);
    assert_int_equal(disk_size(r->disk[0]), text); /* a new CID takes no more room (DSC-6) */
}

static void split(struct rig *r)
{
    rig_disk(r, 0, 0);
    alias(r, "d0-s001", 1);
    make(r, "sim:d0", "size=5M,subformat=twoGbMaxExtentSparse");
    program(r, "sim:d0", DISK);
    check_spec(r->disk[1]);
}

static void put_text(struct rig *r, int i, const char *text)
{
    assert_int_equal(disk_truncate(r->disk[i], 0), 0);
    assert_int_equal(disk_write(r->disk[i], 0, text, strlen(text)), 0);
}

#define HEAD(type)                                                                                 \
    "# Disk DescriptorFile\nversion=1\nCID=00000001\nparentCID=ffffffff\ncreateType=\"" type       \
    "\"\n\n# Extent description\n"

/* Extents of odd sizes and kinds beside each other; requests cross their borders. */
static void mixed(struct rig *r)
{
    for (int i = 0; i < 3; i++) {
        rig_disk(r, i, 0);
    }
    make(r, "sim:d1", "size=1000k");
    assert_int_equal(disk_truncate(r->disk[2], 2 * MiB), 0);
    put_text(r, 0,
             HEAD("twoGbMaxExtentSparse") "RW 2000 SPARSE \"sim:d1\"\n\n"
                                          "RW 1001 FLAT \"sim:d2\" 7\nRDONLY 9 ZERO\n");
    struct blk *b = rig_open(r, "sim:d0", "driver=vmdk", RW);
    assert_int_equal(blk_length(b), 3001 * 512);
    assert_int_equal(rig_fill(b, 1999 * 512, 1024, 5), 0);
    rig_check(b, 1999 * 512, 1024, 5);
    uint8_t byte;
    disk_read(r->disk[2], 7 * 512, &byte, 1);
    assert_int_equal(byte, 5);
    disk_read(r->disk[2], 6 * 512, &byte, 1);
    assert_int_equal(byte, 0);
    blk_unref(b);
    program(r, "sim:d0", 3001 * 512);
}

/* ---- streams ---- */

static int64_t stream_grain(struct rig *r)
{
    return disk_size(r->disk[0]);
}

static void stream(struct rig *r)
{
    rig_disk(r, 0, 0);
    make(r, "sim:d0", "size=300k,subformat=streamOptimized");
    struct blk *b = rig_open(r, "sim:d0", "driver=vmdk", RW);
    int64_t before = stream_grain(r);
    assert_int_equal(rig_fill(b, G, G, 7), 0);
    assert_true(stream_grain(r) - before <= 1024); /* it was compressed */
    assert_int_equal(rig_fill(b, 2 * G + 512, G, 7), -EINVAL);
    assert_int_equal(rig_fill(b, G, 512, 7), -EIO); /* written once (STR-4) */
    assert_string_equal(r->out.s, "Could not write to allocated cluster for streamOptimized");
    assert_int_equal(rig_fill(b, G, G, 8), -EIO);
    assert_int_equal(rig_fill(b, 4 * G, 300 * KiB - 4 * G, 9), 0); /* the last one is short */
    rig_check(b, G, G, 7);
    rig_check(b, 4 * G, 300 * KiB - 4 * G, 9);
    rig_check(b, 2 * G, 2 * G, 0);
    blk_unref(b);
    b = rig_open(r, "sim:d0", "driver=vmdk", 0);
    rig_check(b, G + 1000, 30000, 7);
    rig_check(b, 0, G, 0);
    blk_unref(b);
    check_spec(r->disk[0]);
}

static void store32(struct rig *r, int i, int64_t at, uint32_t v)
{
    uint8_t le[4];
    store_le32(le, v);
    assert_int_equal(disk_write(r->disk[i], at, le, 4), 0);
}

static void store64(struct rig *r, int i, int64_t at, uint64_t v)
{
    uint8_t le[8];
    store_le64(le, v);
    assert_int_equal(disk_write(r->disk[i], at, le, 8), 0);
}

static uint64_t load64(struct rig *r, int i, int64_t at)
{
    uint8_t le[8];
    disk_read(r->disk[i], at, le, 8);
    return load_le64(le);
}

/* As VMware writes them: the directory is at the end, told by a footer (HDR-10). */
static void footer(struct rig *r)
{
    uint8_t h[512];
    rig_disk(r, 0, 0);
    make(r, "sim:d0", "size=64M,subformat=streamOptimized");
    struct blk *b = rig_open(r, "sim:d0", "driver=vmdk", RW);
    assert_int_equal(rig_fill(b, G, G, 7), 0);
    blk_unref(b);
    int64_t end = disk_size(r->disk[0]), gd = (int64_t)load64(r, 0, VMDK_HEADER_GD_OFFSET_OFF);
    disk_read(r->disk[0], 0, h, sizeof(h));
    store64(r, 0, end, 1);
    store32(r, 0, end + 12, VMDK_MARKER_FOOTER);
    disk_write(r->disk[0], end + 512, h, sizeof(h));
    disk_truncate(r->disk[0], end + 1536);
    store64(r, 0, VMDK_HEADER_GD_OFFSET_OFF, VMDK_GD_AT_END);
    store64(r, 0, VMDK_HEADER_CAPACITY_OFF, 128); /* the footer's counts, also behind a write */
    store64(r, 0, VMDK_HEADER_GRAIN_SIZE_OFF, VMDK_MAX_GRAIN);
    store32(r, 0, (gd + 1 - 1) * 512 + 4, 0); /* no second table */
    check_spec(r->disk[0]);
    b = rig_open(r, "sim:d0", "driver=vmdk", RW);
    rig_check(b, G, G, 7);
    rig_check(b, 40 * MiB, G, 0);
    assert_int_equal(rig_fill(b, 2 * G, G, 8), 0);
    assert_int_equal(rig_fill(b, 40 * MiB, G, 9), 0); /* makes the table, too */
    blk_unref(b);
    assert_int_equal(load64(r, 0, VMDK_HEADER_GD_OFFSET_OFF), gd);
    b = rig_open(r, "sim:d0", "driver=vmdk", 0);
    rig_check(b, G, G, 7);
    rig_check(b, 2 * G, G, 8);
    rig_check(b, 40 * MiB, G, 9);
    blk_unref(b);
    check_spec(r->disk[0]);
    disk_truncate(r->disk[0], end + 1024);
    store64(r, 0, VMDK_HEADER_GD_OFFSET_OFF, VMDK_GD_AT_END);
    rig_open_fails(r, "sim:d0", "driver=vmdk", 0, "Invalid footer");
}

/* ---- CIDs ---- */

static uint32_t cid_of(struct rig *r, const char *name)
{
    struct blk *b = rig_open(r, name, "driver=vmdk", OPEN_NO_BACKING);
    uint32_t cid = vmdk_state(blk_node(b))->cid;
    blk_unref(b);
    return cid;
}

static void cids(struct rig *r)
{
    rig_disk(r, 0, 0);
    rig_disk(r, 1, 0);
    make(r, "sim:d0", "size=1M");
    struct blk *b = rig_open(r, "sim:d0", "driver=vmdk", RW);
    uint32_t cid = cid_of(r, "sim:d0");
    uint8_t before[1024], after[1024];
    disk_read(r->disk[0], 512, before, sizeof(before));
    rig_check(b, 0, G, 0);
    assert_int_equal(cid_of(r, "sim:d0"), cid); /* reading changes nothing */
    assert_int_equal(rig_fill(b, 0, G, 1), 0);
    uint32_t second = cid_of(r, "sim:d0");
    assert_int_not_equal(second, cid);
    assert_int_equal(rig_fill(b, G, G, 2), 0);
    assert_int_equal(cid_of(r, "sim:d0"), second); /* once an opening */
    blk_unref(b);
    disk_read(r->disk[0], 512, after, sizeof(after));
    int differ = 0;
    for (size_t i = 0; i < sizeof(after); i++) {
        differ += before[i] != after[i];
    }
    assert_in_range(differ, 1, 8); /* the digits only (DSC-6) */
}

static void parents(struct rig *r)
{
    rig_disk(r, 0, 0);
    rig_disk(r, 1, 0);
    make(r, "sim:d0", "size=1M");
    struct blk *b = rig_open(r, "sim:d0", "driver=vmdk", RW);
    assert_int_equal(rig_fill(b, 0, 1 * MiB, 1), 0);
    blk_unref(b);
    make(r, "sim:d1", "size=1M,backing_file=sim:d0,backing_fmt=vmdk");
    b = rig_open(r, "sim:d1", "driver=vmdk", RW);
    rig_check(b, 0, G, 1);
    assert_int_equal(rig_fill(b, 1000 * 512, 512, 2), 0);
    rig_check(b, 999 * 512, 512, 1);
    rig_check(b, 1000 * 512, 512, 2);
    rig_check(b, 1001 * 512, 512, 1);
    blk_unref(b);
    b = rig_open(r, "sim:d0", "driver=vmdk", RW);
    assert_int_equal(rig_fill(b, 0, 512, 3), 0); /* the parent changes (DSC-5) */
    blk_unref(b);
    b = rig_open(r, "sim:d1", "driver=vmdk", RW);
    uint8_t buf[512];
    assert_int_equal(blk_pread(b, 0, buf, sizeof(buf)), -EINVAL);
    rig_check(b, 1000 * 512, 512, 2);
    assert_int_equal(rig_fill(b, 0, G, 1), -EINVAL);
    blk_unref(b);
}

/* ---- extents of ESX servers ---- */

static void cowd(struct rig *r)
{
    rig_disk(r, 0, 0);
    rig_disk(r, 1, 0);
    put_text(r, 0, HEAD("vmfsSparse") "RW 10240 VMFSSPARSE \"sim:d1\"\n");
    disk_truncate(r->disk[1], 3072);
    disk_write(r->disk[1], 0, "COWD", 4);
    store32(r, 1, 4, 1);
    store32(r, 1, 8, 3);
    store32(r, 1, 12, 10240); /* sectors */
    store32(r, 1, 16, 1);     /* of a grain */
    store32(r, 1, 20, 4);     /* directory */
    store32(r, 1, 24, 3);     /* its entries */
    store32(r, 1, 28, 6);     /* free from here */
    check_spec(r->disk[1]);
    program(r, "sim:d0", DISK);
    check_spec(r->disk[1]);
    int64_t free_sector = (int64_t)(uint32_t)load64(r, 1, 28);
    assert_true(free_sector * 512 >= disk_size(r->disk[1]));
}

enum { SE_GD = 8, SE_GT = 16, SE_GRAINS = 256 };

static void make_sesparse(struct rig *r)
{
    put_text(r, 0, HEAD("seSparse") "RW 65536 SESPARSE \"sim:d1\"\n");
    disk_truncate(r->disk[1], (SE_GRAINS + 64) * 512);
    store64(r, 1, 0, VMDK_SE_MAGIC);
    store64(r, 1, 8, VMDK_SE_VERSION);
    store64(r, 1, 16, 65536);
    store64(r, 1, 24, 8);
    store64(r, 1, 32, 64);
    store64(r, 1, 80, 1);
    store64(r, 1, 128, SE_GD);
    store64(r, 1, 136, 1);
    store64(r, 1, 144, SE_GT);
    store64(r, 1, 192, SE_GRAINS);
    store64(r, 1, 512, VMDK_SE_VOLATILE_MAGIC);
    store64(r, 1, SE_GD * 512, UINT64_C(1) << 60 | 1); /* the second table */
    int64_t gt = (SE_GT + 64) * 512;
    store64(r, 1, gt, UINT64_C(3) << 60 | UINT64_C(2) << 48); /* grain 2 */
    store64(r, 1, gt + 8, UINT64_C(2) << 60);
    store64(r, 1, gt + 16, UINT64_C(1) << 60);
    uint8_t grain[4096];
    memset(grain, 9, sizeof(grain));
    disk_write(r->disk[1], SE_GRAINS * 512 + 2 * 4096, grain, sizeof(grain));
}

static void sesparse(struct rig *r)
{
    struct status st;
    uint8_t buf[512];
    rig_disk(r, 0, 0);
    rig_disk(r, 1, 0);
    make_sesparse(r);
    check_spec(r->disk[1]);
    rig_open_fails(r, "sim:d0", "driver=vmdk", RW,
                   "No write support for seSparse images available");
    struct blk *b = rig_open(r, "sim:d0", "driver=vmdk", 0);
    assert_int_equal(blk_length(b), 32 * MiB);
    rig_check(b, 0, 4096, 9);
    rig_check(b, 4096, 3 * 4096, 0);
    assert_int_equal(node_block_status(blk_node(b), true, 4096, 16384, &st), 0);
    assert_int_equal(st.flags & (STATUS_ZERO | STATUS_ALLOCATED), STATUS_ZERO | STATUS_ALLOCATED);
    assert_int_equal(st.bytes, 8192);
    blk_unref(b);
    store64(r, 1, 16, UINT64_C(1) << 50); /* the rest of a disk far larger is told at once */
    b = rig_open(r, "sim:d0", "driver=vmdk", 0);
    struct check_result res = {0};
    assert_int_equal(node_check(blk_node(b), &res, 0), 0);
    blk_unref(b);
    store64(r, 1, 16, 65536);
    store64(r, 1, (SE_GT + 64) * 512, UINT64_C(4) << 60); /* a type that does not exist */
    b = rig_open(r, "sim:d0", "driver=vmdk", 0);
    assert_int_equal(blk_pread(b, 0, buf, sizeof(buf)), -EIO);
    blk_unref(b);
    store64(r, 1, 512 + 24, 1);
    rig_open_fails(r, "sim:d0", "driver=vmdk", 0,
                   "Image is dirty, Replaying journal not supported");
    store64(r, 1, 40, 5);
    rig_open_fails(r, "sim:d0", "driver=vmdk", 0, "Unsupported flags: 0x0000000000000005");
    store64(r, 1, 24, 16);
    rig_open_fails(r, "sim:d0", "driver=vmdk", 0, "Unsupported grain size: 16");
}

#define TEST(name)                                                                                 \
    static void test_##name(void **state)                                                          \
    {                                                                                              \
        rig_run(drivers, name);                                                                    \
    }
TEST(sparse)
TEST(zeroed)
TEST(flat)
TEST(split)
TEST(mixed)
TEST(stream)
TEST(footer)
TEST(cids)
TEST(parents)
TEST(cowd)
TEST(sesparse)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sparse),   cmocka_unit_test(test_zeroed),
        cmocka_unit_test(test_flat),     cmocka_unit_test(test_split),
        cmocka_unit_test(test_mixed),    cmocka_unit_test(test_stream),
        cmocka_unit_test(test_footer),   cmocka_unit_test(test_cids),
        cmocka_unit_test(test_parents),  cmocka_unit_test(test_cowd),
        cmocka_unit_test(test_sesparse),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
