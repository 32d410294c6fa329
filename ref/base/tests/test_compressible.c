/* What is called noise gains nothing by deflate, and what deflate can shrink is not called noise.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include <zlib.h>
#include "ref/base/compressible.h"
#include "ref/base/mem.h"
#include "ref/base/rng.h"

#define LEN (64 * KiB)

static size_t deflated(const uint8_t *data, size_t len)
{
    uLongf size = compressBound(LEN);
    uint8_t *out = mem_alloc(size);
    assert_int_equal(compress2(out, &size, data, len, 9), Z_OK);
    mem_free(out);
    return size;
}

/* Noise, with `change` made to it. */
static void judge(void (*change)(struct rng *r, uint8_t *data), bool compressible)
{
    uint8_t *data = mem_alloc(LEN);
    struct rng r;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        rng_seed(&r, seed);
        rng_fill(&r, data, LEN);
        if (change) {
            change(&r, data);
        }
        assert_int_equal(buf_compressible(data, LEN), compressible);
        /* What is passed over would have gained less than two per cent. */
        assert_true(compressible ? deflated(data, LEN) < LEN : deflated(data, LEN) > LEN / 50 * 49);
    }
    mem_free(data);
}

static void noise_is_noise(void **state)
{
    judge(NULL, false);
}

static void seven_bits(struct rng *r, uint8_t *data)
{
    for (size_t i = 0; i < LEN; i++) {
        data[i] &= 0x7f;
    }
}

/* Every byte is as frequent as any other in the whole, not in its part. */
static void halves(struct rng *r, uint8_t *data)
{
    for (size_t i = 0; i < LEN; i++) {
        data[i] = (uint8_t)(i < LEN / 2 ? data[i] & 0x7f : data[i] | 0x80);
    }
}

static void zeroes_at_the_end(struct rng *r, uint8_t *data)
{
    memset(data + LEN - 4 * KiB, 0, 4 * KiB);
}

/* Noise that comes again: only sequences give it away. */
static void noise_twice(struct rng *r, uint8_t *data)
{
    size_t at = rng_below(r, LEN / 8192) * 8192;
    memcpy(data + at + 3000, data + at, 3000);
}

static void skew_and_repetition_are_seen(void **state)
{
    judge(seven_bits, true);
    judge(halves, true);
    judge(zeroes_at_the_end, true);
    judge(noise_twice, true);
}

static void what_is_not_looked_at_may_be_compressible(void **state)
{
    uint8_t *data = mem_alloc(LEN);
    struct rng r;
    rng_seed(&r, 1);
    rng_fill(&r, data, LEN);
    assert_true(buf_compressible(data, 4096));
    assert_true(buf_compressible(data, LEN - 1));
    assert_true(buf_compressible(data, 0));
    mem_free(data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(noise_is_noise),
        cmocka_unit_test(skew_and_repetition_are_seen),
        cmocka_unit_test(what_is_not_looked_at_may_be_compressible),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
