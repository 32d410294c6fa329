/* Options: the comma syntax, checks, typed access and help, with the texts of qemu-img 7.2. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <string.h>
#include "ref/base/json.h"
#include "ref/base/mem.h"
#include "ref/base/options.h"
#include "ref/base/strbuf.h"

static void expect(struct value *got, const char *want)
{
    struct value *v = json_parse(want, NULL);

    assert_non_null(v);
    if (!value_equal(got, v)) {
        fail_msg("got %s, not %s", json_text(got, false), want);
    }
    value_free(v);
    value_free(got);
}

static void elements_become_strings(void **state)
{
    expect(opts_parse("", NULL, NULL), "{}");
    expect(opts_parse("size=1k", NULL, NULL), "{'size': '1k'}");
    expect(opts_parse("a=1,b=2,", NULL, NULL), "{'a': '1', 'b': '2'}");
    expect(opts_parse("a=1,a=2", NULL, NULL), "{'a': '2'}");
    expect(opts_parse("a=1=2", NULL, NULL), "{'a': '1=2'}");
    expect(opts_parse("a=", NULL, NULL), "{'a': ''}");
    expect(opts_parse("=1", NULL, NULL), "{'': '1'}");
    expect(opts_parse("a=x,,y,b=,,,c=,,", NULL, NULL), "{'a': 'x,y', 'b': ',', 'c': ','}");
    expect(opts_parse("a=x,,", NULL, NULL), "{'a': 'x,'}");
    expect(opts_parse(" a= b ", NULL, NULL), "{' a': ' b '}");
}

static void lone_keys_are_switches(void **state)
{
    expect(opts_parse("a,nob", NULL, NULL), "{'a': 'on', 'b': 'off'}");
    expect(opts_parse("nocow", NULL, NULL), "{'cow': 'off'}");
    expect(opts_parse("nonocow", NULL, NULL), "{'nocow': 'off'}");
    expect(opts_parse("no", NULL, NULL), "{'': 'off'}");
    expect(opts_parse("no=1", NULL, NULL), "{'no': '1'}");
    expect(opts_parse(",a", NULL, NULL), "{'': 'on', 'a': 'on'}");
    expect(opts_parse(",,", NULL, NULL), "{'': 'on'}");
}

static void the_first_word_may_have_an_implied_key(void **state)
{
    expect(opts_parse("null-co,size=1k", "file", NULL), "{'file': 'null-co', 'size': '1k'}");
    expect(opts_parse("a,,b", "file", NULL), "{'file': 'a,b'}");
    expect(opts_parse(",driver=raw", "file", NULL), "{'file': '', 'driver': 'raw'}");
    expect(opts_parse("driver=raw,ro", "file", NULL), "{'driver': 'raw', 'ro': 'on'}");
    expect(opts_parse("", "file", NULL), "{}");
}

static void short_forms_are_noted(void **state)
{
    struct value *notes = value_list();

    expect(opts_parse_noting("x,read-zeroes,noro,size=1", "file", notes, NULL),
           "{'file': 'x', 'read-zeroes': 'on', 'ro': 'off', 'size': '1'}");
    expect(notes,
           "['short-form boolean option \\'read-zeroes\\' deprecated\\nPlease use read-zeroes=on "
           "instead',"
           " 'short-form boolean option \\'noro\\' deprecated\\nPlease use ro=off instead']");
}

static void help_is_a_whole_element(void **state)
{
    static const char *const yes[] = {"help", "?", "size=1k,help", "help,foo", "?,foo", "a,?"};
    static const char *const no[] = {"",      "help=on", "foo=help", " help",
                                     "helpx", "a,,help", "??",       "help,,x"};

    for (size_t i = 0; i < ARRAY_SIZE(yes); i++) {
        assert_true(opts_has_help(yes[i]));
    }
    for (size_t i = 0; i < ARRAY_SIZE(no); i++) {
        assert_false(opts_has_help(no[i]));
    }
}

static void elements_can_be_taken_one_by_one(void **state)
{
    const char *text = "a,,b,c,,,d,";
    static const char *const want[] = {"a,b", "c,", "d", ""};

    for (size_t i = 0; i < ARRAY_SIZE(want); i++) {
        char *s = opts_next_value(&text);
        assert_string_equal(s, want[i]);
        mem_free(s);
    }
    assert_string_equal(text, "");
}

static const char *const modes[] = {"off", "falloc", "full", NULL};
static const struct opt_desc table[] = {
    {"size", OPT_SIZE, NULL, "Virtual disk size", NULL, false},
    {"nocow", OPT_BOOL, "off", "Turn off copy-on-write", NULL, false},
    {"refcount_bits", OPT_NUMBER, "16", "Width", NULL, true},
    {"preallocation", OPT_ENUM, "off", NULL, modes, false},
    {"backing_file", OPT_STRING, NULL, NULL, NULL, false},
    {"offset", OPT_INT, NULL, NULL, NULL, false},
    {"cluster_size", OPT_SIZE, "64k", NULL, NULL, false},
    {"file", OPT_DICT, NULL, NULL, NULL, false},
    {NULL, OPT_STRING, NULL, NULL, NULL, false},
};

#define SIZE_HINT                                                                                  \
    "Optional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, peta-\n"                 \
    "and exabytes, respectively.\n"

static void offences_have_qemus_words(void **state)
{
    static const struct {
        const char *text, *error, *hint;
    } cases[] = {
        {"foo=1", "Invalid parameter 'foo'", NULL},
        {"=1", "Invalid parameter ''", NULL},
        {"no", "Invalid parameter ''", NULL},
        {"nocow", "Invalid parameter 'cow'", NULL},
        {"nono", "Invalid parameter 'no'", NULL},
        {"FOO=1", "Invalid parameter 'FOO'", NULL},
        {"filex=1", "Invalid parameter 'filex'", NULL},
        {"size", "Parameter 'size' expects a non-negative number below 2^64", SIZE_HINT},
        {"nosize", "Parameter 'size' expects a non-negative number below 2^64", SIZE_HINT},
        {"size=", "Parameter 'size' expects a non-negative number below 2^64", SIZE_HINT},
        {"size=-1", "Parameter 'size' expects a non-negative number below 2^64", SIZE_HINT},
        {"size=1k,,", "Parameter 'size' expects a non-negative number below 2^64", SIZE_HINT},
        {"size=16E", "Value '16E' is out of range for parameter 'size'", NULL},
        {"nocow=1", "Parameter 'nocow' expects 'on' or 'off'", NULL},
        {"nocow=", "Parameter 'nocow' expects 'on' or 'off'", NULL},
        {"refcount_bits", "Parameter 'refcount_bits' expects a number", NULL},
        {"refcount_bits=16k", "Parameter 'refcount_bits' expects a number", NULL},
        {"refcount_bits=18446744073709551616",
         "Value '18446744073709551616' is too large for parameter 'refcount_bits'", NULL},
        {"preallocation=1234", "Parameter 'preallocation' does not accept value '1234'", NULL},
        {"preallocation", "Parameter 'preallocation' does not accept value 'on'", NULL},
        {"offset=1k", "Parameter 'offset' expects integer", NULL},
        {"offset=9223372036854775808", "Parameter 'offset' expects integer", NULL},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct value *d = opts_parse(cases[i].text, NULL, NULL);
        struct error *e = NULL;
        assert_int_equal(opts_validate(table, d, &e), -EINVAL);
        assert_string_equal(e->msg, cases[i].error);
        assert_true(!e->hint == !cases[i].hint);
        if (e->hint) {
            assert_string_equal(e->hint, cases[i].hint);
        }
        error_clear(&e);
        assert_int_equal(opts_validate_text(table, cases[i].text, &e), -EINVAL);
        assert_string_equal(e->msg, cases[i].error);
        error_free(e);
        value_free(d);
    }
}

static void texts_report_the_first_offence(void **state)
{
    struct error *e = NULL;

    assert_int_equal(opts_validate_text(table, "size=1,zzz,aaa", &e), -EINVAL);
    assert_string_equal(e->msg, "Invalid parameter 'zzz'");
    error_clear(&e);
    assert_int_equal(opts_validate_text(table, "aaa,zzz", &e), -EINVAL);
    assert_string_equal(e->msg, "Invalid parameter 'aaa'");
    error_clear(&e);
    assert_int_equal(opts_validate_text(table, "nocow=y1,foo", &e), -EINVAL);
    assert_string_equal(e->msg, "Parameter 'nocow' expects 'on' or 'off'");
    error_clear(&e);
    assert_int_equal(
        opts_validate_text(table, "size=1k,nonocow,backing_file=a,,b,offset=-5,file.x=1", &e), 0);
    assert_int_equal(opts_validate_text(table, "", &e), 0);
}

static void json_types_are_taken_by_their_text(void **state)
{
    struct value *d =
        json_parse("{'size': 1e3, 'nocow': true, 'refcount_bits': 64, 'offset': -5,"
                   " 'cluster_size': 18446744073709551615, 'file': {}, 'backing_file': null}",
                   NULL);
    uint64_t size = 0, bits = 0, cluster = 0;
    int64_t offset = 0;
    bool nocow = false;

    assert_int_equal(opts_validate(table, d, NULL), 0);
    assert_int_equal(opts_get_size(table, d, "size", &size, NULL), 0);
    assert_int_equal(opts_get_bool(table, d, "nocow", &nocow, NULL), 0);
    assert_int_equal(opts_get_number(table, d, "refcount_bits", &bits, NULL), 0);
    assert_int_equal(opts_get_int(table, d, "offset", &offset, NULL), 0);
    assert_int_equal(opts_get_size(table, d, "cluster_size", &cluster, NULL), 0);
    assert_null(opts_get_str(table, d, "backing_file"));
    assert_int_equal(size, 1000);
    assert_true(nocow);
    assert_int_equal(bits, 64);
    assert_int_equal(offset, -5);
    assert_true(cluster == UINT64_MAX);
    value_free(d);
    d = json_parse("{'size': true, 'nocow': 1}", NULL);
    assert_int_equal(opts_get_size(table, d, "size", &size, NULL), -EINVAL);
    assert_int_equal(opts_get_bool(table, d, "nocow", &nocow, NULL), -EINVAL);
    assert_int_equal(size, 1000);
    assert_true(nocow);
    value_free(d);
}

static void defaults_fill_in_and_absence_leaves_alone(void **state)
{
    struct value *d = opts_parse("preallocation=full,backing_file=b,nocow=y", NULL, NULL),
                 *none = value_dict();
    uint64_t size = 77, bits = 0;
    int64_t offset = 77;
    int mode = -1;
    bool nocow = true;
    struct error *e = NULL;

    assert_int_equal(opts_get_size(table, none, "size", &size, NULL), 0);
    assert_int_equal(opts_get_int(table, none, "offset", &offset, NULL), 0);
    assert_int_equal(size, 77);
    assert_int_equal(offset, 77);
    assert_int_equal(opts_get_size(table, none, "cluster_size", &size, NULL), 0);
    assert_int_equal(size, 65536);
    assert_int_equal(opts_get_number(table, none, "refcount_bits", &bits, NULL), 0);
    assert_int_equal(bits, 16);
    assert_int_equal(opts_get_bool(table, none, "nocow", &nocow, NULL), 0);
    assert_false(nocow);
    assert_int_equal(opts_get_bool(table, d, "nocow", &nocow, NULL), 0);
    assert_true(nocow);
    assert_int_equal(opts_get_enum(table, none, "preallocation", &mode, NULL), 0);
    assert_int_equal(mode, 0);
    assert_int_equal(opts_get_enum(table, d, "preallocation", &mode, NULL), 0);
    assert_int_equal(mode, 2);
    assert_string_equal(opts_get_str(table, d, "backing_file"), "b");
    assert_string_equal(opts_get_str(table, none, "preallocation"), "off");
    assert_null(opts_get_str(table, none, "backing_file"));
    dict_put_str(d, "preallocation", "x");
    assert_int_equal(opts_get_enum(table, d, "preallocation", &mode, &e), -EINVAL);
    assert_string_equal(e->msg, "Parameter 'preallocation' does not accept value 'x'");
    error_free(e);
    value_free(d);
    value_free(none);
}

static void names_are_found_with_what_nests_below(void **state)
{
    assert_ptr_equal(opts_find(table, "size"), &table[0]);
    assert_ptr_equal(opts_find(table, "file"), &table[7]);
    assert_ptr_equal(opts_find(table, "file.driver"), &table[7]);
    assert_null(opts_find(table, "size.x"));
    assert_null(opts_find(table, "filer"));
    assert_null(opts_find(table, ""));
}

static void known_keys_are_taken_out(void **state)
{
    struct value *d = opts_parse("size=1,other=2,file=x,file.y=3", NULL, NULL);

    expect(opts_take(table, d), "{'size': '1', 'file': 'x'}");
    expect(d, "{'other': '2', 'file.y': '3'}");
}

static void values_of_json_are_settled(void **state)
{
    struct error *err = NULL;
    struct value *d = json_parse(
        "{'preallocation': true, 'backing_file': 15, 'size': null, 'other': null, 'lazy': false}",
        &err);

    opts_settle(table, d);
    expect(d, "{'preallocation': 'on', 'backing_file': '15', 'other': null, 'lazy': false}");
}

static void help_is_aligned_and_sorted(void **state)
{
    static const struct opt_desc raw[] = {
        {"size", OPT_SIZE, NULL, "Virtual disk size", NULL, false},
        {"nocow", OPT_BOOL, NULL, "Turn off copy-on-write (valid only on btrfs)", NULL, false},
        {"extent_size_hint", OPT_SIZE, "1M", "Extent size hint for the image file, 0 to disable",
         NULL, false},
        {"preallocation", OPT_ENUM, NULL, "Preallocation mode (allowed values: off, falloc, full)",
         modes, false},
        {"encrypt.iter-time", OPT_NUMBER, NULL, "Time to spend in PBKDF in milliseconds", NULL,
         false},
        {"bare", OPT_STRING, NULL, NULL, NULL, false},
        {NULL, OPT_STRING, NULL, NULL, NULL, false},
    };
    struct strbuf b = STRBUF_INIT;

    opts_print_help(&b, raw, "Supported options:");
    assert_string_equal(
        b.s, "Supported options:\n"
             "  bare=<str>\n"
             "  encrypt.iter-time=<num> - Time to spend in PBKDF in milliseconds\n"
             "  extent_size_hint=<size> - Extent size hint for the image file, 0 to disable\n"
             "  nocow=<bool (on/off)>  - Turn off copy-on-write (valid only on btrfs)\n"
             "  preallocation=<str>    - Preallocation mode (allowed values: off, falloc, full)\n"
             "  size=<size>            - Virtual disk size\n");
    strbuf_reset(&b);
    opts_print_help(&b, raw + 5, NULL);
    assert_string_equal(b.s, "  bare=<str>\n");
    strbuf_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(elements_become_strings),
        cmocka_unit_test(lone_keys_are_switches),
        cmocka_unit_test(the_first_word_may_have_an_implied_key),
        cmocka_unit_test(short_forms_are_noted),
        cmocka_unit_test(help_is_a_whole_element),
        cmocka_unit_test(elements_can_be_taken_one_by_one),
        cmocka_unit_test(offences_have_qemus_words),
        cmocka_unit_test(texts_report_the_first_offence),
        cmocka_unit_test(json_types_are_taken_by_their_text),
        cmocka_unit_test(defaults_fill_in_and_absence_leaves_alone),
        cmocka_unit_test(names_are_found_with_what_nests_below),
        cmocka_unit_test(known_keys_are_taken_out),
        cmocka_unit_test(values_of_json_are_settled),
        cmocka_unit_test(help_is_aligned_and_sorted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
