/*
 * Judging single structures with the generated tables: fields in range, reserved bits zero, rules
 * hold.
 */
#include "specs/runtime/spec.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "ref/base/bytes.h"
#include "specs/runtime/arith.h"

const struct spec_structure *spec_structure_find(const struct spec_format *f, const char *name)
{
    for (const struct spec_structure *s = f->structures; s->name; s++) {
        if (!strcmp(s->name, name)) {
            return s;
        }
    }
    return NULL;
}

const struct spec_field *spec_field_find(const struct spec_structure *s, const char *name)
{
    for (size_t i = 0; i < s->nr_fields; i++) {
        if (!strcmp(s->fields[i].name, name)) {
            return &s->fields[i];
        }
    }
    return NULL;
}

const struct spec_clause *spec_clause_find(const struct spec_format *f, const char *id)
{
    for (const struct spec_clause *c = f->clauses; c->id; c++) {
        if (!strcmp(c->id, id)) {
            return c;
        }
    }
    return NULL;
}

const struct spec_unflushed *spec_unflushed_find(const struct spec_format *f, const char *id)
{
    for (const struct spec_unflushed *u = f->promise->unflushed; u->id; u++) {
        if (!strcmp(u->id, id)) {
            return u;
        }
    }
    return NULL;
}

void spec_field_bits(const struct spec_field *f, const uint8_t *p, const void *params,
                     unsigned *low, unsigned *high)
{
    *low = f->low ? f->low(p, params) : f->low_bit;
    *high = f->high ? f->high(p, params) : f->high_bit;
}

uint64_t spec_field_get(const struct spec_field *f, const uint8_t *p, const void *params)
{
    if (f->bytes) {
        return 0;
    }
    unsigned low, high;
    spec_field_bits(f, p, params, &low, &high);
    uint64_t raw = load_uint(p + f->offset, f->width, f->big_endian) & spec_bit_mask(low, high);
    return f->in_place ? raw : spec_shr(raw, low);
}

void spec_field_set(const struct spec_field *f, uint8_t *p, const void *params, uint64_t v)
{
    if (f->bytes) {
        return;
    }
    unsigned low, high;
    spec_field_bits(f, p, params, &low, &high);
    uint64_t mask = spec_bit_mask(low, high);
    uint64_t raw = load_uint(p + f->offset, f->width, f->big_endian);
    if (!f->in_place) {
        v = low < 64 ? v << low : 0;
    }
    store_uint(p + f->offset, f->width, f->big_endian, (raw & ~mask) | (v & mask));
}

static bool bytes_zero(const uint8_t *p, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        if (p[i]) {
            return false;
        }
    }
    return true;
}

bool spec_field_valid(const struct spec_field *f, const uint8_t *p, const void *params)
{
    if (f->present && !f->present(p, params)) {
        return true;
    }
    if (f->bytes) {
        return !f->reserved || bytes_zero(p + f->offset, f->width);
    }
    uint64_t v = spec_field_get(f, p, params);
    if (f->reserved) {
        return v == 0;
    }
    if (f->values) {
        for (const struct spec_value *k = f->values; k->name; k++) {
            if (k->value == v) {
                return true;
            }
        }
        return false;
    }
    return v >= f->min && v <= f->max;
}

unsigned spec_structure_check(const struct spec_structure *s, const uint8_t *p, const void *params,
                              uint64_t offset, struct spec_report *r)
{
    unsigned bad = 0;
    for (size_t i = 0; i < s->nr_fields; i++) {
        const struct spec_field *f = &s->fields[i];
        if (!spec_field_valid(f, p, params)) {
            uint64_t v = spec_field_get(f, p, params);
            spec_report_add(r, f->rule ? f->rule : "?", SPEC_CORRUPTION, offset + f->offset, v,
                            f->min, "%s.%s is 0x%llx", s->name, f->name, (unsigned long long)v);
            bad++;
        }
    }
    for (size_t i = 0; i < s->nr_rules; i++) {
        if (!s->rules[i].holds(p, params)) {
            spec_report_add(r, s->rules[i].clause, s->rules[i].severity, offset, 0, 0, "%s: not %s",
                            s->name, s->rules[i].text);
            bad++;
        }
    }
    return bad;
}

static void tally(struct spec_report *r, const char *clause, enum spec_severity severity)
{
    for (unsigned i = 0; i < r->nr_tally; i++) {
        if (!strcmp(r->tally[i].clause, clause)) {
            r->tally[i].count++;
            r->tally[i].worst = severity < r->tally[i].worst ? severity : r->tally[i].worst;
            return;
        }
    }
    if (r->nr_tally < SPEC_MAX_CLAUSES) {
        r->tally[r->nr_tally++] = (struct spec_tally){clause, severity, 1};
    }
}

void spec_report_init(struct spec_report *r)
{
    memset(r->count, 0, sizeof(r->count));
    r->nr_findings = r->nr_tally = 0;
}

void spec_report_add(struct spec_report *r, const char *clause, enum spec_severity severity,
                     uint64_t offset, uint64_t found, uint64_t expected, const char *fmt, ...)
{
    r->count[severity]++;
    tally(r, clause, severity);
    if (r->nr_findings == SPEC_MAX_FINDINGS) {
        return;
    }
    struct spec_finding *f = &r->findings[r->nr_findings++];
    f->clause = clause;
    f->severity = severity;
    f->offset = offset;
    f->found = found;
    f->expected = expected;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(f->message, sizeof(f->message), fmt, ap);
    va_end(ap);
}

uint64_t spec_report_count(const struct spec_report *r, const char *clause)
{
    for (unsigned i = 0; i < r->nr_tally; i++) {
        if (!strcmp(r->tally[i].clause, clause)) {
            return r->tally[i].count;
        }
    }
    return 0;
}

static bool clause_allowed(const char *clause, const struct spec_promise *promise,
                           bool (*holds)(void *opaque, const char *when), void *opaque)
{
    for (const struct spec_after_cut *a = promise->after_cut; a->id; a++) {
        if (a->when && !holds(opaque, a->when)) {
            continue;
        }
        for (const char *const *c = a->clauses; *c; c++) {
            if (!strcmp(*c, clause)) {
                return true;
            }
        }
    }
    return false;
}

bool spec_report_allowed(const struct spec_report *r, const struct spec_promise *promise,
                         bool (*holds)(void *opaque, const char *when), void *opaque,
                         const char **clause)
{
    for (unsigned i = 0; i < r->nr_tally; i++) {
        if (r->tally[i].worst != SPEC_ADVICE &&
            !clause_allowed(r->tally[i].clause, promise, holds, opaque)) {
            if (clause) {
                *clause = r->tally[i].clause;
            }
            return false;
        }
    }
    return true;
}
