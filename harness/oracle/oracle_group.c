/*
 * Linearizability of a group of operations.  See oracle_group.h.
 */
#include "harness/oracle/oracle_group.h"

#include <errno.h>
#include <string.h>
#include "harness/oracle/oracle_int.h"
#include "ref/base/mem.h"

void oracle_group_init(struct oracle_group *g, struct oracle *o)
{
    memset(g, 0, sizeof(*g));
    g->o = o;
    oracle_copy(&g->base, o);
}

void oracle_group_free(struct oracle_group *g)
{
    for (unsigned i = 0; i < g->n; i++) {
        mem_free(g->m[i].data);
    }
    oracle_free(&g->base);
}

static bool changes(const struct op *op)
{
    return op->kind <= OP_DISCARD || op->kind == OP_APPLY || op->kind == OP_RESIZE;
}

/* The range that an operation may change. */
static bool covers(const struct oracle_group *g, const struct op *op, int64_t offset)
{
    if (op->kind == OP_RESIZE) {
        return offset >= MIN(op->bytes, g->base.size);
    }
    return op->kind == OP_APPLY ||
           (op->kind <= OP_DISCARD && offset >= op->offset && offset - op->offset < op->bytes);
}

/* What it puts at offset. */
static void add_content(const struct oracle_group *g, const struct op *op, int64_t offset,
                        struct lawful *to)
{
    if (op->kind == OP_WRITE || op->kind == OP_WRITE_COMPRESSED) {
        lawful_add_byte(to, (uint8_t)op->seed);
    } else if (op->kind == OP_APPLY) {
        const struct oracle_snapshot *sn = oracle_snapshot_named(g->o, op->text);
        for (size_t i = 0; sn && i < sn->n_runs; i++) {
            if (sn->runs[i].start <= offset && offset < sn->runs[i].end) {
                lawful_add(to, &sn->runs[i].live);
            }
        }
    } else {
        lawful_add_byte(to, 0);
        /* Also of what a shrink cuts off: who reads beside it may meet neither data nor the end. */
        if (op->kind == OP_DISCARD || op->kind == OP_RESIZE) {
            lawful_add(to, &g->base.runs[oracle_run_at(&g->base, offset)].under);
        }
    }
}

/* A successful one leaves nothing else there. */
static bool replaces(const struct oracle_member *m)
{
    enum op_kind k = m->op->kind;
    return m->end && m->status == 0 &&
           (k == OP_WRITE || k == OP_WRITE_COMPRESSED || k == OP_ZERO || k == OP_APPLY);
}

/* Which operations have certainly been done, for the one who looks. */
struct observer {
    uint64_t before; /* those that ended before this stamp */
    bool durable;    /* only those that are on stable storage */
    uint64_t until;  /* only what began before this stamp can be seen; 0: all */
};

static bool done(const struct oracle_member *m, const struct observer *w)
{
    return replaces(m) && m->end < w->before && (!w->durable || m->durable);
}

/* What may be at offset, besides what was there before the group; true when that is gone. */
static bool add_lawful(const struct oracle_group *g, int64_t offset, const struct observer *w,
                       struct lawful *to)
{
    uint64_t newest = 0; /* begin of the youngest that is done: what ended before it is gone */
    bool gone = false;
    for (unsigned i = 0; i < g->n; i++) {
        const struct oracle_member *m = &g->m[i];
        if (done(m, w) && covers(g, m->op, offset)) {
            newest = MAX(newest, m->begin);
            gone = true;
        }
    }
    for (unsigned i = 0; i < g->n; i++) {
        const struct oracle_member *m = &g->m[i];
        bool seen = changes(m->op) && (!w->until || m->begin < w->until);
        if (seen && covers(g, m->op, offset) && !(m->end && m->end < newest)) {
            add_content(g, m->op, offset, to);
        }
    }
    return gone;
}

static const struct oracle_run *base_run(const struct oracle_group *g, int64_t offset)
{
    return &g->base.runs[oracle_run_at(&g->base, offset)];
}

/* ---- progress ---- */

unsigned oracle_group_begin(struct oracle_group *g, const struct op *op)
{
    g->m[g->n] = (struct oracle_member){.op = op, .begin = ++g->clock};
    oracle_begin(g->o, op);
    return g->n++;
}

/* Something more is on stable storage: what may be found after a cut is less. */
static void settle(struct oracle_group *g)
{
    const struct observer w = {.before = UINT64_MAX, .durable = true};
    for (size_t i = 0; i < g->o->n_runs; i++) {
        struct oracle_run *r = &g->o->runs[i];
        const struct oracle_run *base = base_run(g, r->start);
        struct lawful l = {0};
        if (!add_lawful(g, r->start, &w, &l)) {
            lawful_add(&l, g->flushed ? &base->live : &base->crash);
        }
        r->crash = l;
        for (unsigned k = 0; k < g->n; k++) {
            const struct oracle_member *m = &g->m[k];
            if (changes(m->op) && !m->durable && covers(g, m->op, r->start)) {
                oracle_side_effects(g->o, m->op, r);
            }
        }
    }
}

static void flush_ended(struct oracle_group *g, const struct oracle_member *f)
{
    for (unsigned i = 0; i < g->n; i++) {
        struct oracle_member *m = &g->m[i];
        m->durable |= m->end && m->end < f->begin;
    }
    g->flushed = true;
    settle(g);
}

void oracle_group_end(struct oracle_group *g, unsigned i, int status, uint8_t *data)
{
    struct oracle_member *m = &g->m[i];
    m->end = ++g->clock;
    m->status = status;
    m->data = data;
    if (m->op->kind != OP_WRITE) {
        g->o->freed |= changes(m->op) || m->op->kind >= OP_SNAPSHOT;
    }
    if (status == 0 && m->op->kind == OP_FLUSH) {
        flush_ended(g, m);
    } else if (status == 0 && m->op->kind == OP_WRITE && m->op->flags & OP_FUA) {
        m->durable = true;
        settle(g);
    }
}

/* ---- judging ---- */

static bool resizes(const struct oracle_group *g)
{
    for (unsigned i = 0; i < g->n; i++) {
        if (g->m[i].op->kind == OP_RESIZE || g->m[i].op->kind == OP_APPLY) {
            return true;
        }
    }
    return false;
}

static bool judge_read(struct oracle_group *g, const struct oracle_member *m, struct strbuf *why)
{
    const struct observer w = {.before = m->begin, .until = m->end};
    int64_t end = m->op->offset + m->op->bytes;
    if (!m->data) {
        return true;
    }
    for (size_t i = oracle_run_at(g->o, m->op->offset); i < g->o->n_runs; i++) {
        const struct oracle_run *r = &g->o->runs[i];
        int64_t from = MAX(r->start, m->op->offset), to = MIN(r->end, end);
        struct lawful l = {0};
        if (from >= to) {
            break;
        }
        if (!add_lawful(g, from, &w, &l)) {
            lawful_add(&l, &base_run(g, from)->live);
        }
        if (lawful_judge(&l, from, to - from, m->data + (from - m->op->offset), why) >= 0) {
            return false;
        }
    }
    return true;
}

/* Without faults what a guest asks within its disk succeeds, whatever runs beside it. */
static bool judge_status(const struct oracle_group *g, const struct oracle_member *m,
                         struct strbuf *why)
{
    bool plain = m->op->kind == OP_WRITE || m->op->kind == OP_READ || m->op->kind == OP_FLUSH ||
                 m->op->kind == OP_DISCARD ||
                 (m->op->kind == OP_ZERO && !(m->op->flags & OP_NO_FALLBACK));
    bool inside = m->op->offset <= g->base.size && m->op->bytes <= g->base.size - m->op->offset;
    if (!plain || m->status >= 0 || (m->op->kind != OP_FLUSH && !inside) || resizes(g)) {
        return true;
    }
    op_print(why, m->op);
    strbuf_printf(why, " beside others: %s", strerror(-m->status));
    return false;
}

/* ---- going on ---- */

static void take_snapshot(struct oracle_group *g, const struct oracle_member *m)
{
    const struct observer w = {.before = m->begin, .until = m->end};
    oracle_end(g->o, m->op, m->status);
    struct oracle_snapshot *sn = oracle_snapshot_named(g->o, m->op->text);
    if (m->status < 0 || !sn || oracle_snapshot_named(&g->base, m->op->text)) {
        return;
    }
    sn->size = resizes(g) ? -1 : sn->size;
    for (size_t i = 0; i < sn->n_runs; i++) {
        struct oracle_run *r = &sn->runs[i];
        struct lawful l = {0};
        if (!add_lawful(g, r->start, &w, &l)) {
            lawful_add(&l, &base_run(g, r->start)->live);
        }
        r->live = l;
    }
}

/* The size of the disk behind the group, where one operation changed it; else any may be. */
static void go_on_size(struct oracle_group *g)
{
    unsigned n = 0;
    for (unsigned i = 0; i < g->n; i++) {
        const struct oracle_member *m = &g->m[i];
        const struct oracle_snapshot *sn =
            m->op->kind == OP_APPLY ? oracle_snapshot_named(g->o, m->op->text) : NULL;
        int64_t size = m->op->kind == OP_RESIZE ? oracle_length(m->op->bytes)
                       : sn                     ? sn->size
                                                : g->base.size;
        bool maybe = (m->op->kind == OP_RESIZE || sn) && m->status < 0;
        n += size != g->base.size;
        g->o->size_open |= maybe || size < 0;
        g->o->size = size != g->base.size && m->status == 0 ? size : g->o->size;
    }
    g->o->size_open |= n > 1;
}

static void go_on(struct oracle_group *g)
{
    const struct observer w = {.before = UINT64_MAX};
    for (unsigned i = 0; i < g->n; i++) {
        const struct oracle_member *m = &g->m[i];
        if (m->op->kind == OP_SNAPSHOT) {
            take_snapshot(g, m);
        }
    }
    go_on_size(g);
    for (size_t i = 0; i < g->o->n_runs; i++) {
        struct oracle_run *r = &g->o->runs[i];
        struct lawful l = {0};
        if (!add_lawful(g, r->start, &w, &l)) {
            lawful_add(&l, &base_run(g, r->start)->live);
        }
        r->live = l;
        for (unsigned k = 0; k < g->n; k++) {
            const struct oracle_member *m = &g->m[k];
            r->live.any |= m->op->kind == OP_WRITE_COMPRESSED && m->status < 0 && r->crash.any &&
                           covers(g, m->op, r->start);
        }
    }
    oracle_unsettle(g->o, 0, FAR_END);
    for (unsigned i = 0; i < g->n; i++) {
        if (g->m[i].op->kind == OP_DELSNAP || g->m[i].op->kind == OP_COMMIT) {
            oracle_end(g->o, g->m[i].op, g->m[i].status);
        }
    }
}

bool oracle_group_judge(struct oracle_group *g, bool faulty, struct strbuf *why)
{
    bool ok = true;
    for (unsigned i = 0; i < g->n && ok; i++) {
        ok = (faulty || judge_status(g, &g->m[i], why)) && judge_read(g, &g->m[i], why);
    }
    go_on(g);
    return ok;
}
