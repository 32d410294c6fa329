/*
 * Digests, and the key derivation of LUKS made from them (on libnettle).
 */
#ifndef BLKREF_FORMAT_CRYPTO_HASH_H
#define BLKREF_FORMAT_CRYPTO_HASH_H

#include <stddef.h>
#include <stdint.h>
#include "ref/engine/world.h"

enum crypt_hash {
    HASH_MD5,
    HASH_SHA1,
    HASH_SHA224,
    HASH_SHA256,
    HASH_SHA384,
    HASH_SHA512,
    HASH_RIPEMD160,
    HASH_COUNT,
};
extern const char *const crypt_hash_names[]; /* as options and headers have them; ends with NULL */

#define CRYPT_MAX_DIGEST 64
size_t crypt_digest_size(enum crypt_hash h);
void crypt_digest(enum crypt_hash h, const void *data, size_t len, uint8_t *out);

/* PBKDF2 (RFC 8018, 5.2) with HMAC of h; iterations > 0. */
void crypt_pbkdf2(enum crypt_hash h, const void *password, size_t password_len, const uint8_t *salt,
                  size_t salt_len, uint32_t iterations, uint8_t *out, size_t out_len);
/* The same on a worker where the world has some: long derivations stop nothing else. */
void crypt_derive(struct world *w, enum crypt_hash h, const void *password, size_t password_len,
                  const uint8_t *salt, size_t salt_len, uint32_t iterations, uint8_t *out,
                  size_t out_len);
/*
 * How many iterations for out_len bytes take `ms` milliseconds on the world's clock (CLOCK_REAL);
 * 1, the least there is, where the clock stands still (simulated time).
 */
uint64_t crypt_pbkdf2_iterations(struct world *w, enum crypt_hash h, size_t out_len, uint64_t ms);

/*
 * Anti-forensic splitter (LUKS1, section 2.4): `stripes` times key_len bytes that give the key only
 * as a whole.  Splitting takes its noise from the world's secret bytes.
 */
void crypt_af_split(struct world *w, enum crypt_hash h, const uint8_t *key, size_t key_len,
                    uint32_t stripes, uint8_t *out);
void crypt_af_merge(enum crypt_hash h, const uint8_t *split, size_t key_len, uint32_t stripes,
                    uint8_t *key);

#endif
