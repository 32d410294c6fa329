/*
 * Create and amend jobs: progress, messages, what they do to the image; grouped they are all or
 * none as far as a creation can be undone (it cannot).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include "ref/base/json.h"
#include "ref/format/qcow2/tests/fixture.h"
#include "ref/job/amend.h"
#include "ref/job/create.h"

static struct value *json(const char *text)
{
    struct value *v = json_parse(text, NULL);
    assert_non_null(v);
    return v;
}

/* Runs j, which must leave one of one done; its result, with the message it must have. */
static int run(struct job *j, const char *msg)
{
    struct error *err = NULL;
    assert_non_null(j);
    job_ref(j);
    int ret = job_run(j, &err);
    assert_int_equal(j->total, 1);
    assert_int_equal(j->done, 1);
    assert_string_equal(err ? err->msg : "", msg);
    error_free(err);
    job_unref(j);
    return ret;
}

static void creates(struct qt *t)
{
    struct error *err = NULL;
    struct value *o = json("{'file': {'driver': 'sim', 'disk': 'd0'}, 'size': 1048576}");
    assert_int_equal(run(create_job_new(t->r.w, "j", &driver_qcow2, o, 0, NULL), ""), 0);
    struct blk *b = qt_open(t, 0, NULL);
    assert_int_equal(blk_length(b), 1 * MiB);
    blk_unref(b);
    qt_judge(t->r.disk[0], false, "created");
    o = json("{'file': 'nope', 'size': 1048576}");
    assert_true(run(create_job_new(t->r.w, NULL, &driver_qcow2, o, 0, NULL),
                    "Cannot find device='nope' nor node-name='nope'") < 0);
    assert_null(create_job_new(t->r.w, "j", &driver_raw, value_dict(), 0, &err));
    rig_expect(&err, "Driver does not support blockdev-create");
    assert_null(create_job_new(t->r.w, "0", &driver_qcow2, value_dict(), 0, &err));
    rig_expect(&err, "Invalid job ID '0'");
    /* It stays to be looked at when its user asks for that. */
    o = json("{'file': 'nope', 'size': 1048576}");
    struct job *j = create_job_new(t->r.w, "j", &driver_qcow2, o, JOB_MANUAL_DISMISS, NULL);
    assert_true(job_run(j, NULL) < 0);
    assert_int_equal(j->status, JOB_CONCLUDED);
    assert_null(create_job_new(t->r.w, "j", &driver_qcow2, value_dict(), 0, &err));
    rig_expect(&err, "Job ID 'j' already in use");
    assert_int_equal(job_dismiss(j, NULL), 0);
}

static void amends(struct qt *t)
{
    struct error *err = NULL;
    qt_create(t, 0, "size=1M,lazy_refcounts=on");
    struct blk *b = qt_open(t, 0, NULL);
    struct node *n = blk_node(b);
    assert_int_equal(run(amend_job_new("j", n, &driver_qcow2, value_dict(), false, 0, NULL), ""),
                     0);
    struct value *o = json("{'encrypt': {'format': 'luks', 'state': 'active'}}");
    assert_true(run(amend_job_new("j", n, &driver_qcow2, o, false, 0, NULL),
                    "image is not encrypted, can't amend") < 0);
    assert_null(amend_job_new("j", n, &driver_raw, value_dict(), false, 0, &err));
    rig_expect(&err, "x-blockdev-amend doesn't support changing the block driver");
    assert_null(amend_job_new("j", n->file->node, &driver_sim, value_dict(), false, 0, &err));
    rig_expect(&err, "Driver does not support x-blockdev-amend");
    o = opts_parse("lazy_refcounts=off", NULL, NULL);
    struct job *j = amend_job_flat(NULL, n, o, false, NULL);
    assert_int_equal(job_run(j, NULL), 0);
    assert_false(qcow2_state(n)->compatible & 1);
    /* The node lives as long as the job, even when its user lets go. */
    j = amend_job_new("j", n, &driver_qcow2, value_dict(), false, 0, NULL);
    job_ref(j);
    blk_unref(b);
    job_start(j);
    assert_int_equal(job_wait(j), 0);
    job_unref(j);
    assert_null(node_next(t->r.w, NULL));
}

/* One fails: the other one is told so, though what it made is there. */
static void grouped(struct qt *t)
{
    struct job_txn *txn = job_txn_new(t->r.w);
    struct job *good =
        create_job_new(t->r.w, "good", &driver_qcow2,
                       json("{'file': {'driver': 'sim', 'disk': 'd0'}, 'size': 1048576}"), 0, NULL);
    struct job *bad = create_job_new(t->r.w, "bad", &driver_qcow2,
                                     json("{'file': 'nope', 'size': 1048576}"), 0, NULL);
    job_ref(good);
    job_ref(bad);
    job_txn_add(txn, good);
    job_txn_add(txn, bad);
    job_txn_unref(txn);
    job_start(good);
    job_start(bad);
    assert_true(job_wait(good) < 0 && job_wait(bad) < 0);
    assert_int_equal(good->ret, -ECANCELED);
    job_unref(good);
    job_unref(bad);
}

#define TEST(name)                                                                                 \
    static void test_##name(void **state)                                                          \
    {                                                                                              \
        for (uint64_t seed = 0; seed < 3; seed++) {                                                \
            qt_run(&profile_optimized, seed, name, NULL);                                          \
        }                                                                                          \
    }
TEST(creates)
TEST(amends)
TEST(grouped)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_creates),
        cmocka_unit_test(test_amends),
        cmocka_unit_test(test_grouped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
