/* JSON: QEMU's dialect, its error texts as qemu-img 7.2 prints them, limits, stream reading, the
 * writer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include "ref/base/json.h"
#include "ref/base/mem.h"

/* Text in, compact text or "!error" out; to be freed. */
static char *round_trip(const char *text)
{
    struct error *e = NULL;
    struct value *v = json_parse(text, &e);
    char *out = v ? json_text(v, false) : str_fmt("!%s", e->msg);

    assert_true(!v == !!e);
    value_free(v);
    error_free(e);
    return out;
}

static void expect(const char *text, const char *want)
{
    char *got = round_trip(text);

    if (strcmp(got, want) != 0) {
        fail_msg("%s gave %s, not %s", text, got, want);
    }
    mem_free(got);
}

static void values_come_back(void **state)
{
    expect("null", "null");
    expect(" true ", "true");
    expect("\t\r\n[false]", "[false]");
    expect("{}", "{}");
    expect("[]", "[]");
    expect("{'a':\"b'c\",\"d\":'e\"f'}", "{\"d\": \"e\\\"f\", \"a\": \"b'c\"}");
    expect("[1, [2, {'x': []}], {}]", "[1, [2, {\"x\": []}], {}]");
    expect("\"\"", "\"\"");
}

static void numbers_are_int64_else_uint64_else_double(void **state)
{
    expect("[0,-0,5,-7]", "[0, 0, 5, -7]");
    expect("9223372036854775807", "9223372036854775807");
    expect("-9223372036854775808", "-9223372036854775808");
    expect("9223372036854775808", "9223372036854775808");
    expect("18446744073709551615", "18446744073709551615");
    expect("18446744073709551616", "1.8446744073709552e+19");
    expect("-9223372036854775809", "-9.2233720368547758e+18");
    expect("[1.0,0.1,1e5,1E+2,1e-5,-0.0,1.5e300]",
           "[1, 0.10000000000000001, 100000, 100, 1.0000000000000001e-05, -0, "
           "1.5000000000000001e+300]");
    expect("[0.0e1,10e1,-0.5E0]", "[0, 100, -0.5]");
    expect("[0e5]", "!JSON parse error, expected separator in list");
    struct value *v = json_parse("[1, 18446744073709551615, 1.0]", NULL);
    assert_int_equal(value_type(list_at(v, 0)), VALUE_INT);
    assert_int_equal(value_type(list_at(v, 1)), VALUE_UINT);
    assert_int_equal(value_type(list_at(v, 2)), VALUE_DOUBLE);
    value_free(v);
}

static void strings_are_ascii_outside_and_utf8_inside(void **state)
{
    struct value *v =
        json_parse("'\\/\\b\\f\\n\\r\\t\\\\\\\"\\'\\u00e9\\ud83d\\ude00\\u0000\\u20AC'", NULL);

    assert_string_equal(value_get_str(v),
                        "/\b\f\n\r\t\\\"'\xc3\xa9\xf0\x9f\x98\x80\xc0\x80\xe2\x82\xac");
    char *text = json_text(v, false);
    assert_string_equal(text, "\"/\\b\\f\\n\\r\\t\\\\\\\"'\\u00E9\\uD83D\\uDE00\\u0000\\u20AC\"");
    mem_free(text);
    value_free(v);
    expect("\"\x7f\"", "\"\\u007F\"");
    expect("\"\xc3\xa9\xf0\x9f\x98\x80\xc0\x80\"", "\"\\u00E9\\uD83D\\uDE00\\u0000\"");
    v = value_str("a\x01\x1f"
                  "b");
    text = json_text(v, false);
    assert_string_equal(text, "\"a\\u0001\\u001Fb\"");
    mem_free(text);
    value_free(v);
}

/* Each invalid sequence is written as one replacement character. */
static void bytes_that_are_no_utf8_are_replaced(void **state)
{
    static const struct {
        const char *in, *out;
    } cases[] = {
        {"\xff.", "\"\\uFFFD.\""},
        {"\xc0\x80\xed\xa0\x80.", "\"\\u0000\\uFFFD.\""},
        {"\xe2\x82x", "\"\\uFFFDx\""},
        {"\xef\xbf\xbf.", "\"\\uFFFD.\""},
        {"\xf8\x88\x80\x80\x80.", "\"\\uFFFD.\""},
        {"\xe2\x82", "\"\\uFFFD\""},
        {"\xc1\xbf.", "\"\\uFFFD.\""},
        {"\xf4\x90\x80\x80.", "\"\\uFFFD.\""},
        {"\x80\x80.", "\"\\uFFFD\\uFFFD.\""},
        {"\xf0\x9f\x98\x80", "\"\\uD83D\\uDE00\""},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct value *v = value_str(cases[i].in);
        char *text = json_text(v, false);
        assert_string_equal(text, cases[i].out);
        mem_free(text);
        value_free(v);
    }
}

static void syntax_errors_have_qemus_words(void **state)
{
    static const struct {
        const char *text, *error;
    } cases[] = {
        {"{\"driver\":}", "expecting value"},
        {"{,}", "expecting value"},
        {"[1,]", "expecting value"},
        {"{\"a\":1,}", "expecting value"},
        {",", "expecting value"},
        {"}", "expecting value"},
        {"]", "expecting value"},
        {":", "expecting value"},
        {"{]", "expecting value"},
        {"[}", "expecting value"},
        {"[1,,2]", "expecting value"},
        {"{\"a\": {\"b\": [}}", "expecting value"},
        {"{\"a\":{]", "expecting value"},
        {"{\"a\":1,\"a\":}", "expecting value"},
        {"{,} 1", "expecting value"},
        {"{\"driver\"}", "missing : in object pair"},
        {"{\"driver\" 1}", "missing : in object pair"},
        {"{\"a\" \"b\"}", "missing : in object pair"},
        {"[1 2]", "expected separator in list"},
        {"[1}", "expected separator in list"},
        {"{\"a\":1 \"b\":2}", "expected separator in dict"},
        {"{\"a\":1a}", "expected separator in dict"},
        {"{\"a\":1]", "expected separator in dict"},
        {"{1:2}", "key is not a string in object"},
        {"{null:1}", "key is not a string in object"},
        {"{\"a\":1,2}", "key is not a string in object"},
        {"{1", "key is not a string in object"},
        {"{[1]:2}", "key is not a string in object"},
        {"{\"a\":1,\"a\":2}", "duplicate key"},
        {"{", "premature EOI"},
        {"[", "premature EOI"},
        {"{\"a\"", "premature EOI"},
        {"{\"a\":1", "premature EOI"},
        {"[[1]", "premature EOI"},
        {"{{", "premature EOI"},
        {"{[", "premature EOI"},
        {"{bad", "invalid keyword 'bad'"},
        {"nul", "invalid keyword 'nul'"},
        {"x 1", "invalid keyword 'x'"},
        {"{\"a\":tru}", "invalid keyword 'tru'"},
        {"{\"a\":a1}", "invalid keyword 'a'"},
        {"x \"", "invalid keyword 'x'"},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        char *want = str_fmt("!JSON parse error, %s", cases[i].error);
        expect(cases[i].text, want);
        mem_free(want);
    }
    expect("", "!Expecting a JSON value");
    expect(" ", "!Expecting a JSON value");
    expect("1 2", "!Expecting at most one JSON value");
    expect("{\"a\":1}}", "!Expecting at most one JSON value");
    expect("{\"a\":1},", "!Expecting at most one JSON value");
    expect("{\"a\":1} \"x", "!Expecting at most one JSON value");
    expect("1 ^", "!Expecting at most one JSON value");
    expect("{}{", "!Expecting at most one JSON value");
}

static void stray_bytes_are_shown(void **state)
{
    static const struct {
        const char *text, *stray;
    } cases[] = {
        {"{\"a\":\"\t\"}", "\"\t"},
        {"{\"a\":\"abc", "\"abc"},
        {"{\"a\":-}", "-}"},
        {"{\"a\":01}", "01"},
        {"-01", "-01"},
        {"00", "00"},
        {"{\"a\":1.}", "1.}"},
        {"{\"a\":1.", "1."},
        {"1e+", "1e+"},
        {"1.5e", "1.5e"},
        {"{\"a\":1e}", "1e}"},
        {"{\"a\":.5}", "."},
        {"{\"a\":+5}", "+"},
        {"{\"a\":#}", "#"},
        {"{\"a\":%d}", "%"},
        {"{\"a\":True}", "T"},
        {"{\"a\":_x}", "_"},
        {"{\"a\":--1}", "--"},
        {"-", "-"},
        {"\x01", "\x01"},
        {"{'a", "'a"},
        {"{'a\\", "'a\\"},
        {"{\"a\":\"\\", "\"\\"},
        {"{\"a\":\"\xff\"}", "\"\xff"},
        {"{\"a\":\"\xfe\"}", "\"\xfe"},
        {"\x80", "\x80"},
        {"{\xc3\xa9", "\xc3"},
        {"{\"a\":\"\\u", "\"\\u"},
        {"{,\"a\": ^", "^"},
        {"[1 2 ^", "^"},
        {"^ 1", "^"},
        {"{\"a\":\x7f}", "\x7f"},
        {"\v", "\v"},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        char *want = str_fmt("!JSON parse error, stray '%s'", cases[i].stray);
        expect(cases[i].text, want);
        mem_free(want);
    }
}

static void bad_strings_are_refused(void **state)
{
    static const char *const code_points[] = {
        "\\u12\"", "\\u12zz", "\\uzzzz", "\\u\"",   "\\uZ\"",         "\\ud800",
        "\\udc00", "\\uFFFF", "\\uFFFE", "\\ufdd0", "\\ud83f\\udfff",
    };
    static const char *const utf8[] = {
        "\x80",         "\xed\xa0\x80", "\xf4\x90\x80\x80", "x\xf8", "\xef\xbf\xbf",
        "\xef\xbf\xbe", "\xef\xb7\x90", "\xc1\xbf",         "\xc3",  "\xe2\x82",
    };

    for (size_t i = 0; i < ARRAY_SIZE(code_points); i++) {
        bool closed = strchr(code_points[i], '"');
        char *text = str_fmt("{\"a\":\"%s%s}", code_points[i], closed ? "" : "\"");
        char *want =
            str_fmt("!JSON parse error, %s is not a valid Unicode character", code_points[i]);
        expect(text, want);
        mem_free(text);
        mem_free(want);
    }
    for (size_t i = 0; i < ARRAY_SIZE(utf8); i++) {
        char *text = str_fmt("\"%s\"", utf8[i]);
        expect(text, "!JSON parse error, invalid UTF-8 sequence in string");
        mem_free(text);
    }
    expect("'\\ud800\\u0041'", "!JSON parse error, \\ud800 is not a valid Unicode character");
    expect("'\\ud800\\ud800'", "!JSON parse error, \\ud800 is not a valid Unicode character");
    expect("'\\ud800\\u12'", "!JSON parse error, \\ud800 is not a valid Unicode character");
    expect("'\\uzzzzzz'", "!JSON parse error, \\uzzzz is not a valid Unicode character");
    expect("\"\\q\"", "!JSON parse error, invalid escape sequence in string");
    expect("\"\\q\" x", "!JSON parse error, invalid escape sequence in string");
}

static char *nested(size_t n, const char *open, const char *middle, const char *close)
{
    struct strbuf b = STRBUF_INIT;

    for (size_t i = 0; i < n; i++) {
        strbuf_puts(&b, open);
    }
    strbuf_puts(&b, middle);
    for (size_t i = 0; i < n; i++) {
        strbuf_puts(&b, close);
    }
    return strbuf_take(&b);
}

static void nesting_has_a_limit(void **state)
{
    char *ok[] = {nested(1024, "[", "", "]"), nested(1024, "{\"a\": ", "1", "}")};
    char *deep[] = {nested(1025, "[", "", "]"), nested(1025, "{\"a\":", "1", "}"),
                    nested(5000, "[", "", "")};

    for (int i = 0; i < 2; i++) {
        expect(ok[i], ok[i]);
        mem_free(ok[i]);
    }
    for (int i = 0; i < 3; i++) {
        expect(deep[i], "!JSON nesting depth limit exceeded");
        assert_int_equal(json_scan(deep[i], strlen(deep[i])), -1);
        mem_free(deep[i]);
    }
}

/* 2 Mi tokens pass; the first beyond them is the error, and reading goes on behind it. */
static void the_number_of_tokens_has_a_limit(void **state)
{
    size_t n = (1 << 20) + 1, len = 2 * n + 1;
    char *text = mem_alloc(len);
    struct error *e = NULL;
    struct value *v;
    bool skipping = false;

    for (size_t i = 0; i < n; i++) {
        memcpy(text + 1 + 2 * i, "1,", 2);
    }
    text[0] = '[';
    text[len - 1] = ']';
    assert_int_equal(json_next(text, len, &skipping, &v, &e), len - 2);
    assert_null(v);
    assert_string_equal(e->msg, "JSON token count limit exceeded");
    error_clear(&e);
    text[len - 5] = ']'; /* two elements fewer */
    assert_int_equal(json_next(text, len - 4, &skipping, &v, &e), len - 4);
    assert_int_equal(list_len(v), n - 2);
    value_free(v);
    mem_free(text);
}

static void one_value_has_a_size_limit(void **state)
{
    size_t len = (64 << 20) + 1;
    char *text = mem_alloc(len);
    struct error *e = NULL;
    struct value *v;
    bool skipping = false;

    memset(text, 'a', len);
    text[0] = '"';
    assert_int_equal(json_scan(text, len - 1), 0);
    assert_int_equal(json_scan(text, len), -1);
    assert_int_equal(json_next(text, len, &skipping, &v, &e), len);
    assert_string_equal(e->msg, "JSON token size limit exceeded");
    error_free(e);
    mem_free(text);
}

/* Every proper prefix of a value asks for more; the whole gives its length, whatever follows. */
static void a_stream_waits_for_the_end(void **state)
{
    const char *text = " {\"execute\": \"x\\\"}\", 'a': [1, true, null, {}]} {";
    size_t whole = strlen(text) - 2;

    for (size_t len = 0; len <= strlen(text); len++) {
        assert_int_equal(json_scan(text, len), len < whole ? 0 : (long)whole);
    }
    assert_int_equal(json_scan("12", 2), 0);
    assert_int_equal(json_scan("12 ", 3), 2);
    assert_int_equal(json_scan("true", 4), 0);
    assert_int_equal(json_scan("true,", 5), 4);
    assert_int_equal(json_scan("-", 1), 0);
    assert_int_equal(json_scan("1.", 2), 0);
    assert_int_equal(json_scan("1.x", 3), -1);
    assert_int_equal(json_scan("\"a\n", 3), -1);
    assert_int_equal(json_scan("{ ^", 3), -1);
    assert_int_equal(json_scan("\0", 1), -1);
    assert_int_equal(json_scan("", 0), 0);
}

/* Feeds `text` in pieces of `step` bytes; what came out, each value or "!error" on a line. */
static char *stream(const char *text, size_t step)
{
    struct strbuf in = STRBUF_INIT, out = STRBUF_INIT;
    bool skipping = false;

    for (size_t at = 0; text[at];) {
        size_t n = strnlen(text + at, step), took;
        strbuf_add(&in, text + at, n);
        at += n;
        do {
            struct error *e = NULL;
            struct value *v;
            took = json_next(in.s, in.len, &skipping, &v, &e);
            assert_false(v && e);
            if (v || e) {
                char *got = v ? json_text(v, false) : str_fmt("!%s", e->msg);
                strbuf_printf(&out, "%s\n", got);
                mem_free(got);
            }
            value_free(v);
            error_free(e);
            in.len -= took;
            memmove(in.s, in.s + took, in.len + 1);
        } while (took > 0 && in.len > 0);
    }
    strbuf_free(&in);
    return strbuf_take(&out);
}

/* What qemu-storage-daemon's monitor makes of these. */
static void a_stream_goes_on_behind_errors(void **state)
{
    static const struct {
        const char *text, *out;
    } cases[] = {
        {"^ {'id':1}x{'id':2} {{{{]{'id':3}\"abc\n{'id':4}{'execute': 01 {'id':5}\n",
         "!JSON parse error, stray '^'\n{\"id\": 1}\n!JSON parse error, invalid keyword "
         "'x'\n{\"id\": 2}\n"
         "!JSON parse error, expecting value\n{\"id\": 3}\n!JSON parse error, stray '\"abc\n'\n"
         "{\"id\": 4}\n!JSON parse error, stray '01'\n{\"id\": 5}\n"},
        {"^5\n", "!JSON parse error, stray '^'\n"},
        {"^ \"a\" x\t\x7f\x80 5\n6\n", "!JSON parse error, stray '^'\n6\n"},
        {"^5\r6\n", "!JSON parse error, stray '^'\n6\n"},
        {"^,5\n", "!JSON parse error, stray '^'\n!JSON parse error, expecting value\n5\n"},
        {"^\x01"
         "5\n",
         "!JSON parse error, stray '^'\n!JSON parse error, stray '\x01'\n"},
        {"^5\xff"
         "5\n",
         "!JSON parse error, stray '^'\n!JSON parse error, stray '\xff'\n"},
        {"\"a\n5\n", "!JSON parse error, stray '\"a\n'\n"},
        {"x^5\n", "!JSON parse error, invalid keyword 'x'\n!JSON parse error, stray '^'\n"},
        {"[1,^2,3] 5\n", "!JSON parse error, stray '^'\n!JSON parse error, expecting value\n3\n"
                         "!JSON parse error, expecting value\n5\n"},
        {"1.[5]\n", "!JSON parse error, stray '1.['\n!JSON parse error, expecting value\n"},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        for (size_t step = 1; step < 100; step = step * 2 + 1) {
            char *out = stream(cases[i].text, step);
            assert_string_equal(out, cases[i].out);
            mem_free(out);
        }
    }
    char *out = stream("{'a': ", 100);
    assert_string_equal(out, "");
    mem_free(out);
}

static void pretty_form_has_a_line_for_each_member(void **state)
{
    struct value *v = json_parse("{'major': {}, 'minor': [], 'micro': [1, {'a': 'b'}]}", NULL);
    char *text = json_text(v, true);

    assert_string_equal(text, "{\n"
                              "    \"micro\": [\n"
                              "        1,\n"
                              "        {\n"
                              "            \"a\": \"b\"\n"
                              "        }\n"
                              "    ],\n"
                              "    \"minor\": [\n"
                              "    ],\n"
                              "    \"major\": {\n"
                              "    }\n"
                              "}");
    mem_free(text);
    value_free(v);
    v = value_list();
    struct strbuf b = STRBUF_INIT;
    strbuf_puts(&b, "x=");
    json_write(&b, v, true);
    assert_string_equal(b.s, "x=[\n]");
    strbuf_free(&b);
    value_free(v);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_come_back),
        cmocka_unit_test(numbers_are_int64_else_uint64_else_double),
        cmocka_unit_test(strings_are_ascii_outside_and_utf8_inside),
        cmocka_unit_test(bytes_that_are_no_utf8_are_replaced),
        cmocka_unit_test(syntax_errors_have_qemus_words),
        cmocka_unit_test(stray_bytes_are_shown),
        cmocka_unit_test(bad_strings_are_refused),
        cmocka_unit_test(nesting_has_a_limit),
        cmocka_unit_test(the_number_of_tokens_has_a_limit),
        cmocka_unit_test(one_value_has_a_size_limit),
        cmocka_unit_test(a_stream_waits_for_the_end),
        cmocka_unit_test(a_stream_goes_on_behind_errors),
        cmocka_unit_test(pretty_form_has_a_line_for_each_member),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
