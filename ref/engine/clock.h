/*
 * Named clocks and timers.
 *
 * CLOCK_HOST: wall time (dates in images).  CLOCK_REAL: monotonic, for job rates.  CLOCK_VIRTUAL:
 * guest time, for throttling; under a test accelerator it moves only by clock_step().  In a world
 * with simulated time all three stand still until nothing can run, then jump to the next timer:
 * waiting costs no wall time.
 */
#ifndef BLKREF_ENGINE_CLOCK_H
#define BLKREF_ENGINE_CLOCK_H

#include "ref/engine/world.h"

enum clock_name { CLOCK_HOST, CLOCK_REAL, CLOCK_VIRTUAL, CLOCK_COUNT };

int64_t clock_now(struct world *w, enum clock_name c); /* nanoseconds */
/* From now on the clock moves only by clock_step(). */
void clock_set_manual(struct world *w, enum clock_name c);
void clock_step(struct world *w, enum clock_name c,
                int64_t ns); /* runs due timers' coroutines ready */
/* Sets simulated host time (default 2000-01-01 00:00:00 UTC). */
void clock_set(struct world *w, enum clock_name c, int64_t ns);

/* Suspends the running coroutine.  Returns 0, or -ECANCELED when co_sleep_cancel() ended it. */
int co_sleep(struct world *w, enum clock_name c, int64_t ns);
void co_sleep_cancel(struct co *co);

struct timer {
    struct list link;
    struct world *w;
    enum clock_name clock;
    int64_t due;
    void (*fn)(void *arg); /* runs in the scheduler: may only wake coroutines */
    void *arg;
    bool armed;
};
void timer_init(struct timer *t, struct world *w, enum clock_name c, void (*fn)(void *), void *arg);
void timer_arm(struct timer *t, int64_t due_ns);
void timer_disarm(struct timer *t);

#endif
