/*
 * The back end of worker threads: an operation runs on a worker of the process, its completion
 * comes back on a list of the world with an eventfd beside it.
 */
#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "ref/engine/hostio.h"

struct aio_threads {
    pthread_mutex_t lock;
    struct list done;
    bool signalled; /* the eventfd is readable */
    int fd;
    unsigned inflight; /* world's thread only */
};

static struct aio_threads *threads_get(struct world *w)
{
    struct aio_threads *t = w->threads;

    if (!t) {
        t = w->threads = mem_zalloc(sizeof(*t));
        pthread_mutex_init(&t->lock, NULL);
        list_init(&t->done);
        t->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (t->fd < 0) {
            perror("eventfd");
            abort();
        }
    }
    if (!w->process->workers) {
        w->process->workers = workers_new();
    }
    return t;
}

/* On a worker.  The world may be gone as soon as the lock is given up. */
static void run(struct job *job)
{
    struct host_op *op = container_of(job, struct host_op, job);
    struct aio_threads *t = op->w->threads;
    ssize_t n = sizeof(uint64_t);

    host_op_execute(op);
    pthread_mutex_lock(&t->lock);
    list_push(&t->done, &op->job.link);
    if (!t->signalled) {
        t->signalled = true;
        n = write(t->fd, &(uint64_t){1}, sizeof(uint64_t));
    }
    assert(n == sizeof(uint64_t));
    pthread_mutex_unlock(&t->lock);
}

void threads_run(struct world *w, struct host_op *op)
{
    struct aio_threads *t = threads_get(w);

    op->job.run = run;
    t->inflight++;
    workers_queue(w->process->workers, &op->job);
    co_suspend(w, CO_WAITING);
}

int threads_fd(const struct world *w)
{
    return w->threads && w->threads->inflight > 0 ? w->threads->fd : -1;
}

bool threads_take(struct world *w)
{
    struct aio_threads *t = w->threads;
    struct list done;
    bool any = false;

    if (!t || t->inflight == 0) {
        return false;
    }
    list_init(&done);
    pthread_mutex_lock(&t->lock);
    while (!list_empty(&t->done)) {
        struct list *l = t->done.next;

        list_remove(l);
        list_push(&done, l);
    }
    if (t->signalled) {
        uint64_t count;
        ssize_t n = read(t->fd, &count, sizeof(count));

        assert(n == sizeof(count));
        t->signalled = false;
    }
    pthread_mutex_unlock(&t->lock);
    while (!list_empty(&done)) {
        struct host_op *op = LIST_FIRST(&done, struct host_op, job.link);

        list_remove(&op->job.link);
        t->inflight--;
        host_op_complete(op);
        any = true;
    }
    return any;
}

void threads_free(struct world *w)
{
    struct aio_threads *t = w->threads;

    if (t) {
        assert(t->inflight == 0);
        close(t->fd);
        pthread_mutex_destroy(&t->lock);
        mem_free(t);
        w->threads = NULL;
    }
}
