/*
 * Tells noise from data that a compressor can make smaller.
 *
 * Models: the two things that deflate and zstd live on, in slices of 8 KiB: bytes that are not
 * equally frequent, and sequences of four bytes that come again.  One slice that has either makes
 * all of it compressible.  Leaves out: how much smaller it would get.
 */
#include "ref/base/compressible.h"

#include <stdint.h>
#include <string.h>

#include "ref/base/bytes.h"

#define SLICE      8192 /* bytes judged together */
#define SYMBOLS    244  /* noise has at least so many equally frequent bytes: 7.93 bits each */
#define REPEATS    32   /* sequences in a slice that may come again by chance */
#define HASH_BITS  13
#define MULTIPLIER 2654435761u /* Knuth's: spreads all bits of a sequence into the upper ones */

/* The collision entropy, which is never above Shannon's, is below that of SYMBOLS symbols. */
static bool skewed(const uint8_t *p)
{
    uint32_t count[256] = {0};
    uint64_t squares = 0;
    for (size_t i = 0; i < SLICE; i++) {
        count[p[i]]++;
    }
    for (size_t i = 0; i < 256; i++) {
        squares += (uint64_t)count[i] * count[i];
    }
    return squares * SYMBOLS > (uint64_t)SLICE * SLICE;
}

static bool repeats(const uint8_t *p)
{
    uint16_t last[1 << HASH_BITS];
    unsigned found = 0;
    memset(last, 0, sizeof(last)); /* position 0 is as good a guess as any */
    for (uint16_t i = 1; i <= SLICE - 4; i++) {
        uint32_t sequence = load_le32(p + i);
        uint16_t *slot = &last[(sequence * MULTIPLIER) >> (32 - HASH_BITS)];
        if (load_le32(p + *slot) == sequence && ++found > REPEATS) {
            return true;
        }
        *slot = i;
    }
    return false;
}

bool buf_compressible(const void *data, size_t len)
{
    const uint8_t *p = data;
    if (len < SLICE) {
        return true;
    }
    for (size_t done = 0; done + SLICE <= len; done += SLICE) {
        if (skewed(p + done) || repeats(p + done)) {
            return true;
        }
    }
    return len % SLICE != 0; /* what was not looked at may be */
}
