/*
 * The divergence list and what subjects share: matching, bad files, options, extents, statuses.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "harness/campaign/divergence.h"
#include "harness/subject/subject.h"
#include "ref/base/mem.h"

static void test_match(void **state)
{
    struct divergences *d =
        divergences_parse("# comment\nid: one\nwhy: because\nsubject: qemu*\nversion: 7.2*\n"
                          "program: *refcount_bits=1[!0-9]*snapshot*\n\n\n"
                          "id: two\nwhy: so\ndetail: @(map|extent) *\n",
                          NULL);
    assert_non_null(d);
    assert_int_equal(d->n, 2);
    struct difference_facts f = {
        "programs",         "qemu",
        "7.2.22",           "qcow2",
        "check at the end", "image qcow2 1M refcount_bits=1\nsnapshot a\n"};
    const struct divergence *e = divergences_match(d, &f);
    assert_non_null(e);
    assert_string_equal(e->id, "one");
    assert_int_equal(e->seen, 1);
    f.program = "image qcow2 1M refcount_bits=16\nsnapshot a\n";
    assert_null(divergences_match(d, &f));
    f.program = "image qcow2 1M refcount_bits=1\nsnapshot a\n";
    f.version = NULL;
    assert_null(divergences_match(d, &f));
    f.detail = "map at 1";
    assert_string_equal(divergences_match(d, &f)->id, "two");
    f.detail = "bytes at 1";
    assert_null(divergences_match(d, &f));
    divergences_free(d);
}

static void test_bad_lists(void **state)
{
    static const char *const bad[] = {"id one\nwhy: x\n", "id: one\n", "why: x\n",
                                      "id: a\nid: b\nwhy: x\n", "id: a\nwhy: x\ncolour: red\n"};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct error *err = NULL;
        assert_null(divergences_parse(bad[i], &err));
        assert_non_null(err);
        error_clear(&err);
    }
    struct divergences *none = divergences_load("/nowhere/divergences.txt", NULL);
    assert_non_null(none);
    assert_int_equal(none->n, 0);
    divergences_free(none);
}

static void test_options(void **state)
{
    struct program p = {.format = "qcow2",
                        .options =
                            "compat=1.1,data_file=data,preallocation=full,cluster_size=4096"};
    char *first = subject_options(&p, "sim:", false), *overlay = subject_options(&p, "sim:", true);
    assert_string_equal(
        first, "compat=1.1,data_file=sim:layer0.data,preallocation=full,cluster_size=4096");
    assert_string_equal(overlay, "compat=1.1,cluster_size=4096");
    mem_free(first);
    mem_free(overlay);
}

static void test_extents(void **state)
{
    struct extent *a = NULL, *b = NULL;
    int na = 0, nb = 0;
    extents_add(&a, &na, &(struct extent){.offset = 0, .bytes = 10, .data = true});
    extents_add(&a, &na, &(struct extent){.offset = 10, .bytes = 5, .data = true});
    extents_add(&a, &na, &(struct extent){.offset = 15, .bytes = 5, .zero = true});
    extents_add(&b, &nb, &(struct extent){.offset = 0, .bytes = 15, .data = true});
    assert_false(extents_equal(a, na, b, nb));
    extents_add(&b, &nb, &(struct extent){.offset = 15, .bytes = 5, .zero = true});
    assert_true(extents_equal(a, na, b, nb));
    b[1].depth = 1;
    assert_false(extents_equal(a, na, b, nb));
    mem_free(a);
    mem_free(b);
}

static void test_statuses(void **state)
{
    assert_true(status_equal(0, 0));
    assert_false(status_equal(0, SUBJECT_FAILED));
    assert_true(status_equal(-EIO, SUBJECT_FAILED));
    assert_false(status_equal(-EIO, -ENOSPC));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_match),    cmocka_unit_test(test_bad_lists),
        cmocka_unit_test(test_options),  cmocka_unit_test(test_extents),
        cmocka_unit_test(test_statuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
