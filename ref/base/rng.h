/*
 * Seeded pseudo-random numbers (xoshiro256**, seeded by splitmix64) and a 64-bit content hash.
 *
 * Same seed, same numbers, on every compiler.  Not for cryptography.
 */
#ifndef BLKREF_BASE_RNG_H
#define BLKREF_BASE_RNG_H

#include <stddef.h>
#include <stdint.h>

struct rng {
    uint64_t s[4];
};

void rng_seed(struct rng *r, uint64_t seed);
uint64_t rng_next(struct rng *r);
/* Uniform in [0, n), n > 0. */
uint64_t rng_below(struct rng *r, uint64_t n);
void rng_fill(struct rng *r, void *buf, size_t len);

/*
 * 64-bit hash of a buffer (good mixing, not keyed); chain by passing the previous result as seed.
 */
uint64_t hash_bytes(const void *p, size_t len, uint64_t seed);
static inline uint64_t hash_u64(uint64_t x)
{
    x ^= x >> 30;
    x *= 0xbf58476d1ce4e5b9ULL;
    x ^= x >> 27;
    x *= 0x94d049bb133111ebULL;
    return x ^ x >> 31;
}

#endif
