/*
 * The spec checker of Bochs redologs against planted defects: a small image made by hand, byte by
 * byte and without the generated accessors, is clean; each single defect is reported under its
 * clause.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <string.h>

#include "specs/runtime/tests/planted.h"

/* Extents of 4 KiB with a bitmap of a sector; the disk has three, two are in the file. */
enum { CATALOG = 0x200, FIRST = CATALOG + 12, WHOLE = 0x1200, END = FIRST + 2 * WHOLE };

static void build(uint8_t *m);
static const struct planted_format bochs = {spec_bochs_check, false, END, build, NULL};

static void put(uint8_t *m, uint64_t at, unsigned width, uint64_t v)
{
    planted_put(&bochs, m, at, width, v);
}

static void build(uint8_t *m)
{
    memcpy(m, "Bochs Virtual HD Image", 22);
    memcpy(m + 32, "Redolog", 7);
    memcpy(m + 48, "Growing", 7);
    put(m, 64, 4, 0x20000);
    put(m, 68, 4, CATALOG);
    put(m, 72, 4, 3);
    put(m, 76, 4, 1);
    put(m, 80, 4, 4096);
    put(m, 88, 8, 3 * 4096);
    put(m, CATALOG, 4, 1);
    put(m, CATALOG + 4, 4, 0xffffffff);
    put(m, CATALOG + 8, 4, 0);
}

static const struct planted defects[] = {
    {"HDR-1", 22, 1, '!'},
    {"HDR-2", 32, 1, 'r'},
    {"HDR-3", 48, 4, 0},
    {"HDR-4", 64, 4, 0x18000},
    {"HDR-4", 64, 4, 0},
    {"HDR-6", 72, 4, 0x100001},
    {"HDR-7", 76, 4, 0},
    {"HDR-8", 80, 4, 256},
    {"HDR-8", 80, 4, 4096 + 512},
    {"HDR-8", 80, 4, 0x1000000},
    {"HDR-9", 88, 8, 3 * 4096 + 512},
    {"HDR-11", 68, 4, 0},
    {"HDR-11", 68, 4, END},
    {"HDR-11", 72, 4, 0x80000},
    {"EXT-4", CATALOG, 4, 2},
    {"EXT-4", CATALOG, 4, 0xfffffffe},
    {"EXT-5", CATALOG, 4, 0},
};

static void test_defects(void **state)
{
    planted_each(&bochs, false, defects, sizeof(defects) / sizeof(defects[0]));
}

/* Version 1 has the disk's size where version 2 has a timestamp. */
static void test_version_1(void **state)
{
    uint8_t *m = planted_image(&bochs);
    put(m, 64, 4, 0x10000);
    put(m, 84, 8, 3 * 4096);
    put(m, 92, 4, 0xffffffff);
    planted_expect(&bochs, m, END, NULL);
    put(m, 84, 8, 4 * 4096);
    planted_expect(&bochs, m, END, "HDR-9");
    free(m);
}

static void test_hostile(void **state)
{
    planted_limits(&bochs);
    planted_damage(&bochs, FIRST + 4, 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defects),
        cmocka_unit_test(test_version_1),
        cmocka_unit_test(test_hostile),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
