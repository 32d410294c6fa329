/*
 * Golden bytes of the LUKS 1 structures, from the on-disk format specification (its figures 1 and
 * 2), not from specs/luks.yaml: read by the generated accessors and built again; the whole-volume
 * checker on a sound header, and with one planted defect for each clause.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include "ref/base/bytes.h"
#include "specs/luks_layout.h"
#include "specs/runtime/luks_check.h"

/* clang-format off */
static const uint8_t golden[208] = {
    'L', 'U', 'K', 'S', 0xba, 0xbe,               /* 0 - 5 magic */
    0, 1,                                         /* 6 - 7 version */
    [8] = 't', 'w', 'o', 'f', 'i', 's', 'h',      /* 8 - 39 cipher name */
    [40] = 'x', 't', 's', '-', 'e', 's', 's', 'i', 'v', ':', 's', 'h', 'a', '2', '5', '6',
                                                  /* 40 - 71 cipher mode */
    [72] = 'r', 'i', 'p', 'e', 'm', 'd', '1', '6', '0', /* 72 - 103 hash */
    [104] = 0, 0, 0x10, 0x08,                     /* 104 - 107 payload offset */
    0, 0, 0x01, 0x02,                             /* 108 - 111 key bytes */
    0xa0, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7, 0xa8, 0xa9, /* 112 - 131 digest */
    0xaa, 0xab, 0xac, 0xad, 0xae, 0xaf, 0xb0, 0xb1, 0xb2, 0xb3,
    [132] = 0xc1, [163] = 0xc2,                   /* 132 - 163 salt */
    0x01, 0x02, 0x03, 0x04,                       /* 164 - 167 iterations */
    'u', 'u', 'i', 'd', [207] = 0,                /* 168 - 207 UUID */
};
static const uint8_t golden_slot[48] = {
    0x00, 0xac, 0x71, 0xf3,                       /* 0 - 3 enabled */
    0x11, 0x12, 0x13, 0x14,                       /* 4 - 7 iterations */
    [8] = 0xd1, [39] = 0xd2,                      /* 8 - 39 salt */
    0x21, 0x22, 0x23, 0x24,                       /* 40 - 43 key material offset */
    0, 0, 0x0f, 0xa0,                             /* 44 - 47 stripes */
};
/* clang-format on */

#define HEADER(X)                                                                                  \
    X(version, 1)                                                                                  \
    X(payload_offset, 0x1008)                                                                      \
    X(key_bytes, 0x102)                                                                            \
    X(mk_digest_iterations, 0x01020304)
#define READ(f, v)  assert_int_equal(luks_header_get_##f(golden), (v));
#define BUILD(f, v) luks_header_set_##f(built, (v));

static void test_header(void **state)
{
    uint8_t built[LUKS_HEADER_SIZE] = {0};
    HEADER(READ)
    HEADER(BUILD)
    memcpy(built + LUKS_HEADER_MAGIC_OFF, "LUKS\xba\xbe", LUKS_HEADER_MAGIC_WIDTH);
    strcpy((char *)built + LUKS_HEADER_CIPHER_NAME_OFF, "twofish");
    strcpy((char *)built + LUKS_HEADER_CIPHER_MODE_OFF, "xts-essiv:sha256");
    strcpy((char *)built + LUKS_HEADER_HASH_SPEC_OFF, "ripemd160");
    for (unsigned i = 0; i < LUKS_HEADER_MK_DIGEST_WIDTH; i++) {
        built[LUKS_HEADER_MK_DIGEST_OFF + i] = (uint8_t)(0xa0 + i);
    }
    built[LUKS_HEADER_MK_DIGEST_SALT_OFF] = 0xc1;
    built[LUKS_HEADER_MK_DIGEST_SALT_OFF + LUKS_HEADER_MK_DIGEST_SALT_WIDTH - 1] = 0xc2;
    strcpy((char *)built + LUKS_HEADER_UUID_OFF, "uuid");
    assert_memory_equal(built, golden, sizeof(golden));
    assert_int_equal(LUKS_HEADER_UUID_OFF + LUKS_HEADER_UUID_WIDTH, 208);
    assert_int_equal(LUKS_HEADER_KEY_SLOTS_OFF, 208);
    assert_int_equal(LUKS_HEADER_SIZE, 208 + 8 * 48);
}

static void test_slot(void **state)
{
    uint8_t built[LUKS_KEY_SLOT_SIZE] = {0};
    assert_int_equal(luks_key_slot_get_active(golden_slot), LUKS_KEY_ENABLED);
    assert_int_equal(luks_key_slot_get_iterations(golden_slot), 0x11121314);
    assert_int_equal(luks_key_slot_get_key_material_offset(golden_slot), 0x21222324);
    assert_int_equal(luks_key_slot_get_stripes(golden_slot), 4000);
    luks_key_slot_set_active(built, 0x00ac71f3);
    luks_key_slot_set_iterations(built, 0x11121314);
    built[LUKS_KEY_SLOT_SALT_OFF] = 0xd1;
    built[LUKS_KEY_SLOT_SALT_OFF + LUKS_KEY_SLOT_SALT_WIDTH - 1] = 0xd2;
    luks_key_slot_set_key_material_offset(built, 0x21222324);
    luks_key_slot_set_stripes(built, 4000);
    assert_memory_equal(built, golden_slot, sizeof(golden_slot));
    assert_int_equal(LUKS_KEY_DISABLED, 0xdead);
}

/* As QEMU 7.2 and cryptsetup 2.6 lay out a volume with keys of 64 bytes. */
static void sound(uint8_t *h)
{
    memset(h, 0, LUKS_HEADER_SIZE);
    memcpy(h, golden, sizeof(golden));
    luks_header_set_payload_offset(h, 4040);
    luks_header_set_key_bytes(h, 64);
    for (unsigned i = 0; i < LUKS_KEY_SLOTS; i++) {
        uint8_t *s = h + LUKS_HEADER_KEY_SLOTS_OFF + i * LUKS_KEY_SLOT_SIZE;
        luks_key_slot_set_active(s, i ? LUKS_KEY_DISABLED : LUKS_KEY_ENABLED);
        luks_key_slot_set_iterations(s, i ? 0 : 1000);
        luks_key_slot_set_key_material_offset(s, 8 + 504 * i);
        luks_key_slot_set_stripes(s, 4000);
    }
}

static void test_checker(void **state)
{
    static const struct {
        unsigned offset, width;
        uint64_t value;
        const char *clause;
    } defects[] = {
        {0, 1, 'l', "HDR-1"},
        {6, 2, 2, "HDR-2"},
        {8, 1, 0, "HDR-3"},
        {40, 8, UINT64_C(0x7878787878787878), "HDR-4"},
        {49, 7, 0, "HDR-4"},
        {108, 4, 0, "HDR-6"},
        {164, 4, 0, "HDR-7"},
        {104, 4, 7, "HDR-8"},
        {104, 4, 4000, "HDR-8"},
        {104, 4, 0x10000000, "HDR-8"},
        {208, 4, 1, "KEY-1"},
        {208 + 4, 4, 0, "KEY-3"},
        {208 + 40, 4, 7, "KEY-4"},
        {208 + 44, 4, 3999, "KEY-5"},
        {208 + 48 + 40, 4, 9, "KEY-6"},
    };
    uint8_t h[LUKS_HEADER_SIZE];
    struct spec_report r = {0};
    sound(h);
    spec_luks_check(h, 1 << 24, false, &r);
    assert_int_equal(r.nr_findings, 0);
    for (size_t i = 0; i < sizeof(defects) / sizeof(defects[0]); i++) {
        memset(&r, 0, sizeof(r));
        sound(h);
        store_uint(h + defects[i].offset, defects[i].width, 1, defects[i].value);
        spec_luks_check(h, 1 << 24, false, &r);
        assert_true(spec_report_count(&r, defects[i].clause) > 0);
    }
    /* Inside a qcow2 image the payload lies elsewhere. */
    memset(&r, 0, sizeof(r));
    sound(h);
    spec_luks_check(h, 1 << 20, true, &r);
    assert_int_equal(r.nr_findings, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_header),
        cmocka_unit_test(test_slot),
        cmocka_unit_test(test_checker),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
