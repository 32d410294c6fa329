/*
 * The state machine of jobs as data: which status may follow which, and which command is taken in
 * which.
 */
#include "ref/job/job.h"

const char *const job_type_names[] = {"commit", "stream", "mirror",  "backup",
                                      "create", "amend",  "convert", NULL};
const char *const job_status_names[] = {"undefined", "created",   "running", "paused",
                                        "ready",     "standby",   "waiting", "pending",
                                        "aborting",  "concluded", "null",    NULL};
const char *const job_verb_names[] = {"cancel",   "pause",    "resume",  "set-speed",
                                      "complete", "finalize", "dismiss", NULL};

#define TO(status) (1u << JOB_##status)

static const unsigned next_status[JOB_STATUS_COUNT] = {
    [JOB_UNDEFINED] = TO(CREATED),
    [JOB_CREATED] = TO(RUNNING) | TO(ABORTING) | TO(NULL),
    [JOB_RUNNING] = TO(PAUSED) | TO(READY) | TO(WAITING) | TO(ABORTING),
    [JOB_PAUSED] = TO(RUNNING),
    [JOB_READY] = TO(STANDBY) | TO(WAITING) | TO(ABORTING),
    [JOB_STANDBY] = TO(READY),
    [JOB_WAITING] = TO(PENDING) | TO(ABORTING),
    [JOB_PENDING] = TO(ABORTING) | TO(CONCLUDED),
    [JOB_ABORTING] = TO(CONCLUDED),
    [JOB_CONCLUDED] = TO(NULL),
    [JOB_NULL] = 0,
};

static const unsigned verb_in[JOB_VERB_COUNT] = {
    [JOB_VERB_CANCEL] = TO(CREATED) | TO(RUNNING) | TO(PAUSED) | TO(READY) | TO(STANDBY) |
                        TO(WAITING) | TO(PENDING),
    [JOB_VERB_PAUSE] = TO(CREATED) | TO(RUNNING) | TO(PAUSED) | TO(READY) | TO(STANDBY),
    [JOB_VERB_RESUME] = TO(CREATED) | TO(RUNNING) | TO(PAUSED) | TO(READY) | TO(STANDBY),
    [JOB_VERB_SET_SPEED] = TO(CREATED) | TO(RUNNING) | TO(PAUSED) | TO(READY) | TO(STANDBY),
    [JOB_VERB_COMPLETE] = TO(READY) | TO(STANDBY),
    [JOB_VERB_FINALIZE] = TO(PENDING),
    [JOB_VERB_DISMISS] = TO(CONCLUDED),
};

bool job_transition_allowed(enum job_status from, enum job_status to)
{
    return next_status[from] & (1u << to);
}

bool job_verb_allowed(enum job_status in, enum job_verb v)
{
    return verb_in[v] & (1u << in);
}
