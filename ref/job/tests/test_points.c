/*
 * Every job, cancelled, failed and crashed at every point of a small run: commit (emptying its top;
 * live, dropping layers), convert, create, amend.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "ref/base/json.h"
#include "ref/job/amend.h"
#include "ref/job/create.h"
#include "ref/job/tests/trial.h"

static void create(struct trial *t, int i, const char *more)
{
    struct error *err = NULL;
    char name[] = "sim:d0";
    name[5] = (char)('0' + i);
    char *text = str_fmt("size=%d,cluster_size=%d%s", TRIAL_SIZE, TRIAL_CLUSTER, more);
    struct value *o = opts_parse(text, NULL, &err);
    assert_int_equal(image_create(t->r.w, &driver_qcow2, name, o, &err), 0);
    value_free(o);
    mem_free(text);
}

static struct blk *open_with(struct trial *t, const char *name, const char *options, unsigned perm,
                             unsigned shared)
{
    struct blk *b = blk_new(t->r.w, perm, shared);
    struct value *o = opts_parse(options, NULL, NULL);
    struct node *n = node_open(t->r.w, name, NULL, o, perm & PERM_WRITE ? QT_RW : 0, NULL);
    assert_non_null(n);
    assert_int_equal(blk_insert(b, n, NULL), 0);
    node_unref(n);
    return b;
}

/* ---- commit as qemu-img does it ---- */

static void make_chain(struct trial *t)
{
    create(t, 1, "");
    create(t, 0, ",backing_file=sim:d1,backing_fmt=qcow2");
    trial_write(t, 1, 1, "dddd..dd........");
    trial_write(t, 0, 2, ".d.zdz.....d...d");
}

static void open_top(struct trial *t)
{
    t->blk[0] = open_with(t, "sim:d0", "driver=qcow2", PERM_CONSISTENT_READ | PERM_WRITE, PERM_ALL);
}

static struct job *commit_job(struct trial *t, struct error **err)
{
    struct node *top = blk_node(t->blk[0]);
    struct commit_options o = {.after = COMMIT_EMPTY};
    return commit_job_new(&t->commit, NULL, top, commit_target(top), &o, err);
}

static void close_all(struct trial *t, bool good)
{
    for (size_t i = 0; i < ARRAY_SIZE(t->blk); i++) {
        if (t->blk[i]) {
            blk_unref(t->blk[i]);
        }
        t->blk[i] = NULL;
    }
}

static void judge_commit(struct trial *t)
{
    trial_read(t, 0, "1210201100020002");
}

/* ---- a live commit of the middle layer, under a guest that shares nothing ---- */

static void make_three(struct trial *t)
{
    create(t, 2, "");
    create(t, 1, ",backing_file=sim:d2,backing_fmt=qcow2");
    create(t, 0, ",backing_file=sim:d1,backing_fmt=qcow2");
    trial_write(t, 2, 1, "dddddddd........");
    trial_write(t, 1, 2, "..d.dz..d......d");
    trial_write(t, 0, 3, "...dd....z......");
}

static void open_guest(struct trial *t)
{
    t->blk[0] = open_with(t, "sim:d0", "driver=qcow2", PERM_CONSISTENT_READ | PERM_WRITE,
                          PERM_CONSISTENT_READ);
}

static struct job *live_job(struct trial *t, struct error **err)
{
    struct node *mid = node_cow_child(blk_node(t->blk[0]))->node;
    struct commit_options o = {.after = COMMIT_DROP, .live = true};
    return commit_job_new(&t->commit, NULL, mid, node_cow_child(mid)->node, &o, err);
}

static void close_live(struct trial *t, bool good)
{
    struct node *n = blk_node(t->blk[0]);
    assert_int_equal(node_backing_chain_next(node_backing_chain_next(n)) == NULL, good);
    assert_string_equal(n->backing_file, good ? "sim:d2" : "sim:d1");
    /* The guest may go on writing. */
    assert_int_equal(rig_fill(t->blk[0], 4096, 512, trial_value(1, 1)), 0);
    close_all(t, good);
}

static void judge_live(struct trial *t)
{
    trial_read(t, 0, "1123301120000002");
}

/* ---- convert ---- */

static void make_source(struct trial *t)
{
    make_chain(t);
    create(t, 2, "");
}

static void open_both(struct trial *t)
{
    t->blk[0] = open_with(t, "sim:d0", "driver=qcow2", PERM_CONSISTENT_READ, PERM_ALL);
    t->blk[1] = open_with(t, "sim:d2", "driver=qcow2", PERM_CONSISTENT_READ | PERM_WRITE, PERM_ALL);
    t->source = (struct copy_source){.b = t->blk[0], .bytes = TRIAL_SIZE};
    t->copy = (struct copy){.w = t->r.w,
                            .sources = &t->source,
                            .n_sources = 1,
                            .target = t->blk[1],
                            .total = TRIAL_SIZE,
                            .zero_init = true,
                            .min_sparse = 4096,
                            .in_order = true,
                            .workers = 3};
}

static struct job *convert_job(struct trial *t, struct error **err)
{
    return copy_job_new(&t->copy, NULL, 0, err);
}

static void close_both(struct trial *t, bool good)
{
    close_all(t, good);
    if (good) {
        trial_read(t, 2, "1210201100020002");
    }
}

/* ---- create ---- */

static const struct image_recipe recipe = {.filename = "sim:d3",
                                           .format = "qcow2",
                                           .options = "cluster_size=4k,preallocation=metadata",
                                           .backing_file = NULL,
                                           .size = TRIAL_SIZE,
                                           .quiet = true};

static void open_none(struct trial *t) {}

static struct job *create_job(struct trial *t, struct error **err)
{
    return create_job_from_recipe(t->r.w, NULL, &recipe, err);
}

static struct job *create_json_job(struct trial *t, struct error **err)
{
    struct value *o = json_parse("{'file': {'driver': 'sim', 'disk': 'd3'}, 'size': 65536}", NULL);
    assert_non_null(o);
    return create_job_new(t->r.w, NULL, &driver_qcow2, o, 0, err);
}

static void close_created(struct trial *t, bool good)
{
    if (good) {
        trial_read(t, 3, "0000000000000000");
    }
}

/* What is there already is not touched. */
static void judge_created(struct trial *t)
{
    judge_commit(t);
}

/* ---- amend ---- */

static void make_amended(struct trial *t)
{
    create(t, 1, "");
    create(t, 0, ",backing_file=sim:d1,backing_fmt=qcow2,lazy_refcounts=on");
    trial_write(t, 1, 1, "dddd..dd........");
    trial_write(t, 0, 2, ".d.zdz.....d...d");
}

static struct job *amend_job(struct trial *t, struct error **err)
{
    struct value *o = opts_parse("lazy_refcounts=off,refcount_bits=64", NULL, NULL);
    return amend_job_flat(NULL, blk_node(t->blk[0]), o, false, err);
}

static const struct scene commit_scene = {
    .name = "commit",
    .make = make_chain,
    .open = open_top,
    .job = commit_job,
    .close = close_all,
    .judge = judge_commit,
    .disks = 2,
};
static const struct scene live_scene = {
    .name = "live commit",
    .make = make_three,
    .open = open_guest,
    .job = live_job,
    .close = close_live,
    .judge = judge_live,
    .graph_changes = true,
    .disks = 3,
};
static const struct scene convert_scene = {
    .name = "convert",
    .make = make_source,
    .open = open_both,
    .job = convert_job,
    .close = close_both,
    .judge = judge_commit,
    .disks = 3,
};
static const struct scene create_scene = {
    .name = "create",
    .make = make_chain,
    .open = open_none,
    .job = create_job,
    .close = close_created,
    .judge = judge_created,
    .disks = 2,
};
static const struct scene create_json_scene = {
    .name = "blockdev-create",
    .make = make_chain,
    .open = open_none,
    .job = create_json_job,
    .close = close_created,
    .judge = judge_created,
    .disks = 2,
};
static const struct scene amend_scene = {
    .name = "amend",
    .make = make_amended,
    .open = open_top,
    .job = amend_job,
    .close = close_all,
    .judge = judge_commit,
    .disks = 2,
};

#define TESTS(scene)                                                                               \
    static void test_##scene##_cancelled(void **state)                                             \
    {                                                                                              \
        trial_cancels(&scene##_scene);                                                             \
    }                                                                                              \
    static void test_##scene##_failed(void **state)                                                \
    {                                                                                              \
        trial_failures(&scene##_scene);                                                            \
    }                                                                                              \
    static void test_##scene##_stopped(void **state)                                               \
    {                                                                                              \
        trial_stops(&scene##_scene);                                                               \
    }                                                                                              \
    static void test_##scene##_cut(void **state)                                                   \
    {                                                                                              \
        trial_cuts(&scene##_scene);                                                                \
    }
#define LIST(scene)                                                                                \
    cmocka_unit_test(test_##scene##_cancelled), cmocka_unit_test(test_##scene##_failed),           \
        cmocka_unit_test(test_##scene##_stopped), cmocka_unit_test(test_##scene##_cut)

TESTS(commit)
TESTS(live)
TESTS(convert)
TESTS(create)
TESTS(create_json)
TESTS(amend)

int main(void)
{
    const struct CMUnitTest tests[] = {
        LIST(commit), LIST(live), LIST(convert), LIST(create), LIST(create_json), LIST(amend),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
