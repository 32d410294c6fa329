/*
 * Trials of jobs.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include "ref/job/tests/trial.h"
#include "ref/block/graph.h"
#include "ref/engine/sanitize.h"

static const struct driver_entry entries[] = {
    {.drv = &driver_sim},
    {.drv = &driver_raw},
    {.drv = &driver_qcow2},
    {.drv = NULL},
};

/* ---- what happens at a point ---- */

static bool hook(struct sched_policy *p, struct world *w, const struct point *pt)
{
    struct trial *t = container_of(p, struct trial, sched.base);
    if (t->armed && ++t->seen == t->at) {
        if (t->act == TRIAL_STOP) {
            t->stopped = true;
        } else if (t->act == TRIAL_CANCEL && t->j &&
                   job_verb_allowed(t->j->status, JOB_VERB_CANCEL)) {
            assert_int_equal(job_cancel(t->j, true, NULL), 0);
        }
    }
    while (t->stopped) {
        co_park(w);
    }
    return t->preempt(p, w, pt);
}

/* ---- worlds ---- */

static void collect(void *opaque, enum report_kind kind, const char *text)
{
    struct trial *t = opaque;
    strbuf_puts(&t->r.out, text);
}

struct call {
    struct trial *t;
    void (*fn)(struct trial *t);
};

static void enter(void *arg)
{
    struct call *c = arg;
    for (int i = 0; i < 4; i++) {
        char name[8];
        struct sim_disk d = {.disk = c->t->r.disk[i], .log = c->t->r.log, .index = i};
        snprintf(name, sizeof(name), "d%d", i);
        sim_register(c->t->r.w, name, &d);
    }
    c->fn(c->t);
}

/* What a stopped world held is lost on purpose, as with a process that was killed. */
static void allow_leaks(const struct trial *t, bool on)
{
#ifdef BLKREF_ASAN
    if (t->act == TRIAL_STOP && on) {
        __lsan_disable();
    } else if (t->act == TRIAL_STOP) {
        __lsan_enable();
    }
#endif
}

/* fn in a fresh world on the trial's disks; true when it came to its end. */
static bool in_world(struct trial *t, uint64_t seed, void (*fn)(struct trial *t))
{
    sched_seeded_init(&t->sched, seed, 300);
    t->preempt = t->sched.base.preempt;
    t->sched.base.preempt = hook;
    struct world_config cfg = {.profile = &profile_optimized,
                               .report = collect,
                               .report_opaque = t,
                               .simulated_time = true,
                               .io = IO_SYNC,
                               .io_set = true,
                               .seed = 1,
                               .policy = &t->sched.base};
    allow_leaks(t, true);
    t->r.process = process_new();
    t->r.w = world_new(t->r.process, &cfg);
    t->r.drivers.entries = entries;
    block_set_drivers(t->r.w, &t->r.drivers);
    struct call c = {t, fn};
    bool ended = world_exec(t->r.w, enter, &c) == 0;
    if (ended) {
        world_settle(t->r.w);
        assert_int_equal(world_live(t->r.w), 0);
        assert_null(job_next(t->r.w, NULL));
    }
    t->armed = t->stopped = false;
    world_free(t->r.w);
    process_free(t->r.process);
    allow_leaks(t, false);
    return ended;
}

static void begin(struct trial *t, const struct scene *s)
{
    *t = (struct trial){.s = s};
    t->r.pool = disk_pool_new(0);
    t->r.log = disk_log_new(t->r.pool);
    fault_plan_init(&t->r.plan);
    for (int i = 0; i < 4; i++) {
        t->r.disk[i] = disk_new(t->r.pool, 0);
    }
    assert_true(in_world(t, 1, s->make));
}

static void end(struct trial *t)
{
    for (int i = 0; i < 4; i++) {
        disk_free(t->r.disk[i]);
    }
    disk_log_free(t->r.log);
    disk_pool_free(t->r.pool);
    fault_plan_destroy(&t->r.plan);
    strbuf_free(&t->r.out);
}

/* ---- the graph ---- */

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static char *one_node(const struct node *n)
{
    struct strbuf s = STRBUF_INIT;
    const struct child *c;
    strbuf_printf(&s, "%s refs %d %s flags %x quiesce %u used %x shared %x:", n->node_name,
                  n->refcnt, n->read_only ? "ro" : "rw", n->open_flags, n->quiesce, n->used_perm,
                  n->shared_perm);
    LIST_FOREACH (c, &n->children, children_link) {
        strbuf_printf(&s, " %s=%s %x/%x%s", c->name, c->node->node_name, c->perm, c->shared,
                      c->frozen ? " frozen" : "");
    }
    for (size_t i = 0; i < BLOCK_OP_COUNT; i++) {
        strbuf_puts(&s, list_empty(&n->blockers[i]) ? "" : " blocked");
    }
    LIST_FOREACH (c, &n->parents, parents_link) {
        if (!child_parent_node(c)) {
            strbuf_printf(&s, " root %x/%x", c->perm, c->shared);
        }
    }
    return strbuf_take(&s);
}

char *trial_graph(struct world *w)
{
    char *lines[32];
    size_t count = 0;
    struct strbuf s = STRBUF_INIT;
    for (struct node *n = node_next(w, NULL); n; n = node_next(w, n)) {
        assert_true(count < ARRAY_SIZE(lines));
        lines[count++] = one_node(n);
    }
    qsort(lines, count, sizeof(lines[0]), by_name);
    for (size_t i = 0; i < count; i++) {
        strbuf_printf(&s, "%s\n", lines[i]);
        mem_free(lines[i]);
    }
    return strbuf_take(&s);
}

/* ---- contents ---- */

uint8_t trial_value(int layer, int cluster)
{
    return layer ? (uint8_t)(layer * 40 + cluster) : 0;
}

void trial_write(struct trial *t, int i, int layer, const char *clusters)
{
    char name[] = "sim:d0";
    name[5] = (char)('0' + i);
    struct blk *b = rig_open(&t->r, name, "driver=qcow2,detect-zeroes=off", QT_RW);
    for (int c = 0; clusters[c]; c++) {
        int64_t at = (int64_t)c * TRIAL_CLUSTER;
        if (clusters[c] == 'd') {
            assert_int_equal(rig_fill(b, at, TRIAL_CLUSTER, trial_value(layer, c)), 0);
        } else if (clusters[c] == 'z') {
            assert_int_equal(blk_pwrite_zeroes(b, at, TRIAL_CLUSTER, 0, NULL), 0);
        }
    }
    blk_unref(b);
}

void trial_read(struct trial *t, int i, const char *layers)
{
    char name[] = "sim:d0";
    name[5] = (char)('0' + i);
    struct blk *b = rig_open(&t->r, name, "driver=qcow2", 0);
    uint8_t *buf = mem_alloc(TRIAL_CLUSTER);
    for (int c = 0; layers[c]; c++) {
        uint8_t want = trial_value(layers[c] - '0', c);
        assert_int_equal(blk_pread(b, (int64_t)c * TRIAL_CLUSTER, buf, TRIAL_CLUSTER), 0);
        for (int k = 0; k < TRIAL_CLUSTER; k++) {
            if (buf[k] != want) {
                fail_msg("%s: cluster %d of d%d has %02x at %d, not %02x", t->s->name, c, i, buf[k],
                         k, want);
            }
        }
    }
    mem_free(buf);
    blk_unref(b);
}

/* ---- one run ---- */

static void arm(struct trial *t, bool on)
{
    for (int i = 0; i < 4; i++) {
        char name[8];
        snprintf(name, sizeof(name), "d%d", i);
        sim_find(t->r.w, name)->plan = on ? &t->r.plan : NULL;
    }
    t->armed = on;
}

static void run_job(struct trial *t)
{
    struct error *err = NULL;
    t->s->open(t);
    char *before = trial_graph(t->r.w);
    t->j = NULL;
    t->seen = 0;
    arm(t, true);
    struct job *j = t->s->job(t, &err);
    t->ret = -1;
    if (j) {
        t->j = j;
        job_ref(j);
        t->ret = job_run(j, &err);
        arm(t, false);
        t->j = NULL;
        assert_int_equal(j->status, JOB_NULL);
        job_unref(j);
    }
    arm(t, false);
    assert_true((t->ret < 0) == (err != NULL));
    error_free(err);
    if (t->ret < 0 || !t->s->graph_changes) {
        char *after = trial_graph(t->r.w);
        assert_string_equal(after, before);
        mem_free(after);
    }
    mem_free(before);
    t->s->close(t, t->ret == 0);
}

static void judge(struct trial *t, const char *what)
{
    for (int i = 0; i < t->s->disks; i++) {
        qt_judge(t->r.disk[i], true, what);
    }
    assert_true(in_world(t, 1, t->s->judge));
}

/* All points of one schedule; returns how many there were. */
static uint64_t at_every_point(const struct scene *s, int act, uint64_t seed, uint64_t stride)
{
    for (uint64_t at = 1;; at += stride) {
        struct trial t;
        begin(&t, s);
        t.act = act;
        t.at = at;
        bool ended = in_world(&t, seed, run_job);
        bool last = t.seen < at;
        if (last) {
            assert_true(ended && t.ret == 0);
        }
        assert_true(ended || act == TRIAL_STOP);
        judge(&t, s->name);
        end(&t);
        if (last) {
            return at;
        }
    }
}

void trial_cancels(const struct scene *s)
{
    for (uint64_t seed = 1; seed <= 3; seed++) {
        assert_true(at_every_point(s, TRIAL_CANCEL, seed, 1) > 5);
    }
}

void trial_stops(const struct scene *s)
{
    for (uint64_t seed = 1; seed <= 3; seed++) {
        assert_true(at_every_point(s, TRIAL_STOP, seed, 1) > 5);
    }
}

/* The k-th request of any kind fails, once; with EIO and with ENOSPC. */
void trial_failures(const struct scene *s)
{
    static const int errors[] = {EIO, ENOSPC};
    for (size_t e = 0; e < ARRAY_SIZE(errors); e++) {
        bool fired = true;
        for (uint64_t nth = 1; fired; nth++) {
            struct trial t;
            begin(&t, s);
            int i = fault_plan_add(
                &t.r.plan, &(struct fault_entry){
                               .kind = FAULT_ERROR, .error = errors[e], .label = -1, .nth = nth});
            assert_true(in_world(&t, nth % 3 + 1, run_job));
            fired = t.r.plan.entries[i].fired > 0;
            judge(&t, s->name);
            end(&t);
        }
    }
}

/* ---- power cuts ---- */

static void judge_state(struct trial *t, const struct crash_state *st, const char *id)
{
    struct disk *live[4];
    for (int i = 0; i < 4; i++) {
        live[i] = t->r.disk[i];
        t->r.disk[i] = disk_clone(st->set->disk[i]);
    }
    struct disk_log *log = t->r.log;
    t->r.log = NULL;
    judge(t, id);
    t->r.log = log;
    for (int i = 0; i < 4; i++) {
        disk_free(t->r.disk[i]);
        t->r.disk[i] = live[i];
    }
}

void trial_cuts(const struct scene *s)
{
    struct trial t;
    struct disk_set base = {.n = 4};
    struct crash_bounds bounds = crash_bounds_default;
    begin(&t, s);
    disk_log_free(t.r.log);
    t.r.log = disk_log_new(t.r.pool);
    for (int i = 0; i < 4; i++) {
        base.disk[i] = disk_clone(t.r.disk[i]);
    }
    assert_true(in_world(&t, 1, run_job));
    assert_int_equal(t.ret, 0);
    bounds.exhaustive = 4;
    bounds.drops = 1;
    bounds.samples = 8;
    bounds.max_states = 1500;
    struct crash_iter *it = crash_iter_new(&base, t.r.log, &bounds);
    struct crash_state st;
    while (crash_iter_next(it, &st)) {
        struct strbuf id = STRBUF_INIT;
        crash_iter_id(it, &id);
        judge_state(&t, &st, id.s);
        strbuf_free(&id);
    }
    assert_true(crash_iter_stats(it).distinct > 5);
    crash_iter_free(it);
    for (int i = 0; i < 4; i++) {
        disk_free(base.disk[i]);
    }
    end(&t);
}
