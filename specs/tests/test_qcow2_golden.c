/*
 * Golden bytes of every qcow2 structure, transcribed by hand from docs/interop/qcow2.txt of
 * QEMU 7.2: the byte positions below come from that document, not from specs/qcow2.yaml.  Each is
 * read by the generated accessors and by the generated tables, and built again from its values.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "specs/qcow2_layout.h"
#include "specs/runtime/spec.h"

/* clang-format off */

static const struct qcow2_params params = {.version = 3, .cluster_bits = 16, .cluster_size = 65536,
                                           .active = 1};

static uint64_t by_table(const char *structure, const char *field, const uint8_t *p)
{
    const struct spec_structure *s = spec_structure_find(spec_qcow2(), structure);
    assert_non_null(s);
    const struct spec_field *f = spec_field_find(s, field);
    assert_non_null(f);
    return spec_field_get(f, p, &params);
}

static void set_by_table(const char *structure, const char *field, uint8_t *p, uint64_t v)
{
    const struct spec_structure *s = spec_structure_find(spec_qcow2(), structure);
    spec_field_set(spec_field_find(s, field), p, &params, v);
}

/* A list of fields is a macro over X(structure, field, value); these read and build with it. */
#define READ(s, f, v) \
    assert_int_equal(qcow2_##s##_get_##f(golden), (v)); \
    assert_int_equal(by_table(#s, #f, golden), (v));
#define BUILD(s, f, v) qcow2_##s##_set_##f(built, (v));
#define BUILD_BY_TABLE(s, f, v) set_by_table(#s, #f, tabled, (v));
#define BOTH_WAYS(LIST) \
    do { \
        uint8_t built[sizeof(golden)] = {0}; \
        uint8_t tabled[sizeof(golden)] = {0}; \
        LIST(READ) LIST(BUILD) LIST(BUILD_BY_TABLE) \
        assert_memory_equal(built, golden, sizeof(golden)); \
        assert_memory_equal(tabled, golden, sizeof(golden)); \
    } while (0)

static void test_header_v2(void **state)
{
    static const uint8_t golden[112] = {
        'Q', 'F', 'I', 0xfb,                                /* 0 - 3 magic */
        0, 0, 0, 2,                                         /* 4 - 7 version */
        0, 0, 0, 0, 0, 0, 0x01, 0xa8,                       /* 8 - 15 backing file offset */
        0, 0, 0, 0x0b,                                      /* 16 - 19 backing file name length */
        0, 0, 0, 0x10,                                      /* 20 - 23 cluster bits */
        0, 0, 0, 0x01, 0x40, 0, 0x02, 0,                    /* 24 - 31 size */
        0, 0, 0, 1,                                         /* 32 - 35 crypt method */
        0, 0, 0, 0x0b,                                      /* 36 - 39 L1 entries */
        0, 0, 0, 0, 0, 0x03, 0, 0,                          /* 40 - 47 L1 table */
        0, 0, 0, 0, 0, 0x01, 0, 0,                          /* 48 - 55 refcount table */
        0, 0, 0, 1,                                         /* 56 - 59 refcount table clusters */
        0, 0, 0, 2,                                         /* 60 - 63 snapshots */
        0, 0, 0, 0, 0, 0x0c, 0, 0,                          /* 64 - 71 snapshot table */
    };
#define HEADER_V2(X) \
    X(header, magic, 0x514649fb) X(header, version, 2) X(header, backing_file_offset, 424) \
    X(header, backing_file_size, 11) X(header, cluster_bits, 16) \
    X(header, size, UINT64_C(5368709632)) X(header, crypt_method, 1) X(header, l1_size, 11) \
    X(header, l1_table_offset, 196608) X(header, refcount_table_offset, 65536) \
    X(header, refcount_table_clusters, 1) X(header, nb_snapshots, 2) \
    X(header, snapshots_offset, 786432)
    BOTH_WAYS(HEADER_V2);
    assert_int_equal(QCOW2_HEADER_V2_SIZE, 72);
    struct spec_report r = {.nr_findings = 0};
    const struct spec_structure *s = spec_structure_find(spec_qcow2(), "header");
    assert_int_equal(spec_structure_check(s, golden, &params, 0, &r), 0);
}

/* Every byte different, so that no two fields can be mixed up. */
static const uint8_t header_v3[112] = {
    'Q', 'F', 'I', 0xfb,                                    /* 0 - 3 magic */
    0, 0, 0, 3,                                             /* 4 - 7 version */
    0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18,         /* 8 - 15 backing file offset */
    0x21, 0x22, 0x23, 0x24,                                 /* 16 - 19 backing file name length */
    0x31, 0x32, 0x33, 0x34,                                 /* 20 - 23 cluster bits */
    0x41, 0x42, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48,         /* 24 - 31 size */
    0x51, 0x52, 0x53, 0x54,                                 /* 32 - 35 crypt method */
    0x61, 0x62, 0x63, 0x64,                                 /* 36 - 39 L1 entries */
    0x71, 0x72, 0x73, 0x74, 0x75, 0x76, 0x77, 0x78,         /* 40 - 47 L1 table */
    0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88,         /* 48 - 55 refcount table */
    0x91, 0x92, 0x93, 0x94,                                 /* 56 - 59 refcount table clusters */
    0xa1, 0xa2, 0xa3, 0xa4,                                 /* 60 - 63 snapshots */
    0xb1, 0xb2, 0xb3, 0xb4, 0xb5, 0xb6, 0xb7, 0xb8,         /* 64 - 71 snapshot table */
    0xc1, 0xc2, 0xc3, 0xc4, 0xc5, 0xc6, 0xc7, 0xc8,         /* 72 - 79 incompatible features */
    0xd1, 0xd2, 0xd3, 0xd4, 0xd5, 0xd6, 0xd7, 0xd8,         /* 80 - 87 compatible features */
    0xe1, 0xe2, 0xe3, 0xe4, 0xe5, 0xe6, 0xe7, 0xe8,         /* 88 - 95 auto-clear features */
    0xf1, 0xf2, 0xf3, 0xf4,                                 /* 96 - 99 refcount order */
    0x05, 0x06, 0x07, 0x08,                                 /* 100 - 103 header length */
    0x09,                                                   /* 104 compression type */
};

#define HEADER_V3(X) \
    X(header, magic, 0x514649fb) X(header, version, 3) \
    X(header, backing_file_offset, UINT64_C(0x1112131415161718)) \
    X(header, backing_file_size, 0x21222324) \
    X(header, cluster_bits, 0x31323334) X(header, size, UINT64_C(0x4142434445464748)) \
    X(header, crypt_method, 0x51525354) X(header, l1_size, 0x61626364) \
    X(header, l1_table_offset, UINT64_C(0x7172737475767778)) \
    X(header, refcount_table_offset, UINT64_C(0x8182838485868788)) \
    X(header, refcount_table_clusters, 0x91929394) X(header, nb_snapshots, 0xa1a2a3a4) \
    X(header, snapshots_offset, UINT64_C(0xb1b2b3b4b5b6b7b8)) \
    X(header, incompatible_features, UINT64_C(0xc1c2c3c4c5c6c7c8)) \
    X(header, compatible_features, UINT64_C(0xd1d2d3d4d5d6d7d8)) \
    X(header, autoclear_features, UINT64_C(0xe1e2e3e4e5e6e7e8)) \
    X(header, refcount_order, 0xf1f2f3f4) \
    X(header, header_length, 0x05060708)
#define HEADER_V3_FULL(X) HEADER_V3(X) X(header, compression_type, 9)

static void test_header_v3_104(void **state)
{
    uint8_t golden[104];
    memcpy(golden, header_v3, sizeof(golden));
    BOTH_WAYS(HEADER_V3);
    assert_int_equal(QCOW2_HEADER_V3_SIZE, 104);
}

static void test_header_v3_112(void **state)
{
    uint8_t golden[112];
    memcpy(golden, header_v3, sizeof(golden));
    BOTH_WAYS(HEADER_V3_FULL);
    assert_int_equal(QCOW2_HEADER_V3_FULL_SIZE, 112);
    assert_int_equal(QCOW2_HEADER_PADDING_OFF, 105);
}

static void test_feature_bits(void **state)
{
    assert_int_equal(QCOW2_INCOMPAT_DIRTY, 1 << 0);
    assert_int_equal(QCOW2_INCOMPAT_CORRUPT, 1 << 1);
    assert_int_equal(QCOW2_INCOMPAT_DATA_FILE, 1 << 2);
    assert_int_equal(QCOW2_INCOMPAT_COMPRESSION_TYPE, 1 << 3);
    assert_int_equal(QCOW2_INCOMPAT_EXTENDED_L2, 1 << 4);
    assert_int_equal(QCOW2_INCOMPAT_KNOWN, 0x1f);
    assert_int_equal(QCOW2_COMPAT_LAZY_REFCOUNTS, 1);
    assert_int_equal(QCOW2_AUTOCLEAR_BITMAPS, 1 << 0);
    assert_int_equal(QCOW2_AUTOCLEAR_DATA_FILE_RAW, 1 << 1);
    assert_int_equal(QCOW2_BITMAP_FLAG_IN_USE, 1 << 0);
    assert_int_equal(QCOW2_BITMAP_FLAG_AUTO, 1 << 1);
    assert_int_equal(QCOW2_BITMAP_FLAG_EXTRA_DATA_COMPATIBLE, 1 << 2);
    /* A mask keeps the upper half of a field when it is inverted. */
    assert_int_equal(~QCOW2_INCOMPAT_DIRTY, UINT64_C(0xfffffffffffffffe));
}

/* One extension of each type: type, length, data, padding. */
static void test_extensions(void **state)
{
    static const struct {
        uint32_t type, length;
        uint64_t total;
        uint8_t bytes[8];
    } golden[] = {
        {QCOW2_EXT_END, 0, 8, {0x00, 0x00, 0x00, 0x00, 0, 0, 0, 0}},
        {QCOW2_EXT_BACKING_FORMAT, 5, 16, {0xe2, 0x79, 0x2a, 0xca, 0, 0, 0, 5}},
        {QCOW2_EXT_FEATURE_NAMES, 384, 392, {0x68, 0x03, 0xf8, 0x57, 0, 0, 1, 0x80}},
        {QCOW2_EXT_BITMAPS, 24, 32, {0x23, 0x85, 0x28, 0x75, 0, 0, 0, 24}},
        {QCOW2_EXT_CRYPTO, 16, 24, {0x05, 0x37, 0xbe, 0x77, 0, 0, 0, 16}},
        {QCOW2_EXT_DATA_FILE, 9, 24, {0x44, 0x41, 0x54, 0x41, 0, 0, 0, 9}},
        {0x12345678, 0xffffffff, UINT64_C(0x100000008),
         {0x12, 0x34, 0x56, 0x78, 0xff, 0xff, 0xff, 0xff}},
    };
    for (size_t i = 0; i < sizeof(golden) / sizeof(golden[0]); i++) {
        uint8_t built[8] = {0};
        assert_int_equal(qcow2_header_extension_get_type(golden[i].bytes), golden[i].type);
        assert_int_equal(qcow2_header_extension_get_length(golden[i].bytes), golden[i].length);
        assert_int_equal(qcow2_header_extension_data_pos(golden[i].bytes), 8);
        assert_int_equal(qcow2_header_extension_total_size(golden[i].bytes), golden[i].total);
        assert_int_equal(by_table("header_extension", "type", golden[i].bytes), golden[i].type);
        qcow2_header_extension_set_type(built, golden[i].type);
        qcow2_header_extension_set_length(built, golden[i].length);
        assert_memory_equal(built, golden[i].bytes, 8);
    }
}

static void test_feature_name(void **state)
{
    uint8_t golden[48] = {1, 63, 'l', 'a', 'z', 'y'};       /* type, bit, name of 46 bytes */
#define FEATURE_NAME(X) X(feature_name, type, 1) X(feature_name, bit, 63)
    FEATURE_NAME(READ)
    assert_memory_equal(golden + QCOW2_FEATURE_NAME_NAME_OFF, "lazy", 5);
    assert_int_equal(QCOW2_FEATURE_NAME_NAME_WIDTH, 46);
    assert_int_equal(QCOW2_FEATURE_NAME_SIZE, 48);
    uint8_t built[48] = {0};
    FEATURE_NAME(BUILD)
    memcpy(built + QCOW2_FEATURE_NAME_NAME_OFF, "lazy", 4);
    assert_memory_equal(built, golden, 48);
}

static void test_bitmap_ext(void **state)
{
    static const uint8_t golden[24] = {
        0x01, 0x02, 0x03, 0x04,                             /* 0 - 3 bitmaps */
        0, 0, 0, 0,                                         /* 4 - 7 reserved */
        0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18,     /* 8 - 15 directory size */
        0x21, 0x22, 0x23, 0x24, 0x25, 0x26, 0x27, 0x28,     /* 16 - 23 directory offset */
    };
#define BITMAP_EXT(X) \
    X(bitmap_ext, nb_bitmaps, 0x01020304) X(bitmap_ext, reserved, 0) \
    X(bitmap_ext, bitmap_directory_size, UINT64_C(0x1112131415161718)) \
    X(bitmap_ext, bitmap_directory_offset, UINT64_C(0x2122232425262728))
    BOTH_WAYS(BITMAP_EXT);
    assert_int_equal(QCOW2_BITMAP_EXT_SIZE, 24);
}

static void test_crypto_ext(void **state)
{
    static const uint8_t golden[16] = {
        0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08,     /* 0 - 7 offset */
        0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18,     /* 8 - 15 length */
    };
#define CRYPTO_EXT(X) \
    X(crypto_ext, offset, UINT64_C(0x0102030405060708)) \
    X(crypto_ext, length, UINT64_C(0x1112131415161718))
    BOTH_WAYS(CRYPTO_EXT);
    assert_int_equal(QCOW2_CRYPTO_EXT_SIZE, 16);
}

static void test_refcount_table_entry(void **state)
{
    static const uint8_t golden[8] = {0xfe, 0xdc, 0xba, 0x98, 0x76, 0x54, 0x32, 0x00};
#define REFCOUNT_TABLE_ENTRY(X) X(refcount_table_entry, offset, UINT64_C(0xfedcba9876543200))
    BOTH_WAYS(REFCOUNT_TABLE_ENTRY);
    assert_int_equal(QCOW2_REFCOUNT_TABLE_ENTRY_RESERVED_MASK, 0x1ff);
}

/* The same bytes read with every width. */
static void test_refcount_orders(void **state)
{
    static const uint8_t golden[8] = {0xb4, 0x1e, 0x01, 0x23, 0x45, 0x67, 0x89, 0xab};
    static const uint64_t want[7][10] = {
        {0, 0, 1, 0, 1, 1, 0, 1, 0, 1},         /* 0xb4 and 0x1e from the least significant bit */
        {0, 1, 3, 2, 2, 3, 1, 0},
        {4, 0xb, 0xe, 1, 1, 0, 3, 2},
        {0xb4, 0x1e, 0x01, 0x23, 0x45, 0x67, 0x89, 0xab},
        {0xb41e, 0x0123, 0x4567, 0x89ab},
        {0xb41e0123, 0x456789ab},
        {UINT64_C(0xb41e0123456789ab)},
    };
    for (unsigned order = 0; order <= 6; order++) {
        unsigned n = 64u >> order;
        uint8_t built[8];
        memset(built, 0xff, sizeof(built));
        for (unsigned i = 0; i < n; i++) {
            uint64_t v = qcow2_refcount_block_entry_get(golden, i, order);
            if (i < 8 || (order == 0 && i < 10)) {
                assert_int_equal(v, want[order][i]);
            }
            qcow2_refcount_block_entry_set(built, i, order, v);
        }
        assert_memory_equal(built, golden, sizeof(golden));
    }
}

static void test_l1_entry(void **state)
{
    static const uint8_t golden[8] = {0x80, 0xcd, 0xef, 0x01, 0x23, 0x45, 0x66, 0x00};
#define L1_ENTRY(X) X(l1_entry, offset, UINT64_C(0x00cdef0123456600)) X(l1_entry, copied, 1)
    BOTH_WAYS(L1_ENTRY);
    assert_int_equal(QCOW2_L1_ENTRY_RESERVED_MASK, UINT64_C(0x7f000000000001ff));
    assert_int_equal(qcow2_l1_entry_offset_of(qcow2_l1_entry_load(golden)),
                     UINT64_C(0x00cdef0123456600));
}

static void test_l2_standard(void **state)
{
    static const uint8_t golden[8] = {0x80, 0xcd, 0xef, 0x01, 0x23, 0x45, 0x66, 0x00};
#define L2_STANDARD(X) \
    X(l2_entry, zero, 0) X(l2_entry, offset, UINT64_C(0x00cdef0123456600)) \
    X(l2_entry, compressed, 0) \
    X(l2_entry, copied, 1)
    BOTH_WAYS(L2_STANDARD);
    assert_int_equal(QCOW2_L2_ENTRY_RESERVED_MASK, UINT64_C(0x3f000000000001fe));
    assert_int_equal(QCOW2_L2_ENTRY_SIZE, 8);
}

static void test_l2_zero(void **state)
{
    static const uint8_t golden[8] = {0x00, 0x00, 0x00, 0x00, 0x00, 0x05, 0x00, 0x01};
#define L2_ZERO(X) X(l2_entry, zero, 1) X(l2_entry, offset, 0x50000) X(l2_entry, copied, 0)
    BOTH_WAYS(L2_ZERO);
}

/* Offset 0x123456 and more sectors: clusters of 64 KiB (x = 54), 512 (x = 61), 2 MiB (x = 49). */
static void test_l2_compressed(void **state)
{
    static const struct {
        unsigned cluster_bits;
        uint8_t bytes[8];
        uint64_t sectors;
    } golden[] = {
        {16, {0x40, 0xc0, 0x00, 0x00, 0x00, 0x12, 0x34, 0x56}, 3},
        {9, {0x60, 0x00, 0x00, 0x00, 0x00, 0x12, 0x34, 0x56}, 1},
        {21, {0x40, 0x06, 0x00, 0x00, 0x00, 0x12, 0x34, 0x56}, 3},
        {21, {0x7f, 0xfe, 0x00, 0x00, 0x00, 0x12, 0x34, 0x56}, 8191},
    };
    for (size_t i = 0; i < sizeof(golden) / sizeof(golden[0]); i++) {
        unsigned bits = golden[i].cluster_bits;
        const uint8_t *p = golden[i].bytes;
        assert_int_equal(qcow2_l2_compressed_get_compressed(p), 1);
        assert_int_equal(qcow2_l2_compressed_get_copied(p), 0);
        assert_int_equal(qcow2_l2_compressed_get_host_offset(p, bits), 0x123456);
        assert_int_equal(qcow2_l2_compressed_get_additional_sectors(p, bits), golden[i].sectors);
        uint8_t built[8] = {0};
        qcow2_l2_compressed_set_compressed(built, 1);
        qcow2_l2_compressed_set_host_offset(built, bits, 0x123456);
        qcow2_l2_compressed_set_additional_sectors(built, bits, golden[i].sectors);
        assert_memory_equal(built, p, 8);
    }
    assert_int_equal(by_table("l2_compressed", "additional_sectors", golden[0].bytes), 3);
    assert_int_equal(by_table("l2_compressed", "host_offset", golden[0].bytes), 0x123456);
    assert_int_equal(qcow2_l2_compressed_additional_sectors_shift(16), 54);
    assert_int_equal(qcow2_l2_compressed_additional_sectors_shift(9), 61);
    assert_int_equal(qcow2_l2_compressed_additional_sectors_shift(21), 49);
}

/* Second half of an extended entry: subclusters 0 and 31 allocated, 1 and 30 read as zeros. */
static void test_l2_bitmap(void **state)
{
    static const uint8_t golden[8] = {0x40, 0x00, 0x00, 0x02, 0x80, 0x00, 0x00, 0x01};
#define L2_BITMAP(X) X(l2_bitmap, alloc, 0x80000001) X(l2_bitmap, zero, 0x40000002)
    BOTH_WAYS(L2_BITMAP);
    assert_int_equal(QCOW2_L2_ENTRY_EXTENDED_SIZE, 16);
}

static void test_snapshot(void **state)
{
    static const uint8_t golden[72] = {
        0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08,     /* 0 - 7 L1 table */
        0x11, 0x12, 0x13, 0x14,                             /* 8 - 11 L1 entries */
        0, 1,                                               /* 12 - 13 ID length */
        0, 4,                                               /* 14 - 15 name length */
        0x21, 0x22, 0x23, 0x24,                             /* 16 - 19 seconds */
        0x31, 0x32, 0x33, 0x34,                             /* 20 - 23 nanoseconds */
        0x41, 0x42, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48,     /* 24 - 31 guest's clock */
        0x51, 0x52, 0x53, 0x54,                             /* 32 - 35 VM state, 32 bits */
        0, 0, 0, 24,                                        /* 36 - 39 extra data */
        0x61, 0x62, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68,     /* 40 - 47 VM state */
        0x71, 0x72, 0x73, 0x74, 0x75, 0x76, 0x77, 0x78,     /* 48 - 55 disk size */
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,     /* 56 - 63 icount */
        '7', 's', 'n', 'a', 'p', 0, 0, 0,                   /* ID, name, padding */
    };
#define SNAPSHOT(X) \
    X(snapshot, l1_table_offset, UINT64_C(0x0102030405060708)) X(snapshot, l1_size, 0x11121314) \
    X(snapshot, id_size, 1) X(snapshot, name_size, 4) X(snapshot, date_sec, 0x21222324) \
    X(snapshot, date_nsec, 0x31323334) X(snapshot, vm_clock_nsec, UINT64_C(0x4142434445464748)) \
    X(snapshot, vm_state_size, 0x51525354) X(snapshot, extra_data_size, 24) \
    X(snapshot, vm_state_size_large, UINT64_C(0x6162636465666768)) \
    X(snapshot, disk_size, UINT64_C(0x7172737475767778)) X(snapshot, icount, UINT64_MAX)
    uint8_t built[72] = {0};
    SNAPSHOT(READ)
    SNAPSHOT(BUILD)
    memcpy(built + qcow2_snapshot_id_pos(built), "7", 1);
    memcpy(built + qcow2_snapshot_name_pos(built), "snap", 4);
    assert_memory_equal(built, golden, 72);
    assert_int_equal(qcow2_snapshot_extra_data_pos(golden), 40);
    assert_int_equal(qcow2_snapshot_total_size(golden), 72);
    assert_int_equal(QCOW2_SNAPSHOT_SIZE, 40);
}

static void test_bitmap_dir_entry(void **state)
{
    static const uint8_t golden[32] = {
        0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08,     /* 0 - 7 table */
        0x11, 0x12, 0x13, 0x14,                             /* 8 - 11 table entries */
        0, 0, 0, 6,                                         /* 12 - 15 flags */
        1,                                                  /* 16 type */
        17,                                                 /* 17 granularity */
        0, 2,                                               /* 18 - 19 name length */
        0, 0, 0, 3,                                         /* 20 - 23 extra data */
        'x', 'y', 'z', 'b', '0', 0, 0, 0,                   /* extra data, name, padding */
    };
#define BITMAP_DIR_ENTRY(X) \
    X(bitmap_dir_entry, bitmap_table_offset, UINT64_C(0x0102030405060708)) \
    X(bitmap_dir_entry, bitmap_table_size, 0x11121314) X(bitmap_dir_entry, flags, 6) \
    X(bitmap_dir_entry, type, 1) X(bitmap_dir_entry, granularity_bits, 17) \
    X(bitmap_dir_entry, name_size, 2) X(bitmap_dir_entry, extra_data_size, 3)
    uint8_t built[32] = {0};
    BITMAP_DIR_ENTRY(READ)
    BITMAP_DIR_ENTRY(BUILD)
    memcpy(built + qcow2_bitmap_dir_entry_extra_data_pos(built), "xyz", 3);
    memcpy(built + qcow2_bitmap_dir_entry_name_pos(built), "b0", 2);
    assert_memory_equal(built, golden, 32);
    assert_int_equal(qcow2_bitmap_dir_entry_total_size(golden), 32);
    assert_int_equal(QCOW2_BITMAP_DIR_ENTRY_SIZE, 24);
}

static void test_bitmap_table_entry(void **state)
{
    static const uint8_t golden[8] = {0x00, 0xcd, 0xef, 0x01, 0x23, 0x45, 0x66, 0x01};
#define BITMAP_TABLE_ENTRY(X) \
    X(bitmap_table_entry, all_ones, 1) X(bitmap_table_entry, offset, UINT64_C(0x00cdef0123456600))
    BOTH_WAYS(BITMAP_TABLE_ENTRY);
    assert_int_equal(QCOW2_BITMAP_TABLE_ENTRY_RESERVED_MASK, UINT64_C(0xff000000000001fe));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_header_v2),       cmocka_unit_test(test_header_v3_104),
        cmocka_unit_test(test_header_v3_112),   cmocka_unit_test(test_feature_bits),
        cmocka_unit_test(test_extensions),      cmocka_unit_test(test_feature_name),
        cmocka_unit_test(test_bitmap_ext),      cmocka_unit_test(test_crypto_ext),
        cmocka_unit_test(test_refcount_table_entry), cmocka_unit_test(test_refcount_orders),
        cmocka_unit_test(test_l1_entry),        cmocka_unit_test(test_l2_standard),
        cmocka_unit_test(test_l2_zero),         cmocka_unit_test(test_l2_compressed),
        cmocka_unit_test(test_l2_bitmap),       cmocka_unit_test(test_snapshot),
        cmocka_unit_test(test_bitmap_dir_entry), cmocka_unit_test(test_bitmap_table_entry),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
