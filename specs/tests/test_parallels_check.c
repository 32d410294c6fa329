/*
 * The spec checker of Parallels images against planted defects: a small image made by hand, byte by
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
#include <nettle/md5.h>

/* Clusters of 4 KiB; the disk has four of them, three are in the file, with the extension and a
 * bitmap behind them. */
enum {
    BAT = 64,
    DATA = 0x1000,
    EXT = 0x4000,
    FEATURE = EXT + 24,
    BITMAP = FEATURE + 24,
    TABLE = BITMAP + 32,
    END_MARK = TABLE + 8,
    BITS = 0x5000,
    END = 0x6000
};

static void build(uint8_t *m);
static void seal(uint8_t *m);
static const struct planted_format parallels = {spec_parallels_check, false, END, build, seal};

static void put(uint8_t *m, uint64_t at, unsigned width, uint64_t v)
{
    planted_put(&parallels, m, at, width, v);
}

static void seal(uint8_t *m)
{
    struct md5_ctx md5;
    md5_init(&md5);
    md5_update(&md5, 4096 - 24, m + EXT + 24);
    md5_digest(&md5, 16, m + EXT + 8);
}

static void build(uint8_t *m)
{
    memcpy(m, "WithouFreSpacExt", 16);
    put(m, 16, 4, 2);
    put(m, 28, 4, 8);
    put(m, 32, 4, 4);
    put(m, 36, 8, 32);
    put(m, 44, 4, 0x312e3276);
    put(m, 48, 4, DATA / 512);
    put(m, 56, 8, EXT / 512);
    put(m, BAT, 4, 3);
    put(m, BAT + 8, 4, 1);
    put(m, BAT + 12, 4, 2);
    put(m, EXT, 8, 0xab234cef23dcea87);
    put(m, FEATURE, 8, 0x20385fae252cb34a);
    put(m, FEATURE + 16, 4, 40);
    put(m, BITMAP, 8, 32);
    put(m, BITMAP + 24, 4, 2);
    put(m, BITMAP + 28, 4, 1);
    put(m, TABLE, 8, BITS / 512);
}

static const struct planted defects[] = {
    {"HDR-1", 15, 1, 'T'},
    {"HDR-2", 16, 4, 3},
    {"HDR-3", 28, 4, 0},
    {"HDR-4", 36, 8, 33},
    {"HDR-4", 40, 4, 1},
    {"HDR-5", 44, 4, 1},
    {"HDR-9", 44, 4, 0x746f6e59},
    {"BAT-2", 48, 4, 2 * DATA / 512},
    {"BAT-3", BAT, 4, END / 4096},
    {"BAT-3", BAT, 4, 0xffffffff},
    {"BAT-4", BAT, 4, 1},
    {"BAT-4", BAT, 4, EXT / 4096},
    {"BAT-4", BAT, 4, BITS / 4096},
    {"BAT-5", 48, 4, DATA / 512 - 1},
    {"BAT-5", 56, 8, EXT / 512 - 1},
    {"BAT-6", BAT, 4, 0},
    {"BAT-6", 56, 8, 0},
    {"BAT-7", 32, 4, 0x100000},
    {"BAT-7", 32, 4, (DATA - BAT) / 4 + 1},
    {"EXT-1", EXT, 8, 1},
    {"EXT-3", FEATURE + 16, 4, 4096 - 47},
    {"EXT-3", FEATURE + 16, 4, 4096 - 48},
    {"EXT-3", END_MARK + 8, 8, 1},
    {"EXT-3", END_MARK + 16, 4, 8},
    {"EXT-5", 56, 8, END / 512},
    {"EXT-5", 56, 8, END / 512 - 7},
    {"EXT-5", 56, 8, UINT64_MAX},
    {"BM-1", BITMAP, 8, 31},
    {"BM-2", BITMAP + 24, 4, 0},
    {"BM-2", BITMAP + 24, 4, 3},
    {"BM-3", BITMAP + 28, 4, 2},
    {"BM-3", BITMAP + 28, 4, 0},
    {"BM-3", FEATURE + 16, 4, 39},
    {"BM-3", FEATURE + 16, 4, 31},
    {"BM-4", TABLE, 8, END / 512},
    {"BM-4", TABLE, 8, UINT64_MAX},
};

static void test_defects(void **state)
{
    planted_each(&parallels, true, defects, sizeof(defects) / sizeof(defects[0]));
}

static void test_digest(void **state)
{
    static const struct planted d[] = {{"EXT-2", EXT + 8, 4, 0}, {"EXT-2", EXT + 4000, 1, 1}};
    planted_each(&parallels, false, d, sizeof(d) / sizeof(d[0]));
}

/* Entries in sectors; the data area begins behind the BAT when the header does not say where. */
static void build_old(uint8_t *m)
{
    memcpy(m, "WithoutFreeSpace", 16);
    put(m, 16, 4, 2);
    put(m, 28, 4, 7);
    put(m, 32, 4, 2);
    put(m, 36, 8, 14);
    put(m, BAT, 4, 8);
    put(m, BAT + 4, 4, 1);
}

static void test_old_magic(void **state)
{
    static const struct planted_format old = {spec_parallels_check, false, 15 * 512, build_old,
                                              NULL};
    static const struct planted d[] = {
        {"BAT-2", 48, 4, 2},  {"BAT-3", BAT, 4, 15}, {"BAT-4", BAT, 4, 1},
        {"BAT-5", BAT, 4, 9}, {"BAT-6", BAT, 4, 0},
    };
    planted_each(&old, false, d, sizeof(d) / sizeof(d[0]));
}

/* An image that was not closed: a condition of the promise, and no defect by itself. */
static void test_in_use(void **state)
{
    uint8_t *m = planted_image(&parallels);
    assert_null(planted_condition(&parallels, m, END));
    put(m, 44, 4, 0x746f6e59);
    assert_string_equal(planted_condition(&parallels, m, END), "in_use");
    assert_int_equal(planted_broken(&parallels, m, END), 0);
    free(m);
}

/* Of an image that is to be taken as empty nothing but the header counts. */
static void test_empty(void **state)
{
    uint8_t *m = planted_image(&parallels);
    put(m, 52, 4, 1);
    put(m, BAT, 4, 1);
    planted_expect(&parallels, m, END, NULL);
    free(m);
}

static void test_hostile(void **state)
{
    planted_limits(&parallels);
    planted_damage(&parallels, 80, 500);
    planted_damage(&parallels, END, 500);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defects),   cmocka_unit_test(test_digest),
        cmocka_unit_test(test_old_magic), cmocka_unit_test(test_in_use),
        cmocka_unit_test(test_empty),     cmocka_unit_test(test_hostile),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
