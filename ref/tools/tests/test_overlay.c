/*
 * Temporary overlays: what is written is read back, and gone when the image is opened again.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "ref/block/backend.h"
#include "ref/tools/drivers.h"

static void overlay(void *arg)
{
    struct world *w = arg;
    struct error *err = NULL;
    uint8_t buf[512];
    struct value *o = value_dict();
    dict_put_str(o, "driver", "null-co");
    dict_put_str(o, "size", "1M");
    dict_put_str(o, "read-zeroes", "on");
    dict_put_str(o, "node-name", "base");
    struct node *base = node_open(w, NULL, NULL, o, 0, &err);
    assert_non_null(base);
    for (int i = 0; i < 2; i++) {
        struct value *raw = value_dict();
        dict_put_str(raw, "driver", "raw");
        dict_put_str(raw, "file", "base");
        struct blk *b = blk_open(w, NULL, NULL, raw, OPEN_RDWR | OPEN_SNAPSHOT, &err);
        if (!b) {
            fail_msg("%s", err->msg);
        }
        assert_string_equal(blk_node(b)->drv->name, "qcow2");
        assert_true(blk_node(b)->backing->node->read_only);
        assert_int_equal(blk_length(b), 1 << 20);
        assert_int_equal(blk_pread(b, 4096, buf, sizeof(buf)), 0);
        assert_int_equal(buf[0], 0);
        memset(buf, 7, sizeof(buf));
        assert_int_equal(blk_pwrite(b, 4096, buf, sizeof(buf), 0), 0);
        memset(buf, 0, sizeof(buf));
        assert_int_equal(blk_pread(b, 4096, buf, sizeof(buf)), 0);
        assert_int_equal(buf[511], 7);
        blk_unref(b);
    }
    node_unref(base);
    assert_null(node_next(w, NULL));
}

static void test_overlay(void **state)
{
    struct process *p = process_new();
    struct world *w = world_new(p, &(struct world_config){.random_seed = true});
    block_set_drivers(w, &all_drivers);
    assert_int_equal(world_exec(w, overlay, w), 0);
    world_free(w);
    process_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_overlay)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
