/*
 * The label table: names are interface, so they are spelt out here once more.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "fault/label.h"

static const char *const events[] = {
    "l1_update",
    "l1_grow_alloc_table",
    "l1_grow_write_table",
    "l1_grow_activate_table",
    "l2_load",
    "l2_update",
    "l2_update_compressed",
    "l2_alloc_cow_read",
    "l2_alloc_write",
    "read_aio",
    "read_backing_aio",
    "read_compressed",
    "write_aio",
    "write_compressed",
    "vmstate_load",
    "vmstate_save",
    "cow_read",
    "cow_write",
    "reftable_load",
    "reftable_grow",
    "reftable_update",
    "refblock_load",
    "refblock_update",
    "refblock_update_part",
    "refblock_alloc",
    "refblock_alloc_hookup",
    "refblock_alloc_write",
    "refblock_alloc_write_blocks",
    "refblock_alloc_write_table",
    "refblock_alloc_switch_table",
    "cluster_alloc",
    "cluster_alloc_bytes",
    "cluster_free",
    "flush_to_os",
    "flush_to_disk",
    "pwritev_rmw_head",
    "pwritev_rmw_after_head",
    "pwritev_rmw_tail",
    "pwritev_rmw_after_tail",
    "pwritev",
    "pwritev_zero",
    "pwritev_done",
    "empty_image_prepare",
    "l1_shrink_write_table",
    "l1_shrink_free_l2_clusters",
    "cor_write",
    "cluster_alloc_space",
    "none",
};

static void test_blkdebug_events(void **state)
{
    assert_int_equal(sizeof(events) / sizeof(*events), LABEL_BLKDEBUG_COUNT);
    for (int i = 0; i < LABEL_BLKDEBUG_COUNT; i++) {
        assert_string_equal(label_name(i), events[i]);
        assert_int_equal(label_parse(events[i]), i);
        assert_true(label_is_blkdebug(i));
    }
    assert_false(label_is_blkdebug(LABEL_HEADER_UPDATE));
}

static void test_names_round_trip(void **state)
{
    for (int i = 0; i < LABEL_COUNT; i++) {
        assert_int_equal(label_parse(label_name(i)), i);
    }
    assert_int_equal(label_parse("write"), -1);
    assert_int_equal(label_parse(""), -1);
    assert_int_equal(label_parse(NULL), -1);
}

static void test_class(void **state)
{
    assert_int_equal(label_class(LABEL_NONE), LABEL_DATA);
    assert_int_equal(label_class(LABEL_WRITE_AIO), LABEL_DATA);
    assert_int_equal(label_class(LABEL_L2_UPDATE), LABEL_META);
    assert_int_equal(label_class(LABEL_FLUSH_TO_OS), LABEL_CONTROL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_blkdebug_events),
        cmocka_unit_test(test_names_round_trip),
        cmocka_unit_test(test_class),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
