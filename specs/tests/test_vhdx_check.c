/*
 * The spec checker of VHDX against planted defects: a small image made by hand, byte by byte and
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

/* Blocks of 1 MiB; the disk has five, of which two are in the file. */
enum {
    MIB = 1 << 20,
    H1 = 0x10000,
    H2 = 0x20000,
    R1 = 0x30000,
    R2 = 0x40000,
    LOG = MIB,
    META = 2 * MIB,
    BAT = 3 * MIB,
    A = 4 * MIB,
    B = 5 * MIB,
    END = 6 * MIB,
    ITEMS = META + 0x10000,
    ENTRY = META + 32 /* of the metadata table */
};

static void build(uint8_t *m);
static void seal(uint8_t *m);
static const struct planted_format vhdx = {spec_vhdx_check, false, END, build, seal};

static void put(uint8_t *m, uint64_t at, unsigned width, uint64_t v)
{
    planted_put(&vhdx, m, at, width, v);
}

/* CRC-32C, bit by bit, at byte 4 of what it covers. */
static void sum(uint8_t *m, uint64_t at, size_t len)
{
    uint32_t crc = UINT32_MAX;
    put(m, at + 4, 4, 0);
    for (size_t i = 0; i < len; i++) {
        crc ^= m[at + i];
        for (int bit = 0; bit < 8; bit++) {
            crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78 : 0);
        }
    }
    put(m, at + 4, 4, (uint32_t)~crc);
}

static void seal(uint8_t *m)
{
    sum(m, H1, 4096);
    sum(m, H2, 4096);
    sum(m, R1, 65536);
    sum(m, R2, 65536);
}

/* As [MS-VHDX] prints it, into the file's order. */
static void guid(uint8_t *m, uint64_t at, uint32_t a, uint16_t b, uint16_t c, uint64_t d)
{
    put(m, at, 4, a);
    put(m, at + 4, 2, b);
    put(m, at + 6, 2, c);
    for (int i = 0; i < 8; i++) {
        m[at + 8 + i] = (uint8_t)(d >> (56 - 8 * i));
    }
}

static void header(uint8_t *m, uint64_t at, uint64_t sequence)
{
    memcpy(m + at, "head", 4);
    put(m, at + 8, 8, sequence);
    put(m, at + 66, 2, 1);
    put(m, at + 68, 4, MIB);
    put(m, at + 72, 8, LOG);
}

static void regions(uint8_t *m, uint64_t at)
{
    memcpy(m + at, "regi", 4);
    put(m, at + 8, 4, 2);
    guid(m, at + 16, 0x2dc27766, 0xf623, 0x4200, 0x9d64115e9bfd4a08);
    put(m, at + 32, 8, BAT);
    put(m, at + 40, 4, MIB);
    put(m, at + 44, 4, 1);
    guid(m, at + 48, 0x8b7ca206, 0x4790, 0x4b9a, 0xb8fe575f050f886e);
    put(m, at + 64, 8, META);
    put(m, at + 72, 4, MIB);
    put(m, at + 76, 4, 1);
}

static void item(uint8_t *m, int i, uint64_t offset, unsigned bytes)
{
    put(m, ENTRY + 32 * i + 16, 4, offset - META);
    put(m, ENTRY + 32 * i + 20, 4, bytes);
    put(m, ENTRY + 32 * i + 24, 4, 4);
}

static void build(uint8_t *m)
{
    memcpy(m, "vhdxfile", 8);
    header(m, H1, 6);
    header(m, H2, 7);
    regions(m, R1);
    regions(m, R2);
    memcpy(m + META, "metadata", 8);
    put(m, META + 10, 2, 5);
    guid(m, ENTRY, 0xcaa16737, 0xfa36, 0x4d43, 0xb3b633f0aa44e76b);
    guid(m, ENTRY + 32, 0x2fa54224, 0xcd1b, 0x4876, 0xb2115dbed83bf4b8);
    guid(m, ENTRY + 64, 0xbeca12ab, 0xb2e6, 0x4523, 0x93efc309e000c746);
    guid(m, ENTRY + 96, 0x8141bf1d, 0xa96f, 0x4709, 0xba47f233a8faab5f);
    guid(m, ENTRY + 128, 0xcda348c7, 0x445d, 0x4471, 0x9cc9e9885251c556);
    item(m, 0, ITEMS, 8);
    item(m, 1, ITEMS + 8, 8);
    item(m, 2, ITEMS + 16, 16);
    item(m, 3, ITEMS + 32, 4);
    item(m, 4, ITEMS + 36, 4);
    put(m, ITEMS, 4, MIB);
    put(m, ITEMS + 8, 8, 5 * MIB);
    put(m, ITEMS + 32, 4, 512);
    put(m, ITEMS + 36, 4, 512);
    put(m, BAT, 8, B | 6);
    put(m, BAT + 8, 8, 2);
    put(m, BAT + 16, 8, A | 6);
    put(m, BAT + 24, 8, 3);
}

static const struct planted defects[] = {
    {"GEN-1", R1 + 64, 8, BAT},
    {"GEN-1", R1 + 64, 8, LOG},
    {"GEN-1", H2 + 72, 8, BAT},
    {"ID-1", 0, 8, 1},
    {"HDR-3", H2 + 64, 2, 1},
    {"HDR-5", H2 + 68, 4, 4096},
    {"HDR-6", H2 + 72, 8, MIB + 4096},
    {"HDR-6", H2 + 72, 8, 0},
    {"HDR-11", H2, 4, 1},
    {"HDR-11", H1 + 66, 2, 2},
    {"LOG-11", H2 + 72, 8, END},
    {"REG-1", R1, 4, 1},
    {"REG-3", R1 + 8, 4, 2048},
    {"REG-4", R1 + 12, 4, 1},
    {"REG-5", R1 + 32, 8, BAT + 4096},
    {"REG-5", R1 + 32, 8, 0},
    {"REG-5", R1 + 40, 4, 4096},
    {"REG-5", R1 + 40, 4, 0},
    {"REG-6", R1 + 44, 4, 2},
    {"REG-7", R1 + 16, 4, 1},
    {"REG-7", R1 + 8, 4, 1},
    {"REG-8", R2 + 44, 4, 0},
    {"REG-9", R1 + 32, 8, END},
    {"META-1", META, 8, 1},
    {"META-2", META + 8, 2, 1},
    {"META-2", META + 31, 1, 1},
    {"META-2", ENTRY + 28, 4, 1},
    {"META-3", META + 10, 2, 2048},
    {"META-4", ENTRY + 20, 4, 0x100001},
    {"META-5", ENTRY + 16, 4, 0xfff8},
    {"META-6", ITEMS, 4, 0x80000},
    {"META-6", ITEMS, 4, 3 * MIB},
    {"META-6", ITEMS, 4, 0x20000000},
    {"META-7", ITEMS + 8, 8, 0x400000000200},
    {"META-7", ITEMS + 8, 8, 5 * MIB - 1},
    {"META-8", ITEMS + 32, 4, 1024},
    {"META-9", ENTRY + 16, 4, MIB - 7},
    {"META-9", ENTRY + 16, 4, 0xffffffff},
    {"META-10", ENTRY + 16, 4, 0x10004},
    {"META-11", ENTRY, 4, 1},
    {"META-11", ENTRY + 20, 4, 4},
    {"META-11", META + 10, 2, 4},
    {"META-11", ITEMS + 4, 4, 2},
    {"BAT-2", BAT, 8, 6},
    {"BAT-3", BAT, 8, B | 8 | 6},
    {"BAT-4", BAT, 8, A | 6},
    {"BAT-4", BAT, 8, BAT | 6},
    {"BAT-4", BAT, 8, END | 6},
    {"BAT-6", ITEMS + 8, 8, UINT64_C(131072) * MIB},
    {"BAT-7", BAT, 8, 4},
    {"BAT-7", BAT, 8, B | 7},
    {"BAT-8", BAT, 8, 0},
};

static void test_defects(void **state)
{
    planted_each(&vhdx, true, defects, sizeof(defects) / sizeof(defects[0]));
}

static void test_checksums(void **state)
{
    static const struct planted d[] = {{"HDR-11", H1 + 4, 4, 0},
                                       {"HDR-11", H2 + 4000, 1, 1},
                                       {"REG-2", R1 + 4, 4, 0},
                                       {"REG-2", R2 + 65000, 1, 1}};
    planted_each(&vhdx, false, d, sizeof(d) / sizeof(d[0]));
}

/* One header that is not valid is excused, two are not. */
static void test_headers(void **state)
{
    uint8_t *m = planted_image(&vhdx);
    put(m, H1 + 8, 8, 7);
    seal(m);
    planted_expect(&vhdx, m, END, NULL); /* the same number, the same header */
    put(m, H1 + 16, 8, 1);
    seal(m);
    planted_expect(&vhdx, m, END, "HDR-12");
    put(m, H2 + 4, 4, 0);
    assert_int_equal(planted_broken(&vhdx, m, END), 0);
    put(m, H1 + 4, 4, 0);
    planted_expect(&vhdx, m, END, "HDR-2");
    put(m, H1, 4, 0);
    planted_expect(&vhdx, m, END, "HDR-1");
    put(m, H1 + 66, 2, 2);
    planted_expect(&vhdx, m, END, "HDR-4");
    assert_true(planted_broken(&vhdx, m, END) > 0);
    free(m);
}

/* A differencing image: a parent locator, partially present blocks, sector bitmap blocks. */
static void build_child(uint8_t *m)
{
    build(m);
    put(m, ITEMS + 4, 4, 2);
    put(m, META + 10, 2, 6);
    guid(m, ENTRY + 160, 0xa8d35f2d, 0xb30b, 0x454d, 0xabf7d3d84834ab0c);
    item(m, 5, ITEMS + 64, 100);
    put(m, BAT, 8, B | 7);
    put(m, BAT + 8 * 4096, 8, A | 6);
    put(m, BAT + 16, 8, 0);
}

static void test_parent(void **state)
{
    static const struct planted_format f = {spec_vhdx_check, false, END, build_child, seal};
    static const struct planted d[] = {{"META-11", ENTRY + 160, 4, 1},
                                       {"META-11", ITEMS + 4, 4, 0},
                                       {"BAT-7", BAT + 8 * 4096, 8, A | 7},
                                       {"BAT-4", BAT + 8 * 4096, 8, B | 6}};
    planted_each(&f, true, d, sizeof(d) / sizeof(d[0]));
}

/* ---- the log ---- */

static void head(uint8_t *m, uint64_t at, uint64_t sequence, uint64_t tail, unsigned descs)
{
    memcpy(m + at, "loge", 4);
    put(m, at + 8, 4, 8192);
    put(m, at + 12, 4, tail - LOG);
    put(m, at + 16, 8, sequence);
    put(m, at + 24, 4, descs);
    put(m, at + 32, 4, 77); /* GUID */
    put(m, at + 48, 8, END);
    put(m, at + 56, 8, END);
}

static void data(uint8_t *m, uint64_t at, uint64_t sequence, uint64_t target)
{
    memcpy(m + at, "data", 4);
    put(m, at + 4, 4, sequence >> 32);
    memcpy(m + at + 8, m + target + 8, 4084);
    put(m, at + 4092, 4, sequence);
}

static void desc(uint8_t *m, uint64_t at, const char *signature, uint64_t sequence, uint64_t target,
                 uint64_t leading)
{
    memcpy(m + at, signature, 4);
    put(m, at + 8, 8, leading);
    put(m, at + 16, 8, target);
    put(m, at + 24, 8, sequence);
}

enum { E1 = LOG + 8192, E2 = E1 + 8192, D = E1 + 64, SEQUENCE = 5 };

/* What the BAT holds is in the log, in its place stand wrong bytes. */
static void build_log(uint8_t *m)
{
    build(m);
    put(m, H2 + 48, 4, 77);
    head(m, E1, SEQUENCE, E1, 2);
    desc(m, D, "zero", SEQUENCE, BAT + 4096, 8192);
    desc(m, D + 32, "desc", SEQUENCE, BAT, B | 6);
    data(m, E1 + 4096, SEQUENCE, BAT);
    memset(m + BAT, 0xff, 3 * 4096);
}

static void seal_log(uint8_t *m)
{
    seal(m);
    sum(m, E1, 8192);
    sum(m, E2, 8192);
}

static const struct planted_format logged = {spec_vhdx_check, false, END, build_log, seal_log};

static void expect_log(const uint8_t *m, bool pending)
{
    const char *condition = planted_condition(&logged, m, END);
    assert_true(pending ? condition && !strcmp(condition, "log") : !condition);
    assert_true((planted_broken(&logged, m, END) == 0) == pending);
}

static void test_log(void **state)
{
    uint8_t *m = planted_image(&logged);
    planted_expect(&logged, m, END, "LOG-12");
    expect_log(m, true);
    put(m, E1 + 4, 4, 0); /* LOG-2: no entry, nothing to replay */
    expect_log(m, false);
    seal_log(m);
    expect_log(m, true);
    put(m, E1 + 32, 4, 78); /* of another time */
    seal_log(m);
    expect_log(m, false);
    free(m);
}

static void test_log_defects(void **state)
{
    static const struct planted d[] = {
        {"LOG-6", E1 + 28, 4, 1},
        {"LOG-7", D + 16, 8, BAT + 512},
        {"LOG-7", D + 8, 8, 512},
        {"LOG-8", E1 + 4096, 4, 1},
        {"LOG-8", E1 + 4096 + 4, 4, 1},
        {"LOG-8", E1 + 8188, 4, 4},
        {"LOG-13", D, 4, 1},
        {"LOG-13", D + 24, 8, 4},
        {"LOG-13", D, 4, 0x63736564},
        {"LOG-14", E1 + 48, 8, END + 1},
        {"LOG-15", D + 16, 8, H1},
        {"LOG-15", D + 16, 8, LOG},
        {"LOG-15", D + 8, 8, UINT64_MAX - 4095},
    };
    uint8_t *m = planted_image(&logged);
    for (size_t i = 0; i < sizeof(d) / sizeof(d[0]); i++) {
        memset(m, 0, END);
        build_log(m);
        put(m, d[i].at, d[i].width, d[i].value);
        seal_log(m);
        planted_expect(&logged, m, END, d[i].clause);
        assert_true(planted_broken(&logged, m, END) > 0);
    }
    free(m);
}

/* The largest number counts, if valid entries lead to it from its tail. */
static void test_active_sequence(void **state)
{
    uint8_t *m = planted_image(&logged);
    head(m, E2, SEQUENCE + 1, E1, 0); /* both are replayed */
    seal_log(m);
    expect_log(m, true);
    put(m, E2 + 12, 4, E2 - LOG); /* only the second one, which changes nothing */
    seal_log(m);
    planted_expect(&logged, m, END, "LOG-12");
    assert_true(planted_broken(&logged, m, END) > 0);
    put(m, E2 + 12, 4, E1 - LOG);
    put(m, E2 + 16, 8, SEQUENCE + 2); /* does not follow: the first one is active */
    seal_log(m);
    expect_log(m, true);
    put(m, E2 + 16, 8, SEQUENCE + 1);
    put(m, E2 + 8, 4, 2 * MIB); /* longer than the log: none */
    seal_log(m);
    expect_log(m, true);
    free(m);
}

/* An entry runs round the log's end. */
static void test_round_the_end(void **state)
{
    enum { LAST = LOG + MIB - 4096 };
    uint8_t *m = planted_image(&logged);
    put(m, E1 + 12, 4, LAST - LOG);
    sum(m, E1, 8192);
    memcpy(m + LAST, m + E1, 4096);
    memcpy(m + LOG, m + E1 + 4096, 4096);
    memset(m + E1, 0, 8192);
    expect_log(m, true);
    free(m);
}

static void test_hostile(void **state)
{
    planted_limits(&vhdx);
    planted_damage(&vhdx, BAT + 4096, 60);
    planted_damage(&logged, H2 + 80, 60);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defects),
        cmocka_unit_test(test_checksums),
        cmocka_unit_test(test_headers),
        cmocka_unit_test(test_parent),
        cmocka_unit_test(test_log),
        cmocka_unit_test(test_log_defects),
        cmocka_unit_test(test_active_sequence),
        cmocka_unit_test(test_round_the_end),
        cmocka_unit_test(test_hostile),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
