/*
 * Named clocks and timers.  See clock.h.
 *
 * Models: per clock a list of timers by (due, order of arming).  A clock is real (reads the host),
 * simulated (the world's: jumps when nothing can run) or manual (moves by clock_step() only).
 * Leaves out: thousands of timers; arming is linear in the number armed on that clock.
 */
#include "ref/engine/clock.h"

#include <assert.h>
#include <errno.h>
#include <time.h>

#include "ref/engine/eventq.h"
#include "ref/engine/internal.h"

#define NS_PER_S  1000000000LL
#define YEAR_2000 (946684800LL * NS_PER_S)

struct sleep_wait {
    struct timer timer;
    struct co *co;
    int result;
};

void clock_init(struct world *w)
{
    for (int c = 0; c < CLOCK_COUNT; c++) {
        list_init(&w->clocks[c].timers);
    }
    w->clocks[CLOCK_HOST].now = YEAR_2000;
}

static bool stands_still(const struct world *w, enum clock_name c)
{
    return w->simulated || w->clocks[c].manual;
}

/* The host's reading; virtual time starts at zero when it is first read. */
static int64_t host_now(struct world *w, enum clock_name c)
{
    struct world_clock *k = &w->clocks[c];
    struct timespec ts;
    int64_t ns;

    clock_gettime(c == CLOCK_HOST ? CLOCK_REALTIME : CLOCK_MONOTONIC, &ts);
    ns = ts.tv_sec * NS_PER_S + ts.tv_nsec;
    if (c == CLOCK_VIRTUAL && !k->based) {
        k->base = ns;
        k->based = true;
    }
    return ns - k->base;
}

int64_t clock_now(struct world *w, enum clock_name c)
{
    if (stands_still(w, c)) {
        return w->clocks[c].now;
    }
    return event_value(w, EVENT_CLOCK, c, host_now(w, c));
}

void clock_set_manual(struct world *w, enum clock_name c)
{
    w->clocks[c].now = clock_now(w, c);
    w->clocks[c].manual = true;
}

void clock_set(struct world *w, enum clock_name c, int64_t ns)
{
    assert(stands_still(w, c));
    w->clocks[c].now = ns;
}

static struct timer *first_timer(struct world *w, enum clock_name c)
{
    struct list *l = &w->clocks[c].timers;

    return list_empty(l) ? NULL : LIST_FIRST(l, struct timer, link);
}

/* Runs the timers of one clock that are due at `now`. */
static bool fire(struct world *w, enum clock_name c, int64_t now)
{
    struct timer *t;
    bool any = false;

    while ((t = first_timer(w, c)) && t->due <= now) {
        timer_disarm(t);
        t->fn(t->arg);
        any = true;
    }
    return any;
}

void clock_step(struct world *w, enum clock_name c, int64_t ns)
{
    struct world_clock *k = &w->clocks[c];
    int64_t end;
    struct timer *t;

    assert(stands_still(w, c) && ns >= 0);
    end = k->now + ns;
    /* Each timer sees the time it asked for, so that one that arms itself again keeps its period.
     */
    while ((t = first_timer(w, c)) && t->due <= end) {
        k->now = MAX(k->now, t->due);
        fire(w, c, k->now);
    }
    k->now = end;
}

bool clock_fire(struct world *w)
{
    bool any = false;

    for (int c = 0; c < CLOCK_COUNT && w->timers > 0; c++) {
        struct timer *t = first_timer(w, c);
        int64_t now;

        if (!t || w->clocks[c].manual) {
            continue;
        }
        now = w->simulated ? w->clocks[c].now : host_now(w, c);
        if (t->due <= now) {
            if (!w->simulated) {
                event_note(w, EVENT_TIMERS, c, now);
            }
            any |= fire(w, c, now);
        }
    }
    return any;
}

bool clock_fire_at(struct world *w, enum clock_name c, int64_t now)
{
    return fire(w, c, now);
}

bool clock_jump(struct world *w)
{
    int64_t delta = INT64_MAX;

    assert(w->simulated);
    for (int c = 0; c < CLOCK_COUNT; c++) {
        struct timer *t = first_timer(w, c);

        if (t && !w->clocks[c].manual) {
            delta = MIN(delta, MAX(0, t->due - w->clocks[c].now));
        }
    }
    if (delta == INT64_MAX) {
        return false;
    }
    for (int c = 0; c < CLOCK_COUNT; c++) {
        if (!w->clocks[c].manual) {
            w->clocks[c].now += delta;
        }
    }
    w->steps++;
    return clock_fire(w);
}

int64_t clock_wait_ns(struct world *w)
{
    int64_t wait = -1;

    for (int c = 0; c < CLOCK_COUNT && w->timers > 0; c++) {
        struct timer *t = first_timer(w, c);

        if (t && !w->clocks[c].manual) {
            int64_t ns = t->due - host_now(w, c); /* read once: MAX() would read twice */

            ns = MAX(0, ns);
            wait = wait < 0 ? ns : MIN(wait, ns);
        }
    }
    return wait;
}

void timer_init(struct timer *t, struct world *w, enum clock_name c, void (*fn)(void *), void *arg)
{
    *t = (struct timer){.w = w, .clock = c, .fn = fn, .arg = arg};
    list_init(&t->link);
}

void timer_arm(struct timer *t, int64_t due_ns)
{
    struct list *timers = &t->w->clocks[t->clock].timers;
    struct list *pos;

    timer_disarm(t);
    t->due = due_ns;
    t->armed = true;
    t->w->timers++;
    pos = timers->prev;
    while (pos != timers && LIST_ENTRY(pos, struct timer, link)->due > due_ns) {
        pos = pos->prev;
    }
    list_insert_(&t->link, pos, pos->next);
}

void timer_disarm(struct timer *t)
{
    if (t->armed) {
        list_remove(&t->link);
        t->armed = false;
        t->w->timers--;
    }
}

static void sleep_over(void *arg)
{
    struct sleep_wait *s = arg;

    s->co->sleep = NULL;
    co_ready(s->co);
}

int co_sleep(struct world *w, enum clock_name c, int64_t ns)
{
    struct sleep_wait s = {.co = w->self};

    assert(w->self);
    if (ns <= 0) {
        co_yield (w);
        return 0;
    }
    timer_init(&s.timer, w, c, sleep_over, &s);
    timer_arm(&s.timer, clock_now(w, c) + ns);
    w->self->sleep = &s;
    co_suspend(w, CO_WAITING);
    return s.result;
}

void co_sleep_cancel(struct co *co)
{
    struct sleep_wait *s = co->sleep;

    if (s) {
        timer_disarm(&s->timer);
        s->result = -ECANCELED;
        sleep_over(s);
    }
}
