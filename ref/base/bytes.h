/*
 * Byte order: checked loads and stores of unsigned integers of 1 to 8 bytes at any alignment.
 */
#ifndef BLKREF_BASE_BYTES_H
#define BLKREF_BASE_BYTES_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline uint16_t load_be16(const void *p)
{
    uint16_t v;
    memcpy(&v, p, 2);
    return __builtin_bswap16(v);
}
static inline uint32_t load_be32(const void *p)
{
    uint32_t v;
    memcpy(&v, p, 4);
    return __builtin_bswap32(v);
}
static inline uint64_t load_be64(const void *p)
{
    uint64_t v;
    memcpy(&v, p, 8);
    return __builtin_bswap64(v);
}
static inline uint16_t load_le16(const void *p)
{
    uint16_t v;
    memcpy(&v, p, 2);
    return v;
}
static inline uint32_t load_le32(const void *p)
{
    uint32_t v;
    memcpy(&v, p, 4);
    return v;
}
static inline uint64_t load_le64(const void *p)
{
    uint64_t v;
    memcpy(&v, p, 8);
    return v;
}
static inline void store_be16(void *p, uint16_t v)
{
    v = __builtin_bswap16(v);
    memcpy(p, &v, 2);
}
static inline void store_be32(void *p, uint32_t v)
{
    v = __builtin_bswap32(v);
    memcpy(p, &v, 4);
}
static inline void store_be64(void *p, uint64_t v)
{
    v = __builtin_bswap64(v);
    memcpy(p, &v, 8);
}
static inline void store_le16(void *p, uint16_t v)
{
    memcpy(p, &v, 2);
}
static inline void store_le32(void *p, uint32_t v)
{
    memcpy(p, &v, 4);
}
static inline void store_le64(void *p, uint64_t v)
{
    memcpy(p, &v, 8);
}

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "blkref is built for little-endian hosts"
#endif

/* `width` in bytes, 1 to 8; big is true for big-endian. */
static inline uint64_t load_uint(const void *p, unsigned width, int big)
{
    const uint8_t *b = p;
    uint64_t v = 0;
    for (unsigned i = 0; i < width; i++) {
        v |= (uint64_t)b[big ? width - 1 - i : i] << (8 * i);
    }
    return v;
}

static inline void store_uint(void *p, unsigned width, int big, uint64_t v)
{
    uint8_t *b = p;
    for (unsigned i = 0; i < width; i++) {
        b[big ? width - 1 - i : i] = (uint8_t)(v >> (8 * i));
    }
}

/* Index of the first of n words of 8 bytes, from i on, that is not zero; n when all are. */
static inline size_t words_skip_zero(const void *words, size_t i, size_t n)
{
    const uint8_t *p = words;
    uint64_t w[8] = {0};
    for (; n - i >= 8; i += 8) {
        memcpy(w, p + i * 8, sizeof(w));
        if (w[0] | w[1] | w[2] | w[3] | w[4] | w[5] | w[6] | w[7]) {
            break;
        }
    }
    for (; i < n; i++) {
        memcpy(w, p + i * 8, 8);
        if (w[0]) {
            break;
        }
    }
    return i;
}

#endif
