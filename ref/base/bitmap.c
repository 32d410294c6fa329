/*
 * Bitmaps: ranges are set, cleared, searched and counted a word at a time.
 */
#include "ref/base/bitmap.h"

/* Bits [from, to) of one word, 0 <= from < to <= 64. */
static uint64_t mask(unsigned from, unsigned to)
{
    return ~0ULL << from & ~0ULL >> (64 - to);
}

static void fill(uint64_t *m, uint64_t start, uint64_t n, bool set)
{
    while (n > 0) {
        unsigned from = start % 64;
        unsigned to = n < 64 - from ? from + (unsigned)n : 64;
        if (set) {
            m[start / 64] |= mask(from, to);
        } else {
            m[start / 64] &= ~mask(from, to);
        }
        start += to - from;
        n -= to - from;
    }
}

void bitmap_set(uint64_t *m, uint64_t start, uint64_t n)
{
    fill(m, start, n, true);
}

void bitmap_clear(uint64_t *m, uint64_t start, uint64_t n)
{
    fill(m, start, n, false);
}

/* First bit of m ^ flip that is set, at or after start. */
static uint64_t next(const uint64_t *m, uint64_t nbits, uint64_t start, uint64_t flip)
{
    if (start >= nbits) {
        return nbits;
    }
    uint64_t i = start / 64;
    uint64_t word = (m[i] ^ flip) & ~0ULL << (start % 64);
    while (!word) {
        if (++i >= bitmap_words(nbits)) {
            return nbits;
        }
        word = m[i] ^ flip;
    }
    uint64_t bit = i * 64 + (unsigned)__builtin_ctzll(word);
    return bit < nbits ? bit : nbits;
}

uint64_t bitmap_next_set(const uint64_t *m, uint64_t nbits, uint64_t start)
{
    return next(m, nbits, start, 0);
}

uint64_t bitmap_next_clear(const uint64_t *m, uint64_t nbits, uint64_t start)
{
    return next(m, nbits, start, ~0ULL);
}

uint64_t bitmap_count(const uint64_t *m, uint64_t nbits)
{
    uint64_t n = 0;

    for (uint64_t i = 0; i < nbits / 64; i++) {
        n += (unsigned)__builtin_popcountll(m[i]);
    }
    if (nbits % 64) {
        n += (unsigned)__builtin_popcountll(m[nbits / 64] & mask(0, nbits % 64));
    }
    return n;
}
