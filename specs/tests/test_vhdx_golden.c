/*
 * Golden bytes of the VHDX structures, transcribed by hand from [MS-VHDX], not from
 * specs/vhdx.yaml: read by the generated accessors and built again.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "specs/runtime/spec.h"
#include "specs/vhdx_layout.h"

/* clang-format off */
static const uint8_t header[80] = {
    'h', 'e', 'a', 'd',                       /* 0 signature */
    0x11, 0x12, 0x13, 0x14,                   /* 4 checksum */
    1, 2, 3, 4, 5, 6, 7, 8,                   /* 8 sequence number */
    20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, /* 16 file write GUID */
    40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, 52, 53, 54, 55, /* 32 data write GUID */
    60, 61, 62, 63, 64, 65, 66, 67, 68, 69, 70, 71, 72, 73, 74, 75, /* 48 log GUID */
    0x81, 0x82,                               /* 64 log version */
    1, 0,                                     /* 66 version */
    0, 0, 0x30, 0x91,                         /* 68 log length */
    0, 0, 0x40, 0xa1, 0xa2, 0, 0, 0,          /* 72 log offset */
};
static const uint8_t region[32] = {
    1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16,
    0, 0, 0x20, 0x31, 0x32, 0, 0, 0,          /* 16 file offset */
    0, 0, 0x10, 0x41,                         /* 24 length */
    1, 0, 0, 0,                               /* 28 required */
};
static const uint8_t item[32] = {
    1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16,
    0x21, 0x22, 1, 0,                         /* 16 offset */
    8, 0x31, 0, 0,                            /* 20 length */
    6, 0, 0, 0,                               /* 24 virtual disk, required */
    0, 0, 0, 0,
};
static const uint8_t entry[8] = {6, 0, 0x80, 0x51, 0x52, 0, 0, 0x53}; /* fully present */
static const uint8_t log_head[64] = {
    'l', 'o', 'g', 'e',
    0x11, 0x12, 0x13, 0x14,                   /* 4 checksum */
    0, 0x20, 1, 0,                            /* 8 entry length */
    0, 0x30, 2, 0,                            /* 12 tail */
    1, 2, 3, 4, 5, 6, 7, 8,                   /* 16 sequence number */
    9, 1, 0, 0,                               /* 24 descriptor count */
    0, 0, 0, 0,
    60, 61, 62, 63, 64, 65, 66, 67, 68, 69, 70, 71, 72, 73, 74, 75, /* 32 log GUID */
    0x21, 0x22, 0x23, 0x24, 0x25, 0, 0, 0,    /* 48 flushed file offset */
    0x31, 0x32, 0x33, 0x34, 0x35, 0, 0, 0,    /* 56 last file offset */
};
static const uint8_t desc[32] = {
    'd', 'e', 's', 'c',
    1, 2, 3, 4,                               /* 4 trailing bytes */
    5, 6, 7, 8, 9, 10, 11, 12,                /* 8 leading bytes */
    0, 0x10, 0x20, 0x30, 0x40, 0, 0, 0,       /* 16 file offset */
    1, 2, 3, 4, 5, 6, 7, 8,                   /* 24 sequence number */
};
/* clang-format on */

#define FIELDS(X)                                                                                  \
    X(header, header, signature, VHDX_HEADER_SIGNATURE)                                            \
    X(header, header, checksum, 0x14131211)                                                        \
    X(header, header, sequence_number, UINT64_C(0x0807060504030201))                               \
    X(header, header, log_version, 0x8281)                                                         \
    X(header, header, version, 1)                                                                  \
    X(header, header, log_length, 0x91300000)                                                      \
    X(header, header, log_offset, UINT64_C(0xa2a1400000))                                          \
    X(region, region_entry, file_offset, UINT64_C(0x3231200000))                                   \
    X(region, region_entry, length, 0x41100000)                                                    \
    X(region, region_entry, flags, 1)                                                              \
    X(item, metadata_entry, offset, 0x12221)                                                       \
    X(item, metadata_entry, length, 0x3108)                                                        \
    X(item, metadata_entry, flags, VHDX_META_VIRTUAL_DISK | VHDX_META_REQUIRED)                    \
    X(log_head, log_entry, signature, VHDX_LOG_SIGNATURE)                                          \
    X(log_head, log_entry, entry_length, 0x12000)                                                  \
    X(log_head, log_entry, tail, 0x23000)                                                          \
    X(log_head, log_entry, sequence_number, UINT64_C(0x0807060504030201))                          \
    X(log_head, log_entry, descriptor_count, 0x109)                                                \
    X(log_head, log_entry, flushed_file_offset, UINT64_C(0x2524232221))                            \
    X(log_head, log_entry, last_file_offset, UINT64_C(0x3534333231))                               \
    X(desc, log_desc, signature, VHDX_DESC_SIGNATURE)                                              \
    X(desc, log_desc, trailing, 0x04030201)                                                        \
    X(desc, log_desc, leading, UINT64_C(0x0c0b0a0908070605))                                       \
    X(desc, log_desc, file_offset, UINT64_C(0x4030201000))                                         \
    X(desc, log_desc, sequence_number, UINT64_C(0x0807060504030201))

static void test_read(void **state)
{
#define READ(bytes, s, f, v) assert_int_equal(vhdx_##s##_get_##f(bytes), (v));
    FIELDS(READ)
    assert_memory_equal(header + VHDX_HEADER_LOG_GUID_OFF, log_head + VHDX_LOG_ENTRY_LOG_GUID_OFF,
                        16);
    assert_int_equal(header[VHDX_HEADER_FILE_WRITE_GUID_OFF], 20);
    assert_int_equal(header[VHDX_HEADER_DATA_WRITE_GUID_OFF], 40);
    assert_int_equal(vhdx_bat_entry_state_of(vhdx_bat_entry_load(entry)), VHDX_STATE_FULLY_PRESENT);
    assert_int_equal(vhdx_bat_entry_offset_of(vhdx_bat_entry_load(entry)),
                     UINT64_C(0x5300005251800000));
}

static void test_build(void **state)
{
    uint8_t built[80];
#define BUILD(bytes, s, f, v)                                                                      \
    memcpy(built, bytes, sizeof(bytes));                                                           \
    vhdx_##s##_set_##f(built, 0);                                                                  \
    assert_memory_not_equal(built, bytes, sizeof(bytes));                                          \
    vhdx_##s##_set_##f(built, (v));                                                                \
    assert_memory_equal(built, bytes, sizeof(bytes));
    FIELDS(BUILD)
}

static void test_sizes(void **state)
{
    assert_int_equal(VHDX_HEADER_SIZE, 80);
    assert_int_equal(VHDX_REGION_TABLE_SIZE, 16);
    assert_int_equal(VHDX_REGION_ENTRY_SIZE, 32);
    assert_int_equal(VHDX_METADATA_TABLE_SIZE, 32);
    assert_int_equal(VHDX_METADATA_ENTRY_SIZE, 32);
    assert_int_equal(VHDX_LOG_ENTRY_SIZE, 64);
    assert_int_equal(VHDX_LOG_DESC_SIZE, 32);
    assert_int_equal(VHDX_LOG_DATA_SIZE, 4096);
    assert_int_equal(VHDX_LOG_DATA_DATA_OFF, 8);
    assert_int_equal(VHDX_LOG_DATA_SEQUENCE_LOW_OFF, 4092);
    assert_int_equal(spec_structure_find(spec_vhdx(), "header")->size, 80);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_read),
        cmocka_unit_test(test_build),
        cmocka_unit_test(test_sizes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
