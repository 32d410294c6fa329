/*
 * Wait queues: suspended coroutines in order of arrival.
 */
#include "ref/engine/internal.h"

void waitq_wait(struct world *w, struct waitq *q)
{
    if (!q->waiters.next) {
        list_init(&q->waiters);
    }
    list_push(&q->waiters, &w->self->link);
    co_suspend(w, CO_WAITING);
}

bool waitq_wake_one(struct world *w, struct waitq *q)
{
    struct co *co;

    if (waitq_empty(q)) {
        return false;
    }
    co = LIST_FIRST(&q->waiters, struct co, link);
    list_remove(&co->link);
    co_ready(co);
    return true;
}

void waitq_wake_all(struct world *w, struct waitq *q)
{
    while (waitq_wake_one(w, q)) {
    }
}

bool waitq_empty(const struct waitq *q)
{
    return !q->waiters.next || list_empty(&q->waiters);
}
