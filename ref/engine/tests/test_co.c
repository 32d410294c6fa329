/*
 * Coroutines, wait queues and locks: order, remembered wakes, fairness, deadlocks.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>

#include "ref/base/strbuf.h"
#include "ref/engine/clock.h"
#include "ref/engine/sanitize.h"
#include "ref/engine/sched.h"
#include "ref/engine/world.h"

struct fixture {
    struct process *p;
    struct world *w;
    struct strbuf log;
    struct co *parked;
    struct waitq q;
    struct co_mutex m;
    struct co_rwlock rw;
    int n;
};

static int setup(void **state)
{
    struct fixture *f = mem_zalloc(sizeof(*f));

    f->p = process_new();
    f->w = world_new(f->p, &(struct world_config){.simulated_time = true});
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    world_free(f->w);
    process_free(f->p);
    strbuf_free(&f->log);
    mem_free(f);
    return 0;
}

static void nothing(void *arg) {}

static void settle_and_expect(struct fixture *f, const char *log)
{
    world_settle(f->w);
    assert_string_equal(f->log.s ? f->log.s : "", log);
    strbuf_reset(&f->log);
}

/* Coroutines named A, B, C that log their name at each of three turns. */
static void three_turns(void *arg)
{
    struct fixture *f = arg;

    for (int i = 0; i < 3; i++) {
        strbuf_puts(&f->log, co_name(co_self(f->w)));
        co_yield (f->w);
    }
}

static void test_fifo(void **state)
{
    struct fixture *f = *state;

    assert_null(co_self(f->w));
    co_spawn(f->w, "A", three_turns, f);
    co_spawn(f->w, "B", three_turns, f);
    co_spawn(f->w, "C", three_turns, f);
    assert_int_equal(world_live(f->w), 3);
    settle_and_expect(f, "ABCABCABC");
    assert_int_equal(world_live(f->w), 0);
}

static void parks_twice(void *arg)
{
    struct fixture *f = arg;

    for (int i = 0; i < 2; i++) {
        co_park(f->w);
        strbuf_printf(&f->log, "p%d", i);
    }
}

static void test_park_and_wake(void **state)
{
    struct fixture *f = *state;
    struct co *co = co_spawn(f->w, "parks", parks_twice, f);

    settle_and_expect(f, "");
    co_wake(co);
    co_wake(co); /* it is ready already: kept for its next park */
    settle_and_expect(f, "p0p1");
    assert_int_equal(world_live(f->w), 0);
}

static void test_early_wake_is_remembered_once(void **state)
{
    struct fixture *f = *state;
    struct co *co = co_spawn(f->w, "parks", parks_twice, f);

    co_wake(co);
    co_wake(co);
    settle_and_expect(f, "p0");
    co_wake(co);
    settle_and_expect(f, "p1");
}

static void queues_then_parks(void *arg)
{
    struct fixture *f = arg;

    waitq_wait(f->w, &f->q);
    strbuf_puts(&f->log, "q");
    co_park(f->w);
    strbuf_puts(&f->log, "p");
}

static void test_wake_does_not_end_other_waits(void **state)
{
    struct fixture *f = *state;
    struct co *co = co_spawn(f->w, "queues", queues_then_parks, f);

    settle_and_expect(f, "");
    co_wake(co);
    settle_and_expect(f, "");
    assert_true(waitq_wake_one(f->w, &f->q));
    settle_and_expect(f, "qp");
}

static void waits(void *arg)
{
    struct fixture *f = arg;

    waitq_wait(f->w, &f->q);
    strbuf_puts(&f->log, co_name(co_self(f->w)));
}

static void test_waitq(void **state)
{
    struct fixture *f = *state;

    assert_true(waitq_empty(&f->q));
    assert_false(waitq_wake_one(f->w, &f->q));
    waitq_wake_all(f->w, &f->q);
    co_spawn(f->w, "A", waits, f);
    co_spawn(f->w, "B", waits, f);
    co_spawn(f->w, "C", waits, f);
    settle_and_expect(f, "");
    assert_false(waitq_empty(&f->q));
    waitq_wake_one(f->w, &f->q);
    settle_and_expect(f, "A");
    waitq_wake_all(f->w, &f->q);
    assert_true(waitq_empty(&f->q));
    settle_and_expect(f, "BC");
}

static void locks_twice(void *arg)
{
    struct fixture *f = arg;

    for (int i = 0; i < 2; i++) {
        co_lock(f->w, &f->m);
        assert_int_equal(f->n++, 0);
        strbuf_puts(&f->log, co_name(co_self(f->w)));
        co_yield (f->w);
        f->n--;
        co_unlock(f->w, &f->m);
    }
}

/* Who unlocks and locks again at once must not overtake those who wait. */
static void test_mutex_is_fair(void **state)
{
    struct fixture *f = *state;

    co_spawn(f->w, "A", locks_twice, f);
    co_spawn(f->w, "B", locks_twice, f);
    co_spawn(f->w, "C", locks_twice, f);
    settle_and_expect(f, "ABCABC");
    assert_null(f->m.owner);
}

static void reads(void *arg)
{
    struct fixture *f = arg;

    co_rdlock(f->w, &f->rw);
    strbuf_printf(&f->log, "+%s", co_name(co_self(f->w)));
    co_yield (f->w);
    strbuf_printf(&f->log, "-%s", co_name(co_self(f->w)));
    co_rwunlock(f->w, &f->rw);
}

static void writes(void *arg)
{
    struct fixture *f = arg;

    co_wrlock(f->w, &f->rw);
    strbuf_printf(&f->log, "+%s", co_name(co_self(f->w)));
    co_yield (f->w);
    strbuf_printf(&f->log, "-%s", co_name(co_self(f->w)));
    co_rwunlock(f->w, &f->rw);
}

/* Readers share; a reader does not overtake a writer that waits. */
static void test_rwlock(void **state)
{
    struct fixture *f = *state;

    co_spawn(f->w, "a", reads, f);
    co_spawn(f->w, "b", reads, f);
    co_spawn(f->w, "X", writes, f);
    co_spawn(f->w, "Y", writes, f);
    co_spawn(f->w, "c", reads, f);
    co_spawn(f->w, "d", reads, f);
    settle_and_expect(f, "+a+b-a-b+X-X+Y-Y+c+d-c-d");
    assert_int_equal(f->rw.readers, 0);
    assert_null(f->rw.writer);
}

static void parks(void *arg)
{
    struct fixture *f = arg;

    f->parked = co_self(f->w);
    strbuf_puts(&f->log, "(");
    co_park(f->w);
    strbuf_puts(&f->log, ")");
}

static void test_exec_reports_deadlock(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(world_exec(f->w, parks, f), -EDEADLK);
    assert_int_equal(world_live(f->w), 1);
    assert_int_equal(world_exec(f->w, nothing, NULL), 0);
    co_wake(f->parked);
    settle_and_expect(f, "()");
}

static void self_deadlock(void *arg)
{
    struct fixture *f = arg;

    co_lock(f->w, &f->m);
    co_rdlock(f->w, &f->rw);
    co_wrlock(f->w, &f->rw); /* waits for its own read lock */
}

/* world_free() takes back what never finished, whatever it waits for. */
static void test_stuck_coroutines_are_reaped(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(world_exec(f->w, self_deadlock, f), -EDEADLK);
    co_spawn(f->w, "waits", waits, f);
    co_spawn(f->w, "locks", locks_twice, f);
    world_settle(f->w);
    co_spawn(f->w, "never run", nothing, f);
    assert_int_equal(world_live(f->w), 4);
}

static void spawns(void *arg)
{
    struct fixture *f = arg;

    co_spawn(f->w, "A", three_turns, f);
    strbuf_puts(&f->log, "s");
}

static void test_exec_leaves_others_ready(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(world_exec(f->w, spawns, f), 0);
    assert_string_equal(f->log.s, "s");
    assert_int_equal(world_live(f->w), 1);
    settle_and_expect(f, "sAAA");
}

static unsigned recurse(struct fixture *f, unsigned n)
{
    volatile char pad[512];

    pad[0] = (char)n;
    if (n == 0) {
        co_park(f->w);
        return 0;
    }
    return recurse(f, n - 1) + (unsigned)(pad[0] == (char)n);
}

static void goes_deep(void *arg)
{
    struct fixture *f = arg;
    /* LeakSanitizer can be told, Valgrind cannot. */
    char *own = RUNNING_ON_VALGRIND ? NULL : str_dup("held by an abandoned stack");

    f->n = (int)recurse(f, 500);
    mem_free(own);
}

/* A stack that was abandoned half way down is as good as new, and what it held is no leak. */
static void test_reaped_stacks_are_reused(void **state)
{
    struct fixture *f = *state;

    for (int i = 0; i < 3; i++) {
        co_spawn(f->w, "deep", goes_deep, f);
        world_settle(f->w);
        assert_int_equal(world_live(f->w), 1);
        world_free(f->w);
        f->w = world_new(f->p, &(struct world_config){.simulated_time = true});
    }
}

struct two {
    struct fixture *a, *b;
};

static void nested(void *arg)
{
    struct two *t = arg;

    strbuf_puts(&t->a->log, "<");
    assert_int_equal(world_exec(t->b->w, three_turns, t->b), 0);
    strbuf_puts(&t->a->log, ">");
    co_yield (t->a->w);
}

/* Worlds share the process only; one may even run inside a coroutine of the other. */
static void test_two_worlds(void **state)
{
    struct fixture *f = *state;
    struct fixture other = {.p = f->p};
    struct two t = {f, &other};

    other.w = world_new(f->p, &(struct world_config){.seed = 1});
    co_spawn(other.w, "B", three_turns, &other);
    co_spawn(f->w, "A", three_turns, f);
    settle_and_expect(f, "AAA");
    assert_null(other.log.s);
    assert_int_equal(world_exec(f->w, nested, &t), 0);
    assert_string_equal(f->log.s, "<>");
    assert_string_equal(other.log.s, "BmainBmainBmain");
    strbuf_free(&other.log);
    world_free(other.w);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_fifo),
        T(test_park_and_wake),
        T(test_early_wake_is_remembered_once),
        T(test_wake_does_not_end_other_waits),
        T(test_waitq),
        T(test_mutex_is_fair),
        T(test_rwlock),
        T(test_exec_reports_deadlock),
        T(test_stuck_coroutines_are_reaped),
        T(test_exec_leaves_others_ready),
        T(test_reaped_stacks_are_reused),
        T(test_two_worlds),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
