/*
 * FAT names of host names: short names as QEMU 7.2 was seen to make them, numbers, and which long
 * names are lawful.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include "ref/protocol/vvfat/vvfat.h"

/* The short name of a host name that is alone in its directory. */
static void expect_short(const char *host, const char *name)
{
    struct fat_name n = {.host = host};
    char found[FAT_ENTRY_NAME_WIDTH + 1] = {0};
    fat_choose_names(&n, 1);
    memcpy(found, n.short_name, FAT_ENTRY_NAME_WIDTH);
    if (strcmp(found, name) != 0) {
        fail_msg("'%s' is '%s', not '%s'", host, found, name);
    }
}

static void test_exact(void **state)
{
    expect_short("A", "A          ");
    expect_short("readme.txt", "README  TXT");
    expect_short("abcdefgh.ijk", "ABCDEFGHIJK");
    expect_short("a.", "A          ");
    expect_short("abcdefgh.", "ABCDEFGH   ");
    expect_short("tar.gz", "TAR     GZ ");
    expect_short("-_{}()'`", "-_{}()'`   ");
    expect_short("~", "~          ");
    expect_short("x~12", "X~12       ");
    expect_short("abcdefg~", "ABCDEFG~   ");
}

static void test_numbered(void **state)
{
    static const char *const cases[][2] = {
        {"abcdefghi", "ABCDEF~1   "},
        {"abcdefgh.ijkl", "ABCDEF~1IJK"},
        {"a^b&c@d!e#f$%", "A^B&C@~1   "},
        {"with space.txt", "WITHSP~1TXT"},
        {"plus+sign.txt", "PLUSSI~1TXT"},
        {"q?u*o\"t<e>|.c", "QUOTE~1 C  "},
        {"a.b.c.d", "A~1     D  "},
        {"two.dots.txt", "TWO~1   TXT"},
        {"...a...b", "A~1     B  "},
        {".hidden", "HIDDEN~1   "},
        {".a.b", "A~1     B  "},
        {"a..", "A~1        "},
        {"a.b.", "A~1        "},
        {"...", "~1         "},
        {"    ", "~1         "},
        {" lead", "LEAD~1     "},
        {"a. b", "A~1     B  "},
        {"\xc3\xa9", "~1         "}, /* é */
        {"a.\xc3\xa9"
         "bc",
         "A~1     BC "},
        {"\xe6\x97\xa5\xe6\x9c\xac.txt", "TXT~1      "}, /* two of CJK, then the extension */
        {"\xe6\x97\xa5.a.txt", "A~1     TXT"},
        {"\xe5\xa5\xbd", "~1         "}, /* U+597D: QEMU takes the low byte for a '}' */
        {"bad\xff\xfename", "BADNAM~1   "},
        {"\xe5"
         "abc",
         "ABC~1      "},
        {"a\xc0\x80"
         "b",
         "AB~1       "},
        {"a\x01"
         "b",
         "AB~1       "},
        {"a\x7f"
         "b",
         "AB~1       "},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        expect_short(cases[i][0], cases[i][1]);
    }
}

static void expect_long(const char *host, const char *name)
{
    uint16_t units[FAT_LONG_MAX];
    size_t n = fat_long_name(host, units);
    assert_int_equal(n, strlen(name));
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(units[i], name[i]);
    }
}

static void test_long(void **state)
{
    uint16_t units[FAT_LONG_MAX];
    char longest[FAT_LONG_MAX + 2] = {0};
    expect_long("Mixed Case+,;=[].txt", "Mixed Case+,;=[].txt");
    expect_long(".hidden", ".hidden");
    expect_long("  lead", "lead"); /* LFN-6 */
    expect_long("trail. . ", "trail");
    expect_long("...", "");
    expect_long("  ", "");
    for (const char *p = "\"*/:<>?\\|\x01\x1f"; *p; p++) { /* LFN-5 */
        char name[] = {'a', *p, 'b', 0};
        expect_long(name, "");
    }
    expect_long("bad\xff", "");
    expect_long("a\xed\xa0\x80", ""); /* a surrogate */
    assert_int_equal(fat_long_name("\xc3\xa9\xf0\x9f\x98\x80", units), 3);
    assert_int_equal(units[0], 0xe9);
    assert_int_equal(units[1], 0xd83d);
    assert_int_equal(units[2], 0xde00);
    memset(longest, 'x', FAT_LONG_MAX);
    assert_int_equal(fat_long_name(longest, units), FAT_LONG_MAX);
    longest[FAT_LONG_MAX] = 'x';
    assert_int_equal(fat_long_name(longest, units), 0);
    memcpy(longest + FAT_LONG_MAX - 3, "\xf0\x9f\x98\x80",
           5); /* two units and no room for the second */
    longest[FAT_LONG_MAX - 4] = 'x';
    assert_int_equal(fat_long_name(longest, units), FAT_LONG_MAX - 1);
    assert_true(fat_name_is_utf8("a\xc3\xa9"));
    assert_false(fat_name_is_utf8("a\xc3"));
    assert_false(fat_name_is_utf8("\xc0\x80"));
}

/* Names of one directory, in its order. */
struct expected {
    const char *host, *name;
    bool has_long;
};

static void expect_names(const struct expected *e, size_t count)
{
    struct fat_name *n = mem_array(count, sizeof(*n));
    for (size_t i = 0; i < count; i++) {
        n[i].host = e[i].host;
    }
    fat_choose_names(n, count);
    for (size_t i = 0; i < count; i++) {
        assert_memory_equal(n[i].short_name, e[i].name, FAT_ENTRY_NAME_WIDTH);
        assert_int_equal(n[i].has_long, e[i].has_long);
    }
    mem_free(n);
}

static void test_unique(void **state)
{
    static const struct expected cases[] = {
        {"A", "A          ", true},
        {"README", "README     ", true},
        {"ReadMe", "README~1   ", false}, /* the same name where case does not count */
        {"a", "A~1        ", false},
        {"a+", "A~2        ", true},
        {"a;", "A~3        ", true},
        {"ab cd", "ABCD~1     ", true},
        {"abcd+", "ABCD~2     ", true},
        {"longname.html", "LONGNA~1HTM", true},
        {"longname.text", "LONGNA~2TEX", true}, /* the next is taken by the last */
        {"longname_longname.text", "LONGNA~3TEX", true},
        {"readme.", "README~2   ", false}, /* "README" without its dot */
        {"longna~1.tex", "LONGNA~1TEX", true},
    };
    static const struct expected folded[] = {
        {"\xc3\x84", "~1         ", true},  /* Ä */
        {"\xc3\xa4", "~2         ", false}, /* ä */
        {"\xce\xa9", "~3         ", true},  /* Omega */
        {"\xcf\x89", "~4         ", false},
        {"\xd0\x9f", "~5         ", true}, /* Pe */
        {"\xd0\xbf", "~6         ", false},
        {"\xd0\x81", "~7         ", true}, /* Io */
        {"\xd1\x91", "~8         ", false},
        {"\xc3\x97", "~9         ", true}, /* times and divided by are no letters */
        {"\xc3\xb7", "~10        ", true},
    };
    static const struct expected spaces[] = {
        {" README", "README~1   ", false}, /* its spaces do not count, and README has the name */
        {" a~1", "A~1~1      ", true},
        {"README", "README     ", true},
        {"a+", "A~2        ", true}, /* A~1 is the first one's long name */
    };
    expect_names(cases, ARRAY_SIZE(cases));
    expect_names(spaces, ARRAY_SIZE(spaces));
    expect_names(folded, ARRAY_SIZE(folded));
    expect_names(cases, 0);
}

/* Many names alike: the number takes the room it needs, and the time stays small. */
static void test_many(void **state)
{
    enum { COUNT = 30000 };
    struct fat_name *n = mem_array(COUNT, sizeof(*n));
    for (int i = 0; i < COUNT; i++) {
        n[i].host = str_fmt("long file name %05d.text", i);
    }
    fat_choose_names(n, COUNT);
    assert_memory_equal(n[8].short_name, "LONGFI~9TEX", 11);
    assert_memory_equal(n[9].short_name, "LONGF~10TEX", 11);
    assert_memory_equal(n[99].short_name, "LONG~100TEX", 11);
    assert_memory_equal(n[COUNT - 1].short_name, "LO~30000TEX", 11);
    for (int i = 0; i < COUNT; i++) {
        assert_true(n[i].has_long);
        mem_free((char *)n[i].host);
    }
    mem_free(n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exact),  cmocka_unit_test(test_numbered), cmocka_unit_test(test_long),
        cmocka_unit_test(test_unique), cmocka_unit_test(test_many),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
