/*
 * Where a job's coroutines stand still: pause points, sleeps, and waits for each other.
 *
 * A job is PAUSED (or in STANDBY) when all of its coroutines are parked; the last one to come sets
 * the status, the first one to go on takes it back.
 */
#include <assert.h>
#include "ref/engine/clock.h"
#include "ref/job/job_impl.h"

struct sleeper {
    struct list link;
    struct co *co;
};

void job_kick(struct job *j)
{
    struct sleeper *s;
    LIST_FOREACH (s, &j->sleepers, link) {
        co_sleep_cancel(s->co);
    }
    waitq_wake_all(j->w, &j->changed);
    if (j->drv->kick && j->coroutines) {
        j->drv->kick(j);
    }
}

void job_pause(struct job *j)
{
    if (j->pause_count++ == 0) {
        job_kick(j);
    }
}

void job_resume(struct job *j)
{
    assert(j->pause_count > 0);
    if (--j->pause_count == 0) {
        waitq_wake_all(j->w, &j->resume);
    }
}

static bool at_rest(const struct job *j)
{
    return j->status == JOB_PAUSED || j->status == JOB_STANDBY;
}

/* After one more coroutine parked, or one of the others ended. */
static void look_at_rest(struct job *j)
{
    assert(j->parked <= j->coroutines);
    if (j->parked < j->coroutines) {
        return;
    }
    if (job_should_pause(j) && !job_cancelled(j) && !at_rest(j)) {
        job_set_status(j, j->status == JOB_READY ? JOB_STANDBY : JOB_PAUSED);
    }
    if (j->rested) {
        j->rested(j);
    }
}

static void park(struct job *j)
{
    j->parked++;
    look_at_rest(j);
}

static void unpark(struct job *j)
{
    assert(j->parked > 0);
    j->parked--;
    if (at_rest(j)) {
        job_set_status(j, j->status == JOB_STANDBY ? JOB_READY : JOB_RUNNING);
    }
}

void job_pause_point(struct job *j)
{
    co_yield (j->w);
    while (job_should_pause(j) && !job_cancelled(j)) {
        park(j);
        if (job_should_pause(j) && !job_cancelled(j)) {
            waitq_wait(j->w, &j->resume);
        }
        unpark(j);
    }
}

void job_sleep(struct job *j, int64_t ns)
{
    if (!job_cancelled(j) && !job_should_pause(j) && ns > 0) {
        struct sleeper s = {.co = co_self(j->w)};
        list_push(&j->sleepers, &s.link);
        co_sleep(j->w, CLOCK_REAL, ns);
        list_remove(&s.link);
    }
    job_pause_point(j);
}

void job_throttle(struct job *j, uint64_t bytes)
{
    int64_t ns = rate_limit_account(&j->limit, j->w, bytes);
    if (ns > 0) {
        job_sleep(j, ns);
    } else {
        job_pause_point(j);
    }
}

void job_ready(struct job *j)
{
    job_set_status(j, JOB_READY);
    job_tell(j, JOB_EVENT_READY);
}

void job_progress_total(struct job *j, int64_t total)
{
    j->total = total;
}

void job_progress(struct job *j, int64_t delta)
{
    j->done += delta;
    if (j->watch.progress) {
        j->watch.progress(j, j->watch.opaque);
    }
}

void job_worker_begin(struct job *j)
{
    j->coroutines++;
}

void job_worker_end(struct job *j)
{
    assert(j->coroutines > 1);
    j->coroutines--;
    look_at_rest(j);
}

void job_rest_begin(struct job *j)
{
    park(j);
}

/* Whoever was woken while the job pauses stays where it is. */
void job_rest_end(struct job *j)
{
    while (job_should_pause(j) && !job_cancelled(j)) {
        waitq_wait(j->w, &j->resume);
    }
    unpark(j);
}
