/*
 * Time lines.  See timeline.h.
 *
 * Time is the log's clock.  Where a schedule is drawn, each turn of a coroutine is an instant of
 * its own, between the host's.
 */
#include "harness/explore/timeline.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include "harness/explore/schedule_policy.h"
#include "ref/base/mem.h"

#define HOST_LINES  48 /* of the last I/Os; older ones only where the cut decides */
#define FAULT_LINES 32 /* a fault that stays fires often */
#define RAN_LINES   400

#define NOBODY SIZE_MAX

struct turn {
    size_t op; /* whose, or NOBODY of the program */
    uint64_t clock;
};

struct watching {
    struct sched_policy base; /* before the schedule's own */
    struct sched_policy *inner;
    struct fault_watch faults;
    const struct recording *rec;
    struct turn *turns;
    size_t n_turns, cap_turns;
    struct strbuf *out;
    unsigned n_faults;
};

/* ---- watching ---- */

static size_t op_of(const struct recording *rec, const struct co *co)
{
    for (size_t i = 0; rec->runs && i < rec->program->n_ops; i++) {
        if (rec->runs[i] == co) {
            return i;
        }
    }
    return NOBODY;
}

static unsigned pick(struct sched_policy *p, const struct sched_candidate *c, unsigned n)
{
    struct watching *w = container_of(p, struct watching, base);
    unsigned chosen = w->inner->pick(w->inner, c, n);
    if (w->n_turns == w->cap_turns) {
        w->cap_turns = w->cap_turns * 2 + 64;
        w->turns = mem_realloc(w->turns, w->cap_turns * sizeof(*w->turns));
    }
    w->turns[w->n_turns++] =
        (struct turn){op_of(w->rec, c[chosen].co), disk_log_clock(w->rec->log)};
    return chosen;
}

static bool preempt(struct sched_policy *p, struct world *w, const struct point *pt)
{
    struct sched_policy *inner = container_of(p, struct watching, base)->inner;
    return inner->preempt(inner, w, pt);
}

/* A stamp of the log among the turns. */
static uint64_t when(const struct watching *w, uint64_t stamp)
{
    size_t n = 0;
    while (n < w->n_turns && w->turns[n].clock <= stamp) {
        n++;
    }
    return stamp ? stamp + n : 0;
}

static uint64_t turn_at(const struct watching *w, size_t i)
{
    return i < w->n_turns ? w->turns[i].clock + i : when(w, disk_log_clock(w->rec->log));
}

static void fires(struct fault_watch *f, const struct fault_event *ev, const struct fault_entry *e)
{
    struct watching *w = container_of(f, struct watching, faults);
    bool memory = e->kind == FAULT_NOMEM;
    if (w->n_faults++ >= FAULT_LINES) {
        return;
    }
    uint64_t turn = w->n_turns; /* all there are until now */
    strbuf_printf(w->out, TIMELINE "fault %" PRIu64 " %s %d %s %" PRId64 " %" PRId64 " %s\n",
                  disk_log_clock(w->rec->log) + turn, fault_kind_name(e->kind),
                  e->kind == FAULT_ERROR || e->kind == FAULT_SHORT ? e->error ? e->error : EIO : 0,
                  memory ? "allocation" : fault_iotype_name(ev->req.iotype), ev->req.offset,
                  ev->req.bytes, label_name(ev->label));
}

/* ---- printing ---- */

/* Its first turn and the end of its last one; where none were watched, by the log's clock. */
static void span_of_op(const struct watching *w, size_t op, uint64_t *began, uint64_t *ended)
{
    *began = w->n_turns ? 0 : w->rec->began[op];
    *ended = w->rec->ended[op];
    for (size_t i = 0; i < w->n_turns; i++) {
        if (w->turns[i].op == op) {
            *began = *began ? *began : turn_at(w, i);
            *ended = *ended ? turn_at(w, i + 1) : 0;
        }
    }
}

static void print_ops(const struct watching *w, struct strbuf *out)
{
    const struct recording *rec = w->rec;
    for (size_t i = 0; rec->began && i < rec->program->n_ops; i++) {
        uint64_t began, ended;
        span_of_op(w, i, &began, &ended);
        strbuf_printf(out, TIMELINE "op %" PRIu64 " %" PRIu64 " ", began, ended);
        op_print(out, &rec->program->ops[i]);
        strbuf_putc(out, '\n');
        if (rec->ended[i] && rec->status[i] < 0) {
            strbuf_printf(out, TIMELINE "ended %zu %s\n", i, strerror(-rec->status[i]));
        }
    }
}

static void print_turns(const struct watching *w, struct strbuf *out)
{
    unsigned lines = 0;
    for (size_t i = 0, end; i < w->n_turns && lines < RAN_LINES; i = end) {
        end = i + 1;
        while (end < w->n_turns && w->turns[end].op == w->turns[i].op) {
            end++;
        }
        if (w->turns[i].op != NOBODY) {
            lines++;
            strbuf_printf(out, TIMELINE "ran %zu %" PRIu64 " %" PRIu64 "\n", w->turns[i].op,
                          turn_at(w, i), turn_at(w, end));
        }
    }
}

struct hosting {
    const struct watching *w;
    size_t issued; /* so many ops until the cut */
    struct strbuf *out;
};

static void print_host(void *opaque, size_t i, const char *fate, bool open)
{
    const struct hosting *h = opaque;
    const struct disk_op *op = disk_log_op(h->w->rec->log, i);
    if (!open && i + HOST_LINES < h->issued) {
        return;
    }
    uint64_t done = op->completed == DISK_OP_IN_FLIGHT ? 0 : when(h->w, op->completed);
    strbuf_printf(h->out, TIMELINE "host %zu %" PRIu64 " %" PRIu64 " %s %d %" PRId64 " %" PRId64, i,
                  when(h->w, op->issued), done, disk_op_kind_name(op->kind), op->disk, op->offset,
                  op->bytes);
    strbuf_printf(h->out, " %s %s\n", label_name(op->label), fate);
}

static void print_uncut(struct hosting *h)
{
    const struct disk_log *log = h->w->rec->log;
    h->issued = disk_log_len(log);
    for (size_t i = 0; i < h->issued; i++) {
        const struct disk_op *op = disk_log_op(log, i);
        bool open = op->completed == DISK_OP_IN_FLIGHT, failed = op->flags & DISK_OP_FAILED;
        if (op->kind != DISK_OP_MARK) {
            print_host(h, i,
                       failed                      ? "failed"
                       : open                      ? "open"
                       : op->kind == DISK_OP_FLUSH ? "done"
                                                   : "ok",
                       false);
        }
    }
}

static void print_all(const struct watching *w, const char *state, unsigned sector,
                      struct strbuf *out)
{
    const struct recording *rec = w->rec;
    struct hosting h = {.w = w, .out = out};
    print_ops(w, out);
    print_turns(w, out);
    if (!state || state[0] != 'c') {
        print_uncut(&h);
        return;
    }
    uint64_t cut = strtoull(state + 1, NULL, 10);
    while (h.issued < disk_log_len(rec->log) && disk_log_op(rec->log, h.issued)->issued < cut) {
        h.issued++;
    }
    strbuf_printf(out, TIMELINE "cut %" PRIu64 "\n", when(w, cut));
    crash_state_fates(&rec->base, rec->log, sector, state, print_host, &h, NULL);
}

void timeline_recorded(const struct recording *rec, const char *state, unsigned sector,
                       struct strbuf *out)
{
    struct watching w = {.rec = rec};
    print_all(&w, state, sector, out);
}

/* ---- running ---- */

/* What the cut left, on disks of its own; false when the id names nothing. */
static bool build_state(const struct recording *rec, const char *state, unsigned sector,
                        struct disk_set *out)
{
    struct error *err = NULL;
    int ret = crash_state_build(&rec->base, rec->log, sector, state, out, &err);
    error_free(err);
    return ret == 0;
}

static void print_maps(struct sandbox *sb, const struct recording *rec, const char *state,
                       unsigned sector, const struct disk_set *whole, struct strbuf *out)
{
    struct disk_set left;
    sandbox_map(sb, rec->program, &rec->base, "# map fresh ", out);
    if (whole) {
        sandbox_map(sb, rec->program, whole, "# map whole ", out);
    }
    if (state && build_state(rec, state, sector, &left)) {
        sandbox_map(sb, rec->program, &rec->end, "# map uncut ", out);
        sandbox_map(sb, rec->program, &left, "# map left ", out);
        disk_set_free(&left);
    } else {
        sandbox_map(sb, rec->program, &rec->end, "# map end ", out);
    }
}

static bool disturbed(const struct timeline_run *how)
{
    return how->fault && strcmp(how->fault, "none");
}

/* The run itself; out: lines of the faults that fired. */
static void record(struct sandbox *sb, const struct program *p, const struct disk_set *base,
                   const struct timeline_run *how, struct watching *w, struct recording *rec)
{
    struct schedule_policy policy;
    struct fault_plan plan;
    struct error *err = NULL;
    uint8_t *script = NULL;
    size_t len = 0;
    fault_plan_init(&plan);
    schedule_policy_init(&policy);
    plan.watch = &w->faults;
    if (disturbed(how)) {
        fault_plan_parse(&plan, how->fault, NULL);
    }
    if (how->schedule && schedule_policy_parse(how->schedule, &script, &len, NULL) == 0) {
        schedule_policy_start(&policy, script, len);
        w->inner = &policy.base;
        sandbox_set_policy(sb, &w->base, SCHEDULE_BLOCK);
    }
    bool faults = how->fault != NULL;
    sandbox_record(sb, p, base, faults ? &plan : NULL, faults, rec, &err);
    sandbox_set_policy(sb, NULL, 0);
    error_free(err);
    mem_free(script);
    schedule_policy_free(&policy);
    fault_plan_destroy(&plan);
}

void timeline_run(struct sandbox *sb, const struct program *p, const struct timeline_run *how,
                  struct strbuf *out)
{
    unsigned sector = how->sector ? how->sector : 512;
    char *state = how->state && how->state[0] == 'c'
                      ? str_ndup(how->state, strcspn(how->state, "/"))
                      : NULL; /* of a repair that was cut: what it began with */
    struct disk_set base;
    struct recording rec, whole;
    struct strbuf faults = STRBUF_INIT;
    struct watching w = {.base = {pick, preempt}, .faults = {fires}, .rec = &rec, .out = &faults};
    if (sandbox_create(sb, p, &base, NULL) < 0) {
        mem_free(state);
        return;
    }
    record(sb, p, &base, how, &w, &rec);
    print_all(&w, state, sector, out);
    strbuf_puts(out, faults.s ? faults.s : "");
    if (disturbed(how)) {
        struct timeline_run undisturbed = {.schedule = how->schedule};
        struct watching nobody = {.base = {pick, preempt}, .rec = &whole, .out = &faults};
        record(sb, p, &base, &undisturbed, &nobody, &whole);
        mem_free(nobody.turns);
    }
    print_maps(sb, &rec, state, sector, disturbed(how) ? &whole.end : NULL, out);
    if (disturbed(how)) {
        recording_free(&whole);
    }
    recording_free(&rec);
    disk_set_free(&base);
    strbuf_free(&faults);
    mem_free(w.turns);
    mem_free(state);
}

size_t timeline_start(const char *text)
{
    const char *at = strstr(text, "\n" TIMELINE);
    return at ? (size_t)(at + 1 - text) : strlen(text);
}
