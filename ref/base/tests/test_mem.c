/* Memory: sizes, zeroing, overflow, alignment, the failure hook, and the arithmetic macros. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "ref/base/mem.h"

static void small_allocations_always_work(void **state)
{
    char *a = mem_alloc(0), *z = mem_zalloc(100), *n = mem_array(10, 10), *d = mem_dup("abc", 4);
    char *empty = mem_dup(NULL, 0);

    assert_non_null(a);
    assert_non_null(empty);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(z[i] | n[i], 0);
    }
    assert_string_equal(d, "abc");
    d = mem_realloc(d, 1000);
    assert_string_equal(d, "abc");
    mem_free(a);
    mem_free(z);
    mem_free(n);
    mem_free(d);
    mem_free(empty);
    mem_free(NULL);
}

static void strings_are_copied_and_made(void **state)
{
    char *a = str_dup("x"), *b = str_ndup("hello", 3), *c = str_ndup("hi", 30),
         *d = str_fmt("%d-%s", 7, "k");

    assert_null(str_dup(NULL));
    assert_string_equal(a, "x");
    assert_string_equal(b, "hel");
    assert_string_equal(c, "hi");
    assert_string_equal(d, "7-k");
    mem_free(a);
    mem_free(b);
    mem_free(c);
    mem_free(d);
}

static void too_much_is_null_not_a_crash(void **state)
{
    assert_null(mem_try_array(SIZE_MAX / 2, 3));
    char *p = mem_try_alloc(0), *z = mem_try_zalloc(64), *a = mem_try_array(8, 8);
    assert_non_null(p);
    for (int i = 0; i < 64; i++) {
        assert_int_equal(z[i] | a[i], 0);
    }
    p = mem_try_realloc(p, 10);
    assert_non_null(p);
    mem_free(p);
    mem_free(z);
    mem_free(a);
}

static void alignment_is_kept(void **state)
{
    for (size_t align = sizeof(void *); align <= 1 << 20; align *= 2) {
        void *p = mem_try_aligned(align, 100);
        assert_non_null(p);
        assert_int_equal((uintptr_t)p % align, 0);
        mem_free(p);
    }
    void *p = mem_try_aligned(512, 0);
    assert_non_null(p);
    mem_free(p);
}

struct counter {
    int calls, fail_at;
    size_t last;
};

static bool fail_nth(size_t size, void *opaque)
{
    struct counter *c = opaque;

    c->last = size;
    return ++c->calls == c->fail_at;
}

static void the_hook_makes_any_of_them_fail(void **state)
{
    for (int which = 1; which <= 5; which++) {
        struct counter c = {0, which, 0};
        mem_set_fail_hook(fail_nth, &c);
        void *old = mem_alloc(1); /* never asks */
        void *p[5] = {
            mem_try_alloc(11),
            mem_try_zalloc(12),
            mem_try_array(13, 2),
            mem_try_aligned(512, 14),
            NULL,
        };
        p[4] = mem_try_realloc(old, 15);
        mem_set_fail_hook(NULL, NULL);
        assert_int_equal(c.calls, 5);
        assert_int_equal(c.last, 15);
        for (int i = 0; i < 5; i++) {
            assert_int_equal(p[i] == NULL, i + 1 == which);
        }
        if (which == 5) {
            mem_free(old); /* a failed realloc leaves the old one */
        }
        for (int i = 0; i < 5; i++) {
            mem_free(p[i]);
        }
    }
}

static void macros_round_and_compare(void **state)
{
    int array[7];

    assert_int_equal(ARRAY_SIZE(array), 7);
    assert_int_equal(MIN(1, 2) + MAX(1, 2), 3);
    assert_int_equal(ROUND_DOWN(1023, 512), 512);
    assert_int_equal(ROUND_UP(513, 512), 1024);
    assert_int_equal(ROUND_UP(512, 512), 512);
    assert_int_equal(DIV_ROUND_UP(10, 3), 4);
    assert_true(IS_ALIGNED(1024, 512));
    assert_false(IS_ALIGNED(1025, 512));
    assert_true(IS_POW2(64));
    assert_false(IS_POW2(0));
    assert_false(IS_POW2(96));
    assert_int_equal(TiB, 1LL << 40);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small_allocations_always_work),
        cmocka_unit_test(strings_are_copied_and_made),
        cmocka_unit_test(too_much_is_null_not_a_crash),
        cmocka_unit_test(alignment_is_kept),
        cmocka_unit_test(the_hook_makes_any_of_them_fail),
        cmocka_unit_test(macros_round_and_compare),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
