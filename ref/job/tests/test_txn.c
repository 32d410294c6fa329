/*
 * Transactions of jobs: the order of events as qemu-storage-daemon 7.2 shows it, and all or none
 * wherever one of them fails or is cancelled, under many schedules.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include "ref/base/mem.h"
#include "ref/base/strbuf.h"
#include "ref/block/tests/memdrv.h"
#include "ref/job/job.h"

#define JOBS  3
#define STEPS 4

struct member {
    struct fixture *f;
    struct job *j;
    int steps, fail_at; /* -1: never */
    bool fail_prepare;
    unsigned prepared, committed, aborted, cleaned, freed;
};

struct fixture {
    struct mem_world m;
    struct member members[JOBS];
    int n;
    struct job_observer observer;
    struct strbuf log;
    int events, act_at; /* the act-th event cancels `victim` */
    struct job *victim;
    bool acted;
    unsigned flags[JOBS];
};

static int member_run(struct job *j, struct error **err)
{
    struct member *k = j->opaque;
    job_progress_total(j, k->steps);
    for (int i = 0; i < k->steps && !job_cancelled(j); i++) {
        job_pause_point(j);
        if (i == k->fail_at) {
            return error_set(err, EIO, "step %d failed", i);
        }
        job_progress(j, 1);
    }
    return 0;
}
static int member_prepare(struct job *j, struct error **err)
{
    struct member *k = j->opaque;
    k->prepared++;
    co_yield (j->w);
    return k->fail_prepare ? error_set(err, EBUSY, "not prepared") : 0;
}
static void member_commit(struct job *j)
{
    ((struct member *)j->opaque)->committed++;
    co_yield (j->w);
}
static void member_abort(struct job *j)
{
    ((struct member *)j->opaque)->aborted++;
    co_yield (j->w);
}
static void member_clean(struct job *j)
{
    ((struct member *)j->opaque)->cleaned++;
}
static void member_free(struct job *j)
{
    ((struct member *)j->opaque)->freed++;
}
static const struct job_driver member_driver = {
    .type = JOB_BACKUP,
    .run = member_run,
    .prepare = member_prepare,
    .commit = member_commit,
    .abort = member_abort,
    .clean = member_clean,
    .free = member_free,
};

static void on_event(struct job_observer *o, const struct job_event *e)
{
    struct fixture *f = container_of(o, struct fixture, observer);
    static const char *const names[] = {"", "READY", "PENDING", "COMPLETED", "CANCELLED", "ERROR"};
    strbuf_printf(&f->log, "%s%s:%s", f->log.len ? " " : "", e->job->id,
                  e->kind ? names[e->kind] : job_status_names[e->job->status]);
    if (f->victim && ++f->events == f->act_at &&
        job_verb_allowed(f->victim->status, JOB_VERB_CANCEL)) {
        f->acted = true;
        assert_int_equal(job_cancel(f->victim, true, NULL), 0);
    }
}

static void begin(struct fixture *f, int n)
{
    static const char *const ids[] = {"j", "k", "l"};
    struct job_txn *t = job_txn_new(f->m.w);
    strbuf_reset(&f->log);
    f->events = 0;
    f->n = n;
    f->observer.event = on_event;
    job_observe(f->m.w, &f->observer);
    for (int i = 0; i < n; i++) {
        f->members[i] = (struct member){.f = f, .steps = STEPS, .fail_at = -1};
        f->members[i].j =
            job_new(f->m.w, ids[i], &member_driver, &f->members[i], f->flags[i], NULL);
        job_ref(f->members[i].j);
        job_txn_add(t, f->members[i].j);
    }
    job_txn_unref(t);
}

static void start(struct fixture *f)
{
    for (int i = 0; i < f->n; i++) {
        job_start(f->members[i].j);
    }
}

/* Everybody has ended; true when all took effect. */
static bool finish(struct fixture *f)
{
    bool good = true;
    for (int i = 0; i < f->n; i++) {
        good = job_wait(f->members[i].j) == 0 && good;
    }
    for (int i = 0; i < f->n; i++) {
        struct member *k = &f->members[i];
        assert_int_equal(k->committed, good);
        assert_int_equal(k->aborted, !good);
        assert_int_equal(k->cleaned, 1);
        assert_in_range(k->prepared, good, 1);
        assert_int_equal(k->j->ret == 0, good);
        assert_int_equal(k->j->err != NULL, !good);
        assert_int_equal(k->j->status, JOB_NULL);
        job_unref(k->j);
        assert_int_equal(k->freed, 1);
    }
    assert_null(job_next(f->m.w, NULL));
    job_unobserve(&f->observer);
    return good;
}

static void until(struct fixture *f, enum job_status s)
{
    for (int i = 0; i < f->n; i++) {
        while (f->members[i].j->status != s) {
            co_yield (f->m.w);
        }
    }
}

/* ---- the order of events, first in, last out ---- */

static void expect_log(struct fixture *f, const char *tail)
{
    const char *at = strstr(f->log.s, "k:running");
    assert_non_null(at);
    assert_string_equal(at + 10, tail);
}

static void good_body(void *arg)
{
    struct fixture *f = arg;
    begin(f, 2);
    f->members[1].steps = 1;
    start(f);
    assert_true(finish(f));
    expect_log(f, "k:waiting j:waiting k:pending j:pending k:COMPLETED k:concluded k:null "
                  "j:COMPLETED j:concluded j:null");
}

static void manual_body(void *arg)
{
    struct fixture *f = arg;
    f->flags[0] = JOB_MANUAL_FINALIZE;
    begin(f, 2);
    f->members[1].steps = 1;
    start(f);
    until(f, JOB_PENDING);
    expect_log(f, "k:waiting j:waiting k:pending j:pending j:PENDING");
    strbuf_reset(&f->log);
    assert_int_equal(job_finalize(f->members[1].j, NULL), 0);
    assert_int_equal(job_finalize(f->members[0].j, NULL), 0);
    assert_true(finish(f));
    assert_string_equal(f->log.s, "k:COMPLETED k:concluded k:null j:COMPLETED j:concluded j:null");
    begin(f, 2);
    start(f);
    until(f, JOB_PENDING);
    strbuf_reset(&f->log);
    assert_int_equal(job_cancel(f->members[1].j, false, NULL), 0);
    assert_false(finish(f));
    assert_string_equal(f->log.s, "k:aborting k:CANCELLED k:concluded k:null j:aborting "
                                  "j:CANCELLED j:concluded j:null");
}

static void fails_body(void *arg)
{
    struct fixture *f = arg;
    begin(f, 2);
    f->members[0].fail_at = 1;
    start(f);
    assert_false(finish(f));
    expect_log(f, "j:aborting k:aborting k:CANCELLED k:concluded k:null j:COMPLETED j:concluded "
                  "j:null");
    begin(f, 2);
    f->members[0].fail_prepare = true;
    start(f);
    assert_false(finish(f));
    assert_int_equal(f->members[1].prepared, 1);
    assert_non_null(strstr(f->log.s, "j:pending j:aborting k:aborting k:CANCELLED k:concluded"));
}

static void cancel_running_body(void *arg)
{
    struct fixture *f = arg;
    begin(f, 2);
    f->members[0].steps = f->members[1].steps = 1000;
    start(f);
    until(f, JOB_RUNNING);
    job_user_pause(f->members[0].j, NULL);
    while (f->members[0].j->status != JOB_PAUSED) {
        co_yield (f->m.w);
    }
    job_cancel(f->members[1].j, true, NULL);
    assert_false(finish(f));
    expect_log(f, "j:paused k:aborting k:CANCELLED k:concluded k:null j:running j:aborting "
                  "j:CANCELLED j:concluded j:null");
}

/* ---- all or none ---- */

/* The victim is cancelled at each event of the group's life, also while the others prepare. */
static void cancel_body(void *arg)
{
    struct fixture *f = arg;
    for (int i = 0; i < JOBS; i++) {
        f->flags[i] = i == 1 ? JOB_MANUAL_FINALIZE : 0;
        for (f->act_at = 1;; f->act_at++) {
            f->acted = false;
            f->victim = NULL;
            begin(f, JOBS);
            f->victim = f->members[i].j;
            start(f);
            while (f->victim->status < JOB_PENDING) {
                co_yield (f->m.w);
            }
            if (f->victim->status == JOB_PENDING) {
                job_finalize(f->victim, NULL);
            }
            bool good = finish(f), acted = f->acted;
            f->victim = NULL;
            if (f->events < f->act_at) {
                assert_true(good);
                break;
            }
            assert_true(acted || good);
        }
        f->flags[i] = 0;
    }
}

static void fail_body(void *arg)
{
    struct fixture *f = arg;
    for (int i = 0; i < JOBS; i++) {
        for (int at = 0; at <= STEPS; at++) {
            begin(f, JOBS);
            f->members[i].fail_at = at < STEPS ? at : -1;
            f->members[i].fail_prepare = at == STEPS;
            f->members[(i + 1) % JOBS].fail_at = at == 2 ? 1 : -1; /* and a second one */
            start(f);
            assert_false(finish(f));
        }
    }
}

/* Cancelled before some, or any, of the group was started. */
static void unstarted_body(void *arg)
{
    struct fixture *f = arg;
    for (int started = 0; started < JOBS; started++) {
        begin(f, JOBS);
        for (int i = 0; i < started; i++) {
            job_start(f->members[i].j);
        }
        assert_int_equal(job_cancel(f->members[JOBS - 1].j, true, NULL), 0);
        for (int i = started; i < JOBS; i++) {
            job_start(f->members[i].j);
        }
        assert_false(finish(f));
    }
    begin(f, JOBS);
    start(f);
    job_cancel_all(f->m.w);
    assert_false(finish(f));
}

static void run(void (*body)(void *arg), uint64_t seeds)
{
    for (uint64_t seed = 0; seed < seeds; seed++) {
        struct fixture *f = mem_zalloc(sizeof(*f));
        mem_world_init(&f->m, seed);
        mem_world_exec(&f->m, body, f);
        mem_world_destroy(&f->m);
        strbuf_free(&f->log);
        mem_free(f);
    }
}

#define ORDER(name)                                                                                \
    static void test_##name(void **state)                                                          \
    {                                                                                              \
        run(name##_body, 1);                                                                       \
    }
#define SCHEDULES(name)                                                                            \
    static void test_##name(void **state)                                                          \
    {                                                                                              \
        run(name##_body, 20);                                                                      \
    }
ORDER(good)
ORDER(manual)
ORDER(fails)
ORDER(cancel_running)
SCHEDULES(cancel)
SCHEDULES(fail)
SCHEDULES(unstarted)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),      cmocka_unit_test(test_manual),
        cmocka_unit_test(test_fails),     cmocka_unit_test(test_cancel_running),
        cmocka_unit_test(test_cancel),    cmocka_unit_test(test_fail),
        cmocka_unit_test(test_unstarted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
