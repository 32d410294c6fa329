/*
 * Arithmetic of the generated code: unsigned 64-bit numbers that saturate instead of wrapping, so
 * that a rule over hostile fields is never fooled by an overflow.  Division by zero yields
 * UINT64_MAX, a remainder by zero 0, a difference below zero 0.
 */
#ifndef BLKREF_SPECS_ARITH_H
#define BLKREF_SPECS_ARITH_H

#include <stdint.h>

static inline uint64_t spec_add(uint64_t a, uint64_t b)
{
    uint64_t r;
    return __builtin_add_overflow(a, b, &r) ? UINT64_MAX : r;
}

static inline uint64_t spec_sub(uint64_t a, uint64_t b)
{
    return a > b ? a - b : 0;
}

static inline uint64_t spec_mul(uint64_t a, uint64_t b)
{
    uint64_t r;
    return __builtin_mul_overflow(a, b, &r) ? UINT64_MAX : r;
}

static inline uint64_t spec_div(uint64_t a, uint64_t b)
{
    return b ? a / b : UINT64_MAX;
}
static inline uint64_t spec_mod(uint64_t a, uint64_t b)
{
    return b ? a % b : 0;
}
static inline uint64_t spec_shr(uint64_t a, uint64_t b)
{
    return b < 64 ? a >> b : 0;
}

static inline uint64_t spec_shl(uint64_t a, uint64_t b)
{
    if (a == 0) {
        return 0;
    }
    return b < 64 && a <= (UINT64_MAX >> b) ? a << b : UINT64_MAX;
}

/* Bits lo to hi, both included; empty when hi < lo. */
static inline uint64_t spec_bit_mask(unsigned lo, unsigned hi)
{
    if (hi < lo || lo > 63) {
        return 0;
    }
    return (UINT64_MAX << lo) & (UINT64_MAX >> (63 - (hi > 63 ? 63 : hi)));
}

#endif
