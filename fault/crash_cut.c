/*
 * One power cut: what is durable, what is open, and the state that one choice for the open ops
 * leaves.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include "fault/crash_int.h"
#include "ref/base/mem.h"

#define KEY_IN_FLIGHT    (1ULL << 63) /* ops still in flight are applied last, in issue order */
#define TEAR_MAX_SECTORS 1024         /* sectors of one op that tearing looks at */
#define TEAR_MAX_BYTES   (64 * MiB)   /* and how far into the op */

void cut_init(struct cut *c, const struct disk_set *base, const struct disk_log *log,
              const struct crash_bounds *b)
{
    *c = (struct cut){.log = log, .bounds = *b};
    assert(base->n > 0 && base->n <= DISK_SET_MAX && b->sector >= 1 && IS_POW2(b->sector));
    c->base = disk_set_clone(base);
}

static void free_items(struct cut *c)
{
    for (size_t i = 0; i < c->n_items; i++) {
        mem_free(c->items[i].tears);
    }
    c->n_items = c->n_overlaps = c->n_open = 0;
}

void cut_destroy(struct cut *c)
{
    free_items(c);
    disk_set_free(&c->base);
    mem_free(c->live);
    mem_free(c->items);
    mem_free(c->overlaps);
    mem_free(c->choice);
    mem_free(c->flip);
    mem_free(c->order);
    mem_free(c->placed);
}

/* ---- what is durable ---- */

static bool has_content(const struct disk_op *op)
{
    return op->kind == DISK_OP_TRUNCATE ||
           (op->kind != DISK_OP_FLUSH && op->kind != DISK_OP_MARK && op->bytes > 0);
}

static bool done_before(const struct disk_op *op, uint64_t t)
{
    return op->completed != DISK_OP_IN_FLIGHT && op->completed < t;
}

/* Takes ops issued before t into the live list, and looks at flushes and marks completed before t.
 */
static void scan_log(struct cut *c, uint64_t t)
{
    for (; c->scanned < disk_log_len(c->log); c->scanned++) {
        const struct disk_op *op = disk_log_op(c->log, c->scanned);
        if (op->issued >= t) {
            break;
        }
        assert(op->disk < c->base.n);
        if (op->kind == DISK_OP_MARK && !has_content(op)) {
            c->marks++;
        }
        if (has_content(op) || op->kind == DISK_OP_FLUSH) {
            if (c->n_live == c->cap_live) {
                c->cap_live = c->cap_live ? 2 * c->cap_live : 64;
                c->live = mem_realloc(c->live, c->cap_live * sizeof(*c->live));
            }
            c->live[c->n_live++] = c->scanned;
        }
    }
}

/* Flushes leave the live list when they are complete. */
static void settle_flushes(struct cut *c, uint64_t t)
{
    size_t n = 0;

    for (size_t i = 0; i < c->n_live; i++) {
        const struct disk_op *op = disk_log_op(c->log, c->live[i]);
        if (op->kind == DISK_OP_FLUSH && done_before(op, t)) {
            if (!(op->flags & DISK_OP_FAILED)) {
                c->flushed[op->disk] = MAX(c->flushed[op->disk], op->issued);
            }
            continue;
        }
        c->live[n++] = c->live[i];
    }
    c->n_live = n;
}

static bool is_flushed(const struct cut *c, const struct disk_op *op)
{
    return op->completed != DISK_OP_IN_FLIGHT && op->completed < c->flushed[op->disk];
}

static bool is_durable(const struct cut *c, const struct disk_op *op)
{
    return !(op->flags & DISK_OP_FAILED) &&
           (is_flushed(c, op) || ((op->flags & DISK_OP_FUA) && done_before(op, c->t)));
}

static bool overlap(const struct disk_op *a, const struct disk_op *b)
{
    int64_t end_a = a->kind == DISK_OP_TRUNCATE ? INT64_MAX : a->offset + a->bytes;
    int64_t end_b = b->kind == DISK_OP_TRUNCATE ? INT64_MAX : b->offset + b->bytes;
    return a->disk == b->disk && a->offset < end_b && b->offset < end_a;
}

static bool concurrent(const struct disk_op *a, const struct disk_op *b)
{
    return a->issued < b->completed && b->issued < a->completed;
}

static int by_key(const void *a, const void *b)
{
    const struct item *x = a, *y = b;
    return x->key < y->key ? -1 : x->key > y->key;
}

static void add_item(struct cut *c, size_t i, const struct disk_op *op)
{
    if (c->n_items == c->cap_items) {
        c->cap_items = c->cap_items ? 2 * c->cap_items : 64;
        c->items = mem_realloc(c->items, c->cap_items * sizeof(*c->items));
    }
    c->items[c->n_items++] = (struct item){
        .op = i,
        .key = done_before(op, c->t) ? op->completed : KEY_IN_FLIGHT + op->issued,
    };
}

/* Must durable item i wait for an open op, or for an item that does? */
static bool must_wait(const struct cut *c, size_t i, const bool *durable)
{
    const struct disk_op *d = disk_log_op(c->log, c->items[i].op);

    for (size_t k = 0; k < c->n_items; k++) {
        const struct disk_op *x = disk_log_op(c->log, c->items[k].op);
        bool before = durable[k] ? k < i && c->items[k].forced : x->issued < d->completed;
        if (before && overlap(x, d)) {
            return true;
        }
    }
    return false;
}

/* All live ops become items; those that are durable and wait for nothing move on to base. */
static void settle_ops(struct cut *c)
{
    bool *durable;
    size_t n = 0;

    free_items(c);
    for (size_t i = 0; i < c->n_live; i++) {
        const struct disk_op *op = disk_log_op(c->log, c->live[i]);
        if (op->kind != DISK_OP_FLUSH && !((op->flags & DISK_OP_FAILED) && is_flushed(c, op))) {
            add_item(c, c->live[i], op);
        }
    }
    if (c->n_items == 0) {
        return;
    }
    qsort(c->items, c->n_items, sizeof(*c->items), by_key);
    durable = mem_array(c->n_items, sizeof(*durable));
    for (size_t i = 0; i < c->n_items; i++) {
        durable[i] = is_durable(c, disk_log_op(c->log, c->items[i].op));
    }
    for (size_t i = 0; i < c->n_items; i++) {
        c->items[i].forced = durable[i] && must_wait(c, i, durable);
    }
    for (size_t i = 0; i < c->n_items; i++) {
        const struct disk_op *op = disk_log_op(c->log, c->items[i].op);
        if (durable[i] && !c->items[i].forced) {
            int ret = disk_op_apply(c->base.disk[op->disk], op);
            assert(ret == 0 && "the pool of crash states must not be limited");
        } else {
            c->items[n++] = c->items[i];
        }
    }
    c->n_items = n;
    mem_free(durable);
}

/* The live list becomes what is not in base yet, in log order. */
static void forget_settled(struct cut *c)
{
    size_t n = 0;

    for (size_t i = 0; i < c->n_live; i++) {
        const struct disk_op *op = disk_log_op(c->log, c->live[i]);
        bool keep = op->kind == DISK_OP_FLUSH;
        for (size_t k = 0; k < c->n_items && !keep; k++) {
            keep = c->items[k].op == c->live[i];
        }
        if (keep) {
            c->live[n++] = c->live[i];
        }
    }
    c->n_live = n;
}

/* ---- order ---- */

static void find_overlaps(struct cut *c)
{
    for (size_t a = 0; a < c->n_items; a++) {
        for (size_t b = a + 1; b < c->n_items; b++) {
            const struct disk_op *x = disk_log_op(c->log, c->items[a].op),
                                 *y = disk_log_op(c->log, c->items[b].op);
            if (!overlap(x, y)) {
                continue;
            }
            if (c->n_overlaps == c->cap_overlaps) {
                c->cap_overlaps = c->cap_overlaps ? 2 * c->cap_overlaps : 64;
                c->overlaps = mem_realloc(c->overlaps, c->cap_overlaps * sizeof(*c->overlaps));
            }
            /* Two durable ops have found their order. */
            bool open = concurrent(x, y) && !(c->items[a].forced && c->items[b].forced);
            c->overlaps[c->n_overlaps++] = (struct overlap){(uint32_t)a, (uint32_t)b, open};
            c->n_open += open;
        }
    }
}

bool cut_order(struct cut *c)
{
    bool flipped = false;

    for (size_t i = 0; i < c->n_overlaps; i++) {
        flipped |= c->flip[i];
    }
    for (size_t i = 0; i < c->n_items; i++) {
        c->order[i] = (uint32_t)i;
        c->placed[i] = false;
    }
    /* The first item in log order that nothing unplaced must precede, again and again. */
    for (size_t n = 0; n < c->n_items && flipped; n++) {
        size_t pick = c->n_items;
        for (size_t i = 0; i < c->n_items && pick == c->n_items; i++) {
            bool ready = !c->placed[i];
            for (size_t k = 0; k < c->n_overlaps && ready; k++) {
                const struct overlap *o = &c->overlaps[k];
                uint32_t first = c->flip[k] ? o->b : o->a, second = c->flip[k] ? o->a : o->b;
                ready = !(second == i && !c->placed[first]);
            }
            pick = ready ? i : pick;
        }
        if (pick == c->n_items) {
            return false;
        }
        c->order[n] = (uint32_t)pick;
        c->placed[pick] = true;
    }
    return true;
}

/* ---- tearing ---- */

/* Where sector k of the op begins, in bytes from its offset. */
static int64_t sector_start(const struct cut *c, const struct disk_op *op, int64_t k)
{
    int64_t size = c->bounds.sector, first = op->offset / size;
    return k <= 0 ? 0 : MIN((first + k) * size - op->offset, op->bytes);
}

static bool tearable(const struct cut *c, const struct disk_op *op)
{
    if (op->kind == DISK_OP_TRUNCATE || op->bytes == 0) {
        return false;
    }
    return c->bounds.tearable ? c->bounds.tearable(op, c->bounds.opaque)
                              : label_class(op->label) != LABEL_DATA;
}

static bool shares_sector(const struct cut *c, size_t item, const struct disk_op *part)
{
    for (size_t k = 0; k < c->n_items; k++) {
        if (k != item && overlap(part, disk_log_op(c->log, c->items[k].op))) {
            return true;
        }
    }
    return false;
}

/* Sectors that change something: others of the op may be there or not, the state is the same. */
static void find_tears(struct cut *c, size_t i)
{
    struct item *it = &c->items[i];
    const struct disk_op *op = disk_log_op(c->log, it->op);
    uint8_t *now = mem_alloc(c->bounds.sector), *then = mem_alloc(c->bounds.sector);

    uint64_t most = MIN((uint64_t)op->bytes / c->bounds.sector + 2, TEAR_MAX_SECTORS);
    it->tears = mem_array(most, sizeof(*it->tears));
    for (int64_t k = 0, at = 0;
         at < MIN(op->bytes, TEAR_MAX_BYTES) && it->n_tears < TEAR_MAX_SECTORS; k++) {
        int64_t end = sector_start(c, op, k + 1);
        struct disk_op part = *op;
        part.offset = op->offset + at;
        part.bytes = end - at;
        disk_op_read(disk_log_pool(c->log), op, at, now, end - at);
        disk_read(c->base.disk[op->disk], op->offset + at, then, end - at);
        if (memcmp(now, then, end - at) || shares_sector(c, i, &part)) {
            it->tears[it->n_tears++] = k;
        }
        at = end;
    }
    mem_free(now);
    mem_free(then);
}

/* k sectors: k-1 prefixes, k-1 suffixes, k-2 holes (holes at the ends are a prefix and a suffix);
 * then the size. */
uint32_t cut_torn_count(const struct cut *c, size_t i)
{
    const struct item *it = &c->items[i];
    uint32_t k = it->n_tears;
    return (k >= 2 ? 2 * (k - 1) + (k - 2) : 0) + it->extends;
}

struct choice cut_torn(const struct cut *c, size_t i, uint32_t v)
{
    const struct item *it = &c->items[i];
    uint32_t k = it->n_tears, cuts = k >= 2 ? k - 1 : 0, holes = k >= 2 ? k - 2 : 0;

    if (v < cuts) {
        return (struct choice){CHOICE_PREFIX, it->tears[v + 1]};
    }
    if (v < 2 * cuts) {
        return (struct choice){CHOICE_SUFFIX, it->tears[v - cuts + 1]};
    }
    if (v < 2 * cuts + holes) {
        return (struct choice){CHOICE_HOLE, it->tears[v - 2 * cuts + 1]};
    }
    assert(it->extends && v == 2 * cuts + holes);
    return (struct choice){CHOICE_SIZE, 0};
}

/* ---- moving and building ---- */

/* Can the op make its disk larger in some state? */
static bool may_extend(const struct cut *c, const struct disk_op *op)
{
    int64_t end = op->offset + op->bytes;

    if (op->kind != DISK_OP_WRITE && op->kind != DISK_OP_ZERO) {
        return false;
    }
    bool may = end > disk_size(c->base.disk[op->disk]);
    for (size_t i = 0; i < c->n_items && !may; i++) {
        const struct disk_op *x = disk_log_op(c->log, c->items[i].op);
        may = x->kind == DISK_OP_TRUNCATE && x->disk == op->disk && x->offset < end;
    }
    return may;
}

void cut_move(struct cut *c, uint64_t t)
{
    assert(t >= c->t);
    c->t = t;
    scan_log(c, t);
    settle_flushes(c, t);
    settle_ops(c);
    forget_settled(c);
    find_overlaps(c);
    for (size_t i = 0; i < c->n_items; i++) {
        const struct disk_op *op = disk_log_op(c->log, c->items[i].op);
        bool pending = !c->items[i].forced;
        c->items[i].extends = pending && may_extend(c, op);
        if (pending && c->bounds.torn > 0 && tearable(c, op)) {
            find_tears(c, i);
        }
    }
    mem_free(c->choice);
    mem_free(c->flip);
    mem_free(c->order);
    mem_free(c->placed);
    c->choice = mem_array(c->n_items + 1, sizeof(*c->choice));
    c->flip = mem_array(c->n_overlaps + 1, sizeof(*c->flip));
    c->order = mem_array(c->n_items + 1, sizeof(*c->order));
    c->placed = mem_array(c->n_items + 1, sizeof(*c->placed));
}

static int apply_choice(const struct cut *c, const struct disk_op *op, struct choice ch,
                        struct disk *d)
{
    int64_t at = sector_start(c, op, ch.sector), next = sector_start(c, op, ch.sector + 1);
    int ret;

    switch (ch.kind) {
    case CHOICE_FULL:
        return disk_op_apply(d, op);
    case CHOICE_ABSENT:
        return 0;
    case CHOICE_PREFIX:
        return disk_op_apply_part(d, op, 0, at);
    case CHOICE_SUFFIX:
        return disk_op_apply_part(d, op, at, op->bytes);
    case CHOICE_HOLE:
        ret = disk_op_apply_part(d, op, 0, at);
        return ret < 0 ? ret : disk_op_apply_part(d, op, next, op->bytes);
    case CHOICE_SIZE:
        return op->offset + op->bytes > disk_size(d) ? disk_truncate(d, op->offset + op->bytes) : 0;
    }
    return 0;
}

void cut_build(const struct cut *c, struct disk_set *out)
{
    for (int i = 0; i < c->base.n; i++) {
        disk_assign(out->disk[i], c->base.disk[i]);
    }
    for (size_t n = 0; n < c->n_items; n++) {
        size_t i = c->order[n];
        const struct disk_op *op = disk_log_op(c->log, c->items[i].op);
        int ret = apply_choice(c, op, c->choice[i], out->disk[op->disk]);
        assert(ret == 0 && "the pool of crash states must not be limited");
    }
}
