/*
 * The whole-volume checker of LUKS 1: see luks_check.h.
 */
#include "specs/runtime/luks_check.h"

#include <string.h>
#include "specs/luks_layout.h"

static const uint8_t *slot(const uint8_t *h, unsigned i)
{
    return h + LUKS_HEADER_KEY_SLOTS_OFF + i * LUKS_KEY_SLOT_SIZE;
}

static void check_magic(const uint8_t *h, struct spec_report *r)
{
    static const uint8_t magic[] = {0x4c, 0x55, 0x4b, 0x53, 0xba, 0xbe};
    if (memcmp(h, magic, sizeof(magic)) != 0) {
        spec_report_add(r, "HDR-1", SPEC_CORRUPTION, 0, 0, 0, "the magic is not that of LUKS");
    }
}

static void check_texts(const uint8_t *h, struct spec_report *r)
{
    static const struct {
        unsigned offset;
        const char *name;
    } texts[] = {{LUKS_HEADER_CIPHER_NAME_OFF, "cipher name"},
                 {LUKS_HEADER_CIPHER_MODE_OFF, "cipher mode"},
                 {LUKS_HEADER_HASH_SPEC_OFF, "hash"}};
    for (unsigned i = 0; i < 3; i++) {
        const uint8_t *p = h + texts[i].offset;
        if (p[0] == 0 || !memchr(p, 0, 32)) {
            spec_report_add(r, "HDR-3", SPEC_CORRUPTION, texts[i].offset, 0, 0,
                            "%s is empty or does not end", texts[i].name);
        }
    }
    const char *mode = (const char *)h + LUKS_HEADER_CIPHER_MODE_OFF;
    const char *dash = memchr(mode, '-', 32), *end = memchr(mode, 0, 32);
    bool essiv = dash && end && end - dash > 5 && memcmp(dash + 1, "essiv", 5) == 0;
    if (!dash || !end || dash > end || dash == mode || dash + 1 == end ||
        (essiv && !memchr(dash, ':', (size_t)(end - dash)))) {
        spec_report_add(r, "HDR-4", SPEC_CORRUPTION, LUKS_HEADER_CIPHER_MODE_OFF, 0, 0,
                        "the cipher mode does not name mode and vectors");
    }
}

/* Sectors of one slot's key material; what key_bytes claims may be anything. */
static uint64_t material(const uint8_t *h, unsigned i)
{
    uint64_t bytes = (uint64_t)luks_header_get_key_bytes(h) * luks_key_slot_get_stripes(slot(h, i));
    return bytes / LUKS_SECTOR + (bytes % LUKS_SECTOR != 0);
}

static void check_places(const uint8_t *h, uint64_t size, bool detached, struct spec_report *r)
{
    uint64_t payload = luks_header_get_payload_offset(h);
    if (!detached && payload > size / LUKS_SECTOR) {
        spec_report_add(r, "HDR-8", SPEC_CORRUPTION, LUKS_HEADER_PAYLOAD_OFFSET_OFF, payload,
                        size / LUKS_SECTOR, "the payload begins behind the end of the file");
    }
    for (unsigned i = 0; i < LUKS_KEY_SLOTS; i++) {
        uint64_t at = LUKS_HEADER_KEY_SLOTS_OFF + i * LUKS_KEY_SLOT_SIZE,
                 start = luks_key_slot_get_key_material_offset(slot(h, i)),
                 end = start + material(h, i);
        if (end > payload) {
            spec_report_add(r, "HDR-8", SPEC_CORRUPTION, at, end, payload,
                            "key material of slot %u reaches into the payload", i);
        }
        for (unsigned k = i + 1; k < LUKS_KEY_SLOTS; k++) {
            uint64_t other = luks_key_slot_get_key_material_offset(slot(h, k));
            if (start < other + material(h, k) && other < end) {
                spec_report_add(r, "KEY-6", SPEC_CORRUPTION, at, start, other,
                                "key material of slots %u and %u overlaps", i, k);
            }
        }
    }
}

void spec_luks_check(const uint8_t *header, uint64_t size, bool detached, struct spec_report *r)
{
    const struct spec_format *f = spec_luks();
    struct luks_params none = {0};
    check_magic(header, r);
    spec_structure_check(spec_structure_find(f, "header"), header, &none, 0, r);
    for (unsigned i = 0; i < LUKS_KEY_SLOTS; i++) {
        spec_structure_check(spec_structure_find(f, "key_slot"), slot(header, i), &none,
                             LUKS_HEADER_KEY_SLOTS_OFF + i * LUKS_KEY_SLOT_SIZE, r);
    }
    check_texts(header, r);
    check_places(header, size, detached, r);
}
