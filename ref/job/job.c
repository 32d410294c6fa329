/*
 * Jobs of a world: making, naming, finding and releasing them; their coroutine; who hears of them.
 */
#include "ref/job/job.h"

#include <assert.h>
#include <errno.h>
#include "ref/base/mem.h"
#include "ref/job/job_impl.h"

/* The world's jobs and those who watch all of them. */
struct jobs {
    struct list all;
    struct list observers;
};
static const char jobs_key;

static struct jobs *world_jobs(struct world *w)
{
    struct jobs *s = world_attachment(w, &jobs_key);
    if (!s) {
        s = mem_zalloc(sizeof(*s));
        list_init(&s->all);
        list_init(&s->observers);
        world_attach(w, &jobs_key, s, mem_free);
    }
    return s;
}

/* ---- events ---- */

void job_observe(struct world *w, struct job_observer *o)
{
    list_push(&world_jobs(w)->observers, &o->link);
}

void job_unobserve(struct job_observer *o)
{
    list_remove(&o->link);
}

static void tell_all(const struct job_event *e)
{
    struct job_observer *o, *next;
    LIST_FOREACH_SAFE (o, next, &world_jobs(e->job->w)->observers, link) {
        o->event(o, e);
    }
}

void job_tell(struct job *j, enum job_event_kind kind)
{
    tell_all(&(struct job_event){.kind = kind, .job = j});
}

void job_set_status(struct job *j, enum job_status to)
{
    assert(job_transition_allowed(j->status, to));
    j->status = to;
    if (j->watch.status) {
        j->watch.status(j, j->watch.opaque);
    }
    job_tell(j, JOB_EVENT_STATUS);
    waitq_wake_all(j->w, &j->changed);
}

enum job_error_action job_io_error(struct job *j, enum job_on_error policy, bool is_read, int ret)
{
    static const enum job_error_action actions[] = {
        [JOB_ON_ERROR_REPORT] = JOB_ACTION_REPORT,
        [JOB_ON_ERROR_IGNORE] = JOB_ACTION_IGNORE,
        [JOB_ON_ERROR_STOP] = JOB_ACTION_STOP,
    };
    assert(ret < 0);
    enum job_error_action action = actions[policy];
    if (policy == JOB_ON_ERROR_ENOSPC) {
        action = ret == -ENOSPC ? JOB_ACTION_STOP : JOB_ACTION_REPORT;
    }
    tell_all(&(struct job_event){
        .kind = JOB_EVENT_ERROR, .job = j, .is_read = is_read, .action = action});
    if (action == JOB_ACTION_STOP) {
        if (!j->user_paused) {
            j->user_paused = true; /* for job_user_resume() to end */
            job_pause(j);
        }
        if (j->io_status == JOB_IO_OK) {
            j->io_status = ret == -ENOSPC ? JOB_IO_NOSPACE : JOB_IO_FAILED;
        }
    }
    return action;
}

/* ---- creation and release ---- */

/* A letter first, then letters, digits, '-', '.', '_'. */
static bool id_well_formed(const char *id)
{
    if (!((*id >= 'a' && *id <= 'z') || (*id >= 'A' && *id <= 'Z'))) {
        return false;
    }
    for (const char *p = id + 1; *p; p++) {
        if (!((*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || (*p >= '0' && *p <= '9') ||
              *p == '-' || *p == '.' || *p == '_')) {
            return false;
        }
    }
    return true;
}

struct job *job_new(struct world *w, const char *id, const struct job_driver *drv, void *opaque,
                    unsigned flags, struct error **err)
{
    assert(drv->run);
    if (id && !id_well_formed(id)) {
        error_set(err, EINVAL, "Invalid job ID '%s'", id);
        return NULL;
    }
    if (id && job_find(w, id)) {
        error_set(err, EEXIST, "Job ID '%s' already in use", id);
        return NULL;
    }
    assert(id || !flags);
    struct job *j = mem_zalloc(sizeof(*j));
    *j = (struct job){
        .w = w, .id = str_dup(id), .drv = drv, .opaque = opaque, .flags = flags, .refcnt = 1};
    list_init(&j->sleepers);
    list_push(&world_jobs(w)->all, &j->link);
    struct job_txn *alone = job_txn_new(w);
    txn_join(alone, j);
    job_txn_unref(alone);
    job_set_status(j, JOB_CREATED);
    return j;
}

void job_ref(struct job *j)
{
    j->refcnt++;
}

void job_unref(struct job *j)
{
    assert(j->refcnt > 0);
    if (--j->refcnt) {
        return;
    }
    assert(j->status == JOB_NULL && list_empty(&j->sleepers) && !j->txn);
    if (j->drv->free) {
        j->drv->free(j);
    }
    error_free(j->err);
    mem_free(j->id);
    mem_free(j);
}

void job_drop(struct job *j)
{
    job_set_status(j, JOB_NULL);
    list_remove(&j->link);
    job_unref(j);
}

void job_discard(struct job *j)
{
    assert(j->status == JOB_CREATED && !j->started);
    txn_leave(j);
    job_drop(j);
}

struct job *job_next(struct world *w, struct job *j)
{
    struct list *all = &world_jobs(w)->all, *l = j ? j->link.next : all->next;
    return l == all ? NULL : container_of(l, struct job, link);
}

struct job *job_find(struct world *w, const char *id)
{
    for (struct job *j = job_next(w, NULL); j; j = job_next(w, j)) {
        if (j->id && !strcmp(j->id, id)) {
            return j;
        }
    }
    return NULL;
}

/* ---- its coroutine ---- */

static void life(void *arg)
{
    struct job *j = arg;
    struct error *err = NULL;
    int ret = -ECANCELED;
    j->coroutines = 1;
    if (!job_cancelled(j)) {
        job_set_status(j, JOB_RUNNING);
        job_pause_point(j);
        ret = job_cancelled(j) ? -ECANCELED : j->drv->run(j, &err);
    }
    assert(j->coroutines == 1 && j->parked == 0);
    assert(ret < 0 || !err);
    j->coroutines = 0;
    if (ret == 0 && job_cancelled(j)) {
        ret = -ECANCELED;
    }
    j->ret = ret;
    j->settled = true;
    error_propagate(&j->err, err);
    if (j->rested) {
        j->rested(j);
    }
    txn_settled(j);
    job_unref(j);
}

void job_start(struct job *j)
{
    assert(!j->started);
    if (j->settled) {
        return; /* was cancelled */
    }
    assert(j->status == JOB_CREATED);
    j->started = true;
    job_ref(j);
    co_spawn(j->w, "job", life, j);
}

int job_wait(struct job *j)
{
    while (j->status != JOB_CONCLUDED && j->status != JOB_NULL) {
        waitq_wait(j->w, &j->changed);
    }
    return j->ret;
}

int job_run(struct job *j, struct error **err)
{
    job_ref(j);
    job_start(j);
    int ret = job_wait(j);
    if (ret < 0) {
        error_propagate(err, error_clone(j->err));
    }
    job_unref(j);
    return ret;
}
