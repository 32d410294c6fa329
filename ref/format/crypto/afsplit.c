/*
 * The anti-forensic splitter of LUKS1 (its section 2.4), declared in hash.h: a key becomes many
 * stripes, and without any one of them it is lost.
 */
#include "ref/format/crypto/hash.h"
#include "ref/format/crypto/cipher.h"

#include "ref/base/bytes.h"
#include "ref/base/mem.h"

static void add(uint8_t *sum, const uint8_t *b, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        sum[i] ^= b[i];
    }
}

/* H1: each digest-sized piece becomes the digest of its number and itself; the last one is cut. */
static void diffuse(enum crypt_hash h, uint8_t *block, size_t len)
{
    uint8_t in[4 + CRYPT_MAX_DIGEST], out[CRYPT_MAX_DIGEST];
    size_t step = crypt_digest_size(h);
    uint32_t index = 0;
    for (size_t pos = 0; pos < len; pos += step, index++) {
        size_t n = MIN(step, len - pos);
        store_be32(in, index);
        memcpy(in + 4, block + pos, n);
        crypt_digest(h, in, 4 + n, out);
        memcpy(block + pos, out, n);
    }
}

void crypt_af_split(struct world *w, enum crypt_hash h, const uint8_t *key, size_t key_len,
                    uint32_t stripes, uint8_t *out)
{
    uint8_t *sum = mem_zalloc(key_len);
    size_t noise = key_len * (stripes - 1);
    crypt_noise(w, out, noise);
    for (size_t pos = 0; pos < noise; pos += key_len) {
        add(sum, out + pos, key_len);
        diffuse(h, sum, key_len);
    }
    memcpy(out + noise, key, key_len);
    add(out + noise, sum, key_len);
    explicit_bzero(sum, key_len);
    mem_free(sum);
}

void crypt_af_merge(enum crypt_hash h, const uint8_t *split, size_t key_len, uint32_t stripes,
                    uint8_t *key)
{
    memset(key, 0, key_len);
    for (uint32_t i = 0; i + 1 < stripes; i++) {
        add(key, split + i * key_len, key_len);
        diffuse(h, key, key_len);
    }
    add(key, split + (size_t)(stripes - 1) * key_len, key_len);
}
