/*
 * The spec checker of Apple disk images against planted defects: a small image made by hand, byte
 * by byte and without the generated accessors, is clean; each single defect is reported under its
 * clause.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "specs/runtime/tests/planted.h"

/* A table of four chunks, as an item of the resource fork. */
enum {
    DATA = 0x200,
    FORK = 0x600,
    ITEM = FORK + 16 + 4,
    CHUNKS = ITEM + 204,
    TABLE_END = CHUNKS + 4 * 40,
    END_OF_FORK = TABLE_END + 4, /* behind it an item of no bytes */
    LIST = 0x900,
    TRAILER = 0xe00,
    END = TRAILER + 512
};

static void build(uint8_t *m);
static const struct planted_format dmg = {spec_dmg_check, true, END, build, NULL};

static void put(uint8_t *m, uint64_t at, unsigned width, uint64_t v)
{
    planted_put(&dmg, m, at, width, v);
}

static void chunk(uint8_t *m, int i, uint32_t type, uint64_t sector, uint64_t sectors,
                  uint64_t offset, uint64_t length)
{
    uint64_t at = CHUNKS + 40 * (uint64_t)i;
    put(m, at, 4, type);
    put(m, at + 8, 8, sector);
    put(m, at + 16, 8, sectors);
    put(m, at + 24, 8, offset);
    put(m, at + 32, 8, length);
}

static void build(uint8_t *m)
{
    put(m, FORK, 4, 16);
    put(m, FORK + 8, 4, END_OF_FORK - FORK - 16);
    put(m, ITEM - 4, 4, TABLE_END - ITEM);
    memcpy(m + ITEM, "mish", 4);
    put(m, ITEM + 8, 8, 1);
    put(m, ITEM + 24, 8, 0x100);
    put(m, ITEM + 200, 4, 4);
    chunk(m, 0, 1, 0, 2, 0, 1024);
    chunk(m, 1, 0x80000005, 2, 8, 1024, 100);
    chunk(m, 2, 2, 10, 4, UINT64_MAX, 0);
    chunk(m, 3, 0xffffffff, UINT64_MAX, 0, 0, 0);
    memcpy(m + TRAILER, "koly", 4);
    put(m, TRAILER + 24, 8, DATA);
    put(m, TRAILER + 32, 8, 0x400);
    put(m, TRAILER + 40, 8, FORK);
    put(m, TRAILER + 48, 8, END_OF_FORK - FORK);
    put(m, TRAILER + 492, 8, 15);
}

static const struct planted defects[] = {
    {"TRL-1", TRAILER, 4, 0},
    {"TRL-3", TRAILER + 32, 8, TRAILER - DATA + 1},
    {"TRL-3", TRAILER + 40, 8, UINT64_MAX},
    {"TRL-3", TRAILER + 48, 8, TRAILER - FORK + 1},
    {"TRL-4", TRAILER + 224, 8, 0x1000001},
    {"TRL-7", FORK + 8, 4, END_OF_FORK - FORK},
    {"TRL-7", FORK, 4, 0xffffffff},
    {"TRL-7", ITEM - 4, 4, 0xffffffff},
    {"TAB-4", ITEM + 200, 4, 5},
    {"CHK-1", CHUNKS, 4, 3},
    {"CHK-6", CHUNKS + 24, 8, TRAILER - DATA - 0x100 - 1023},
    {"CHK-6", CHUNKS + 32, 8, UINT64_MAX},
    {"CHK-6", ITEM + 24, 8, TRAILER},
    {"CHK-7", CHUNKS + 80 + 16, 8, 5},
    {"CHK-7", CHUNKS + 8, 8, UINT64_MAX},
    {"CHK-7", TRAILER + 492, 8, 14},
};

static void test_defects(void **state)
{
    planted_each(&dmg, false, defects, sizeof(defects) / sizeof(defects[0]));
}

/* Base64 (RFC 4648), in lines as plists have them. */
static size_t encode(const uint8_t *p, size_t n, char *to)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char *start = to;
    for (size_t i = 0; i < n; i += 3) {
        uint32_t v =
            (uint32_t)p[i] << 16 | (i + 1 < n ? p[i + 1] << 8 : 0) | (i + 2 < n ? p[i + 2] : 0);
        for (int k = 0; k < 4; k++) {
            *to++ = k && i + (size_t)k > n ? '=' : digits[v >> (18 - 6 * k) & 63];
        }
        if (i % 48 == 45) {
            *to++ = '\n';
            *to++ = '\t';
        }
    }
    return (size_t)(to - start);
}

/* The same table as a data element of the property list. */
static void build_list(uint8_t *m)
{
    char *list = (char *)m + LIST;
    build(m);
    size_t n = (size_t)sprintf(list, "<plist><data>\n\t");
    n += encode(m + ITEM, TABLE_END - ITEM, list + n);
    n += (size_t)sprintf(list + n, "\n</data><data>!</data><data>AAAA</data></plist>");
    put(m, TRAILER + 48, 8, 0);
    put(m, TRAILER + 216, 8, LIST);
    put(m, TRAILER + 224, 8, n);
}

static void test_property_list(void **state)
{
    static const struct planted_format f = {spec_dmg_check, true, END, build_list, NULL};
    static const struct planted d[] = {{"TRL-3", TRAILER + 216, 8, TRAILER},
                                       {"CHK-7", TRAILER + 492, 8, 14},
                                       {"CHK-6", TRAILER + 24, 8, TRAILER - 1024}};
    planted_each(&f, false, d, sizeof(d) / sizeof(d[0]));
    planted_damage(&f, END, 500);
}

static void test_hostile(void **state)
{
    planted_damage(&dmg, END, 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defects),
        cmocka_unit_test(test_property_list),
        cmocka_unit_test(test_hostile),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
