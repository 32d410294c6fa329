/*
 * The log and the dm-log-writes format: golden bytes, a round trip, and hostile logs.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <string.h>
#include "fault/dmlog.h"
#include "ref/base/mem.h"
#include "ref/base/rng.h"

#define S 512

static size_t add(struct disk_log *l, enum disk_op_kind kind, unsigned flags, int64_t at, int64_t n,
                  const void *data)
{
    struct disk_op op = {
        .kind = kind, .flags = flags, .label = LABEL_NONE, .offset = at, .bytes = n};
    return disk_log_add(l, &op, data);
}

static void test_payloads_of_any_alignment(void **state)
{
    struct disk_pool *p = disk_pool_new(0);
    struct disk_log *l = disk_log_new(p);
    struct disk *a = disk_new(p, 0), *b = disk_new(p, 0);
    uint8_t buf[5 * DISK_PAGE], got[5 * DISK_PAGE];
    struct rng r;

    rng_seed(&r, 3);
    for (int i = 0; i < 300; i++) {
        int64_t at = (int64_t)rng_below(&r, 3 * DISK_PAGE), n = (int64_t)rng_below(&r, sizeof(buf));
        if (i % 4 == 0) {
            at = ROUND_DOWN(at, DISK_PAGE);
            n = ROUND_DOWN(n, DISK_PAGE);
        }
        rng_fill(&r, buf, sizeof(buf));
        const struct disk_op *op = disk_log_op(l, add(l, DISK_OP_WRITE, 0, at, n, buf));
        assert_int_equal(disk_op_apply(a, op), 0);
        assert_int_equal(disk_write(b, at, buf, n), 0);
        assert_true(disk_equal(a, b));
        disk_op_read(p, op, 0, got, n);
        assert_memory_equal(got, buf, n);
        int64_t from = (int64_t)rng_below(&r, n + 1),
                to = from + (int64_t)rng_below(&r, n - from + 1);
        disk_op_read(p, op, from, got, to - from);
        assert_memory_equal(got, buf + from, to - from);
        disk_truncate(a, 0);
        disk_truncate(b, 0);
        assert_int_equal(disk_op_apply_part(a, op, from, to), 0);
        disk_write(b, at + from, buf + from, to - from);
        assert_true(disk_equal(a, b));
    }
    assert_int_equal(disk_log_clock(l), 601);
    disk_log_reset(l);
    assert_int_equal(disk_log_len(l), 0);
    disk_free(a);
    disk_free(b);
    disk_log_free(l);
    assert_int_equal(disk_pool_used(p), 0);
    disk_pool_free(p);
}

static void test_tags(void **state)
{
    struct disk_pool *p = disk_pool_new(0);
    struct disk_log *l = disk_log_new(p);
    char tag[8] = "A";

    for (int i = 0; i < 4; i++) {
        struct disk_op op = {
            .kind = DISK_OP_FLUSH, .label = LABEL_FLUSH_TO_DISK, .tag = i == 3 ? NULL : tag};
        disk_log_add(l, &op, NULL);
        tag[0] = i == 0 ? 'A' : 'B';
    }
    assert_string_equal(disk_log_op(l, 0)->tag, "A");
    assert_string_equal(disk_log_op(l, 1)->tag, "A");
    assert_string_equal(disk_log_op(l, 2)->tag, "B");
    assert_null(disk_log_op(l, 3)->tag);
    assert_int_equal(disk_log_op(l, 1)->issued, 3);
    assert_int_equal(disk_log_op(l, 1)->completed, 4);
    disk_log_free(l);
    disk_pool_free(p);
}

/* The example observed on a real blklogwrites: 7 entries at sectors 1, 10, 27, 28, 29, 30, 32; 33
 * sectors. */
static void test_layout(void **state)
{
    static const uint8_t super[28] = {
        0x72, 0x68, 0x73, 0x77, 0x66, 0x73, 0x6a, 0x00, 1, 0, 0, 0, 0, 0,
        0,    0,    7,    0,    0,    0,    0,    0,    0, 0, 0, 2, 0, 0,
    };
    static const uint8_t first[32] = {8, 0, 0, 0, 0, 0, 0, 0, 8};
    static const uint8_t discard[32] = {64, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 4};
    static const uint8_t flush[32] = {[16] = 1};
    struct disk_pool *p = disk_pool_new(0);
    struct disk_log *l = disk_log_new(p);
    struct disk *out = disk_new(p, 0);
    struct error *err = NULL;
    uint8_t data[4096], got[4096];

    memset(data, 0x5a, sizeof(data));
    add(l, DISK_OP_WRITE, 0, 4096, 4096, data);
    add(l, DISK_OP_ZERO, 0, 16384, 8192, NULL);
    add(l, DISK_OP_FLUSH, 0, 0, 0, NULL);
    add(l, DISK_OP_DISCARD, 0, 32768, 4096, NULL);
    add(l, DISK_OP_FLUSH, 0, 0, 0, NULL);
    add(l, DISK_OP_WRITE, 0, 0, 512, data);
    add(l, DISK_OP_FLUSH, 0, 0, 0, NULL);
    assert_int_equal(dmlog_write(l, 0, S, out, &err), 0);
    assert_int_equal(disk_size(out), 33 * S);
    disk_read(out, 0, got, 28);
    assert_memory_equal(got, super, 28);
    disk_read(out, 1 * S, got, 32);
    assert_memory_equal(got, first, 32);
    disk_read(out, 2 * S, got, 4096);
    assert_memory_equal(got, data, 4096);
    disk_read(out, 28 * S, got, 32);
    assert_memory_equal(got, discard, 32);
    disk_read(out, 32 * S, got, 32);
    assert_memory_equal(got, flush, 32);
    disk_free(out);
    disk_log_free(l);
    disk_pool_free(p);
}

static void test_round_trip(void **state)
{
    struct disk_pool *p = disk_pool_new(0);
    struct disk_log *l = disk_log_new(p), *m = disk_log_new(p);
    struct disk *out = disk_new(p, 0);
    struct error *err = NULL;
    uint8_t data[8192];

    memset(data, 7, sizeof(data));
    size_t w = disk_log_begin(
        l, &(struct disk_op){.kind = DISK_OP_WRITE, .label = LABEL_NONE, .bytes = 8192}, data);
    add(l, DISK_OP_WRITE, DISK_OP_FUA, 512, 1024, data);
    disk_log_end(l, w);
    disk_log_begin(l, &(struct disk_op){.kind = DISK_OP_WRITE, .label = LABEL_NONE, .bytes = 512},
                   data);
    disk_log_mark(l, "here");
    add(l, DISK_OP_DISCARD, 0, 0, 1LL << 40, NULL);
    add(l, DISK_OP_TRUNCATE, 0, 1 << 20, 0, NULL);
    add(l, DISK_OP_FLUSH, 0, 0, 0, NULL);
    assert_int_equal(dmlog_write(l, 0, S, out, &err), 0);
    assert_int_equal(dmlog_read(out, m, 2, &err), 0);
    assert_int_equal(disk_log_len(m), 5);
    const struct disk_op *op = disk_log_op(m, 0); /* in order of completion */
    assert_int_equal(op->flags, DISK_OP_FUA);
    assert_int_equal(op->offset, 512);
    assert_int_equal(op->disk, 2);
    op = disk_log_op(m, 1);
    assert_int_equal(op->bytes, 8192);
    op = disk_log_op(m, 2);
    assert_int_equal(op->kind, DISK_OP_MARK);
    assert_string_equal(op->tag, "here");
    assert_int_equal(disk_log_op(m, 3)->kind, DISK_OP_DISCARD);
    assert_int_equal(disk_log_op(m, 4)->kind, DISK_OP_FLUSH);
    disk_log_free(l);
    disk_log_free(m);
    disk_free(out);
    disk_pool_free(p);
}

static void test_not_expressible(void **state)
{
    struct disk_pool *p = disk_pool_new(0);
    struct disk_log *l = disk_log_new(p);
    struct disk *out = disk_new(p, 0);
    struct error *err = NULL;

    add(l, DISK_OP_WRITE, 0, 3, 1, "x");
    assert_int_equal(dmlog_write(l, 0, S, out, &err), -ENOTSUP);
    error_clear(&err);
    disk_log_reset(l);
    add(l, DISK_OP_ZERO, 0, 0, 4096, NULL);
    add(l, DISK_OP_TRUNCATE, 0, 512, 0, NULL);
    assert_int_equal(dmlog_write(l, 0, S, out, &err), -ENOTSUP);
    error_clear(&err);
    assert_int_equal(dmlog_write(l, 0, 500, out, &err), -EINVAL);
    error_clear(&err);
    disk_log_free(l);
    disk_free(out);
    disk_pool_free(p);
}

/* A log of `size` bytes with the given superblock and first entry. */
static int read_log(int64_t size, const struct dmlog_super *s, const struct dmlog_entry *e)
{
    struct disk_pool *p = disk_pool_new(0);
    struct disk_log *l = disk_log_new(p);
    struct disk *in = disk_new(p, 0);
    struct error *err = NULL;
    uint8_t buf[32];

    dmlog_super_store(buf, s);
    disk_write(in, 0, buf, 28);
    dmlog_entry_store(buf, e);
    disk_write(in, S, buf, 32);
    disk_truncate(in, size);
    int ret = dmlog_read(in, l, 0, &err);
    assert_int_equal(ret < 0, err != NULL);
    error_free(err);
    disk_free(in);
    disk_log_free(l);
    disk_pool_free(p);
    return ret;
}

static void test_hostile_logs(void **state)
{
    const struct dmlog_super good = {DMLOG_MAGIC, 1, 1, S};
    struct dmlog_super s;
    struct dmlog_entry e = {0, 1, 0, 0};

    assert_int_equal(read_log(3 * S, &good, &e), 0);
    assert_int_equal(read_log(2 * S, &good, &e), -EINVAL); /* data cut off */
    assert_int_equal(read_log(1 * S, &good, &e), -EINVAL);
    s = good;
    s.magic++;
    assert_int_equal(read_log(3 * S, &s, &e), -EINVAL);
    s = good;
    s.version = 2;
    assert_int_equal(read_log(3 * S, &s, &e), -EINVAL);
    s = good;
    s.entries = 2;
    assert_int_equal(read_log(3 * S, &s, &e), -EINVAL);
    s = good;
    s.entries = UINT64_MAX;
    assert_int_equal(read_log(3 * S, &s, &e), -EFBIG);
    assert_int_equal(read_log(1LL << 50, &good, &e), -EFBIG);
    static const uint32_t sizes[] = {0, 1, 16, 48, 500, 1u << 24, UINT32_MAX};
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        s = good;
        s.sector_size = sizes[i];
        assert_int_equal(read_log(3 * S, &s, &e), -EINVAL);
    }
    static const struct dmlog_entry bad[] = {
        {0, UINT64_MAX, 0, 0},      {0, UINT64_MAX - 1, 0, 0},         {UINT64_MAX, 1, 0, 0},
        {1ULL << 60, 1, 0, 0},      {0, 1ULL << 60, DMLOG_DISCARD, 0}, {0, 1, 0x20, 0},
        {0, 0, DMLOG_MARK, S - 31}, {0, 0, DMLOG_MARK, UINT64_MAX},
    };
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        assert_int_equal(read_log(3 * S, &good, &bad[i]), -EINVAL);
    }
    e = (struct dmlog_entry){0, 0, DMLOG_MARK, S - 32};
    assert_int_equal(read_log(3 * S, &good, &e), 0);
    e = (struct dmlog_entry){0, 1, DMLOG_METADATA | DMLOG_FUA, 0};
    assert_int_equal(read_log(3 * S, &good, &e), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_payloads_of_any_alignment),
        cmocka_unit_test(test_tags),
        cmocka_unit_test(test_layout),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_not_expressible),
        cmocka_unit_test(test_hostile_logs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
