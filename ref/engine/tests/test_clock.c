/*
 * Clocks and timers: simulated, manual and real; order of timers; sleep and its cancellation.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>

#include "ref/base/strbuf.h"
#include "ref/engine/clock.h"
#include "ref/engine/world.h"

#define MS        1000000LL
#define YEAR_2000 (946684800LL * 1000 * MS)

struct fixture {
    struct process *p;
    struct world *w;
    struct strbuf log;
    struct co *sleeper;
    int result;
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

struct napper {
    struct fixture *f;
    enum clock_name clock;
    int64_t ns;
    const char *name;
};

static void naps(void *arg)
{
    struct napper *n = arg;

    n->f->result = co_sleep(n->f->w, n->clock, n->ns);
    strbuf_puts(&n->f->log, n->name);
}

static void test_simulated_time_jumps(void **state)
{
    struct fixture *f = *state;
    struct napper day = {f, CLOCK_REAL, 86400000 * MS, "day"};

    assert_int_equal(clock_now(f->w, CLOCK_HOST), YEAR_2000);
    assert_int_equal(clock_now(f->w, CLOCK_REAL), 0);
    assert_int_equal(world_exec(f->w, naps, &day), 0);
    assert_int_equal(f->result, 0);
    assert_int_equal(clock_now(f->w, CLOCK_REAL), 86400000 * MS);
    assert_int_equal(clock_now(f->w, CLOCK_VIRTUAL), 86400000 * MS);
    assert_int_equal(clock_now(f->w, CLOCK_HOST), YEAR_2000 + 86400000 * MS);
    clock_set(f->w, CLOCK_HOST, 5);
    assert_int_equal(clock_now(f->w, CLOCK_HOST), 5);
}

/* By due time, then by order of arming; clocks run side by side. */
static void test_order_of_timers(void **state)
{
    struct fixture *f = *state;
    struct napper n[] = {
        {f, CLOCK_REAL, 3 * MS, "a"},    {f, CLOCK_REAL, 1 * MS, "b"}, {f, CLOCK_REAL, 3 * MS, "c"},
        {f, CLOCK_VIRTUAL, 2 * MS, "d"}, {f, CLOCK_REAL, 0, "e"},      {f, CLOCK_REAL, 1 * MS, "f"},
    };

    for (size_t i = 0; i < ARRAY_SIZE(n); i++) {
        co_spawn(f->w, n[i].name, naps, &n[i]);
    }
    world_settle(f->w);
    assert_string_equal(f->log.s, "ebfdac");
    assert_int_equal(clock_now(f->w, CLOCK_REAL), 3 * MS);
}

static void test_manual_clock(void **state)
{
    struct fixture *f = *state;
    struct napper v = {f, CLOCK_VIRTUAL, 10, "v"}, r = {f, CLOCK_REAL, 1000, "r"};

    clock_set_manual(f->w, CLOCK_VIRTUAL);
    co_spawn(f->w, "r", naps, &r);
    assert_int_equal(world_exec(f->w, naps, &v), -EDEADLK);
    assert_string_equal(f->log.s, "r");
    assert_int_equal(clock_now(f->w, CLOCK_VIRTUAL), 0);
    clock_step(f->w, CLOCK_VIRTUAL, 9);
    world_settle(f->w);
    assert_string_equal(f->log.s, "r");
    clock_step(f->w, CLOCK_VIRTUAL, 1);
    world_settle(f->w);
    assert_string_equal(f->log.s, "rv");
    assert_int_equal(clock_now(f->w, CLOCK_REAL), 1000);
}

struct periodic {
    struct timer t;
    struct strbuf log;
};

static void again(void *arg)
{
    struct periodic *p = arg;

    strbuf_printf(&p->log, "%d ", (int)clock_now(p->t.w, p->t.clock));
    timer_arm(&p->t, clock_now(p->t.w, p->t.clock) + 10);
}

/* A step runs every timer at the time it asked for. */
static void test_step_runs_periodic_timer(void **state)
{
    struct fixture *f = *state;
    struct periodic p = {.log = STRBUF_INIT};

    timer_init(&p.t, f->w, CLOCK_VIRTUAL, again, &p);
    timer_arm(&p.t, 10);
    timer_arm(&p.t, 5); /* arming again moves it */
    clock_step(f->w, CLOCK_VIRTUAL, 30);
    assert_string_equal(p.log.s, "5 15 25 ");
    assert_int_equal(clock_now(f->w, CLOCK_VIRTUAL), 30);
    timer_disarm(&p.t);
    timer_disarm(&p.t);
    clock_step(f->w, CLOCK_VIRTUAL, 30);
    assert_string_equal(p.log.s, "5 15 25 ");
    strbuf_free(&p.log);
}

static void cancels(void *arg)
{
    struct fixture *f = arg;

    co_sleep(f->w, CLOCK_REAL, 7);
    co_sleep_cancel(f->sleeper);
    co_sleep_cancel(co_self(f->w)); /* does not sleep: nothing happens */
}

static void test_sleep_is_cancelled(void **state)
{
    struct fixture *f = *state;
    struct napper n = {f, CLOCK_REAL, 1000, "woken"};

    f->sleeper = co_spawn(f->w, "sleeper", naps, &n);
    co_spawn(f->w, "cancels", cancels, f);
    world_settle(f->w);
    assert_string_equal(f->log.s, "woken");
    assert_int_equal(f->result, -ECANCELED);
    assert_int_equal(clock_now(f->w, CLOCK_REAL), 7);
}

/* A wake that meets a sleeper does not shorten its sleep. */
static void test_wake_does_not_end_sleep(void **state)
{
    struct fixture *f = *state;
    struct napper n = {f, CLOCK_REAL, 50, "slept"};

    co_wake(co_spawn(f->w, "sleeper", naps, &n));
    world_settle(f->w);
    assert_int_equal(clock_now(f->w, CLOCK_REAL), 50);
}

static void test_real_time(void **state)
{
    struct fixture *f = *state;
    struct world *w = world_new(f->p, &(struct world_config){0});
    struct fixture real = {.w = w};
    struct napper n = {&real, CLOCK_REAL, 2 * MS, "x"};
    int64_t before = clock_now(w, CLOCK_REAL);

    assert_true(clock_now(w, CLOCK_HOST) > YEAR_2000);
    assert_int_equal(clock_now(w, CLOCK_VIRTUAL), 0);
    assert_int_equal(world_exec(w, naps, &n), 0);
    assert_true(clock_now(w, CLOCK_REAL) - before >= 2 * MS);
    assert_true(clock_now(w, CLOCK_VIRTUAL) >= 2 * MS);
    world_free(w);
    strbuf_free(&real.log);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_simulated_time_jumps),
        T(test_order_of_timers),
        T(test_manual_clock),
        T(test_step_runs_periodic_timer),
        T(test_sleep_is_cancelled),
        T(test_wake_does_not_end_sleep),
        T(test_real_time),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
