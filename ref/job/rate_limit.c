/*
 * The speed of a job: a budget of bytes for each slice of 100 ms.
 */
#include "ref/job/job.h"

#include "ref/base/mem.h"
#include "ref/engine/clock.h"

#define SLICE_NS 100000000LL

void rate_limit_set(struct rate_limit *l, uint64_t bytes_per_second)
{
    l->quota = bytes_per_second ? MAX(bytes_per_second / 10, 1) : 0;
}

/* When what was used of the budget is paid, counted from the slice's beginning: at least one slice.
 */
static int64_t paid(const struct rate_limit *l)
{
    double slices = (double)l->used / (double)l->quota;
    double ns = slices * SLICE_NS;
    return l->begin + (ns > 1e17 ? (int64_t)1e17 : (int64_t)MAX(ns, SLICE_NS));
}

int64_t rate_limit_account(struct rate_limit *l, struct world *w, uint64_t bytes)
{
    if (!l->quota) {
        return 0;
    }
    int64_t now = clock_now(w, CLOCK_REAL), wait = 0;
    if (paid(l) <= now) {
        l->begin = now;
        l->used = 0;
    }
    if (l->used >= l->quota) {
        wait = paid(l) - now;
    }
    l->used += MIN(bytes, UINT64_MAX - l->used);
    return wait;
}
