/*
 * What operations do to the contents that are lawful.  See oracle.h.
 */
#include "harness/oracle/oracle_int.h"

#include <errno.h>
#include <string.h>
#include "ref/base/mem.h"

static void lawful_size(struct oracle *o, int64_t size)
{
    for (unsigned i = 0; i < o->n_sizes; i++) {
        if (o->sizes[i] == size) {
            return;
        }
    }
    if (o->n_sizes == ORACLE_SIZES) {
        o->any_size = true;
        return;
    }
    o->sizes[o->n_sizes++] = size;
}

struct oracle_snapshot *oracle_snapshot_named(struct oracle *o, const char *name)
{
    for (unsigned i = 0; i < o->n_snapshots; i++) {
        if (!strcmp(o->snapshots[i].name, name)) {
            return &o->snapshots[i];
        }
    }
    return NULL;
}

static struct lawful content_of(const struct oracle *o, const struct op *op,
                                const struct oracle_run *r)
{
    struct lawful l = {0};
    switch (op->kind) {
    case OP_WRITE:
    case OP_WRITE_COMPRESSED:
        return lawful_only((uint8_t)op->seed);
    case OP_DISCARD:
        l = r->live;
        lawful_add_byte(&l, 0);
        lawful_add(&l, &r->under);
        return l;
    default:
        return lawful_only(0);
    }
}

/* What the promise lets an unfinished change leave, besides old and new. */
void oracle_side_effects(const struct oracle *o, const struct op *op, struct oracle_run *r)
{
    if (o->in_place) {
        return;
    }
    bool frees = op->kind == OP_DISCARD || (op->kind == OP_ZERO && op->flags & OP_UNMAP);
    if (op->kind == OP_WRITE_COMPRESSED || o->compressing || (frees && o->reuses_at_once)) {
        r->crash.any = true;
    } else if (op->kind != OP_WRITE || !r->settled) {
        lawful_add_byte(&r->crash, 0);
        r->crash.any |= o->freed || o->scrambled;
    }
}

/*
 * Where growth is not stable yet, a write behind the old end makes the file as long as it needs.
 * Also where no size is so long yet: a resize that runs beside the write may let it in.
 */
static void may_lengthen(struct oracle *o, const struct op *op)
{
    int64_t end = oracle_length(op->offset + op->bytes);
    bool longer = false;
    for (unsigned i = 0; i < o->n_sizes; i++) {
        longer |= o->sizes[i] < end;
    }
    if (o->as_file && longer) {
        lawful_size(o, end);
    }
}

static void begin_change(struct oracle *o, const struct op *op)
{
    struct oracle_span s = oracle_span(o, op->offset, MIN(op->offset + op->bytes, FAR_END));
    may_lengthen(o, op);
    for (size_t i = s.first; i < s.end; i++) {
        struct oracle_run *r = &o->runs[i];
        struct lawful l = content_of(o, op, r);
        lawful_add(&r->crash, &l);
        oracle_side_effects(o, op, r);
    }
}

/* The cut-off part is gone; what grows again reads as zeroes. */
static void begin_resize(struct oracle *o, const struct op *op)
{
    struct oracle_span s = oracle_span(o, MIN(op->bytes, o->size), FAR_END);
    lawful_size(o, oracle_length(op->bytes));
    for (size_t i = s.first; i < s.end; i++) {
        struct oracle_run *r = &o->runs[i];
        lawful_add_byte(&r->crash, 0);
        lawful_add(&r->crash, &r->under); /* unmapped, and still as long as before */
        r->crash.any |= (o->freed || o->reuses_at_once) && !o->in_place;
        r->crash.any |= o->scrambled && o->in_place;
    }
}

static void begin_goto(struct oracle *o, const struct op *op)
{
    const struct oracle_snapshot *sn = oracle_snapshot_named(o, op->text);
    if (sn && sn->size >= 0) {
        lawful_size(o, sn->size);
    } else if (sn) {
        o->any_size = true;
    }
    for (size_t k = 0; sn && k < sn->n_runs; k++) {
        struct oracle_span s = oracle_span(o, sn->runs[k].start, sn->runs[k].end);
        for (size_t i = s.first; i < s.end; i++) {
            lawful_add(&o->runs[i].crash, &sn->runs[k].live);
        }
    }
}

/* The backing file takes over what the guest sees; the guest sees no change. */
static void begin_commit(struct oracle *o)
{
    o->committed = true;
    for (size_t i = 0; i < o->n_runs; i++) {
        lawful_add(&o->runs[i].under, &o->runs[i].live);
        lawful_add(&o->runs[i].under, &o->runs[i].crash);
    }
}

void oracle_begin(struct oracle *o, const struct op *op)
{
    switch (op->kind) {
    case OP_WRITE:
    case OP_WRITE_COMPRESSED:
    case OP_ZERO:
    case OP_DISCARD:
        begin_change(o, op);
        break;
    case OP_RESIZE:
        begin_resize(o, op);
        break;
    case OP_APPLY:
        begin_goto(o, op);
        break;
    case OP_COMMIT:
        begin_commit(o);
        break;
    default:
        break;
    }
}

void oracle_unsettle(struct oracle *o, int64_t start, int64_t end)
{
    struct oracle_span s = oracle_span(o, start, end);
    for (size_t i = s.first; i < s.end; i++) {
        o->runs[i].settled = o->runs[i].written = false;
    }
}

static void end_change(struct oracle *o, const struct op *op, int status)
{
    int64_t end = MIN(op->offset + op->bytes, FAR_END);
    struct oracle_span s = oracle_span(o, op->offset, end);
    for (size_t i = s.first; i < s.end; i++) {
        struct oracle_run *r = &o->runs[i];
        struct lawful l = content_of(o, op, r);
        if (status < 0) {
            lawful_add(&r->live, &l);
        } else {
            r->live = l;
            if (op->flags & OP_FUA && op->kind == OP_WRITE) {
                r->crash = l;
            }
        }
    }
    int64_t from = ROUND_DOWN(op->offset, o->granule);
    int64_t to = ROUND_UP(MIN(end, INT64_MAX / 2), o->granule);
    if (op->kind != OP_WRITE) {
        o->freed = true;
        oracle_unsettle(o, from, to);
        return;
    }
    s = oracle_span(o, from, to);
    for (size_t i = s.first; status == 0 && i < s.end; i++) {
        o->runs[i].written = true;
    }
}

static void end_resize(struct oracle *o, const struct op *op, int status)
{
    struct oracle_span s = oracle_span(o, MIN(op->bytes, o->size), FAR_END);
    for (size_t i = s.first; i < s.end; i++) {
        struct oracle_run *r = &o->runs[i];
        r->settled = r->written = false;
        if (status == 0) {
            r->live = lawful_only(0);
        } else {
            lawful_add_byte(&r->live, 0);
            lawful_add(&r->live, &r->under);
        }
        r->live.any |= o->scrambled && o->in_place;
    }
    o->freed = true;
    o->size = status == 0 ? oracle_length(op->bytes) : o->size;
    o->size_open |= status < 0;
}

/* Settled, or lawful contents, change at once for the whole disk. */
static void make_durable(struct oracle *o)
{
    for (size_t i = 0; i < o->n_runs; i++) {
        struct oracle_run *r = &o->runs[i];
        r->crash = r->live;
        r->settled |= r->written;
        r->written = false;
    }
    if (!o->size_open) {
        o->sizes[0] = o->size;
        o->n_sizes = 1;
        o->any_size = false;
    }
}

/* Nothing was done at all. */
static bool refused(int status)
{
    return status == -ENOTSUP || status == -ENOENT || status == -ENOMEDIUM || status == -EEXIST;
}

/* Of two that share a name the older counts; when it may not be there, either may be meant. */
static void end_snapshot(struct oracle *o, const struct op *op, int status)
{
    struct oracle_snapshot *sn = oracle_snapshot_named(o, op->text);
    if (refused(status)) {
        return;
    }
    oracle_unsettle(o, 0, FAR_END);
    o->freed = true; /* the old snapshot table */
    if (sn && sn->unsure) {
        for (size_t i = 0; i < sn->n_runs; i++) {
            sn->runs[i].live.any = true;
        }
    } else if (o->n_snapshots < ORACLE_SNAPSHOTS) {
        sn = &o->snapshots[o->n_snapshots++];
        memcpy(sn->name, op->text, sizeof(sn->name));
        sn->unsure = status < 0;
        sn->size = o->size_open ? -1 : o->size;
        sn->runs = mem_dup(o->runs, o->n_runs * sizeof(*o->runs));
        sn->n_runs = o->n_runs;
    }
}

static void end_goto(struct oracle *o, const struct op *op, int status)
{
    const struct oracle_snapshot *sn = oracle_snapshot_named(o, op->text);
    if (refused(status)) {
        return;
    }
    o->freed = true;
    oracle_unsettle(o, 0, FAR_END);
    if (sn) {
        o->size = status == 0 && sn->size >= 0 ? sn->size : o->size;
        o->size_open |= status < 0 || sn->size < 0;
    }
    for (size_t k = 0; sn && k < sn->n_runs; k++) {
        struct oracle_span s = oracle_span(o, sn->runs[k].start, sn->runs[k].end);
        for (size_t i = s.first; i < s.end; i++) {
            if (status == 0) {
                o->runs[i].live = sn->runs[k].live;
            } else {
                lawful_add(&o->runs[i].live, &sn->runs[k].live);
            }
        }
    }
}

static void end_delete(struct oracle *o, const struct op *op, int status)
{
    struct oracle_snapshot *sn = oracle_snapshot_named(o, op->text);
    o->freed = true;
    if (sn && status < 0 && !refused(status)) {
        sn->unsure = true;
    } else if (sn && status == 0) {
        mem_free(sn->runs);
        o->n_snapshots--; /* in their order: of one name the older counts */
        memmove(sn, sn + 1, (size_t)(&o->snapshots[o->n_snapshots] - sn) * sizeof(*sn));
    }
}

/* What a snapshot takes from the backing file, or may, was changed below it. */
static void change_below(struct oracle *o, struct oracle_run *r)
{
    bool shared = false;
    r->live.any |= r->live.backing;
    for (size_t i = 0; i < ARRAY_SIZE(r->live.byte); i++) {
        shared |= (r->live.byte[i] & r->under.byte[i]) != 0;
    }
    struct oracle_span s = oracle_span(o, r->start, shared ? r->end : r->start);
    for (size_t i = s.first; i < s.end; i++) {
        lawful_add(&r->live, &o->runs[i].live);
    }
}

static void end_commit(struct oracle *o, int status)
{
    for (size_t i = 0; i < o->n_runs && status == 0; i++) {
        o->runs[i].under = o->runs[i].live;
    }
    for (unsigned k = 0; k < o->n_snapshots; k++) {
        for (size_t i = 0; i < o->snapshots[k].n_runs; i++) {
            change_below(o, &o->snapshots[k].runs[i]);
        }
    }
    o->freed = true;
    oracle_unsettle(o, 0, FAR_END);
}

void oracle_end(struct oracle *o, const struct op *op, int status)
{
    switch (op->kind) {
    case OP_WRITE:
    case OP_WRITE_COMPRESSED:
    case OP_ZERO:
    case OP_DISCARD:
        end_change(o, op, status);
        break;
    case OP_RESIZE:
        end_resize(o, op, status);
        break;
    case OP_SNAPSHOT:
        end_snapshot(o, op, status);
        break;
    case OP_APPLY:
        end_goto(o, op, status);
        break;
    case OP_DELSNAP:
        end_delete(o, op, status);
        break;
    case OP_COMMIT:
        end_commit(o, status);
        break;
    case OP_AMEND:
        o->freed = true;
        oracle_unsettle(o, 0, FAR_END);
        break;
    case OP_FLUSH:
        if (status == 0) {
            make_durable(o);
        }
        break;
    default:
        break;
    }
}

void oracle_distrust(struct oracle *o, const struct op *op)
{
    bool ranged = op->kind == OP_WRITE || op->kind == OP_WRITE_COMPRESSED || op->kind == OP_ZERO ||
                  op->kind == OP_DISCARD;
    int64_t end =
        ranged ? ROUND_UP(MIN(op->offset + op->bytes, INT64_MAX / 2), o->cluster) : FAR_END;
    struct oracle_span s = oracle_span(o, ranged ? ROUND_DOWN(op->offset, o->cluster) : 0, end);
    for (size_t i = s.first; i < s.end; i++) {
        o->runs[i].live.any = o->runs[i].crash.any = o->runs[i].under.any = true;
    }
}

void oracle_close_unflushed(struct oracle *o)
{
    for (size_t i = 0; i < o->n_runs; i++) {
        lawful_add(&o->runs[i].live, &o->runs[i].crash);
        o->runs[i].written = false;
    }
    o->size_open |= o->n_sizes > 1 || o->any_size;
}
