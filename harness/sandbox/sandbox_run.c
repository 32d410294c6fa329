/*
 * Running a program, or a repair, on simulated disks and recording what it does.  See sandbox.h.
 */
#include "harness/sandbox/sandbox_int.h"

#include <errno.h>
#include <string.h>
#include "harness/subject/plant.h"
#include "harness/subject/subject.h"
#include "ref/base/mem.h"
#include "ref/block/backend.h"
static int apply(struct run *r, const struct op *op)
{
    struct recording *rec = r->rec;
    if (!r->b && (op->kind != OP_REOPEN || sandbox_open_image(r) < 0)) {
        return -ENOMEDIUM;
    }
    if (op->kind == OP_FLUSH || op->kind == OP_REOPEN) {
        return sandbox_carry_out(r, op);
    }
    oracle_begin(&rec->oracle, op);
    sandbox_remember(rec);
    uint64_t lies = fault_plan_silent(r->plan, LABEL_DATA);
    int ret = sandbox_carry_out(r, op);
    oracle_end(&rec->oracle, op, ret);
    if (op->kind != OP_READ && fault_plan_silent(r->plan, LABEL_DATA) > lies) {
        oracle_distrust(&rec->oracle, op);
    }
    if (ret == 0 && op->kind == OP_WRITE && op->flags & OP_FUA) {
        sandbox_acknowledge(rec, "fua");
    }
    return ret;
}

static void run_program(void *arg)
{
    struct run *r = arg;
    const struct program *p = r->rec->program;
    sandbox_remember(r->rec);
    /* Where only check may open what is not in order, who checks first opens as check does. */
    bool check = p->n_ops && p->ops[0].kind == OP_CHECK;
    r->flags = check && sandbox_repair_of(p) == REPAIR_BY_CHECK ? OPEN_CHECK : 0;
    int ret = sandbox_open_image(r);
    r->flags = 0;
    r->rec->opened = ret;
    for (size_t i = 0, n; r->opened && i < p->n_ops; i += n) {
        n = program_group(p, i);
        if (n > 1 && r->b) {
            sandbox_group(r, i, n);
        } else {
            recording_begin(r->rec, i, co_self(r->w));
            r->rec->status[i] = apply(r, &p->ops[i]);
            recording_end(r->rec, i);
            n = 1;
        }
    }
    if (r->close_flush && r->b) {
        r->rec->flushed = sandbox_flush(r) == 0;
    }
    sandbox_close_image(r);
    r->done = true;
}

/* Planted; what is judged knows nothing of it. */
static void drop_flushes(struct fault_plan *plan)
{
    struct fault_entry e = {
        .kind = FAULT_LOST, .label = -1, .iotypes = 1u << FAULT_IO_FLUSH, .nth = 1, .sticky = true};
    fault_plan_add(plan, &e);
}

static void begin_recording(struct sandbox *sb, const struct program *p,
                            const struct disk_set *base, struct recording *rec)
{
    memset(rec, 0, sizeof(*rec));
    rec->program = p;
    rec->base = disk_set_clone(base);
    rec->end = disk_set_clone(base);
    rec->log = disk_log_new(sb->pool);
}

static void repair(void *arg)
{
    struct run *r = arg;
    struct check_result res = {0};
    if (sandbox_open_image(r) == 0) {
        node_check(blk_node(r->b), &res, FIX_LEAKS | FIX_ERRORS);
    }
    sandbox_close_image(r);
}

int sandbox_repair(struct sandbox *sb, const struct program *p, const struct disk_set *set,
                   struct recording *rec, struct error **err)
{
    begin_recording(sb, p, set, rec);
    struct run r = {.sb = sb, .rec = rec, .may_fail = true};
    r.flags = sandbox_repair_of(p) == REPAIR_BY_CHECK ? OPEN_CHECK : 0;
    r.w = sandbox_world(sb, p, &rec->end, rec->log, NULL);
    int ret = world_exec(r.w, repair, &r);
    if (ret == 0) {
        world_settle(r.w);
    } else {
        error_set(err, -ret, "the repair hangs");
    }
    world_free(r.w);
    return ret;
}

static bool holds_requests(const struct fault_plan *plan)
{
    for (int i = 0; i < plan->n; i++) {
        if (plan->entries[i].kind == FAULT_HUNG && plan->entries[i].fired) {
            return true;
        }
    }
    return false;
}

static bool no_memory(size_t size, void *plan)
{
    return fault_plan_nomem(plan);
}

int sandbox_record(struct sandbox *sb, const struct program *p, const struct disk_set *base,
                   struct fault_plan *plan, bool close_flush, struct recording *rec,
                   struct error **err)
{
    struct fault_plan own;
    fault_plan_init(&own);
    begin_recording(sb, p, base, rec);
    rec->status = mem_array(MAX(p->n_ops, 1), sizeof(*rec->status));
    rec->began = mem_array(MAX(p->n_ops, 1), sizeof(*rec->began));
    rec->ended = mem_array(MAX(p->n_ops, 1), sizeof(*rec->ended));
    rec->runs = mem_array(MAX(p->n_ops, 1), sizeof(*rec->runs));
    oracle_init(&rec->oracle, p);
    struct run r = {.sb = sb, .rec = rec, .may_fail = plan != NULL, .close_flush = close_flush};
    r.plan = plan = plan ? plan : &own;
    int entries = plan->n;
    if (sb->planted == PLANT_DROP_FLUSH) {
        drop_flushes(plan);
    }
    sb->running = sb->policy;
    r.w = sandbox_world(sb, p, &rec->end, rec->log, plan);
    sb->running = NULL;
    mem_set_fail_hook(no_memory, plan);
    int ret = world_exec(r.w, run_program, &r);
    mem_set_fail_hook(NULL, NULL);
    if (ret < 0 && holds_requests(plan)) {
        rec->hung = true;
        sim_release_hung(r.w);
        ret = 0;
    }
    if (ret == 0) {
        world_settle(r.w);
        ret = r.done ? 0 : -EDEADLK;
    }
    if (ret < 0) {
        error_set(err, -ret, "the program hangs: a request waits for one that never comes");
    }
    world_free(r.w);
    if (sb->planted == PLANT_LEAK_CLUSTER) {
        plant_leak(rec->end.disk[0]);
    }
    plan->n = entries;
    fault_plan_destroy(&own);
    return ret;
}
