/*
 * What a faulted run is judged by.  See fault_explore.h for what is demanded of which kind.
 */
#include "harness/explore/fault_explore_int.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "harness/sandbox/promise.h"
#include "ref/base/mem.h"

/* What the run's faults were, by what may be demanded of it. */
enum harm {
    HARM_NONE,     /* no fault */
    HARM_HIDDEN,   /* delayed, or a hint that was dropped: nobody may notice */
    HARM_LOUD,     /* an error, or a request that was given up */
    HARM_DATA,     /* guest data are not what they should be */
    HARM_METADATA, /* the format's own are not */
};

static bool only_hints(const struct fault_plan *plan)
{
    const unsigned hints = 1u << FAULT_IO_FLUSH | 1u << FAULT_IO_DISCARD;
    for (int l = 0; l < LABEL_COUNT; l++) {
        if (plan->fired[l] && plan->iotypes[l] & ~hints) {
            return false;
        }
    }
    return true;
}

static enum harm harm_of(const struct fault_plan *plan)
{
    enum harm harm = HARM_NONE;
    for (int i = 0; i < plan->n; i++) {
        const struct fault_entry *e = &plan->entries[i];
        enum harm h = HARM_LOUD;
        if (e->kind == FAULT_DELAYED || (e->kind == FAULT_LOST && only_hints(plan))) {
            h = HARM_HIDDEN;
        } else if (fault_kind_is_silent(e->kind)) {
            bool elsewhere = e->kind == FAULT_MISDIRECTED &&
                             plan->iotypes[MAX(e->label, 0)] & 1u << FAULT_IO_WRITE;
            bool meta =
                fault_plan_silent(plan, LABEL_META) || fault_plan_silent(plan, LABEL_CONTROL);
            h = meta || elsewhere ? HARM_METADATA : HARM_DATA;
        }
        harm = MAX(harm, e->fired ? h : HARM_NONE);
    }
    return harm;
}

static void explore_cuts(struct faulting *x, const struct fault_plan *plan,
                         const struct recording *rec)
{
    struct crash_bounds b = crash_options_default.bounds;
    struct crash_state s;
    b.max_states = x->o->cuts;
    struct crash_iter *it = crash_iter_new(&rec->base, rec->log, &b);
    while (!fault_enough(x) && crash_iter_next(it, &s)) {
        const struct oracle *o = recording_oracle(rec, s.cut);
        x->counts->states++;
        if (!sandbox_look(x->sb, x->p, s.set, o, ORACLE_CRASH, 0, &x->looked)) {
            struct strbuf id = STRBUF_INIT;
            crash_iter_id(it, &id);
            fault_report(x, plan, id.s, x->looked.why.s);
            strbuf_free(&id);
        }
    }
    crash_iter_free(it);
}

/* Power is cut behind the last acknowledged flush, and nothing that was not flushed is there. */
static void judge_flushed(struct faulting *x, const struct fault_plan *plan,
                          const struct recording *rec)
{
    struct disk_set set;
    struct error *err = NULL;
    uint64_t cut = disk_log_clock(rec->log);
    char *id = str_fmt("c%llu!", (unsigned long long)cut);
    int ret = crash_state_build(&rec->base, rec->log, 512, id, &set, &err);
    x->counts->states++;
    if (ret < 0) {
        fault_report(x, plan, id, err->msg);
    } else {
        if (!sandbox_look(x->sb, x->p, &set, recording_oracle(rec, cut), ORACLE_CRASH, 0,
                          &x->looked)) {
            fault_report(x, plan, id, x->looked.why.s);
        }
        disk_set_free(&set);
    }
    error_free(err);
    mem_free(id);
}

static void look_at_end(struct faulting *x, const struct fault_plan *plan,
                        const struct recording *rec, unsigned look)
{
    if (rec->wrong) {
        fault_report(x, plan, NULL, rec->why.s);
    }
    if (!sandbox_look(x->sb, x->p, &rec->end, &rec->oracle, ORACLE_CRASH, look, &x->looked)) {
        fault_report(x, plan, NULL, x->looked.why.s);
    }
}

static bool injected(const struct fault_plan *plan, int status)
{
    for (int i = 0; i < plan->n; i++) {
        const struct fault_entry *e = &plan->entries[i];
        if (e->fired && status == -(e->kind == FAULT_HUNG ? ECANCELED : e->error)) {
            return true;
        }
    }
    return false;
}

/* Closing failed, so the image is one that the promise closes to writers: nobody can have changed
 * that since. */
static bool refused_lawfully(const struct faulting *x, const struct recording *rec, size_t i)
{
    return x->p->ops[i].kind == OP_REOPEN && rec->status[i] == -EACCES &&
           promise_refuses(x->p, &rec->end);
}

/* The first operation that ends otherwise than undisturbed ends with the error that was met. */
static void judge_class(struct faulting *x, const struct fault_plan *plan,
                        const struct recording *rec)
{
    char why[120];
    if (rec->opened < 0) {
        if (!injected(plan, rec->opened)) {
            snprintf(why, sizeof(why), "opening fails with %s", strerror(-rec->opened));
            fault_report(x, plan, NULL, why);
        }
        return;
    }
    for (size_t i = 0; i < x->p->n_ops; i++) {
        if (rec->status[i] == x->status[i]) {
            continue;
        }
        bool counts = x->p->ops[i].kind == OP_CHECK; /* not which error it was */
        if (!counts && !injected(plan, rec->status[i]) && !refused_lawfully(x, rec, i)) {
            snprintf(why, sizeof(why), "operation %zu ends with %s instead of %s", i + 1,
                     rec->status[i] < 0 ? strerror(-rec->status[i]) : "success",
                     x->status[i] < 0 ? strerror(-x->status[i]) : "success or the fault");
            fault_report(x, plan, NULL, why);
        }
        return;
    }
}

static void judge_unchanged(struct faulting *x, const struct fault_plan *plan,
                            const struct recording *rec)
{
    for (size_t i = 0; i < x->p->n_ops; i++) {
        if (rec->status[i] != x->status[i]) {
            fault_report(x, plan, NULL, "a fault that does no harm changes what operations return");
            return;
        }
    }
}

/* Nothing dies, hangs or goes on for ever, also in repair; who notices is counted. */
static void judge_survival(struct faulting *x, const struct fault_plan *plan,
                           const struct recording *rec)
{
    struct recording repaired;
    struct error *err = NULL;
    bool lawful = sandbox_look(x->sb, x->p, &rec->end, &rec->oracle, ORACLE_CRASH, 0, &x->looked);
    const struct check_result *c = &x->looked.check;
    bool noticed = !x->looked.opened || c->corruptions || c->leaks || c->check_errors;
    x->counts->silent++;
    x->counts->noticed += noticed;
    x->counts->unnoticed += !noticed && (!lawful || rec->wrong);
    if (x->looked.hung) {
        fault_report(x, plan, NULL, x->looked.why.s);
        return;
    }
    int ret = sandbox_repair(x->sb, x->p, &rec->end, &repaired, &err);
    if (ret < 0) {
        fault_report(x, plan, NULL, err ? err->msg : "repair fails to run");
    } else {
        sandbox_look(x->sb, x->p, &repaired.end, &rec->oracle, ORACLE_CRASH, 0, &x->looked);
        if (x->looked.hung) {
            fault_report(x, plan, NULL, "opening or reading what was repaired hangs");
        }
    }
    error_free(err);
    recording_free(&repaired);
}

void fault_judge(struct faulting *x, struct fault_plan *plan, const struct recording *rec)
{
    enum harm harm = harm_of(plan);
    switch (harm) {
    case HARM_METADATA:
        judge_survival(x, plan, rec);
        return;
    case HARM_DATA: {
        /* Data that never came to the end of the file: some formats' check notices, and may. */
        bool strict = !strcmp(x->p->format, "qcow2") || !strcmp(x->p->format, "raw");
        look_at_end(x, plan, rec, strict ? LOOK_REPAIR : LOOK_UNCHECKED);
        return;
    }
    case HARM_NONE:
        look_at_end(x, plan, rec, recording_may_leak(rec) ? 0 : LOOK_CLEAN);
        break;
    case HARM_HIDDEN:
        judge_unchanged(x, plan, rec);
        look_at_end(x, plan, rec, recording_may_leak(rec) ? 0 : LOOK_CLEAN);
        if (plan->entries[0].kind == FAULT_LOST) {
            return; /* a flush that was not done promises nothing */
        }
        break;
    case HARM_LOUD:
        judge_class(x, plan, rec);
        look_at_end(x, plan, rec, LOOK_REPAIR);
        break;
    }
    judge_flushed(x, plan, rec);
    if (x->o->cuts) {
        explore_cuts(x, plan, rec);
    }
}
