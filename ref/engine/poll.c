/*
 * Waiting for descriptors.  See host_poll().
 */
#include <assert.h>
#include <errno.h>

#include "ref/engine/hostio.h"

void poll_complete(struct poll_wait *p, int result)
{
    timer_disarm(&p->timer);
    list_remove(&p->link);
    p->w->npolls--;
    p->result = result;
    p->co->poll = NULL;
    co_ready(p->co);
}

static void timed_out(void *arg)
{
    poll_complete(arg, 0);
}

int host_poll(struct world *w, int fd, short events, int64_t deadline)
{
    struct poll_wait p = {.w = w, .co = w->self, .id = w->next_op++, .fd = fd, .events = events};

    assert(w->self && fd >= 0);
    timer_init(&p.timer, w, CLOCK_REAL, timed_out, &p);
    if (deadline >= 0) {
        timer_arm(&p.timer, deadline);
    }
    list_push(&w->polls, &p.link);
    w->npolls++;
    w->self->poll = &p;
    co_suspend(w, CO_WAITING);
    return p.result;
}

void host_poll_cancel(struct co *co)
{
    if (co->poll) {
        poll_complete(co->poll, -ECANCELED);
    }
}
