/*
 * The judge of single structures, its arithmetic, the map of clusters and the report.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "specs/qcow2_layout.h"
#include "specs/runtime/cluster_map.h"
#include "specs/runtime/spec.h"

static void test_arithmetic(void **state)
{
    assert_int_equal(spec_add(UINT64_MAX, 1), UINT64_MAX);
    assert_int_equal(spec_sub(1, 2), 0);
    assert_int_equal(spec_mul(UINT64_C(1) << 40, UINT64_C(1) << 40), UINT64_MAX);
    assert_int_equal(spec_div(1, 0), UINT64_MAX);
    assert_int_equal(spec_mod(5, 0), 0);
    assert_int_equal(spec_shl(1, 64), UINT64_MAX);
    assert_int_equal(spec_shl(3, 63), UINT64_MAX);
    assert_int_equal(spec_shl(0, 99), 0);
    assert_int_equal(spec_shl(1, 63), UINT64_C(1) << 63);
    assert_int_equal(spec_shr(8, 64), 0);
    assert_int_equal(spec_bit_mask(0, 63), UINT64_MAX);
    assert_int_equal(spec_bit_mask(9, 55), UINT64_C(0x00fffffffffffe00));
    assert_int_equal(spec_bit_mask(5, 4), 0);
    assert_int_equal(spec_bit_mask(64, 70), 0);
}

static const struct qcow2_params params = {
    .version = 3, .cluster_bits = 16, .cluster_size = 65536, .active = 1};

/* One big-endian number as a structure, and the clause that it breaks. */
static void test_entries(void **state)
{
    static const struct {
        const char *structure;
        uint64_t raw;
        const char *clause;
    } cases[] = {
        {"l1_entry", UINT64_C(0x8000000000010000), NULL},
        {"l1_entry", UINT64_C(0x8000000000010200), "L1-2"},
        {"l1_entry", UINT64_C(0x8100000000010000), "L1-4"},
        {"l2_entry", UINT64_C(0x8000000000010001), NULL},
        {"l2_entry", UINT64_C(0x8000000000018000), "L2-8"},
        {"l2_entry", UINT64_C(0xc000000000010000), "L2-1"},
        {"l2_compressed", UINT64_C(0x40c0000000123456), NULL},
        {"l2_compressed", UINT64_C(0x00c0000000123456), "L2-1"},
        {"l2_compressed", UINT64_C(0xc0c0000000123456), "L2-3"},
        {"refcount_table_entry", UINT64_C(0xfff0000000010000), NULL},
        {"refcount_table_entry", 0x8000, "RC-7"},
        {"bitmap_table_entry", 1, NULL},
        {"bitmap_table_entry", 0x10200, "BMT-4"},
        {"bitmap_table_entry", 0x10001, "BMT-2"},
        {"l2_bitmap", UINT64_C(0x8000000080000000), "XL2-8"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct spec_report r = {.nr_findings = 0};
        uint8_t p[8];
        store_be64(p, cases[i].raw);
        const struct spec_structure *s = spec_structure_find(spec_qcow2(), cases[i].structure);
        unsigned bad = spec_structure_check(s, p, &params, 0x1000, &r);
        assert_int_equal(bad != 0, cases[i].clause != NULL);
        if (cases[i].clause) {
            assert_true(spec_report_count(&r, cases[i].clause) > 0);
            assert_int_equal(r.findings[0].offset, 0x1000);
        }
    }
}

/* Every field of every structure takes its extremes and leaves its neighbours alone. */
static void test_fields_are_apart(void **state)
{
    for (const struct spec_structure *s = spec_qcow2()->structures; s->name; s++) {
        for (size_t i = 0; i < s->nr_fields; i++) {
            uint8_t p[128] = {0};
            assert_true(s->size <= sizeof(p));
            spec_field_set(&s->fields[i], p, &params, UINT64_MAX);
            for (size_t k = 0; k < s->nr_fields; k++) {
                uint64_t v = spec_field_get(&s->fields[k], p, &params);
                assert_int_equal(v != 0, k == i && !s->fields[i].bytes);
            }
        }
    }
}

/* Tables are complete: every clause that a field or rule names exists, and so do those of the
 * promise. */
static void test_tables(void **state)
{
    const struct spec_format *f = spec_qcow2();
    for (const struct spec_structure *s = f->structures; s->name; s++) {
        for (size_t i = 0; i < s->nr_fields; i++) {
            assert_true(!s->fields[i].rule || spec_clause_find(f, s->fields[i].rule));
        }
        for (size_t i = 0; i < s->nr_rules; i++) {
            assert_non_null(spec_clause_find(f, s->rules[i].clause));
        }
    }
    assert_int_equal(f->promise->atomic_unit, 512);
    assert_int_equal(spec_unflushed_find(f, "in_place")->contents, SPEC_OLD | SPEC_NEW);
    assert_int_equal(spec_unflushed_find(f, "allocating_neighbour")->contents, SPEC_OLD);
    assert_true(spec_unflushed_find(f, "compressed")->contents & SPEC_UNREADABLE);
    assert_null(spec_unflushed_find(f, "no such thing"));
    assert_int_equal(spec_clause_find(f, "HDR-9")->class, SPEC_ADVISORY);
    assert_null(spec_clause_find(f, "HDR-999"));
}

static void test_report(void **state)
{
    struct spec_report *r = calloc(1, sizeof(*r));
    assert_non_null(r);
    for (unsigned i = 0; i < 1000; i++) {
        spec_report_add(r, i % 2 ? "RC-2" : "HDR-9", i % 2 ? SPEC_LEAK : SPEC_ADVICE, i, 0, 0, "%u",
                        i);
    }
    assert_int_equal(r->nr_findings, SPEC_MAX_FINDINGS);
    assert_int_equal(r->count[SPEC_LEAK], 500);
    assert_int_equal(spec_report_count(r, "RC-2"), 500);
    assert_int_equal(spec_report_count(r, "RC-1"), 0);
    assert_string_equal(r->findings[3].message, "3");
    free(r);
}

static void test_cluster_map(void **state)
{
    struct cluster_map m;
    cluster_map_init(&m, 1000);
    assert_null(cluster_map_find(&m, 7));
    for (uint64_t i = 0; i < 1000; i++) {
        struct cluster_ref *r = cluster_map_add(&m, i << 48 | i, 1);
        assert_non_null(r);
        r->count = (uint32_t)i;
    }
    assert_null(cluster_map_add(&m, 12345, 1));
    assert_non_null(cluster_map_add(&m, 0, 2));
    assert_int_equal(cluster_map_find(&m, 0)->kinds, 3);
    for (uint64_t i = 0; i < 1000; i++) {
        assert_int_equal(cluster_map_find(&m, i << 48 | i)->count, i);
    }
    assert_null(cluster_map_find(&m, 1000));
    cluster_map_free(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_arithmetic),       cmocka_unit_test(test_entries),
        cmocka_unit_test(test_fields_are_apart), cmocka_unit_test(test_tables),
        cmocka_unit_test(test_report),           cmocka_unit_test(test_cluster_map),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
