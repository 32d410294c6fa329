/*
 * The fault explorer: the walk.  See fault_explore.h.
 */
#include "harness/explore/fault_explore_int.h"

#include <errno.h>
#include <string.h>
#include "ref/base/mem.h"
#include "ref/base/rng.h"

#define SECOND 1000000000

/* Each once and from then on. */
#define BOTH(name, kind, error, arg)                                                               \
    {name, kind, error, arg, false},                                                               \
    {                                                                                              \
        name "+", kind, error, arg, true                                                           \
    }

const struct fault_mode fault_modes[FAULT_MODES] = {
    BOTH("EIO", FAULT_ERROR, EIO, 0),
    BOTH("ENOSPC", FAULT_ERROR, ENOSPC, 0),
    BOTH("ENOMEM", FAULT_ERROR, ENOMEM, 0),
    BOTH("EAGAIN", FAULT_ERROR, EAGAIN, 0),
    BOTH("short", FAULT_SHORT, EIO, 512),
    BOTH("torn", FAULT_TORN, 0, 512),
    BOTH("lost", FAULT_LOST, 0, 0),
    BOTH("stale", FAULT_STALE, 0, 0),
    BOTH("misdirected", FAULT_MISDIRECTED, 0, 4096),
    BOTH("delayed", FAULT_DELAYED, 0, SECOND),
    BOTH("hung", FAULT_HUNG, 0, 0),
    BOTH("nomem", FAULT_NOMEM, ENOMEM, 0),
};

const struct fault_options fault_options_default = {.modes = FAULT_MODES_ALL, .max_findings = 3};

static unsigned mode_named(const char *name, size_t len)
{
    for (unsigned i = 0; i < FAULT_MODES; i++) {
        if (strlen(fault_modes[i].name) == len && !memcmp(fault_modes[i].name, name, len)) {
            return 1u << i;
        }
    }
    return len == 3 && !memcmp(name, "all", 3) ? FAULT_MODES_ALL : 0;
}

unsigned fault_modes_parse(const char *text)
{
    unsigned modes = 0;
    while (*text) {
        size_t len = strcspn(text, ",");
        unsigned one = mode_named(text, len);
        if (!one) {
            return 0;
        }
        modes |= one;
        text += len + (text[len] == ',');
    }
    return modes;
}

unsigned fault_modes_like(const char *text)
{
    struct fault_plan plan;
    unsigned modes = 0;
    fault_plan_init(&plan);
    bool one = fault_plan_parse(&plan, text, NULL) == 0 && plan.n == 1;
    for (int i = 0; one && i < FAULT_MODES; i++) {
        const struct fault_mode *m = &fault_modes[i];
        const struct fault_entry *e = &plan.entries[0];
        bool errs = m->kind == FAULT_ERROR || m->kind == FAULT_SHORT;
        if (m->kind == e->kind && (!errs || m->error == (e->error ? e->error : EIO))) {
            modes |= 1u << i;
        }
    }
    fault_plan_destroy(&plan);
    return modes;
}

void fault_counts_add(struct fault_counts *to, const struct fault_counts *n)
{
    const uint64_t *from = (const uint64_t *)n;
    uint64_t *sum = (uint64_t *)to;
    _Static_assert(sizeof(*n) % sizeof(uint64_t) == 0, "nothing but counters");
    for (size_t i = 0; i < sizeof(*n) / sizeof(uint64_t); i++) {
        sum[i] += from[i];
    }
}

bool fault_enough(const struct faulting *x)
{
    return x->o->max_findings && x->findings >= x->o->max_findings;
}

void fault_report(struct faulting *x, const struct fault_plan *plan, const char *state,
                  const char *why)
{
    struct strbuf text = STRBUF_INIT;
    if (!failure_again(x->o->alike, why, state)) {
        return;
    }
    fault_plan_print(plan, &text);
    struct fault_finding f = {.fault = text.len ? text.s : "none", .state = state, .why = why};
    x->findings++;
    x->counts->findings++;
    x->found(x->opaque, &f);
    strbuf_free(&text);
}

static void announce(struct faulting *x, const struct fault_plan *plan)
{
    struct strbuf text = STRBUF_INIT;
    if (x->starting) {
        fault_plan_print(plan, &text);
        x->starting(x->opaque, text.len ? text.s : "none");
        strbuf_free(&text);
    }
}

/* One run; how many faults fired. */
static uint64_t run(struct faulting *x, struct fault_plan *plan, int mode)
{
    struct recording rec;
    struct error *err = NULL;
    uint64_t fired = 0;
    announce(x, plan);
    int ret = sandbox_record(x->sb, x->p, x->base, plan, true, &rec, &err);
    for (int i = 0; i < plan->n; i++) {
        fired += plan->entries[i].fired;
    }
    for (int l = 0; l < LABEL_COUNT && mode >= 0; l++) {
        x->counts->failed[l][mode] += plan->fired[l];
    }
    x->counts->runs++;
    x->counts->fired += fired > 0;
    if (ret < 0) {
        fault_report(x, plan, NULL, err ? err->msg : "does not run");
    } else if (plan->n == 0) {
        memcpy(x->status, rec.status, x->p->n_ops * sizeof(*x->status));
        fault_judge(x, plan, &rec);
    } else if (fired || x->o->only) {
        fault_judge(x, plan, &rec);
    }
    error_free(err);
    recording_free(&rec);
    return fired;
}

/* label -1: what has none, allocations. */
static void fail_label(struct faulting *x, int label, int mode)
{
    const struct fault_mode *m = &fault_modes[mode];
    unsigned kmax = label < 0 ? x->o->kmax * 16 : x->o->kmax; /* opening alone makes many */
    uint64_t fired = 1;
    for (unsigned k = 1; fired && !fault_enough(x); k++) {
        struct fault_plan plan;
        struct fault_entry e = {.kind = m->kind,
                                .error = m->error,
                                .arg = m->arg,
                                .label = label,
                                .nth = k,
                                .sticky = m->sticky};
        if (kmax && k > kmax) {
            x->cut_off = true;
            return;
        }
        fault_plan_init(&plan);
        fault_plan_add(&plan, &e);
        fired = run(x, &plan, mode);
        fault_plan_destroy(&plan);
    }
}

/* The i-th and the j-th I/O fail, whatever their labels; returns whether both did. */
static bool fail_pair(struct faulting *x, uint64_t i, uint64_t j)
{
    struct fault_plan plan;
    struct fault_entry first = {.kind = FAULT_ERROR, .label = -1, .nth = i};
    struct fault_entry second = {.kind = FAULT_ERROR, .label = -1, .nth = j};
    fault_plan_init(&plan);
    fault_plan_add(&plan, &first);
    fault_plan_add(&plan, &second);
    uint64_t fired = run(x, &plan, -1);
    x->counts->pairs += fired == 2;
    fault_plan_destroy(&plan);
    return fired == 2;
}

/* All pairs of I/Os, or so many seeded ones. */
static void fail_pairs(struct faulting *x, uint64_t ios)
{
    struct rng rng;
    uint64_t all = ios * (ios > 0 ? ios - 1 : 0) / 2;
    if (all <= x->o->pairs) {
        for (uint64_t i = 1; i < ios && !fault_enough(x); i++) {
            for (uint64_t j = i + 1; !fault_enough(x) && fail_pair(x, i, j); j++) {
            }
        }
        return;
    }
    x->cut_off = true;
    rng_seed(&rng, ios);
    for (unsigned n = 0; n < x->o->pairs && !fault_enough(x); n++) {
        uint64_t i = 1 + rng_below(&rng, ios - 1);
        fail_pair(x, i, i + 1 + rng_below(&rng, ios - i));
    }
}

static void undisturbed(struct faulting *x, struct fault_plan *plan)
{
    fault_plan_init(plan);
    run(x, plan, -1);
    for (int l = 0; l < LABEL_COUNT; l++) {
        x->counts->reached[l] += MAX(plan->reached[l], plan->announced[l]);
    }
}

static void walk_labels(struct faulting *x, const struct fault_plan *plan)
{
    for (enum label l = 0; l < LABEL_COUNT; l++) {
        for (int m = 0; plan->reached[l] && m < FAULT_MODES; m++) {
            if (x->o->modes >> m & 1 &&
                plan->iotypes[l] & fault_kind_iotypes(fault_modes[m].kind)) {
                fail_label(x, (int)l, m);
            }
        }
    }
    for (int m = 0; plan->allocations && m < FAULT_MODES; m++) {
        if (x->o->modes >> m & 1 && fault_modes[m].kind == FAULT_NOMEM) {
            fail_label(x, -1, m);
        }
    }
}

static int run_only(struct faulting *x, struct error **err)
{
    struct fault_plan plan;
    fault_plan_init(&plan);
    int ret = strcmp(x->o->only, "none") ? fault_plan_parse(&plan, x->o->only, err) : 0;
    if (ret == 0 && plan.n) {
        run(x, &plan, -1);
    }
    fault_plan_destroy(&plan);
    return ret;
}

int fault_walk(struct faulting *x, struct error **err)
{
    struct disk_set base;
    struct fault_plan plan;
    uint64_t ios = 0;
    int ret = sandbox_create(x->sb, x->p, &base, err);
    if (ret < 0) {
        return ret;
    }
    x->base = &base;
    x->status = mem_array(MAX(x->p->n_ops, 1), sizeof(*x->status));
    undisturbed(x, &plan);
    for (int l = 0; l < LABEL_COUNT; l++) {
        ios += plan.reached[l];
    }
    if (x->o->only) {
        ret = run_only(x, err);
    } else {
        walk_labels(x, &plan);
        if (x->o->pairs) {
            fail_pairs(x, ios);
        }
    }
    x->counts->programs++;
    x->counts->cut_off += x->cut_off || (x->findings && fault_enough(x));
    fault_plan_destroy(&plan);
    mem_free(x->status);
    disk_set_free(&base);
    strbuf_free(&x->looked.why);
    return ret;
}

int fault_explore(struct sandbox *sb, const struct program *p, const struct fault_options *o,
                  fault_found *found, void *opaque, struct fault_counts *counts, struct error **err)
{
    struct faulting x = {
        .sb = sb, .p = p, .o = o, .found = found, .opaque = opaque, .counts = counts};
    return o->apart ? fault_walk_apart(&x, err) : fault_walk(&x, err);
}

char *fault_finding_id(const struct fault_finding *f)
{
    return str_fmt("%s%s%s", f->fault, f->state ? " state " : "", f->state ? f->state : "");
}

char *fault_repro(const struct program *p, const struct fault_finding *f)
{
    struct strbuf out = STRBUF_INIT;
    char *id = fault_finding_id(f);
    strbuf_printf(&out, "# faults: %s\n", id);
    program_print(&out, p);
    mem_free(id);
    return strbuf_take(&out);
}
