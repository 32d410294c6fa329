/*
 * Golden bytes of the VHD structures, transcribed by hand from Microsoft's "Virtual Hard Disk Image
 * Format Specification" 1.0, not from specs/vpc.yaml: read by the generated accessors and built
 * again.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "specs/runtime/spec.h"
#include "specs/vpc_layout.h"

/* clang-format off */
static const uint8_t footer[512] = {
    'c', 'o', 'n', 'e', 'c', 't', 'i', 'x',    /* 0 cookie */
    0, 0, 0, 2,                                /* 8 features */
    0, 1, 0, 0,                                /* 12 file format version */
    1, 2, 3, 4, 5, 6, 7, 8,                    /* 16 data offset */
    0x11, 0x12, 0x13, 0x14,                    /* 24 time stamp */
    'v', 'p', 'c', ' ',                        /* 28 creator application */
    0, 5, 0, 3,                                /* 32 creator version */
    'W', 'i', '2', 'k',                        /* 36 creator host OS */
    0, 0x21, 0x22, 0x23, 0x24, 0x25, 0x26, 0,  /* 40 original size */
    0, 0x31, 0x32, 0x33, 0x34, 0x35, 0x36, 0,  /* 48 current size */
    0x41, 0x42, 0x10, 0x3f,                    /* 56 cylinders, heads, sectors of a track */
    0, 0, 0, 4,                                /* 60 disk type: differencing */
    0x51, 0x52, 0x53, 0x54,                    /* 64 checksum */
    20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, /* 68 unique id */
    1,                                         /* 84 saved state */
    0x61,                                      /* 85 - 511 reserved */
    [511] = 0x62,
};
static const uint8_t dynamic[1024] = {
    'c', 'x', 's', 'p', 'a', 'r', 's', 'e',    /* 0 cookie */
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, /* 8 data offset */
    1, 2, 3, 4, 5, 6, 7, 8,                    /* 16 table offset */
    0, 1, 0, 0,                                /* 24 header version */
    0x11, 0x12, 0x13, 0x14,                    /* 28 max table entries */
    0, 0x20, 0, 0,                             /* 32 block size */
    0x21, 0x22, 0x23, 0x24,                    /* 36 checksum */
    40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, 52, 53, 54, 55, /* 40 parent unique id */
    0x31, 0x32, 0x33, 0x34,                    /* 56 parent time stamp */
    0x41, 0x42, 0x43, 0x44,                    /* 60 reserved */
    0, 'p', 0, '.', 0, 'v', 0, 'h', 0, 'd',    /* 64 - 575 parent Unicode name */
    [575] = 0x51,
    'W', '2', 'r', 'u', 0, 0, 0, 1, 0, 0, 0, 0x1a, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0x60, 0,
    [767] = 0x61,                              /* 576 - 767 eight locators */
    0x71,                                      /* 768 - 1023 reserved */
    [1023] = 0x72,
};
static const uint8_t locator[24] = {
    'W', '2', 'k', 'u',                        /* 0 platform code */
    1, 2, 3, 4,                                /* 4 platform data space */
    5, 6, 7, 8,                                /* 8 platform data length */
    9, 10, 11, 12,                             /* 12 reserved */
    13, 14, 15, 16, 17, 18, 19, 20,            /* 16 platform data offset */
};
static const uint8_t entry[4] = {1, 2, 3, 4};
/* clang-format on */

#define NUMBERS(X)                                                                                 \
    X(footer, footer, cookie, VPC_COOKIE)                                                          \
    X(footer, footer, features, VPC_FEATURES)                                                      \
    X(footer, footer, version, VPC_VERSION)                                                        \
    X(footer, footer, data_offset, UINT64_C(0x0102030405060708))                                   \
    X(footer, footer, timestamp, 0x11121314)                                                       \
    X(footer, footer, creator_app, 0x76706320)                                                     \
    X(footer, footer, creator_version, 0x00050003)                                                 \
    X(footer, footer, creator_os, 0x5769326b)                                                      \
    X(footer, footer, original_size, UINT64_C(0x21222324252600))                                   \
    X(footer, footer, current_size, UINT64_C(0x31323334353600))                                    \
    X(footer, footer, cylinders, 0x4142)                                                           \
    X(footer, footer, heads, 16)                                                                   \
    X(footer, footer, sectors_per_track, 63)                                                       \
    X(footer, footer, disk_type, VPC_TYPE_DIFFERENCING)                                            \
    X(footer, footer, checksum, 0x51525354)                                                        \
    X(footer, footer, saved_state, 1)                                                              \
    X(dynamic, dynamic, cookie, VPC_DYN_COOKIE)                                                    \
    X(dynamic, dynamic, data_offset, UINT64_MAX)                                                   \
    X(dynamic, dynamic, table_offset, UINT64_C(0x0102030405060708))                                \
    X(dynamic, dynamic, version, VPC_VERSION)                                                      \
    X(dynamic, dynamic, max_table_entries, 0x11121314)                                             \
    X(dynamic, dynamic, block_size, VPC_BLOCK)                                                     \
    X(dynamic, dynamic, checksum, 0x21222324)                                                      \
    X(dynamic, dynamic, parent_timestamp, 0x31323334)                                              \
    X(dynamic, dynamic, reserved, 0x41424344)                                                      \
    X(locator, parent_locator, code, VPC_PLATFORM_W2KU)                                            \
    X(locator, parent_locator, data_space, 0x01020304)                                             \
    X(locator, parent_locator, data_length, 0x05060708)                                            \
    X(locator, parent_locator, reserved, 0x090a0b0c)                                               \
    X(locator, parent_locator, data_offset, UINT64_C(0x0d0e0f1011121314))                          \
    X(entry, bat_entry, sector, 0x01020304)
#define BYTES(X)                                                                                   \
    X(footer, FOOTER_UNIQUE_ID, 68, 16)                                                            \
    X(footer, FOOTER_RESERVED, 85, 427)                                                            \
    X(dynamic, DYNAMIC_PARENT_ID, 40, 16)                                                          \
    X(dynamic, DYNAMIC_PARENT_NAME, 64, 512)                                                       \
    X(dynamic, DYNAMIC_PARENT_LOCATORS, 576, 192)                                                  \
    X(dynamic, DYNAMIC_RESERVED2, 768, 256)

static void test_read(void **state)
{
#define READ(bytes, s, f, v) assert_int_equal(vpc_##s##_get_##f(bytes), (v));
    NUMBERS(READ)
    const uint8_t *first = dynamic + VPC_DYNAMIC_PARENT_LOCATORS_OFF;
    assert_int_equal(vpc_parent_locator_get_code(first), VPC_PLATFORM_W2RU);
    assert_int_equal(vpc_parent_locator_get_data_length(first), 26);
    assert_int_equal(vpc_parent_locator_get_data_offset(first), 0x16000);
}

static void test_build(void **state)
{
    uint8_t built[1024];
#define BUILD(bytes, s, f, v)                                                                      \
    memcpy(built, bytes, sizeof(bytes));                                                           \
    vpc_##s##_set_##f(built, 0);                                                                   \
    assert_memory_not_equal(built, bytes, sizeof(bytes));                                          \
    vpc_##s##_set_##f(built, (v));                                                                 \
    assert_memory_equal(built, bytes, sizeof(bytes));
    NUMBERS(BUILD)
}

static void test_sizes(void **state)
{
#define PLACE(bytes, f, at, width)                                                                 \
    assert_int_equal(VPC_##f##_OFF, at);                                                           \
    assert_int_equal(VPC_##f##_WIDTH, width);
    BYTES(PLACE)
    assert_int_equal(VPC_FOOTER_SIZE, 512);
    assert_int_equal(VPC_DYNAMIC_SIZE, 1024);
    assert_int_equal(VPC_PARENT_LOCATOR_SIZE, 24);
    assert_int_equal(VPC_LOCATORS * VPC_PARENT_LOCATOR_SIZE, 192);
    assert_int_equal(VPC_UNUSED, 0xffffffff);
    assert_int_equal(VPC_EPOCH, 30 * 365 * 86400 + 7 * 86400); /* 1970 to 2000, seven leap days */
    assert_int_equal(VPC_PLATFORM_MACX, 0x4d616358);
    assert_int_equal(VPC_TYPE_FIXED, 2);
    assert_int_equal(VPC_TYPE_DYNAMIC, 3);
    assert_int_equal(spec_structure_find(spec_vpc(), "footer")->size, 512);
    assert_int_equal(spec_structure_find(spec_vpc(), "dynamic")->size, 1024);
}

/* The first 84 bytes of what Virtual PC made, 127 GiB: its checksum and every rule hold. */
static void test_rules(void **state)
{
    static const uint8_t real[512] = {
        'c',  'o',  'n',  'e',  'c',  't', 'i',  'x',  0,    0,    0,    2,    0,    1,
        0,    0,    0,    0,    0,    0,   0,    0,    2,    0,    0x1e, 0x56, 0xf9, 0xc4,
        'v',  'p',  'c',  ' ',  0,    1,   0,    0,    'W',  'i',  '2',  'k',  0,    0,
        0,    0x1f, 0xc0, 0,    0,    0,   0,    0,    0,    0x1f, 0xc0, 0,    0,    0,
        0xfe, 0xfe, 0x10, 0xff, 0,    0,   0,    3,    0xff, 0xff, 0xec, 0x98, 0x33, 0xea,
        0,    0x13, 0x61, 0x91, 0x4d, 2,   0xb9, 0x3f, 0x88, 0xaf, 0x84, 0x29, 0x6f, 0x85};
    const struct spec_structure *s = spec_structure_find(spec_vpc(), "footer");
    uint32_t sum = 0;
    for (size_t i = 0; i < sizeof(real); i++) {
        sum += i < 64 || i >= 68 ? real[i] : 0;
    }
    assert_int_equal(vpc_footer_get_checksum(real), (uint32_t)~sum);
    for (size_t i = 0; i < s->nr_rules; i++) {
        assert_true(s->rules[i].holds(real, NULL));
    }
    for (size_t i = 0; i < s->nr_fields; i++) {
        assert_true(spec_field_valid(&s->fields[i], real, NULL));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_read),
        cmocka_unit_test(test_build),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_rules),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
