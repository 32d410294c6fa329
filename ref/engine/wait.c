/*
 * The entrance of the event queue: completions, readiness, signals and due timers come in here and
 * nowhere else.
 *
 * Models: taking what has come in, and waiting when nothing is ready.  Simulated time jumps only
 * when no file I/O is in flight and no socket or signal is ready.  A replay delivers what its log
 * has for this step instead.
 */
#include <inttypes.h>
#include <time.h>

#include "ref/engine/eventq.h"
#include "ref/engine/hostio.h"

#define NS_PER_S 1000000000LL

static struct host_op *pending_op(struct world *w, uint64_t id)
{
    struct host_op *op;

    LIST_FOREACH (op, &w->events->pending, job.link) {
        if (op->id == id) {
            return op;
        }
    }
    return NULL;
}

static struct poll_wait *poll_by_id(struct world *w, uint64_t id)
{
    struct poll_wait *p;

    LIST_FOREACH (p, &w->polls, link) {
        if (p->id == id) {
            return p;
        }
    }
    return NULL;
}

/* Descriptor numbers (of open, perhaps of a call) may differ from one process to the next. */
static bool same_result(const struct host_op *op, int64_t recorded)
{
    if ((op->kind == HOP_OPEN || op->kind == HOP_CALL) && op->result >= 0) {
        return recorded >= 0;
    }
    return op->result == recorded;
}

static void replay_event(struct world *w, const struct event *e)
{
    struct host_op *op;
    struct poll_wait *p;

    if (e->kind == EVENT_TIMERS && e->id < CLOCK_COUNT) {
        clock_fire_at(w, (enum clock_name)e->id, e->value);
    } else if (e->kind == EVENT_SIGNAL) {
        signals_deliver(w, (int)e->id);
    } else if (e->kind == EVENT_POLL && (p = poll_by_id(w, e->id))) {
        poll_complete(p, (int)e->value);
    } else if (e->kind == EVENT_DONE && (op = pending_op(w, e->id))) {
        if (!same_result(op, e->value)) {
            event_diverged(
                w, "step %" PRIu64 ": operation %" PRIu64 " gave %" PRId64 ", the log has %" PRId64,
                w->steps, e->id, op->result, e->value);
        }
        list_remove(&op->job.link);
        host_op_complete(op);
    } else {
        event_diverged(w, "step %" PRIu64 ": nothing waits for event %" PRIu64, w->steps, e->id);
    }
}

static bool replay_events(struct world *w)
{
    const struct event *e;
    bool any = false;

    while ((e = event_due(w))) {
        replay_event(w, e);
        any = true;
    }
    w->steps += any;
    return any;
}

static void add_fd(struct world *w, unsigned *n, int fd, short events)
{
    if (fd < 0) {
        return;
    }
    if (*n == w->pollfds_cap) {
        w->pollfds_cap = MAX(8, 2 * *n);
        w->pollfds = mem_realloc(w->pollfds, w->pollfds_cap * sizeof(*w->pollfds));
    }
    w->pollfds[(*n)++] = (struct pollfd){fd, events, 0};
}

/* Asks the kernel what is ready.  Sockets that are complete their waits, in the order these began.
 */
static bool poll_fds(struct world *w, int64_t timeout)
{
    struct timespec ts = {timeout / NS_PER_S, timeout % NS_PER_S};
    struct poll_wait *p, *tmp;
    unsigned n = 0, i = 0;
    bool any = false;

    LIST_FOREACH (p, &w->polls, link) {
        add_fd(w, &n, p->fd, p->events);
    }
    if (timeout != 0) {
        add_fd(w, &n, threads_fd(w), POLLIN);
        add_fd(w, &n, uring_fd(w), POLLIN);
        add_fd(w, &n, signals_fd(w), POLLIN);
    }
    if (ppoll(w->pollfds, n, timeout < 0 ? NULL : &ts, NULL) <= 0) {
        return false;
    }
    LIST_FOREACH_SAFE (p, tmp, &w->polls, link) {
        if (w->pollfds[i].revents) {
            event_note(w, EVENT_POLL, p->id, w->pollfds[i].revents);
            poll_complete(p, w->pollfds[i].revents);
            any = true;
        }
        i++;
    }
    return any;
}

bool wait_events(struct world *w, int64_t timeout)
{
    bool any, only_ring;

    if (replaying(w)) {
        return replay_events(w);
    }
    any = uring_take(w);
    any |= threads_take(w);
    uring_flush(w);
    only_ring = uring_fd(w) >= 0 && threads_fd(w) < 0 && signals_fd(w) < 0 && w->npolls == 0;
    if (any) {
        timeout = 0;
    }
    if (timeout < 0 && only_ring) {
        uring_wait(w);
    } else if (timeout != 0 || w->npolls > 0) {
        any |= poll_fds(w, timeout);
    }
    any |= uring_take(w);
    any |= threads_take(w);
    any |= signals_take(w);
    if (!w->simulated && w->timers > 0) {
        any |= clock_fire(w);
    }
    w->steps += any;
    return any;
}

static bool idle_simulated(struct world *w, bool settle)
{
    bool inputs = !settle && (w->npolls > 0 || w->signals);

    if (w->inflight > 0) {
        wait_events(w, -1);
        return true;
    }
    if (wait_events(w, 0) || clock_jump(w)) {
        return true;
    }
    if (inputs) {
        wait_events(w, -1);
    }
    return inputs;
}

static bool idle_replay(struct world *w, bool settle)
{
    if (replay_events(w) || (w->simulated && w->inflight == 0 && clock_jump(w))) {
        return true;
    }
    if (w->inflight > 0 || (!settle && w->npolls > 0)) {
        event_diverged(w, "step %" PRIu64 ": the run waits, and the log has nothing for it",
                       w->steps);
    }
    return false;
}

bool idle(struct world *w, bool settle)
{
    bool inputs = !settle && (w->npolls > 0 || w->signals);
    int64_t timeout;

    if (replaying(w)) {
        return idle_replay(w, settle);
    }
    if (w->simulated) {
        return idle_simulated(w, settle);
    }
    timeout = clock_wait_ns(w);
    if (w->inflight == 0 && timeout < 0 && !inputs) {
        return wait_events(w, 0);
    }
    wait_events(w, timeout);
    return true;
}
