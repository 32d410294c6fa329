/* Published vectors of the generators, and the qualities that the content hash is used for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include "ref/base/mem.h"
#include "ref/base/rng.h"

/* splitmix64 from seed 1234567; xoshiro256** from state 1, 2, 3, 4. */
static void published_vectors_come_out(void **state)
{
    static const uint64_t split[4] = {
        6457827717110365317ULL,
        3203168211198807973ULL,
        9817491932198370423ULL,
        4593380528125082431ULL,
    };
    static const uint64_t xo[10] = {
        11520,
        0,
        1509978240,
        1215971899390074240ULL,
        1216172134540287360ULL,
        607988272756665600ULL,
        16172922978634559625ULL,
        8476171486693032832ULL,
        10595114339597558777ULL,
        2904607092377533576ULL,
    };
    struct rng r;

    rng_seed(&r, 1234567);
    for (int i = 0; i < 4; i++) {
        assert_true(r.s[i] == split[i]);
    }
    r = (struct rng){{1, 2, 3, 4}};
    for (int i = 0; i < 10; i++) {
        assert_true(rng_next(&r) == xo[i]);
    }
}

static void below_is_in_range_and_even(void **state)
{
    unsigned seen[7] = {0};
    struct rng r;

    rng_seed(&r, 42);
    for (int i = 0; i < 70000; i++) {
        uint64_t x = rng_below(&r, 7);
        assert_true(x < 7);
        seen[x]++;
    }
    for (int i = 0; i < 7; i++) {
        assert_in_range(seen[i], 9500, 10500);
    }
    assert_int_equal(rng_below(&r, 1), 0);
    for (int i = 0; i < 100; i++) {
        assert_true(rng_below(&r, (1ULL << 63) + 1) <= 1ULL << 63);
    }
}

static void filling_is_the_same_stream(void **state)
{
    struct rng a, b;
    uint8_t buf[21] = {0};

    rng_seed(&a, 9);
    rng_seed(&b, 9);
    rng_fill(&a, buf, 20);
    for (int i = 0; i < 3; i++) {
        uint64_t x = rng_next(&b);
        assert_memory_equal(buf + 8 * i, &x, i == 2 ? 4 : 8);
    }
    assert_int_equal(buf[20], 0);
    assert_true(rng_next(&a) == rng_next(&b));
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

/* Buffers that differ in one bit, in length only, or in where equal blocks stand: no two alike. */
static void close_contents_hash_apart(void **state)
{
    enum { LEN = 512, N = LEN * 8 + 2 * LEN + 32 };
    uint64_t *h = mem_array(N, sizeof(*h));
    uint8_t buf[LEN + 32] = {0};
    size_t n = 0;

    for (size_t i = 0; i < LEN * 8; i++) {
        buf[i / 8] ^= (uint8_t)(1 << i % 8);
        h[n++] = hash_bytes(buf, LEN, 0);
        buf[i / 8] ^= (uint8_t)(1 << i % 8);
    }
    for (size_t len = 0; len < 2 * LEN; len++) {
        h[n++] = hash_bytes(buf, MIN(len, LEN), len >= LEN ? len : 0);
    }
    for (size_t i = 0; i < 16; i++) { /* one 32-byte block moved along */
        memset(buf, 0, sizeof(buf));
        memset(buf + 32 * i, 0xA5, 32);
        h[n] = hash_bytes(buf, LEN, 0);
        h[n + 1] = hash_bytes(buf, LEN, h[n]);
        n += 2;
    }
    assert_int_equal(n, N);
    qsort(h, n, sizeof(*h), by_value);
    for (size_t i = 1; i < n; i++) {
        assert_true(h[i] != h[i - 1]);
    }
    mem_free(h);
}

/* One flipped input bit flips about half of the output bits, whatever the length. */
static void every_bit_matters(void **state)
{
    uint8_t buf[100];
    struct rng r;

    rng_seed(&r, 3);
    rng_fill(&r, buf, sizeof(buf));
    for (size_t len = 1; len <= sizeof(buf); len += 9) {
        uint64_t base = hash_bytes(buf, len, 5);
        unsigned flips = 0;
        for (size_t i = 0; i < len * 8; i++) {
            buf[i / 8] ^= (uint8_t)(1 << i % 8);
            unsigned d = (unsigned)__builtin_popcountll(hash_bytes(buf, len, 5) ^ base);
            buf[i / 8] ^= (uint8_t)(1 << i % 8);
            assert_in_range(d, 10, 54);
            flips += d;
        }
        assert_in_range(flips / (len * 8), 29, 35);
    }
}

static void alignment_and_repeats_do_not_matter(void **state)
{
    char buf[80];

    for (int at = 0; at < 8; at++) {
        memcpy(buf + at, "the quick brown fox jumps over the lazy dog, twice", 50);
        assert_true(hash_bytes(buf + at, 50, 1) ==
                    hash_bytes("the quick brown fox jumps over the lazy dog, twice", 50, 1));
    }
    assert_true(hash_bytes(buf, 50, 1) != hash_bytes(buf, 50, 2));
    assert_true(hash_bytes(NULL, 0, 0) != hash_bytes(NULL, 0, 1));
    assert_true(hash_u64(1) != hash_u64(2));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(published_vectors_come_out),
        cmocka_unit_test(below_is_in_range_and_even),
        cmocka_unit_test(filling_is_the_same_stream),
        cmocka_unit_test(close_contents_hash_apart),
        cmocka_unit_test(every_bit_matters),
        cmocka_unit_test(alignment_and_repeats_do_not_matter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
