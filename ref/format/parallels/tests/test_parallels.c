/*
 * parallels on simulated disks: random programs against a shadow, backing, the in-use mark, check
 * and repair, the format extension, hostile headers.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include "ref/base/bytes.h"
#include "ref/block/open.h"
#include "ref/format/crypto/hash.h"
#include "ref/format/format.h"
#include "ref/protocol/protocol.h"
#include "ref/protocol/tests/rig.h"
#include "specs/parallels_layout.h"

static const struct block_driver *const drivers[] = {&driver_sim, &driver_parallels, NULL};
#define RW    (OPEN_RDWR | OPEN_RESIZE)
#define DISK  (5 * MiB)
#define IMAGE "driver=parallels,prealloc-size=0"

static void make(struct rig *r, const char *options)
{
    struct error *err = NULL;
    struct value *opts = opts_parse(options, NULL, &err);
    if (r->disk[0]) {
        disk_truncate(r->disk[0], 0);
    } else {
        rig_disk(r, 0, 0);
    }
    assert_int_equal(image_create(r->w, &driver_parallels, "sim:d0", opts, &err), 0);
    value_free(opts);
}

static void poke(struct rig *r, int64_t at, uint64_t v, unsigned width)
{
    uint8_t le[8];
    store_le64(le, v);
    disk_write(r->disk[0], at, le, width);
}

static uint32_t peek(struct rig *r, int64_t at)
{
    uint8_t le[4];
    disk_read(r->disk[0], at, le, 4);
    return load_le32(le);
}

static struct check_result check(struct rig *r, unsigned fix)
{
    struct check_result res = {0};
    struct blk *b = rig_open(r, "sim:d0", IMAGE, OPEN_CHECK | (fix ? RW : 0));
    assert_int_equal(node_check(blk_node(b), &res, fix), 0);
    blk_unref(b);
    return res;
}

static void assert_sound(struct rig *r)
{
    struct check_result res = check(r, 0);
    assert_int_equal(res.corruptions, 0);
    assert_int_equal(res.leaks, 0);
}

static void program(struct rig *r, const char *options)
{
    rig_program(r, options, DISK, 300000, 60, 4711);
    assert_sound(r);
}

static void programs(struct rig *r)
{
    make(r, "size=5M,cluster_size=64k");
    program(r, IMAGE);
    make(r, "size=5M,cluster_size=1000"); /* rounded up to 1024 */
    program(r, "driver=parallels,prealloc-size=1M");
    assert_int_equal(disk_size(r->disk[0]) % 1024, 0);
    make(r, "size=5M");
    program(r, "driver=parallels,prealloc-size=100k,prealloc-mode=truncate");
}

/* Entries that count sectors, data right behind the BAT. */
static void programs_v1(struct rig *r)
{
    make(r, "size=5M,cluster_size=32256");
    disk_write(r->disk[0], 0, "WithoutFreeSpace", 16);
    poke(r, PARALLELS_HEADER_DATA_OFF_OFF, 0, 4);
    disk_truncate(r->disk[0], 1024);
    program(r, IMAGE);
    for (int i = 0; i < 163; i++) {
        uint32_t e = peek(r, 64 + 4 * i);
        assert_true(e == 0 || (e - 2) % 63 == 0);
    }
    poke(r, 40, 5, 4); /* the upper half of the size does not count */
    struct blk *b = rig_open(r, "sim:d0", IMAGE, 0);
    assert_int_equal(blk_length(b), DISK);
    blk_unref(b);
}

/* Whatever is written before the last entry of the BAT was is durable then. */
static void assert_ordered(const struct rig *r)
{
    bool flushed = false;
    size_t i = disk_log_len(r->log);
    while (i > 0 && disk_log_op(r->log, i - 1)->label != LABEL_TABLE_UPDATE) {
        i--;
    }
    assert_true(i > 1);
    for (i--; i > 0 && !flushed; i--) {
        const struct disk_op *op = disk_log_op(r->log, i - 1);
        assert_true(op->kind == DISK_OP_FLUSH || op->kind == DISK_OP_TRUNCATE);
        flushed = op->kind == DISK_OP_FLUSH;
    }
    assert_true(flushed);
}

static void backing(struct rig *r)
{
    uint8_t buf[4096];
    make(r, "size=1M,cluster_size=64k");
    rig_disk(r, 1, 100 * 1024); /* ends inside a cluster */
    memset(buf, 0x5a, sizeof(buf));
    disk_write(r->disk[1], 96 * 1024, buf, 4096);
    struct blk *b = rig_open(r, "sim:d0", IMAGE ",backing.driver=sim,backing.disk=d1", RW);
    assert_int_equal(rig_fill(b, 64 * 1024, 512, 7), 0);
    assert_int_equal(blk_flush(b, NULL), 0);
    assert_ordered(r);
    assert_int_equal(blk_pread(b, 96 * 1024, buf, 4096), 0);
    assert_int_equal(buf[0], 0x5a);
    blk_unref(b);
    /* The cluster has it all now, without the backing file. */
    b = rig_open(r, "sim:d0", IMAGE, 0);
    assert_int_equal(blk_pread(b, 96 * 1024, buf, 4096), 0);
    assert_int_equal(buf[4095], 0x5a);
    assert_int_equal(blk_pread(b, 100 * 1024, buf, 4096), 0);
    assert_int_equal(buf[0], 0);
    blk_unref(b);
}

static void in_use(struct rig *r)
{
    make(r, "size=1M,cluster_size=64k");
    struct blk *b = rig_open(r, "sim:d0", "driver=parallels,prealloc-size=1M", RW);
    assert_int_equal(peek(r, PARALLELS_HEADER_IN_USE_OFF), PARALLELS_IN_USE);
    assert_int_equal(rig_fill(b, 0, 512, 1), 0);
    assert_int_equal(blk_flush(b, NULL), 0);
    struct disk *cut = disk_clone(r->disk[0]);
    blk_unref(b);
    assert_int_equal(peek(r, PARALLELS_HEADER_IN_USE_OFF), 0);
    assert_int_equal(disk_size(r->disk[0]), 2 * 65536); /* nothing preallocated is left */
    disk_assign(r->disk[0], cut);
    disk_free(cut);
    rig_open_fails(r, "sim:d0", IMAGE, RW,
                   "parallels: Image was not closed correctly; cannot be opened read/write");
    struct check_result res = check(r, 0);
    assert_int_equal(res.corruptions, 1);
    assert_int_equal(res.leaks, 16);
    res = check(r, FIX_ERRORS | FIX_LEAKS);
    assert_int_equal(res.corruptions_fixed, 1);
    assert_int_equal(res.leaks_fixed, 16);
    assert_sound(r);
    b = rig_open(r, "sim:d0", IMAGE, RW);
    uint8_t buf[512];
    assert_int_equal(blk_pread(b, 0, buf, 512), 0);
    assert_int_equal(buf[511], 1);
    blk_unref(b);
}

static void repair(struct rig *r)
{
    uint8_t buf[512];
    make(r, "size=1M,cluster_size=64k");
    struct blk *b = rig_open(r, "sim:d0", IMAGE, RW);
    assert_int_equal(rig_fill(b, 0, 2 * 65536, 3), 0);
    blk_unref(b);
    poke(r, 64 + 8, 1, 4);     /* as entry 0 */
    poke(r, 64 + 12, 9999, 4); /* outside */
    poke(r, 64 + 16, 3, 4);    /* where the file ends */
    struct check_result res = check(r, 0);
    assert_int_equal(res.corruptions, 3);
    res = check(r, FIX_LEAKS);
    assert_int_equal(res.corruptions, 3);
    assert_int_equal(res.corruptions_fixed, 0);
    res = check(r, FIX_ERRORS | FIX_LEAKS);
    assert_int_equal(res.corruptions_fixed, 3);
    assert_sound(r);
    assert_int_equal(peek(r, 64 + 12), 0);
    assert_int_equal(peek(r, 64 + 16), 0);
    b = rig_open(r, "sim:d0", IMAGE, RW);
    assert_int_equal(rig_fill(b, 0, 512, 9), 0); /* no longer seen through entry 2 */
    assert_int_equal(blk_pread(b, 2 * 65536, buf, 512), 0);
    assert_int_equal(buf[0], 3);
    blk_unref(b);
}

/* Entries twice and once more, over the header, outside, all ones: told one by one, and repaired in
 * one go. */
static void adversarial_bat(struct rig *r)
{
    static const uint32_t entries[] = {1, 1, 1, 0, 2, 0xffffffff, 2, 0x7fffffff, 1, 3, 0x80000000};
    make(r, "size=1M,cluster_size=64k");
    struct blk *b = rig_open(r, "sim:d0", IMAGE, RW);
    assert_int_equal(rig_fill(b, 0, 65536, 4), 0);
    assert_int_equal(rig_fill(b, 65536, 65536, 5), 0);
    blk_unref(b);
    for (size_t i = 0; i < ARRAY_SIZE(entries); i++) {
        poke(r, 64 + 4 * (int64_t)i, entries[i], 4);
    }
    struct check_result res = check(r, 0);
    assert_int_equal(res.corruptions, 8); /* 4 places that are none, 3 + 1 second users */
    res = check(r, FIX_ERRORS | FIX_LEAKS);
    assert_int_equal(res.corruptions_fixed, 8);
    assert_sound(r);
    b = rig_open(r, "sim:d0", IMAGE, 0);
    static const uint8_t values[] = {4, 4, 4, 0, 5, 0, 5, 0, 4, 0, 0};
    for (size_t i = 0; i < ARRAY_SIZE(values); i++) {
        rig_check(b, (int64_t)i * 65536, 65536, values[i]);
    }
    blk_unref(b);
}

/* An extension with a bitmap of one cluster at `at`, its table entry being `entry`. */
static void put_ext(struct rig *r, uint64_t entry)
{
    enum { CLUSTER = 65536, AT = 2 * CLUSTER };
    uint8_t *c = mem_zalloc(CLUSTER), *f = c + PARALLELS_EXT_HEADER_SIZE;
    parallels_ext_header_set_magic(c, PARALLELS_EXT_MAGIC);
    parallels_feature_set_magic(f, PARALLELS_FEATURE_BITMAP);
    parallels_feature_set_data_size(f, PARALLELS_BITMAP_SIZE + 8);
    f += PARALLELS_FEATURE_SIZE;
    parallels_bitmap_set_size(f, 2048);
    parallels_bitmap_set_granularity(f, 128);
    parallels_bitmap_set_l1_size(f, 1);
    store_le64(f + PARALLELS_BITMAP_SIZE, entry);
    crypt_digest(HASH_MD5, c + PARALLELS_EXT_HEADER_SIZE, CLUSTER - PARALLELS_EXT_HEADER_SIZE,
                 c + PARALLELS_EXT_HEADER_CHECKSUM_OFF);
    disk_write(r->disk[0], AT, c, CLUSTER);
    mem_free(c);
    poke(r, PARALLELS_HEADER_EXT_OFF_OFF, AT / 512, 8);
}

static void extension(struct rig *r)
{
    make(r, "size=1M,cluster_size=64k");
    put_ext(r, 128);
    blk_unref(rig_open(r, "sim:d0", IMAGE, 0));
    assert_sound(r); /* its clusters are in use */
    uint8_t buf[512] = {0x5a};
    disk_write(r->disk[0], 3 * 65536 - 1, buf, 1);
    rig_open_fails(r, "sim:d0", IMAGE, 0,
                   "Wrong checksum in Format Extension header. Format extension is corrupted.");
    struct check_result res = check(r, FIX_ERRORS);
    assert_int_equal(res.corruptions_fixed, 1);
    blk_unref(rig_open(r, "sim:d0", IMAGE, 0));
    put_ext(r, 1 << 20);
    rig_open_fails(r, "sim:d0", IMAGE, 0,
                   "Bitmaps feature corrupted: cluster at sector 1048576 lies outside of the file");
    /* A writer does not overwrite it before the header has forgotten it. */
    put_ext(r, 128);
    struct blk *b = rig_open(r, "sim:d0", IMAGE, RW);
    assert_int_equal(peek(r, PARALLELS_HEADER_EXT_OFF_OFF), 256);
    assert_int_equal(rig_fill(b, 0, 512, 9), 0);
    assert_int_equal(peek(r, PARALLELS_HEADER_EXT_OFF_OFF), 0);
    assert_int_equal(blk_flush(b, NULL), 0);
    assert_int_equal(peek(r, 64), 3);
    blk_unref(b);
    blk_unref(rig_open(r, "sim:d0", IMAGE, 0));
}

/* An extension between two places that entries can name: what is written goes behind it, and to a
 * place with a name. */
static void odd_extension(struct rig *r)
{
    make(r, "size=1M,cluster_size=64k");
    put_ext(r, 128);
    uint8_t *c = mem_alloc(65536);
    disk_read(r->disk[0], 2 * 65536, c, 65536);
    disk_write(r->disk[0], 2 * 65536 + 512, c, 65536);
    mem_free(c);
    poke(r, PARALLELS_HEADER_EXT_OFF_OFF, 257, 8);
    struct blk *b = rig_open(r, "sim:d0", IMAGE, RW);
    assert_int_equal(rig_fill(b, 0, 512, 9), 0);
    blk_unref(b);
    b = rig_open(r, "sim:d0", IMAGE, 0);
    rig_check(b, 0, 512, 9);
    blk_unref(b);
}

/* Changes `width` bytes of the extension of put_ext() and its checksum with them. */
static void poke_ext(struct rig *r, int64_t at, uint64_t v, unsigned width)
{
    enum { CLUSTER = 65536, AT = 2 * CLUSTER };
    uint8_t *c = mem_alloc(CLUSTER);
    disk_read(r->disk[0], AT, c, CLUSTER);
    store_uint(c + at, width, 0, v);
    crypt_digest(HASH_MD5, c + PARALLELS_EXT_HEADER_SIZE, CLUSTER - PARALLELS_EXT_HEADER_SIZE,
                 c + PARALLELS_EXT_HEADER_CHECKSUM_OFF);
    disk_write(r->disk[0], AT, c, CLUSTER);
    mem_free(c);
}

/* Lengths in the extension that lead out of its cluster; each is told, none is followed. */
static void hostile_extension(struct rig *r)
{
    enum { FEATURE = PARALLELS_EXT_HEADER_SIZE, DATA = FEATURE + PARALLELS_FEATURE_SIZE };
    static const struct {
        int64_t at;
        uint64_t value;
        unsigned width;
        const char *why;
    } cases[] = {
        {FEATURE + PARALLELS_FEATURE_DATA_SIZE_OFF, 0xffffffff, 4,
         "Feature data_size exceedes Format Extension cluster"},
        {FEATURE + PARALLELS_FEATURE_DATA_SIZE_OFF, 65536 - DATA + 1, 4,
         "Feature data_size exceedes Format Extension cluster"},
        {FEATURE + PARALLELS_FEATURE_DATA_SIZE_OFF, 65536 - DATA, 4,
         "Can not read feature header from Format Extension"},
        {FEATURE + PARALLELS_FEATURE_DATA_SIZE_OFF, 65536 - DATA - 8, 4,
         "Can not read feature header from Format Extension"},
        {FEATURE + PARALLELS_FEATURE_DATA_SIZE_OFF, 0, 4,
         "Too small Bitmap Feature area in Parallels Format Extension: 0 bytes, expected at least "
         "32 bytes"},
        {FEATURE + PARALLELS_FEATURE_DATA_SIZE_OFF, PARALLELS_BITMAP_SIZE, 4,
         "Bitmaps feature corrupted: l1 table exceeds extension data_size"},
        {FEATURE + PARALLELS_FEATURE_MAGIC_OFF, 1, 8, "Unknown feature: 0x1"},
        {DATA + PARALLELS_BITMAP_L1_SIZE_OFF, 0xffffffff, 4,
         "Bitmaps feature corrupted: l1 table exceeds extension data_size"},
        {DATA + PARALLELS_BITMAP_L1_SIZE_OFF, 0, 4,
         "Bitmap table size 0 does not correspond to bitmap size and cluster size. Expected 1"},
        {DATA + PARALLELS_BITMAP_GRANULARITY_OFF, 0, 4,
         "Bitmap granularity 0 is not a power of two"},
        {DATA + PARALLELS_BITMAP_GRANULARITY_OFF, 0x80000000, 4,
         "Bitmap granularity 2147483648 is not a power of two"},
        {DATA + PARALLELS_BITMAP_SIZE_OFF, UINT64_MAX, 8,
         "Bitmap size (in sectors) 18446744073709551615 differs from disk size in sectors 2048"},
        {DATA + PARALLELS_BITMAP_SIZE, UINT64_MAX, 8,
         "Bitmaps feature corrupted: cluster at sector 18446744073709551615 lies outside of the "
         "file"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        make(r, "size=1M,cluster_size=64k");
        put_ext(r, 128);
        poke_ext(r, cases[i].at, cases[i].value, cases[i].width);
        rig_open_fails(r, "sim:d0", IMAGE, 0, cases[i].why);
    }
}

/*
 * Several bitmaps whose areas are no multiple of 8 bytes: each feature begins where the rounded one
 * before it ends, up to the end mark, or up to the cluster's end without one.
 */
static void several_bitmaps(struct rig *r)
{
    enum { CLUSTER = 65536, AT = 2 * CLUSTER, DATA = PARALLELS_BITMAP_SIZE + 8 };
    enum { STEP = PARALLELS_FEATURE_SIZE + DATA + 8, FIRST = PARALLELS_EXT_HEADER_SIZE };
    uint8_t *c = mem_alloc(CLUSTER);
    for (int full = 0; full < 2; full++) {
        make(r, "size=1M,cluster_size=64k");
        put_ext(r, 0);
        disk_read(r->disk[0], AT, c, CLUSTER);
        int n = full ? (CLUSTER - FIRST) / STEP : 5;
        for (int i = 0; i < n; i++) {
            uint8_t *f = c + FIRST + i * STEP;
            memmove(f, c + FIRST, PARALLELS_FEATURE_SIZE + DATA);
            parallels_feature_set_data_size(f, DATA + 1 + i % 8);
        }
        if (full) { /* the last one fills what is left */
            parallels_feature_set_data_size(c + FIRST + (n - 1) * STEP,
                                            CLUSTER - FIRST - n * STEP + DATA + 8);
        }
        disk_write(r->disk[0], AT, c, CLUSTER);
        poke_ext(r, CLUSTER - 1, 0, 1);
        if (full) {
            rig_open_fails(r, "sim:d0", IMAGE, 0,
                           "Can not read feature header from Format Extension");
        } else {
            blk_unref(rig_open(r, "sim:d0", IMAGE, 0));
        }
    }
    mem_free(c);
}

static bool too_much(size_t size, void *opaque)
{
    return size > 16 * MiB;
}

/* Bitmaps of 2^30 bits, each described in 8 KiB: five of them are refused before one is loaded. */
static void large_bitmaps(struct rig *r)
{
    enum { CLUSTER = 131072, AT = 2 * CLUSTER, L1 = 1024 };
    enum { STEP = PARALLELS_FEATURE_SIZE + PARALLELS_BITMAP_SIZE + 8 * L1 };
    const uint64_t sectors = UINT64_C(1) << 30;
    uint8_t *c = mem_zalloc(CLUSTER);
    make(r, "size=1M,cluster_size=128k");
    parallels_ext_header_set_magic(c, PARALLELS_EXT_MAGIC);
    for (int i = 0; i < 5; i++) {
        uint8_t *f = c + PARALLELS_EXT_HEADER_SIZE + i * STEP, *d = f + PARALLELS_FEATURE_SIZE;
        parallels_feature_set_magic(f, PARALLELS_FEATURE_BITMAP);
        parallels_feature_set_data_size(f, STEP - PARALLELS_FEATURE_SIZE);
        parallels_bitmap_set_size(d, sectors);
        parallels_bitmap_set_granularity(d, 1);
        parallels_bitmap_set_l1_size(d, L1);
    }
    crypt_digest(HASH_MD5, c + PARALLELS_EXT_HEADER_SIZE, CLUSTER - PARALLELS_EXT_HEADER_SIZE,
                 c + PARALLELS_EXT_HEADER_CHECKSUM_OFF);
    disk_write(r->disk[0], AT, c, CLUSTER);
    poke(r, PARALLELS_HEADER_NB_SECTORS_OFF, sectors, 8);
    poke(r, PARALLELS_HEADER_EXT_OFF_OFF, AT / 512, 8);
    mem_set_fail_hook(too_much, NULL);
    rig_open_fails(r, "sim:d0", IMAGE, 0, "Bitmaps of 5368709120 bits and more are too large");
    mem_set_fail_hook(NULL, NULL);
    mem_free(c);
}

/* An extension that cannot be read: no write goes where the header is. */
static void unread_extension(struct rig *r)
{
    for (int nth = 1; nth <= 3; nth++) {
        char plan[64];
        make(r, "size=1M,cluster_size=64k");
        put_ext(r, 128);
        snprintf(plan, sizeof(plan), "error,label=ext_load,nth=%d", nth);
        assert_int_equal(fault_plan_parse(&r->plan, plan, NULL), 0);
        struct blk *b = rig_open(r, "sim:d0", IMAGE, RW);
        assert_int_equal(rig_fill(b, 0, 65536, 9), 0);
        blk_unref(b);
        fault_plan_destroy(&r->plan);
        b = rig_open(r, "sim:d0", IMAGE, 0);
        rig_check(b, 0, 65536, 9);
        blk_unref(b);
    }
}

/* Nothing is found in an image that says it is empty; what a writer puts there is found. */
static void empty(struct rig *r)
{
    make(r, "size=4M,cluster_size=64k");
    struct blk *b = rig_open(r, "sim:d0", IMAGE, RW);
    assert_int_equal(rig_fill(b, 0, 65536, 5), 0);
    blk_unref(b);
    poke(r, PARALLELS_HEADER_FLAGS_OFF, PARALLELS_FLAG_EMPTY, 4);
    poke(r, 64 + 63 * 4, 77, 4);
    b = rig_open(r, "sim:d0", IMAGE, 0);
    rig_check(b, 0, 4 * MiB, 0);
    blk_unref(b);
    b = rig_open(r, "sim:d0", IMAGE, RW);
    assert_int_equal(rig_fill(b, 65536, 512, 6), 0);
    blk_unref(b);
    assert_int_equal(peek(r, PARALLELS_HEADER_FLAGS_OFF), 0);
    assert_int_equal(peek(r, 64 + 63 * 4), 0);
    b = rig_open(r, "sim:d0", IMAGE, 0);
    rig_check(b, 0, 65536, 0);
    rig_check(b, 65536, 512, 6);
    blk_unref(b);
}

/* A check takes memory for entries that are in use, not for all that a sparse file has room for. */
static void long_bat(struct rig *r)
{
    struct check_result res = {0};
    make(r, "size=1M,cluster_size=64k");
    poke(r, PARALLELS_HEADER_NB_BAT_ENTRIES_OFF, 0x1fffffff, 4);
    disk_truncate(r->disk[0], 8 * MiB);
    struct blk *b = rig_open(r, "sim:d0", IMAGE, OPEN_CHECK);
    mem_set_fail_hook(too_much, NULL);
    assert_int_equal(node_check(blk_node(b), &res, 0), 0);
    mem_set_fail_hook(NULL, NULL);
    blk_unref(b);
}

static void hostile(struct rig *r)
{
    static const struct {
        int64_t at;
        uint64_t value;
        unsigned width;
        const char *why;
    } cases[] = {
        {0, 'X', 1, "Image not in Parallels format"},
        {16, 3, 4, "Image not in Parallels format"},
        {28, 0, 4, "Invalid image: Zero sectors per track"},
        {28, 4186128, 4, "Invalid image: Too big cluster"},
        {28, 0xffffffff, 4, "Invalid image: Too big cluster"},
        {32, 0x20000000, 4, "Catalog too large"},
        {32, 0x40000001, 4, "Catalog too large"}, /* 4 bytes, in 32 bits */
        {32, 0xffffffff, 4, "Catalog too large"},
        {36, UINT64_C(1) << 60, 8, "Could not refresh total sector count: File too large"},
        {56, UINT64_C(1) << 62, 8, "Format Extension cluster lies outside of the file"},
        {56, 1, 8, "Wrong parallels Format Extension magic: 0x0, expected: 0xab234cef23dcea87"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        make(r, "size=1M,cluster_size=64k");
        disk_truncate(r->disk[0], 256 * 1024);
        poke(r, cases[i].at, cases[i].value, cases[i].width);
        rig_open_fails(r, "sim:d0", IMAGE, 0, cases[i].why);
    }
    /* The largest BAT takes no memory for what the file has not; nobody may write then. */
    make(r, "size=1M,cluster_size=64k");
    poke(r, 32, 0x1fffffff, 4);
    blk_unref(rig_open(r, "sim:d0", IMAGE, 0));
    rig_open_fails(r, "sim:d0", IMAGE, RW,
                   "The file ends inside the BAT (16368 of 536870911 entries are there); it cannot "
                   "be opened read/write");
    /* A BAT shorter than the disk. */
    make(r, "size=1M,cluster_size=64k");
    poke(r, 32, 5, 4);
    struct blk *b = rig_open(r, "sim:d0", IMAGE, RW);
    assert_int_equal(rig_fill(b, 5 * 65536, 512, 1), -EIO);
    assert_int_equal(rig_fill(b, 4 * 65536, 512, 1), 0);
    blk_unref(b);
    /* Of a disk far larger than its BAT the rest is told at once. */
    struct status st;
    make(r, "size=1M,cluster_size=64k");
    poke(r, PARALLELS_HEADER_NB_SECTORS_OFF, UINT64_C(1) << 40, 8);
    b = rig_open(r, "sim:d0", IMAGE, 0);
    assert_int_equal(node_block_status(blk_node(b), true, 0, blk_length(b), &st), 0);
    assert_int_equal(st.bytes, blk_length(b));
    blk_unref(b);
    /* Data far away: no space is taken for what lies before it. */
    make(r, "size=1M,cluster_size=64k");
    poke(r, PARALLELS_HEADER_DATA_OFF_OFF, 0xffffff80, 4);
    b = rig_open(r, "sim:d0", "driver=parallels,prealloc-size=1M", RW);
    assert_int_equal(rig_fill(b, 0, 512, 1), 0);
    assert_true(disk_allocated(r->disk[0]) < 4 * MiB);
    blk_unref(b);
}

#define TEST(name)                                                                                 \
    static void test_##name(void **state)                                                          \
    {                                                                                              \
        rig_run(drivers, name);                                                                    \
        rig_run_profile(drivers, &profile_optimized, name);                                        \
    }
TEST(programs)
TEST(programs_v1)
TEST(backing)
TEST(in_use)
TEST(repair)
TEST(adversarial_bat)
TEST(extension)
TEST(hostile_extension)
TEST(several_bitmaps)
TEST(large_bitmaps)
TEST(unread_extension)
TEST(empty)
TEST(odd_extension)
TEST(long_bat)
TEST(hostile)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_programs),         cmocka_unit_test(test_programs_v1),
        cmocka_unit_test(test_backing),          cmocka_unit_test(test_in_use),
        cmocka_unit_test(test_repair),           cmocka_unit_test(test_adversarial_bat),
        cmocka_unit_test(test_extension),        cmocka_unit_test(test_hostile_extension),
        cmocka_unit_test(test_several_bitmaps),  cmocka_unit_test(test_large_bitmaps),
        cmocka_unit_test(test_unread_extension), cmocka_unit_test(test_empty),
        cmocka_unit_test(test_odd_extension),    cmocka_unit_test(test_long_bat),
        cmocka_unit_test(test_hostile),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
