/*
 * The state machine of jobs: every transition, every command in every state, and a toy job that is
 * paused, cancelled and failed at each of its steps.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include "ref/base/mem.h"
#include "ref/base/strbuf.h"
#include "ref/engine/clock.h"
#include "ref/job/job.h"

#define STEPS 6

struct toy {
    int fail_at, workers; /* step that fails, -1: none */
    bool fail_prepare, ready_first, completed;
    int steps, running;
    struct strbuf log; /* first letters of callbacks and states */
    struct waitq done;
    struct job *j;
    int act_at; /* the controller acts at this progress */
    int act;    /* 'p'ause, 'c'ancel, 0 */
    bool acted;
};

struct fixture {
    struct process *p;
    struct world *w;
    struct toy toy;
    struct co *controller;
};

static void step_loop(struct job *j)
{
    struct toy *t = j->opaque;
    for (int i = 0; i < STEPS && !job_cancelled(j) && t->steps != t->fail_at; i++) {
        job_pause_point(j);
        if (job_cancelled(j)) {
            break;
        }
        assert_false(j->status == JOB_PAUSED || j->status == JOB_STANDBY);
        t->steps++;
        job_progress(j, 1);
        job_throttle(j, 1);
    }
}

static void toy_worker(void *arg)
{
    struct job *j = arg;
    struct toy *t = j->opaque;
    step_loop(j);
    job_worker_end(j);
    t->running--;
    waitq_wake_all(j->w, &t->done);
}

static int toy_run(struct job *j, struct error **err)
{
    struct toy *t = j->opaque;
    job_progress_total(j, STEPS);
    if (t->ready_first) {
        job_ready(j);
    }
    if (t->workers) {
        t->running = t->workers;
        for (int i = 0; i < t->workers; i++) {
            job_worker_begin(j);
            co_spawn(j->w, "worker", toy_worker, j);
        }
        job_rest_begin(j);
        while (t->running) {
            waitq_wait(j->w, &t->done);
        }
        job_rest_end(j);
    } else {
        step_loop(j);
    }
    while (t->ready_first && !t->completed && !job_cancel_requested(j)) {
        job_sleep(j, 1000000);
    }
    return t->steps == t->fail_at ? error_set(err, EIO, "step %d failed", t->steps) : 0;
}

static void note(struct job *j, char c)
{
    strbuf_putc(&((struct toy *)j->opaque)->log, c);
}
static int toy_prepare(struct job *j, struct error **err)
{
    note(j, 'P');
    return ((struct toy *)j->opaque)->fail_prepare ? error_set(err, EBUSY, "not prepared") : 0;
}
static void toy_commit(struct job *j)
{
    note(j, 'C');
}
static void toy_abort(struct job *j)
{
    note(j, 'A');
}
static void toy_clean(struct job *j)
{
    note(j, 'L');
}
static int toy_complete(struct job *j, struct error **err)
{
    ((struct toy *)j->opaque)->completed = true;
    return 0;
}
static bool toy_cancel(struct job *j)
{
    return j->status != JOB_READY && j->status != JOB_STANDBY;
}

static const struct job_driver toy_driver = {
    .type = JOB_MIRROR,
    .run = toy_run,
    .prepare = toy_prepare,
    .commit = toy_commit,
    .abort = toy_abort,
    .clean = toy_clean,
    .complete = toy_complete,
    .cancel = toy_cancel,
};

static int setup(void **state)
{
    struct fixture *f = mem_zalloc(sizeof(*f));
    f->p = process_new();
    struct world_config cfg = {.simulated_time = true};
    f->w = world_new(f->p, &cfg);
    f->toy.fail_at = -1;
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    world_free(f->w);
    process_free(f->p);
    strbuf_free(&f->toy.log);
    mem_free(f);
    return 0;
}

static struct job *make(struct fixture *f, unsigned flags)
{
    strbuf_reset(&f->toy.log);
    f->toy.steps = 0;
    f->toy.completed = f->toy.acted = false;
    struct job *j = job_new(f->w, "j0", &toy_driver, &f->toy, flags, NULL);
    assert_non_null(j);
    job_ref(j);
    return f->toy.j = j;
}

static void drop(struct job *j)
{
    assert_int_equal(j->status, JOB_NULL);
    job_unref(j);
}

#define TEST(name)                                                                                 \
    static void name##_body(void *arg);                                                            \
    static void name(void **state)                                                                 \
    {                                                                                              \
        struct fixture *f = *state;                                                                \
        assert_int_equal(world_exec(f->w, name##_body, f), 0);                                     \
        world_settle(f->w);                                                                        \
        assert_int_equal(world_live(f->w), 0);                                                     \
    }                                                                                              \
    static void name##_body(void *arg)
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

/* The table of the documentation, written down once more. */
static void test_transitions(void **state)
{
    static const char *const allowed[JOB_STATUS_COUNT] = {
        [JOB_UNDEFINED] = "created",
        [JOB_CREATED] = "running aborting null",
        [JOB_RUNNING] = "paused ready waiting aborting",
        [JOB_PAUSED] = "running",
        [JOB_READY] = "standby waiting aborting",
        [JOB_STANDBY] = "ready",
        [JOB_WAITING] = "pending aborting",
        [JOB_PENDING] = "aborting concluded",
        [JOB_ABORTING] = "concluded",
        [JOB_CONCLUDED] = "null",
        [JOB_NULL] = "",
    };
    for (int from = 0; from < JOB_STATUS_COUNT; from++) {
        for (int to = 0; to < JOB_STATUS_COUNT; to++) {
            bool listed = strstr(allowed[from], job_status_names[to]) != NULL;
            assert_int_equal(job_transition_allowed((enum job_status)from, (enum job_status)to),
                             listed);
        }
    }
}

/* Which verbs qemu-storage-daemon 7.2 takes in which state. */
static void test_verb_table(void **state)
{
    static const char *const taken[JOB_STATUS_COUNT] = {
        [JOB_UNDEFINED] = "",
        [JOB_CREATED] = "cancel pause resume set-speed",
        [JOB_RUNNING] = "cancel pause resume set-speed",
        [JOB_PAUSED] = "cancel pause resume set-speed",
        [JOB_READY] = "cancel pause resume set-speed complete",
        [JOB_STANDBY] = "cancel pause resume set-speed complete",
        [JOB_WAITING] = "cancel",
        [JOB_PENDING] = "cancel finalize",
        [JOB_ABORTING] = "",
        [JOB_CONCLUDED] = "dismiss",
        [JOB_NULL] = "",
    };
    for (int in = 0; in < JOB_STATUS_COUNT; in++) {
        for (int v = 0; v < JOB_VERB_COUNT; v++) {
            bool listed = strstr(taken[in], job_verb_names[v]) != NULL;
            assert_int_equal(job_verb_allowed((enum job_status)in, (enum job_verb)v), listed);
        }
    }
}

TEST(test_verbs_in_states)
{
    struct fixture *f = arg;
    struct job *j = make(f, JOB_MANUAL_FINALIZE | JOB_MANUAL_DISMISS);
    struct error *err = NULL;
    assert_int_equal(job_complete(j, &err), -EPERM);
    assert_string_equal(err->msg,
                        "Job 'j0' in state 'created' cannot accept command verb 'complete'");
    error_clear(&err);
    assert_int_equal(job_user_resume(j, &err), -EINVAL);
    assert_string_equal(err->msg, "Can't resume a job that was not paused");
    error_clear(&err);
    job_start(j);
    while (j->status != JOB_PENDING) {
        co_yield (f->w);
    }
    assert_int_equal(job_user_pause(j, NULL), -EPERM);
    assert_int_equal(job_dismiss(j, NULL), -EPERM);
    assert_int_equal(job_finalize(j, NULL), 0);
    assert_int_equal(job_wait(j), 0);
    assert_int_equal(j->status, JOB_CONCLUDED);
    assert_int_equal(job_cancel(j, true, NULL), -EPERM);
    assert_ptr_equal(job_find(f->w, "j0"), j);
    assert_int_equal(job_dismiss(j, NULL), 0);
    assert_null(job_find(f->w, "j0"));
    assert_string_equal(f->toy.log.s, "PCL");
    drop(j);
}

TEST(test_ids)
{
    struct fixture *f = arg;
    struct error *err = NULL;
    struct job *j = make(f, 0);
    assert_null(job_new(f->w, "j0", &toy_driver, NULL, 0, &err));
    assert_string_equal(err->msg, "Job ID 'j0' already in use");
    error_clear(&err);
    assert_null(job_new(f->w, "0j", &toy_driver, NULL, 0, &err));
    assert_string_equal(err->msg, "Invalid job ID '0j'");
    error_clear(&err);
    assert_int_equal(job_cancel(j, false, NULL), 0); /* before it was started */
    assert_int_equal(job_wait(j), -ECANCELED);
    assert_string_equal(f->toy.log.s, "AL");
    drop(j);
}

/* What the controller does when the job has made `act_at` steps. */
static void act(struct job *j, void *opaque)
{
    struct toy *t = opaque;
    if (t->acted || t->steps < t->act_at) {
        return;
    }
    t->acted = true;
    if (t->act == 'c') {
        assert_int_equal(job_cancel(j, true, NULL), 0);
    } else if (t->act == 'p') {
        assert_int_equal(job_user_pause(j, NULL), 0);
    }
}

/* At every step, with and without workers: it stops there, goes on, or ends; each exactly once. */
TEST(test_pause_and_cancel_everywhere)
{
    struct fixture *f = arg;
    struct toy *t = &f->toy;
    for (int workers = 0; workers <= 3; workers++) {
        int total = STEPS * MAX(workers, 1);
        for (int i = 0; i < 2 * total; i++) {
            t->workers = workers;
            t->act = i & 1 ? 'c' : 'p';
            t->act_at = i / 2 + 1;
            struct job *j = make(f, 0);
            j->watch = (struct job_watch){.progress = act, .opaque = t};
            job_start(j);
            while (!t->acted) {
                co_yield (f->w);
            }
            if (t->act == 'p' && t->act_at < total) {
                while (j->status != JOB_PAUSED) {
                    co_yield (f->w);
                }
                int steps = t->steps;
                for (int k = 0; k < 20; k++) {
                    co_yield (f->w);
                }
                assert_int_equal(t->steps, steps);
            }
            if (t->act == 'p' && job_verb_allowed(j->status, JOB_VERB_RESUME)) {
                assert_int_equal(job_user_pause(j, NULL), -EBUSY);
                assert_int_equal(job_user_resume(j, NULL), 0);
            }
            assert_int_equal(job_wait(j), t->act == 'c' ? -ECANCELED : 0);
            assert_string_equal(t->log.s, t->act == 'c' ? "AL" : "PCL");
            assert_true(t->act == 'c' || t->steps == total);
            drop(j);
        }
    }
}

TEST(test_cancel_while_paused)
{
    struct fixture *f = arg;
    for (f->toy.workers = 0; f->toy.workers < 3; f->toy.workers++) {
        struct job *j = make(f, 0);
        job_user_pause(j, NULL); /* pauses before run() */
        job_start(j);
        while (j->status != JOB_PAUSED) {
            co_yield (f->w);
        }
        assert_int_equal(f->toy.steps, 0);
        struct error *err = NULL;
        assert_int_equal(job_cancel(j, false, &err), -EBUSY);
        assert_string_equal(err->msg, "The block job for device 'j0' is currently paused");
        error_free(err);
        assert_int_equal(job_cancel(j, true, NULL), 0);
        assert_int_equal(job_wait(j), -ECANCELED);
        drop(j);
    }
}

TEST(test_failures)
{
    struct fixture *f = arg;
    for (f->toy.fail_at = 0; f->toy.fail_at < STEPS; f->toy.fail_at++) {
        struct job *j = make(f, 0);
        job_start(j);
        assert_int_equal(job_wait(j), -EIO);
        assert_non_null(strstr(j->err->msg, "failed"));
        assert_string_equal(f->toy.log.s, "AL");
        drop(j);
    }
    f->toy.fail_at = -1;
    f->toy.fail_prepare = true;
    struct job *j = make(f, 0);
    job_start(j);
    assert_int_equal(job_wait(j), -EBUSY);
    assert_string_equal(f->toy.log.s, "PAL");
    drop(j);
}

/* Also told to complete while it stands by: then it does as soon as it goes on. */
static void ready_standby_complete(struct fixture *f, bool early)
{
    f->toy.ready_first = true;
    struct job *j = make(f, 0);
    job_start(j);
    while (j->status != JOB_READY || f->toy.steps < STEPS) {
        co_yield (f->w);
    }
    assert_int_equal(job_user_pause(j, NULL), 0);
    while (j->status != JOB_STANDBY) {
        co_yield (f->w);
    }
    if (early) {
        assert_int_equal(job_complete(j, NULL), 0);
        assert_int_equal(j->status, JOB_STANDBY);
    }
    assert_int_equal(job_user_resume(j, NULL), 0);
    while (!early && j->status != JOB_READY) {
        co_yield (f->w);
    }
    assert_int_equal(early ? 0 : job_complete(j, NULL), 0);
    assert_int_equal(job_wait(j), 0);
    drop(j);
}
TEST(test_ready_standby_complete)
{
    ready_standby_complete(arg, false);
    ready_standby_complete(arg, true);
}

/* A soft cancel of a ready job is a good end, a forced one is not; a pending job can still be
 * cancelled. */
TEST(test_soft_cancel)
{
    struct fixture *f = arg;
    f->toy.ready_first = true;
    for (int force = 0; force < 2; force++) {
        struct job *j = make(f, 0);
        job_start(j);
        while (j->status != JOB_READY || f->toy.steps < STEPS) {
            co_yield (f->w);
        }
        assert_int_equal(job_cancel(j, force, NULL), 0);
        assert_int_equal(job_wait(j), force ? -ECANCELED : 0);
        drop(j);
    }
    f->toy.ready_first = false;
    struct job *j = make(f, JOB_MANUAL_FINALIZE);
    job_start(j);
    while (j->status != JOB_PENDING) {
        co_yield (f->w);
    }
    assert_int_equal(job_cancel(j, true, NULL), 0);
    assert_int_equal(job_wait(j), -ECANCELED);
    assert_string_equal(f->toy.log.s, "AL");
    drop(j);
}

struct seen {
    struct job_observer o;
    int errors, action;
    bool is_read;
};
static void on_error(struct job_observer *o, const struct job_event *e)
{
    struct seen *s = container_of(o, struct seen, o);
    if (e->kind == JOB_EVENT_ERROR) {
        s->errors++;
        s->action = e->action;
        s->is_read = e->is_read;
    }
}

/* What each policy makes of an error, and that resuming forgets it. */
TEST(test_io_errors)
{
    struct fixture *f = arg;
    static const struct {
        enum job_on_error policy;
        int ret;
        enum job_error_action action;
        enum job_io_status status;
    } cases[] = {
        {JOB_ON_ERROR_REPORT, -EIO, JOB_ACTION_REPORT, JOB_IO_OK},
        {JOB_ON_ERROR_IGNORE, -ENOSPC, JOB_ACTION_IGNORE, JOB_IO_OK},
        {JOB_ON_ERROR_ENOSPC, -EIO, JOB_ACTION_REPORT, JOB_IO_OK},
        {JOB_ON_ERROR_ENOSPC, -ENOSPC, JOB_ACTION_STOP, JOB_IO_NOSPACE},
        {JOB_ON_ERROR_STOP, -EIO, JOB_ACTION_STOP, JOB_IO_FAILED},
    };
    struct seen s = {.o = {.event = on_error}};
    job_observe(f->w, &s.o);
    f->toy.ready_first = true;
    struct job *j = make(f, 0);
    job_start(j);
    while (j->status != JOB_READY || f->toy.steps < STEPS) {
        co_yield (f->w);
    }
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        assert_int_equal(job_io_error(j, cases[i].policy, i & 1, cases[i].ret), cases[i].action);
        assert_int_equal(s.errors, i + 1);
        assert_int_equal(s.action, cases[i].action);
        assert_int_equal(s.is_read, i & 1);
        assert_int_equal(j->io_status, cases[i].status);
        assert_int_equal(j->user_paused, cases[i].action == JOB_ACTION_STOP);
        if (j->user_paused) {
            while (j->status != JOB_STANDBY) {
                co_yield (f->w);
            }
            /* A second error while it is paused does not pause it twice. */
            job_io_error(j, JOB_ON_ERROR_STOP, false, -EIO);
            s.errors--;
            assert_int_equal(j->io_status, cases[i].status);
            assert_int_equal(job_user_resume(j, NULL), 0);
            assert_int_equal(j->pause_count, 0);
            assert_int_equal(j->io_status, JOB_IO_OK);
        }
    }
    job_cancel(j, true, NULL);
    assert_int_equal(job_wait(j), -ECANCELED);
    job_unobserve(&s.o);
    drop(j);
}

/* Many who account at once wait one after the other; a speed that was never used up costs nothing.
 */
TEST(test_rate_limit)
{
    struct fixture *f = arg;
    struct rate_limit l = {0};
    assert_int_equal(rate_limit_account(&l, f->w, 1000), 0);
    rate_limit_set(&l, 1000); /* 100 a slice */
    assert_int_equal(rate_limit_account(&l, f->w, 100), 0);
    for (int i = 1; i <= 20; i++) {
        assert_in_range(rate_limit_account(&l, f->w, 100) / 1000000, i * 100 - 1, i * 100);
    }
    co_sleep(f->w, CLOCK_REAL, 2100 * 1000000LL);
    assert_int_equal(rate_limit_account(&l, f->w, 99), 0);
    assert_int_equal(rate_limit_account(&l, f->w, 1), 0);
    assert_true(rate_limit_account(&l, f->w, INT64_MAX) > 0);
    assert_true(rate_limit_account(&l, f->w, UINT64_MAX) > 0);
    rate_limit_set(&l, 0);
    assert_int_equal(rate_limit_account(&l, f->w, 1000), 0);
}

/* 6 steps of 1 byte at 20 bytes a second: 2 a slice of 100 ms. */
TEST(test_speed)
{
    struct fixture *f = arg;
    struct job *j = make(f, 0);
    assert_int_equal(job_set_speed(j, -1, NULL), -EINVAL);
    assert_int_equal(job_set_speed(j, 20, NULL), 0);
    int64_t begin = clock_now(f->w, CLOCK_REAL);
    job_start(j);
    assert_int_equal(job_wait(j), 0);
    int64_t ms = (clock_now(f->w, CLOCK_REAL) - begin) / 1000000;
    assert_in_range(ms, 200, 300);
    drop(j);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_transitions),
        cmocka_unit_test(test_verb_table),
        T(test_verbs_in_states),
        T(test_ids),
        T(test_pause_and_cancel_everywhere),
        T(test_cancel_while_paused),
        T(test_failures),
        T(test_ready_standby_complete),
        T(test_soft_cancel),
        T(test_speed),
        T(test_io_errors),
        T(test_rate_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
