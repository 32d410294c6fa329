/* Bitmaps against a plain array of bits, over every short range. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include "ref/base/bitmap.h"
#include "ref/base/rng.h"

#define BITS 200

static void ranges_touch_their_bits_only(void **state)
{
    for (uint64_t start = 0; start < BITS; start++) {
        for (uint64_t n = 0; start + n <= BITS; n += n < 3 ? 1 : 7) {
            uint64_t m[4] = {0}, c[4] = {~0ULL, ~0ULL, ~0ULL, ~0ULL};
            bitmap_set(m, start, n);
            bitmap_clear(c, start, n);
            for (uint64_t i = 0; i < 256; i++) {
                bool inside = i >= start && i < start + n;
                assert_int_equal(bitmap_test(m, i), inside);
                assert_int_equal(bitmap_test(c, i), !inside);
            }
            assert_int_equal(bitmap_count(m, BITS), n);
            assert_int_equal(bitmap_count(c, BITS), BITS - n);
        }
    }
}

static uint64_t slow_next(const uint64_t *m, uint64_t nbits, uint64_t start, bool want)
{
    while (start < nbits && bitmap_test(m, start) != want) {
        start++;
    }
    return start < nbits ? start : nbits;
}

static void searches_find_the_first(void **state)
{
    struct rng r;

    rng_seed(&r, 1);
    for (int round = 0; round < 200; round++) {
        uint64_t m[4] = {0};
        uint64_t nbits = 1 + rng_below(&r, 256);
        bool dense = round % 2;
        memset(m, dense ? 0xFF : 0, sizeof(m));
        for (int i = 0; i < 5; i++) {
            (dense ? bitmap_clear1 : bitmap_set1)(m, rng_below(&r, 256));
        }
        for (uint64_t i = 0; i <= nbits + 1; i++) {
            uint64_t from = i;
            assert_int_equal(bitmap_next_set(m, nbits, from),
                             from >= nbits ? nbits : slow_next(m, nbits, from, true));
            assert_int_equal(bitmap_next_clear(m, nbits, from),
                             from >= nbits ? nbits : slow_next(m, nbits, from, false));
        }
    }
}

static void words_are_rounded_up(void **state)
{
    assert_int_equal(bitmap_words(0), 0);
    assert_int_equal(bitmap_words(1), 1);
    assert_int_equal(bitmap_words(64), 1);
    assert_int_equal(bitmap_words(65), 2);
    assert_int_equal(bitmap_next_set(NULL, 0, 0), 0);
    assert_int_equal(bitmap_count(NULL, 0), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranges_touch_their_bits_only),
        cmocka_unit_test(searches_find_the_first),
        cmocka_unit_test(words_are_rounded_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
