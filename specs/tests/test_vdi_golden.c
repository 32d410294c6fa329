/*
 * Golden bytes of the VDI structures, transcribed by hand from public notes on VirtualBox's disk
 * image 1.1 (pre-header, header, block map), not from specs/vdi.yaml: read by the generated
 * accessors and built again.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "specs/runtime/spec.h"
#include "specs/vdi_layout.h"

/* clang-format off */
static const uint8_t header[512] = {
    '<', '<', '<', ' ', 'g', 'o', 'l', 'd', ' ', '>', '>', '>', '\n', /* 0 - 63 text */
    [64] = 0x7f, 0x10, 0xda, 0xbe,             /* signature */
    1, 0, 1, 0,                                /* 68 minor, major version */
    0x90, 1, 0, 0,                             /* 72 header's bytes from here on */
    4, 0, 0, 0,                                /* 76 type: differencing */
    0x11, 0x12, 0x13, 0x14,                    /* 80 flags */
    'n', 'o', 't', 'e',                        /* 84 - 339 comment */
    [339] = 'z',
    0, 0x22, 0x23, 0x24,                       /* 340 offset of the block map */
    0, 0x32, 0x33, 0x34,                       /* 344 offset of the blocks */
    0x41, 0x42, 0x43, 0x44,                    /* 348 cylinders */
    0x51, 0x52, 0x53, 0x54,                    /* 352 heads */
    0x61, 0x62, 0x63, 0x64,                    /* 356 sectors of a track */
    0, 2, 0, 0,                                /* 360 bytes of a sector */
    0x71, 0x72, 0x73, 0x74,                    /* 364 not used */
    1, 2, 3, 4, 5, 6, 7, 8,                    /* 368 bytes of the disk */
    0, 0, 0x10, 0,                             /* 376 bytes of a block */
    0x81, 0x82, 0x83, 0x84,                    /* 380 bytes in front of each block */
    0x91, 0x92, 0x93, 0x14,                    /* 384 blocks */
    0xa1, 0xa2, 0xa3, 0x04,                    /* 388 blocks allocated */
    20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, /* 392 UUID of creation */
    40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, 52, 53, 54, 55, /* 408 of the last change */
    60, 61, 62, 63, 64, 65, 66, 67, 68, 69, 70, 71, 72, 73, 74, 75, /* 424 of the parent */
    80, 81, 82, 83, 84, 85, 86, 87, 88, 89, 90, 91, 92, 93, 94, 95, /* 440 of its last change */
    0xb1,                                      /* 456 - 511 geometry of the guest, padding */
    [511] = 0xb2,
};
static const uint8_t entry[4] = {1, 2, 3, 4};
/* clang-format on */

#define NUMBERS(X)                                                                                 \
    X(signature, 0xbeda107f)                                                                       \
    X(version, VDI_VERSION_1_1)                                                                    \
    X(header_size, 0x190)                                                                          \
    X(image_type, VDI_TYPE_DIFF)                                                                   \
    X(image_flags, 0x14131211)                                                                     \
    X(offset_bmap, 0x24232200)                                                                     \
    X(offset_data, 0x34333200)                                                                     \
    X(cylinders, 0x44434241)                                                                       \
    X(heads, 0x54535251)                                                                           \
    X(sectors, 0x64636261)                                                                         \
    X(sector_size, 512)                                                                            \
    X(unused1, 0x74737271)                                                                         \
    X(disk_size, UINT64_C(0x0807060504030201))                                                     \
    X(block_size, VDI_BLOCK)                                                                       \
    X(block_extra, 0x84838281)                                                                     \
    X(blocks_in_image, 0x14939291)                                                                 \
    X(blocks_allocated, 0x04a3a2a1)
#define BYTES(X)                                                                                   \
    X(TEXT, 0)                                                                                     \
    X(DESCRIPTION, 84)                                                                             \
    X(UUID_IMAGE, 392)                                                                             \
    X(UUID_LAST_SNAP, 408)                                                                         \
    X(UUID_LINK, 424)                                                                              \
    X(UUID_PARENT, 440)                                                                            \
    X(UNUSED2, 456)

static void test_header(void **state)
{
    uint8_t built[VDI_HEADER_SIZE] = {0};
#define READ(f, v)  assert_int_equal(vdi_header_get_##f(header), (v));
#define BUILD(f, v) vdi_header_set_##f(built, (v));
#define COPY(f, at)                                                                                \
    assert_int_equal(VDI_HEADER_##f##_OFF, at);                                                    \
    memcpy(built + VDI_HEADER_##f##_OFF, header + at, VDI_HEADER_##f##_WIDTH);
    NUMBERS(READ)
    NUMBERS(BUILD)
    BYTES(COPY)
    assert_memory_equal(built, header, sizeof(header));
    assert_int_equal(spec_structure_find(spec_vdi(), "header")->size, 512);
}

static void test_entry(void **state)
{
    uint8_t built[VDI_MAP_ENTRY_SIZE];
    assert_int_equal(vdi_map_entry_get_block(entry), 0x04030201);
    vdi_map_entry_set_block(built, 0x04030201);
    assert_memory_equal(built, entry, sizeof(entry));
    assert_int_equal(VDI_UNALLOCATED, 0xffffffff);
    assert_int_equal(VDI_DISCARDED, 0xfffffffe);
    assert_int_equal(VDI_TYPE_DYNAMIC, 1);
    assert_int_equal(VDI_TYPE_STATIC, 2);
}

/* What `qemu-img create -f vdi` of QEMU 7.2 wrote for 4 MiB obeys every rule; the differencing
 * image above does not. */
static void test_rules(void **state)
{
    static const uint8_t real[512] = {'<',
                                      '<',
                                      '<',
                                      [64] = 0x7f,
                                      0x10,
                                      0xda,
                                      0xbe,
                                      1,
                                      0,
                                      1,
                                      0,
                                      0x80,
                                      1,
                                      [76] = 1,
                                      [341] = 2,
                                      [345] = 4,
                                      [361] = 2,
                                      [370] = 0x40,
                                      [378] = 0x10,
                                      [384] = 4,
                                      [392] = 0xcb,
                                      0xe0,
                                      0xb5,
                                      [408] = 0xce,
                                      1};
    const struct spec_structure *s = spec_structure_find(spec_vdi(), "header");
    struct vdi_params params = {.blocks_in_image = 4};
    unsigned broken = 0;
    for (size_t i = 0; i < s->nr_rules; i++) {
        assert_true(s->rules[i].holds(real, &params));
        broken += !s->rules[i].holds(header, &params);
    }
    for (size_t i = 0; i < s->nr_fields; i++) {
        assert_true(spec_field_valid(&s->fields[i], real, &params));
        broken += !spec_field_valid(&s->fields[i], header, &params);
    }
    assert_true(broken > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_header),
        cmocka_unit_test(test_entry),
        cmocka_unit_test(test_rules),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
