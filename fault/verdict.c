/*
 * Fault plans: deciding, and the text form.
 */
#include "fault/verdict.h"

#include <assert.h>
#include <errno.h>
#include <fnmatch.h>
#include <inttypes.h>
#include <string.h>
#include "ref/base/mem.h"
#include "ref/base/sizes.h"

#define ALL_IOTYPES ((1u << FAULT_IO_BLOCK_STATUS) - 1)

static const char *const kind_names[FAULT_KIND_COUNT] = {
    "none", "error", "short", "torn", "lost", "stale", "misdirected", "delayed", "hung", "nomem",
};

/* Which operations a kind makes sense for. */
static const unsigned kind_iotypes[FAULT_KIND_COUNT] = {
    [FAULT_NONE] = ~0u,
    [FAULT_ERROR] = ~0u,
    [FAULT_SHORT] = 1 << FAULT_IO_READ | 1 << FAULT_IO_WRITE,
    [FAULT_TORN] = 1 << FAULT_IO_WRITE | 1 << FAULT_IO_WRITE_ZEROES,
    [FAULT_LOST] = 1 << FAULT_IO_WRITE | 1 << FAULT_IO_WRITE_ZEROES | 1 << FAULT_IO_DISCARD |
                   1 << FAULT_IO_FLUSH,
    [FAULT_STALE] = 1 << FAULT_IO_READ,
    [FAULT_MISDIRECTED] = 1 << FAULT_IO_READ | 1 << FAULT_IO_WRITE,
    [FAULT_DELAYED] = ~0u,
    [FAULT_HUNG] = ~0u,
    [FAULT_NOMEM] = 0,
};

const char *fault_kind_name(enum fault_kind k)
{
    assert((unsigned)k < FAULT_KIND_COUNT);
    return kind_names[k];
}

unsigned fault_kind_iotypes(enum fault_kind k)
{
    assert((unsigned)k < FAULT_KIND_COUNT);
    return kind_iotypes[k];
}

bool fault_kind_is_silent(enum fault_kind k)
{
    return k == FAULT_TORN || k == FAULT_LOST || k == FAULT_STALE || k == FAULT_MISDIRECTED;
}

uint64_t fault_plan_silent(const struct fault_plan *p, enum label_class class)
{
    uint64_t n = 0;
    for (int i = 0; i < p->n; i++) {
        if (fault_kind_is_silent(p->entries[i].kind)) {
            for (int l = 0; l < LABEL_COUNT; l++) {
                n += label_class(l) == class ? p->fired[l] : 0;
            }
            break;
        }
    }
    return n;
}

void fault_plan_init(struct fault_plan *p)
{
    *p = (struct fault_plan){.n = 0};
}

void fault_plan_destroy(struct fault_plan *p)
{
    for (int i = 0; i < p->n; i++) {
        mem_free(p->entries[i].tag);
    }
    mem_free(p->entries);
    fault_plan_init(p);
}

static int default_error(enum fault_kind k)
{
    return k == FAULT_NOMEM ? ENOMEM : EIO;
}

int fault_plan_add(struct fault_plan *p, const struct fault_entry *e)
{
    assert(e->kind > FAULT_NONE && e->kind < FAULT_KIND_COUNT);
    assert(e->label >= -1 && e->label < LABEL_COUNT);
    if (p->n == p->cap) {
        p->cap = p->cap ? 2 * p->cap : 8;
        p->entries = mem_realloc(p->entries, p->cap * sizeof(*p->entries));
    }
    struct fault_entry *n = &p->entries[p->n];
    *n = *e;
    n->tag = str_dup(e->tag);
    n->error = e->error ? e->error : default_error(e->kind);
    n->iotypes = (e->iotypes ? e->iotypes : ALL_IOTYPES) & kind_iotypes[e->kind];
    n->nth = e->nth ? e->nth : 1;
    n->seen = n->fired = 0;
    return p->n++;
}

void fault_plan_reset(struct fault_plan *p)
{
    for (int i = 0; i < p->n; i++) {
        p->entries[i].seen = p->entries[i].fired = 0;
    }
    memset(p->reached, 0, sizeof(p->reached));
    memset(p->fired, 0, sizeof(p->fired));
    memset(p->iotypes, 0, sizeof(p->iotypes));
    p->allocations = 0;
}

static bool entry_matches(const struct fault_entry *e, const struct fault_event *ev)
{
    const struct fault_request *q = &ev->req;

    if ((e->label >= 0 && e->label != (int)ev->label) || !(e->iotypes >> q->iotype & 1)) {
        return false;
    }
    if (e->tag && (!q->tag || fnmatch(e->tag, q->tag, 0))) {
        return false;
    }
    return e->end == 0 || (q->bytes > 0 && q->offset < e->end && q->offset + q->bytes > e->start);
}

/* One more event of the entry: is it due? */
static bool count(struct fault_entry *e)
{
    e->seen++;
    return e->sticky ? e->seen >= e->nth : e->seen == e->nth;
}

static void tell(const struct fault_plan *p, const struct fault_event *ev,
                 const struct fault_entry *e)
{
    if (p->watch) {
        p->watch->fires(p->watch, ev, e);
    }
}

bool fault_plan_nomem(struct fault_plan *p)
{
    static const struct fault_event allocation = {.label = LABEL_NONE};
    bool fails = false;
    p->allocations++;
    for (int i = 0; i < p->n; i++) {
        struct fault_entry *e = &p->entries[i];
        if (e->kind == FAULT_NOMEM && count(e)) {
            e->fired++;
            fails = true;
            tell(p, &allocation, e);
        }
    }
    p->fired[LABEL_NONE] += fails;
    return fails;
}

struct fault_verdict fault_plan_decide(struct fault_plan *p, const struct fault_event *ev)
{
    struct fault_verdict v = {.kind = FAULT_NONE, .entry = -1};

    assert((unsigned)ev->label < LABEL_COUNT && (unsigned)ev->req.iotype < FAULT_IO_COUNT);
    p->reached[ev->label]++;
    p->iotypes[ev->label] |= 1u << ev->req.iotype;
    for (int i = 0; i < p->n; i++) {
        struct fault_entry *e = &p->entries[i];
        if (!entry_matches(e, ev)) {
            continue;
        }
        if (count(e) && v.entry < 0) {
            v = (struct fault_verdict){e->kind, e->error, e->arg, i};
            e->fired++;
            p->fired[ev->label]++;
            tell(p, ev, e);
        }
    }
    return v;
}

/* ---- the text form ---- */

static int bad(struct error **err, const char *what, const char *text)
{
    return error_set(err, EINVAL, "fault plan: %s '%s'", what, text);
}

static int parse_kind(struct fault_entry *e, char *text, struct error **err)
{
    char *arg = strchr(text, ':');

    if (arg) {
        *arg++ = '\0';
        if (parse_int64(arg, NULL, 0, &e->arg) < 0) {
            return bad(err, "bad argument", arg);
        }
    }
    for (int k = FAULT_NONE + 1; k < FAULT_KIND_COUNT; k++) {
        if (!strcmp(text, kind_names[k])) {
            e->kind = k;
            return 0;
        }
    }
    return bad(err, "unknown kind", text);
}

static int parse_iotypes(struct fault_entry *e, char *text, struct error **err)
{
    char *save, *t;

    for (t = strtok_r(text, "+", &save); t; t = strtok_r(NULL, "+", &save)) {
        int io = fault_iotype_parse(t);
        if (io < 0) {
            return bad(err, "unknown io type", t);
        }
        e->iotypes |= 1u << io;
    }
    return 0;
}

static int parse_range(struct fault_entry *e, const char *text, struct error **err)
{
    const char *end;
    uint64_t from, to;

    if (parse_size(text, &end, 'B', &from) < 0 || *end != '-' ||
        parse_size(end + 1, NULL, 'B', &to) < 0 || from >= to || to > INT64_MAX) {
        return bad(err, "bad range", text);
    }
    e->start = (int64_t)from;
    e->end = (int64_t)to;
    return 0;
}

static int parse_key(struct fault_entry *e, char *item, struct error **err)
{
    char *value = strchr(item, '=');
    int64_t n;

    if (!strcmp(item, "sticky")) {
        e->sticky = true;
        return 0;
    }
    if (!value) {
        return bad(err, "unknown key", item);
    }
    *value++ = '\0';
    if (!strcmp(item, "label")) {
        e->label = label_parse(value);
        return e->label < 0 ? bad(err, "unknown label", value) : 0;
    }
    if (!strcmp(item, "io")) {
        return parse_iotypes(e, value, err);
    }
    if (!strcmp(item, "range")) {
        return parse_range(e, value, err);
    }
    if (!strcmp(item, "tag")) {
        mem_free(e->tag);
        e->tag = str_dup(value);
        return 0;
    }
    if (strcmp(item, "errno") && strcmp(item, "nth")) {
        return bad(err, "unknown key", item);
    }
    if (parse_int64(value, NULL, 0, &n) < 0 || n < 1 || (item[0] == 'e' && n > 4095)) {
        return bad(err, "bad number", value);
    }
    if (item[0] == 'e') {
        e->error = (int)n;
    } else {
        e->nth = (uint64_t)n;
    }
    return 0;
}

static int parse_entry(struct fault_plan *p, char *text, struct error **err)
{
    struct fault_entry e = {.label = -1};
    char *save, *item = strtok_r(text, ",", &save);
    int ret = item ? parse_kind(&e, item, err) : bad(err, "empty entry", "");

    while (ret == 0 && (item = strtok_r(NULL, ",", &save))) {
        ret = parse_key(&e, item, err);
    }
    if (ret == 0 && e.iotypes & ~kind_iotypes[e.kind]) {
        ret = bad(err, "io type does not go with kind", kind_names[e.kind]);
    }
    if (ret == 0) {
        fault_plan_add(p, &e);
    }
    mem_free(e.tag);
    return ret;
}

int fault_plan_parse(struct fault_plan *p, const char *text, struct error **err)
{
    char *copy = str_dup(text), *save;
    int ret = 0;

    for (char *t = strtok_r(copy, ";", &save); t && ret == 0; t = strtok_r(NULL, ";", &save)) {
        ret = parse_entry(p, t, err);
    }
    mem_free(copy);
    return ret;
}

static void print_entry(const struct fault_entry *e, struct strbuf *out)
{
    strbuf_puts(out, kind_names[e->kind]);
    if (e->arg) {
        strbuf_printf(out, ":%" PRId64, e->arg);
    }
    if (e->error != default_error(e->kind)) {
        strbuf_printf(out, ",errno=%d", e->error);
    }
    if (e->label >= 0) {
        strbuf_printf(out, ",label=%s", label_name(e->label));
    }
    if (e->iotypes != (ALL_IOTYPES & kind_iotypes[e->kind])) {
        const char *sep = ",io=";
        for (int i = 0; i < FAULT_IO_COUNT; i++) {
            if (e->iotypes >> i & 1) {
                strbuf_printf(out, "%s%s", sep, fault_iotype_name(i));
                sep = "+";
            }
        }
    }
    if (e->tag) {
        strbuf_printf(out, ",tag=%s", e->tag);
    }
    if (e->end) {
        strbuf_printf(out, ",range=%" PRId64 "-%" PRId64, e->start, e->end);
    }
    if (e->nth != 1) {
        strbuf_printf(out, ",nth=%" PRIu64, e->nth);
    }
    if (e->sticky) {
        strbuf_puts(out, ",sticky");
    }
}

void fault_plan_print(const struct fault_plan *p, struct strbuf *out)
{
    for (int i = 0; i < p->n; i++) {
        strbuf_puts(out, i ? ";" : "");
        print_entry(&p->entries[i], out);
    }
}

void fault_plan_coverage(const struct fault_plan *p, struct strbuf *out)
{
    for (int i = 0; i < LABEL_COUNT; i++) {
        if (p->reached[i]) {
            strbuf_printf(out, "%s %" PRIu64 " %" PRIu64 "\n", label_name(i), p->reached[i],
                          p->fired[i]);
        }
    }
}

int64_t fault_part(int64_t arg, int64_t offset, int64_t bytes)
{
    enum { SECTOR = 512 };
    if (arg <= 0 || arg >= bytes) {
        return arg <= 0 ? 0 : bytes;
    }
    return arg % SECTOR ? arg : arg - (offset + arg) % SECTOR;
}
