/*
 * Requests that overlap: read-modify-write, serialising and copy-on-read under many schedules,
 * against a shadow.
 */
#include "ref/block/tests/io_fixture.h"

#define SEEDS 100

/* ---- unaligned writers that share blocks ---- */

struct storm {
    struct mem_world m;
    uint32_t align;
    struct child *c;
    struct memdisk *d;
    uint8_t shadow[8 * K];
    int left, next;
};

/* Writer i owns bytes [i * 1000, (i + 1) * 1000): they share 512- and 4096-byte blocks, never a
 * byte. */
static void writer_main(void *arg)
{
    struct storm *s = arg;
    struct rng rng;
    uint8_t buf[1000];
    int64_t base = s->next++ * 1000;
    rng_seed(&rng, (uint64_t)base);
    for (int i = 0; i < 12; i++) {
        int64_t at = (int64_t)rng_below(&rng, 999),
                len = 1 + (int64_t)rng_below(&rng, (uint64_t)(1000 - at));
        uint64_t what = rng_below(&rng, 4);
        if (what == 0) {
            memset(s->shadow + base + at, 0, (size_t)len);
            assert_int_equal(child_pwrite_zeroes(s->c, base + at, len, 0, LABEL_NONE, NULL), 0);
        } else if (what == 1) {
            assert_int_equal(child_pread(s->c, base, buf, 1000, LABEL_NONE, NULL), 0);
            assert_memory_equal(buf, s->shadow + base, 1000);
        } else {
            memset(buf, (int)rng_below(&rng, 256), sizeof(buf));
            memcpy(s->shadow + base + at, buf, (size_t)len);
            assert_int_equal(child_pwrite(s->c, base + at, buf, len, LABEL_NONE, NULL), 0);
        }
    }
    s->left--;
}

static void storm_main(void *arg)
{
    struct storm *s = arg;
    struct node *n = memdisk_new(s->m.w, "disk", 8 * K);
    s->d = memdisk_of(n);
    s->d->limits.request_alignment = s->align;
    mem_refresh_limits(n);
    s->d->async = true;
    s->c = mem_root(n);
    s->left = 8;
    for (int i = 0; i < 8; i++) {
        co_spawn(s->m.w, "writer", writer_main, s);
    }
    while (s->left) {
        co_yield (s->m.w);
    }
    assert_int_equal(n->serialising, 0);
    assert_int_equal(n->in_flight, 0);
    assert_true(list_empty(&n->tracked));
    assert_memory_equal(s->d->data, s->shadow, sizeof(s->shadow));
    mem_root_drop(s->c);
}

static void test_rmw_storm(void **state)
{
    static const uint32_t aligns[] = {512, 4096};
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct storm *s = mem_zalloc(sizeof(*s));
        s->align = aligns[seed % 2];
        mem_world_init(&s->m, seed);
        mem_world_exec(&s->m, storm_main, s);
        mem_world_destroy(&s->m);
        mem_free(s);
    }
}

/* ---- copy-on-read beside writes ---- */

struct cor_storm {
    struct mem_world m;
    struct child *c;
    struct node *top;
    uint8_t shadow[64 * K];
    int left, next;
};

/* Each writes, or reads with copying, its own stretches of 1000 bytes; clusters of 4096 are shared.
 */
static void cor_co(void *arg)
{
    struct cor_storm *s = arg;
    int me = s->next++;
    struct rng rng;
    uint8_t *buf = mem_zalloc(64 * K);
    rng_seed(&rng, (uint64_t)me + 1);
    for (int i = 0; i < 6; i++) {
        int64_t base = (int64_t)me * 1000 + (int64_t)rng_below(&rng, 8) * 8000;
        struct iov q;
        int ret;
        iov_single(&q, buf, 1000);
        if (rng_below(&rng, 2)) {
            memset(buf, (int)rng_below(&rng, 255) + 1, 1000);
            memcpy(s->shadow + base, buf, 1000);
            ret = child_pwritev(s->c, base, 1000, &q, 0, 0, LABEL_NONE, NULL);
        } else {
            ret = child_preadv(s->c, base, 1000, &q, 0, REQ_COPY_ON_READ, LABEL_NONE, NULL);
            assert_memory_equal(buf, s->shadow + base, 1000);
        }
        assert_int_equal(ret, 0);
    }
    mem_free(buf);
    s->left--;
}

static void cor_storm_main(void *arg)
{
    struct cor_storm *s = arg;
    struct node *base = memdisk_new(s->m.w, "base", 64 * K),
                *file = memdisk_new(s->m.w, "file", 64 * K);
    memdisk_of(file)->limits.request_alignment = 512;
    mem_refresh_limits(file);
    for (int i = 0; i < 64 * K; i++) {
        memdisk_of(base)->data[i] = s->shadow[i] = (uint8_t)(i / 999 + 3);
    }
    s->top = memcow_new(s->m.w, "top", 4096, file, base);
    /* memcow does not lock its clusters: partial writes are serialised above it. */
    s->top->limits.request_alignment = 4096;
    s->c = mem_root(s->top);
    memdisk_of(base)->async = memdisk_of(file)->async = true;
    s->left = 8;
    for (int i = 0; i < 8; i++) {
        co_spawn(s->m.w, "co", cor_co, s);
    }
    while (s->left) {
        co_yield (s->m.w);
    }
    uint8_t *all = mem_zalloc(64 * K);
    assert_int_equal(child_pread(s->c, 0, all, 64 * K, LABEL_NONE, NULL), 0);
    assert_memory_equal(all, s->shadow, 64 * K);
    mem_free(all);
    mem_root_drop(s->c);
}

static void test_cor_storm(void **state)
{
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct cor_storm *s = mem_zalloc(sizeof(*s));
        mem_world_init(&s->m, seed);
        mem_world_exec(&s->m, cor_storm_main, s);
        mem_world_destroy(&s->m);
        mem_free(s);
    }
}

/* ---- who waits for whom ---- */

static void read_block_0(void *arg)
{
    struct fixture *f = arg;
    uint8_t b[512];
    assert_int_equal(child_pread(f->c, 0, b, 512, LABEL_NONE, NULL), 0);
    assert_int_equal(b[100], 0x77);
    strbuf_puts(&f->log, " read-done");
}

static void write_unaligned(void *arg)
{
    struct fixture *f = arg;
    assert_int_equal(child_pwrite(f->c, 100, "\x77", 1, LABEL_NONE, NULL), 0);
    strbuf_puts(&f->log, " rmw-done");
}

static void write_block_1(void *arg)
{
    struct fixture *f = arg;
    uint8_t b[512] = {0};
    assert_int_equal(child_pwrite(f->c, 512, b, 512, LABEL_NONE, NULL), 0);
    strbuf_puts(&f->log, " other-done");
}

static void turns(struct fixture *f, int n)
{
    while (n--) {
        co_yield (f->m.w);
    }
}

/* A read of a block that is being modified waits; a write beside it does not. */
TEST(test_overlap_waits)
{
    struct fixture *f = arg;
    with_disk(f);
    align(f, 512);
    f->d->async = true;
    f->d->stopped = true;
    co_spawn(f->m.w, "rmw", write_unaligned, f);
    turns(f, 5);
    co_spawn(f->m.w, "read", read_block_0, f);
    turns(f, 5);
    assert_int_equal(f->n->serialising, 1);
    expect_log(f, "R 0+512 W 0+512");
    f->d->stopped = false;
    co_spawn(f->m.w, "other", write_block_1, f);
    turns(f, 5);
    expect_log(f, "W 512+512 other-done");
    waitq_wake_all(f->m.w, &f->d->gate);
    turns(f, 10);
    expect_log(f, " rmw-done R 0+512 read-done");
    f->d->async = false;
    mem_root_drop(f->c);
}

static void slow_write(void *arg)
{
    struct fixture *f = arg;
    uint8_t b[512] = {0};
    assert_int_equal(child_pwrite(f->c, 0, b, 512, LABEL_NONE, NULL), 0);
}

TEST(test_no_wait)
{
    struct fixture *f = arg;
    with_disk(f);
    f->d->stopped = true;
    co_spawn(f->m.w, "slow", slow_write, f);
    turns(f, 2);
    assert_int_equal(wr(f, 0, 512, 1, REQ_SERIALISING | REQ_NO_WAIT), -EBUSY);
    assert_int_equal(
        child_pwrite_zeroes(f->c, 256, 512, REQ_SERIALISING | REQ_NO_WAIT, LABEL_NONE, NULL),
        -EBUSY);
    f->d->stopped = false;
    assert_int_equal(wr(f, 512, 512, 1, REQ_SERIALISING | REQ_NO_WAIT), 0);
    assert_int_equal(f->n->serialising, 0);
    waitq_wake_all(f->m.w, &f->d->gate);
    turns(f, 3);
    mem_root_drop(f->c);
}

static void serialising_write(void *arg)
{
    struct fixture *f = arg;
    uint8_t b[1024] = {0};
    struct iov q;
    iov_single(&q, b, sizeof(b));
    assert_int_equal(child_pwritev(f->c, 0, 1024, &q, 0, REQ_SERIALISING, LABEL_NONE, NULL), 0);
}

/* Serialising requests that arrive while one runs, each overlapping all: nobody waits in a circle.
 */
TEST(test_no_deadlock)
{
    struct fixture *f = arg;
    with_disk(f);
    align(f, 512);
    f->d->async = true;
    for (int i = 0; i < 5; i++) {
        co_spawn(f->m.w, "s", serialising_write, f);
        co_spawn(f->m.w, "u", write_unaligned, f);
    }
    turns(f, 200);
    assert_int_equal(f->n->in_flight, 0);
    f->d->async = false;
    mem_root_drop(f->c);
}

static void write_blocks_0_1(void *arg)
{
    struct fixture *f = arg;
    uint8_t b[512] = {0};
    assert_int_equal(child_pwrite(f->c, 256, b, 512, LABEL_NONE, NULL), 0);
    strbuf_puts(&f->log, " both-done");
}

static void write_in_block_1(void *arg)
{
    struct fixture *f = arg;
    assert_int_equal(child_pwrite(f->c, 1000, "x", 1, LABEL_NONE, NULL), 0);
    strbuf_puts(&f->log, " second-done");
}

/* Who waits holds up nobody else (upstream's test 077 relies on it). */
TEST(test_waiting_is_passed_by)
{
    struct fixture *f = arg;
    with_disk(f);
    align(f, 512);
    f->d->stopped = true;
    co_spawn(f->m.w, "first", write_unaligned, f);
    turns(f, 2);
    co_spawn(f->m.w, "both", write_blocks_0_1, f);
    turns(f, 2);
    f->d->stopped = false;
    co_spawn(f->m.w, "second", write_in_block_1, f);
    turns(f, 5);
    expect_log(f, "R 0+512 W 0+512 R 512+512 W 512+512 second-done");
    waitq_wake_all(f->m.w, &f->d->gate);
    turns(f, 10);
    expect_log(f, " rmw-done R 0+1024 W 0+1024 both-done");
    mem_root_drop(f->c);
}

TEST(test_tracked_self)
{
    struct fixture *f = arg;
    with_disk(f);
    assert_null(tracked_self(f->n));
    f->d->stopped = true;
    co_spawn(f->m.w, "slow", slow_write, f);
    turns(f, 2);
    assert_null(tracked_self(f->n));
    assert_false(list_empty(&f->n->tracked));
    f->d->stopped = false;
    waitq_wake_all(f->m.w, &f->d->gate);
    turns(f, 3);
    mem_root_drop(f->c);
}

/* A driver finds out late that it touches more (writes that extend a file): it waits then. */
TEST(test_late_widening)
{
    struct fixture *f = arg;
    with_disk(f);
    f->d->stopped = true;
    co_spawn(f->m.w, "slow", slow_write, f);
    turns(f, 2);
    f->d->widen = 4096;
    f->d->stopped = false;
    co_spawn(f->m.w, "other", write_block_1, f);
    turns(f, 5);
    expect_log(f, "W 0+512 W 512+512");
    waitq_wake_all(f->m.w, &f->d->gate);
    turns(f, 5);
    expect_log(f, " other-done");
    assert_int_equal(f->n->serialising, 0);
    mem_root_drop(f->c);
}

static void grow_it(void *arg)
{
    struct fixture *f = arg;
    assert_int_equal(child_truncate(f->c, 80 * K, false, PREALLOC_OFF, 0, NULL), 0);
    strbuf_puts(&f->log, " grown");
}

static void write_behind_end(void *arg)
{
    struct fixture *f = arg;
    uint8_t b[512] = {0};
    assert_int_equal(child_pwrite(f->c, 72 * K, b, 512, LABEL_NONE, NULL), 0);
    strbuf_puts(&f->log, " written");
}

/* Growth waits for writes to the part that it adds. */
TEST(test_truncate_serialises)
{
    struct fixture *f = arg;
    with_disk(f);
    f->d->stopped = true;
    co_spawn(f->m.w, "w", write_behind_end, f);
    turns(f, 2);
    co_spawn(f->m.w, "t", grow_it, f);
    turns(f, 5);
    expect_log(f, "W 73728+512");
    f->d->stopped = false;
    waitq_wake_all(f->m.w, &f->d->gate);
    turns(f, 5);
    expect_log(f, " written grown");
    mem_root_drop(f->c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rmw_storm),
        cmocka_unit_test(test_cor_storm),
        T(test_overlap_waits),
        T(test_no_wait),
        T(test_no_deadlock),
        T(test_waiting_is_passed_by),
        T(test_tracked_self),
        T(test_late_widening),
        T(test_truncate_serialises),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
