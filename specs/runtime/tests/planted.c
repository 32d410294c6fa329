/*
 * Planting defects: see planted.h.
 */
#include "specs/runtime/tests/planted.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "ref/base/bytes.h"
#include "ref/base/rng.h"

static int read_memory(void *opaque, uint64_t offset, void *buf, size_t len)
{
    memcpy(buf, (const uint8_t *)opaque + offset, len);
    return 0;
}

static int read_broken(void *opaque, uint64_t offset, void *buf, size_t len)
{
    return -EIO;
}

static int run(const struct planted_format *f, const uint8_t *m, uint64_t size,
               const struct spec_limits *limits, struct spec_state *state, struct spec_report *r)
{
    struct spec_image image = {read_memory, (void *)m, size};
    *state = (struct spec_state){0};
    memset(r, 0, sizeof(*r));
    return f->check(&image, limits, state, r);
}

void planted_put(const struct planted_format *f, uint8_t *m, uint64_t at, unsigned width,
                 uint64_t value)
{
    store_uint(m + at, width, f->big_endian, value);
}

uint8_t *planted_image(const struct planted_format *f)
{
    uint8_t *m = calloc(1, f->size);
    assert_non_null(m);
    f->build(m);
    if (f->seal) {
        f->seal(m);
    }
    return m;
}

void planted_expect(const struct planted_format *f, const uint8_t *m, uint64_t size,
                    const char *clause)
{
    struct spec_report *r = calloc(1, sizeof(*r));
    struct spec_state state;
    assert_non_null(r);
    assert_int_equal(run(f, m, size, NULL, &state, r), 0);
    bool right = clause ? spec_report_count(r, clause) > 0 : r->nr_findings == 0;
    for (unsigned i = 0; i < r->nr_findings && !right; i++) {
        print_error("wanted %s, found %s: %s\n", clause ? clause : "nothing", r->findings[i].clause,
                    r->findings[i].message);
    }
    if (!right && r->nr_findings == 0) {
        print_error("%s was not found\n", clause);
    }
    assert_true(right);
    free(r);
}

const char *planted_condition(const struct planted_format *f, const uint8_t *m, uint64_t size)
{
    struct spec_report *r = calloc(1, sizeof(*r));
    struct spec_state state;
    assert_non_null(r);
    assert_int_equal(run(f, m, size, NULL, &state, r), 0);
    free(r);
    return state.condition;
}

uint64_t planted_broken(const struct planted_format *f, const uint8_t *m, uint64_t size)
{
    struct spec_report *r = calloc(1, sizeof(*r));
    struct spec_state state;
    assert_non_null(r);
    assert_int_equal(run(f, m, size, NULL, &state, r), 0);
    uint64_t n = r->count[SPEC_CORRUPTION] + r->count[SPEC_LEAK];
    free(r);
    return n;
}

void planted_each(const struct planted_format *f, bool sealed, const struct planted *defects,
                  size_t n)
{
    uint8_t *m = planted_image(f), *clean = malloc(f->size);
    assert_non_null(clean);
    memcpy(clean, m, f->size);
    planted_expect(f, m, f->size, NULL);
    for (size_t i = 0; i < n; i++) {
        planted_put(f, m, defects[i].at, defects[i].width, defects[i].value);
        if (sealed && f->seal) {
            f->seal(m);
        }
        planted_expect(f, m, f->size, defects[i].clause);
        memcpy(m, clean, f->size);
    }
    free(clean);
    free(m);
}

void planted_limits(const struct planted_format *f)
{
    static const struct spec_limits few = {.clusters = 1, .work = 1 << 30};
    static const struct spec_limits lazy = {.clusters = 1 << 20, .work = 100};
    struct spec_image broken = {read_broken, NULL, f->size};
    struct spec_state state = {0};
    uint8_t *m = planted_image(f);
    struct spec_report *r = calloc(1, sizeof(*r));
    assert_non_null(r);
    assert_int_equal(run(f, m, f->size, &few, &state, r), -EFBIG);
    assert_int_equal(run(f, m, f->size, &lazy, &state, r), -EFBIG);
    assert_int_equal(f->check(&broken, NULL, &state, r), -EIO);
    free(r);
    free(m);
}

void planted_damage(const struct planted_format *f, uint64_t upto, unsigned rounds)
{
    static const struct spec_limits limits = {.clusters = 1 << 16, .work = 1 << 24};
    static const uint64_t values[] = {0, 1, 0xff, 0x7fffffff, 0xffffffff, UINT64_MAX, 1u << 20};
    struct spec_state state;
    struct rng rng;
    uint8_t *m = planted_image(f), *clean = malloc(f->size);
    struct spec_report *r = calloc(1, sizeof(*r));
    assert_non_null(r);
    assert_non_null(clean);
    memcpy(clean, m, f->size);
    rng_seed(&rng, 7);
    for (unsigned i = 0; i < rounds; i++) {
        uint64_t at[4], size = i % 4 ? f->size : rng_below(&rng, f->size);
        for (int k = 0; k < 4; k++) {
            at[k] = rng_below(&rng, upto / 4 - 2) * 4;
            uint64_t v = values[rng_below(&rng, sizeof(values) / sizeof(values[0]))];
            planted_put(f, m, at[k], k % 2 ? 8 : 4, v);
        }
        if (f->seal && i % 2) {
            f->seal(m);
        }
        int ret = run(f, m, size, &limits, &state, r);
        assert_true(ret == 0 || ret == -EFBIG);
        memcpy(m, clean, upto);
    }
    free(clean);
    free(r);
    free(m);
}
