/* Values: types, ownership, key order (as QEMU 7.2 printed it), flat and nested forms. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <string.h>
#include "ref/base/error.h"
#include "ref/base/json.h"
#include "ref/base/mem.h"
#include "ref/base/value.h"

static struct value *json(const char *text)
{
    struct value *v = json_parse(text, NULL);

    assert_non_null(v);
    return v;
}

/* Compares v's text with `want` (and frees v). */
static void expect(struct value *v, const char *want)
{
    char *text = json_text(v, false);

    assert_string_equal(text, want);
    mem_free(text);
    value_free(v);
}

static void scalars_keep_their_type(void **state)
{
    struct value *v[] = {
        value_null(),           value_bool(true),  value_int(-5),  value_uint(5),
        value_uint(UINT64_MAX), value_double(0.5), value_str("s"), value_strf("%d%s", 1, "x"),
        value_list(),           value_dict(),
    };
    static const enum value_type types[] = {
        VALUE_NULL,   VALUE_BOOL,   VALUE_INT,    VALUE_INT,  VALUE_UINT,
        VALUE_DOUBLE, VALUE_STRING, VALUE_STRING, VALUE_LIST, VALUE_DICT,
    };

    for (size_t i = 0; i < ARRAY_SIZE(v); i++) {
        assert_int_equal(value_type(v[i]), types[i]);
        struct value *c = value_clone(v[i]);
        for (size_t k = 0; k < ARRAY_SIZE(v); k++) {
            assert_int_equal(value_equal(c, v[k]), i == k);
        }
        value_free(c);
    }
    assert_true(value_get_bool(v[1]));
    assert_int_equal(value_get_int(v[2]), -5);
    assert_int_equal(value_get_uint(v[3]), 5);
    assert_true(value_get_uint(v[4]) == UINT64_MAX);
    assert_true(value_get_double(v[5]) == 0.5 && value_get_double(v[2]) == -5 &&
                value_get_double(v[4]) > 1e19);
    assert_string_equal(value_get_str(v[7]), "1x");
    for (size_t i = 0; i < ARRAY_SIZE(v); i++) {
        value_free(v[i]);
    }
    value_free(NULL);
}

static void lists_are_in_order(void **state)
{
    struct value *l = value_list();

    for (int i = 0; i < 20; i++) {
        list_append(l, value_int(i));
    }
    assert_int_equal(list_len(l), 20);
    struct value *v = list_take_at(l, 3);
    assert_int_equal(value_get_int(v), 3);
    value_free(v);
    assert_int_equal(list_len(l), 19);
    assert_int_equal(value_get_int(list_at(l, 3)), 4);
    assert_int_equal(value_get_int(list_at(l, 18)), 19);
    value_free(l);
}

static void keys_come_in_qemus_order(void **state)
{
    static const char *const orders[] = {
        "{\"micro\": 0, \"major\": 0}",
        "{\"virtual-size\": 0, \"filename\": 0, \"cluster-size\": 0, \"format\": 0, "
        "\"actual-size\": 0, "
        "\"format-specific\": 0, \"dirty-flag\": 0}",
        "{\"compat\": 0, \"compression-type\": 0, \"lazy-refcounts\": 0, \"refcount-bits\": 0, "
        "\"corrupt\": 0, "
        "\"extended-l2\": 0}",
        "{\"image-end-offset\": 0, \"total-clusters\": 0, \"check-errors\": 0, \"filename\": 0, "
        "\"format\": 0}",
        "{\"read-zeroes\": 0, \"driver\": 0}",
        "{\"return\": 0, \"id\": 0}",
        "{\"id\": 0, \"error\": 0}",
    };

    for (size_t i = 0; i < ARRAY_SIZE(orders); i++) {
        struct value *v = json(orders[i]), *back = value_dict();
        const char *keys[10];
        struct dict_iter it;
        size_t n = 0;
        DICT_FOREACH (it, v) {
            keys[n++] = it.key;
        }
        while (n > 0) {
            dict_put_int(back, keys[--n], 0); /* whatever order they came in */
        }
        assert_true(value_equal(v, back));
        expect(v, orders[i]);
        expect(back, orders[i]);
    }
}

/* "Ac" and "ab" hash alike: the first letter is 32 lower, the second, shifted by 5 bits, one
 * higher. */
static void keys_of_one_bucket_are_newest_first(void **state)
{
    struct value *a = value_dict(), *b = value_dict();
    const char *one = "Ac", *two = "ab";

    dict_put_int(a, one, 1);
    dict_put_int(a, two, 2);
    dict_put_int(b, two, 2);
    dict_put_int(b, one, 1);
    assert_true(value_equal(a, b));
    dict_put_int(a, one, 3); /* replacing keeps the place */
    expect(a, "{\"ab\": 2, \"Ac\": 3}");
    expect(b, "{\"Ac\": 1, \"ab\": 2}");
}

static void dicts_find_replace_and_remove(void **state)
{
    struct value *d = value_dict();

    for (int i = 0; i < 2000; i++) {
        char *key = str_fmt("key-%d", i);
        dict_put_int(d, key, i);
        mem_free(key);
    }
    assert_int_equal(dict_len(d), 2000);
    for (int i = 0; i < 2000; i += 2) {
        char *key = str_fmt("key-%d", i);
        dict_del(d, key);
        dict_del(d, key);
        assert_false(dict_has(d, key));
        mem_free(key);
    }
    assert_int_equal(dict_len(d), 1000);
    struct value *c = value_clone(d);
    for (int i = 0; i < 2000; i++) {
        char *key = str_fmt("key-%d", i);
        assert_int_equal(dict_get_int(c, key, -1), i % 2 ? i : -1);
        mem_free(key);
    }
    assert_true(value_equal(c, d));
    dict_put_int(c, "key-1", 0);
    assert_false(value_equal(c, d));
    value_free(c);
    struct value *v = dict_take(d, "key-1");
    assert_int_equal(value_get_int(v), 1);
    value_free(v);
    assert_null(dict_take(d, "key-1"));
    assert_null(dict_get(d, ""));
    value_free(d);
}

static void typed_getters_have_defaults(void **state)
{
    struct value *d = value_dict();

    dict_put_str(d, "s", "text");
    dict_put_bool(d, "b", true);
    dict_put_uint(d, "u", UINT64_MAX);
    dict_put_int(d, "i", -1);
    assert_string_equal(dict_get_str(d, "s"), "text");
    assert_null(dict_get_str(d, "i"));
    assert_null(dict_get_str(d, "none"));
    assert_true(dict_get_bool(d, "b", false));
    assert_true(dict_get_bool(d, "s", true));
    assert_int_equal(dict_get_int(d, "i", 5), -1);
    assert_int_equal(dict_get_int(d, "u", 5), 5);
    assert_true(value_get_uint(dict_get(d, "u")) == UINT64_MAX);
    value_free(d);
}

static void flattening_dots_the_keys(void **state)
{
    struct value *d = json(
        "{'a': {'b': {'c': 1}, 'd': {}}, 'l': [{'x': 2}, [3, 4], []], 'p': 5, 'q': [], 'r': {}}");
    struct value *want =
        json("{'a.b.c': 1, 'a.d': {}, 'l.0.x': 2, 'l.1.0': 3, 'l.1.1': 4, 'l.2': [], 'p': 5, "
             "'q': [], 'r': {}}");

    dict_flatten(d);
    assert_true(value_equal(d, want));
    dict_flatten(d);
    assert_true(value_equal(d, want));
    value_free(want);
    struct value *back = dict_crumple(d, NULL);
    want = json(
        "{'a': {'b': {'c': 1}, 'd': {}}, 'l': [{'x': 2}, [3, 4], []], 'p': 5, 'q': [], 'r': {}}");
    assert_true(value_equal(back, want));
    value_free(back);
    value_free(want);
    value_free(d);
}

static void crumple(const char *flat, const char *want)
{
    struct value *d = json(flat);
    struct error *e = NULL;
    struct value *v = dict_crumple(d, &e);

    assert_true(!v == !!e);
    expect(v ? v : value_strf("!%s", e->msg), want);
    error_free(e);
    value_free(d);
}

static void crumpling_refuses_what_contradicts(void **state)
{
    crumple("{}", "{}");
    crumple("{'0': 1}", "{\"0\": 1}"); /* the outermost stays a dict */
    crumple("{'a..b': 1}", "{\"a.b\": 1}");
    crumple("{'s.a..b': 1}", "{\"s\": {\"a.b\": 1}}");
    crumple("{'s.a...b': 1}", "{\"s\": {\"a.\": {\"b\": 1}}}");
    crumple("{'s.': 1}", "{\"s\": {\"\": 1}}");
    crumple("{'s.0x0': 1}", "{\"s\": {\"0x0\": 1}}");
    crumple("{'s.9223372036854775808': 1}", "{\"s\": {\"9223372036854775808\": 1}}");
    crumple("{'s.1': 'b', 's.0': 'a'}", "{\"s\": [\"a\", \"b\"]}");
    crumple("{'s.a.b': 1, 's.a': 2}", "\"!Cannot mix scalar and non-scalar keys\"");
    crumple("{'s': 1, 's.a': 2}", "\"!Cannot mix scalar and non-scalar keys\"");
    crumple("{'s': {}, 's.a': 2}", "\"!Cannot mix scalar and non-scalar keys\"");
    crumple("{'s.0': 1, 's.b': 2}", "\"!Cannot mix list and non-list keys\"");
    crumple("{'s.0': 1, 's.2': 2}",
            "\"!List indices are not contiguous, saw 2 elements but 2 largest index\"");
    crumple("{'s.01': 1}",
            "\"!List indices are not contiguous, saw 1 elements but 1 largest index\"");
    crumple("{'s.-1': 1}",
            "\"!List indices are not contiguous, saw 1 elements but -1 largest index\"");
    crumple("{'s.00': 1, 's.1': 2}", "\"!Missing list index 0\"");
    crumple("{'s.+0': 1, 's.1': 2}", "\"!Missing list index 0\"");
    crumple("{'s. 0': 1}", "\"!Missing list index 0\"");
}

static void crumpling_bounds_its_depth(void **state)
{
    char key[20001];
    struct value *d = value_dict();
    struct error *e = NULL;

    for (size_t i = 0; i < sizeof(key) - 1; i++) {
        key[i] = i % 2 ? '.' : 'a';
    }
    key[sizeof(key) - 2] = 'a';
    key[sizeof(key) - 1] = '\0';
    dict_put_int(d, key, 1);
    assert_null(dict_crumple(d, &e));
    assert_string_equal(e->msg, "Keys have more than 512 parts");
    error_free(e);
    value_free(d);
}

static void extracting_and_joining_move_keys(void **state)
{
    struct value *d = json("{'file.a': 1, 'file.b.c': 2, 'file': 3, 'filex': 4, 'x': 5}");
    struct value *sub = dict_extract(d, "file.");
    struct value *want = json("{'a': 1, 'b.c': 2}");

    assert_true(value_equal(sub, want));
    assert_int_equal(dict_len(d), 3);
    value_free(want);
    dict_put_int(sub, "x", 6);
    dict_join(d, sub, false);
    want = json("{'file': 3, 'filex': 4, 'x': 5, 'a': 1, 'b.c': 2}");
    assert_true(value_equal(d, want));
    value_free(want);
    assert_int_equal(dict_len(sub), 1);
    dict_join(d, sub, true);
    assert_int_equal(dict_len(sub), 0);
    assert_int_equal(dict_get_int(d, "x", 0), 6);
    value_free(sub);
    value_free(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scalars_keep_their_type),
        cmocka_unit_test(lists_are_in_order),
        cmocka_unit_test(keys_come_in_qemus_order),
        cmocka_unit_test(keys_of_one_bucket_are_newest_first),
        cmocka_unit_test(dicts_find_replace_and_remove),
        cmocka_unit_test(typed_getters_have_defaults),
        cmocka_unit_test(flattening_dots_the_keys),
        cmocka_unit_test(crumpling_refuses_what_contradicts),
        cmocka_unit_test(crumpling_bounds_its_depth),
        cmocka_unit_test(extracting_and_joining_move_keys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
