/*
 * The scheduler loop and the seeded policy.
 *
 * Models: one ready queue, first in first out unless a policy picks.  Completions and inputs are
 * taken when nothing is ready, and every GATHER_EVERY steps so that busy coroutines cannot starve
 * them: both are functions of the steps taken, so a replay takes the same events at the same
 * places.
 */
#include "ref/engine/internal.h"

#include <assert.h>
#include <errno.h>

#define GATHER_EVERY 64

static struct co *pick(struct world *w)
{
    struct co *co;
    unsigned n = 0, choice;

    if (!w->policy || !w->policy->pick) {
        return LIST_FIRST(&w->ready, struct co, link);
    }
    LIST_FOREACH (co, &w->ready, link) {
        if (n == w->candidates_cap) {
            w->candidates_cap = MAX(16, 2 * n);
            w->candidates = mem_realloc(w->candidates, w->candidates_cap * sizeof(*w->candidates));
        }
        w->candidates[n++] = (struct sched_candidate){co, co->id, co->point};
    }
    choice = w->policy->pick(w->policy, w->candidates, n);
    assert(choice < n);
    return w->candidates[choice].co;
}

/* Runs until *done, or until nothing can run any more: then false. */
static bool run(struct world *w, const bool *done, bool settle)
{
    while (!*done) {
        if (list_empty(&w->ready)) {
            if (!idle(w, settle)) {
                return false;
            }
            continue;
        }
        if (w->steps % GATHER_EVERY == GATHER_EVERY - 1) {
            wait_events(w, 0);
        }
        co_resume(w, pick(w));
    }
    return true;
}

int world_exec(struct world *w, void (*fn)(void *arg), void *arg)
{
    bool done;

    assert(!w->in_scheduler && "world_exec() and world_settle() do not nest");
    w->in_scheduler = true;
    w->exec_done = false;
    w->exec_co = co_spawn(w, "main", fn, arg);
    done = run(w, &w->exec_done, false);
    w->exec_co = NULL;
    w->in_scheduler = false;
    return done ? 0 : -EDEADLK;
}

void world_settle(struct world *w)
{
    const bool never = false;

    assert(!w->in_scheduler && "world_exec() and world_settle() do not nest");
    w->in_scheduler = true;
    run(w, &never, true);
    w->in_scheduler = false;
}

static unsigned seeded_pick(struct sched_policy *p, const struct sched_candidate *c, unsigned n)
{
    struct sched_seeded *s = container_of(p, struct sched_seeded, base);

    return n == 1 ? 0 : (unsigned)rng_below(&s->rng, n);
}

static bool seeded_preempt(struct sched_policy *p, struct world *w, const struct point *pt)
{
    struct sched_seeded *s = container_of(p, struct sched_seeded, base);

    return rng_below(&s->rng, 1000) < s->preempt_permille;
}

void sched_seeded_init(struct sched_seeded *s, uint64_t seed, unsigned preempt_permille)
{
    s->base = (struct sched_policy){seeded_pick, seeded_preempt};
    rng_seed(&s->rng, seed);
    s->preempt_permille = preempt_permille;
}
