/*
 * Golden bytes of the QED structures, transcribed by hand from docs/interop/qed_spec.txt of
 * QEMU 7.2, not from specs/qed.yaml: read by the generated accessors and built again.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "specs/qed_layout.h"
#include "specs/runtime/spec.h"

/* clang-format off */
static const uint8_t golden[64] = {
    'Q', 'E', 'D', 0,              /* 0 - 3 magic */
    0, 0x10, 0, 0,                 /* 4 - 7 cluster size 4096 */
    8, 0, 0, 0,                    /* 8 - 11 table size */
    3, 0, 0, 0,                    /* 12 - 15 header size */
    5, 0, 0, 0, 0, 0, 0, 0,        /* 16 - 23 features */
    1, 2, 3, 4, 5, 6, 7, 8,        /* 24 - 31 compatible features */
    9, 8, 7, 6, 5, 4, 3, 2,        /* 32 - 39 auto-clear features */
    0, 0x30, 1, 0, 2, 0, 0, 0,     /* 40 - 47 L1 table offset */
    0, 0x02, 0, 0, 0x10, 0, 0, 0,  /* 48 - 55 image size */
    0x41, 0x01, 0, 0,              /* 56 - 59 backing name offset */
    0x0b, 0x02, 0, 0,              /* 60 - 63 backing name size */
};
/* clang-format on */

#define HEADER(X)                                                                                  \
    X(magic, 0x00444551)                                                                           \
    X(cluster_size, 4096)                                                                          \
    X(table_size, 8)                                                                               \
    X(header_size, 3)                                                                              \
    X(features, QED_FEATURE_BACKING_FILE | QED_FEATURE_BACKING_FORMAT_NO_PROBE)                    \
    X(compat_features, UINT64_C(0x0807060504030201))                                               \
    X(autoclear_features, UINT64_C(0x0203040506070809))                                            \
    X(l1_table_offset, UINT64_C(0x200013000))                                                      \
    X(image_size, UINT64_C(0x1000000200))                                                          \
    X(backing_filename_offset, 0x141)                                                              \
    X(backing_filename_size, 0x20b)
#define READ(f, v)  assert_int_equal(qed_header_get_##f(golden), (v));
#define BUILD(f, v) qed_header_set_##f(built, (v));

static void test_header(void **state)
{
    uint8_t built[QED_HEADER_SIZE] = {0};
    HEADER(READ)
    HEADER(BUILD)
    assert_int_equal(QED_HEADER_SIZE, 64);
    assert_memory_equal(built, golden, sizeof(golden));
    assert_int_equal(spec_structure_find(spec_qed(), "header")->size, 64);
}

static void test_entries(void **state)
{
    static const uint8_t entry[8] = {0, 0x10, 2, 3, 4, 5, 6, 7};
    uint8_t built[8];
    assert_int_equal(qed_l1_entry_get_offset(entry), UINT64_C(0x0706050403021000));
    assert_int_equal(qed_l2_entry_get_offset(entry), UINT64_C(0x0706050403021000));
    qed_l2_entry_set_offset(built, UINT64_C(0x0706050403021000));
    assert_memory_equal(built, entry, 8);
    assert_int_equal(QED_FEATURE_NEED_CHECK, 2);
    assert_int_equal(QED_ENTRY_ZERO, 1);
}

/* The first bytes of what `qemu-img create -f qed` of QEMU 7.2 wrote for 1 GiB obey every rule. */
static void test_rules(void **state)
{
    static const uint8_t real[64] = {'Q', 'E', 'D', 0, 0, 0,        1,          0,
                                     4,   0,   0,   0, 1, [42] = 1, [51] = 0x40};
    const struct spec_structure *s = spec_structure_find(spec_qed(), "header");
    struct qed_params params = {.cluster_size = 65536};
    for (size_t i = 0; i < s->nr_rules; i++) {
        assert_true(s->rules[i].holds(real, &params));
    }
    for (size_t i = 0; i < s->nr_fields; i++) {
        assert_true(spec_field_valid(&s->fields[i], real, &params));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_header),
        cmocka_unit_test(test_entries),
        cmocka_unit_test(test_rules),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
