/*
 * LUKS key slots: unlocking, setting, erasing (specs/luks.yaml, KEY).
 *
 * Key material is a small disk of its own: split, then encrypted in whole sectors with the key that
 * the password gives.
 */
#include "ref/format/crypto/luks.h"

#include <errno.h>
#include <inttypes.h>
#include "ref/base/mem.h"
#include "ref/base/utf8.h"
#include "ref/block/secret.h"

/* Where images are not trusted, a header does not decide how long we work. */
#define MAX_ITERATIONS_DISTRUSTED 100000

const uint8_t *luks_password(struct world *w, const char *secret, size_t *len, struct error **err)
{
    const uint8_t *p = secret_find(w, secret, len, err);
    const char *s = (const char *)p, *end = s + (p ? *len : 0);
    while (s && s < end) {
        size_t n = utf8_len(s, end);
        if (utf8_decode(s, n) < 0) {
            error_set(err, EINVAL, "Data from secret %s is not valid UTF-8", secret);
            return NULL;
        }
        s += n;
    }
    return p;
}

unsigned luks_active_slots(const struct luks *l)
{
    unsigned n = 0;
    for (unsigned i = 0; i < LUKS_KEY_SLOTS; i++) {
        n += l->slots[i].active;
    }
    return n;
}

int luks_iterations(struct world *w, enum crypt_hash h, size_t out_len, uint64_t ms, unsigned part,
                    uint32_t *out, struct error **err)
{
    uint64_t n = crypt_pbkdf2_iterations(w, h, out_len, ms) / part;
    if (n > UINT32_MAX) {
        return error_set(err, ERANGE, "PBKDF iterations %" PRIu64 " larger than %" PRIu32, n,
                         UINT32_MAX);
    }
    *out = (uint32_t)MAX(n, (uint64_t)LUKS_MIN_ITERATIONS);
    return 0;
}

static size_t material_bytes(const struct luks *l)
{
    return (size_t)luks_material_sectors(l->key_bytes) * LUKS_SECTOR;
}

static int too_long(struct world *w, uint32_t iterations, struct error **err)
{
    return world_denies_names(w) && iterations > MAX_ITERATIONS_DISTRUSTED
               ? error_set(err, EPERM, "Key derivation takes too long: %" PRIu32 " iterations",
                           iterations)
               : 0;
}

static void master_digest(struct world *w, const struct luks *l, const uint8_t *key,
                          uint8_t digest[LUKS_DIGEST_BYTES])
{
    crypt_derive(w, l->hash, key, l->key_bytes, l->digest_salt, sizeof(l->digest_salt),
                 l->digest_iterations, digest, LUKS_DIGEST_BYTES);
}

int luks_unlock_slot(struct world *w, const struct luks *l, unsigned slot,
                     const struct crypt_io *io, const uint8_t *password, size_t len, uint8_t *key,
                     struct error **err)
{
    const struct luks_slot *s = &l->slots[slot];
    uint8_t derived[LUKS_MAX_KEY_BYTES], digest[LUKS_DIGEST_BYTES];
    size_t bytes = material_bytes(l);
    if (!s->active) {
        return -EACCES;
    }
    if (too_long(w, s->iterations, err) < 0 || too_long(w, l->digest_iterations, err) < 0) {
        return -EPERM;
    }
    uint8_t *split = mem_try_alloc(bytes); /* at most 64 * 4000 bytes */
    if (!split) {
        return error_set(err, ENOMEM, "Could not allocate memory for key material");
    }
    int ret = io->read(io->opaque, (uint64_t)s->offset * LUKS_SECTOR, split, bytes, err);
    if (ret == 0) {
        crypt_derive(w, l->hash, password, len, s->salt, sizeof(s->salt), s->iterations, derived,
                     l->key_bytes);
        struct crypt_cipher *c = crypt_cipher_new(&l->suite, derived);
        crypt_cipher_run(c, false, 0, split, bytes);
        crypt_cipher_free(c);
        crypt_af_merge(l->hash, split, l->key_bytes, LUKS_STRIPES, key);
        master_digest(w, l, key, digest);
        ret = memcmp(digest, l->digest, sizeof(digest)) == 0 ? 0 : -EACCES;
    }
    explicit_bzero(derived, sizeof(derived));
    explicit_bzero(split, bytes);
    mem_free(split);
    return ret;
}

int luks_unlock(struct world *w, const struct luks *l, const struct crypt_io *io,
                const uint8_t *password, size_t len, uint8_t *key, struct error **err)
{
    int ret = -EACCES;
    for (unsigned i = 0; i < LUKS_KEY_SLOTS && ret == -EACCES; i++) {
        ret = luks_unlock_slot(w, l, i, io, password, len, key, err);
    }
    return ret;
}

static int write_header(const struct luks *l, const struct crypt_io *io, struct error **err)
{
    uint8_t h[LUKS_HEADER_SIZE];
    luks_store(l, h);
    return io->write(io->opaque, 0, h, sizeof(h), err);
}

static int write_material(const struct luks *l, unsigned slot, const struct crypt_io *io,
                          const uint8_t *data, struct error **err)
{
    return io->write(io->opaque, (uint64_t)l->slots[slot].offset * LUKS_SECTOR, data,
                     material_bytes(l), err);
}

int luks_set_slot(struct world *w, struct luks *l, unsigned slot, const struct crypt_io *io,
                  const uint8_t *password, size_t len, uint64_t iter_time, const uint8_t *key,
                  struct error **err)
{
    struct luks_slot *s = &l->slots[slot], old = *s;
    uint8_t derived[LUKS_MAX_KEY_BYTES];
    int ret = luks_iterations(w, l->hash, l->key_bytes, iter_time, 1, &s->iterations, err);
    if (ret < 0) {
        *s = old;
        return ret;
    }
    world_secret_bytes(w, s->salt, sizeof(s->salt));
    uint8_t *split = mem_zalloc(material_bytes(l));
    crypt_af_split(w, l->hash, key, l->key_bytes, LUKS_STRIPES, split);
    crypt_derive(w, l->hash, password, len, s->salt, sizeof(s->salt), s->iterations, derived,
                 l->key_bytes);
    struct crypt_cipher *c = crypt_cipher_new(&l->suite, derived);
    crypt_cipher_run(c, true, 0, split, material_bytes(l));
    crypt_cipher_free(c);
    ret = write_material(l, slot, io, split, err);
    if (ret == 0) {
        s->active = true;
        ret = write_header(l, io, err);
    }
    if (ret < 0) {
        *s = old;
        error_hint(err, "Failed to write to keyslot %u\n", slot);
    }
    explicit_bzero(derived, sizeof(derived));
    mem_free(split);
    return ret;
}

int luks_erase_slot(struct world *w, struct luks *l, unsigned slot, const struct crypt_io *io,
                    struct error **err)
{
    struct luks_slot *s = &l->slots[slot], old = *s;
    s->active = false;
    s->iterations = 0;
    memset(s->salt, 0, sizeof(s->salt));
    int ret = write_header(l, io, err);
    if (ret < 0) {
        *s = old;
        return ret;
    }
    uint8_t *noise = mem_alloc(material_bytes(l));
    crypt_noise(w, noise, material_bytes(l));
    ret = write_material(l, slot, io, noise, err);
    mem_free(noise);
    return ret;
}
