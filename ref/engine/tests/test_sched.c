/*
 * Policies: seeded runs repeat, preemption happens at points only, a scripted policy sees its
 * alternatives.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>

#include "ref/base/strbuf.h"
#include "ref/engine/sched.h"
#include "ref/engine/world.h"

struct run {
    struct world *w;
    struct strbuf log;
    struct co_mutex m;
    int inside;
};

static void works(void *arg)
{
    struct run *r = arg;

    for (int i = 0; i < 4; i++) {
        struct point pt = {POINT_SUBMIT, r, i, 1, true, "work"};

        strbuf_puts(&r->log, co_name(co_self(r->w)));
        sched_point(r->w, &pt);
        co_lock(r->w, &r->m);
        assert_int_equal(r->inside++, 0);
        sched_point(r->w, &pt);
        r->inside--;
        co_unlock(r->w, &r->m);
    }
}

static char *run_with(struct sched_policy *policy)
{
    struct process *p = process_new();
    struct run r = {
        .w = world_new(p, &(struct world_config){.policy = policy, .simulated_time = true})};

    co_spawn(r.w, "A", works, &r);
    co_spawn(r.w, "B", works, &r);
    co_spawn(r.w, "C", works, &r);
    world_settle(r.w);
    assert_int_equal(world_live(r.w), 0);
    world_free(r.w);
    process_free(p);
    return strbuf_take(&r.log);
}

static char *run_seeded(uint64_t seed, unsigned permille)
{
    struct sched_seeded s;

    sched_seeded_init(&s, seed, permille);
    return run_with(&s.base);
}

static void test_fifo_never_preempts(void **state)
{
    char *log = run_with(NULL);

    assert_string_equal(log, "AAAABBBBCCCC");
    mem_free(log);
}

static void test_seeded_run_repeats(void **state)
{
    unsigned differ = 0;
    char *first = run_seeded(0, 500);

    for (uint64_t seed = 0; seed < 20; seed++) {
        char *a = run_seeded(seed, 500), *b = run_seeded(seed, 500);

        assert_string_equal(a, b);
        differ += strcmp(a, first) != 0;
        mem_free(a);
        mem_free(b);
    }
    assert_true(differ > 10);
    mem_free(first);
}

static void test_seeded_without_preemption(void **state)
{
    char *log = run_seeded(3, 0);

    /* Only the order of the three is chosen: nobody is interrupted. */
    for (int i = 0; i < 12; i++) {
        assert_int_equal(log[i], log[i / 4 * 4]);
    }
    mem_free(log);
}

/* Preempts at every point; picks by script, then the first; writes down what it could have picked.
 */
struct scripted {
    struct sched_policy base;
    const char *script;
    struct strbuf seen;
};

static unsigned scripted_pick(struct sched_policy *p, const struct sched_candidate *c, unsigned n)
{
    struct scripted *s = container_of(p, struct scripted, base);
    char want = *s->script ? *s->script++ : '\0';
    unsigned choice = 0;

    for (unsigned i = 0; i < n; i++) {
        if (co_name(c[i].co)[0] == want) {
            choice = i;
        }
    }
    strbuf_printf(&s->seen, "%u", n);
    if (c[choice].point) {
        strbuf_printf(&s->seen, "@%s+%d", c[choice].point->name, (int)c[choice].point->offset);
    }
    strbuf_printf(&s->seen, "#%u ", c[choice].id);
    return choice;
}

static bool always(struct sched_policy *p, struct world *w, const struct point *pt)
{
    return pt->kind == POINT_SUBMIT;
}

static void test_scripted_policy(void **state)
{
    struct scripted s = {{scripted_pick, always}, "CCBA", STRBUF_INIT};
    char *log = run_with(&s.base);

    assert_memory_equal(log, "CBA", 3);
    assert_memory_equal(s.seen.s, "3#2 3@work+0#2 3#1 3#0 ", 23);
    mem_free(log);
    strbuf_free(&s.seen);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fifo_never_preempts),
        cmocka_unit_test(test_seeded_run_repeats),
        cmocka_unit_test(test_seeded_without_preemption),
        cmocka_unit_test(test_scripted_policy),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
