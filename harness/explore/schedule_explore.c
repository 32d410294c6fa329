/*
 * The schedule explorer.  See schedule_explore.h.
 */
#include "harness/explore/schedule_explore.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "harness/explore/schedule_policy.h"
#include "ref/base/mem.h"

const struct schedule_options schedule_options_default = {
    .preemptions = 2,
    .max = 20000,
    .pct = 200,
    .depth = 3,
    .seed = 1,
    .reduce = true,
    .promised = true,
    .max_findings = 3,
};

struct exploring {
    struct sandbox *sb;
    const struct program *p;
    const struct schedule_options *o;
    const struct disk_set *base;
    struct schedule_policy policy;
    struct fault_plan plan;
    const char *plan_text; /* NULL: no faults */
    unsigned bound;        /* preemptions just now */
    schedule_found *found;
    void *opaque;
    struct schedule_counts *counts;
    struct looked looked;
    unsigned findings;
};

static bool enough(const struct exploring *x)
{
    return x->o->max_findings && x->findings >= x->o->max_findings;
}

/* ---- judging one schedule ---- */

static void report(struct exploring *x, const char *state, const char *why)
{
    struct strbuf id = STRBUF_INIT;
    if (!failure_again(x->o->alike, why, state)) {
        return;
    }
    schedule_policy_id(&x->policy, &id);
    struct schedule_finding f = {
        .schedule = id.s, .fault = x->plan_text, .state = state, .why = why};
    x->findings++;
    x->counts->findings++;
    x->found(x->opaque, &f);
    strbuf_free(&id);
}

static void judge_state(struct exploring *x, const struct recording *rec, const char *id)
{
    struct disk_set set;
    struct error *err = NULL;
    uint64_t cut = strtoull(id + 1, NULL, 10);
    x->counts->states++;
    if (crash_state_build(&rec->base, rec->log, 512, id, &set, &err) < 0) {
        report(x, id, err->msg);
    } else {
        if (!sandbox_look(x->sb, x->p, &set, recording_oracle(rec, cut), ORACLE_CRASH, 0,
                          &x->looked)) {
            report(x, id, x->looked.why.s);
        }
        disk_set_free(&set);
    }
    error_free(err);
}

/* Nothing is there but what was promised: the hardest state of all. */
static void judge_promised(struct exploring *x, const struct recording *rec)
{
    char *last = str_fmt("c%llu!", (unsigned long long)disk_log_clock(rec->log));
    judge_state(x, rec, last);
    mem_free(last);
}

static void judge_cuts(struct exploring *x, const struct recording *rec)
{
    struct crash_bounds b = {.exhaustive = 4,
                             .drops = 1,
                             .torn = 1,
                             .orders = 2,
                             .samples = 8,
                             .seed = 1,
                             .sector = 512,
                             .max_states = x->o->cuts,
                             .max_built = 10 * (uint64_t)x->o->cuts};
    struct crash_state s;
    struct crash_iter *it = crash_iter_new(&rec->base, rec->log, &b);
    while (!enough(x) && crash_iter_next(it, &s)) {
        x->counts->states++;
        if (!sandbox_look(x->sb, x->p, s.set, recording_oracle(rec, s.cut), ORACLE_CRASH, 0,
                          &x->looked)) {
            struct strbuf id = STRBUF_INIT;
            crash_iter_id(it, &id);
            report(x, id.s, x->looked.why.s);
            strbuf_free(&id);
        }
    }
    crash_iter_free(it);
}

static bool failed_half_way(const struct recording *rec)
{
    for (size_t i = 0; i < rec->program->n_ops; i++) {
        int status = rec->status[i];
        if (status < 0 && status != -ENOENT && status != -ENOTSUP && status != -EEXIST) {
            return true;
        }
    }
    return false;
}

static void judge(struct exploring *x, const struct recording *rec)
{
    bool clean = !x->plan_text && !failed_half_way(rec);
    if (rec->wrong) {
        report(x, NULL, rec->why.s);
    } else if (!sandbox_look(x->sb, x->p, &rec->end, &rec->oracle,
                             x->plan_text ? ORACLE_CRASH : ORACLE_LIVE, clean ? LOOK_CLEAN : 0,
                             &x->looked)) {
        report(x, NULL, x->looked.why.s);
    } else if (x->o->state) {
        judge_state(x, rec, x->o->state);
    } else {
        if (x->o->promised) {
            judge_promised(x, rec);
        }
        if (x->o->cuts && !enough(x)) {
            judge_cuts(x, rec);
        }
    }
}

/* Runs the schedule that the policy was prepared for. */
static void run(struct exploring *x)
{
    struct recording rec;
    struct error *err = NULL;
    struct fault_plan plan;
    fault_plan_init(&plan);
    if (x->plan_text) {
        fault_plan_parse(&plan, x->plan_text, NULL);
    }
    int ret = sandbox_record(x->sb, x->p, x->base, x->plan_text ? &plan : NULL,
                             x->plan_text != NULL, &rec, &err);
    x->counts->schedules++;
    x->counts->steps += x->policy.n_steps;
    if (ret < 0) {
        report(x, NULL, err ? err->msg : "does not run");
    } else {
        judge(x, &rec);
        if (x->o->ran) {
            x->o->ran(x->opaque, &rec);
        }
    }
    error_free(err);
    recording_free(&rec);
    fault_plan_destroy(&plan);
}

/* ---- all schedules within the bound ---- */

static bool ranges_meet(const struct point *a, const struct point *b)
{
    bool all = a->bytes == 0 || b->bytes == 0; /* a flush, a truncate: everything */
    return all || (a->offset < b->offset + b->bytes && b->offset < a->offset + a->bytes);
}

/* May it matter which of the two comes first? */
static bool dependent(const struct point *a, const struct schedule_step *b)
{
    if (!b->known || a->kind == POINT_YIELD || b->point.kind == POINT_YIELD) {
        return true;
    }
    return a->object == b->point.object && (a->write || b->point.write) &&
           ranges_meet(a, &b->point);
}

/* Whom to prefer at this decision is worth trying, as this schedule went without it. */
static uint16_t worth_trying(const struct exploring *x, const struct schedule_decision *d)
{
    const struct schedule_policy *s = &x->policy;
    uint16_t open = 0;
    for (unsigned c = 0; c < d->n; c++) {
        bool useful = !d->preempts || !x->o->reduce;
        for (size_t t = d->step + 1; t < s->n_steps && !useful; t++) {
            useful = s->steps[t].co == d->co[c] && dependent(&d->point, &s->steps[t]);
        }
        if (c != d->chosen && useful) {
            open |= (uint16_t)(1u << c);
        } else if (c != d->chosen) {
            x->counts->skipped++;
        }
    }
    return d->preempts && d->spent >= x->bound ? 0 : open;
}

/* The script of the next schedule: the last decision that has a choice left takes it. */
static bool advance(struct schedule_decision *path, size_t *len, uint8_t *script)
{
    while (*len > 0) {
        struct schedule_decision *d = &path[*len - 1];
        if (d->open) {
            d->chosen = (uint8_t)__builtin_ctz(d->open);
            d->open &= (uint16_t)(d->open - 1);
            for (size_t i = 0; i < *len; i++) {
                script[i] = path[i].chosen;
            }
            return true;
        }
        --*len;
    }
    return false;
}

static bool spent(const struct exploring *x, uint64_t n, uint64_t max)
{
    return enough(x) || (max && n >= max);
}

/* All schedules of up to `bound` preemptions, no more than `max`; the longest one's decisions. */
static size_t explore_bound(struct exploring *x, unsigned bound, uint64_t max)
{
    struct schedule_decision *path = NULL;
    uint8_t *script = NULL;
    size_t len = 0, cap = 0, length = 0;
    uint64_t n = 0;
    x->bound = bound;
    do {
        schedule_policy_start(&x->policy, script, len);
        run(x);
        n++;
        length = MAX(length, x->policy.n_decisions);
        if (x->policy.n_decisions > cap) {
            cap = x->policy.n_decisions * 2;
            path = mem_realloc(path, cap * sizeof(*path));
            script = mem_realloc(script, cap);
        }
        for (size_t i = len; i < x->policy.n_decisions; i++) {
            path[i] = x->policy.decisions[i];
            path[i].open = worth_trying(x, &path[i]);
        }
        len = MAX(len, x->policy.n_decisions);
    } while (!spent(x, n, max) && advance(path, &len, script));
    mem_free(path);
    mem_free(script);
    return length;
}

static void explore_random(struct exploring *x, size_t length)
{
    for (unsigned i = 0; i < x->o->pct && !enough(x); i++) {
        schedule_policy_random(&x->policy, x->o->seed * 1000003 + i, x->o->depth, length);
        run(x);
        x->counts->random++;
    }
}

/*
 * One preemption first: when there are too many schedules of two, it is better to have seen those
 * than one corner of the tree.
 */
static void explore(struct exploring *x)
{
    size_t length = 0;
    if (x->o->preemptions > 1) {
        length = explore_bound(x, 1, x->o->max / 2);
    }
    if (!enough(x)) {
        length = MAX(length, explore_bound(x, x->o->preemptions, x->o->max));
    }
    explore_random(x, length);
}

/* ---- faults ---- */

static void explore_fault(struct exploring *x, enum label l, unsigned k)
{
    struct strbuf text = STRBUF_INIT;
    struct fault_plan plan;
    struct fault_entry e = {.kind = FAULT_ERROR, .error = EIO, .label = (int)l, .nth = k};
    fault_plan_init(&plan);
    fault_plan_add(&plan, &e);
    fault_plan_print(&plan, &text);
    fault_plan_destroy(&plan);
    x->plan_text = text.s;
    x->counts->faults++;
    explore(x);
    x->plan_text = NULL;
    strbuf_free(&text);
}

static void explore_faults(struct exploring *x)
{
    struct recording rec;
    struct fault_plan plan;
    struct error *err = NULL;
    fault_plan_init(&plan);
    schedule_policy_start(&x->policy, NULL, 0);
    int ret = sandbox_record(x->sb, x->p, x->base, &plan, true, &rec, &err);
    error_free(err);
    recording_free(&rec);
    for (enum label l = 0; ret == 0 && l < LABEL_COUNT; l++) {
        for (unsigned k = 1; k <= MIN(plan.reached[l], x->o->fail_max) && !enough(x); k++) {
            explore_fault(x, l, k);
        }
    }
    fault_plan_destroy(&plan);
}

/* ---- one schedule again ---- */

static int run_only(struct exploring *x, struct error **err)
{
    uint8_t *script;
    size_t len;
    struct fault_plan plan;
    fault_plan_init(&plan);
    int ret = x->o->fault ? fault_plan_parse(&plan, x->o->fault, err) : 0;
    fault_plan_destroy(&plan);
    ret = ret < 0 ? ret : schedule_policy_parse(x->o->only ? x->o->only : "-", &script, &len, err);
    if (ret == 0) {
        x->plan_text = x->o->fault;
        schedule_policy_start(&x->policy, script, len);
        run(x);
        mem_free(script);
    }
    return ret;
}

int schedule_explore(struct sandbox *sb, const struct program *p, const struct schedule_options *o,
                     schedule_found *found, void *opaque, struct schedule_counts *counts,
                     struct error **err)
{
    struct disk_set base;
    struct exploring x = {.sb = sb,
                          .p = p,
                          .o = o,
                          .base = &base,
                          .found = found,
                          .opaque = opaque,
                          .counts = counts};
    int ret = sandbox_create(sb, p, &base, err);
    if (ret < 0) {
        return ret;
    }
    schedule_policy_init(&x.policy);
    sandbox_set_policy(sb, &x.policy.base, SCHEDULE_BLOCK);
    if (o->only || o->fault || o->state) {
        ret = run_only(&x, err);
    } else {
        explore(&x);
        if (o->fail_max && !enough(&x)) {
            explore_faults(&x);
        }
    }
    sandbox_set_policy(sb, NULL, 0);
    schedule_policy_free(&x.policy);
    disk_set_free(&base);
    strbuf_free(&x.looked.why);
    return ret;
}

char *schedule_repro(const struct program *p, const struct schedule_finding *f)
{
    struct strbuf out = STRBUF_INIT;
    strbuf_printf(&out, "# schedules: %s", f->schedule);
    if (f->fault) {
        strbuf_printf(&out, " fault %s", f->fault);
    }
    if (f->state) {
        strbuf_printf(&out, " state %s", f->state);
    }
    strbuf_putc(&out, '\n');
    program_print(&out, p);
    return strbuf_take(&out);
}
