/*
 * What users may ask of a job: pause, resume, speed, complete, cancel, finalize, dismiss.
 *
 * None of these waits: they leave word and wake whoever acts on it.
 */
#include <assert.h>
#include <errno.h>
#include "ref/job/job_impl.h"

int job_apply_verb(const struct job *j, enum job_verb v, struct error **err)
{
    if (job_verb_allowed(j->status, v)) {
        return 0;
    }
    return error_set(err, EPERM, "Job '%s' in state '%s' cannot accept command verb '%s'",
                     j->id ? j->id : "", job_status_names[j->status], job_verb_names[v]);
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
    j->io_status = JOB_IO_OK;
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
        return error_set(err, EINVAL, "Parameter 'speed' expects a non-negative value");
    }
    j->speed = bytes_per_second;
    rate_limit_set(&j->limit, (uint64_t)bytes_per_second);
    job_kick(j);
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
    job_kick(j);
    return ret;
}

void job_wake_to_end(struct job *j)
{
    if (j->user_paused) {
        j->user_paused = false;
        job_resume(j);
    }
    waitq_wake_all(j->w, &j->resume);
    job_kick(j);
}

void job_mark_cancelled(struct job *j)
{
    j->cancelled = j->force_cancel = true;
    if (!j->started && !j->settled) {
        j->settled = true;
        j->ret = -ECANCELED;
    }
}

/* Before it was started, or when its work is done, its transaction has to be ended by us. */
static void cancel_idle(struct job *j)
{
    switch (j->txn->phase) {
    case TXN_RUNNING:
    case TXN_PENDING:
        job_mark_cancelled(j);
        txn_spawn_abort(j->txn);
        break;
    case TXN_ENDING:
    case TXN_ABORTING:
        break; /* it ends anyway, one way or the other */
    }
}

int job_cancel(struct job *j, bool force, struct error **err)
{
    int ret = job_apply_verb(j, JOB_VERB_CANCEL, err);
    if (ret < 0) {
        return ret;
    }
    if (!force && j->user_paused) {
        return error_set(err, EBUSY, "The block job for device '%s' is currently paused",
                         j->id ? j->id : "");
    }
    if (!j->started || j->settled) {
        cancel_idle(j);
    } else if (force || !j->drv->cancel || j->drv->cancel(j)) {
        job_mark_cancelled(j);
        job_wake_to_end(j);
    } else {
        j->cancelled = true;
        job_wake_to_end(j);
    }
    return 0;
}

int job_finalize(struct job *j, struct error **err)
{
    int ret = job_apply_verb(j, JOB_VERB_FINALIZE, err);
    if (ret == 0 && j->txn->phase == TXN_PENDING) {
        txn_spawn_finalize(j->txn);
    }
    return ret;
}

int job_dismiss(struct job *j, struct error **err)
{
    int ret = job_apply_verb(j, JOB_VERB_DISMISS, err);
    if (ret == 0) {
        job_drop(j);
    }
    return ret;
}

void job_cancel_all(struct world *w)
{
    struct job *j;
    while ((j = job_next(w, NULL))) {
        job_ref(j);
        if (job_verb_allowed(j->status, JOB_VERB_CANCEL)) {
            job_cancel(j, true, NULL);
        }
        job_wait(j);
        if (j->status == JOB_CONCLUDED) {
            job_drop(j);
        }
        job_unref(j);
    }
}
