/*
 * The spec checker of vmdk against planted defects: a small extent made by hand, byte by byte and
 * without the generated accessors, is clean; each single defect is reported under its clause.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "ref/base/bytes.h"
#include "specs/runtime/vmdk_check.h"

/* Grains of 8 sectors; the guest's disk has 16 of them. */
enum {
    TEXT = 0x200,
    RGD = 0x400,
    RGT = 0x600,
    GD = 0xe00,
    GT = 0x1000,
    GRAIN_A = 0x2000,
    GRAIN_B = 0x3000,
    PACKED = 0x4000,
    END = 0x4200,
};

static void le(uint8_t *image, uint64_t off, unsigned width, uint64_t v)
{
    store_uint(image + off, width, 0, v);
}

static void make(uint8_t *m)
{
    memset(m, 0, END);
    memcpy(m, "KDMV", 4);
    le(m, 4, 4, 2);
    le(m, 8, 4, 7);
    le(m, 12, 8, 128);
    le(m, 20, 8, 8);
    le(m, 28, 8, TEXT / 512);
    le(m, 36, 8, 1);
    le(m, 44, 4, 512);
    le(m, 48, 8, RGD / 512);
    le(m, 56, 8, GD / 512);
    le(m, 64, 8, GRAIN_A / 512);
    memcpy(m + 73, "\n \r\n", 4);
    le(m, RGD, 4, RGT / 512);
    le(m, GD, 4, GT / 512);
    for (unsigned i = 0; i < 2; i++) {
        uint64_t gt = i ? GT : RGT;
        le(m, gt, 4, GRAIN_A / 512);
        le(m, gt + 4, 4, 1); /* zeroed */
        le(m, gt + 20, 4, GRAIN_B / 512);
    }
}

/* The same as a stream: grain 0 is compressed, and there is no copy of the tables. */
static void make_stream(uint8_t *m)
{
    make(m);
    le(m, 4, 4, 3);
    le(m, 8, 4, 0x30001);
    le(m, 48, 8, 0);
    le(m, 77, 2, 1);
    memset(m + GT, 0, 512);
    le(m, GT + 8, 4, PACKED / 512); /* grain 2 */
    le(m, PACKED, 8, 16);
    le(m, PACKED + 8, 4, 100);
    m[PACKED + 12] = 0x78;
    m[PACKED + 13] = 0x9c;
}

/* The clause is found violated; NULL: nothing is found at all. */
static void expect(const uint8_t *m, uint64_t size, const char *clause)
{
    struct spec_report *r = calloc(1, sizeof(*r));
    assert_non_null(r);
    assert_int_equal(spec_vmdk_check_memory(m, size, NULL, r), 0);
    if (!clause && r->nr_findings) {
        print_error("%s: %s\n", r->findings[0].clause, r->findings[0].message);
    }
    if (clause && !spec_report_count(r, clause)) {
        print_error("%s was not found; %s\n", clause, r->nr_findings ? r->findings[0].clause : "-");
    }
    assert_true(clause ? spec_report_count(r, clause) > 0 : r->nr_findings == 0);
    free(r);
}

static int read_memory(void *opaque, uint64_t offset, void *buf, size_t len)
{
    memcpy(buf, (const uint8_t *)opaque + offset, len);
    return 0;
}

static const struct defect {
    const char *clause;
    uint64_t at;
    unsigned width;
    uint64_t value;
} defects[] = {
    {"HDR-1", 0, 4, 0x12345678},
    {"HDR-2", 4, 4, 4},
    {"HDR-4", 20, 8, 0x200001},
    {"HDR-4", 20, 8, 9},
    {"HDR-5", 44, 4, 513},
    {"HDR-6", 12, 8, UINT64_MAX / 2},
    {"HDR-6", 56, 8, 0x1000},
    {"HDR-6", 48, 8, 0x1000},
    {"HDR-7", 64, 8, 0x1000},
    {"HDR-8", 73, 1, '\r'},
    {"HDR-9", 77, 2, 2},
    {"HDR-10", 56, 8, UINT64_MAX},
    {"GD-2", GD, 4, 0x1000},
    {"GD-3", GD, 4, RGT / 512},
    {"GD-3", GD, 4, RGT / 512 + 1},
    {"GD-4", RGD, 4, 0},
    {"GT-2", GT, 4, 0x1000},
    {"GT-2", GT, 4, END / 512 - 2},
    {"GT-3", GT, 4, GRAIN_B / 512},
    {"GT-3", GT, 4, GRAIN_B / 512 - 1},
    {"GT-3", GT, 4, GT / 512},
    {"GT-3", GT, 4, TEXT / 512 - 1 + 2},
    {"GT-4", GT, 4, 0},
    {"GT-4", RGT + 8, 4, 1},
};

static const struct defect stream_defects[] = {
    {"HDR-9", 77, 2, 0},         {"STR-1", PACKED, 8, 8},          {"STR-1", PACKED + 12, 1, 0x77},
    {"STR-3", PACKED + 8, 4, 0}, {"STR-3", PACKED + 8, 4, 0x2001}, {"STR-3", PACKED + 8, 4, 0x1fff},
};

static void plant(void (*build)(uint8_t *m), const struct defect *d, size_t n)
{
    uint8_t *m = malloc(END);
    assert_non_null(m);
    build(m);
    expect(m, END, NULL);
    for (size_t i = 0; i < n; i++) {
        build(m);
        le(m, d[i].at, d[i].width, d[i].value);
        expect(m, END, d[i].clause);
    }
    free(m);
}

static void test_hosted(void **state)
{
    plant(make, defects, sizeof(defects) / sizeof(defects[0]));
}

static void test_stream(void **state)
{
    plant(make_stream, stream_defects, sizeof(stream_defects) / sizeof(stream_defects[0]));
}

static void make_cowd(uint8_t *m)
{
    memset(m, 0, END);
    memcpy(m, "COWD", 4);
    le(m, 4, 4, 1);
    le(m, 12, 4, 128);
    le(m, 16, 4, 8);
    le(m, 20, 4, 4);
    le(m, 24, 4, 1);
}

static void test_cowd(void **state)
{
    static const struct defect d[] = {{"COW-2", 16, 4, 0},
                                      {"COW-2", 16, 4, 0x200001},
                                      {"COW-3", 24, 4, 0x8000000},
                                      {"COW-3", 20, 4, 0x1000},
                                      {"GD-2", 0x800, 4, 0x1000}};
    plant(make_cowd, d, sizeof(d) / sizeof(d[0]));
}

/* The walk ends at its limits, whatever the image claims. */
static void test_limits(void **state)
{
    static const struct spec_limits few = {.clusters = 2, .work = 1 << 20};
    static const struct spec_limits lazy = {.clusters = 100, .work = 1000};
    uint8_t *m = malloc(END);
    struct spec_report *r = calloc(1, sizeof(*r));
    assert_non_null(m);
    assert_non_null(r);
    make(m);
    const struct spec_limits *limits[] = {&few, &lazy};
    for (int i = 0; i < 2; i++) {
        struct spec_image image = {read_memory, m, END};
        int ret = spec_vmdk_check(&image, limits[i], NULL, r);
        assert_int_equal(ret, -EFBIG);
    }
    free(r);
    free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hosted),
        cmocka_unit_test(test_stream),
        cmocka_unit_test(test_cowd),
        cmocka_unit_test(test_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
