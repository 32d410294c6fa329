/*
 * Golden bytes of Apple disk images: the trailer, a table of chunks and one chunk, positions as in
 * images made by Apple's tools; read by the generated accessors and by the tables, and built again.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "specs/dmg_layout.h"
#include "specs/runtime/spec.h"

/* clang-format off */
static const uint8_t chunk[40] = {
    0x80, 0, 0, 5,  9, 8, 7, 6,                /* 0 type, comment */
    1, 2, 3, 4, 5, 6, 7, 8,                    /* 8 first sector */
    11, 12, 13, 14, 15, 16, 17, 18,            /* 16 sectors */
    21, 22, 23, 24, 25, 26, 27, 28,            /* 24 offset */
    31, 32, 33, 34, 35, 36, 37, 38,            /* 32 length */
};
static const uint8_t table[40] = {
    'm', 'i', 's', 'h',  0, 0, 0, 1,           /* 0 magic, version */
    1, 2, 3, 4, 5, 6, 7, 8,                    /* 8 first sector */
    11, 12, 13, 14, 15, 16, 17, 18,            /* 16 sectors */
    21, 22, 23, 24, 25, 26, 27, 28,            /* 24 data offset */
    0, 0, 8, 8,  0, 0, 0, 3,                   /* 32 buffers, descriptor */
};
/* clang-format on */

static void test_chunk(void **state)
{
    uint8_t built[40] = {0, 0, 0, 0, 9, 8, 7, 6};
    assert_int_equal(dmg_chunk_get_type(chunk), DMG_CHUNK_ZLIB);
    assert_int_equal(dmg_chunk_get_sector(chunk), 0x0102030405060708);
    assert_int_equal(dmg_chunk_get_sectors(chunk), 0x0b0c0d0e0f101112);
    assert_int_equal(dmg_chunk_get_offset(chunk), 0x15161718191a1b1c);
    assert_int_equal(dmg_chunk_get_length(chunk), 0x1f20212223242526);
    dmg_chunk_set_type(built, 0x80000005);
    dmg_chunk_set_sector(built, 0x0102030405060708);
    dmg_chunk_set_sectors(built, 0x0b0c0d0e0f101112);
    dmg_chunk_set_offset(built, 0x15161718191a1b1c);
    dmg_chunk_set_length(built, 0x1f20212223242526);
    assert_memory_equal(built, chunk, sizeof(chunk));
    const struct spec_structure *s = spec_structure_find(spec_dmg(), "chunk");
    assert_non_null(s);
    assert_int_equal(spec_field_get(spec_field_find(s, "length"), chunk, NULL), 0x1f20212223242526);
}

static void test_table(void **state)
{
    uint8_t golden[204] = {0}, built[204] = {0};
    memcpy(golden, table, sizeof(table));
    golden[203] = 7; /* 200 number of chunks */
    assert_int_equal(dmg_table_get_magic(golden), DMG_MISH);
    assert_int_equal(dmg_table_get_first_sector(golden), 0x0102030405060708);
    assert_int_equal(dmg_table_get_data_offset(golden), 0x15161718191a1b1c);
    assert_int_equal(dmg_table_get_chunks(golden), 7);
    dmg_table_set_magic(built, 0x6d697368);
    dmg_table_set_version(built, 1);
    dmg_table_set_first_sector(built, 0x0102030405060708);
    dmg_table_set_sectors(built, 0x0b0c0d0e0f101112);
    dmg_table_set_data_offset(built, 0x15161718191a1b1c);
    dmg_table_set_buffers(built, 0x808);
    dmg_table_set_descriptor(built, 3);
    dmg_table_set_chunks(built, 7);
    assert_memory_equal(built, golden, sizeof(golden));
}

/* Number v at byte `at` of an empty trailer: the accessor sees it, and nothing but it. */
static void at(int offset, uint64_t (*get)(const uint8_t *p))
{
    uint8_t t[512];
    memset(t, 0xff, sizeof(t));
    for (int i = 0; i < 8; i++) {
        t[offset + i] = (uint8_t)(i + 1);
    }
    assert_int_equal(get(t), 0x0102030405060708);
}

static uint64_t data_offset(const uint8_t *p)
{
    return dmg_trailer_get_data_offset(p);
}
static uint64_t rsrc_offset(const uint8_t *p)
{
    return dmg_trailer_get_rsrc_offset(p);
}
static uint64_t rsrc_length(const uint8_t *p)
{
    return dmg_trailer_get_rsrc_length(p);
}
static uint64_t plist_offset(const uint8_t *p)
{
    return dmg_trailer_get_plist_offset(p);
}
static uint64_t plist_length(const uint8_t *p)
{
    return dmg_trailer_get_plist_length(p);
}
static uint64_t sectors(const uint8_t *p)
{
    return dmg_trailer_get_sectors(p);
}

static void test_trailer(void **state)
{
    static const uint8_t magic[] = {'k', 'o', 'l', 'y'};
    assert_int_equal(dmg_trailer_get_magic(magic), DMG_MAGIC);
    assert_int_equal(DMG_TRAILER_SIZE, 512);
    at(0x18, data_offset);
    at(0x28, rsrc_offset);
    at(0x30, rsrc_length);
    at(0xd8, plist_offset);
    at(0xe0, plist_length);
    at(0x1ec, sectors);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_chunk),
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_trailer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
