/*
 * The event queue as the rest of the engine sees it; nobody outside ref/engine includes it.
 */
#ifndef BLKREF_ENGINE_EVENTQ_H
#define BLKREF_ENGINE_EVENTQ_H

#include "ref/base/iov.h"
#include "ref/engine/events.h"
#include "ref/engine/internal.h"

/* Program order: taken by the call that asked. */
#define EVENT_IN_CALL(kind) ((kind) <= EVENT_SOCKET)
enum event_kind {
    EVENT_CLOCK,  /* id: clock, value: nanoseconds */
    EVENT_SEED,   /* value: seed */
    EVENT_SOCKET, /* id: descriptor's call, value: result, data: what was received */
    EVENT_DONE,   /* id: operation, value: result */
    EVENT_POLL,   /* id: wait, value: revents */
    EVENT_TIMERS, /* id: clock, value: its reading */
    EVENT_SIGNAL, /* id: number */
    EVENT_KINDS
};

struct event {
    enum event_kind kind;
    uint64_t step;
    uint64_t id;
    int64_t value;
    uint8_t *data;
    size_t len;
};

struct event_queue {
    struct event_log *record;
    const struct event_log *replay;
    size_t pos;          /* next event of the replay */
    struct list pending; /* replay: file operations that are done but not yet delivered */
    char *error;
};

static inline bool replaying(const struct world *w)
{
    return w->events && w->events->replay;
}

/* Adds to the record, if one is made. */
void event_note(struct world *w, enum event_kind kind, uint64_t id, int64_t value);
void event_note_data(struct world *w, enum event_kind kind, uint64_t id, int64_t value,
                     const struct iov *q, size_t q_off, size_t len);
/* The replay's next event, which must be of this kind and id: else NULL, and the replay has
 * diverged. */
const struct event *event_expect(struct world *w, enum event_kind kind, uint64_t id);
/* The replay's next event if it is to be delivered at this step, else NULL. */
const struct event *event_due(struct world *w);
void event_diverged(struct world *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* A value that the host gave: recorded, or replaced by the recorded one. */
int64_t event_value(struct world *w, enum event_kind kind, uint64_t id, int64_t value);
void events_free(struct world *w);

#endif
