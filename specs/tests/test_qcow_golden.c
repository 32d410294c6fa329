/*
 * Golden bytes of the qcow version 1 structures, taken from images that QEMU 7.2 wrote, not from
 * specs/qcow.yaml: read by the generated accessors and built again.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "specs/qcow_layout.h"
#include "specs/runtime/spec.h"

/* clang-format off */
static const uint8_t golden[48] = {
    'Q', 'F', 'I', 0xfb,           /* 0 - 3 magic */
    0, 0, 0, 1,                    /* 4 - 7 version */
    0, 0, 0, 0, 0, 0, 0x01, 0x30,  /* 8 - 15 backing file offset */
    0, 0, 0x02, 6,                 /* 16 - 19 backing file name length */
    1, 2, 3, 4,                    /* 20 - 23 modification time */
    0, 0, 0, 5, 0x40, 0, 0x06, 0,  /* 24 - 31 size */
    9,                             /* 32 cluster bits */
    12,                            /* 33 L2 bits */
    0xab, 0xcd,                    /* 34 - 35 padding */
    0, 0, 0, 1,                    /* 36 - 39 crypt method */
    0, 0, 7, 0, 0, 0, 0, 0x38,     /* 40 - 47 L1 table offset */
};
/* clang-format on */

#define HEADER(X)                                                                                  \
    X(magic, 0x514649fb)                                                                           \
    X(version, 1)                                                                                  \
    X(backing_file_offset, 0x130)                                                                  \
    X(backing_file_size, 0x206)                                                                    \
    X(mtime, 0x01020304)                                                                           \
    X(size, UINT64_C(0x540000600))                                                                 \
    X(cluster_bits, 9)                                                                             \
    X(l2_bits, 12)                                                                                 \
    X(padding, 0xabcd)                                                                             \
    X(crypt_method, QCOW_CRYPT_AES)                                                                \
    X(l1_table_offset, UINT64_C(0x70000000038))
#define READ(f, v)  assert_int_equal(qcow_header_get_##f(golden), (v));
#define BUILD(f, v) qcow_header_set_##f(built, (v));

static void test_header(void **state)
{
    uint8_t built[QCOW_HEADER_SIZE] = {0};
    HEADER(READ)
    HEADER(BUILD)
    assert_int_equal(QCOW_HEADER_SIZE, 48);
    assert_memory_equal(built, golden, sizeof(golden));
    assert_int_equal(spec_structure_find(spec_qcow(), "header")->size, 48);
}

/* 21 bytes at 0x2200, clusters of 4 KiB: seen in an image of QEMU 7.2. */
static void test_compressed(void **state)
{
    static const uint8_t entry[8] = {0x80, 0xa8, 0, 0, 0, 0, 0x22, 0};
    uint8_t built[8] = {0};
    assert_int_equal(qcow_compressed_cluster_get_compressed(entry), 1);
    assert_int_equal(qcow_compressed_cluster_get_bytes(entry, 12), 21);
    assert_int_equal(qcow_compressed_cluster_get_offset(entry, 12), 0x2200);
    qcow_compressed_cluster_set_compressed(built, 1);
    qcow_compressed_cluster_set_bytes(built, 12, 21);
    qcow_compressed_cluster_set_offset(built, 12, 0x2200);
    assert_memory_equal(built, entry, 8);
}

static void test_entries(void **state)
{
    static const uint8_t entry[8] = {0x01, 2, 3, 4, 5, 6, 0x70, 0};
    assert_int_equal(qcow_l1_entry_get_offset(entry), UINT64_C(0x0102030405067000));
    assert_int_equal(qcow_l2_entry_get_offset(entry), UINT64_C(0x0102030405067000));
    assert_int_equal(qcow_l2_entry_get_compressed(entry), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_header),
        cmocka_unit_test(test_compressed),
        cmocka_unit_test(test_entries),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
