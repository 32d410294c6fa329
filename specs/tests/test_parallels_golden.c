/*
 * Golden bytes of the parallels structures, transcribed by hand from docs/interop/parallels.txt of
 * QEMU 7.2, not from specs/parallels.yaml: read by the generated accessors and built again.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include "specs/parallels_layout.h"
#include "specs/runtime/spec.h"

/* clang-format off */
static const uint8_t header[64] = {
    'W', 'i', 't', 'h', 'o', 'u', 'F', 'r', 'e', 'S', 'p', 'a', 'c', 'E', 'x', 't', /* 0 - 15 */
    2, 0, 0, 0,                     /* 16 - 19 version */
    0x10, 1, 2, 3,                  /* 20 - 23 heads */
    0x11, 4, 5, 6,                  /* 24 - 27 cylinders */
    0, 8, 0, 0,                     /* 28 - 31 tracks */
    0x20, 0x21, 0x22, 0x03,         /* 32 - 35 nb_bat_entries */
    1, 2, 3, 4, 5, 6, 7, 0,         /* 36 - 43 nb_sectors */
    0x76, 0x32, 0x2e, 0x31,         /* 44 - 47 in_use: closed ("v2.1") */
    0x30, 0x31, 0x32, 0x33,         /* 48 - 51 data_off */
    1, 0, 0, 0,                     /* 52 - 55 flags: empty image */
    9, 8, 7, 6, 5, 4, 3, 2,         /* 56 - 63 ext_off */
};
static const uint8_t ext[24] = {
    0x87, 0xea, 0xdc, 0x23, 0xef, 0x4c, 0x23, 0xab, /* 0 - 7 magic */
    1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, /* 8 - 23 checksum */
};
static const uint8_t feature[24] = {
    0x4a, 0xb3, 0x2c, 0x25, 0xae, 0x5f, 0x38, 0x20, /* 0 - 7 magic: dirty bitmap */
    3, 0, 0, 0, 0, 0, 0, 0,         /* 8 - 15 flags: necessary, transit */
    0x28, 1, 2, 3,                  /* 16 - 19 data_size */
    0, 0, 0, 0,                     /* 20 - 23 unused */
};
static const uint8_t bitmap[32] = {
    1, 2, 3, 4, 5, 6, 7, 8,         /* 0 - 7 size */
    21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, /* 8 - 23 id */
    0x80, 0, 0, 0,                  /* 24 - 27 granularity */
    0x31, 0x32, 0, 0,               /* 28 - 31 l1_size */
};
/* clang-format on */

#define HEADER(X)                                                                                  \
    X(header, version, 2)                                                                          \
    X(header, heads, 0x03020110)                                                                   \
    X(header, cylinders, 0x06050411)                                                               \
    X(header, tracks, 0x800)                                                                       \
    X(header, nb_bat_entries, 0x03222120)                                                          \
    X(header, nb_sectors, UINT64_C(0x0007060504030201))                                            \
    X(header, in_use, 0x312e3276)                                                                  \
    X(header, data_off, 0x33323130)                                                                \
    X(header, flags, PARALLELS_FLAG_EMPTY)                                                         \
    X(header, ext_off, UINT64_C(0x0203040506070809))
#define FEATURE(X)                                                                                 \
    X(feature, magic, UINT64_C(0x20385FAE252CB34A))                                                \
    X(feature, flags, PARALLELS_FEATURE_FLAG_NECESSARY | PARALLELS_FEATURE_FLAG_TRANSIT)           \
    X(feature, data_size, 0x03020128)
#define BITMAP(X)                                                                                  \
    X(bitmap, size, UINT64_C(0x0807060504030201))                                                  \
    X(bitmap, granularity, 128)                                                                    \
    X(bitmap, l1_size, 0x3231)
#define READ(s, f, v)  assert_int_equal(parallels_##s##_get_##f(s), (v));
#define BUILD(s, f, v) parallels_##s##_set_##f(built, (v));

static void test_header(void **state)
{
    uint8_t built[64] = {0};
    HEADER(READ)
    memcpy(built + PARALLELS_HEADER_MAGIC_OFF, "WithouFreSpacExt", PARALLELS_HEADER_MAGIC_WIDTH);
    HEADER(BUILD)
    assert_int_equal(PARALLELS_HEADER_SIZE, 64);
    assert_int_equal(PARALLELS_CLOSED, 0x312e3276);
    assert_int_equal(PARALLELS_IN_USE, 0x746F6E59);
    assert_memory_equal(built, header, sizeof(header));
    assert_int_equal(spec_structure_find(spec_parallels(), "header")->size, 64);
}

static void test_bat_entry(void **state)
{
    static const uint8_t entry[4] = {1, 2, 3, 0x84};
    uint8_t built[4];
    assert_int_equal(parallels_bat_entry_get_offset(entry), 0x84030201);
    parallels_bat_entry_set_offset(built, 0x84030201);
    assert_memory_equal(built, entry, 4);
}

static void test_extension(void **state)
{
    uint8_t built[32] = {0};
    assert_int_equal(parallels_ext_header_get_magic(ext), UINT64_C(0xAB234CEF23DCEA87));
    parallels_ext_header_set_magic(built, PARALLELS_EXT_MAGIC);
    assert_memory_equal(built, ext, 8);
    assert_int_equal(PARALLELS_EXT_HEADER_CHECKSUM_OFF, 8);
    assert_int_equal(PARALLELS_EXT_HEADER_SIZE, sizeof(ext));
    memset(built, 0, sizeof(built));
    FEATURE(READ)
    FEATURE(BUILD)
    assert_memory_equal(built, feature, sizeof(feature));
    memset(built, 0, sizeof(built));
    BITMAP(READ)
    BITMAP(BUILD)
    memcpy(built + 8, bitmap + 8, 16);
    assert_memory_equal(built, bitmap, sizeof(bitmap));
    assert_int_equal(PARALLELS_FEATURE_SIZE, 24);
    assert_int_equal(PARALLELS_BITMAP_SIZE, 32);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_header),
        cmocka_unit_test(test_bat_entry),
        cmocka_unit_test(test_extension),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
