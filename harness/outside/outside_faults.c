/*
 * Faults under an unmodified QEMU: the k-th request of each kind fails.  See outside_explore.h.
 */
#include "harness/outside/outside_explore.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "harness/outside/outside_look.h"
#include "harness/outside/scratch.h"
#include "ref/base/mem.h"

struct faulting {
    struct outside *x;
    const struct program *p;
    const struct fault_options *o;
    struct outside_eye *eye;
    outside_fault_found *found;
    const struct capture *c; /* the run at hand */
    void *opaque;
    struct outside_fault_counts *counts;
    unsigned findings;
};

static bool enough(const struct faulting *f)
{
    return f->o->max_findings && f->findings >= f->o->max_findings;
}

static void report(struct faulting *f, const struct fault_plan *plan, const char *state,
                   const char *why)
{
    struct strbuf text = STRBUF_INIT;
    fault_plan_print(plan, &text);
    struct fault_finding said = {
        .fault = text.len ? text.s : "none", .state = state, .why = why ? why : "?"};
    f->findings++;
    f->counts->findings++;
    f->found(f->opaque, &said, f->c);
    strbuf_free(&text);
}

static void judge(struct faulting *f, const struct fault_plan *plan, const struct capture *c,
                  const struct disk_set *set, const struct oracle *o, const char *state)
{
    struct strbuf why = STRBUF_INIT;
    if (!enough(f) &&
        !outside_look(f->eye, c, set, o, ORACLE_CRASH, OUTSIDE_REFERENCE | OUTSIDE_USE, &why)) {
        report(f, plan, state, why.s);
    }
    strbuf_free(&why);
}

/* Power is cut behind the end, and nothing that was not flushed is there. */
static void judge_flushed(struct faulting *f, const struct fault_plan *plan,
                          const struct capture *c)
{
    struct disk_set set = {0};
    uint64_t cut = disk_log_clock(c->rec.log);
    char *id = str_fmt("c%llu!", (unsigned long long)cut);
    if (crash_state_build(&c->rec.base, c->rec.log, 512, id, &set, NULL) == 0) {
        judge(f, plan, c, &set, recording_oracle(&c->rec, cut), id);
        disk_set_free(&set);
    }
    mem_free(id);
}

static void judge_cuts(struct faulting *f, const struct fault_plan *plan, const struct capture *c)
{
    struct crash_bounds b = crash_options_default.bounds;
    struct crash_state s;
    b.max_states = f->o->cuts;
    struct crash_iter *it = crash_iter_new(&c->rec.base, c->rec.log, &b);
    while (f->o->cuts && !enough(f) && crash_iter_next(it, &s)) {
        struct strbuf id = STRBUF_INIT;
        crash_iter_id(it, &id);
        judge(f, plan, c, s.set, recording_oracle(&c->rec, s.cut), id.s);
        strbuf_free(&id);
    }
    crash_iter_free(it);
}

static uint64_t all_fired(const struct fault_plan *plan)
{
    uint64_t fired = 0;
    for (int i = 0; i < plan->n; i++) {
        fired += plan->entries[i].fired;
    }
    return fired;
}

/* Of a disk that lies only this can be demanded: QEMU neither dies nor hangs. */
static bool silent(const struct fault_plan *plan)
{
    for (int i = 0; i < plan->n; i++) {
        enum fault_kind k = plan->entries[i].kind;
        if (k == FAULT_TORN || k == FAULT_LOST || k == FAULT_STALE || k == FAULT_MISDIRECTED) {
            return true;
        }
    }
    return false;
}

/* One run; returns whether a fault fired, < 0 when it could not be done. */
static int run(struct faulting *f, struct fault_plan *plan, struct error **err)
{
    struct capture c;
    struct capture_how how = {.plan = plan, .close_flush = true};
    int ret = outside_capture(f->x, f->p, &how, &c, err);
    if (ret < 0) {
        return ret;
    }
    f->c = &c;
    bool fired = all_fired(plan) > 0;
    f->counts->runs++;
    f->counts->fired += fired;
    if (c.rec.wrong) {
        report(f, plan, NULL, c.rec.why.s);
    }
    if ((fired || plan->n == 0 || f->o->only) && (f->o->only || !silent(plan))) {
        judge(f, plan, &c, &c.rec.end, &c.rec.oracle, NULL);
        judge_flushed(f, plan, &c);
        judge_cuts(f, plan, &c);
    }
    f->c = NULL;
    capture_free(&c);
    return fired;
}

static int fail_kind(struct faulting *f, enum fault_iotype type, const struct fault_mode *w,
                     struct error **err)
{
    int fired = 1;
    for (unsigned k = 1; fired > 0 && !enough(f) && (!f->o->kmax || k <= f->o->kmax); k++) {
        struct fault_plan plan;
        struct fault_entry e = {.kind = w->kind,
                                .error = w->error,
                                .arg = w->arg,
                                .sticky = w->sticky,
                                .label = -1,
                                .iotypes = 1u << type,
                                .nth = k};
        fault_plan_init(&plan);
        fault_plan_add(&plan, &e);
        fired = run(f, &plan, err);
        fault_plan_destroy(&plan);
    }
    return MIN(fired, 0);
}

static int fail_all(struct faulting *f, struct error **err)
{
    static const enum fault_iotype types[] = {FAULT_IO_WRITE, FAULT_IO_FLUSH, FAULT_IO_READ,
                                              FAULT_IO_WRITE_ZEROES, FAULT_IO_DISCARD};
    struct fault_plan none;
    fault_plan_init(&none);
    int ret = MIN(run(f, &none, err), 0);
    fault_plan_destroy(&none);
    for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
        for (int m = 0; ret == 0 && m < FAULT_MODES && !enough(f); m++) {
            const struct fault_mode *w = &fault_modes[m];
            if (f->o->modes >> m & 1 && w->kind != FAULT_HUNG && w->kind != FAULT_NOMEM) {
                ret = fail_kind(f, types[i], w, err);
            }
        }
    }
    return ret;
}

int outside_faults(struct outside *x, const struct program *p, const struct fault_options *o,
                   outside_fault_found *found, void *opaque, struct outside_fault_counts *counts,
                   struct error **err)
{
    char *dir = scratch_new(outside_dir(x));
    struct faulting f = {
        .x = x, .p = p, .o = o, .found = found, .opaque = opaque, .counts = counts};
    int ret = -EIO;
    f.eye = dir ? outside_eye_new(outside_programs(x), dir, err) : NULL;
    if (f.eye && o->only) {
        struct fault_plan plan;
        fault_plan_init(&plan);
        ret = strcmp(o->only, "none") ? fault_plan_parse(&plan, o->only, err) : 0;
        ret = ret == 0 ? MIN(run(&f, &plan, err), 0) : ret;
        fault_plan_destroy(&plan);
    } else if (f.eye) {
        ret = fail_all(&f, err);
    }
    outside_eye_free(f.eye);
    scratch_remove(dir);
    return ret;
}

char *outside_fault_repro(const struct program *p, const struct fault_finding *f)
{
    char *program = fault_repro(p, f);
    char *all = str_fmt("# crash: state %s sector 512\n%s", f->state ? f->state : "end", program);
    mem_free(program);
    return all;
}
