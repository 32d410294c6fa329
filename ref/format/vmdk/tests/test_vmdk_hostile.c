/*
 * Hostile vmdk images: each header field out of its range, descriptors that are none, markers and
 * streams that lie, names of host files.  Clear errors; nothing is sized by what an image claims.
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
#include "ref/protocol/tests/rig.h"

static const struct block_driver *const drivers[] = {&driver_file, &driver_sim, &driver_vmdk, NULL};
#define RW (OPEN_RDWR | OPEN_RESIZE)
#define G  (64 * KiB)

static void make(struct rig *r, const char *options)
{
    struct error *err = NULL;
    struct value *opts = opts_parse(options, NULL, &err);
    assert_int_equal(image_create(r->w, &driver_vmdk, "sim:d0", opts, &err), 0);
    value_free(opts);
}

static void poke(struct rig *r, int64_t at, unsigned width, uint64_t v)
{
    uint8_t le[8];
    store_le64(le, v);
    assert_int_equal(disk_write(r->disk[0], at, le, width), 0);
}

/* A field of the header with a value that is refused. */
static const struct {
    int64_t at;
    unsigned width;
    uint64_t value;
    const char *msg;
} fields[] = {
    {4, 4, 4, "Unsupported VMDK version 4"},
    {4, 4, 3, "VMDK version 3 must be read only"},
    {20, 8, UINT64_MAX, "Invalid granularity, image may be corrupt"},
    {20, 8, 0x200001, "Invalid granularity, image may be corrupt"},
    {20, 8, 0, "L1 entry size is invalid"},
    {44, 4, 0, "L1 entry size is invalid"},
    {44, 4, 513, "L2 table size too big"},
    {44, 4, UINT32_MAX, "L2 table size too big"},
    {12, 8, UINT64_MAX, "L1 size too big"},
    {12, 8, UINT64_C(1) << 62, "L1 size too big"},
    {12, 8, UINT64_C(0x8000000) << 16, "L1 size too big"},
    {48, 8, UINT64_MAX, "Could not read l1 backup table from extent 'sim:d0': Input/output error"},
    {56, 8, UINT64_MAX - 1, "Could not read l1 table from extent 'sim:d0': Input/output error"},
    {56, 8, UINT64_MAX, "Invalid footer"},
    {64, 8, 0x10000, "File truncated, expecting at least 33554432 bytes"},
    {28, 8, 0x100000, "invalid VMDK image descriptor"},
};

static void headers(struct rig *r)
{
    rig_disk(r, 0, 0);
    for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
        make(r, "size=64M");
        poke(r, fields[i].at, fields[i].width, fields[i].value);
        rig_open_fails(r, "sim:d0", "driver=vmdk", RW, fields[i].msg);
    }
    make(r, "size=64M");
    disk_truncate(r->disk[0], 10000);
    rig_open_fails(r, "sim:d0", "driver=vmdk", RW,
                   "File truncated, expecting at least 65536 bytes");
    disk_truncate(r->disk[0], 0);
    rig_open_fails(r, "sim:d0", "driver=vmdk", RW, "File is too small, not a valid image");
}

/* The largest directory that is taken costs no memory; what the file has not is unallocated. */
static void large(struct rig *r)
{
    rig_disk(r, 0, 0);
    make(r, "size=64M");
    poke(r, 12, 8, (UINT64_C(0x8000000) - 1) << 16);
    struct blk *b = rig_open(r, "sim:d0", "driver=vmdk", 0);
    rig_check(b, INT64_C(1) << 50, G, 0);
    blk_unref(b);
}

/* Entries that point behind the file, at the header, at one grain twice: read, never followed out
 * of bounds. */
static void entries(struct rig *r)
{
    uint8_t buf[512];
    struct check_result res = {0};
    rig_disk(r, 0, 0);
    make(r, "size=64M");
    uint8_t le[8];
    disk_read(r->disk[0], 56, le, 8);
    int64_t gd = (int64_t)load_le64(le) * 512;
    disk_read(r->disk[0], gd, le, 4);
    int64_t gt = (int64_t)load_le32(le) * 512;
    poke(r, gt, 4, UINT32_MAX);
    struct blk *b = rig_open(r, "sim:d0", "driver=vmdk", RW);
    rig_check(b, 0, G, 0);
    assert_int_equal(node_check(blk_node(b), &res, 0), -EINVAL);
    assert_string_equal(r->out.s, "ERROR: cluster offset for sector 0 points after EOF\n");
    blk_unref(b);
    poke(r, gt, 4, 0);
    poke(r, gd, 4, UINT32_MAX); /* the table is behind the file */
    b = rig_open(r, "sim:d0", "driver=vmdk", RW);
    assert_int_equal(blk_pread(b, 0, buf, sizeof(buf)), 0);
    blk_unref(b);
}

/* The compressed grain of a stream; 64 KiB of 7 are less than 100 bytes. */
static int64_t make_stream(struct rig *r)
{
    make(r, "size=64M,subformat=streamOptimized");
    int64_t at = disk_size(r->disk[0]);
    struct blk *b = rig_open(r, "sim:d0", "driver=vmdk", RW);
    assert_int_equal(rig_fill(b, 0, G, 7), 0);
    blk_unref(b);
    return at;
}

static void read_fails(struct rig *r)
{
    uint8_t *buf = mem_alloc(G);
    struct blk *b = rig_open(r, "sim:d0", "driver=vmdk", 0);
    assert_int_equal(blk_pread(b, 0, buf, G), -EINVAL);
    blk_unref(b);
    mem_free(buf);
}

static void streams(struct rig *r)
{
    static const uint32_t sizes[] = {0, 1, 2 * G + 1, UINT32_MAX, 20};
    rig_disk(r, 0, 0);
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        poke(r, make_stream(r) + 8, 4, sizes[i]);
        read_fails(r);
    }
    for (int64_t left = 0; left <= 24; left += 6) { /* CVE-2026-2243: the file ends in the marker */
        disk_truncate(r->disk[0], make_stream(r) + left);
        read_fails(r);
    }
    poke(r, make_stream(r) + 16, 8, UINT64_MAX); /* no deflate stream */
    read_fails(r);
    poke(r, make_stream(r) + 8, 4,
         2 * G); /* longer than the file: the stream counts, up to its end */
    struct blk *b = rig_open(r, "sim:d0", "driver=vmdk", 0);
    rig_check(b, 0, G, 7);
    blk_unref(b);
    make_stream(r);
    poke(r, 20, 8, 64); /* grains of half the size: the stream unpacks to more than one */
    read_fails(r);
    make_stream(r);
    poke(r, 8, 4, VMDK_FLAGS_NEWLINE_TEST); /* without markers the stream begins at once */
    read_fails(r);
    make_stream(r);
    poke(r, 20, 8,
         VMDK_MAX_GRAIN); /* a grain of 1 GiB that is short: the buffers follow the file */
    b = rig_open(r, "sim:d0", "driver=vmdk", 0);
    rig_check(b, 0, G, 7);
    uint8_t byte;
    assert_int_equal(blk_pread(b, G, &byte, 1), -EINVAL);
    blk_unref(b);
}

/* ---- descriptors ---- */

#define HEAD "# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\ncreateType="

static void put_text(struct rig *r, const char *text)
{
    assert_int_equal(disk_truncate(r->disk[0], 0), 0);
    assert_int_equal(disk_write(r->disk[0], 0, text, strlen(text)), 0);
}

static const struct {
    const char *text, *msg;
} texts[] = {
    {"version=1\n", "invalid VMDK image descriptor"},
    {HEAD "\"fullDevice\"\n", "Unsupported image type 'fullDevice'"},
    {HEAD "\"vmfs\"\nRW 12582912 VMFS \"x\" 1\n", "Invalid extent line: RW 12582912 VMFS \"x\" 1"},
    {HEAD "\"vmfs\"\nRW 8 FLAT \"x\"\n", "Invalid extent line: RW 8 FLAT \"x\""},
    {HEAD "\"vmfs\"\nRW 8 FLAT \"x\" -1\n", "Invalid extent line: RW 8 FLAT \"x\" -1"},
    {HEAD "\"vmfs\"\nRW 8 FLAT \"x 0\n", "Invalid extent line: RW 8 FLAT \"x 0"},
    {HEAD "\"vmfs\"\nRW 8 SPARSE \"sim:d1\"\n", "Image not in VMDK format"},
    {HEAD "\"vmfs\"\nRW 8 SESPARSE \"sim:d1\"\n", "Bad const header magic: 0x0000000000000000"},
    {HEAD "\"vmfs\"\nRW 99999999999999999999 FLAT \"sim:d1\" 0\n",
     "Could not refresh total sector count: File too large"},
    {HEAD "\"vmfs\"\nRW 8 FLAT \"sim:d1\" 99999999999999999999\n",
     "Offset of extent 'sim:d1' is too large"},
    {HEAD "\"vmfs\"\nRW 8 FLAT \"nbd://there/x\" 0\n",
     "Could not open 'nbd://there/x': No such file or directory"},
    {"version=1\nCID=zz\nparentCID=ffffffff\ncreateType=\"vmfs\"\n",
     "Could not open 'sim:d0': Invalid argument"},
    {"version=1\nCID=1\ncreateType=\"vmfs\"\n", "Could not open 'sim:d0': Invalid argument"},
};

static void descriptors(struct rig *r)
{
    rig_disk(r, 0, 0);
    rig_disk(r, 1, 4096);
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        put_text(r, texts[i].text);
        rig_open_fails(r, "sim:d0", "driver=vmdk", 0, texts[i].msg);
    }
    /* An extent that says it is a descriptor itself, this very image: no recursion, no bytes. */
    make(r, "size=1M");
    poke(r, 12, 8, 0);
    char text[200] = HEAD "\"vmfsSparse\"\nRW 8 SPARSE \"sim:d0\"\n";
    disk_write(r->disk[0], 512, text, sizeof(text));
    struct blk *b = rig_open(r, "sim:d0", "driver=vmdk", 0);
    assert_int_equal(blk_length(b), 0);
    blk_unref(b);
}

/* An extent of an ESX server: no grain size divides by nothing, no directory is sized by its
 * header.
 */
static void esx_headers(struct rig *r)
{
    static const struct {
        int64_t at;
        uint32_t bad, good;
        const char *msg;
    } rows[] = {
        {16, 0, 1, "Invalid granularity, image may be corrupt"},
        {16, 0x200001, 1, "Invalid granularity, image may be corrupt"},
        {16, UINT32_MAX, 1, "Invalid granularity, image may be corrupt"},
        {24, 0x8000000, 3, "L1 size too big"},
        {24, UINT32_MAX, 3, "L1 size too big"},
    };
    static const uint32_t good[] = {VMDK_COWD_MAGIC, 1, 3, 10240, 1, 4, 3, 6};
    rig_disk(r, 0, 3072);
    for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
        poke(r, 4 * (int64_t)i, 4, good[i]);
    }
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        poke(r, rows[i].at, 4, rows[i].bad);
        rig_open_fails(r, "sim:d0", "driver=vmdk", 0, rows[i].msg);
        poke(r, rows[i].at, 4, rows[i].good);
    }
}

/* As many lines as a descriptor may have, and one long line: bounded, and quick. */
static void endless(struct rig *r)
{
    struct strbuf s = STRBUF_INIT;
    rig_disk(r, 0, 0);
    strbuf_puts(&s, HEAD "\"vmfs\"\n");
    while (s.len < 3 * MiB) {
        strbuf_puts(&s, "RDONLY 1 ZERO\n");
    }
    assert_int_equal(disk_write(r->disk[0], 0, s.s, s.len), 0);
    struct blk *b = rig_open(r, "sim:d0", "driver=vmdk", 0);
    assert_int_equal(blk_length(b), 0);
    blk_unref(b);
    strbuf_free(&s);
}

/* A flat extent names a file of the host (CVE-2022-47951): refused where names open nothing. */
static void denied(struct rig *r)
{
    rig_disk(r, 0, 0);
    put_text(r, HEAD "\"monolithicFlat\"\nRW 8 FLAT \"/etc/passwd\" 0\n");
    rig_open_fails(
        r, "sim:d0", "driver=vmdk", 0,
        "Extent '/etc/passwd' named by image 'sim:d0' is not opened: names in images are "
        "denied");
}

#define TEST(name)                                                                                 \
    static void test_##name(void **state)                                                          \
    {                                                                                              \
        rig_run(drivers, name);                                                                    \
    }
TEST(headers)
TEST(large)
TEST(entries)
TEST(streams)
TEST(descriptors)
TEST(esx_headers)
TEST(endless)

static void test_denied(void **state)
{
    rig_run_denying(drivers, denied);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_headers),     cmocka_unit_test(test_large),
        cmocka_unit_test(test_entries),     cmocka_unit_test(test_streams),
        cmocka_unit_test(test_descriptors), cmocka_unit_test(test_endless),
        cmocka_unit_test(test_esx_headers), cmocka_unit_test(test_denied),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
