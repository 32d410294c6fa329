/*
 * The page store against a flat array, and the promises of its header.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <string.h>
#include "fault/disk.h"
#include "ref/base/mem.h"
#include "ref/base/rng.h"

#define FLAT (3 * 64 * DISK_PAGE + 1234) /* more than one leaf node, not a whole page */

struct model {
    struct disk *d;
    int64_t size;
    uint8_t *bytes;
};

static void check_model(struct model *m, uint8_t *buf)
{
    assert_int_equal(disk_size(m->d), m->size);
    disk_read(m->d, 0, buf, FLAT);
    assert_memory_equal(buf, m->bytes, FLAT);
}

static void step(struct model *m, struct rng *r, uint8_t *buf)
{
    int64_t at = (int64_t)rng_below(r, FLAT),
            n = (int64_t)rng_below(r, 1 + rng_below(r, FLAT - at + 1));
    switch (rng_below(r, 5)) {
    case 0:
        rng_fill(r, buf, n);
        assert_int_equal(disk_write(m->d, at, buf, n), 0);
        memcpy(m->bytes + at, buf, n);
        break;
    case 1:
    case 2:
        assert_int_equal(disk_write_zeroes(m->d, at, n, rng_below(r, 2)), 0);
        memset(m->bytes + at, 0, n);
        break;
    case 3:
        assert_int_equal(disk_discard(m->d, at, n), 0);
        memset(m->bytes + at, 0, n);
        n = 0;
        break;
    default:
        assert_int_equal(disk_truncate(m->d, at), 0);
        memset(m->bytes + at, 0, FLAT - at);
        m->size = at;
        n = 0;
    }
    m->size = n ? MAX(m->size, at + n) : m->size;
}

static void test_against_flat_array(void **state)
{
    struct disk_pool *p = disk_pool_new(0);
    struct model m[3];
    uint8_t *buf = mem_alloc(FLAT);
    struct rng r;

    rng_seed(&r, 42);
    for (int i = 0; i < 3; i++) {
        m[i] = (struct model){disk_new(p, 0), 0, mem_zalloc(FLAT)};
    }
    for (int i = 0; i < 600; i++) {
        int a = (int)rng_below(&r, 3), b = (int)rng_below(&r, 3);
        if (rng_below(&r, 4) == 0) {
            disk_assign(m[a].d, m[b].d);
            m[a].size = m[b].size;
            memmove(m[a].bytes, m[b].bytes, FLAT);
        }
        step(&m[a], &r, buf);
        if (rng_below(&r, 2)) {
            disk_hash(m[b].d); /* at odd moments: the cached sums must stay right */
        }
        check_model(&m[i % 3], buf);
        bool same = m[a].size == m[b].size && !memcmp(m[a].bytes, m[b].bytes, FLAT);
        assert_int_equal(disk_hash(m[a].d) == disk_hash(m[b].d), same);
        assert_int_equal(disk_equal(m[a].d, m[b].d), same);
        /* A disk made anew with the same content has the same hash. */
        struct disk *fresh = disk_new(p, 0);
        assert_int_equal(disk_write(fresh, 0, m[a].bytes, m[a].size), 0);
        assert_int_equal(disk_hash(fresh), disk_hash(m[a].d));
        assert_true(disk_equal(fresh, m[a].d));
        disk_free(fresh);
    }
    for (int i = 0; i < 3; i++) {
        disk_free(m[i].d);
        mem_free(m[i].bytes);
    }
    mem_free(buf);
    assert_int_equal(disk_pool_used(p), 0);
    disk_pool_free(p);
}

static void test_clone_shares_and_isolates(void **state)
{
    struct disk_pool *p = disk_pool_new(0);
    struct disk *a = disk_new(p, 0), *b;
    char buf[8] = "";

    disk_write(a, 0, "old", 3);
    disk_write(a, 100 * DISK_PAGE, "far", 3);
    b = disk_clone(a);
    assert_int_equal(disk_pool_used(p), 2);
    uint64_t h = disk_hash(a);
    assert_int_equal(disk_hash(b), h);
    disk_write(b, 0, "new", 3);
    assert_int_equal(disk_pool_used(p), 3);
    disk_read(a, 0, buf, 3);
    assert_string_equal(buf, "old");
    assert_int_equal(disk_hash(a), h);
    assert_int_not_equal(disk_hash(b), h);
    disk_write(b, 0, "old", 3);
    assert_int_equal(disk_hash(b), h);
    disk_free(a);
    disk_free(b);
    disk_pool_free(p);
}

static void test_hash_tells_place_and_size(void **state)
{
    struct disk_pool *p = disk_pool_new(0);
    struct disk *a = disk_new(p, 4 * DISK_PAGE), *b = disk_new(p, 4 * DISK_PAGE);

    disk_write_zeroes(b, DISK_PAGE, DISK_PAGE, true);
    assert_int_equal(disk_allocated(b), DISK_PAGE);
    assert_int_equal(disk_hash(a), disk_hash(b)); /* zeroes and holes are one content */
    disk_write(a, 0, "x", 1);
    disk_write(b, DISK_PAGE, "x", 1);
    assert_int_not_equal(disk_hash(a), disk_hash(b));
    disk_assign(b, a);
    disk_truncate(b, 5 * DISK_PAGE);
    assert_int_not_equal(disk_hash(a), disk_hash(b));
    disk_free(a);
    disk_free(b);
    disk_pool_free(p);
}

static void test_block_status(void **state)
{
    struct disk_pool *p = disk_pool_new(0);
    struct disk *d = disk_new(p, 1000 * DISK_PAGE + 10);
    int64_t n;

    disk_write(d, 3 * DISK_PAGE + 5, "x", 1);
    disk_write_zeroes(d, 4 * DISK_PAGE, 2 * DISK_PAGE, true);
    assert_int_equal(disk_block_status(d, 0, INT64_MAX / 2, &n), DISK_HOLE);
    assert_int_equal(n, 3 * DISK_PAGE);
    assert_int_equal(disk_block_status(d, 3 * DISK_PAGE + 1, 1000000, &n), DISK_DATA);
    assert_int_equal(n, 3 * DISK_PAGE - 1);
    assert_int_equal(disk_block_status(d, 3 * DISK_PAGE, 7, &n), DISK_DATA);
    assert_int_equal(n, 7);
    assert_int_equal(disk_block_status(d, 6 * DISK_PAGE, INT64_MAX / 2, &n), DISK_HOLE);
    assert_int_equal(n, 994 * DISK_PAGE + 10);
    assert_int_equal(disk_block_status(d, 2000 * DISK_PAGE, 5, &n), DISK_HOLE);
    assert_int_equal(n, 5);
    assert_int_equal(disk_allocated(d), 3 * DISK_PAGE);
    disk_discard(d, 3 * DISK_PAGE, 3 * DISK_PAGE);
    assert_int_equal(disk_allocated(d), 0);
    disk_free(d);
    disk_pool_free(p);
}

static void test_truncate_leaves_no_page(void **state)
{
    struct disk_pool *p = disk_pool_new(0);
    struct disk *d = disk_new(p, 0);
    uint8_t buf[100], zero[100] = {0};

    memset(buf, 7, sizeof(buf));
    disk_write(d, DISK_PAGE, buf, 100);
    disk_truncate(d, DISK_PAGE);
    assert_int_equal(disk_pool_used(p), 0);
    disk_write(d, DISK_PAGE, buf, 100);
    disk_truncate(d, DISK_PAGE + 50);
    disk_truncate(d, DISK_PAGE + 100);
    disk_read(d, DISK_PAGE, buf, 100);
    assert_int_equal(buf[49], 7);
    assert_memory_equal(buf + 50, zero, 50);
    disk_free(d);
    disk_pool_free(p);
}

static void test_limits(void **state)
{
    struct disk_pool *p = disk_pool_new(2);
    struct disk *d = disk_new(p, 0);
    char buf[4];

    assert_int_equal(disk_write(d, DISK_MAX, "x", 1), -EFBIG);
    assert_int_equal(disk_write(d, DISK_MAX - 1, "x", 1), 0);
    assert_int_equal(disk_size(d), DISK_MAX);
    disk_read(d, DISK_MAX - 1, buf, 4);
    assert_memory_equal(buf, "x\0\0\0", 4);
    disk_read(d, INT64_MAX - 1, buf, 4);
    assert_memory_equal(buf, "\0\0\0\0", 4);
    assert_int_equal(disk_truncate(d, DISK_MAX + 1), -EFBIG);
    assert_int_equal(disk_write_zeroes(d, 1, DISK_MAX, false), -EFBIG);
    assert_int_equal(disk_discard(d, DISK_MAX - 10, 100), -EFBIG);
    assert_int_equal(disk_discard(d, 0, DISK_MAX - DISK_PAGE), 0);
    assert_int_equal(disk_allocated(d), DISK_PAGE);
    assert_int_equal(disk_write(d, 0, "x", 1), 0);
    assert_int_equal(disk_write(d, DISK_PAGE, "x", 1), -ENOSPC);
    assert_int_equal(disk_write_zeroes(d, 0, 1LL << 50, true), -ENOSPC);
    assert_int_equal(disk_truncate(d, 1), 0);
    assert_int_equal(disk_write(d, DISK_PAGE, "x", 1), 0);
    disk_free(d);
    disk_pool_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_flat_array),
        cmocka_unit_test(test_clone_shares_and_isolates),
        cmocka_unit_test(test_hash_tells_place_and_size),
        cmocka_unit_test(test_block_status),
        cmocka_unit_test(test_truncate_leaves_no_page),
        cmocka_unit_test(test_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
