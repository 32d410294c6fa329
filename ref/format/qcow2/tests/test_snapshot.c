/*
 * Internal snapshots of qcow2: random programs of writes, zeroes, discards, snapshots, applying and
 * deleting, against shadows of the disk and of every snapshot; check and the spec checker find
 * nothing on the way.  VM state, sizes, refusals, and looking at a snapshot read-only.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include "ref/base/rng.h"
#include "ref/block/image_info.h"
#include "ref/block/snapshot.h"
#include "ref/format/qcow2/tests/fixture.h"

#define SIZE (256 * KiB)
#define UNIT 2048
enum { SNAPSHOTS = 5 };

static const char *const geometries[] = {
    "size=256k,cluster_size=4k",
    "size=256k,cluster_size=512",
    "size=256k,cluster_size=16k,extended_l2=on",
    "size=256k,cluster_size=4k,compat=v2",
    "size=256k,cluster_size=4k,refcount_bits=64",
    "size=256k,cluster_size=4k,lazy_refcounts=on",
    "size=256k,cluster_size=1k,refcount_bits=4",
};

struct model {
    uint8_t disk[SIZE], snap[SNAPSHOTS][SIZE];
    bool used[SNAPSHOTS];
};

static void compare(struct blk *b, const uint8_t *shadow)
{
    uint8_t *buf = mem_alloc(SIZE);
    assert_int_equal(blk_pread(b, 0, buf, SIZE), 0);
    assert_memory_equal(buf, shadow, SIZE);
    mem_free(buf);
}

static void clean(struct qt *t, struct blk *b)
{
    struct check_result res;
    assert_int_equal(blk_flush(b, NULL), 0);
    assert_int_equal(node_check(blk_node(b), &res, 0), 0);
    if (res.corruptions || res.leaks || res.check_errors) {
        fail_msg("%s", t->r.out.s);
    }
}

static void guest_step(struct blk *b, struct rng *g, struct model *m)
{
    int64_t n = (int64_t)(1 + rng_below(g, 12)) * UNIT,
            at = (int64_t)rng_below(g, (uint64_t)(SIZE - n) / UNIT) * UNIT;
    uint8_t v = (uint8_t)rng_below(g, 3) ? (uint8_t)(1 + rng_below(g, 255)) : 0;
    if (v) {
        assert_int_equal(rig_fill(b, at, n, v), 0);
    } else {
        assert_int_equal(blk_pwrite_zeroes(b, at, n, rng_below(g, 2) ? REQ_MAY_UNMAP : 0, NULL), 0);
    }
    memset(m->disk + at, v, (size_t)n);
}

static void snapshot_step(struct blk *b, struct rng *g, struct model *m)
{
    struct node *n = blk_node(b);
    unsigned i = (unsigned)rng_below(g, SNAPSHOTS);
    char name[8];
    snprintf(name, sizeof(name), "s%u", i);
    if (!m->used[i]) {
        struct snapshot_info sn = {.date_sec = 1, .icount = 7};
        snprintf(sn.name, sizeof(sn.name), "%s", name);
        assert_int_equal(snapshot_create(n, &sn), 0);
        memcpy(m->snap[i], m->disk, SIZE);
        m->used[i] = true;
    } else if (rng_below(g, 2)) {
        assert_int_equal(snapshot_goto(n, name, NULL), 0);
        memcpy(m->disk, m->snap[i], SIZE);
    } else {
        assert_int_equal(snapshot_delete(n, NULL, name, NULL), 0);
        m->used[i] = false;
    }
}

static void program(struct qt *t)
{
    struct rng g;
    struct model *m = mem_zalloc(sizeof(*m));
    rng_seed(&g, t->seed ? t->seed : 99);
    qt_create(t, 0, t->arg);
    struct blk *b = qt_open(t, 0, "l2-cache-entry-size=512");
    for (int i = 0; i < 60; i++) {
        if (rng_below(&g, 4)) {
            guest_step(b, &g, m);
        } else {
            snapshot_step(b, &g, m);
            compare(b, m->disk);
        }
        if (i % 20 == 19) {
            clean(t, b);
        }
    }
    for (unsigned i = 0; i < SNAPSHOTS; i++) {
        char name[8];
        snprintf(name, sizeof(name), "s%u", i);
        if (m->used[i]) {
            assert_int_equal(snapshot_goto(blk_node(b), name, NULL), 0);
            compare(b, m->snap[i]);
            assert_int_equal(snapshot_delete(blk_node(b), NULL, name, NULL), 0);
        }
    }
    clean(t, b);
    blk_unref(b);
    qt_judge(t->r.disk[0], false, t->arg);
    mem_free(m);
}

static void test_programs(void **state)
{
    for (size_t i = 0; i < ARRAY_SIZE(geometries); i++) {
        for (uint64_t seed = 0; seed < 4; seed++) {
            qt_run(seed % 2 ? &profile_reference : &profile_optimized, seed, program,
                   (void *)geometries[i]);
        }
    }
}

/* Applying brings the size back that the disk had. */
static void sizes(struct qt *t)
{
    qt_create(t, 0, "size=1M,cluster_size=4k");
    struct blk *b = qt_open(t, 0, NULL);
    struct snapshot_info sn = {.name = "small"}, big = {.name = "big"};
    assert_int_equal(rig_fill(b, 0, 1 * MiB, 1), 0);
    assert_int_equal(snapshot_create(blk_node(b), &sn), 0);
    assert_string_equal(sn.id, "1");
    assert_int_equal(blk_truncate(b, 9 * MiB, false, PREALLOC_OFF, 0, NULL), 0);
    assert_int_equal(rig_fill(b, 8 * MiB, 1 * MiB, 2), 0);
    assert_int_equal(snapshot_create(blk_node(b), &big), 0);
    assert_string_equal(big.id, "2");
    assert_int_equal(snapshot_goto(blk_node(b), "small", NULL), 0);
    assert_int_equal(blk_length(b), 1 * MiB);
    rig_check(b, 0, 1 * MiB, 1);
    assert_int_equal(snapshot_goto(blk_node(b), "2", NULL), 0);
    assert_int_equal(blk_length(b), 9 * MiB);
    rig_check(b, 8 * MiB, 1 * MiB, 2);
    assert_int_equal(snapshot_goto(blk_node(b), "none", NULL), -ENOENT);
    struct error *err = NULL;
    assert_int_equal(snapshot_delete(blk_node(b), NULL, "none", &err), -ENOENT);
    rig_expect(&err, "Can't find the snapshot");
    clean(t, b);
    blk_unref(b);
}

static void test_sizes(void **state)
{
    qt_run(&profile_reference, 0, sizes, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_programs),
                                       cmocka_unit_test(test_sizes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
