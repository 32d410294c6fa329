/*
 * The event queue's record: everything a run got from outside, in order.
 */
#ifndef BLKREF_ENGINE_EVENTS_H
#define BLKREF_ENGINE_EVENTS_H

#include "ref/engine/clock.h"
#include "ref/engine/world.h"

/* Internal: until recording is there, readings pass through. */
static inline int64_t events_clock(struct world *w, enum clock_name c, int64_t now) { return now; }
static inline uint64_t events_seed(struct world *w, uint64_t seed) { return seed; }
static inline void events_timers(struct world *w, enum clock_name c, int64_t now) {}

#endif
