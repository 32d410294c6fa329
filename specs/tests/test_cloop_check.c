/*
 * The spec checker of compressed loop images against planted defects: a small image made by hand,
 * byte by byte and without the generated accessors, is clean; each single defect is reported under
 * its clause.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <string.h>

#include "specs/runtime/tests/planted.h"

/* Two blocks. */
enum { TABLE = 136, FIRST = TABLE + 24, END = FIRST + 300 };

static void build(uint8_t *m);
static const struct planted_format cloop = {spec_cloop_check, true, END, build, NULL};

static void build(uint8_t *m)
{
    memcpy(m, "#!/bin/sh\n#V2.0 Format\n", 23);
    planted_put(&cloop, m, 128, 4, 4096);
    planted_put(&cloop, m, 132, 4, 2);
    planted_put(&cloop, m, TABLE, 8, FIRST);
    planted_put(&cloop, m, TABLE + 8, 8, FIRST + 100);
    planted_put(&cloop, m, TABLE + 16, 8, END);
}

static const struct planted defects[] = {
    {"HDR-2", 128, 4, 0},
    {"HDR-2", 128, 4, 4097},
    {"HDR-2", 128, 4, 0x4000200},
    {"HDR-3", 132, 4, 0x20000000},
    {"BLK-1", TABLE + 8, 8, FIRST - 1},
    {"BLK-1", TABLE + 16, 8, FIRST + 99},
    {"BLK-4", TABLE, 8, FIRST - 1},
    {"BLK-4", TABLE, 8, 0},
    {"BLK-4", TABLE + 16, 8, END + 1},
    {"BLK-4", TABLE, 8, UINT64_MAX},
    {"BLK-5", 132, 4, 100},
};

static void test_defects(void **state)
{
    planted_each(&cloop, false, defects, sizeof(defects) / sizeof(defects[0]));
}

static void test_hostile(void **state)
{
    planted_damage(&cloop, FIRST, 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defects),
        cmocka_unit_test(test_hostile),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
