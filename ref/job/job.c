/*
 * The life of a job: created, running (or paused, ready, standby), waiting, pending, concluded, or
 * aborting on the way.
 */
#include "ref/job/job.h"

#include <assert.h>
#include <errno.h>
#include "ref/base/mem.h"
#include "ref/engine/clock.h"

/* The world's jobs. */
struct jobs {
    struct list all;
};
static const char jobs_key;

static struct jobs *world_jobs(struct world *w)
{
    struct jobs *s = world_attachment(w, &jobs_key);
    if (!s) {
        s = mem_zalloc(sizeof(*s));
        list_init(&s->all);
        world_attach(w, &jobs_key, s, mem_free);
    }
    return s;
}

struct sleeper {
    struct list link;
    struct co *co;
};

static void set_status(struct job *j, enum job_status to)
{
    assert(job_transition_allowed(j->status, to));
    j->status = to;
    if (j->watch.status) {
        j->watch.status(j, j->watch.opaque);
    }
    waitq_wake_all(j->w, &j->changed);
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
    set_status(j, JOB_CREATED);
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
    assert(j->status == JOB_NULL && list_empty(&j->sleepers));
    if (j->drv->free) {
        j->drv->free(j);
    }
    error_free(j->err);
    mem_free(j->id);
    mem_free(j);
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

/* CONCLUDED to NULL: leaves the list, whose reference goes. */
static void dismiss(struct job *j)
{
    set_status(j, JOB_NULL);
    list_remove(&j->link);
    job_unref(j);
}

static void fail(struct job *j, int ret, struct error *err)
{
    assert(ret < 0);
    j->ret = ret;
    error_propagate(&j->err, err);
    set_status(j, JOB_ABORTING);
    if (j->drv->abort) {
        j->drv->abort(j);
    }
}

/* Waits in PENDING for the user, prepares and commits. */
static void succeed(struct job *j)
{
    struct error *err = NULL;
    set_status(j, JOB_WAITING);
    int ret = j->drv->prepare && !job_cancelled(j) ? j->drv->prepare(j, &err) : 0;
    if (ret == 0 && !job_cancelled(j)) {
        set_status(j, JOB_PENDING);
        while ((j->flags & JOB_MANUAL_FINALIZE) && !j->finalize && !job_cancelled(j)) {
            waitq_wait(j->w, &j->changed);
        }
    }
    if (ret < 0 || job_cancelled(j)) {
        fail(j, ret < 0 ? ret : -ECANCELED, err);
        return;
    }
    if (j->drv->commit) {
        j->drv->commit(j);
    }
}

static void life(void *arg)
{
    struct job *j = arg;
    struct error *err = NULL;
    int ret = -ECANCELED;
    job_ref(j);
    j->coroutines = 1;
    if (!job_cancelled(j)) {
        set_status(j, JOB_RUNNING);
        job_pause_point(j);
        ret = job_cancelled(j) ? -ECANCELED : j->drv->run(j, &err);
    }
    assert(j->coroutines == 1 && j->parked == 0);
    j->coroutines = 0;
    if (ret == 0 && job_cancelled(j)) {
        ret = -ECANCELED;
    }
    if (ret < 0) {
        fail(j, ret, err);
    } else {
        assert(!err);
        succeed(j);
    }
    if (j->drv->clean) {
        j->drv->clean(j);
    }
    j->co = NULL;
    set_status(j, JOB_CONCLUDED);
    if (!(j->flags & JOB_MANUAL_DISMISS)) {
        dismiss(j);
    }
    job_unref(j);
}

void job_start(struct job *j)
{
    assert(!j->started && j->status == JOB_CREATED);
    j->started = true;
    j->co = co_spawn(j->w, "job", life, j);
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
        error_propagate(err, j->err ? error_clone(j->err) : NULL);
    }
    job_unref(j);
    return ret;
}

/* ---- commands ---- */

int job_apply_verb(const struct job *j, enum job_verb v, struct error **err)
{
    if (job_verb_allowed(j->status, v)) {
        return 0;
    }
    return error_set(err, EPERM, "Job '%s' in state '%s' cannot accept command verb '%s'",
                     j->id ? j->id : "", job_status_names[j->status], job_verb_names[v]);
}

/* Ends sleeps and waits, so that everybody looks at pause and cancel again. */
static void kick(struct job *j)
{
    struct sleeper *s;
    LIST_FOREACH (s, &j->sleepers, link) {
        co_sleep_cancel(s->co);
    }
    waitq_wake_all(j->w, &j->changed);
    if (j->drv->kick && j->co) {
        j->drv->kick(j);
    }
}

void job_pause(struct job *j)
{
    if (j->pause_count++ == 0) {
        kick(j);
    }
}

void job_resume(struct job *j)
{
    assert(j->pause_count > 0);
    if (--j->pause_count == 0) {
        waitq_wake_all(j->w, &j->resume);
    }
}

int job_user_pause(struct job *j, struct error **err)
{
    int ret = job_apply_verb(j, JOB_VERB_PAUSE, err);
    if (ret < 0) {
        return ret;
    }
    if (j->user_paused) {
        return error_set(err, EBUSY, "Job is already paused");
    }
    j->user_paused = true;
    job_pause(j);
    return 0;
}

int job_user_resume(struct job *j, struct error **err)
{
    if (!j->user_paused || j->pause_count <= 0) {
        return error_set(err, EINVAL, "Can't resume a job that was not paused");
    }
    int ret = job_apply_verb(j, JOB_VERB_RESUME, err);
    if (ret < 0) {
        return ret;
    }
    j->user_paused = false;
    job_resume(j);
    return 0;
}

int job_set_speed(struct job *j, int64_t bytes_per_second, struct error **err)
{
    int ret = job_apply_verb(j, JOB_VERB_SET_SPEED, err);
    if (ret < 0) {
        return ret;
    }
    if (bytes_per_second < 0) {
        return error_set(err, EINVAL, "Invalid parameter 'speed'");
    }
    j->speed = bytes_per_second;
    rate_limit_set(&j->limit, (uint64_t)bytes_per_second);
    kick(j);
    return 0;
}

int job_complete(struct job *j, struct error **err)
{
    int ret = job_apply_verb(j, JOB_VERB_COMPLETE, err);
    if (ret < 0) {
        return ret;
    }
    if (j->cancelled || !j->drv->complete) {
        return error_set(err, EBUSY, "The active block job '%s' cannot be completed",
                         j->id ? j->id : "");
    }
    ret = j->drv->complete(j, err);
    kick(j);
    return ret;
}

/* A paused job has to run to see that it is cancelled. */
int job_cancel(struct job *j, bool force, struct error **err)
{
    int ret = job_apply_verb(j, JOB_VERB_CANCEL, err);
    if (ret < 0) {
        return ret;
    }
    j->cancelled = true;
    if (force || !j->drv->cancel || !j->co || j->drv->cancel(j)) {
        j->force_cancel = true;
    }
    if (j->user_paused) {
        j->user_paused = false;
        job_resume(j);
    }
    waitq_wake_all(j->w, &j->resume);
    if (!j->started) {
        job_start(j);
    }
    kick(j);
    return 0;
}

int job_finalize(struct job *j, struct error **err)
{
    int ret = job_apply_verb(j, JOB_VERB_FINALIZE, err);
    if (ret == 0) {
        j->finalize = true;
        waitq_wake_all(j->w, &j->changed);
    }
    return ret;
}

int job_dismiss(struct job *j, struct error **err)
{
    int ret = job_apply_verb(j, JOB_VERB_DISMISS, err);
    if (ret == 0) {
        dismiss(j);
    }
    return ret;
}

/* ---- for drivers ---- */

static bool at_rest(const struct job *j)
{
    return j->status == JOB_PAUSED || j->status == JOB_STANDBY;
}

/* One more coroutine stands still: the last one makes the job paused. */
static void park(struct job *j)
{
    j->parked++;
    assert(j->parked <= j->coroutines);
    if (j->parked == j->coroutines && job_should_pause(j) && !at_rest(j)) {
        set_status(j, j->status == JOB_READY ? JOB_STANDBY : JOB_PAUSED);
    }
}

static void unpark(struct job *j)
{
    assert(j->parked > 0);
    j->parked--;
    if (at_rest(j)) {
        set_status(j, j->status == JOB_STANDBY ? JOB_READY : JOB_RUNNING);
    }
}

void job_pause_point(struct job *j)
{
    co_yield (j->w);
    while (job_should_pause(j) && !job_cancelled(j)) {
        park(j);
        waitq_wait(j->w, &j->resume);
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
    set_status(j, JOB_READY);
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
    if (j->coroutines > 1 && j->parked == j->coroutines && job_should_pause(j) && !at_rest(j)) {
        set_status(j, j->status == JOB_READY ? JOB_STANDBY : JOB_PAUSED);
    }
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
