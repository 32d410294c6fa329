/*
 * A deterministic fuzzer for every `make check`: seeded mutations of valid images, no crash, no
 * hang, no broken word.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include "fuzz/fuzz_qcow2.h"
#include "ref/base/bytes.h"
#include "ref/base/mem.h"
#include "specs/qcow2_layout.h"

enum { ROUNDS = 120 };

struct fixture {
    struct process *process;
    uint8_t *image, *copy;
    int64_t len;
};

static void take_seed(struct fixture *x, size_t i)
{
    struct error *err = NULL;
    x->len = fuzz_seed(x->process, i, &x->image, &err);
    if (err) {
        print_error("%s: %s\n", fuzz_seed_name(i), err->msg);
    }
    assert_true(x->len > 0 && x->len < FUZZ_MAX_INPUT);
    x->copy = mem_alloc((size_t)x->len);
}

static void drop_seed(struct fixture *x)
{
    mem_free(x->image);
    mem_free(x->copy);
}

static void test_seeds_are_valid(void **state)
{
    struct fixture x = {.process = process_new()};
    for (size_t i = 0; i < fuzz_seed_count(); i++) {
        struct fuzz f = {.process = x.process, .profile = &profile_reference};
        take_seed(&x, i);
        assert_int_equal(fuzz_qcow2(&f, x.image, (size_t)x.len, NULL), 0);
        assert_int_equal(f.clean, fuzz_seed_names(i) ? 0 : 1);
        assert_true(f.wrote >= 3 || fuzz_seed_names(i));
        drop_seed(&x);
    }
    process_free(x.process);
}

static void mutate_all(const struct profile *profile)
{
    struct fixture x = {.process = process_new()};
    struct fuzz f = {.process = x.process, .profile = profile};
    for (size_t i = 0; i < fuzz_seed_count(); i++) {
        struct rng rng;
        rng_seed(&rng, i + 1);
        take_seed(&x, i);
        for (int k = 0; k < ROUNDS; k++) {
            struct error *err = NULL;
            memcpy(x.copy, x.image, (size_t)x.len);
            size_t len = fuzz_mutate(&rng, x.copy, (size_t)x.len);
            int ret = fuzz_qcow2(&f, x.copy, len, &err);
            if (ret < 0) {
                print_error("seed image %s, round %d: %s\n", fuzz_seed_name(i), k, err->msg);
            }
            assert_int_equal(ret, 0);
        }
        drop_seed(&x);
    }
    /* Mutations that all were refused at once would test nothing. */
    assert_true(f.opened > f.runs / 4);
    assert_true(f.clean < f.opened);
    process_free(x.process);
}

static void test_mutations_reference(void **state)
{
    mutate_all(&profile_reference);
}

static void test_mutations_optimized(void **state)
{
    mutate_all(&profile_optimized);
}

static void test_planted_defect_is_found(void **state)
{
    struct fixture x = {.process = process_new()};
    struct fuzz f = {.process = x.process, .profile = &profile_reference, .flip_byte = true};
    struct error *err = NULL;
    take_seed(&x, 1);
    assert_true(fuzz_qcow2(&f, x.image, (size_t)x.len, &err) < 0);
    assert_non_null(strstr(err->msg, "does not read back"));
    error_free(err);
    drop_seed(&x);
    process_free(x.process);
}

static void test_mutations_are_the_same_each_time(void **state)
{
    uint8_t a[4096], b[4096];
    struct rng ra, rb;
    rng_seed(&ra, 7);
    rng_seed(&rb, 7);
    memset(a, 1, sizeof(a));
    memset(b, 1, sizeof(b));
    for (int i = 0; i < 100; i++) {
        assert_int_equal(fuzz_mutate(&ra, a, sizeof(a)), fuzz_mutate(&rb, b, sizeof(b)));
    }
    assert_memory_equal(a, b, sizeof(a));
}

/* The walk meets a snapshot's number of L1 entries at 2^20 and at 2^31, and ends. */
static void test_extremes(void **state)
{
    struct fixture x = {.process = process_new()};
    size_t i = 0;
    while (!fuzz_seed_snapshot(i)) {
        i++;
    }
    take_seed(&x, i);
    uint64_t at = qcow2_header_get_snapshots_offset(x.image);
    unsigned n = 0, met = 0;
    for (bool more = true; more; n++) {
        memcpy(x.copy, x.image, (size_t)x.len);
        more = fuzz_extreme("snapshot", n, x.copy, (size_t)x.len);
        uint32_t entries = load_be32(x.copy + at + 8);
        met |= entries == 1u << 20 ? 1u : entries == 1u << 31 ? 2u : 0;
    }
    assert_memory_equal(x.copy, x.image, (size_t)x.len);
    assert_true(n > 50 && met == 3);
    drop_seed(&x);
    process_free(x.process);
}

static void test_dictionary_has_the_magic(void **state)
{
    struct strbuf d = STRBUF_INIT;
    fuzz_dictionary(&d);
    assert_non_null(strstr(d.s, "\\x51\\x46\\x49\\xfb"));
    strbuf_free(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_seeds_are_valid),
        cmocka_unit_test(test_mutations_reference),
        cmocka_unit_test(test_mutations_optimized),
        cmocka_unit_test(test_planted_defect_is_found),
        cmocka_unit_test(test_mutations_are_the_same_each_time),
        cmocka_unit_test(test_extremes),
        cmocka_unit_test(test_dictionary_has_the_magic),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
