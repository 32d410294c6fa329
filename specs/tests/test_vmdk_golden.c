/*
 * Golden bytes of VMware disks: header, marker, entries, ESX and seSparse headers, positions as the
 * source has them; read by the generated accessors and by the tables, and built again.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "specs/runtime/spec.h"
#include "specs/vmdk_layout.h"

/* clang-format off */
static const uint8_t header[79] = {
    'K', 'D', 'M', 'V',  3, 0, 0, 0,           /* 0 magic, version */
    7, 0, 3, 0,                                /* 8 flags */
    1, 2, 3, 4, 5, 6, 7, 8,                    /* 12 capacity */
    128, 0, 0, 0, 0, 0, 0, 0,                  /* 20 sectors of a grain */
    11, 12, 13, 14, 15, 16, 17, 18,            /* 28 descriptor's sector */
    21, 22, 23, 24, 25, 26, 27, 28,            /* 36 and sectors */
    0, 2, 0, 0,                                /* 44 entries of a grain table */
    31, 32, 33, 34, 35, 36, 37, 38,            /* 48 redundant grain directory */
    41, 42, 43, 44, 45, 46, 47, 48,            /* 56 grain directory */
    51, 52, 53, 54, 55, 56, 57, 58,            /* 64 overhead */
    1, '\n', ' ', '\r', '\n',                  /* 72 unclean shutdown, line ends */
    1, 0,                                      /* 77 deflate */
};
static const uint8_t marker[16] = {
    1, 2, 3, 4, 5, 6, 7, 8,  0, 0, 0, 0,  3, 0, 0, 0,
};
static const uint8_t cowd[32] = {
    'C', 'O', 'W', 'D',  1, 0, 0, 0,  3, 0, 0, 0,
    1, 2, 3, 4,  5, 6, 0, 0,  7, 8, 9, 10,  11, 12, 13, 0,  14, 15, 16, 17,
};
static const uint8_t se[208] = {
    0xbe, 0xba, 0xfe, 0xca, 0, 0, 0, 0,  1, 0, 0, 0, 2, 0, 0, 0,
    1, 2, 3, 4, 5, 6, 7, 8,  8, 0, 0, 0, 0, 0, 0, 0,  64, 0, 0, 0, 0, 0, 0, 0, /* 16 */
    [80] = 2, [88] = 3, [96] = 4, [104] = 5, [112] = 6, [120] = 7, [128] = 8, [136] = 9,
    [144] = 10, [152] = 11, [160] = 12, [168] = 13, [176] = 14, [184] = 15, [192] = 16, [200] = 17,
};
/* clang-format on */

static uint64_t field(const char *structure, const char *name, const uint8_t *p)
{
    const struct spec_structure *s = spec_structure_find(spec_vmdk(), structure);
    assert_non_null(s);
    return spec_field_get(spec_field_find(s, name), p, NULL);
}

static void test_header(void **state)
{
    uint8_t built[512] = {0}, golden[512] = {0};
    memcpy(golden, header, sizeof(header));
    vmdk_header_set_magic(built, VMDK_MAGIC);
    vmdk_header_set_version(built, 3);
    vmdk_header_set_flags(built, VMDK_FLAGS_KNOWN);
    vmdk_header_set_capacity(built, 0x0807060504030201);
    vmdk_header_set_grain_size(built, 128);
    vmdk_header_set_descriptor_offset(built, 0x1211100f0e0d0c0b);
    vmdk_header_set_descriptor_size(built, 0x1c1b1a1918171615);
    vmdk_header_set_gtes_per_gt(built, 512);
    vmdk_header_set_rgd_offset(built, 0x262524232221201f);
    vmdk_header_set_gd_offset(built, 0x302f2e2d2c2b2a29);
    vmdk_header_set_overhead(built, 0x3a39383736353433);
    vmdk_header_set_unclean_shutdown(built, 1);
    vmdk_header_set_single_end_line(built, '\n');
    vmdk_header_set_non_end_line(built, ' ');
    vmdk_header_set_double_end_line1(built, '\r');
    vmdk_header_set_double_end_line2(built, '\n');
    vmdk_header_set_compress_algorithm(built, VMDK_DEFLATE);
    assert_memory_equal(built, golden, sizeof(golden));
    assert_int_equal(vmdk_header_get_gd_offset(golden), 0x302f2e2d2c2b2a29);
    assert_int_equal(field("header", "overhead", golden), 0x3a39383736353433);
    assert_int_equal(field("header", "compress_algorithm", golden), 1);
    struct spec_report r = {0};
    struct vmdk_params q = {.grain_size = 128};
    assert_int_equal(
        spec_structure_check(spec_structure_find(spec_vmdk(), "header"), golden, &q, 0, &r), 0);
}

static void test_marker_and_entries(void **state)
{
    const uint8_t gd[4] = {1, 2, 3, 4}, gt[4] = {5, 6, 7, 8};
    assert_int_equal(vmdk_marker_get_value(marker), 0x0807060504030201);
    assert_int_equal(vmdk_marker_get_size(marker), 0);
    assert_int_equal(vmdk_marker_get_type(marker), VMDK_MARKER_FOOTER);
    assert_int_equal(field("marker", "type", marker), 3);
    assert_int_equal(vmdk_gd_entry_get_sector(gd), 0x04030201);
    assert_int_equal(vmdk_gt_entry_get_sector(gt), 0x08070605);
    assert_int_equal(field("gt_entry", "sector", gt), 0x08070605);
}

static void test_cowd(void **state)
{
    assert_int_equal(vmdk_cowd_get_magic(cowd), VMDK_COWD_MAGIC);
    assert_int_equal(vmdk_cowd_get_sectors(cowd), 0x04030201);
    assert_int_equal(vmdk_cowd_get_grain_size(cowd), 0x0605);
    assert_int_equal(vmdk_cowd_get_gd_offset(cowd), 0x0a090807);
    assert_int_equal(vmdk_cowd_get_gd_entries(cowd), 0x0d0c0b);
    assert_int_equal(vmdk_cowd_get_free_sector(cowd), 0x11100f0e);
    assert_int_equal(field("cowd", "free_sector", cowd), 0x11100f0e);
}

static void test_sesparse(void **state)
{
    assert_int_equal(vmdk_se_header_get_magic(se), VMDK_SE_MAGIC);
    assert_int_equal(vmdk_se_header_get_version(se), VMDK_SE_VERSION);
    assert_int_equal(vmdk_se_header_get_capacity(se), 0x0807060504030201);
    assert_int_equal(vmdk_se_header_get_volatile_offset(se), 2);
    assert_int_equal(vmdk_se_header_get_gd_offset(se), 8);
    assert_int_equal(vmdk_se_header_get_gd_size(se), 9);
    assert_int_equal(vmdk_se_header_get_gt_offset(se), 10);
    assert_int_equal(vmdk_se_header_get_backmap_size(se), 15);
    assert_int_equal(vmdk_se_header_get_grains_offset(se), 16);
    assert_int_equal(field("se_header", "grains_size", se), 17);
    const uint8_t gd[8] = {4, 3, 2, 1, 0, 0, 0, 0x10}, gt[8] = {1, 0, 0, 0, 0, 0, 0x23, 0x31};
    assert_int_equal(vmdk_se_gd_entry_get_table(gd), 0x01020304);
    assert_int_equal(vmdk_se_gd_entry_get_tag(gd), 0x10000000);
    assert_int_equal(vmdk_se_gt_entry_get_type(gt), VMDK_SE_GRAIN_ALLOCATED);
    assert_int_equal(vmdk_se_gt_entry_get_high(gt), 0x123);
    assert_int_equal(vmdk_se_gt_entry_get_low(gt), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_header),
        cmocka_unit_test(test_marker_and_entries),
        cmocka_unit_test(test_cowd),
        cmocka_unit_test(test_sesparse),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
