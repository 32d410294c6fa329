/*
 * The spec checker of qcow (version 1) against planted defects: a small image made by hand, byte by
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

/* Clusters of 4 KiB, L2 tables of 512 bytes; the disk has two of them (512 KiB). */
enum { NAME = 0x30, L1 = 0x40, L2 = 0x1000, A = 0x2000, PACKED = 0x3000, B = 0x4000, END = 0x5000 };

static void build(uint8_t *m);
static const struct planted_format qcow = {spec_qcow_check, true, END, build, NULL};

#define COMPRESSED(offset, bytes) (UINT64_C(1) << 63 | (uint64_t)(bytes) << 51 | (offset))

static void put(uint8_t *m, uint64_t at, unsigned width, uint64_t v)
{
    planted_put(&qcow, m, at, width, v);
}

static void build(uint8_t *m)
{
    memcpy(m, "QFI\xfb", 4);
    put(m, 4, 4, 1);
    put(m, 8, 8, NAME);
    put(m, 16, 4, 4);
    put(m, 24, 8, 0x80000);
    m[32] = 12;
    m[33] = 6;
    put(m, 40, 8, L1);
    memcpy(m + NAME, "base", 4);
    put(m, L1, 8, L2);
    put(m, L2, 8, A);
    put(m, L2 + 8, 8, COMPRESSED(PACKED, 300));
    put(m, L2 + 16, 8, COMPRESSED(PACKED + 512, 700));
    put(m, L2 + 24, 8, B);
}

static const struct planted defects[] = {
    {"HDR-1", 0, 4, 0x12345678},
    {"HDR-2", 4, 4, 4},
    {"HDR-3", 16, 4, 1024},
    {"HDR-5", 24, 8, 1},
    {"HDR-6", 32, 1, 8},
    {"HDR-6", 32, 1, 17},
    {"HDR-7", 33, 1, 5},
    {"HDR-7", 33, 1, 14},
    {"HDR-8", 36, 4, 2},
    {"HDR-11", 8, 8, END - 3},
    {"HDR-11", 8, 8, UINT64_MAX},
    {"HDR-12", 40, 8, END - 8},
    {"HDR-12", 24, 8, UINT64_MAX},
    {"TAB-7", L1, 8, END - 8},
    {"TAB-7", L2, 8, END},
    {"TAB-7", L2 + 8, 8, COMPRESSED(END - 100, 300)},
    {"TAB-7", L2 + 24, 8, END - 512},
    {"TAB-8", L2, 8, B},
    {"TAB-8", L2, 8, L2},
    {"TAB-8", L2, 8, A + 0x800},
    {"TAB-8", L2, 8, 0x30},
    {"TAB-8", L1 + 8, 8, L2},
    {"TAB-8", L1 + 8, 8, A},
    {"TAB-8", L2 + 8, 8, COMPRESSED(PACKED + 300, 300)},
    {"TAB-8", 8, 8, 44},
    {"TAB-8", 40, 8, 0x28},
};

static void test_defects(void **state)
{
    planted_each(&qcow, false, defects, sizeof(defects) / sizeof(defects[0]));
}

static void test_hostile(void **state)
{
    planted_limits(&qcow);
    planted_damage(&qcow, 80, 500);
    planted_damage(&qcow, END, 500);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defects),
        cmocka_unit_test(test_hostile),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
