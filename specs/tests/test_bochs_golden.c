/*
 * Golden bytes of Bochs growing redologs, positions as in images made by bximage, read and built by
 * the generated accessors.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "specs/bochs_layout.h"
#include "specs/runtime/spec.h"

/* clang-format off */
static const uint8_t golden[96] = {
    'B', 'o', 'c', 'h', 's', ' ', 'V', 'i', 'r', 't', 'u', 'a', 'l', ' ', 'H', 'D',   /* 0 magic */
    ' ', 'I', 'm', 'a', 'g', 'e', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    'R', 'e', 'd', 'o', 'l', 'o', 'g', 0, 0, 0, 0, 0, 0, 0, 0, 0,                     /* 32 type */
    'G', 'r', 'o', 'w', 'i', 'n', 'g', 0, 0, 0, 0, 0, 0, 0, 0, 0,                     /* 48 subtype */
    0, 0, 2, 0,  0, 2, 0, 0,  0x78, 0x56, 0x04, 0,  0x0d, 0x0c, 0x0b, 0x0a,           /* 64 version to bitmap */
    0, 0x10, 0, 0,  1, 2, 3, 4,  8, 7, 6, 5, 4, 3, 2, 1,                              /* 80 extent to disk */
};
/* clang-format on */

static void test_header(void **state)
{
    uint8_t built[96];
    memcpy(built, golden, 64);
    assert_int_equal(bochs_header_get_version(golden), 0x20000);
    assert_int_equal(bochs_header_get_header_bytes(golden), 512);
    assert_int_equal(bochs_header_get_catalog(golden), 0x45678);
    assert_int_equal(bochs_header_get_bitmap(golden), 0x0a0b0c0d);
    assert_int_equal(bochs_header_get_extent(golden), 4096);
    assert_int_equal(bochs_header_get_timestamp(golden), 0x04030201);
    assert_int_equal(bochs_header_get_disk(golden), 0x0102030405060708);
    assert_int_equal(bochs_header_v1_get_disk(golden), 0x0506070804030201);
    bochs_header_set_version(built, 0x20000);
    bochs_header_set_header_bytes(built, 512);
    bochs_header_set_catalog(built, 0x45678);
    bochs_header_set_bitmap(built, 0x0a0b0c0d);
    bochs_header_set_extent(built, 4096);
    bochs_header_set_timestamp(built, 0x04030201);
    bochs_header_set_disk(built, 0x0102030405060708);
    assert_memory_equal(built, golden, sizeof(golden));
    assert_memory_equal(golden + BOCHS_HEADER_SUBTYPE_OFF, "Growing", 8);
    assert_memory_equal(golden + BOCHS_HEADER_TYPE_OFF, "Redolog", 8);
}

static void test_catalog_entry(void **state)
{
    static const uint8_t entry[4] = {1, 2, 3, 0x84};
    assert_int_equal(bochs_catalog_entry_get_extent(entry), 0x84030201);
}

static void test_table_agrees(void **state)
{
    const struct spec_structure *s = spec_structure_find(spec_bochs(), "header");
    assert_non_null(s);
    const struct spec_field *f = spec_field_find(s, "extent");
    assert_non_null(f);
    assert_int_equal(spec_field_get(f, golden, NULL), 4096);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_header),
        cmocka_unit_test(test_catalog_entry),
        cmocka_unit_test(test_table_agrees),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
