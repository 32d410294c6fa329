/*
 * Opening and creating qcow2 images: damaged headers with the messages that users know, options,
 * sizes of new files.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include "ref/format/qcow2/tests/fixture.h"

struct damage {
    int offset, width;
    uint64_t value;
    int offset2, width2;
    uint64_t value2;
    const char *message;
};

static const struct damage damages[] = {
    {0, 4, 1, 0, 0, 0, "Image is not in qcow2 format"},
    {4, 4, 4, 0, 0, 0, "Unsupported qcow2 version 4"},
    {20, 4, 8, 0, 0, 0, "Unsupported cluster size: 2^8"},
    {20, 4, 22, 0, 0, 0, "Unsupported cluster size: 2^22"},
    {100, 4, 72, 0, 0, 0, "qcow2 header too short"},
    {100, 4, 0x7fffffff, 0, 0, 0, "qcow2 header exceeds cluster size"},
    {8, 8, 65537, 16, 4, 4, "Invalid backing file offset"},
    {8, 8, 65530, 16, 4, 60, "Backing file name too long"},
    {96, 4, 7, 0, 0, 0, "Reference count entry width too large; may not exceed 64 bits"},
    {32, 4, 3, 0, 0, 0, "Unsupported encryption method 3"},
    {32, 4, 2, 0, 0, 0, "Missing CRYPTO header for crypt method 2"},
    {56, 4, 0xffffffff, 0, 0, 0, "Reference count table too large"},
    {56, 4, 129, 0, 0, 0, "Reference count table too large"},
    {56, 4, 65536, 0, 0, 0, "Reference count table too large"}, /* 0 bytes, in 32 bits */
    {48, 8, 0x12345, 0, 0, 0, "Reference count table offset invalid"},
    {48, 8, UINT64_MAX - 65535, 0, 0, 0, "Reference count table offset invalid"},
    {56, 4, 0, 0, 0, 0, "Image does not contain a reference count table"},
    {60, 4, 0xffffffff, 64, 8, 65536, "Snapshot table too large"},
    {60, 4, 65537, 64, 8, 65536, "Snapshot table too large"},
    {60, 4, 1, 64, 8, 0x12345, "Snapshot table offset invalid"},
    {60, 4, 1, 64, 8, UINT64_MAX - 65535, "Snapshot table offset invalid"},
    {36, 4, 0xffffffff, 0, 0, 0, "Active L1 table too large"},
    {36, 4, 0x400001, 0, 0, 0, "Active L1 table too large"},
    {36, 4, 0x20000001, 0, 0, 0, "Active L1 table too large"}, /* 8 bytes, in 32 bits */
    {40, 8, 0x12345, 0, 0, 0, "Active L1 table offset invalid"},
    {40, 8, UINT64_MAX - 65535, 0, 0, 0, "Active L1 table offset invalid"},
    {36, 4, 0, 0, 0, 0, "L1 table is too small"},
    {24, 8, UINT64_C(1) << 62, 0, 0, 0, "Image is too big"},
    {72, 8, 8, 0, 0, 0, "qcow2: Compression type incompatible feature bit must not be set"},
    {104, 1, 1, 0, 0, 0, "qcow2: Compression type incompatible feature bit must be set"},
    {72, 8, 8, 104, 1, 7, "qcow2: unknown compression type: 7"},
    {72, 8, 4, 0, 0, 0, "'data-file' is required for this image"},
    {72, 8, 2, 0, 0, 0, "qcow2: Image is corrupt; cannot be opened read/write"},
    {72, 8, UINT64_C(1) << 63, 0, 0, 0,
     "Unsupported qcow2 feature(s): Unknown incompatible feature: 8000000000000000"},
    {112, 4, 0xe2792aca, 116, 4, 2000, "ERROR: ext_backing_format: len=2000 too large (>=16)"},
    {112, 4, 0x12345678, 116, 4, 0x7fffffff, "Header extension too large"},
    {112, 4, 0x12345678, 8, 8, 116, "Header extension too large"},
    {112, 4, 0x23852875, 116, 4, 20, "bitmaps_ext: Invalid extension length"},
};

static void poke(struct disk *d, int offset, int width, uint64_t value)
{
    uint8_t b[8];
    store_uint(b, (unsigned)width, 1, value);
    assert_int_equal(disk_write(d, offset, b, (size_t)width), 0);
}

static void damaged(struct qt *t)
{
    qt_create(t, 0, "size=64M");
    struct disk *good = disk_clone(t->r.disk[0]);
    for (size_t i = 0; i < ARRAY_SIZE(damages); i++) {
        const struct damage *x = &damages[i];
        disk_assign(t->r.disk[0], good);
        poke(t->r.disk[0], x->offset, x->width, x->value);
        if (x->width2) {
            poke(t->r.disk[0], x->offset2, x->width2, x->value2);
        }
        rig_open_fails(&t->r, "sim:d0", "driver=qcow2", QT_RW, x->message);
    }
    disk_free(good);
}

static void wrong_options(struct qt *t)
{
    static const struct {
        const char *options, *message;
    } cases[] = {
        {"lazy-refcounts=42", "Parameter 'lazy-refcounts' expects 'on' or 'off'"},
        {"cache-size=1M,l2-cache-size=64k,refcount-cache-size=64k",
         "cache-size, l2-cache-size and refcount-cache-size may not be set at the same time"},
        {"cache-size=1M,l2-cache-size=2M", "l2-cache-size may not exceed cache-size"},
        {"cache-size=1M,refcount-cache-size=2M", "refcount-cache-size may not exceed cache-size"},
        {"l2-cache-entry-size=33k",
         "L2 cache entry size must be a power of two between 512 and the cluster size (65536)"},
        {"refcount-cache-size=7E", "Refcount cache size too big"},
        {"overlap-check=constant,overlap-check.template=all",
         "Conflicting values for qcow2 options 'overlap-check' ('constant') and "
         "'overlap-check.template' ('all')"},
        {"overlap-check=blubb",
         "Unsupported value 'blubb' for qcow2 option 'overlap-check'. Allowed are any of the "
         "following: none, constant, cached, all"},
        {"cache-clean-interval=5000000000", "Cache clean interval too big"},
    };
    qt_create(t, 0, "size=64M");
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        char *o = str_fmt("driver=qcow2,%s", cases[i].options);
        rig_open_fails(&t->r, "sim:d0", o, QT_RW, cases[i].message);
        mem_free(o);
    }
}

static void create_fails(struct qt *t)
{
    static const struct {
        const char *options, *message;
    } cases[] = {
        {"size=1M,cluster_size=1000", "Cluster size must be a power of two between 512 and 2048k"},
        {"size=1M,compat=0.9", "Parameter 'version' does not accept value '0.9'"},
        {"size=1M,compat=v2,lazy_refcounts=on", "Lazy refcounts only supported with compatibility "
                                                "level 1.1 and above (use version=v3 or greater)"},
        {"size=1M,refcount_bits=3",
         "Refcount width must be a power of two and may not exceed 64 bits"},
        {"size=1M,data_file_raw=on", "data-file-raw requires data-file"},
        {"size=1M,encrypt.format=luks", "Parameter 'encrypt.key-secret' is required for cipher"},
        {"size=1T,cluster_size=512",
         "The image size is too large for file format 'qcow2' (try using a larger cluster size)"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct error *err = NULL;
        struct value *o = opts_parse(cases[i].options, NULL, &err);
        assert_true(image_create(t->r.w, &driver_qcow2, "sim:d0", o, &err) < 0);
        rig_expect(&err, cases[i].message);
        value_free(o);
    }
}

/* File sizes and positions as other programs make them. */
static void layouts(struct qt *t)
{
    static const struct {
        const char *options;
        int64_t size;
    } cases[] = {
        {"size=1G", 196624},
        {"size=1G,extended_l2=on", 196640},
        {"size=1M,cluster_size=512", 1792},
        {"size=10G,cluster_size=512", 2633216},
        {"size=1000448,preallocation=metadata", 1376256},
        {"size=3G,preallocation=metadata", 3221946368},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        qt_create(t, 0, cases[i].options);
        assert_int_equal(disk_size(t->r.disk[0]), cases[i].size);
        qt_judge(t->r.disk[0], false, cases[i].options);
    }
}

static void sizes(struct qt *t)
{
    static const struct {
        const char *options;
        int64_t required, full;
    } cases[] = {
        {"size=0", 196608, 196608},
        {"size=1M", 327680, 1376256},
        {"size=1M,cluster_size=512", 22528, 1071104},
        {"size=100G", 16646144, 107390828544},
        {"size=100G,cluster_size=512", 2138404352, 109512586752},
        {"size=10T", 1678114816, 10996794392576},
        {"size=1G,extended_l2=on", 524288, 1074266112},
        {"size=1G,refcount_bits=64,cluster_size=4k,preallocation=full", 1077964800, 1077964800},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct error *err = NULL;
        struct value *o = opts_parse(cases[i].options, NULL, &err);
        struct value *v = qcow2_measure(t->r.w, o, NULL, &err);
        assert_null(err);
        assert_int_equal(dict_get_int(v, "required", 0), cases[i].required);
        assert_int_equal(dict_get_int(v, "fully-allocated", 0), cases[i].full);
        value_free(o);
        value_free(v);
    }
}

/* Metadata that points at metadata: the write is refused, the image is marked, and nothing works
 * any more. */
static void corruption(struct qt *t)
{
    qt_create(t, 0, "size=64M");
    struct blk *b = qt_open(t, 0, NULL);
    assert_int_equal(rig_fill(b, 0, 65536, 1), 0);
    blk_unref(b);
    poke(t->r.disk[0], 4 * 65536, 8,
         OFLAG_COPIED | 3 * 65536); /* the first cluster is the L1 table */
    b = qt_open(t, 0, NULL);
    assert_int_equal(rig_fill(b, 0, 512, 2), -EIO);
    assert_string_equal(
        t->r.out.s,
        "qcow2: Marking image as corrupt: Preventing invalid write on metadata (overlaps with "
        "active L1 table); further corruption events will be suppressed\n");
    assert_int_equal(rig_fill(b, 65536, 512, 2), -ENOMEDIUM);
    blk_unref(b);
    rig_open_fails(&t->r, "sim:d0", "driver=qcow2", QT_RW,
                   "qcow2: Image is corrupt; cannot be opened read/write");
    blk_unref(rig_open(&t->r, "sim:d0", "driver=qcow2", 0));
}

/* A feature name table may end behind the name of its last entry. */
static void feature_names(struct qt *t)
{
    struct disk *d = t->r.disk[0];
    qt_create(t, 0, "size=1M");
    poke(d, 72, 8, UINT64_C(3) << 62);
    poke(d, 112, 4, 0x6803f857);
    poke(d, 116, 4, 14);
    assert_int_equal(disk_write(d, 120, "\0\x3fTest feature", 14), 0);
    rig_open_fails(&t->r, "sim:d0", "driver=qcow2", QT_RW,
                   "Unsupported qcow2 feature(s): Test feature, Unknown incompatible feature: "
                   "4000000000000000");
}

/* Also a checker that repairs is a writer: it does not keep features that it does not know. */
static void autoclear(struct qt *t)
{
    uint8_t b[8];
    qt_create(t, 0, "size=1M");
    poke(t->r.disk[0], 88, 8, UINT64_C(1) << 63);
    blk_unref(rig_open(&t->r, "sim:d0", "driver=qcow2", OPEN_CHECK));
    disk_read(t->r.disk[0], 88, b, 8);
    assert_int_equal(b[0], 0x80);
    blk_unref(rig_open(&t->r, "sim:d0", "driver=qcow2", QT_RW | OPEN_CHECK));
    disk_read(t->r.disk[0], 88, b, 8);
    assert_int_equal(b[0], 0);
}

/* The data file's name in the image opens nothing where names in images are denied; a given one is
 * opened. */
static void denied(struct qt *t)
{
    struct disk *d = t->r.disk[0];
    qt_create(t, 0, "size=1M,data_file=sim:d2");
    blk_unref(qt_open(t, 0, NULL));
    uint8_t header[512];
    disk_read(d, 0, header, sizeof(header));
    uint8_t *name = memmem(header, sizeof(header), "sim:d2", 6);
    assert_non_null(name);
    assert_int_equal(disk_write(d, name - header, "/dev/x", 6), 0);
    rig_open_fails(
        &t->r, "sim:d0", "driver=qcow2", QT_RW,
        "Data file '/dev/x' named by image 'sim:d0' is not opened: names in images are denied");
    blk_unref(qt_open(t, 0, "data-file.driver=sim,data-file.disk=d2"));
}

/* A backing file's name that would show the host's directories. */
static void denied_directory(struct qt *t)
{
    qt_create(t, 0, "size=1M,backing_file=fat:/etc,backing_fmt=raw");
    rig_open_fails(&t->r, "sim:d0", "driver=qcow2", QT_RW,
                   "Backing file 'fat:/etc' named by image 'sim:d0' is not opened: names in images "
                   "are denied");
}

/* A broken entry behind a good one: the whole write fails, nothing of it is written. */
static void broken_entry(struct qt *t)
{
    qt_create(t, 0, "size=1M,extended_l2=on");
    struct blk *b = qt_open(t, 0, NULL);
    assert_int_equal(rig_fill(b, 0, 128 * KiB, 1), 0);
    blk_unref(b);
    poke(t->r.disk[0], 4 * 65536 + 24, 8,
         UINT64_MAX); /* allocated and zero: all subclusters of cluster 1 */
    b = qt_open(t, 0, NULL);
    assert_int_equal(rig_fill(b, 0, 128 * KiB, 2), -EIO);
    assert_string_equal(
        t->r.out.s,
        "qcow2: Marking image as corrupt: Invalid cluster entry found (L2 offset: 0x40000, L2 "
        "index: 0x1); further corruption events will be suppressed\n");
    blk_unref(b);
}

static void test_feature_names(void **state)
{
    qt_run(&profile_reference, 0, feature_names, NULL);
}
static void test_autoclear(void **state)
{
    qt_run(&profile_reference, 0, autoclear, NULL);
}
static void test_denied(void **state)
{
    qt_run_policy(&profile_reference, 0, QT_DENY_NAMES, denied, NULL);
    qt_run_policy(&profile_reference, 0, QT_DENY_NAMES, denied_directory, NULL);
}
static void test_broken_entry(void **state)
{
    qt_run(&profile_optimized, 0, broken_entry, NULL);
}
static void test_damaged(void **state)
{
    qt_run(&profile_reference, 0, damaged, NULL);
}
static void test_options(void **state)
{
    qt_run(&profile_reference, 0, wrong_options, NULL);
}
static void test_create_fails(void **state)
{
    qt_run(&profile_reference, 0, create_fails, NULL);
}
static void test_layouts(void **state)
{
    qt_run(&profile_optimized, 0, layouts, NULL);
}
static void test_measure(void **state)
{
    qt_run(&profile_reference, 0, sizes, NULL);
}
static void test_corruption(void **state)
{
    qt_run(&profile_optimized, 0, corruption, NULL);
}

/* Whoever only looked asks the disk for nothing; a disk that fails is not heard of at the end. */
static void looked_at(struct qt *t)
{
    qt_create(t, 0, "size=1M");
    int before = rig_count(&t->r, DISK_OP_FLUSH);
    struct blk *b = qt_open(t, 0, NULL);
    rig_check(b, 0, 1 * MiB, 0);
    blk_unref(b);
    assert_int_equal(rig_count(&t->r, DISK_OP_FLUSH), before);
    b = qt_open(t, 0, NULL);
    assert_int_equal(rig_fill(b, 0, 512, 1), 0);
    blk_unref(b);
    assert_true(rig_count(&t->r, DISK_OP_FLUSH) > before);
}

static void test_looked_at(void **state)
{
    qt_run(&profile_reference, 0, looked_at, NULL);
    qt_run(&profile_optimized, 0, looked_at, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_damaged),       cmocka_unit_test(test_options),
        cmocka_unit_test(test_create_fails),  cmocka_unit_test(test_layouts),
        cmocka_unit_test(test_measure),       cmocka_unit_test(test_corruption),
        cmocka_unit_test(test_feature_names), cmocka_unit_test(test_autoclear),
        cmocka_unit_test(test_denied),        cmocka_unit_test(test_broken_entry),
        cmocka_unit_test(test_looked_at),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
