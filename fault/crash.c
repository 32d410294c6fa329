/*
 * The walk over cuts and choices, the set of states seen, and the textual ids.
 *
 * For each cut: every subset of pending ops within bounds; for each, every order within bounds; for
 * each, nothing torn and then each present op torn in each way; after that, seeded random choices.
 */
#include "fault/crash.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include "fault/crash_int.h"
#include "ref/base/mem.h"
#include "ref/base/rng.h"
#include "ref/base/sizes.h"

const struct crash_bounds crash_bounds_default = {
    .exhaustive = 8,
    .drops = 2,
    .torn = 1,
    .orders = 4,
    .samples = 64,
    .seed = 1,
    .sector = 512,
};

#define EXHAUSTIVE_MAX 30 /* subsets are counted in an integer */
#define ORDERS_MAX     20

enum phase { PHASE_SUBSETS, PHASE_DROPS, PHASE_KEEPS, PHASE_SAMPLES, PHASE_DONE };

struct crash_iter {
    struct cut cut;
    struct disk_set work;
    uint64_t *cuts;
    size_t n_cuts, next_cut;
    bool in_cut;

    /* The walk inside a cut. */
    enum phase phase;
    bool fresh;              /* the phase has not begun */
    size_t *open, n_open;    /* items whose presence is open */
    uint64_t subset;         /* PHASE_SUBSETS: bit i: open[i] is absent */
    size_t comb[16], n_comb; /* PHASE_DROPS, PHASE_KEEPS: indices into open, ascending */
    uint64_t orders_done;    /* orders of this subset */
    size_t torn_item;        /* index into open of the op torn; n_open: none torn yet */
    uint32_t torn_next;
    uint64_t samples_done;
    struct rng rng;

    /* Keys of the states seen; 0 is an empty place. */
    uint64_t *seen;
    size_t seen_n, seen_cap;
    struct crash_stats stats;
};

/* ---- states seen ---- */

static bool seen_place(uint64_t *table, size_t cap, uint64_t key)
{
    size_t i = key & (cap - 1);
    while (table[i] && table[i] != key) {
        i = (i + 1) & (cap - 1);
    }
    bool new = table[i] == 0;
    table[i] = key;
    return new;
}

static bool seen_add(struct crash_iter *it, uint64_t key)
{
    key = key ? key : 1;
    if (it->seen_n * 2 >= it->seen_cap) {
        size_t cap = it->seen_cap ? it->seen_cap * 2 : 128;
        uint64_t *table = mem_array(cap, sizeof(*table));
        for (size_t i = 0; i < it->seen_cap; i++) {
            if (it->seen[i]) {
                seen_place(table, cap, it->seen[i]);
            }
        }
        mem_free(it->seen);
        it->seen = table;
        it->seen_cap = cap;
    }
    bool new = seen_place(it->seen, it->seen_cap, key);
    it->seen_n += new;
    return new;
}

/* ---- cuts ---- */

static int by_value(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;
    return *x < *y ? -1 : *x > *y;
}

/*
 * The durable set and the marks only change at certain stamps; what is open only grows between
 * them.  So the cut just before each such change has all the states of the cuts before it.
 */
static void find_cuts(struct crash_iter *it)
{
    const struct disk_log *log = it->cut.log;
    uint64_t end = disk_log_clock(log);
    size_t n = 0;

    it->cuts = mem_array(end + disk_log_len(log) + 1, sizeof(*it->cuts));
    for (uint64_t t = 1; t < end && it->cut.bounds.every_stamp; t++) {
        it->cuts[n++] = t;
    }
    for (size_t i = 0; i < disk_log_len(log) && !it->cut.bounds.every_stamp; i++) {
        const struct disk_op *op = disk_log_op(log, i);
        if (op->kind == DISK_OP_MARK) {
            it->cuts[n++] = op->issued;
        } else if (op->completed != DISK_OP_IN_FLIGHT &&
                   (op->kind == DISK_OP_FLUSH || (op->flags & DISK_OP_FUA))) {
            it->cuts[n++] = op->completed;
        }
    }
    it->cuts[n++] = end;
    qsort(it->cuts, n, sizeof(*it->cuts), by_value);
    for (size_t i = 0; i < n; i++) {
        if (i == 0 || it->cuts[i] != it->cuts[i - 1]) {
            it->cuts[it->n_cuts++] = it->cuts[i];
        }
    }
}

struct crash_iter *crash_iter_new(const struct disk_set *base, const struct disk_log *log,
                                  const struct crash_bounds *bounds)
{
    struct crash_iter *it = mem_zalloc(sizeof(*it));

    assert(bounds->exhaustive <= EXHAUSTIVE_MAX && bounds->orders <= ORDERS_MAX &&
           bounds->torn <= 1);
    assert(bounds->drops <= ARRAY_SIZE(it->comb));
    cut_init(&it->cut, base, log, bounds);
    it->work.n = base->n;
    for (int i = 0; i < base->n; i++) {
        assert(disk_pool_of(base->disk[i]) == disk_log_pool(log));
        it->work.disk[i] = disk_new(disk_log_pool(log), 0);
    }
    find_cuts(it);
    return it;
}

void crash_iter_free(struct crash_iter *it)
{
    if (!it) {
        return;
    }
    cut_destroy(&it->cut);
    disk_set_free(&it->work);
    mem_free(it->cuts);
    mem_free(it->open);
    mem_free(it->seen);
    mem_free(it);
}

/* Do the phases before the samples leave nothing for them?  Two tears at once only samples have. */
static bool enumerates_all(const struct crash_iter *it)
{
    const struct cut *c = &it->cut;
    size_t torn = 0;

    for (size_t k = 0; k < it->n_open && c->bounds.torn; k++) {
        torn += cut_torn_count(c, it->open[k]) > 0;
    }
    return it->n_open <= c->bounds.exhaustive && c->n_open <= c->bounds.orders && torn < 2;
}

static void enter_cut(struct crash_iter *it, uint64_t t)
{
    struct cut *c = &it->cut;

    cut_move(c, t);
    mem_free(it->open);
    it->open = mem_array(c->n_items + 1, sizeof(*it->open));
    it->n_open = 0;
    for (size_t i = 0; i < c->n_items; i++) {
        if (!c->items[i].forced) {
            it->open[it->n_open++] = i;
        }
    }
    it->phase = it->n_open <= c->bounds.exhaustive ? PHASE_SUBSETS : PHASE_DROPS;
    it->fresh = true;
    it->samples_done = enumerates_all(it) ? c->bounds.samples : 0;
    rng_seed(&it->rng, c->bounds.seed + hash_u64(t));
    it->in_cut = true;
}

/* ---- subsets ---- */

static void set_all(struct crash_iter *it, enum choice_kind kind)
{
    for (size_t i = 0; i < it->n_open; i++) {
        it->cut.choice[it->open[i]] = (struct choice){kind, 0};
    }
}

/* The next combination of at most `drops` of n_open, by size; the empty one comes first. */
static bool next_comb(struct crash_iter *it)
{
    size_t n = it->n_open, k = it->n_comb;

    for (size_t i = k; i-- > 0;) {
        if (it->comb[i] < n - (k - i)) {
            it->comb[i]++;
            for (size_t j = i + 1; j < k; j++) {
                it->comb[j] = it->comb[j - 1] + 1;
            }
            return true;
        }
    }
    if (k >= it->cut.bounds.drops || k >= n) {
        return false;
    }
    it->n_comb = k + 1;
    for (size_t i = 0; i <= k; i++) {
        it->comb[i] = i;
    }
    return true;
}

/* The next subset in the present phase; false when the phase is over. */
static bool next_subset(struct crash_iter *it)
{
    bool keep = it->phase == PHASE_KEEPS;

    if (it->phase == PHASE_SUBSETS) {
        it->subset = it->fresh ? 0 : it->subset + 1;
        if (it->subset >> it->n_open) {
            return false;
        }
        for (size_t i = 0; i < it->n_open; i++) {
            it->cut.choice[it->open[i]].kind = it->subset >> i & 1 ? CHOICE_ABSENT : CHOICE_FULL;
        }
        it->fresh = false;
        return true;
    }
    if (it->fresh) {
        it->n_comb = 0;
    } else if (!next_comb(it)) {
        return false;
    }
    it->fresh = false;
    set_all(it, keep ? CHOICE_ABSENT : CHOICE_FULL);
    for (size_t i = 0; i < it->n_comb; i++) {
        it->cut.choice[it->open[it->comb[i]]].kind = keep ? CHOICE_FULL : CHOICE_ABSENT;
    }
    return true;
}

/* ---- orders ---- */

static bool both_there(const struct cut *c, const struct overlap *o)
{
    return c->choice[o->a].kind != CHOICE_ABSENT && c->choice[o->b].kind != CHOICE_ABSENT;
}

/*
 * Sets the flips of order number n: with few open overlaps n's bits, else one flip a number; 0
 * flips nothing. Returns 1, 0 to pass over this number (it flips an op that is absent, or
 * contradicts itself), -1 at the end.
 */
static int set_order(struct cut *c, uint64_t n)
{
    bool all = c->n_open <= c->bounds.orders;
    uint64_t bit = 0;

    if (all ? n >> c->n_open != 0 : n > (c->bounds.orders ? c->n_open : 0)) {
        return -1;
    }
    for (size_t i = 0; i < c->n_overlaps; i++) {
        c->flip[i] = c->overlaps[i].open && (all ? n >> bit & 1 : n == bit + 1);
        bit += c->overlaps[i].open;
        if (c->flip[i] && !both_there(c, &c->overlaps[i])) {
            return 0;
        }
    }
    return cut_order(c);
}

static bool next_order(struct crash_iter *it)
{
    int ret;
    do {
        ret = set_order(&it->cut, it->orders_done++);
    } while (ret == 0);
    return ret > 0;
}

/* ---- tears ---- */

/* After the untorn state: each op that is there, in each torn form, one at a time. */
static bool next_torn(struct crash_iter *it)
{
    struct cut *c = &it->cut;

    if (it->torn_item < it->n_open && c->choice[it->open[it->torn_item]].kind >= CHOICE_PREFIX) {
        c->choice[it->open[it->torn_item]] = (struct choice){CHOICE_FULL, 0};
    }
    for (; it->torn_item < it->n_open; it->torn_item++, it->torn_next = 0) {
        size_t i = it->open[it->torn_item];
        if (c->choice[i].kind != CHOICE_ABSENT && it->torn_next < cut_torn_count(c, i)) {
            c->choice[i] = cut_torn(c, i, it->torn_next++);
            return true;
        }
    }
    return false;
}

/* ---- samples ---- */

static bool next_sample(struct crash_iter *it)
{
    struct cut *c = &it->cut;
    static const uint64_t absent_of_8[] = {1, 4, 7};

    if (it->n_open == 0 || it->samples_done >= c->bounds.samples) {
        return false;
    }
    it->samples_done++;
    uint64_t absent = absent_of_8[rng_below(&it->rng, ARRAY_SIZE(absent_of_8))];
    for (size_t k = 0; k < it->n_open; k++) {
        size_t i = it->open[k];
        uint32_t torn = c->bounds.torn ? cut_torn_count(c, i) : 0;
        c->choice[i] =
            (struct choice){rng_below(&it->rng, 8) < absent ? CHOICE_ABSENT : CHOICE_FULL, 0};
        if (c->choice[i].kind == CHOICE_FULL && torn && rng_below(&it->rng, 4) == 0) {
            c->choice[i] = cut_torn(c, i, (uint32_t)rng_below(&it->rng, torn));
        }
    }
    for (size_t i = 0; i < c->n_overlaps; i++) {
        c->flip[i] = c->overlaps[i].open && c->bounds.orders && both_there(c, &c->overlaps[i]) &&
                     rng_below(&it->rng, 2);
    }
    if (!cut_order(c)) {
        memset(c->flip, 0, c->n_overlaps * sizeof(*c->flip));
        cut_order(c);
    }
    return true;
}

/* ---- the walk ---- */

static bool next_in_subset(struct crash_iter *it)
{
    if (it->cut.bounds.torn && it->orders_done > 0 && next_torn(it)) {
        return true;
    }
    if (!next_order(it)) {
        return false;
    }
    it->torn_item = 0;
    it->torn_next = 0;
    return true;
}

/* The next choice of the present cut; false when it is through. */
static bool next_choice(struct crash_iter *it)
{
    while (it->phase < PHASE_SAMPLES) {
        if (!it->fresh && next_in_subset(it)) {
            return true;
        }
        if (next_subset(it)) {
            it->orders_done = 0;
            it->torn_item = it->n_open;
            continue;
        }
        it->phase = it->phase == PHASE_DROPS ? PHASE_KEEPS : PHASE_SAMPLES;
        it->fresh = true;
    }
    if (it->phase == PHASE_SAMPLES && next_sample(it)) {
        return true;
    }
    it->phase = PHASE_DONE;
    return false;
}

static uint64_t set_hash(struct disk_set *s)
{
    uint64_t h = 0;
    for (int i = 0; i < s->n; i++) {
        h = hash_u64(h + disk_hash(s->disk[i]) + 0x9e3779b97f4a7c15ULL);
    }
    return h;
}

bool crash_iter_next(struct crash_iter *it, struct crash_state *out)
{
    uint64_t limit = it->cut.bounds.max_states, built = it->cut.bounds.max_built;

    while ((!limit || it->stats.distinct < limit) && (!built || it->stats.states < built)) {
        if (!it->in_cut) {
            if (it->next_cut == it->n_cuts) {
                return false;
            }
            enter_cut(it, it->cuts[it->next_cut++]);
        }
        if (!next_choice(it)) {
            it->in_cut = false;
            it->stats.cuts++;
            continue;
        }
        cut_build(&it->cut, &it->work);
        it->stats.states++;
        uint64_t hash = set_hash(&it->work);
        if (seen_add(it, hash ^ hash_u64(it->cut.marks + 0x51ed2701))) {
            it->stats.distinct++;
            *out = (struct crash_state){&it->work, it->cut.t, it->cut.marks, hash};
            return true;
        }
    }
    return false;
}

struct crash_stats crash_iter_stats(const struct crash_iter *it)
{
    return it->stats;
}

bool crash_iter_done(const struct crash_iter *it)
{
    return !it->in_cut && it->next_cut == it->n_cuts;
}

/* ---- ids ---- */

static void put_torn(const struct choice *ch, struct strbuf *out)
{
    static const char letters[] = {
        [CHOICE_PREFIX] = 'p', [CHOICE_SUFFIX] = 's', [CHOICE_HOLE] = 'h'};

    if (ch->kind == CHOICE_SIZE) {
        strbuf_putc(out, 'z');
    } else if (ch->kind >= CHOICE_PREFIX) {
        strbuf_printf(out, "%c%" PRId64, letters[ch->kind], ch->sector);
    }
}

void crash_iter_id(const struct crash_iter *it, struct strbuf *out)
{
    const struct cut *c = &it->cut;
    size_t absent = 0;
    const char *sep;

    for (size_t i = 0; i < it->n_open; i++) {
        absent += c->choice[it->open[i]].kind == CHOICE_ABSENT;
    }
    bool few = it->n_open - absent < absent; /* name what is there */
    sep = few ? "!" : ":";
    strbuf_printf(out, "c%" PRIu64, c->t);
    if (few && absent == it->n_open) {
        strbuf_puts(out, "!");
    }
    for (size_t k = 0; k < it->n_open; k++) {
        size_t i = it->open[k];
        enum choice_kind kind = c->choice[i].kind;
        if (few ? kind == CHOICE_ABSENT : kind == CHOICE_FULL) {
            continue;
        }
        strbuf_printf(out, "%s%s%zu", sep, kind == CHOICE_ABSENT ? "-" : "", c->items[i].op);
        put_torn(&c->choice[i], out);
        sep = ",";
    }
    for (size_t i = 0; i < c->n_overlaps; i++) {
        if (c->flip[i]) {
            strbuf_printf(out, "%s%zu>%zu", sep, c->items[c->overlaps[i].a].op,
                          c->items[c->overlaps[i].b].op);
            sep = ",";
        }
    }
}

static void describe_op(const struct cut *c, size_t i, struct strbuf *out)
{
    const struct disk_op *op = disk_log_op(c->log, c->items[i].op);

    strbuf_printf(out, "op %zu: %s disk %d offset %" PRId64, c->items[i].op,
                  disk_op_kind_name(op->kind), op->disk, op->offset);
    if (op->kind != DISK_OP_TRUNCATE) {
        strbuf_printf(out, " bytes %" PRId64, op->bytes);
    }
    strbuf_printf(out, " (%s%s%s)", label_name(op->label), op->tag ? ", tag " : "",
                  op->tag ? op->tag : "");
}

void crash_iter_describe(const struct crash_iter *it, struct strbuf *out)
{
    static const char *const fates[] = {
        [CHOICE_FULL] = "there",
        [CHOICE_ABSENT] = "absent",
        [CHOICE_PREFIX] = "only sectors before",
        [CHOICE_SUFFIX] = "only sectors from",
        [CHOICE_HOLE] = "all but sector",
        [CHOICE_SIZE] = "only the new size",
    };
    const struct cut *c = &it->cut;

    strbuf_printf(
        out, "power cut at stamp %" PRIu64 " of %" PRIu64 ", after %zu marks, %zu ops pending\n",
        c->t, disk_log_clock(c->log), c->marks, it->n_open);
    for (size_t k = 0; k < it->n_open; k++) {
        const struct choice *ch = &c->choice[it->open[k]];
        if (ch->kind == CHOICE_FULL) {
            continue;
        }
        describe_op(c, it->open[k], out);
        strbuf_printf(out, ": %s", fates[ch->kind]);
        if (ch->kind >= CHOICE_PREFIX && ch->kind <= CHOICE_HOLE) {
            strbuf_printf(out, " %" PRId64, ch->sector);
        }
        strbuf_putc(out, '\n');
    }
    for (size_t i = 0; i < c->n_overlaps; i++) {
        if (c->flip[i]) {
            describe_op(c, c->overlaps[i].a, out);
            strbuf_printf(out, ": applied after op %zu\n", c->items[c->overlaps[i].b].op);
        }
    }
}

/* ---- from an id ---- */

static int bad_id(const char *id, const char *why, struct error **err)
{
    return error_set(err, EINVAL, "crash state '%s': %s", id, why);
}

static bool find_item(const struct cut *c, uint64_t op, size_t *i)
{
    for (*i = 0; *i < c->n_items; (*i)++) {
        if (c->items[*i].op == op) {
            return true;
        }
    }
    return false;
}

static bool take_flip(struct cut *c, size_t a, size_t b)
{
    for (size_t i = 0; i < c->n_overlaps; i++) {
        struct overlap *o = &c->overlaps[i];
        if (o->a == a && o->b == b && o->open) {
            c->flip[i] = true;
            return true;
        }
    }
    return false;
}

/* One item at *s, and *s behind it. */
static int take_item(struct cut *c, const char *id, const char **s, struct error **err)
{
    bool absent = **s == '-';
    uint64_t op, n = 0;
    size_t i, other;

    *s += absent;
    if (**s < '0' || **s > '9' || parse_uint64(*s, s, 10, &op) < 0 || !find_item(c, op, &i)) {
        return bad_id(id, "no such pending op", err);
    }
    char form = absent || !**s || **s == ',' ? '\0' : *(*s)++;
    if (form && form != 'z' &&
        (**s < '0' || **s > '9' || parse_uint64(*s, s, 10, &n) < 0 || n > INT64_MAX)) {
        return bad_id(id, "a number is missing", err);
    }
    if (form == '>') {
        return find_item(c, n, &other) && take_flip(c, i, other)
                   ? 0
                   : bad_id(id, "this order is not open", err);
    }
    const struct disk_op *o = disk_log_op(c->log, c->items[i].op);
    bool torn = form && strchr("psh", form);
    if (c->items[i].forced || (form && !torn && form != 'z') ||
        (torn &&
         (o->kind == DISK_OP_TRUNCATE || n > (uint64_t)(o->bytes / c->bounds.sector) + 1)) ||
        (form == 'z' && !c->items[i].extends)) {
        return bad_id(id, "this op cannot be so", err);
    }
    enum choice_kind kind = absent        ? CHOICE_ABSENT
                            : form == 'p' ? CHOICE_PREFIX
                            : form == 's' ? CHOICE_SUFFIX
                            : form == 'h' ? CHOICE_HOLE
                            : form == 'z' ? CHOICE_SIZE
                                          : CHOICE_FULL;
    c->choice[i] = (struct choice){kind, (int64_t)n};
    return 0;
}

static int take_id(struct cut *c, const char *id, struct error **err)
{
    const char *s = id + 1;
    uint64_t t;
    int ret = 0;

    if (id[0] != 'c' || *s < '0' || *s > '9' || parse_uint64(s, &s, 10, &t) < 0 || t < 1 ||
        t > disk_log_clock(c->log) || (*s && *s != ':' && *s != '!')) {
        return bad_id(id, "no such cut", err);
    }
    cut_move(c, t);
    for (size_t i = 0; i < c->n_items; i++) {
        c->choice[i].kind = *s == '!' && !c->items[i].forced ? CHOICE_ABSENT : CHOICE_FULL;
    }
    if (*s && s[1]) {
        do {
            s++;
            ret = take_item(c, id, &s, err);
        } while (ret == 0 && *s == ',');
    }
    if (ret == 0 && *s && *s != '!' && *s != ':') {
        ret = bad_id(id, "text behind its end", err);
    }
    return ret == 0 && !cut_order(c) ? bad_id(id, "its orders contradict each other", err) : ret;
}

int crash_state_build(const struct disk_set *base, const struct disk_log *log, unsigned sector,
                      const char *id, struct disk_set *out, struct error **err)
{
    struct crash_bounds bounds = crash_bounds_default;
    struct cut c;

    bounds.sector = sector;
    bounds.torn = 0; /* any sector may be named, not only those that matter */
    cut_init(&c, base, log, &bounds);
    int ret = take_id(&c, id, err);
    if (ret == 0) {
        out->n = base->n;
        for (int i = 0; i < base->n; i++) {
            out->disk[i] = disk_new(disk_log_pool(log), 0);
        }
        cut_build(&c, out);
    }
    cut_destroy(&c);
    return ret;
}

/* True when the state decided it. */
static bool fate_of(const struct cut *c, size_t op, struct strbuf *out)
{
    static const char *const words[] = {
        [CHOICE_FULL] = "there",  [CHOICE_ABSENT] = "absent", [CHOICE_PREFIX] = "before",
        [CHOICE_SUFFIX] = "from", [CHOICE_HOLE] = "without",  [CHOICE_SIZE] = "size",
    };
    const struct disk_op *o = disk_log_op(c->log, op);
    size_t i;
    if (find_item(c, op, &i) && !c->items[i].forced) {
        const struct choice *ch = &c->choice[i];
        strbuf_puts(out, words[ch->kind]);
        if (ch->kind >= CHOICE_PREFIX && ch->kind <= CHOICE_HOLE) {
            strbuf_printf(out, " %" PRId64, ch->sector);
        }
        return true;
    }
    strbuf_puts(out, o->kind == DISK_OP_FLUSH    ? o->completed < c->t ? "done" : "cut"
                     : o->flags & DISK_OP_FAILED ? "failed"
                                                 : "durable");
    return false;
}

int crash_state_fates(const struct disk_set *base, const struct disk_log *log, unsigned sector,
                      const char *id, crash_fate *told, void *opaque, struct error **err)
{
    struct crash_bounds bounds = crash_bounds_default;
    struct strbuf fate = STRBUF_INIT;
    struct cut c;

    bounds.sector = sector;
    bounds.torn = 0;
    cut_init(&c, base, log, &bounds);
    int ret = take_id(&c, id, err);
    for (size_t i = 0; ret == 0 && i < disk_log_len(log); i++) {
        const struct disk_op *op = disk_log_op(log, i);
        if (op->issued < c.t && op->kind != DISK_OP_MARK) {
            strbuf_reset(&fate);
            bool open = fate_of(&c, i, &fate);
            told(opaque, i, fate.s, open);
        }
    }
    strbuf_free(&fate);
    cut_destroy(&c);
    return ret;
}
