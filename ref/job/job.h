/*
 * Jobs: long work that can be watched, paused, cancelled and finalized.
 *
 * Models: the state machine of qapi/job.json.  A job is one coroutine that calls its driver's
 * run(), which may use further coroutines (workers).  All of them call job_pause_point() where they
 * can be stopped; a job counts as paused when each of them stands there.  What follows run() is the
 * transaction's: when all its jobs have run well they are pending, then each prepares, then each
 * commits; when one fails or is cancelled they all abort.  A job that nobody grouped is alone in
 * its transaction.  Leaves out: nodes, their permissions and blockers (ref/job/job_nodes.h).
 */
#ifndef BLKREF_JOB_JOB_H
#define BLKREF_JOB_JOB_H

#include "ref/base/error.h"
#include "ref/base/list.h"
#include "ref/engine/world.h"

enum job_type {
    JOB_COMMIT,
    JOB_STREAM,
    JOB_MIRROR,
    JOB_BACKUP,
    JOB_CREATE,
    JOB_AMEND,
    JOB_CONVERT,
    JOB_TYPE_COUNT
};
enum job_status {
    JOB_UNDEFINED,
    JOB_CREATED,
    JOB_RUNNING,
    JOB_PAUSED,
    JOB_READY,
    JOB_STANDBY,
    JOB_WAITING,
    JOB_PENDING,
    JOB_ABORTING,
    JOB_CONCLUDED,
    JOB_NULL,
    JOB_STATUS_COUNT,
};
enum job_verb {
    JOB_VERB_CANCEL,
    JOB_VERB_PAUSE,
    JOB_VERB_RESUME,
    JOB_VERB_SET_SPEED,
    JOB_VERB_COMPLETE,
    JOB_VERB_FINALIZE,
    JOB_VERB_DISMISS,
    JOB_VERB_COUNT,
};
/* Names as in QMP. */
extern const char *const job_type_names[], *const job_status_names[], *const job_verb_names[];

enum job_flag {
    JOB_MANUAL_FINALIZE = 1 << 0, /* waits in PENDING for job_finalize() */
    JOB_MANUAL_DISMISS = 1 << 1,  /* waits in CONCLUDED for job_dismiss() */
};

struct job;
struct job_txn;
/*
 * One const struct a kind of job.  run, prepare and complete may wait; commit, abort and clean may
 * wait too but cannot fail.  From the first prepare of its transaction on a job is not cancelled
 * any more (job_cancel() has no effect then).
 */
struct job_driver {
    enum job_type type;
    bool block; /* a block job: BLOCK_JOB_* events and query-block-jobs know it */
    /* The work.  0, or -errno with err.  In a coroutine; returns early when job_cancelled(). */
    int (*run)(struct job *j, struct error **err);
    /* When all of the transaction have run well and are to be finalized; may still fail. */
    int (*prepare)(struct job *j, struct error **err);
    /*
     * One of these, then clean.  abort also follows a good prepare (another job's failed), and is
     * called, like clean, for a job that was cancelled before it was started.
     */
    void (*commit)(struct job *j);
    void (*abort)(struct job *j);
    void (*clean)(struct job *j);
    /* With the last reference: releases what the creator handed in. */
    void (*free)(struct job *j);
    /* job-complete in READY or STANDBY; NULL: not possible. */
    int (*complete)(struct job *j, struct error **err);
    /* True when a cancel that is not forced means abort (else the job ends well by itself); NULL:
     * true. */
    bool (*cancel)(struct job *j);
    /* Wakes what only run() knows of (its own waits). */
    void (*kick)(struct job *j);
};

/* What a tool wants to know of its own job; callbacks may not wait. */
struct job_watch {
    void (*status)(struct job *j, void *opaque);
    void (*progress)(struct job *j, void *opaque);
    void *opaque;
};

/* What becomes of a job whose I/O failed: qapi's BlockdevOnError without `auto`. */
enum job_on_error {
    JOB_ON_ERROR_REPORT,
    JOB_ON_ERROR_IGNORE,
    JOB_ON_ERROR_ENOSPC,
    JOB_ON_ERROR_STOP
};
enum job_error_action { JOB_ACTION_REPORT, JOB_ACTION_IGNORE, JOB_ACTION_STOP };
enum job_io_status { JOB_IO_OK, JOB_IO_FAILED, JOB_IO_NOSPACE };

/*
 * What happens to any job of a world, as a monitor tells it: JOB_STATUS_CHANGE, BLOCK_JOB_READY,
 * BLOCK_JOB_PENDING (only where job_finalize() is awaited), BLOCK_JOB_COMPLETED (j->ret < 0:
 * failed), BLOCK_JOB_CANCELLED, BLOCK_JOB_ERROR.  The last two of a job's life come before its
 * CONCLUDED.  Internal jobs (id NULL) and jobs that are no block jobs are told too.
 */
enum job_event_kind {
    JOB_EVENT_STATUS,
    JOB_EVENT_READY,
    JOB_EVENT_PENDING,
    JOB_EVENT_COMPLETED,
    JOB_EVENT_CANCELLED,
    JOB_EVENT_ERROR,
};
struct job_event {
    enum job_event_kind kind;
    struct job *job;
    bool is_read;                 /* of ERROR */
    enum job_error_action action; /* of ERROR */
};
struct job_observer {
    struct list link;
    void (*event)(struct job_observer *o, const struct job_event *e); /* may not wait */
};
void job_observe(struct world *w, struct job_observer *o);
void job_unobserve(struct job_observer *o);

/*
 * Bytes per second, in slices of 100 ms: a request may exceed the budget of its slice, then the
 * next one waits until that is paid.
 */
struct rate_limit {
    int64_t begin;        /* CLOCK_REAL: since when `used` counts */
    uint64_t quota, used; /* of a slice; quota 0: no limit */
};
void rate_limit_set(struct rate_limit *l, uint64_t bytes_per_second);
/* Accounts bytes and says how many ns to wait before moving them. */
int64_t rate_limit_account(struct rate_limit *l, struct world *w, uint64_t bytes);

struct job {
    struct world *w;
    struct list link; /* in the world's list */
    char *id;         /* NULL: internal */
    const struct job_driver *drv;
    void *opaque; /* the driver's */
    enum job_status status;
    unsigned flags;
    int refcnt;
    int pause_count;
    bool user_paused;
    bool cancelled;    /* asked to end */
    bool force_cancel; /* and it is an abort, not an early good end */
    bool started;
    bool settled; /* run() is over, or will never be */
    int ret;
    struct error *err;   /* set when ret < 0 and the job has settled */
    int64_t done, total; /* progress */
    struct rate_limit limit;
    int64_t speed;
    enum job_io_status io_status;
    struct job_watch watch;
    struct job_txn *txn;
    struct list txn_link;
    unsigned coroutines, parked;   /* main and workers, while run() is on; those at rest */
    void (*rested)(struct job *j); /* called when job_busy() turns false */
    struct job_nodes *nodes;       /* of block jobs (job_nodes.h) */
    struct list sleepers;
    struct waitq changed; /* status, pause count */
    struct waitq resume;
};

/*
 * A job in CREATED.  id NULL: internal (no name, dismissed by itself).  NULL with err when the id
 * is taken or malformed ("Invalid job ID 'x'", "Job ID 'x' already in use"); then opaque stays the
 * caller's.  The creator's reference is the world's list's: it ends with dismissal.
 */
struct job *job_new(struct world *w, const char *id, const struct job_driver *drv, void *opaque,
                    unsigned flags, struct error **err);
/* For a creator that failed later on: j ends without a sign of life but its status. */
void job_discard(struct job *j);
void job_ref(struct job *j);
void job_unref(struct job *j);
struct job *job_find(struct world *w, const char *id);
struct job *job_next(struct world *w,
                     struct job *j); /* every job, oldest first; starts with NULL */

/* Transactions: all or none.  The caller's reference ends with job_txn_unref(). */
struct job_txn *job_txn_new(struct world *w);
void job_txn_unref(struct job_txn *t);
/* j is CREATED and alone.  All of a transaction are added before the first one is started. */
void job_txn_add(struct job_txn *t, struct job *j);

/* Nothing happens when it was cancelled before. */
void job_start(struct job *j);
/* Coroutine: until CONCLUDED (or NULL); returns j->ret.  The caller holds a reference. */
int job_wait(struct job *j);
/* Ref, start, wait, unref: for tools.  *err takes the job's error. */
int job_run(struct job *j, struct error **err);

/*
 * Verbs: 0 or -errno with err ("Job 'x' in state 'y' cannot accept command verb 'z'").
 * job_complete() may be given in STANDBY: it takes effect when the job goes on.  A cancel that is
 * not forced (block-job-cancel) is refused while the user paused the job; a forced one (job-cancel)
 * resumes it.  job_finalize() finalizes the whole transaction.
 */
int job_apply_verb(const struct job *j, enum job_verb v, struct error **err);
int job_user_pause(struct job *j, struct error **err);
int job_user_resume(struct job *j, struct error **err);
int job_set_speed(struct job *j, int64_t bytes_per_second, struct error **err);
int job_complete(struct job *j, struct error **err);
int job_cancel(struct job *j, bool force, struct error **err);
int job_finalize(struct job *j, struct error **err);
int job_dismiss(struct job *j, struct error **err);
/* Internal pauses nest (drain). */
void job_pause(struct job *j);
void job_resume(struct job *j);
/* Coroutine, for whoever shuts the world down: every job is cancelled (forced) and dismissed. */
void job_cancel_all(struct world *w);

/* ---- for drivers, in run() and its workers ---- */
static inline bool job_cancelled(const struct job *j)
{
    return j->cancelled && j->force_cancel;
}
/* True when asked to end, hard or soft. */
static inline bool job_cancel_requested(const struct job *j)
{
    return j->cancelled;
}
static inline bool job_should_pause(const struct job *j)
{
    return j->pause_count > 0;
}
/* True while a coroutine of the job is not at rest. */
static inline bool job_busy(const struct job *j)
{
    return j->parked < j->coroutines;
}
/* Stops here while the job is to be paused; a scheduling point. */
void job_pause_point(struct job *j);
/* Waits on CLOCK_REAL; ends early on cancel or when a pause is asked for (and then pauses). */
void job_sleep(struct job *j, int64_t ns);
/* Accounts bytes that are to be moved next, and waits while the speed is used up. */
void job_throttle(struct job *j, uint64_t bytes);
void job_ready(struct job *j);
void job_progress_total(struct job *j, int64_t total);
void job_progress(struct job *j, int64_t delta);
/*
 * I/O failed with -errno `ret`: what the policy makes of it.  STOP has paused the job for the user
 * (resuming it clears the status): try again behind the next job_pause_point().
 */
enum job_error_action job_io_error(struct job *j, enum job_on_error policy, bool is_read, int ret);
/* A worker coroutine begins and ends; between rest_begin and rest_end a coroutine only waits for
 * others of the job. */
void job_worker_begin(struct job *j);
void job_worker_end(struct job *j);
void job_rest_begin(struct job *j);
void job_rest_end(struct job *j);

/* Whether the table allows the change; job.c asserts it. */
bool job_transition_allowed(enum job_status from, enum job_status to);
bool job_verb_allowed(enum job_status in, enum job_verb v);

#endif
