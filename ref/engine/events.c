/*
 * The event record: making, writing, reading and replaying it.  See events.h.
 */
#include "ref/engine/events.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "ref/base/iov.h"
#include "ref/engine/eventq.h"

#define MAGIC "blkref-events 1\n"

struct event_log {
    struct event *v;
    size_t n, cap;
};

static const char *const kind_names[EVENT_KINDS] = {
    "clock", "seed", "socket", "done", "poll", "timers", "signal",
};

struct event_log *event_log_new(void)
{
    return mem_zalloc(sizeof(struct event_log));
}

void event_log_free(struct event_log *log)
{
    if (!log) {
        return;
    }
    for (size_t i = 0; i < log->n; i++) {
        mem_free(log->v[i].data);
    }
    mem_free(log->v);
    mem_free(log);
}

size_t event_log_count(const struct event_log *log)
{
    return log->n;
}

static struct event *append(struct event_log *log)
{
    if (log->n == log->cap) {
        log->cap = MAX(64, 2 * log->cap);
        log->v = mem_realloc(log->v, log->cap * sizeof(*log->v));
    }
    log->v[log->n] = (struct event){0};
    return &log->v[log->n++];
}

/* ---- text ---- */

void event_log_write(const struct event_log *log, struct strbuf *out)
{
    strbuf_puts(out, MAGIC);
    for (size_t i = 0; i < log->n; i++) {
        const struct event *e = &log->v[i];

        strbuf_printf(out, "%s %" PRIu64 " %" PRIu64 " %" PRId64, kind_names[e->kind], e->step,
                      e->id, e->value);
        if (e->len > 0) {
            strbuf_putc(out, ' ');
        }
        for (size_t b = 0; b < e->len; b++) {
            strbuf_printf(out, "%02x", e->data[b]);
        }
        strbuf_putc(out, '\n');
    }
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Data up to the end of the line; returns what follows, or NULL. */
static const char *parse_data(const char *s, struct event *e)
{
    size_t digits = strcspn(s, "\n");

    if (digits % 2 != 0) {
        return NULL;
    }
    e->len = digits / 2;
    e->data = mem_alloc(e->len);
    for (size_t i = 0; i < e->len; i++) {
        int hi = hex_digit(s[2 * i]), lo = hex_digit(s[2 * i + 1]);

        if (hi < 0 || lo < 0) {
            return NULL;
        }
        e->data[i] = (uint8_t)(hi << 4 | lo);
    }
    return s + digits;
}

/* One line; returns the start of the next, or NULL. */
static const char *parse_event(const char *s, struct event *e)
{
    char name[16];
    int used = 0;

    if (sscanf(s, "%15[a-z] %" SCNu64 " %" SCNu64 " %" SCNd64 "%n", name, &e->step, &e->id,
               &e->value, &used) != 4) {
        return NULL;
    }
    for (e->kind = 0; e->kind < EVENT_KINDS && strcmp(kind_names[e->kind], name) != 0; e->kind++) {
    }
    s += used;
    if (e->kind == EVENT_KINDS) {
        return NULL;
    }
    if (*s == ' ') {
        s = parse_data(s + 1, e);
    }
    return s && *s == '\n' ? s + 1 : NULL;
}

struct event_log *event_log_parse(const char *text, struct error **err)
{
    struct event_log *log;
    unsigned line = 2;

    if (strncmp(text, MAGIC, strlen(MAGIC)) != 0) {
        error_set(err, EINVAL, "Not an event log");
        return NULL;
    }
    log = event_log_new();
    for (const char *s = text + strlen(MAGIC); *s; line++) {
        s = parse_event(s, append(log));
        if (!s) {
            error_set(err, EINVAL, "Event log, line %u: malformed", line);
            event_log_free(log);
            return NULL;
        }
    }
    return log;
}

int event_log_save(const struct event_log *log, const char *path, struct error **err)
{
    struct strbuf text = STRBUF_INIT;
    FILE *f = fopen(path, "w");
    int ret = 0;

    if (!f) {
        return error_set_errno(err, errno, "Could not create event log '%s'", path);
    }
    event_log_write(log, &text);
    fwrite(text.s, 1, text.len, f);
    if (ferror(f) | fclose(f)) {
        ret = error_set(err, EIO, "Could not write event log '%s'", path);
    }
    strbuf_free(&text);
    return ret;
}

struct event_log *event_log_load(const char *path, struct error **err)
{
    struct strbuf text = STRBUF_INIT;
    struct event_log *log = NULL;
    FILE *f = fopen(path, "r");
    char buf[4096];
    size_t n;

    if (!f) {
        error_set_errno(err, errno, "Could not open event log '%s'", path);
        return NULL;
    }
    while ((n = fread(buf, 1, sizeof(buf), f)) > 0) {
        strbuf_add(&text, buf, n);
    }
    if (ferror(f)) {
        error_set(err, EIO, "Could not read event log '%s'", path);
    } else {
        log = event_log_parse(text.s ? text.s : "", err);
    }
    fclose(f);
    strbuf_free(&text);
    return log;
}

/* ---- worlds ---- */

static struct event_queue *attach(struct world *w)
{
    assert(!w->events && w->steps == 0);
    w->events = mem_zalloc(sizeof(*w->events));
    list_init(&w->events->pending);
    return w->events;
}

void world_record(struct world *w, struct event_log *log)
{
    attach(w)->record = log;
}

void world_replay(struct world *w, const struct event_log *log)
{
    attach(w)->replay = log;
}

const char *world_replay_error(const struct world *w)
{
    return w->events ? w->events->error : NULL;
}

bool world_replay_done(const struct world *w)
{
    return replaying(w) && !w->events->error && w->events->pos == w->events->replay->n;
}

void events_free(struct world *w)
{
    if (w->events) {
        mem_free(w->events->error);
        mem_free(w->events);
        w->events = NULL;
    }
}

void event_note_data(struct world *w, enum event_kind kind, uint64_t id, int64_t value,
                     const struct iov *q, size_t q_off, size_t len)
{
    struct event *e;

    if (!w->events || !w->events->record) {
        return;
    }
    e = append(w->events->record);
    *e = (struct event){.kind = kind, .step = w->steps, .id = id, .value = value};
    if (len > 0) {
        e->len = len;
        e->data = mem_alloc(len);
        iov_to_buf(q, q_off, e->data, len);
    }
}

void event_note(struct world *w, enum event_kind kind, uint64_t id, int64_t value)
{
    event_note_data(w, kind, id, value, NULL, 0, 0);
}

void event_diverged(struct world *w, const char *fmt, ...)
{
    va_list ap;

    if (!w->events->error) {
        va_start(ap, fmt);
        w->events->error = str_vfmt(fmt, ap);
        va_end(ap);
    }
}

static const struct event *next_event(const struct world *w)
{
    const struct event_queue *q = w->events;

    return q->error || q->pos == q->replay->n ? NULL : &q->replay->v[q->pos];
}

const struct event *event_expect(struct world *w, enum event_kind kind, uint64_t id)
{
    const struct event *e = next_event(w);

    if (e && e->kind == kind && e->id == id) {
        w->events->pos++;
        return e;
    }
    event_diverged(w, "step %" PRIu64 ": the run asks for %s %" PRIu64 ", the log has %s %" PRIu64,
                   w->steps, kind_names[kind], id, e ? kind_names[e->kind] : "ended at",
                   e ? e->id : w->events->pos);
    return NULL;
}

const struct event *event_due(struct world *w)
{
    const struct event *e = next_event(w);

    if (!e || EVENT_IN_CALL(e->kind) || e->step != w->steps) {
        return NULL;
    }
    w->events->pos++;
    return e;
}

int64_t event_value(struct world *w, enum event_kind kind, uint64_t id, int64_t value)
{
    if (replaying(w)) {
        const struct event *e = event_expect(w, kind, id);
        return e ? e->value : value;
    }
    event_note(w, kind, id, value);
    return value;
}
