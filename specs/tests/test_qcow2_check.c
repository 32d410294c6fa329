/*
 * The spec checker against planted defects: a small image made by hand, byte by byte and without
 * the generated accessors, is clean; each single defect is reported under its clause.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>

#include "ref/base/bytes.h"
#include "specs/runtime/qcow2_check.h"

/* Clusters of 512 bytes; the guest's disk has two. */
enum {
    HEADER = 0x000,
    REFTABLE = 0x200,
    REFBLOCK = 0x400,
    L1 = 0x600,
    L2 = 0x800,
    DATA_A = 0xa00,
    DATA_B = 0xc00,
    SNAPSHOTS = 0xe00,
    SNAP_L1 = 0x1000,
    SNAP_L2 = 0x1200,
    BM_DIR = 0x1400,
    BM_TABLE = 0x1600,
    BM_DATA = 0x1800,
    SPARE = 0x1a00,
    END = 0x1c00,
    EXT = 112,
    FNT = EXT + 32,
    AFTER_EXT = FNT + 56,
};

static const uint64_t COPIED = UINT64_C(1) << 63;

static void be(uint8_t *image, uint64_t off, unsigned width, uint64_t v)
{
    store_uint(image + off, width, 1, v);
}

static void make_header(uint8_t *m)
{
    be(m, 0, 4, 0x514649fb);
    be(m, 4, 4, 3);
    be(m, 20, 4, 9);
    be(m, 24, 8, 1024);
    be(m, 36, 4, 1);
    be(m, 40, 8, L1);
    be(m, 48, 8, REFTABLE);
    be(m, 56, 4, 1);
    be(m, 60, 4, 1);
    be(m, 64, 8, SNAPSHOTS);
    be(m, 88, 8, 1);
    be(m, 96, 4, 4);
    be(m, 100, 4, 112);
    be(m, EXT, 4, 0x23852875); /* bitmaps */
    be(m, EXT + 4, 4, 24);
    be(m, EXT + 8, 4, 1);
    be(m, EXT + 16, 8, 32);
    be(m, EXT + 24, 8, BM_DIR);
    be(m, FNT, 4, 0x6803f857); /* feature names, one entry */
    be(m, FNT + 4, 4, 48);
    memcpy(m + FNT + 10, "dirty bit", 9);
}

static void make_tables(uint8_t *m)
{
    be(m, REFTABLE, 8, REFBLOCK);
    for (unsigned c = 0; c < SPARE / 512; c++) {
        be(m, REFBLOCK + 2 * c, 2, c == DATA_A / 512 ? 2 : 1);
    }
    be(m, L1, 8, L2 | COPIED);
    be(m, L2, 8, DATA_A);
    be(m, L2 + 8, 8, DATA_B | COPIED);
    be(m, SNAPSHOTS, 8, SNAP_L1);
    be(m, SNAPSHOTS + 8, 4, 1);
    be(m, SNAPSHOTS + 12, 2, 1);
    be(m, SNAPSHOTS + 14, 2, 1);
    be(m, SNAPSHOTS + 36, 4, 16);
    be(m, SNAPSHOTS + 48, 8, 1024);
    memcpy(m + SNAPSHOTS + 56, "1s", 2);
    be(m, SNAP_L1, 8, SNAP_L2);
    be(m, SNAP_L2, 8, DATA_A);
    be(m, BM_DIR, 8, BM_TABLE);
    be(m, BM_DIR + 8, 4, 1);
    be(m, BM_DIR + 16, 1, 1);
    be(m, BM_DIR + 17, 1, 9);
    be(m, BM_DIR + 18, 2, 1);
    m[BM_DIR + 24] = 'b';
    be(m, BM_TABLE, 8, BM_DATA);
    m[BM_DATA] = 3;
}

static uint8_t *make_image(void)
{
    uint8_t *m = calloc(1, END);
    assert_non_null(m);
    make_header(m);
    make_tables(m);
    return m;
}

static struct spec_report *judge(const uint8_t *m, uint64_t size, struct spec_qcow2_info *info)
{
    struct spec_report *r = calloc(1, sizeof(*r));
    assert_non_null(r);
    assert_int_equal(spec_qcow2_check_memory(m, size, info, r), 0);
    return r;
}

static void test_clean(void **state)
{
    uint8_t *m = make_image();
    struct spec_qcow2_info info;
    struct spec_report *r = judge(m, END, &info);
    if (r->nr_findings) {
        print_error("%s %s\n", r->findings[0].clause, r->findings[0].message);
    }
    assert_int_equal(r->nr_findings, 0);
    assert_int_equal(info.version, 3);
    assert_int_equal(info.data_clusters, 2);
    assert_true(info.has_bitmaps_extension);
    free(r);
    free(m);
}

struct store {
    uint64_t offset;
    unsigned width;
    uint64_t value;
};

/* clang-format off */
static const struct defect {
    const char *clause;
    struct store stores[6];         /* up to width 0 */
} defects[] = {
    /* header */
    {"HDR-2", {{0, 4, 0x514649fa}}},
    {"HDR-3", {{4, 4, 4}}},
    {"HDR-3", {{4, 4, 1}}},
    {"HDR-5", {{72, 8, 4}, {88, 8, 2}, {8, 8, AFTER_EXT + 8}, {16, 4, 1}}},
    {"HDR-6", {{8, 8, AFTER_EXT + 8}, {16, 4, 1024}}},
    {"HDR-8", {{20, 4, 8}}},
    {"HDR-8", {{20, 4, 64}}},
    {"HDR-10", {{72, 8, 16}}},
    {"HDR-11", {{32, 4, 3}}},
    {"HDR-12", {{40, 8, L1 + 8}}},
    {"HDR-13", {{48, 8, REFTABLE + 1}}},
    {"HDR-14", {{64, 8, SNAPSHOTS + 8}}},
    {"HDR-16", {{100, 4, 96}}},
    {"HDR-16", {{100, 4, 0x1000}}},
    {"HDR-17", {{100, 4, 108}}},
    {"HDR-18", {{96, 4, 7}}},
    {"FEAT-6", {{72, 8, 4}}},
    {"FEAT-9", {{72, 8, 32}}},
    {"FEAT-9", {{72, 8, UINT64_C(1) << 63}}},
    {"FEAT-14", {{80, 8, 2}}},
    {"FEAT-16", {{EXT, 4, 0x12345678}}},
    {"FEAT-20", {{88, 8, 3}}},
    {"FEAT-21", {{88, 8, 5}}},
    {"ADD-5", {{72, 8, 8}}},
    {"ADD-6", {{104, 1, 1}}},
    {"ADD-6", {{72, 8, 8}, {104, 1, 2}}},
    {"PAD-2", {{110, 1, 1}}},
    {"EXT-1", {{FNT + 4, 4, 0x1000}}},
    {"EXT-3", {{FNT, 4, 0x23852875}}},
    {"EXT-4", {{8, 8, 100}, {16, 4, 4}}},
    {"EXT-4", {{8, 8, 508}, {16, 4, 8}}},
    {"FNT-2", {{FNT + 4, 4, 47}}},
    {"FNT-3", {{FNT + 8, 1, 3}}},
    {"FNT-4", {{FNT + 9, 1, 64}}},
    {"FNT-5", {{FNT + 30, 1, 'x'}}},
    {"FDE-1", {{32, 4, 2}}},
    {"FDE-2", {{FNT, 4, 0x0537be77}, {FNT + 4, 4, 16}}},
    {"FDE-3", {{32, 4, 2}, {FNT, 4, 0x0537be77}, {FNT + 4, 4, 16}, {FNT + 8, 8, SPARE + 1},
               {FNT + 16, 8, 9}}},
    {"FDE-4", {{32, 4, 2}, {FNT, 4, 0x0537be77}, {FNT + 4, 4, 16}, {FNT + 8, 8, SPARE},
               {FNT + 16, 8, UINT64_MAX}}},
    {"FDE-9", {{32, 4, 2}, {FNT, 4, 0x0537be77}, {FNT + 4, 4, 15}}},
    /* refcounts */
    {"RC-1", {{REFBLOCK + 2 * (DATA_A / 512), 2, 1}}},
    {"RC-1", {{REFBLOCK, 2, 0}}},
    {"RC-2", {{REFBLOCK + 2 * (DATA_A / 512), 2, 3}}},
    {"RC-2", {{REFBLOCK + 2 * (SPARE / 512), 2, 1}}},
    {"RC-4", {{48, 8, END}}},
    {"RC-4", {{56, 4, 0}}},
    {"RC-4", {{56, 4, 0xffffffff}}},
    {"RC-5", {{REFTABLE + 8, 8, UINT64_C(0xfffffffffffffe00)}}},
    {"RC-6", {{REFTABLE, 8, REFBLOCK | 1}}},
    {"RC-10", {{L2 + 8, 8, L2 | COPIED}}},          /* data in an L2 table */
    {"RC-10", {{L2 + 16, 8, HEADER + 0x200}}},      /* data in the refcount table */
    {"RC-10", {{REFTABLE + 8, 8, REFBLOCK}}},       /* one block twice */
    {"RC-10", {{SNAPSHOTS, 8, L1}}},                /* a snapshot on the active L1 table */
    {"FEAT-3", {{72, 8, 1}, {REFBLOCK + 2 * (DATA_B / 512), 2, 0}}},
    /* mapping */
    {"MAP-1", {{36, 4, 0x10000000}}},
    {"MAP-1", {{40, 8, UINT64_C(0xfffffffffffffe00)}}},
    {"MAP-2", {{L1, 8, END | COPIED}}},
    {"MAP-5", {{24, 8, 64 * 512 + 1}}},
    {"L1-1", {{L1, 8, L2 | COPIED | 4}}},
    {"L1-4", {{L1, 8, L2 | COPIED | UINT64_C(1) << 62}}},
    {"L1-5", {{L1, 8, COPIED}}},
    {"L1-5", {{REFBLOCK + 2 * (L2 / 512), 2, 2}}},
    {"L1-6", {{L1, 8, L2}}},
    {"L2-2", {{L2, 8, DATA_A | COPIED}}},
    {"L2-3", {{L2 + 8, 8, DATA_B | UINT64_C(3) << 62}}},
    {"L2-6", {{4, 4, 2}, {L2, 8, 1}}},
    {"L2-7", {{L2 + 8, 8, DATA_B | COPIED | 256}}},
    {"L2-10", {{L2 + 16, 8, COPIED}}},
    {"L2-11", {{L2 + 8, 8, DATA_B | COPIED | UINT64_C(1) << 56}}},
    {"L2-13", {{L2 + 8, 8, DATA_B}}},
    {"CMP-2", {{L2 + 8, 8, UINT64_C(1) << 62 | UINT64_C(1) << 57 | DATA_B}}},
    {"FEAT-7", {{72, 8, 4}, {L2 + 8, 8, DATA_B | COPIED}}},
    {"GEN-4", {{L2 + 16, 8, 0x100000 | COPIED}}},
    /* snapshots */
    {"SNAP-3", {{SNAPSHOTS + 36, 4, 0xffffffff}}},
    {"SNAP-3", {{60, 4, 0xffffffff}}},
    {"SNAP-5", {{SNAPSHOTS, 8, SNAP_L1 + 8}}},
    {"SNAP-9", {{SNAPSHOTS + 36, 4, 8}}},
    {"SNAP-11", {{60, 4, 2}, {SNAPSHOTS + 64 + 12, 2, 1}, {SNAPSHOTS + 64 + 36, 4, 16},
                 {SNAPSHOTS + 64 + 56, 1, '1'}}},
    {"SNAP-13", {{SNAPSHOTS + 48, 8, 64 * 512 + 1}}},
    {"SNAP-14", {{SNAPSHOTS + 8, 4, 0x7fffffff}}},
    /* bitmaps */
    {"BMX-2", {{EXT + 8, 4, 0}}},
    {"BMX-4", {{EXT + 12, 4, 1}}},
    {"BMX-5", {{EXT + 16, 8, 40}}},
    {"BMX-6", {{EXT + 24, 8, BM_DIR + 8}}},
    {"BMX-7", {{EXT + 4, 4, 23}}},
    {"BM-1", {{BM_DIR + 8, 4, 2}}},
    {"BMD-1", {{EXT + 16, 8, UINT64_MAX}}},
    {"BMD-2", {{BM_DIR + 20, 4, 0xffffffff}}},
    {"BMD-3", {{BM_DIR, 8, BM_TABLE + 8}}},
    {"BMD-8", {{BM_DIR + 12, 4, 8}}},
    {"BMD-9", {{BM_DIR + 16, 1, 2}}},
    {"BMD-5", {{BM_DIR + 12, 4, 2}, {BM_DIR + 16, 1, 0}}},
    {"BMD-10", {{BM_DIR + 17, 1, 64}}},
    {"BMD-11", {{BM_DIR + 17, 1, 8}}},
    {"BMD-12", {{BM_DIR + 18, 2, 0}}},
    {"BMD-16", {{EXT + 8, 4, 2}, {EXT + 16, 8, 64}, {BM_DIR + 32 + 18, 2, 1},
                {BM_DIR + 32 + 24, 1, 'b'}}},
    {"BMD-17", {{BM_DIR + 31, 1, 1}}},
    {"BMT-1", {{BM_DIR + 8, 4, 0xffffffff}}},
    {"BMT-2", {{BM_TABLE, 8, BM_DATA | 1}}},
    {"BMT-3", {{BM_TABLE, 8, BM_DATA | 2}}},
    {"BMT-6", {{BM_TABLE, 8, BM_DATA | UINT64_C(1) << 56}}},
    {"BMV-2", {{BM_DATA, 1, 7}}},
    {"BMV-2", {{BM_DATA + 511, 1, 1}}},
};

/* clang-format on */

static void test_defects(void **state)
{
    unsigned missed = 0;
    for (size_t i = 0; i < sizeof(defects) / sizeof(defects[0]); i++) {
        const struct defect *d = &defects[i];
        uint8_t *m = make_image();
        for (const struct store *s = d->stores; s->width; s++) {
            be(m, s->offset, s->width, s->value);
        }
        struct spec_report *r = judge(m, END, NULL);
        if (!spec_report_count(r, d->clause)) {
            print_error("defect %zu: %s not found; first is %s\n", i, d->clause,
                        r->nr_findings ? r->findings[0].message : "nothing");
            missed++;
        }
        free(r);
        free(m);
    }
    assert_int_equal(missed, 0);
}

/* Subclusters need clusters of 16 KiB: a header, tables and one entry in such an image. */
static void test_extended_l2(void **state)
{
    enum { CS = 16384 };
    static const struct {
        uint64_t entry, bitmap;
        const char *clause;
    } cases[] = {
        {5 * CS | UINT64_C(1) << 63, UINT64_C(0x00000002fffffffd), NULL},
        {0, UINT64_C(0xffffffff00000000), NULL},
        {5 * CS | UINT64_C(1) << 63, UINT64_C(0x0000000100000001), "XL2-8"},
        {0, 1, "XL2-6"},
        {5 * CS | UINT64_C(1) << 63 | 1, 0, "L2-6"},
        {5 * CS | UINT64_C(1) << 62, 1, "XL2-10"},
        {(5 * CS - 512) | UINT64_C(1) << 63, 1, "L2-8"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint8_t *m = calloc(6, CS);
        assert_non_null(m);
        make_header(m);
        memset(m + EXT, 0, 100);
        be(m, 20, 4, 14);
        be(m, 24, 8, CS);
        be(m, 40, 8, 3 * CS);
        be(m, 48, 8, CS);
        be(m, 60, 4, 0);
        be(m, 72, 8, 16);
        be(m, 88, 8, 0);
        be(m, CS, 8, 2 * CS);
        for (unsigned c = 0; c < 5 + (cases[i].entry != 0); c++) {
            be(m, 2 * CS + 2 * c, 2, 1);
        }
        be(m, 3 * CS, 8, 4 * CS | UINT64_C(1) << 63);
        be(m, 4 * CS, 8, cases[i].entry);
        be(m, 4 * CS + 8, 8, cases[i].bitmap);
        struct spec_report *r = judge(m, 6 * CS, NULL);
        if (cases[i].clause) {
            assert_int_equal(spec_report_count(r, cases[i].clause), 1);
        } else {
            assert_int_equal(r->nr_findings, 0);
        }
        free(r);
        free(m);
    }
}

/* Any single byte changed, any length cut: no crash, no endless walk. */
static void test_hostile(void **state)
{
    uint8_t *m = make_image();
    static const uint8_t patterns[] = {0x00, 0xff, 0x80, 0x7f, 0x01};
    for (unsigned at = 0; at < END; at += at < 512 ? 1 : 7) {
        for (unsigned k = 0; k < sizeof(patterns); k++) {
            uint8_t old = m[at];
            m[at] = patterns[k];
            struct spec_report *r = calloc(1, sizeof(*r));
            assert_non_null(r);
            spec_qcow2_check_memory(m, END, NULL, r);
            m[at] = old;
            free(r);
        }
    }
    for (unsigned size = 0; size < END; size += 61) {
        uint8_t *cut = malloc(size ? size : 1);
        struct spec_report *r = calloc(1, sizeof(*r));
        assert_non_null(cut);
        assert_non_null(r);
        memcpy(cut, m, size);
        assert_int_equal(spec_qcow2_check_memory(cut, size, NULL, r), 0);
        assert_int_equal(spec_report_count(r, "HDR-1"), size < 72);
        free(r);
        free(cut);
    }
    free(m);
}

static int failing_read(void *opaque, uint64_t offset, void *buf, size_t len)
{
    const uint64_t *bad = opaque;
    memset(buf, 0, len);
    if (offset == 0) {
        make_header(buf);
    }
    return offset >= *bad ? -EIO : 0;
}

static void test_limits_and_errors(void **state)
{
    uint8_t *m = make_image();
    struct spec_report *r = calloc(1, sizeof(*r));
    uint64_t bad = 0;
    struct spec_image image = {failing_read, &bad, END};
    struct spec_limits few = {3, 1 << 20}, lazy = {1000, 6000};
    assert_int_equal(spec_qcow2_check(&image, NULL, NULL, r), -EIO);
    bad = UINT64_MAX;
    assert_int_equal(spec_qcow2_check(&image, &few, NULL, r), -EFBIG);
    image.size = UINT64_MAX;
    assert_int_equal(spec_qcow2_check(&image, &lazy, NULL, r), -EFBIG);
    free(r);
    free(m);
}

/* Bits of a newer writer that one may ignore are no corruption. */
static void test_unknown_features(void **state)
{
    uint8_t *m = make_image();
    be(m, 80, 8, UINT64_C(1) << 40);
    be(m, 88, 8, 1 | UINT64_C(1) << 41);
    struct spec_report *r = judge(m, END, NULL);
    assert_int_equal(r->count[SPEC_CORRUPTION], 0);
    assert_int_equal(r->count[SPEC_ADVICE], 2);
    free(r);
    free(m);
}

/* A leak is what a power cut may leave; a refcount that is too low only under the dirty bit. */
static void test_promise(void **state)
{
    const struct spec_promise *promise = spec_qcow2()->promise;
    struct spec_qcow2_info info;
    uint8_t *m = make_image();
    const char *clause = NULL;

    be(m, REFBLOCK + 2 * (SPARE / 512), 2, 1);
    struct spec_report *r = judge(m, END, &info);
    assert_true(spec_report_allowed(r, promise, spec_qcow2_holds, &info, &clause));
    assert_int_equal(r->count[SPEC_LEAK], 1);
    free(r);

    be(m, REFBLOCK + 2 * (DATA_B / 512), 2, 0);
    be(m, L2 + 8, 8, DATA_B);
    r = judge(m, END, &info);
    assert_false(spec_report_allowed(r, promise, spec_qcow2_holds, &info, &clause));
    assert_string_equal(clause, "RC-1");
    free(r);

    be(m, 72, 8, 1);
    r = judge(m, END, &info);
    assert_true(spec_report_allowed(r, promise, spec_qcow2_holds, &info, &clause));
    assert_true(r->count[SPEC_TOLERATED] > 0);
    free(r);
    free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_clean),
        cmocka_unit_test(test_defects),
        cmocka_unit_test(test_extended_l2),
        cmocka_unit_test(test_hostile),
        cmocka_unit_test(test_limits_and_errors),
        cmocka_unit_test(test_promise),
        cmocka_unit_test(test_unknown_features),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
