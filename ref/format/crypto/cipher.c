/*
 * Ciphers and modes: see cipher.h.
 *
 * XTS (IEEE 1619) is done here, a batch of sectors at a time: the block cipher gets many blocks in
 * one call, which is what it is fast at.
 */
#include "ref/format/crypto/cipher.h"

#include <assert.h>
#include <errno.h>
#include <nettle/aes.h>
#include <nettle/cbc.h>
#include <nettle/ctr.h>
#include <nettle/nettle-meta.h>
#include "ref/base/bytes.h"
#include "ref/base/mem.h"

#define BLOCK_MAX    16
#define BATCH        8 /* sectors whose tweaks are made at once */
#define TWEAK_BLOCKS (CRYPT_SECTOR / BLOCK_MAX)

const char *const crypt_alg_names[] = {"aes-128",     "aes-192",     "aes-256",     "des",
                                       "3des",        "cast5-128",   "serpent-128", "serpent-192",
                                       "serpent-256", "twofish-128", "twofish-192", "twofish-256",
                                       NULL};
const char *const crypt_mode_names[] = {"ecb", "cbc", "xts", "ctr", NULL};
const char *const crypt_ivgen_names[] = {"plain", "plain64", "essiv", NULL};

static const struct {
    const char *family, *title; /* NULL: not for disks */
    size_t key_size;
} algs[] = {
    [ALG_AES_128] = {"aes", "AES", 16},
    [ALG_AES_192] = {"aes", "AES", 24},
    [ALG_AES_256] = {"aes", "AES", 32},
    [ALG_DES] = {NULL, NULL, 8},
    [ALG_3DES] = {NULL, NULL, 24},
    [ALG_CAST5_128] = {"cast5", NULL, 16},
    [ALG_SERPENT_128] = {"serpent", "Serpent", 16},
    [ALG_SERPENT_192] = {"serpent", "Serpent", 24},
    [ALG_SERPENT_256] = {"serpent", "Serpent", 32},
    [ALG_TWOFISH_128] = {"twofish", "Twofish", 16},
    [ALG_TWOFISH_192] = {"twofish", "Twofish", 24},
    [ALG_TWOFISH_256] = {"twofish", "Twofish", 32},
};

static const struct nettle_cipher *nettle_of(enum crypt_alg a)
{
    switch (a) {
    case ALG_AES_128:
        return &nettle_aes128;
    case ALG_AES_192:
        return &nettle_aes192;
    case ALG_AES_256:
        return &nettle_aes256;
    case ALG_CAST5_128:
        return &nettle_cast128;
    case ALG_SERPENT_128:
        return &nettle_serpent128;
    case ALG_SERPENT_192:
        return &nettle_serpent192;
    case ALG_SERPENT_256:
        return &nettle_serpent256;
    case ALG_TWOFISH_128:
        return &nettle_twofish128;
    case ALG_TWOFISH_192:
        return &nettle_twofish192;
    default:
        assert(a == ALG_TWOFISH_256);
        return &nettle_twofish256;
    }
}

const char *crypt_alg_family(enum crypt_alg a)
{
    return algs[a].family;
}

size_t crypt_alg_key_size(enum crypt_alg a)
{
    return algs[a].key_size;
}

int crypt_alg_find(const char *family, size_t key_size)
{
    for (size_t i = 0; i < ARRAY_SIZE(algs); i++) {
        if (algs[i].family && strcmp(algs[i].family, family) == 0 && algs[i].key_size == key_size) {
            return (int)i;
        }
    }
    return -1;
}

size_t crypt_suite_key_size(const struct crypt_suite *s)
{
    return algs[s->alg].key_size * (s->mode == MODE_XTS ? 2 : 1);
}

int crypt_suite_check_ivgen(const struct crypt_suite *s, struct error **err)
{
    if (s->ivgen != IV_ESSIV) {
        return 0;
    }
    if (!algs[s->alg].title) {
        return error_set(err, EINVAL, "Cipher %s not supported with essiv",
                         crypt_alg_names[s->alg]);
    }
    size_t size = crypt_digest_size(s->ivgen_hash);
    if (crypt_alg_find(algs[s->alg].family, size) < 0) {
        return error_set(err, EINVAL, "No %s cipher with key size %zu available",
                         algs[s->alg].title, size);
    }
    return 0;
}

int crypt_suite_check_mode(const struct crypt_suite *s, struct error **err)
{
    assert(algs[s->alg].family);
    if (s->mode == MODE_XTS && nettle_of(s->alg)->block_size != BLOCK_MAX) {
        return error_set(err, EINVAL, "Unsupported cipher mode xts");
    }
    return 0;
}

/* ---- keys ---- */

struct crypt_cipher {
    enum crypt_mode mode;
    enum crypt_ivgen ivgen;
    const struct nettle_cipher *n;
    void *encrypt, *decrypt, *tweak; /* contexts; tweak of XTS alone */
    const struct nettle_cipher *iv_cipher;
    void *iv_key; /* of essiv */
};

static void *new_key(const struct nettle_cipher *n, nettle_set_key_func *set, const uint8_t *key)
{
    void *ctx = mem_zalloc(n->context_size);
    set(ctx, key);
    return ctx;
}

static void free_key(const struct nettle_cipher *n, void *ctx)
{
    if (ctx) {
        explicit_bzero(ctx, n->context_size);
        mem_free(ctx);
    }
}

struct crypt_cipher *crypt_cipher_new(const struct crypt_suite *s, const uint8_t *key)
{
    struct crypt_cipher *c = mem_zalloc(sizeof(*c));
    c->mode = s->mode;
    c->ivgen = s->ivgen;
    c->n = nettle_of(s->alg);
    c->encrypt = new_key(c->n, c->n->set_encrypt_key, key);
    c->decrypt = new_key(c->n, c->n->set_decrypt_key, key);
    if (s->mode == MODE_XTS) {
        assert(c->n->block_size == BLOCK_MAX);
        c->tweak = new_key(c->n, c->n->set_encrypt_key, key + c->n->key_size);
    }
    if (s->ivgen == IV_ESSIV) {
        /* The vector is the sector's number under the digest of the whole volume key. */
        uint8_t digest[CRYPT_MAX_DIGEST];
        int alg = crypt_alg_find(algs[s->alg].family, crypt_digest_size(s->ivgen_hash));
        assert(alg >= 0);
        crypt_digest(s->ivgen_hash, key, crypt_suite_key_size(s), digest);
        c->iv_cipher = nettle_of((enum crypt_alg)alg);
        c->iv_key = new_key(c->iv_cipher, c->iv_cipher->set_encrypt_key, digest);
        explicit_bzero(digest, sizeof(digest));
    }
    return c;
}

void crypt_cipher_free(struct crypt_cipher *c)
{
    if (c) {
        free_key(c->n, c->encrypt);
        free_key(c->n, c->decrypt);
        free_key(c->n, c->tweak);
        free_key(c->iv_cipher, c->iv_key);
        mem_free(c);
    }
}

/* ---- vectors ---- */

static void make_iv(const struct crypt_cipher *c, uint64_t sector, uint8_t iv[BLOCK_MAX])
{
    memset(iv, 0, BLOCK_MAX);
    store_le64(iv, c->ivgen == IV_PLAIN ? sector & UINT32_MAX : sector);
    if (c->ivgen == IV_ESSIV) {
        c->iv_cipher->encrypt(c->iv_key, BLOCK_MAX, iv, iv);
    }
}

/* ---- XTS ---- */

/* Multiplication by x in GF(2^128), the least significant byte first (IEEE 1619, 5.2). */
static inline void times_x(uint64_t t[2])
{
    uint64_t carry = t[1] >> 63;
    t[1] = t[1] << 1 | t[0] >> 63;
    t[0] = t[0] << 1 ^ (carry ? 0x87 : 0);
}

static void add_tweaks(uint64_t *tweaks, uint8_t *buf, size_t words)
{
    for (size_t i = 0; i < words; i++) {
        uint64_t v;
        memcpy(&v, buf + 8 * i, 8);
        v ^= tweaks[i];
        memcpy(buf + 8 * i, &v, 8);
    }
}

static void run_xts(const struct crypt_cipher *c, bool encrypt, uint64_t sector, uint8_t *buf,
                    size_t len)
{
    uint8_t ivs[BATCH * BLOCK_MAX];
    uint64_t tweaks[BATCH * TWEAK_BLOCKS * 2];
    while (len > 0) {
        size_t n = MIN(len / CRYPT_SECTOR, (size_t)BATCH);
        for (size_t i = 0; i < n; i++) {
            make_iv(c, sector + i, ivs + i * BLOCK_MAX);
        }
        c->n->encrypt(c->tweak, n * BLOCK_MAX, ivs, ivs);
        for (size_t i = 0; i < n; i++) {
            uint64_t t[2], *out = tweaks + i * TWEAK_BLOCKS * 2;
            memcpy(t, ivs + i * BLOCK_MAX, BLOCK_MAX);
            for (size_t k = 0; k < TWEAK_BLOCKS; k++) {
                out[2 * k] = t[0];
                out[2 * k + 1] = t[1];
                times_x(t);
            }
        }
        size_t bytes = n * CRYPT_SECTOR;
        add_tweaks(tweaks, buf, bytes / 8);
        if (encrypt) {
            c->n->encrypt(c->encrypt, bytes, buf, buf);
        } else {
            c->n->decrypt(c->decrypt, bytes, buf, buf);
        }
        add_tweaks(tweaks, buf, bytes / 8);
        buf += bytes;
        len -= bytes;
        sector += n;
    }
}

/* ---- the other modes ---- */

static void encrypt_cbc(const struct crypt_cipher *c, uint8_t *iv, uint8_t *buf)
{
    if (c->n == &nettle_aes256) {
        cbc_aes256_encrypt(c->encrypt, iv, CRYPT_SECTOR, buf, buf);
    } else if (c->n == &nettle_aes192) {
        cbc_aes192_encrypt(c->encrypt, iv, CRYPT_SECTOR, buf, buf);
    } else if (c->n == &nettle_aes128) {
        cbc_aes128_encrypt(c->encrypt, iv, CRYPT_SECTOR, buf, buf);
    } else {
        cbc_encrypt(c->encrypt, c->n->encrypt, c->n->block_size, iv, CRYPT_SECTOR, buf, buf);
    }
}

static void run_sector(const struct crypt_cipher *c, bool encrypt, uint64_t sector, uint8_t *buf)
{
    uint8_t iv[BLOCK_MAX];
    make_iv(c, sector, iv);
    if (c->mode == MODE_CTR) {
        ctr_crypt(c->encrypt, c->n->encrypt, c->n->block_size, iv, CRYPT_SECTOR, buf, buf);
    } else if (encrypt) {
        encrypt_cbc(c, iv, buf);
    } else {
        cbc_decrypt(c->decrypt, c->n->decrypt, c->n->block_size, iv, CRYPT_SECTOR, buf, buf);
    }
}

void crypt_cipher_run(const struct crypt_cipher *c, bool encrypt, uint64_t sector, uint8_t *buf,
                      size_t len)
{
    assert(IS_ALIGNED(len, CRYPT_SECTOR));
    if (c->mode == MODE_XTS) {
        run_xts(c, encrypt, sector, buf, len);
    } else if (c->mode == MODE_ECB) {
        (encrypt ? c->n->encrypt : c->n->decrypt)(encrypt ? c->encrypt : c->decrypt, len, buf, buf);
    } else {
        for (size_t pos = 0; pos < len; pos += CRYPT_SECTOR) {
            run_sector(c, encrypt, sector++, buf + pos);
        }
    }
}

/* ---- helpers with AES alone ---- */

void crypt_noise(struct world *w, uint8_t *out, size_t len)
{
    struct aes256_ctx aes;
    uint8_t key[AES256_KEY_SIZE], counter[AES_BLOCK_SIZE] = {0};
    world_secret_bytes(w, key, sizeof(key));
    aes256_set_encrypt_key(&aes, key);
    memset(out, 0, len);
    ctr_crypt(&aes, (nettle_cipher_func *)aes256_encrypt, AES_BLOCK_SIZE, counter, len, out, out);
    explicit_bzero(key, sizeof(key));
    explicit_bzero(&aes, sizeof(aes));
}

void crypt_aes256_cbc_decrypt(const uint8_t key[32], const uint8_t iv[16], uint8_t *buf, size_t len)
{
    struct aes256_ctx aes;
    uint8_t chain[AES_BLOCK_SIZE];
    assert(IS_ALIGNED(len, AES_BLOCK_SIZE));
    memcpy(chain, iv, sizeof(chain));
    aes256_set_decrypt_key(&aes, key);
    cbc_decrypt(&aes, (nettle_cipher_func *)aes256_decrypt, AES_BLOCK_SIZE, chain, len, buf, buf);
    explicit_bzero(&aes, sizeof(aes));
}
