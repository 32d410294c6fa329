/*
 * The LUKS header: from bytes with every field checked, and back (specs/luks.yaml, HDR and KEY).
 */
#include "ref/format/crypto/luks.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include "ref/base/bytes.h"
#include "ref/base/mem.h"

static const uint8_t *slot_at(const uint8_t *h, unsigned i)
{
    return h + LUKS_SLOTS_OFFSET + i * LUKS_KEY_SLOT_SIZE;
}

static int word(const char *s, const char *const *words)
{
    for (int i = 0; words[i]; i++) {
        if (strcmp(s, words[i]) == 0) {
            return i;
        }
    }
    return -1;
}

/* A text field of 32 bytes. */
static int take_text(const uint8_t *p, const char *what, char out[32], struct error **err)
{
    memcpy(out, p, 32);
    return memchr(p, 0, 32) ? 0
                            : error_set(err, EINVAL, "LUKS header %s is not NUL terminated", what);
}

/* Sectors of a slot, in 64 bits without overflow; as QEMU has it, what fills up its last 4 KiB
 * belongs to it. */
static uint64_t material_sectors(const struct luks *l, const uint8_t *slot)
{
    uint64_t bytes = (uint64_t)l->key_bytes * luks_key_slot_get_stripes(slot);
    return (bytes / LUKS_KEY_AREA_ALIGN + (bytes % LUKS_KEY_AREA_ALIGN != 0)) * LUKS_HEADER_SECTORS;
}

/* Bounds of header, key material and payload (KEY-4 to KEY-6, HDR-8), in 64 bits. */
static int check_places(const struct luks *l, const uint8_t *h, struct error **err)
{
    for (unsigned i = 0; i < LUKS_KEY_SLOTS; i++) {
        const uint8_t *s = slot_at(h, i);
        uint64_t start = l->slots[i].offset, end = start + material_sectors(l, s);
        uint32_t active = luks_key_slot_get_active(s), stripes = luks_key_slot_get_stripes(s);
        if (stripes != LUKS_STRIPES) {
            return error_set(err, EINVAL, "Keyslot %u is corrupted (stripes %" PRId32 " != %d)", i,
                             (int32_t)stripes, LUKS_STRIPES);
        }
        if (start < LUKS_HEADER_SECTORS) {
            return error_set(err, EINVAL, "Keyslot %u is overlapping with the LUKS header", i);
        }
        if (active != LUKS_KEY_ENABLED && active != LUKS_KEY_DISABLED) {
            return error_set(err, EINVAL, "Keyslot %u state (active/disable) is corrupted", i);
        }
        if (l->slots[i].active && l->slots[i].iterations == 0) {
            return error_set(err, EINVAL, "Keyslot %u iteration count is zero", i);
        }
        if (end > l->payload) {
            return error_set(err, EINVAL, "Keyslot %u is overlapping with the encrypted payload",
                             i);
        }
        for (unsigned k = i + 1; k < LUKS_KEY_SLOTS; k++) {
            uint64_t other = luks_key_slot_get_key_material_offset(slot_at(h, k));
            if (start < other + material_sectors(l, slot_at(h, k)) && other < end) {
                return error_set(err, EINVAL, "Keyslots %u and %u are overlapping in the header", i,
                                 k);
            }
        }
    }
    return 0;
}

static int check_header(struct luks *l, const uint8_t *h, struct error **err)
{
    static const uint8_t magic[LUKS_HEADER_MAGIC_WIDTH] = {'L', 'U', 'K', 'S', 0xba, 0xbe};
    if (memcmp(h, magic, sizeof(magic)) != 0) {
        return error_set(err, EINVAL, "Volume is not in LUKS format");
    }
    if (luks_header_get_version(h) != LUKS_VERSION) {
        return error_set(err, ENOTSUP, "LUKS version %u is not supported",
                         luks_header_get_version(h));
    }
    return 0;
}

static void take_fields(struct luks *l, const uint8_t *h)
{
    l->payload = luks_header_get_payload_offset(h);
    l->key_bytes = luks_header_get_key_bytes(h);
    l->digest_iterations = luks_header_get_mk_digest_iterations(h);
    memcpy(l->digest, h + LUKS_HEADER_MK_DIGEST_OFF, sizeof(l->digest));
    memcpy(l->digest_salt, h + LUKS_HEADER_MK_DIGEST_SALT_OFF, sizeof(l->digest_salt));
    memcpy(l->uuid, h + LUKS_HEADER_UUID_OFF, LUKS_HEADER_UUID_WIDTH);
    for (unsigned i = 0; i < LUKS_KEY_SLOTS; i++) {
        const uint8_t *s = slot_at(h, i);
        l->slots[i].active = luks_key_slot_get_active(s) == LUKS_KEY_ENABLED;
        l->slots[i].iterations = luks_key_slot_get_iterations(s);
        l->slots[i].offset = luks_key_slot_get_key_material_offset(s);
        memcpy(l->slots[i].salt, s + LUKS_KEY_SLOT_SALT_OFF, LUKS_SALT_BYTES);
    }
}

static int take_hash(const char *name, enum crypt_hash *out, struct error **err)
{
    int h = word(name, crypt_hash_names);
    if (h < 0) {
        return error_set(err, EINVAL, "Hash algorithm '%s' not supported", name);
    }
    *out = (enum crypt_hash)h;
    return 0;
}

/* "mode-ivgen[:hash]" and the cipher's family (HDR-4, HDR-5). */
static int take_suite(struct luks *l, const char *cipher, const char *mode_text, struct error **err)
{
    char text[32], *ivgen, *hash;
    memcpy(text, mode_text, sizeof(text));
    ivgen = strchr(text, '-');
    if (!ivgen) {
        return error_set(err, EINVAL, "Unexpected cipher mode string format '%s'", mode_text);
    }
    *ivgen++ = 0;
    hash = strchr(ivgen, ':');
    if (hash) {
        *hash++ = 0;
        int ret = take_hash(hash, &l->suite.ivgen_hash, err);
        if (ret < 0) {
            return ret;
        }
        l->suite.has_ivgen_hash = true;
    }
    int mode = word(text, crypt_mode_names), iv = word(ivgen, crypt_ivgen_names);
    if (mode < 0) {
        return error_set(err, EINVAL, "Cipher mode '%s' not supported", text);
    }
    size_t key = mode == MODE_XTS ? l->key_bytes / 2 : l->key_bytes;
    int alg = crypt_alg_find(cipher, key);
    if (alg < 0) {
        return error_set(err, EINVAL, "Algorithm '%s' with key size %zu bytes not supported",
                         cipher, key);
    }
    if (iv < 0) {
        return error_set(err, EINVAL, "IV generator '%s' not supported", ivgen);
    }
    if (iv == IV_ESSIV && !hash) {
        return error_set(err, EINVAL, "Missing IV generator hash specification");
    }
    l->suite.alg = (enum crypt_alg)alg;
    l->suite.mode = (enum crypt_mode)mode;
    l->suite.ivgen = (enum crypt_ivgen)iv;
    if (crypt_suite_key_size(&l->suite) != l->key_bytes) {
        return error_set(err, EINVAL,
                         "Algorithm '%s' with key size %" PRIu32 " bytes not supported", cipher,
                         l->key_bytes);
    }
    return crypt_suite_check_ivgen(&l->suite, err);
}

int luks_parse(struct luks *l, const uint8_t *h, struct error **err)
{
    char cipher[32], hash[32];
    *l = (struct luks){0};
    int ret = check_header(l, h, err);
    ret = ret < 0 ? ret : take_text(h + LUKS_HEADER_CIPHER_NAME_OFF, "cipher name", cipher, err);
    ret = ret < 0 ? ret : take_text(h + LUKS_HEADER_CIPHER_MODE_OFF, "cipher mode", l->mode, err);
    ret = ret < 0 ? ret : take_text(h + LUKS_HEADER_HASH_SPEC_OFF, "hash spec", hash, err);
    if (ret < 0) {
        return ret;
    }
    take_fields(l, h);
    if (l->payload < LUKS_HEADER_SECTORS) {
        return error_set(err, EINVAL, "LUKS payload is overlapping with the header");
    }
    if (l->digest_iterations == 0) {
        return error_set(err, EINVAL, "LUKS key iteration count is zero");
    }
    ret = check_places(l, h, err);
    ret = ret < 0 ? ret : take_hash(hash, &l->hash, err);
    return ret < 0 ? ret : take_suite(l, cipher, l->mode, err);
}

void luks_store(const struct luks *l, uint8_t *h)
{
    memset(h, 0, LUKS_HEADER_SIZE);
    memcpy(h, LUKS_MAGIC, LUKS_HEADER_MAGIC_WIDTH);
    luks_header_set_version(h, LUKS_VERSION);
    const char *family = crypt_alg_family(l->suite.alg), *hash = crypt_hash_names[l->hash];
    memcpy(h + LUKS_HEADER_CIPHER_NAME_OFF, family, strlen(family));
    memcpy(h + LUKS_HEADER_CIPHER_MODE_OFF, l->mode, strlen(l->mode));
    memcpy(h + LUKS_HEADER_HASH_SPEC_OFF, hash, strlen(hash));
    luks_header_set_payload_offset(h, l->payload);
    luks_header_set_key_bytes(h, l->key_bytes);
    memcpy(h + LUKS_HEADER_MK_DIGEST_OFF, l->digest, sizeof(l->digest));
    memcpy(h + LUKS_HEADER_MK_DIGEST_SALT_OFF, l->digest_salt, sizeof(l->digest_salt));
    luks_header_set_mk_digest_iterations(h, l->digest_iterations);
    memcpy(h + LUKS_HEADER_UUID_OFF, l->uuid, LUKS_HEADER_UUID_WIDTH);
    for (unsigned i = 0; i < LUKS_KEY_SLOTS; i++) {
        uint8_t *s = h + LUKS_SLOTS_OFFSET + i * LUKS_KEY_SLOT_SIZE;
        luks_key_slot_set_active(s, l->slots[i].active ? LUKS_KEY_ENABLED : LUKS_KEY_DISABLED);
        luks_key_slot_set_iterations(s, l->slots[i].iterations);
        memcpy(s + LUKS_KEY_SLOT_SALT_OFF, l->slots[i].salt, LUKS_SALT_BYTES);
        luks_key_slot_set_key_material_offset(s, l->slots[i].offset);
        luks_key_slot_set_stripes(s, LUKS_STRIPES);
    }
}
