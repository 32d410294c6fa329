/*
 * Golden bytes of cloop 2.0 images: the geometry behind the script, and an offset.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "specs/cloop_layout.h"
#include "specs/runtime/spec.h"

static void test_header(void **state)
{
    static const uint8_t geometry[8] = {0, 1, 2, 0, 0x13, 0x24, 0x35, 0x46}; /* at 128 */
    uint8_t golden[136] = "#!/bin/sh\n#V2.0 Format\n", built[136] = "#!/bin/sh\n#V2.0 Format\n";
    memcpy(golden + 128, geometry, sizeof(geometry));
    assert_int_equal(cloop_header_get_block_size(golden), 0x10200);
    assert_int_equal(cloop_header_get_n_blocks(golden), 0x13243546);
    cloop_header_set_block_size(built, 0x10200);
    cloop_header_set_n_blocks(built, 0x13243546);
    assert_memory_equal(built, golden, sizeof(golden));
    const struct spec_structure *s = spec_structure_find(spec_cloop(), "header");
    assert_non_null(s);
    assert_int_equal(spec_field_get(spec_field_find(s, "n_blocks"), golden, NULL), 0x13243546);
}

static void test_offset(void **state)
{
    static const uint8_t golden[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    assert_int_equal(cloop_offset_entry_get_offset(golden), 0x0102030405060708);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_header),
        cmocka_unit_test(test_offset),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
