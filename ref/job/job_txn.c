/*
 * Transactions of jobs: all of them take effect, or none.
 *
 * Models: a job that has run well is WAITING until all of its transaction have; then all are
 * PENDING, and when none waits for its user each prepares, and then each commits.  As soon as one
 * fails or is cancelled the others are cancelled, too.  Jobs end one after the other, the newest
 * first; one that stands still is woken when its turn has come.
 */
#include <assert.h>
#include <errno.h>
#include "ref/base/mem.h"
#include "ref/job/job_impl.h"

struct job_txn *job_txn_new(struct world *w)
{
    struct job_txn *t = mem_zalloc(sizeof(*t));
    t->w = w;
    t->refcnt = 1;
    list_init(&t->jobs);
    return t;
}

static void txn_ref(struct job_txn *t)
{
    t->refcnt++;
}

void job_txn_unref(struct job_txn *t)
{
    assert(t->refcnt > 0);
    if (--t->refcnt == 0) {
        assert(list_empty(&t->jobs));
        mem_free(t);
    }
}

void txn_join(struct job_txn *t, struct job *j)
{
    assert(!j->txn && t->phase == TXN_RUNNING);
    txn_ref(t);
    j->txn = t;
    list_push_front(&t->jobs, &j->txn_link);
}

void txn_leave(struct job *j)
{
    struct job_txn *t = j->txn;
    list_remove(&j->txn_link);
    j->txn = NULL;
    job_txn_unref(t);
}

void job_txn_add(struct job_txn *t, struct job *j)
{
    const struct job *other;
    assert(j->status == JOB_CREATED && !j->started && !j->cancelled);
    LIST_FOREACH (other, &t->jobs, txn_link) {
        assert(!other->started);
    }
    txn_leave(j);
    txn_join(t, j);
}

/* Its last events; the list's reference goes unless somebody has to dismiss it. */
static void conclude(struct job *j)
{
    if (j->drv->clean) {
        j->drv->clean(j);
    }
    job_ref(j);
    job_tell(j, j->ret < 0 && j->cancelled ? JOB_EVENT_CANCELLED : JOB_EVENT_COMPLETED);
    job_set_status(j, JOB_CONCLUDED);
    txn_leave(j);
    if (!(j->flags & JOB_MANUAL_DISMISS) && j->status == JOB_CONCLUDED) {
        job_drop(j);
    }
    job_unref(j);
}

static void abort_one(struct job *j)
{
    if (j->ret == 0) {
        j->ret = -ECANCELED;
    }
    if (!j->err) {
        error_set(&j->err, -j->ret, "%s", strerror(-j->ret));
    }
    if (j->status != JOB_ABORTING) {
        job_set_status(j, JOB_ABORTING);
    }
    if (j->drv->abort) {
        j->drv->abort(j);
    }
    conclude(j);
}

/* Coroutine; `cause` has failed, or is NULL. */
static void txn_abort(struct job_txn *t, struct job *cause)
{
    struct job *j;
    txn_ref(t);
    t->phase = TXN_ABORTING;
    if (cause) {
        job_set_status(cause, JOB_ABORTING);
    }
    LIST_FOREACH (j, &t->jobs, txn_link) {
        if (j != cause) {
            job_mark_cancelled(j);
        }
    }
    while (!list_empty(&t->jobs)) {
        j = LIST_FIRST(&t->jobs, struct job, txn_link);
        job_wake_to_end(j);
        while (!j->settled) {
            waitq_wait(t->w, &j->changed);
        }
        abort_one(j);
    }
    job_txn_unref(t);
}

static int prepare_one(struct job *j)
{
    struct error *err = NULL;
    int ret = j->drv->prepare ? j->drv->prepare(j, &err) : 0;
    assert(ret < 0 || !err);
    if (ret < 0) {
        j->ret = ret;
        error_propagate(&j->err, err);
    }
    return ret;
}

/* Coroutine. */
static void txn_finalize(struct job_txn *t)
{
    struct job *j;
    txn_ref(t);
    t->phase = TXN_ENDING;
    LIST_FOREACH (j, &t->jobs, txn_link) {
        if (prepare_one(j) < 0) {
            txn_abort(t, j);
            job_txn_unref(t);
            return;
        }
    }
    while (!list_empty(&t->jobs)) {
        j = LIST_FIRST(&t->jobs, struct job, txn_link);
        if (j->drv->commit) {
            j->drv->commit(j);
        }
        conclude(j);
    }
    job_txn_unref(t);
}

/* Everybody has run well. */
static void txn_converged(struct job_txn *t)
{
    struct job *j, *next;
    bool manual = false;
    t->phase = TXN_PENDING;
    LIST_FOREACH_SAFE (j, next, &t->jobs, txn_link) {
        job_set_status(j, JOB_PENDING);
        if (j->flags & JOB_MANUAL_FINALIZE) {
            manual = true;
            job_tell(j, JOB_EVENT_PENDING);
        }
    }
    if (!manual && t->phase == TXN_PENDING) {
        txn_finalize(t);
    }
}

void txn_settled(struct job *j)
{
    struct job_txn *t = j->txn;
    const struct job *other;
    waitq_wake_all(j->w, &j->changed);
    if (t->phase == TXN_ABORTING) {
        return; /* whoever aborts it goes on with j */
    }
    if (j->ret < 0) {
        txn_abort(t, j);
        return;
    }
    job_set_status(j, JOB_WAITING);
    if (t->phase != TXN_RUNNING) {
        return; /* a watcher cancelled it right now */
    }
    LIST_FOREACH (other, &t->jobs, txn_link) {
        if (!other->settled) {
            return;
        }
    }
    txn_converged(t);
}

/* ---- on behalf of commands, which may not wait ---- */

static void finalize_co(void *arg)
{
    struct job_txn *t = arg;
    txn_finalize(t);
    job_txn_unref(t);
}

void txn_spawn_finalize(struct job_txn *t)
{
    assert(t->phase == TXN_PENDING);
    t->phase = TXN_ENDING;
    txn_ref(t);
    co_spawn(t->w, "finalize", finalize_co, t);
}

static void abort_co(void *arg)
{
    struct job_txn *t = arg;
    txn_abort(t, NULL);
    job_txn_unref(t);
}

void txn_spawn_abort(struct job_txn *t)
{
    assert(t->phase == TXN_RUNNING || t->phase == TXN_PENDING);
    t->phase = TXN_ABORTING;
    txn_ref(t);
    co_spawn(t->w, "abort", abort_co, t);
}
