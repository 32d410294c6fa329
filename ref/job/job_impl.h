/*
 * What the parts of the job machine share.  Private to ref/job/job*.c.
 */
#ifndef BLKREF_JOB_JOB_IMPL_H
#define BLKREF_JOB_JOB_IMPL_H

#include "ref/job/job.h"

/* Where a transaction stands. */
enum txn_phase {
    TXN_RUNNING, /* some of its jobs have not settled */
    TXN_PENDING, /* all have run well; somebody must say job_finalize() */
    TXN_ENDING,  /* they prepare and commit */
    TXN_ABORTING,
};
struct job_txn {
    struct world *w;
    struct list jobs; /* newest first, which is the order in which they end */
    int refcnt;       /* the maker's, one a job, one while it is being ended */
    enum txn_phase phase;
};

void job_set_status(struct job *j, enum job_status to);
void job_tell(struct job *j, enum job_event_kind kind);
/* CONCLUDED to NULL: leaves the world's list, whose reference goes. */
void job_drop(struct job *j);
/* Ends sleeps and waits, so that everybody looks at pause and cancel again. */
void job_kick(struct job *j);
/* Forced; settles one that was never started. */
void job_mark_cancelled(struct job *j);
/* Lets a job that stands still see that it is to end. */
void job_wake_to_end(struct job *j);

void txn_join(struct job_txn *t, struct job *j);
void txn_leave(struct job *j);
/* Coroutine: j has settled with j->ret.  The last of a transaction to come finalizes it. */
void txn_settled(struct job *j);
/* Ends a transaction in a coroutine of its own: finalizing or aborting. */
void txn_spawn_finalize(struct job_txn *t);
void txn_spawn_abort(struct job_txn *t);

#endif
