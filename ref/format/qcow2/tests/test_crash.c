/*
 * Power cuts: every state that a cut may leave of a short program is judged by the spec checker and
 * read as a guest.
 *
 * Each sector has the set of values it may lawfully have: what was flushed last and what was
 * written since.  A sector that the program never wrote, or that shares a cluster with a write,
 * must keep its value.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include "ref/format/qcow2/tests/fixture.h"

#define SECTORS   192 /* of the guest's disk */
#define SIZE      (SECTORS * 512)
#define MAX_MARKS 40

/* values[s][v]: sector s may read as v; at each mark (flush) of the program. */
struct lawful {
    uint64_t may[SECTORS][4];
};

struct story {
    const char *create, *open;
    bool backing, grow;              /* grow: the disk grows with its space reserved meanwhile */
    struct lawful at[MAX_MARKS + 1]; /* lawful between mark i - 1 and the end of mark i */
    unsigned marks;
    uint8_t now[SECTORS];
};

static void allow(struct lawful *l, unsigned sector, uint8_t value)
{
    l->may[sector][value / 64] |= UINT64_C(1) << value % 64;
}

static void settle(struct story *y)
{
    y->marks++;
    assert_true(y->marks <= MAX_MARKS);
    memset(&y->at[y->marks], 0, sizeof(y->at[0]));
    for (unsigned s = 0; s < SECTORS; s++) {
        allow(&y->at[y->marks], s, y->now[s]);
    }
}

static void tell(struct qt *t, struct story *y, struct blk *b, struct rng *rng)
{
    struct qcow2 *s = qcow2_state(blk_node(b));
    unsigned n = 1 + (unsigned)rng_below(rng, 12), at = (unsigned)rng_below(rng, SECTORS - n + 1);
    uint8_t value = (uint8_t)(1 + rng_below(rng, 255));
    /* Once the disk has grown, a discard up to its old end covers no whole cluster. */
    uint64_t kind = rng_below(rng, 5);
    switch (y->grow ? MAX(kind, 1) : kind) {
    case 0: {
        unsigned per = (unsigned)(s->cluster_size / 512);
        at = at / per * per;
        n = MIN(per, SECTORS - at);
        assert_int_equal(blk_discard(b, at * 512, n * 512, NULL), 0);
        value = 0;
        break;
    }
    case 1:
        assert_int_equal(blk_pwrite_zeroes(b, at * 512, n * 512, REQ_MAY_UNMAP, NULL), 0);
        value = 0;
        break;
    default:
        assert_int_equal(rig_fill(b, at * 512, n * 512, value), 0);
    }
    for (unsigned i = at; i < at + n; i++) {
        /* A new cluster may show zeroes where its data did not arrive, or what it had for somebody
         * else. */
        allow(&y->at[y->marks], i, value);
        allow(&y->at[y->marks], i, 0);
        y->now[i] = value;
    }
}

static void check_state(struct qt *t, struct story *y, const struct crash_state *st, const char *id)
{
    qt_judge(st->set->disk[0], true, id);
    struct disk *copy = disk_clone(st->set->disk[0]);
    struct sim_disk d = {.disk = copy};
    sim_register(t->r.w, "crashed", &d);
    struct blk *b = rig_open(&t->r, "sim:crashed", "driver=qcow2", 0);
    uint8_t *buf = mem_alloc(SIZE);
    if (blk_pread(b, 0, buf, SIZE) != 0) {
        fail_msg("%s %s: cannot be read: %s", y->create, id, t->r.out.s);
    }
    for (unsigned s = 0; s < SECTORS; s++) {
        uint8_t v = buf[s * 512];
        const struct lawful *l = &y->at[st->marks];
        for (unsigned i = 1; i < 512; i++) {
            if (buf[s * 512 + i] != v) {
                fail_msg("%s: sector %u is torn", id, s);
            }
        }
        if (!(l->may[s][v / 64] >> v % 64 & 1)) {
            fail_msg("%s %s: sector %u reads %02x after mark %d", y->create, id, s, v,
                     (int)st->marks);
        }
    }
    mem_free(buf);
    blk_unref(b);
    sim_unregister(t->r.w, "crashed");
    disk_free(copy);
}

static void judge_all(struct qt *t, struct story *y, const struct disk_set *base)
{
    struct crash_bounds bounds = crash_bounds_default;
    bounds.exhaustive = 5;
    bounds.drops = 1;
    bounds.samples = 12;
    bounds.max_states = 600;
    bounds.seed = t->seed + 1;
    struct crash_iter *it = crash_iter_new(base, t->r.log, &bounds);
    struct crash_state st;
    while (crash_iter_next(it, &st)) {
        struct strbuf id = STRBUF_INIT;
        crash_iter_id(it, &id);
        check_state(t, y, &st, id.s);
        strbuf_free(&id);
    }
    assert_true(crash_iter_stats(it).distinct > 10);
    crash_iter_free(it);
}

static void cut(struct qt *t)
{
    struct story *y = t->arg;
    struct rng rng;
    struct disk_set base = {.n = 1};
    rng_seed(&rng, t->seed + 1000);
    char options[200];
    memset(y->now, y->backing ? 0x77 : 0, sizeof(y->now));
    if (y->backing) {
        qt_create(t, 1, "size=96k");
        struct blk *under = qt_open(t, 1, NULL);
        assert_int_equal(rig_fill(under, 0, SIZE, 0x77), 0);
        blk_unref(under);
    }
    snprintf(options, sizeof(options), "%s%s", y->create,
             y->backing ? ",backing_file=sim:d1,backing_fmt=qcow2" : "");
    qt_create(t, 0, options);
    struct blk *b = qt_open(t, 0, y->open);
    y->marks = 0;
    memset(y->at, 0, sizeof(y->at));
    for (int i = 0; i < (t->seed / 2 % 2 ? 6 : 0); i++) {
        tell(t, y, b, &rng);
    }
    assert_int_equal(blk_flush(b, NULL), 0);
    /* The story that is cut begins with a settled image. */
    disk_log_free(t->r.log);
    t->r.log = disk_log_new(t->r.pool);
    sim_find(t->r.w, "d0")->log = t->r.log;
    base.disk[0] = disk_clone(t->r.disk[0]);
    y->marks = 0;
    memset(&y->at[0], 0, sizeof(y->at[0]));
    for (unsigned s = 0; s < SECTORS; s++) {
        allow(&y->at[0], s, y->now[s]);
    }
    for (int i = 0; i < 14; i++) {
        tell(t, y, b, &rng);
        if (y->grow && i % 5 == 1) {
            int64_t size = SIZE + (i + 1) * 20 * 512;
            assert_int_equal(blk_truncate(b, size, true, PREALLOC_FALLOC, 0, NULL), 0);
        }
        if (rng_below(&rng, 4) == 0) {
            assert_int_equal(blk_flush(b, NULL), 0);
            disk_log_mark(t->r.log, "flushed");
            settle(y);
        }
    }
    blk_unref(b);
    judge_all(t, y, &base);
    disk_free(base.disk[0]);
}

static const struct story stories[] = {
    {.create = "size=96k,cluster_size=4k"},
    {.create = "size=96k,cluster_size=512", .open = "discard=unmap,pass-discard-other=on"},
    {.create = "size=96k,cluster_size=2k,refcount_bits=1"},
    {.create = "size=96k,cluster_size=16k,extended_l2=on"},
    {.create = "size=96k,cluster_size=4k,compat=v2"},
    {.create = "size=96k,cluster_size=4k", .backing = true},
    {.create = "size=96k,cluster_size=64k,extended_l2=on", .backing = true},
    {.create = "size=96k,cluster_size=4k,lazy_refcounts=on", .backing = true},
    {.create = "size=96k,cluster_size=64k", .grow = true},
    {.create = "size=96k,cluster_size=512", .grow = true},
    {.create = "size=96k,cluster_size=16k,extended_l2=on", .backing = true, .grow = true},
};

static void test_cuts(void **state)
{
    struct story *y = mem_alloc(sizeof(*y));
    for (size_t i = 0; i < ARRAY_SIZE(stories); i++) {
        for (uint64_t seed = 0; seed < 8; seed++) {
            *y = stories[i];
            qt_run(seed % 2 ? &profile_optimized : &profile_reference, seed, cut, y);
        }
    }
    mem_free(y);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_cuts)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
