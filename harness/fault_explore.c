/*
 * The fault explorer.  See fault_explore.h.
 */
#include "harness/fault_explore.h"

#include <errno.h>
#include <string.h>
#include "ref/base/mem.h"

static const int default_errors[] = {EIO, ENOSPC, 0};
const struct fault_options fault_options_default = {.errors = default_errors, .max_findings = 3};

struct faulting {
    struct sandbox *sb;
    const struct program *p;
    const struct fault_options *o;
    const struct disk_set *base;
    fault_found *found;
    void *opaque;
    struct fault_counts *counts;
    struct looked looked;
    unsigned findings;
};

static bool enough(const struct faulting *x)
{
    return x->o->max_findings && x->findings >= x->o->max_findings;
}

static void report(struct faulting *x, const struct fault_plan *plan, const char *state,
                   const char *why)
{
    struct strbuf text = STRBUF_INIT;
    fault_plan_print(plan, &text);
    struct fault_finding f = {.fault = text.len ? text.s : "none", .state = state, .why = why};
    x->findings++;
    x->counts->findings++;
    x->found(x->opaque, &f);
    strbuf_free(&text);
}

static void explore_cuts(struct faulting *x, const struct fault_plan *plan,
                         const struct recording *rec)
{
    struct crash_bounds b = crash_options_default.bounds;
    struct crash_state s;
    b.max_states = x->o->cuts;
    struct crash_iter *it = crash_iter_new(&rec->base, rec->log, &b);
    while (!enough(x) && crash_iter_next(it, &s)) {
        const struct oracle *o = recording_oracle(rec, s.cut);
        x->counts->states++;
        if (!sandbox_look(x->sb, x->p, s.set, o, ORACLE_CRASH, 0, &x->looked)) {
            struct strbuf id = STRBUF_INIT;
            crash_iter_id(it, &id);
            report(x, plan, id.s, x->looked.why.s);
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
        report(x, plan, id, err->msg);
    } else {
        if (!sandbox_look(x->sb, x->p, &set, recording_oracle(rec, cut), ORACLE_CRASH, 0,
                          &x->looked)) {
            report(x, plan, id, x->looked.why.s);
        }
        disk_set_free(&set);
    }
    error_free(err);
    mem_free(id);
}

/* What failed half way may leak; what was refused at once, or went well, does not. */
static bool failed_half_way(const struct recording *rec)
{
    for (size_t i = 0; i < rec->program->n_ops; i++) {
        int status = rec->status[i];
        if (status < 0 && status != -ENOENT && status != -ENOTSUP) {
            return true;
        }
    }
    return false;
}

static void judge(struct faulting *x, const struct fault_plan *plan, const struct recording *rec)
{
    unsigned look = plan->n ? LOOK_REPAIR : failed_half_way(rec) ? 0 : LOOK_CLEAN;
    if (rec->wrong) {
        report(x, plan, NULL, rec->why.s);
    }
    if (!sandbox_look(x->sb, x->p, &rec->end, &rec->oracle, ORACLE_CRASH, look, &x->looked)) {
        report(x, plan, NULL, x->looked.why.s);
    }
    judge_flushed(x, plan, rec);
}

/* One run; returns whether a fault fired. */
static bool run(struct faulting *x, struct fault_plan *plan)
{
    struct recording rec;
    struct error *err = NULL;
    int ret = sandbox_record(x->sb, x->p, x->base, plan, true, &rec, &err);
    uint64_t fired = 0;
    for (int l = 0; l < LABEL_COUNT; l++) {
        fired += plan->fired[l];
        x->counts->failed[l] += plan->fired[l];
    }
    x->counts->runs++;
    x->counts->fired += fired > 0;
    if (ret < 0) {
        report(x, plan, NULL, err ? err->msg : "does not run");
    } else if (fired || plan->n == 0 || x->o->only) {
        judge(x, plan, &rec);
        if (x->o->cuts) {
            explore_cuts(x, plan, &rec);
        }
    }
    error_free(err);
    recording_free(&rec);
    return fired > 0;
}

static void fail_label(struct faulting *x, enum label label, int error)
{
    bool fired = true;
    for (unsigned k = 1; fired && !enough(x) && (!x->o->kmax || k <= x->o->kmax); k++) {
        struct fault_plan plan;
        struct fault_entry e = {.kind = FAULT_ERROR, .error = error, .label = (int)label, .nth = k};
        fault_plan_init(&plan);
        fault_plan_add(&plan, &e);
        fired = run(x, &plan);
        fault_plan_destroy(&plan);
    }
}

static void undisturbed(struct faulting *x, uint64_t *reached)
{
    struct fault_plan plan;
    fault_plan_init(&plan);
    run(x, &plan);
    for (int l = 0; l < LABEL_COUNT; l++) {
        reached[l] = plan.reached[l];
        x->counts->reached[l] += MAX(plan.reached[l], plan.announced[l]);
    }
    fault_plan_destroy(&plan);
}

static int run_only(struct faulting *x, struct error **err)
{
    struct fault_plan plan;
    fault_plan_init(&plan);
    int ret = strcmp(x->o->only, "none") ? fault_plan_parse(&plan, x->o->only, err) : 0;
    if (ret == 0) {
        run(x, &plan);
    }
    fault_plan_destroy(&plan);
    return ret;
}

int fault_explore(struct sandbox *sb, const struct program *p, const struct fault_options *o,
                  fault_found *found, void *opaque, struct fault_counts *counts, struct error **err)
{
    struct disk_set base;
    uint64_t reached[LABEL_COUNT];
    struct faulting x = {.sb = sb,
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
    if (o->only) {
        ret = run_only(&x, err);
    } else {
        undisturbed(&x, reached);
        for (enum label l = 0; l < LABEL_COUNT; l++) {
            for (const int *e = o->errors; reached[l] && *e; e++) {
                fail_label(&x, l, *e);
            }
        }
    }
    disk_set_free(&base);
    strbuf_free(&x.looked.why);
    return ret;
}

char *fault_repro(const struct program *p, const struct fault_finding *f)
{
    struct strbuf out = STRBUF_INIT;
    strbuf_printf(&out, "# faults: %s", f->fault);
    if (f->state) {
        strbuf_printf(&out, " state %s", f->state);
    }
    strbuf_putc(&out, '\n');
    program_print(&out, p);
    return strbuf_take(&out);
}

const enum label fault_labels_qcow2[] = {
    LABEL_L1_UPDATE,
    LABEL_L1_GROW_ALLOC_TABLE,
    LABEL_L1_GROW_WRITE_TABLE,
    LABEL_L1_GROW_ACTIVATE_TABLE,
    LABEL_L2_LOAD,
    LABEL_L2_UPDATE,
    LABEL_L2_UPDATE_COMPRESSED,
    LABEL_L2_ALLOC_COW_READ,
    LABEL_L2_ALLOC_WRITE,
    LABEL_READ_AIO,
    LABEL_READ_BACKING_AIO,
    LABEL_READ_COMPRESSED,
    LABEL_WRITE_AIO,
    LABEL_WRITE_COMPRESSED,
    LABEL_COW_READ,
    LABEL_COW_WRITE,
    LABEL_REFTABLE_LOAD,
    LABEL_REFTABLE_GROW,
    LABEL_REFTABLE_UPDATE,
    LABEL_REFBLOCK_LOAD,
    LABEL_REFBLOCK_UPDATE_PART,
    LABEL_REFBLOCK_ALLOC,
    LABEL_REFBLOCK_ALLOC_HOOKUP,
    LABEL_REFBLOCK_ALLOC_WRITE,
    LABEL_REFBLOCK_ALLOC_WRITE_BLOCKS,
    LABEL_REFBLOCK_ALLOC_WRITE_TABLE,
    LABEL_REFBLOCK_ALLOC_SWITCH_TABLE,
    LABEL_CLUSTER_ALLOC,
    LABEL_CLUSTER_ALLOC_BYTES,
    LABEL_CLUSTER_FREE,
    LABEL_FLUSH_TO_OS,
    LABEL_FLUSH_TO_DISK,
    LABEL_L1_SHRINK_WRITE_TABLE,
    LABEL_L1_SHRINK_FREE_L2_CLUSTERS,
    LABEL_HEADER_LOAD,
    LABEL_HEADER_UPDATE,
    LABEL_EXT_LOAD,
    LABEL_TABLE_LOAD,
    LABEL_SNAPSHOT_TABLE_LOAD,
    LABEL_SNAPSHOT_L1_LOAD,
    LABEL_DIRTY_FLAG_SET,
    LABEL_DIRTY_FLAG_CLEAR,
    LABEL_RESIZE,
    LABEL_DISCARD,
    LABEL_NONE,
    LABEL_COUNT,
};

const enum label fault_labels_vmdk[] = {
    LABEL_HEADER_LOAD,     LABEL_DESCRIPTOR_LOAD, LABEL_DESCRIPTOR_WRITE, LABEL_TABLE_LOAD,
    LABEL_L2_LOAD,         LABEL_L2_UPDATE,       LABEL_READ_AIO,         LABEL_READ_BACKING_AIO,
    LABEL_READ_COMPRESSED, LABEL_WRITE_AIO,       LABEL_WRITE_COMPRESSED, LABEL_COW_WRITE,
    LABEL_COUNT,
};
