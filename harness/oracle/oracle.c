/*
 * The crash oracle: sets of contents, and the runs that have them.  See oracle.h.
 */
#include "harness/oracle/oracle_int.h"

#include <string.h>
#include "harness/subject/shadow.h"
#include "harness/subject/subject.h"
#include "ref/base/mem.h"

/* ---- sets ---- */

void lawful_add_byte(struct lawful *l, uint8_t v)
{
    l->byte[v >> 6] |= UINT64_C(1) << (v & 63);
}

void lawful_add(struct lawful *to, const struct lawful *from)
{
    for (int i = 0; i < 4; i++) {
        to->byte[i] |= from->byte[i];
    }
    to->backing |= from->backing;
    to->any |= from->any;
}

struct lawful lawful_only(uint8_t v)
{
    struct lawful l = {0};
    lawful_add_byte(&l, v);
    return l;
}

/* ---- runs ---- */

size_t oracle_run_at(const struct oracle *o, int64_t offset)
{
    size_t lo = 0, hi = o->n_runs;
    while (hi - lo > 1) {
        size_t mid = lo + (hi - lo) / 2;
        if (o->runs[mid].start <= offset) {
            lo = mid;
        } else {
            hi = mid;
        }
    }
    return lo;
}

/* A run starts at offset afterwards; returns its index. */
static size_t split(struct oracle *o, int64_t offset)
{
    if (offset == FAR_END) {
        return o->n_runs;
    }
    size_t i = oracle_run_at(o, offset);
    if (o->runs[i].start == offset) {
        return i;
    }
    if (o->n_runs == o->cap) {
        o->cap = o->cap * 2 + 8;
        o->runs = mem_realloc(o->runs, o->cap * sizeof(*o->runs));
    }
    memmove(&o->runs[i + 2], &o->runs[i + 1], (o->n_runs - i - 1) * sizeof(*o->runs));
    o->n_runs++;
    o->runs[i + 1] = o->runs[i];
    o->runs[i].end = o->runs[i + 1].start = offset;
    return i + 1;
}

struct oracle_span oracle_span(struct oracle *o, int64_t start, int64_t end)
{
    if (start >= end) {
        return (struct oracle_span){0, 0};
    }
    split(o, start);
    size_t e = split(o, end);
    return (struct oracle_span){oracle_run_at(o, start), e};
}

/* ---- life ---- */

int64_t oracle_length(int64_t bytes)
{
    return ROUND_UP(MIN(bytes, INT64_MAX - ORACLE_SECTOR), ORACLE_SECTOR);
}

/* Does guest data never move? */
static bool is_in_place(const struct program *p)
{
    static const char *const options[] = {"data_file_raw=on", "static=on", "subformat=fixed",
                                          "subformat=monolithicFlat",
                                          "subformat=twoGbMaxExtentFlat"};
    bool found = !strcmp(p->format, "raw") || !strcmp(p->format, "luks");
    for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
        found |= strstr(p->options, options[i]) != NULL;
    }
    return found;
}

/* What opened images hold before the program, where that is not zeroes. */
static void begin_with(struct oracle *o, const struct program *p)
{
    bool luks = !strcmp(p->format, "luks");
    bool damaged = strstr(p->options, "made=cut-off") || strstr(p->options, "made=shared");
    if (luks || damaged) {
        for (size_t i = 0; i < o->n_runs; i++) {
            o->runs[i].live.any = o->runs[i].crash.any = o->runs[i].under.any = true;
        }
    } else if (strstr(p->options, "made=unclosed")) {
        struct oracle_span s = oracle_span(o, 0, 4 * KiB);
        o->runs[s.first].live = o->runs[s.first].crash = lawful_only(ORACLE_MADE);
    }
}

void oracle_init(struct oracle *o, const struct program *p)
{
    memset(o, 0, sizeof(*o));
    o->cap = 16;
    o->runs = mem_array(o->cap, sizeof(*o->runs));
    o->n_runs = 1;
    o->size = o->sizes[0] = oracle_length(p->size);
    o->n_sizes = 1;
    o->granule = o->cluster = program_granule(p);
    if (strstr(p->options, "extended_l2=on")) {
        o->granule /= 32;
    }
    o->in_place = is_in_place(p);
    o->as_file = !strcmp(p->format, "raw") || !strcmp(p->format, "luks");
    o->compressing = strstr(p->options, "subformat=streamOptimized");
    o->scrambled = subject_encrypted(p);
    struct oracle_run *r = &o->runs[0];
    *r = (struct oracle_run){.end = FAR_END, .live = lawful_only(0)};
    r->crash = r->under = r->live;
    if (p->backing) {
        struct oracle_span s = oracle_span(o, 0, p->size);
        o->runs[s.first].live = (struct lawful){.backing = true};
        o->runs[s.first].crash = o->runs[s.first].under = o->runs[s.first].live;
    }
    begin_with(o, p);
}

void oracle_allow_anything(struct oracle *o)
{
    o->any_size = true;
    for (size_t i = 0; i < o->n_runs; i++) {
        o->runs[i].live.any = o->runs[i].crash.any = true;
    }
}

void oracle_free(struct oracle *o)
{
    for (unsigned i = 0; i < o->n_snapshots; i++) {
        mem_free(o->snapshots[i].runs);
    }
    mem_free(o->runs);
    memset(o, 0, sizeof(*o));
}

void oracle_copy(struct oracle *to, const struct oracle *from)
{
    *to = *from;
    to->runs = mem_dup(from->runs, from->n_runs * sizeof(*from->runs));
    to->cap = from->n_runs;
    for (unsigned i = 0; i < to->n_snapshots; i++) {
        struct oracle_snapshot *s = &to->snapshots[i];
        s->runs = mem_dup(s->runs, s->n_runs * sizeof(*s->runs));
    }
}
