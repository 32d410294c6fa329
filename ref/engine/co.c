/*
 * Coroutines: functions with a stack of their own that suspend until somebody makes them ready.
 *
 * Models: spawn, suspend, park and wake; every switch goes through the scheduler's context.  Leaves
 * out: who runs next (sched.c), what they wait for (waitq.c, lock.c, clock.c, host.c).
 */
#include "ref/engine/internal.h"

#include <assert.h>

#include "ref/engine/sanitize.h"

/* Enters or leaves no frame that a checker watches: its own red zones would outlive it. */
NO_ASAN static void co_entry(void *arg)
{
    struct co *co = arg;
    struct world *w = co->w;

    san_arrive(NULL, &w->sched_lo, &w->sched_size);
    co->fn(co->arg);
    co->state = CO_FINISHED;
    san_leave(NULL, w->sched_lo, w->sched_size);
    context_switch(&co->ctx, &w->sched_ctx);
    __builtin_unreachable();
}

struct co *co_spawn(struct world *w, const char *name, co_fn *fn, void *arg)
{
    struct co *co = stack_get(w->process);

    co->w = w;
    co->fn = fn;
    co->arg = arg;
    co->name = name;
    co->id = w->next_id++;
    co->woken = false;
    co->point = NULL;
    co->sleep = NULL;
    co->poll = NULL;
    co->fake_stack = NULL;
    context_make(&co->ctx, co->stack_lo, co->stack_size, co_entry, co);
    list_push(&w->all, &co->all);
    w->live++;
    co->state = CO_WAITING;
    co_ready(co);
    return co;
}

static void co_release(struct co *co)
{
    list_remove(&co->all);
    co->w->live--;
    stack_put(co->w->process, co);
}

void co_resume(struct world *w, struct co *co)
{
    assert(co->state == CO_READY && w->self == NULL);
    list_remove(&co->link);
    co->state = CO_RUNNING;
    co->point = NULL;
    w->self = co;
    w->steps++;
    san_leave(&w->sched_fake, co->stack_lo, co->stack_size);
    context_switch(&w->sched_ctx, &co->ctx);
    san_arrive(w->sched_fake, NULL, NULL);
    w->self = NULL;
    if (co->state == CO_FINISHED) {
        if (co == w->exec_co) {
            w->exec_done = true;
        }
        co_release(co);
    }
}

static void switch_out(struct world *w, struct co *co)
{
    san_leave(&co->fake_stack, w->sched_lo, w->sched_size);
    context_switch(&co->ctx, &w->sched_ctx);
    san_arrive(co->fake_stack, &w->sched_lo, &w->sched_size);
}

void co_suspend(struct world *w, enum co_state state)
{
    struct co *co = w->self;

    assert(co && co->state == CO_RUNNING && (state == CO_PARKED || state == CO_WAITING));
    co->state = state;
    switch_out(w, co);
}

void co_ready(struct co *co)
{
    assert(co->state == CO_PARKED || co->state == CO_WAITING);
    co->state = CO_READY;
    list_push(&co->w->ready, &co->link);
}

static void yield_at(struct world *w, const struct point *pt)
{
    struct co *co = w->self;

    assert(co && co->state == CO_RUNNING);
    co->state = CO_READY;
    co->point = pt;
    list_push(&w->ready, &co->link);
    switch_out(w, co);
}

void co_yield (struct world *w)
{
    struct point pt = {.kind = POINT_YIELD, .name = "yield"};

    yield_at(w, &pt);
}

void sched_point_slow(struct world *w, const struct point *pt)
{
    if (w->self && w->policy->preempt(w->policy, w, pt)) {
        yield_at(w, pt);
    }
}

struct co *co_self(struct world *w)
{
    return w->self;
}

const char *co_name(const struct co *co)
{
    return co->name;
}

void co_park(struct world *w)
{
    assert(w->self);
    if (w->self->woken) {
        w->self->woken = false;
        return;
    }
    co_suspend(w, CO_PARKED);
}

void co_wake(struct co *co)
{
    if (co->state == CO_PARKED) {
        co_ready(co);
    } else {
        co->woken = true;
    }
}

/*
 * Takes back the stacks of coroutines that will not run again.  What is still referenced from their
 * live part is abandoned on purpose.
 */
void co_reap_all(struct world *w)
{
    while (!list_empty(&w->all)) {
        struct co *co = LIST_FIRST(&w->all, struct co, all);
        void *sp = CONTEXT_SP(&co->ctx, co->stack_lo);

        assert(co->state != CO_RUNNING);
        san_unpoison(co->stack_lo, co->stack_size);
        san_forgive(sp, co);
        list_remove(&co->link);
        co_release(co);
    }
}
