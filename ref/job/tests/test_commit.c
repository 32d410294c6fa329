/*
 * Commit jobs on qcow2 chains: what base reads afterwards and what the top still holds, for bases
 * that are smaller, bigger, in the middle or read-only; zeroes; guests; refusals and messages.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include "ref/format/qcow2/tests/fixture.h"
#include "ref/engine/clock.h"
#include "ref/job/commit.h"

#define CLUSTER 4096

static const char *const sims[] = {"sim:d0", "sim:d1", "sim:d2"};

static uint8_t value(int layer, int cluster)
{
    return layer ? (uint8_t)(layer * 40 + cluster) : 0;
}

/* An image of as many clusters as the text has: '.' nothing, 'd' data, 'z' zeroes. */
static void make(struct qt *t, int i, int below, const char *clusters)
{
    char *options = below < 0 ? str_fmt("cluster_size=4k,size=%d", (int)strlen(clusters) * CLUSTER)
                              : str_fmt("cluster_size=4k,size=%d,backing_file=%s,backing_fmt=qcow2",
                                        (int)strlen(clusters) * CLUSTER, sims[below]);
    qt_create(t, i, options);
    mem_free(options);
    struct blk *b = qt_open(t, i, NULL);
    for (int c = 0; clusters[c]; c++) {
        int64_t at = (int64_t)c * CLUSTER;
        if (clusters[c] == 'd') {
            assert_int_equal(rig_fill(b, at, CLUSTER, value(i + 1, c)), 0);
        } else if (clusters[c] == 'z') {
            assert_int_equal(blk_pwrite_zeroes(b, at, CLUSTER, 0, NULL), 0);
        }
    }
    blk_unref(b);
}

/* The image's own view: a digit is the layer whose data a cluster shows (disk number + 1). */
static void expect(struct qt *t, int i, const char *layers)
{
    struct blk *b = rig_open(&t->r, sims[i], "driver=qcow2", 0);
    assert_int_equal(blk_length(b), (int64_t)strlen(layers) * CLUSTER);
    for (int c = 0; layers[c]; c++) {
        rig_check(b, (int64_t)c * CLUSTER, CLUSTER, value(layers[c] - '0', c));
    }
    blk_unref(b);
    qt_judge(t->r.disk[i], false, sims[i]);
}

/* Which clusters the image holds itself. */
static void expect_allocated(struct qt *t, int i, const char *map)
{
    struct blk *b = rig_open(&t->r, sims[i], "driver=qcow2", 0);
    for (int c = 0; map[c]; c++) {
        int64_t n;
        int held = node_is_allocated(blk_node(b), (int64_t)c * CLUSTER, CLUSTER, &n);
        assert_int_equal(held, map[c] != '.');
    }
    blk_unref(b);
}

/* Opens the top, commits it into `depth` layers below, closes it. */
static int commit(struct qt *t, int top, int depth, const struct commit_options *o,
                  struct error **err)
{
    struct blk *b = qt_open(t, top, NULL);
    struct node *overlay = blk_node(b);
    struct commit c;
    while (--depth > 0) {
        overlay = node_backing_chain_next(overlay);
    }
    struct job *j = commit_job_new(&c, NULL, blk_node(b), commit_target(overlay), o, err);
    int ret = j ? job_run(j, err) : -1;
    blk_unref(b);
    return ret;
}

static const struct commit_options keep = {.after = COMMIT_KEEP};
static const struct commit_options empty = {.after = COMMIT_EMPTY};

static void same_size(struct qt *t)
{
    make(t, 1, -1, "dddd....");
    make(t, 0, 1, ".dz..dz.");
    assert_int_equal(commit(t, 0, 1, &keep, NULL), 0);
    expect(t, 1, "21020100");
    expect(t, 0, "21020100");
    expect_allocated(t, 0, ".dz..dz.");
    assert_int_equal(commit(t, 0, 1, &empty, NULL), 0);
    expect(t, 1, "21020100");
    expect(t, 0, "21020100");
    expect_allocated(t, 0, "........");
}

/* Base grows; what the top has behind base's old end and nowhere wrote is zero. */
static void small_base(struct qt *t)
{
    make(t, 1, -1, "ddd");
    make(t, 0, 1, ".d...dz.");
    assert_int_equal(commit(t, 0, 1, &empty, NULL), 0);
    expect(t, 1, "21200100");
    expect(t, 0, "21200100");
}

/* Base keeps its length and what lies behind the top's end. */
static void big_base(struct qt *t)
{
    make(t, 1, -1, "dddddddd");
    make(t, 0, 1, "dz..");
    assert_int_equal(commit(t, 0, 1, &empty, NULL), 0);
    expect(t, 1, "10222222");
    expect(t, 0, "1022");
}

/* Into the lowest of three: the middle one hides what base got, so it must not be used any more. */
static void two_layers(struct qt *t)
{
    make(t, 2, -1, "dddddddd");
    make(t, 1, 2, ".d.zd...");
    make(t, 0, 1, "..dd.z..");
    assert_int_equal(commit(t, 0, 2, &keep, NULL), 0);
    expect(t, 2, "32112033");
    expect(t, 0, "32112033");
    expect_allocated(t, 1, ".d.zd...");
}

/* The middle layer leaves the graph, and the top's header names base; guests read on meanwhile. */
static void drop_middle(struct qt *t)
{
    make(t, 2, -1, "dddddddd");
    make(t, 1, 2, ".d.zd...");
    make(t, 0, 1, "..dd.z..");
    struct blk *b = qt_open(t, 0, NULL);
    struct error *err = NULL;
    assert_int_equal(blk_set_perm(b, PERM_CONSISTENT_READ | PERM_WRITE, PERM_CONSISTENT_READ, NULL),
                     0);
    struct node *mid = node_backing_chain_next(blk_node(b)), *base = node_backing_chain_next(mid);
    struct commit c;
    struct commit_options o = {.after = COMMIT_DROP};
    /* Without the filter the guest, who shares no writes, is in the way. */
    assert_null(commit_job_new(&c, "j", mid, base, &o, &err));
    assert_non_null(strstr(err->msg, "Permission conflict on node"));
    error_clear(&err);
    assert_true(base->read_only);
    o.live = true;
    o.filter_node_name = "over";
    struct job *j = commit_job_new(&c, "j", mid, base, &o, NULL);
    assert_non_null(j);
    assert_ptr_equal(node_backing_chain_next(blk_node(b)), mid);
    assert_ptr_equal(blk_node(b)->backing->node, node_find(t->r.w, "over"));
    assert_true(node_op_blocked(base, BLOCK_OP_RESIZE, &err));
    assert_non_null(strstr(err->msg, "is busy: block device is in use by block job: commit"));
    error_clear(&err);
    assert_int_equal(graph_set_backing(mid, NULL, NULL), -EPERM); /* frozen */
    rig_check(b, 4 * CLUSTER, CLUSTER, value(2, 4));
    assert_int_equal(job_run(j, NULL), 0);
    assert_ptr_equal(node_backing_chain_next(blk_node(b)), base);
    assert_null(node_find(t->r.w, "over"));
    assert_true(base->read_only);
    assert_string_equal(blk_node(b)->backing_file, "sim:d2");
    assert_false(node_op_blocked(base, BLOCK_OP_RESIZE, NULL));
    blk_unref(b);
    expect(t, 2, "32302333");
    expect(t, 0, "32112033");
}

static int prepare_fails(struct job *j, struct error **err)
{
    return error_set(err, EBUSY, "not today");
}
static int run_nothing(struct job *j, struct error **err)
{
    return 0;
}
static const struct job_driver unwilling = {
    .type = JOB_BACKUP, .run = run_nothing, .prepare = prepare_fails};

/* As above, but a job that prepares later in the same transaction fails: nothing has been dropped.
 */
static void drop_undone(struct qt *t)
{
    make(t, 2, -1, "dddddddd");
    make(t, 1, 2, ".d.zd...");
    make(t, 0, 1, "..dd.z..");
    struct blk *b = qt_open(t, 0, NULL);
    struct node *top = blk_node(b), *mid = node_backing_chain_next(top),
                *base = node_backing_chain_next(mid);
    struct commit c;
    struct commit_options o = {.after = COMMIT_DROP, .live = true};
    struct job_txn *txn = job_txn_new(t->r.w);
    struct job *other = job_new(t->r.w, "other", &unwilling, NULL, 0, NULL);
    struct job *j = commit_job_new(&c, "j", mid, base, &o, NULL);
    job_txn_add(txn, other);
    job_txn_add(txn, j); /* the newest prepares first */
    job_txn_unref(txn);
    job_ref(j);
    job_start(other);
    job_start(j);
    assert_int_equal(job_wait(j), -ECANCELED);
    job_unref(j);
    assert_ptr_equal(node_backing_chain_next(top), mid);
    assert_ptr_equal(top->backing->node, mid); /* the filter is gone */
    assert_ptr_equal(node_backing_chain_next(mid), base);
    assert_string_equal(top->backing_file, "sim:d1");
    assert_string_equal(top->backing_format, "qcow2");
    assert_true(base->read_only);
    assert_false(node_op_blocked(base, BLOCK_OP_RESIZE, NULL));
    blk_unref(b);
    expect(t, 0, "32112033");
    expect(t, 1, "32302333");
}

/* A drain pauses the job, and waits for it; it goes on afterwards. */
static void drained(struct qt *t)
{
    make(t, 1, -1, "dddddddd");
    make(t, 0, 1, "dddddddd");
    struct blk *b = qt_open(t, 0, NULL);
    struct node *top = blk_node(b), *base = node_backing_chain_next(top);
    struct commit c;
    struct commit_options o = {.after = COMMIT_KEEP};
    struct job *j = commit_job_new(&c, NULL, top, base, &o, NULL);
    job_ref(j);
    job_start(j);
    while (j->status != JOB_RUNNING) {
        co_yield (t->r.w);
    }
    node_drain_begin(base);
    assert_true(j->status == JOB_PAUSED || j->settled);
    int64_t done = j->done;
    for (int i = 0; i < 50; i++) {
        co_yield (t->r.w);
    }
    assert_int_equal(j->done, done);
    node_drain_end(base);
    assert_int_equal(job_wait(j), 0);
    job_unref(j);
    blk_unref(b);
    expect(t, 1, "11111111");
}

/* What base cannot do is told by its maker or by the job, and all is as before. */
static void refusals(struct qt *t)
{
    struct error *err = NULL;
    make(t, 1, -1, "dddd");
    make(t, 0, 1, ".d..");
    struct blk *b = qt_open(t, 0, NULL);
    struct node *base = node_backing_chain_next(blk_node(b));
    struct commit c;
    fault_plan_add(&t->r.plan, &(struct fault_entry){.kind = FAULT_ERROR,
                                                     .error = ENOSPC,
                                                     .label = -1,
                                                     .iotypes = 1 << FAULT_IO_WRITE,
                                                     .sticky = true});
    struct job *j = commit_job_new(&c, NULL, blk_node(b), base, &empty, NULL);
    assert_int_equal(job_run(j, &err), -ENOSPC);
    assert_false(c.copied);
    error_clear(&err);
    assert_true(base->read_only);
    fault_plan_destroy(&t->r.plan);
    fault_plan_init(&t->r.plan);
    rig_check(b, CLUSTER, CLUSTER, value(1, 1));
    rig_check(b, 0, CLUSTER, value(2, 0));
    blk_unref(b);
    expect(t, 0, "2122");
}

/* Block 0 of an image whose format was guessed as raw does not become another format's header,
 * neither directly nor through what is below it. */
static void guessed_raw(struct qt *t)
{
    struct error *err = NULL;
    static const uint8_t magic[512] = {'Q', 'F', 'I', 0xfb, 0, 0, 0, 3};
    assert_int_equal(disk_truncate(t->r.disk[1], 8 * CLUSTER), 0);
    qt_create(t, 0, "cluster_size=4k,size=32k");
    struct blk *b = qt_open(t, 0, "backing.file.driver=sim,backing.file.disk=d1");
    assert_true(blk_node(b)->backing->node->probed);
    assert_int_equal(blk_pwrite(b, 0, magic, sizeof(magic), 0), 0);
    struct node *target = commit_target(blk_node(b));
    assert_ptr_equal(target, blk_node(b)->backing->node);
    struct commit c;
    struct job *j = commit_job_new(&c, NULL, blk_node(b), target, &empty, NULL);
    assert_int_equal(job_run(j, &err), -EPERM);
    error_clear(&err);
    uint8_t first[4];
    disk_read(t->r.disk[1], 0, first, 4);
    assert_true(first[0] == 0);
    blk_unref(b);
}

/* 32 KiB at 16 KiB a second, with clusters of 4 KiB in requests of one cluster's worth. */
static void rated(struct qt *t)
{
    make(t, 1, -1, "........");
    make(t, 0, 1, "d.d.d.d.");
    struct commit_options o = {.after = COMMIT_KEEP, .speed = 16 * KiB};
    int64_t begin = clock_now(t->r.w, CLOCK_REAL);
    assert_int_equal(commit(t, 0, 1, &o, NULL), 0);
    assert_in_range((clock_now(t->r.w, CLOCK_REAL) - begin) / 1000000, 700, 1000);
    expect(t, 1, "10101010");
}

#define TEST(name)                                                                                 \
    static void test_##name(void **state)                                                          \
    {                                                                                              \
        for (uint64_t seed = 0; seed < 4; seed++) {                                                \
            qt_run(seed & 1 ? &profile_optimized : &profile_reference, seed, name, NULL);          \
        }                                                                                          \
    }
TEST(same_size)
TEST(small_base)
TEST(big_base)
TEST(two_layers)
TEST(drop_middle)
TEST(drop_undone)
TEST(drained)
TEST(refusals)
TEST(guessed_raw)
TEST(rated)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_size),   cmocka_unit_test(test_small_base),
        cmocka_unit_test(test_big_base),    cmocka_unit_test(test_two_layers),
        cmocka_unit_test(test_drop_middle), cmocka_unit_test(test_drop_undone),
        cmocka_unit_test(test_drained),     cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_guessed_raw), cmocka_unit_test(test_rated),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
