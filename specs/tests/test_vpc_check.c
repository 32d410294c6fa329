/*
 * The spec checker of VHD (vpc) against planted defects: a small image made by hand, byte by byte
 * and without the generated accessors, is clean; each single defect is reported under its clause.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <string.h>

#include "specs/runtime/tests/planted.h"

/* Blocks of 4 KiB with a bitmap of a sector; three of four are in the file. */
enum {
    DYN = 0x200,
    BAT = 0x600,
    LOCATOR = 0x800,
    A = 0xa00,
    WHOLE = 0x1200,
    FOOTER = A + 3 * WHOLE,
    END = FOOTER + 512
};

static void build(uint8_t *m);
static void seal(uint8_t *m);
static const struct planted_format vpc = {spec_vpc_check, true, END, build, seal};

static void put(uint8_t *m, uint64_t at, unsigned width, uint64_t v)
{
    planted_put(&vpc, m, at, width, v);
}

static void sum(uint8_t *m, uint64_t at, unsigned len, unsigned place)
{
    uint32_t n = 0;
    put(m, at + place, 4, 0);
    for (unsigned i = 0; i < len; i++) {
        n += m[at + i];
    }
    put(m, at + place, 4, ~n);
}

static void seal(uint8_t *m)
{
    sum(m, 0, 512, 64);
    sum(m, DYN, 1024, 36);
    memcpy(m + FOOTER, m, 512);
}

static void build(uint8_t *m)
{
    memcpy(m, "conectix", 8);
    put(m, 8, 4, 2);
    put(m, 12, 4, 0x10000);
    put(m, 16, 8, DYN);
    put(m, 48, 8, 16384);
    put(m, 60, 4, 3);
    memcpy(m + DYN, "cxsparse", 8);
    put(m, DYN + 8, 8, UINT64_MAX);
    put(m, DYN + 16, 8, BAT);
    put(m, DYN + 24, 4, 0x10000);
    put(m, DYN + 28, 4, 4);
    put(m, DYN + 32, 4, 4096);
    put(m, BAT, 4, (A + WHOLE) / 512);
    put(m, BAT + 4, 4, A / 512);
    put(m, BAT + 8, 4, 0xffffffff);
    put(m, BAT + 12, 4, (A + 2 * WHOLE) / 512);
}

static const struct planted sealed[] = {
    {"FTR-2", 12, 4, 0x20000},
    {"FTR-3", 60, 4, 5},
    {"FTR-5", 84, 1, 2},
    {"DYN-1", DYN, 4, 1},
    {"DYN-2", DYN + 24, 4, 0},
    {"DYN-3", DYN + 32, 4, 256},
    {"DYN-3", DYN + 32, 4, 5120},
    {"DYN-5", 16, 8, END},
    {"DYN-5", 16, 8, UINT64_MAX},
    {"DYN-5", DYN + 16, 8, DYN},
    {"DYN-6", DYN + 16, 8, END - 8},
    {"DYN-6", DYN + 28, 4, 0x10000},
    {"DYN-7", 48, 8, 16385},
    {"BAT-3", BAT, 4, (A + WHOLE * 2) / 512 + 1},
    {"BAT-3", BAT, 4, 0xfffffffe},
    {"BAT-4", BAT, 4, A / 512},
    {"BAT-4", BAT, 4, 1},
    {"BAT-4", BAT, 4, A / 512 - 1},
    {"BAT-5", BAT, 4, 0xffffffff},
};

static const struct planted raw[] = {
    {"FTR-8", 0, 8, 1},         {"FTR-4", 64, 4, 1},  {"FTR-4", 100, 1, 1},
    {"FTR-8", FOOTER, 8, 1},    {"FTR-8", 100, 1, 1}, {"DYN-4", DYN + 36, 4, 1},
    {"DYN-4", DYN + 800, 1, 1},
};

static void test_defects(void **state)
{
    planted_each(&vpc, true, sealed, sizeof(sealed) / sizeof(sealed[0]));
}

static void test_checksums(void **state)
{
    planted_each(&vpc, false, raw, sizeof(raw) / sizeof(raw[0]));
}

static void build_fixed(uint8_t *m)
{
    memset(m, 0, END);
    memcpy(m + FOOTER, "conectix", 8);
    put(m, FOOTER + 12, 4, 0x10000);
    put(m, FOOTER + 16, 8, UINT64_MAX);
    put(m, FOOTER + 48, 8, FOOTER);
    put(m, FOOTER + 60, 4, 2);
}

static void seal_fixed(uint8_t *m)
{
    sum(m, FOOTER, 512, 64);
}

static void test_fixed(void **state)
{
    static const struct planted_format fixed = {spec_vpc_check, true, END, build_fixed, seal_fixed};
    static const struct planted d[] = {{"FTR-1", FOOTER, 4, 1},
                                       {"FTR-2", FOOTER + 12, 4, 1},
                                       {"FTR-8", FOOTER + 60, 4, 3},
                                       {"FTR-9", FOOTER + 48, 8, FOOTER + 512}};
    static const struct planted sums[] = {{"FTR-4", FOOTER + 64, 4, 1}};
    planted_each(&fixed, true, d, sizeof(d) / sizeof(d[0]));
    planted_each(&fixed, false, sums, 1);
}

static void build_differencing(uint8_t *m)
{
    build(m);
    put(m, 60, 4, 4);
    memcpy(m + DYN + 576, "W2ru", 4);
    put(m, DYN + 576 + 4, 4, 1);
    put(m, DYN + 576 + 8, 4, 20);
    put(m, DYN + 576 + 16, 8, LOCATOR);
}

static void test_differencing(void **state)
{
    static const struct planted_format f = {spec_vpc_check, true, END, build_differencing, seal};
    static const struct planted d[] = {{"DYN-8", DYN + 576 + 16, 8, END - 19},
                                       {"DYN-8", DYN + 576 + 16, 8, UINT64_MAX},
                                       {"DYN-5", DYN + 576 + 16, 8, BAT},
                                       {"BAT-4", DYN + 576 + 16, 8, A}};
    planted_each(&f, true, d, sizeof(d) / sizeof(d[0]));
}

static void test_hostile(void **state)
{
    planted_limits(&vpc);
    planted_damage(&vpc, A, 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defects), cmocka_unit_test(test_checksums),
        cmocka_unit_test(test_fixed),   cmocka_unit_test(test_differencing),
        cmocka_unit_test(test_hostile),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
