/*
 * The record of a run: everything that came in from outside, in order.
 *
 * Models: completions of asynchronous file I/O, readiness and data of sockets, signals, readings of
 * real clocks, timers that a real clock made due, and the host's random seed.  Each event that the
 * scheduler delivers carries the step (see struct world) at which it came in, so that a replay of
 * the same program with the same policy delivers it at the same place.  A replay runs file
 * operations again, on files in the state they had when the recorded run began, and compares their
 * results; sockets and signals are not touched: their events and data come from the log.
 * host_call() runs again.  Leaves out: what third-party libraries receive on sockets of their own.
 *
 * Text form: a line "blkref-events 1", then one line an event, "KIND STEP ID VALUE [DATA]", data in
 * hexadecimal.
 */
#ifndef BLKREF_ENGINE_EVENTS_H
#define BLKREF_ENGINE_EVENTS_H

#include "ref/base/error.h"
#include "ref/base/strbuf.h"
#include "ref/engine/world.h"

struct event_log;
struct event_log *event_log_new(void);
void event_log_free(struct event_log *log);
size_t event_log_count(const struct event_log *log);
void event_log_write(const struct event_log *log, struct strbuf *out);
/* NULL with err (EINVAL) on text that is no log. */
struct event_log *event_log_parse(const char *text, struct error **err);
int event_log_save(const struct event_log *log, const char *path, struct error **err);
struct event_log *event_log_load(const char *path, struct error **err);

/* Both before the world's first coroutine runs; the log must outlive the world. */
void world_record(struct world *w, struct event_log *log);
void world_replay(struct world *w, const struct event_log *log);
/*
 * How the replay first differed from its log, or NULL.  From there on nothing more is delivered:
 * sockets fail with ECONNABORTED, what waits stays suspended, and world_exec() returns -EDEADLK.
 */
const char *world_replay_error(const struct world *w);
/* True when every event of the log was used. */
bool world_replay_done(const struct world *w);

#endif
