/*
 * The spec checker of VDI against planted defects: a small image made by hand, byte by byte and
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

/* Four blocks of 1 MiB, two of them in the file, a third discarded. */
enum { MAP = 0x200, DATA = 0x400, MIB = 1 << 20, END = DATA + 2 * MIB };

static void build(uint8_t *m);
static const struct planted_format vdi = {spec_vdi_check, false, END, build, NULL};

static void put(uint8_t *m, uint64_t at, unsigned width, uint64_t v)
{
    planted_put(&vdi, m, at, width, v);
}

static void build(uint8_t *m)
{
    put(m, 64, 4, 0xbeda107f);
    put(m, 68, 4, 0x00010001);
    put(m, 72, 4, 0x180);
    put(m, 76, 4, 1);
    put(m, 340, 4, MAP);
    put(m, 344, 4, DATA);
    put(m, 360, 4, 512);
    put(m, 368, 8, 4 * MIB);
    put(m, 376, 4, MIB);
    put(m, 384, 4, 4);
    put(m, 388, 4, 2);
    put(m, MAP, 4, 1);
    put(m, MAP + 4, 4, 0xffffffff);
    put(m, MAP + 8, 4, 0xfffffffe);
    put(m, MAP + 12, 4, 0);
}

static const struct planted defects[] = {
    {"HDR-1", 64, 4, 0xbeda107e},
    {"HDR-2", 68, 4, 1},
    {"HDR-3", 76, 4, 5},
    {"HDR-4", 340, 4, 0},
    {"HDR-4", 340, 4, MAP + 4},
    {"HDR-5", 344, 4, 0},
    {"HDR-5", 344, 4, DATA + 8},
    {"HDR-5", 344, 4, MAP},
    {"HDR-6", 360, 4, 4096},
    {"HDR-7", 368, 8, 4 * MIB + 1},
    {"HDR-8", 376, 4, 2 * MIB},
    {"HDR-9", 380, 4, 512},
    {"HDR-10", 384, 4, 0x1fffff81},
    {"HDR-11", 424, 4, 1},
    {"HDR-11", 452, 4, 1},
    {"MAP-2", MAP, 4, 4},
    {"MAP-3", MAP, 4, 0},
    {"MAP-4", 388, 4, 3},
    {"MAP-4", MAP, 4, 0xffffffff},
    {"MAP-8", 384, 4, 0x100000},
    {"MAP-8", 340, 4, 0xfffffe00},
    {"MAP-9", MAP, 4, 2},
    {"MAP-10", MAP, 4, 0xffffffff},
    {"MAP-11", 76, 4, 2},
};

static void test_defects(void **state)
{
    planted_each(&vdi, false, defects, sizeof(defects) / sizeof(defects[0]));
}

/* A static image with all its blocks is clean. */
static void test_static(void **state)
{
    uint8_t *m = planted_image(&vdi);
    put(m, 76, 4, 2);
    put(m, 368, 8, 2 * MIB);
    put(m, 384, 4, 2);
    put(m, MAP + 4, 4, 0);
    planted_expect(&vdi, m, END, NULL);
    free(m);
}

/* Of a differencing image the parent's UUIDs are there. */
static void test_differencing(void **state)
{
    uint8_t *m = planted_image(&vdi);
    put(m, 76, 4, 4);
    put(m, 424, 4, 1);
    put(m, 440, 4, 1);
    planted_expect(&vdi, m, END, NULL);
    free(m);
}

static void test_hostile(void **state)
{
    planted_limits(&vdi);
    planted_damage(&vdi, DATA, 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defects),
        cmocka_unit_test(test_static),
        cmocka_unit_test(test_differencing),
        cmocka_unit_test(test_hostile),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
