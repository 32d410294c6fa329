/*
 * Worker threads: run blocking jobs beside the world's thread.
 *
 * Models: one first-in-first-out queue and up to 16 threads, started when a job finds none idle.
 * Threads block all signals.  Leaves out: what a job is and who hears of its end (host_threads.c).
 */
#ifndef BLKREF_ENGINE_WORKERS_H
#define BLKREF_ENGINE_WORKERS_H

#include "ref/base/list.h"

#define WORKERS_MAX 16

struct job {
    struct list link;
    void (*run)(struct job *job); /* on a worker; the job may be gone when it returns */
};

struct workers;
struct workers *workers_new(void);
void workers_free(struct workers *ws); /* NULL is fine; queued jobs are run first */
void workers_queue(struct workers *ws, struct job *job);
unsigned workers_count(struct workers *ws); /* threads started so far */

#endif
