/*
 * Bitmaps: n bits in 64-bit words, LSB first.
 */
#ifndef BLKREF_BASE_BITMAP_H
#define BLKREF_BASE_BITMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static inline size_t bitmap_words(uint64_t nbits)
{
    return (size_t)((nbits + 63) / 64);
}
static inline bool bitmap_test(const uint64_t *m, uint64_t i)
{
    return m[i / 64] >> (i % 64) & 1;
}
static inline void bitmap_set1(uint64_t *m, uint64_t i)
{
    m[i / 64] |= 1ULL << (i % 64);
}
static inline void bitmap_clear1(uint64_t *m, uint64_t i)
{
    m[i / 64] &= ~(1ULL << (i % 64));
}
void bitmap_set(uint64_t *m, uint64_t start, uint64_t n);
void bitmap_clear(uint64_t *m, uint64_t start, uint64_t n);
/* First set (clear) bit at or after start, or nbits. */
uint64_t bitmap_next_set(const uint64_t *m, uint64_t nbits, uint64_t start);
uint64_t bitmap_next_clear(const uint64_t *m, uint64_t nbits, uint64_t start);
uint64_t bitmap_count(const uint64_t *m, uint64_t nbits);

#endif
