/* Sizes, numbers and booleans in text; what is expected was observed with qemu-img 7.2 and its test
 * 049. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <string.h>
#include "ref/base/sizes.h"

static void sizes_that_pass(void **state)
{
    static const struct {
        const char *text;
        uint64_t value;
    } cases[] = {
        {"0", 0},
        {"00", 0},
        {"1", 1},
        {"010", 10},
        {"010k", 10240},
        {"+1", 1},
        {"+5k", 5120},
        {" 5k", 5120},
        {"\t7", 7},
        {"1b", 1},
        {"1B", 1},
        {"1k", 1 << 10},
        {"1K", 1 << 10},
        {"1m", 1 << 20},
        {"1M", 1 << 20},
        {"1g", 1 << 30},
        {"1G", 1 << 30},
        {"1t", 1ULL << 40},
        {"1T", 1ULL << 40},
        {"1p", 1ULL << 50},
        {"1P", 1ULL << 50},
        {"1e", 1ULL << 60},
        {"15E", 15ULL << 60},
        {"18446744073709551615", UINT64_MAX},
        {"0x10", 16},
        {"0X10", 16},
        {"0x10k", 16384},
        {"0xb", 11},
        {"0x1E", 30},
        {"0x1e", 30},
        {"0xffffffffffffffff", UINT64_MAX},
        {"1.5k", 1536},
        {"+1.5k", 1536},
        {"1.k", 1024},
        {"1.0", 1},
        {"1.0b", 1},
        {"1024.0b", 1024},
        {"0.5M", 524288},
        {"1.1k", 1126},
        {"1.0001k", 1024},
        {"1.0005k", 1025},
        {"1.00048828125k", 1025},
        {"1.00146484375k", 1026},
        {"1.5E", 3ULL << 59},
        {"0.9999999999999999k", 1024},
        /* a fraction that rounds to one counts as nothing, and so does one below 2^-64 */
        {"0.99999999999999999k", 0},
        {"1.99999999999999999999", 1},
        {"15.9999999999999999999E", 15ULL << 60},
        {"15.9999999999999999E", (uint64_t)-128},
        {"1.00000000000000000000001", 1},
        {"1.000000000000000000027105054312137610850186", 1},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint64_t v = 99;
        int ret = parse_size(cases[i].text, NULL, 'B', &v);
        if (ret != 0 || v != cases[i].value) {
            fail_msg("%s gave %d, %llu", cases[i].text, ret, (unsigned long long)v);
        }
    }
}

static void sizes_that_do_not(void **state)
{
    static const char *const bad[] = {
        "",
        "k",
        ".k",
        ".5k",
        "-1",
        "-0",
        "-1k",
        "--1",
        "+-1",
        "++1",
        "1.5",
        "1.5b",
        "0.5",
        "0.1b",
        "1KB",
        "1kk",
        "1kilobyte",
        "foobar",
        "5k ",
        "5 k",
        "1 ",
        "0x",
        "0xg",
        "0xk",
        "0x-1",
        "0x1.8k",
        "0x1.",
        "0x1.k",
        "0x1p3",
        "0b1",
        "inf",
        "nan",
        "1e3",
        "1e3k",
        "1e+",
        "1.5e1",
        "1.5E1",
        "1.5e+1",
        "1.5e1k",
        "1e-1k",
        "1.5e+",
        "1,5k",
        "1..5k",
        "1.5.k",
        "16Ex",
        "16EE",
        "99999999999999999999x",
        "99999999999999999999k",
        "99999999999999999999.5k",
        "0.99999999999999999999999x",
        "1.0000000000000000001",
        "1.00000000000000000006",
    };
    static const char *const large[] = {
        "18446744073709551616",    "0x10000000000000000",   "0xffffffffffffffffk", "16E",
        "18446744073709551615.5k", "18446744073709551615k",
    };

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        uint64_t v = 99;
        int ret = parse_size(bad[i], NULL, 'B', &v);
        if (ret != -EINVAL) {
            fail_msg("%s gave %d", bad[i], ret);
        }
    }
    for (size_t i = 0; i < sizeof(large) / sizeof(large[0]); i++) {
        uint64_t v = 99;
        int ret = parse_size(large[i], NULL, 'B', &v);
        if (ret != -ERANGE) {
            fail_msg("%s gave %d", large[i], ret);
        }
    }
}

static void end_points_behind_the_size(void **state)
{
    const char *end, *text = "12k rest";
    uint64_t v;

    assert_int_equal(parse_size(text, &end, 'B', &v), 0);
    assert_int_equal(v, 12288);
    assert_ptr_equal(end, text + 3);
    assert_int_equal(parse_size("3:", &end, 'M', &v), 0);
    assert_int_equal(v, 3 << 20);
    assert_string_equal(end, ":");
    assert_int_equal(parse_size("3b:", &end, 'M', &v), 0);
    assert_int_equal(v, 3);
    assert_int_equal(parse_size("1.5", NULL, 'G', &v), 0);
    assert_int_equal(v, 3 << 29);
    text = "x";
    assert_int_equal(parse_size(text, &end, 'B', &v), -EINVAL);
    assert_ptr_equal(end, text);
}

static void hexadecimal_with_a_suffix_is_known(void **state)
{
    assert_true(size_has_hex_suffix("0x10k"));
    assert_true(size_has_hex_suffix("0x1p3"));
    assert_true(size_has_hex_suffix(" +0XfM"));
    assert_false(size_has_hex_suffix("0x1e"));
    assert_false(size_has_hex_suffix("10k"));
    assert_false(size_has_hex_suffix("0xk"));
    assert_false(size_has_hex_suffix(""));
}

static void integers_wrap_and_overflow_as_in_libc(void **state)
{
    const char *end;
    uint64_t u = 7;
    int64_t i = 7;

    assert_int_equal(parse_uint64("0x10", NULL, 0, &u), 0);
    assert_int_equal(u, 16);
    assert_int_equal(parse_uint64("020", NULL, 0, &u), 0);
    assert_int_equal(u, 16);
    assert_int_equal(parse_uint64("020", NULL, 10, &u), 0);
    assert_int_equal(u, 20);
    assert_int_equal(parse_uint64("-1", NULL, 0, &u), 0);
    assert_true(u == UINT64_MAX);
    assert_int_equal(parse_uint64("-18446744073709551600", NULL, 0, &u), 0);
    assert_int_equal(u, 16);
    assert_int_equal(parse_uint64("18446744073709551616", NULL, 0, &u), -ERANGE);
    assert_int_equal(parse_uint64("16k", NULL, 0, &u), -EINVAL);
    assert_int_equal(parse_uint64("", NULL, 0, &u), -EINVAL);
    assert_int_equal(parse_uint64("x", &end, 0, &u), -EINVAL);
    assert_int_equal(u, 16);
    assert_int_equal(parse_uint64("16k", &end, 0, &u), 0);
    assert_string_equal(end, "k");
    assert_int_equal(parse_int64("-9223372036854775808", NULL, 10, &i), 0);
    assert_true(i == INT64_MIN);
    assert_int_equal(parse_int64("9223372036854775808", NULL, 10, &i), -ERANGE);
    assert_int_equal(parse_int64("5 ", NULL, 10, &i), -EINVAL);
    assert_int_equal(parse_int64(" +5,", &end, 10, &i), 0);
    assert_int_equal(i, 5);
    assert_string_equal(end, ",");
}

static void booleans_are_lower_case_words(void **state)
{
    static const char *const on[] = {"on", "yes", "true", "y"}, *const off[] = {"off", "no",
                                                                                "false", "n"};
    static const char *const neither[] = {"", "1", "0", "On", "Y", "TRUE", "on ", "maybe"};
    bool b = false;

    for (int i = 0; i < 4; i++) {
        b = false;
        assert_true(parse_bool(on[i], &b) && b);
        assert_true(parse_bool(off[i], &b) && !b);
    }
    for (int i = 0; i < 8; i++) {
        assert_false(parse_bool(neither[i], &b));
    }
}

static void sizes_are_written_with_three_digits(void **state)
{
    static const struct {
        uint64_t bytes;
        const char *text;
    } cases[] = {
        {0, "0 B"},
        {512, "512 B"},
        {999, "999 B"},
        {1000, "0.977 KiB"},
        {1024, "1 KiB"},
        {1536, "1.5 KiB"},
        {10240, "10 KiB"},
        {995 << 10, "995 KiB"},
        {999 << 10, "999 KiB"},
        {(999 << 10) + 512, "1e+03 KiB"},
        {1000 << 10, "0.977 MiB"},
        {1010 << 10, "0.986 MiB"},
        {1023 << 10, "0.999 MiB"},
        {(1 << 20) - 512, "1 MiB"},
        {1 << 20, "1 MiB"},
        {64 << 20, "64 MiB"},
        {1000 << 20, "0.977 GiB"},
        {3ULL << 29, "1.5 GiB"},
        {512ULL << 40, "512 TiB"},
        {1ULL << 50, "1 PiB"},
        {1ULL << 60, "1 EiB"},
        {UINT64_MAX, "16 EiB"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char buf[32];
        format_size(buf, cases[i].bytes);
        assert_string_equal(buf, cases[i].text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_that_pass),
        cmocka_unit_test(sizes_that_do_not),
        cmocka_unit_test(end_points_behind_the_size),
        cmocka_unit_test(hexadecimal_with_a_suffix_is_known),
        cmocka_unit_test(integers_wrap_and_overflow_as_in_libc),
        cmocka_unit_test(booleans_are_lower_case_words),
        cmocka_unit_test(sizes_are_written_with_three_digits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
