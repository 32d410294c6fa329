/*
 * What happens when nothing is ready: simulated time jumps, real time is waited for.
 */
#include "ref/engine/internal.h"

#include <time.h>

bool gather(struct world *w)
{
    return w->timers > 0 && clock_fire(w);
}

bool idle(struct world *w, bool settle)
{
    struct timespec ts;
    int64_t ns;

    if (gather(w)) {
        return true;
    }
    if (w->simulated) {
        return clock_jump(w);
    }
    ns = clock_wait_ns(w);
    if (ns < 0) {
        return false;
    }
    ts = (struct timespec){ ns / 1000000000, ns % 1000000000 };
    nanosleep(&ts, NULL);
    clock_fire(w);
    return true;
}
