/*
 * Worker threads.  See workers.h.
 */
#include "ref/engine/workers.h"

#include <assert.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct workers {
    pthread_mutex_t lock;
    pthread_cond_t work;
    struct list queue;
    unsigned queued;
    unsigned idle;
    unsigned count;
    bool stop;
    pthread_t threads[WORKERS_MAX];
};

struct workers *workers_new(void)
{
    struct workers *ws = mem_zalloc(sizeof(*ws));

    pthread_mutex_init(&ws->lock, NULL);
    pthread_cond_init(&ws->work, NULL);
    list_init(&ws->queue);
    return ws;
}

static void *worker(void *arg)
{
    struct workers *ws = arg;

    pthread_mutex_lock(&ws->lock);
    for (;;) {
        while (list_empty(&ws->queue) && !ws->stop) {
            ws->idle++;
            pthread_cond_wait(&ws->work, &ws->lock);
            ws->idle--;
        }
        if (list_empty(&ws->queue)) {
            break;
        }
        struct job *job = LIST_FIRST(&ws->queue, struct job, link);
        list_remove(&job->link);
        ws->queued--;
        pthread_mutex_unlock(&ws->lock);
        job->run(job);
        pthread_mutex_lock(&ws->lock);
    }
    pthread_mutex_unlock(&ws->lock);
    return NULL;
}

static void start_one(struct workers *ws)
{
    sigset_t all, old;
    int ret;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    ret = pthread_create(&ws->threads[ws->count], NULL, worker, ws);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (ret == 0) {
        ws->count++;
    } else if (ws->count == 0) {
        fprintf(stderr, "worker thread: %s\n", strerror(ret));
        abort();
    }
}

void workers_queue(struct workers *ws, struct job *job)
{
    pthread_mutex_lock(&ws->lock);
    assert(!ws->stop);
    list_push(&ws->queue, &job->link);
    ws->queued++;
    if (ws->queued > ws->idle && ws->count < WORKERS_MAX) {
        start_one(ws);
    }
    pthread_cond_signal(&ws->work);
    pthread_mutex_unlock(&ws->lock);
}

unsigned workers_count(struct workers *ws)
{
    pthread_mutex_lock(&ws->lock);
    unsigned n = ws->count;
    pthread_mutex_unlock(&ws->lock);
    return n;
}

void workers_free(struct workers *ws)
{
    if (!ws) {
        return;
    }
    pthread_mutex_lock(&ws->lock);
    ws->stop = true;
    pthread_cond_broadcast(&ws->work);
    pthread_mutex_unlock(&ws->lock);
    for (unsigned i = 0; i < ws->count; i++) {
        pthread_join(ws->threads[i], NULL);
    }
    assert(list_empty(&ws->queue));
    pthread_cond_destroy(&ws->work);
    pthread_mutex_destroy(&ws->lock);
    mem_free(ws);
}
