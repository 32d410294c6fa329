/*
 * Locks between coroutines of one world.
 *
 * Models: a mutex and a reader-writer lock, both fair: who comes first is served first, and a lock
 * that is given up is handed over before anybody else can take it.  A reader queues behind a
 * waiting writer.  Neither is recursive.  Leaves out: ownership across worlds or threads.
 */
#include "ref/engine/internal.h"

#include <assert.h>

void co_lock(struct world *w, struct co_mutex *m)
{
    sched_point(w, &(struct point){.kind = POINT_LOCK, .object = m, .write = true, .name = "lock"});
    assert(w->self && m->owner != w->self);
    if (!m->owner) {
        m->owner = w->self;
        return;
    }
    waitq_wait(w, &m->q);
    assert(m->owner == w->self);
}

void co_unlock(struct world *w, struct co_mutex *m)
{
    assert(w->self && m->owner == w->self);
    m->owner = waitq_empty(&m->q) ? NULL : LIST_FIRST(&m->q.waiters, struct co, link);
    waitq_wake_one(w, &m->q);
}

/* On the stack of a coroutine that waits for a reader-writer lock. */
struct rw_wait {
    struct list link;
    struct co *co;
    bool write;
};

static bool rw_grant(struct co_rwlock *l, struct co *co, bool write)
{
    if (l->writer || (write && l->readers > 0)) {
        return false;
    }
    if (write) {
        l->writer = co;
    } else {
        l->readers++;
    }
    return true;
}

static void rw_lock(struct world *w, struct co_rwlock *l, bool write)
{
    struct rw_wait wait = {.co = w->self, .write = write};

    assert(w->self && l->writer != w->self);
    if (!l->waiters.next) {
        list_init(&l->waiters);
    }
    if (list_empty(&l->waiters) && rw_grant(l, w->self, write)) {
        return;
    }
    list_push(&l->waiters, &wait.link);
    co_suspend(w, CO_WAITING);
}

void co_rdlock(struct world *w, struct co_rwlock *l)
{
    sched_point(w, &(struct point){.kind = POINT_LOCK, .object = l, .name = "rdlock"});
    rw_lock(w, l, false);
}

void co_wrlock(struct world *w, struct co_rwlock *l)
{
    sched_point(w,
                &(struct point){.kind = POINT_LOCK, .object = l, .write = true, .name = "wrlock"});
    rw_lock(w, l, true);
}

void co_rwunlock(struct world *w, struct co_rwlock *l)
{
    if (l->writer) {
        assert(l->writer == w->self);
        l->writer = NULL;
    } else {
        assert(l->readers > 0);
        l->readers--;
    }
    while (!list_empty(&l->waiters)) {
        struct rw_wait *first = LIST_FIRST(&l->waiters, struct rw_wait, link);

        if (!rw_grant(l, first->co, first->write)) {
            break;
        }
        list_remove(&first->link);
        co_ready(first->co);
    }
}
