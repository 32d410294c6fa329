/*
 * Digests and PBKDF2: see hash.h.
 */
#include "ref/format/crypto/hash.h"

#include <assert.h>
#include <nettle/hmac.h>
#include <nettle/md5.h>
#include <nettle/nettle-meta.h>
#include <nettle/pbkdf2.h>
#include <nettle/ripemd160.h>
#include <nettle/sha1.h>
#include <nettle/sha2.h>
#include "ref/base/mem.h"
#include "ref/engine/clock.h"
#include "ref/engine/host.h"

const char *const crypt_hash_names[] = {"md5",    "sha1",   "sha224",    "sha256",
                                        "sha384", "sha512", "ripemd160", NULL};

static const struct nettle_hash *nettle_of(enum crypt_hash h)
{
    switch (h) {
    case HASH_MD5:
        return &nettle_md5;
    case HASH_SHA1:
        return &nettle_sha1;
    case HASH_SHA224:
        return &nettle_sha224;
    case HASH_SHA256:
        return &nettle_sha256;
    case HASH_SHA384:
        return &nettle_sha384;
    case HASH_SHA512:
        return &nettle_sha512;
    default:
        assert(h == HASH_RIPEMD160);
        return &nettle_ripemd160;
    }
}

/* A hash's state, whatever the hash. */
union state {
    struct md5_ctx md5;
    struct sha1_ctx sha1;
    struct sha256_ctx sha256; /* also sha224 */
    struct sha512_ctx sha512; /* also sha384 */
    struct ripemd160_ctx ripemd160;
};

size_t crypt_digest_size(enum crypt_hash h)
{
    return nettle_of(h)->digest_size;
}

void crypt_digest(enum crypt_hash h, const void *data, size_t len, uint8_t *out)
{
    const struct nettle_hash *n = nettle_of(h);
    union state s;
    n->init(&s);
    n->update(&s, len, data);
    n->digest(&s, n->digest_size, out);
}

/* ---- PBKDF2 ---- */

struct hmac {
    const struct nettle_hash *hash;
    union state outer, inner, state;
};

static void update(void *ctx, size_t len, const uint8_t *data)
{
    struct hmac *m = ctx;
    hmac_update(&m->state, m->hash, len, data);
}

static void digest(void *ctx, size_t len, uint8_t *out)
{
    struct hmac *m = ctx;
    hmac_digest(&m->outer, &m->inner, &m->state, m->hash, len, out);
}

void crypt_pbkdf2(enum crypt_hash h, const void *password, size_t password_len, const uint8_t *salt,
                  size_t salt_len, uint32_t iterations, uint8_t *out, size_t out_len)
{
    struct hmac m = {.hash = nettle_of(h)};
    assert(iterations > 0);
    hmac_set_key(&m.outer, &m.inner, &m.state, m.hash, password_len, password);
    pbkdf2(&m, update, digest, m.hash->digest_size, iterations, salt_len, salt, out_len, out);
    explicit_bzero(&m, sizeof(m));
}

struct derivation {
    enum crypt_hash h;
    const void *password;
    const uint8_t *salt;
    uint8_t *out;
    size_t password_len, salt_len, out_len;
    uint32_t iterations;
};

static int derive_job(void *arg)
{
    const struct derivation *d = arg;
    crypt_pbkdf2(d->h, d->password, d->password_len, d->salt, d->salt_len, d->iterations, d->out,
                 d->out_len);
    return 0;
}

void crypt_derive(struct world *w, enum crypt_hash h, const void *password, size_t password_len,
                  const uint8_t *salt, size_t salt_len, uint32_t iterations, uint8_t *out,
                  size_t out_len)
{
    struct derivation d = {h, password, salt, out, password_len, salt_len, out_len, iterations};
    host_call(w, derive_job, &d);
}

/* ---- how many iterations ---- */

#define PROBE_START 1024
#define PROBE_NS    (10 * INT64_C(1000000)) /* long enough to be measured */
#define PROBE_MAX   (UINT32_C(1) << 26)

uint64_t crypt_pbkdf2_iterations(struct world *w, enum crypt_hash h, size_t out_len, uint64_t ms)
{
    static const uint8_t salt[32] = {0};
    uint8_t *out = mem_alloc(out_len);
    uint32_t n = PROBE_START;
    int64_t took = 0;
    for (;;) {
        int64_t start = clock_now(w, CLOCK_REAL);
        crypt_derive(w, h, "password", 8, salt, sizeof(salt), n, out, out_len);
        took = clock_now(w, CLOCK_REAL) - start;
        if (took <= 0 || took >= PROBE_NS || n >= PROBE_MAX) {
            break;
        }
        n *= 2;
    }
    mem_free(out);
    if (took <= 0) {
        return 1;
    }
    __uint128_t result = (__uint128_t)n * ms * 1000000 / (uint64_t)took;
    return result == 0 ? 1 : result > UINT64_MAX ? UINT64_MAX : (uint64_t)result;
}
