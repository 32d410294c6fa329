/*
 * The spec checker of QED against planted defects: a small image made by hand, byte by byte and
 * without the generated accessors, is clean; each single defect is reported under its clause.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <string.h>

#include "specs/runtime/tests/planted.h"

/* Clusters of 4 KiB, tables of one; the disk has 16 clusters. */
enum { L1 = 0x1000, L2 = 0x2000, A = 0x3000, B = 0x4000, END = 0x5000 };

static void build(uint8_t *m);
static const struct planted_format qed = {spec_qed_check, false, END, build, NULL};

static void put(uint8_t *m, uint64_t at, unsigned width, uint64_t v)
{
    planted_put(&qed, m, at, width, v);
}

static void build(uint8_t *m)
{
    memcpy(m, "QED", 4);
    put(m, 4, 4, 4096);
    put(m, 8, 4, 1);
    put(m, 12, 4, 1);
    put(m, 16, 8, 1); /* a backing file */
    put(m, 40, 8, L1);
    put(m, 48, 8, 65536);
    put(m, 56, 4, 64);
    put(m, 60, 4, 4);
    memcpy(m + 64, "base", 4);
    put(m, L1, 8, L2);
    put(m, L2, 8, A);
    put(m, L2 + 16, 8, 1); /* zeroes */
    put(m, L2 + 24, 8, B);
}

static const struct planted defects[] = {
    {"HDR-1", 0, 4, 0x12345678}, {"HDR-2", 4, 4, 2048},
    {"HDR-2", 4, 4, 5000},       {"HDR-2", 4, 4, 0x8000000},
    {"HDR-3", 8, 4, 0},          {"HDR-3", 8, 4, 3},
    {"HDR-3", 8, 4, 32},         {"HDR-4", 12, 4, 0},
    {"HDR-4", 12, 4, 3},         {"HDR-5", 16, 8, 9},
    {"HDR-6", 24, 8, 1},         {"HDR-7", 32, 8, 1},
    {"HDR-8", 40, 8, L1 + 512},  {"HDR-8", 40, 8, 0},
    {"HDR-9", 48, 8, 65535},     {"HDR-10", 48, 8, (UINT64_C(1) << 30) + 512},
    {"HDR-11", 56, 4, 4093},     {"HDR-11", 60, 4, 0xffffffff},
    {"TAB-2", L1, 8, L2 + 512},  {"TAB-4", L1, 8, L2 + 1},
    {"TAB-2", L2, 8, A + 512},   {"TAB-4", L2, 8, 2},
    {"CHK-1", L2, 8, B},         {"CHK-1", L2, 8, L1},
    {"CHK-1", L1 + 8, 8, L2},    {"CHK-1", L1 + 8, 8, A},
    {"CHK-2", L2, 8, END},       {"CHK-2", L1, 8, END},
    {"CHK-2", 40, 8, END},       {"CHK-3", 8, 4, 8},
    {"CHK-4", L2, 8, 0},         {"CHK-4", L1, 8, 0},
};

static void test_defects(void **state)
{
    planted_each(&qed, false, defects, sizeof(defects) / sizeof(defects[0]));
}

/* With the need-check feature what lies behind the end is excused; the condition is told. */
static void test_need_check(void **state)
{
    uint8_t *m = planted_image(&qed);
    put(m, 16, 8, 3);
    planted_expect(&qed, m, END, NULL);
    put(m, L2 + 32, 8, END);
    planted_expect(&qed, m, END, "CHK-2");
    assert_string_equal(planted_condition(&qed, m, END), "dirty");
    assert_int_equal(planted_broken(&qed, m, END), 0);
    put(m, 16, 8, 1);
    assert_null(planted_condition(&qed, m, END));
    assert_int_equal(planted_broken(&qed, m, END), 1);
    put(m, L2 + 32, 8, B);
    assert_int_equal(planted_broken(&qed, m, END), 1);
    free(m);
}

static void test_hostile(void **state)
{
    planted_limits(&qed);
    planted_damage(&qed, 72, 500);
    planted_damage(&qed, END, 500);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defects),
        cmocka_unit_test(test_need_check),
        cmocka_unit_test(test_hostile),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
