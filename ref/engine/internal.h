/*
 * The engine's own view of worlds and coroutines; nobody outside ref/engine includes it.
 */
#ifndef BLKREF_ENGINE_INTERNAL_H
#define BLKREF_ENGINE_INTERNAL_H

#include <poll.h>

#include "ref/engine/clock.h"
#include "ref/engine/context.h"
#include "ref/engine/sched.h"
#include "ref/engine/world.h"

enum co_state {
    CO_READY,
    CO_RUNNING,
    CO_PARKED,  /* in co_park(): co_wake() ends it */
    CO_WAITING, /* in any other wait: only what it waits for ends it */
    CO_FINISHED,
};

struct poll_wait;
struct sleep_wait;

/* Lives at the top of its own stack. */
struct co {
    struct list link; /* ready queue or a wait queue */
    struct list all;  /* world's list of live coroutines; the pool's free list */
    struct world *w;
    struct context ctx;
    co_fn *fn;
    void *arg;
    const char *name;
    unsigned id;
    enum co_state state;
    bool woken;                /* a wake is remembered */
    const struct point *point; /* where it was preempted */
    struct sleep_wait *sleep;  /* while in co_sleep() */
    struct poll_wait *poll;    /* while in host_poll() */
    void *fake_stack;          /* AddressSanitizer's */
    char *stack_lo;            /* above the guard page */
    size_t stack_size;         /* up to this structure */
    unsigned valgrind_id;
};

/* ---- process.c ---- */
struct workers;
struct process {
    struct list free_stacks;
    unsigned pooled;
    unsigned worlds;
    struct workers *workers; /* NULL until the first job */
};
struct co *stack_get(struct process *p);
void stack_put(struct process *p, struct co *co);

/* ---- world.c ---- */
struct world_clock {
    bool manual;
    bool based;         /* virtual clock: base is known */
    int64_t base;       /* host nanoseconds at zero */
    int64_t now;        /* simulated or manual reading */
    struct list timers; /* by (due, order of arming) */
};

struct event_queue;
struct aio_threads;
struct aio_uring;
struct signals;

struct world {
    struct world_head head; /* first: sched_point() reads it */
    bool simulated;
    bool rng_ready;
    bool random_seed;
    bool deny_names;
    bool leak_as_qemu;
    bool plain_data_files;
    bool in_scheduler;
    bool exec_done;
    enum io_backend io;
    struct process *process;
    struct co *self;    /* running coroutine */
    struct co *exec_co; /* what world_exec() waits for */
    struct list ready;
    struct list all;
    unsigned live;
    unsigned next_id;
    uint64_t steps; /* resumes, event batches and clock jumps so far */
    struct context sched_ctx;
    void *sched_fake;
    const void *sched_lo;
    size_t sched_size;
    struct sched_policy *policy;
    struct sched_candidate *candidates;
    unsigned candidates_cap;

    unsigned timers; /* armed, all clocks */
    struct world_clock clocks[CLOCK_COUNT];

    unsigned inflight; /* submitted file I/O */
    unsigned next_op;
    struct event_queue *events; /* recording or replaying, else NULL */
    struct aio_threads *threads;
    struct aio_uring *uring;
    uint64_t batch;    /* host_limit_batch(); 0: no limit */
    struct list polls; /* waits of host_poll(), oldest first */
    unsigned npolls;
    struct pollfd *pollfds; /* scratch of wait.c */
    unsigned pollfds_cap;
    struct signals *signals;

    const struct profile *profile;
    uint64_t seed;
    struct rng rng;
    report_fn *report;
    void *report_opaque;
    const char *prog_name;
    bool exit_on_fatal;
    void *block;
    void (*block_destroy)(void *block);
    struct attachment *attachments;
};

/* ---- attach.c ---- */
void attachments_free(struct world *w);

/* ---- co.c ---- */
/* Suspends the running coroutine in `state`; co_ready() or (parked) co_wake() ends it. */
void co_suspend(struct world *w, enum co_state state);
void co_ready(struct co *c);
/* Scheduler only: runs c until it suspends or finishes. */
void co_resume(struct world *w, struct co *c);
void co_reap_all(struct world *w);

/* ---- clock.c ---- */
void clock_init(struct world *w);
/* Runs timers that are due; true when one was. */
bool clock_fire(struct world *w);
/* As clock_fire() for one clock, with a given reading. */
bool clock_fire_at(struct world *w, enum clock_name c, int64_t now);
/* Simulated time: jumps to the next timer and runs it; false when there is none. */
bool clock_jump(struct world *w);
/* Nanoseconds until the next timer that moves by itself, -1 without one.  Real time only. */
int64_t clock_wait_ns(struct world *w);

/* ---- wait.c ---- */
/*
 * Takes completions, external inputs and due timers; with nothing there, waits for the first of
 * them up to `timeout` nanoseconds (-1: without end).  True when there was one.
 */
bool wait_events(struct world *w, int64_t timeout);
/* Called when nothing is ready: waits for something.  False when nothing can come. */
bool idle(struct world *w, bool settle);

#endif
