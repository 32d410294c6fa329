/*
 * The speed of a job: a budget of bytes for each slice of 100 ms.
 */
#include "ref/job/job.h"

#include "ref/base/mem.h"
#include "ref/engine/clock.h"

#define SLICE_NS 100000000LL

void rate_limit_set(struct rate_limit *l, uint64_t bytes_per_second)
{
    l->slice_ns = SLICE_NS;
    l->quota = bytes_per_second ? MAX(bytes_per_second / 10, 1) : 0;
}

int64_t rate_limit_account(struct rate_limit *l, struct world *w, uint64_t bytes)
{
    if (!l->quota) {
        return 0;
    }
    int64_t now = clock_now(w, CLOCK_REAL);
    if (l->slice_end <= now) {
        l->slice_end = now + l->slice_ns;
        l->used = 0;
    }
    l->used += bytes;
    if (l->used < l->quota) {
        return 0;
    }
    /* What was used beyond the budget costs further slices. */
    double slices = (double)l->used / (double)l->quota;
    int64_t begin = l->slice_end - l->slice_ns;
    double end = slices * (double)l->slice_ns;
    l->slice_end = end > 1e17 ? begin + (int64_t)1e17 : begin + (int64_t)end;
    return l->slice_end - now;
}
