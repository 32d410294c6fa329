/*
 * Seeded numbers (xoshiro256** by Blackman and Vigna, seeded by splitmix64, both in the public
 * domain) and a content hash: four multiply-mix lanes over 32-byte strides, folded at the end.
 */
#include "ref/base/rng.h"

#include <assert.h>
#include <string.h>

static uint64_t rotl(uint64_t x, int k)
{
    return x << k | x >> (64 - k);
}

/* splitmix64: hash_u64() is its output function. */
void rng_seed(struct rng *r, uint64_t seed)
{
    for (int i = 0; i < 4; i++) {
        seed += 0x9e3779b97f4a7c15ULL;
        r->s[i] = hash_u64(seed);
    }
}

uint64_t rng_next(struct rng *r)
{
    uint64_t *s = r->s;
    uint64_t result = rotl(s[1] * 5, 7) * 9;
    uint64_t t = s[1] << 17;

    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotl(s[3], 45);
    return result;
}

uint64_t rng_below(struct rng *r, uint64_t n)
{
    assert(n > 0);
    /* Values below 2^64 mod n would make small results likelier: draw again. */
    uint64_t reject = -n % n;
    uint64_t x;
    do {
        x = rng_next(r);
    } while (x < reject);
    return x % n;
}

void rng_fill(struct rng *r, void *buf, size_t len)
{
    char *p = buf;

    while (len > 0) {
        uint64_t x = rng_next(r);
        size_t n = len < 8 ? len : 8;
        memcpy(p, &x, n);
        p += n;
        len -= n;
    }
}

/* Both halves of the 128-bit product, mixed. */
static uint64_t mix(uint64_t a, uint64_t b)
{
    unsigned __int128 p = (unsigned __int128)a * b;

    return (uint64_t)p ^ (uint64_t)(p >> 64);
}

static uint64_t load(const unsigned char *p)
{
    uint64_t v;

    memcpy(&v, p, 8);
    return v;
}

/* Odd constants with balanced bits (fractions of square roots of the first primes). */
static const uint64_t k[5] = {
    0x6a09e667f3bcc909ULL, 0xbb67ae8584caa73bULL, 0x3c6ef372fe94f82bULL,
    0xa54ff53a5f1d36f1ULL, 0x510e527fade682d1ULL,
};

uint64_t hash_bytes(const void *data, size_t len, uint64_t seed)
{
    const unsigned char *p = data;
    uint64_t a = hash_u64(seed ^ k[4]), b = rotl(a, 23) ^ k[0];
    size_t left = len;

    while (left >= 32) {
        a = mix(load(p) ^ k[0] ^ a, load(p + 8) ^ k[1]) + rotl(a, 29);
        b = mix(load(p + 16) ^ k[2] ^ b, load(p + 24) ^ k[3]) + rotl(b, 31);
        p += 32;
        left -= 32;
    }
    if (left > 0) {
        unsigned char tail[32] = {0};
        memcpy(tail, p, left);
        a = mix(load(tail) ^ k[0] ^ a, load(tail + 8) ^ k[1]) + rotl(a, 29);
        b = mix(load(tail + 16) ^ k[2] ^ b, load(tail + 24) ^ k[3]) + rotl(b, 31);
    }
    return hash_u64(mix(a ^ k[2], b ^ k[3]) ^ (uint64_t)len * k[1] ^ a);
}
