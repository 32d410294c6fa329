/*
 * Lockstep comparison of the oracle, a subject and the shadow.
 */
#include "harness/oracle/compare.h"

#include <errno.h>
#include <stdio.h>
#include "ref/base/json.h"
#include "ref/base/mem.h"

const char *const difference_names[] = {"none",  "status", "bytes",  "map",
                                        "check", "info",   "oracle", "subject-error"};

void finding_free(struct finding *f)
{
    mem_free(f->detail);
    f->detail = NULL;
    f->kind = DIFF_NONE;
}

static bool found(struct compare *c, enum difference kind, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
static bool found(struct compare *c, enum difference kind, const char *fmt, ...)
{
    struct strbuf where = STRBUF_INIT;
    va_list ap;
    va_start(ap, fmt);
    char *text = str_vfmt(fmt, ap);
    va_end(ap);
    if (c->at < 0) {
        strbuf_puts(&where, "create");
    } else if ((size_t)c->at >= c->p->n_ops) {
        strbuf_puts(&where, "the end");
    } else {
        strbuf_printf(&where, "%d (", c->at + 1);
        op_print(&where, &c->p->ops[c->at]);
        strbuf_putc(&where, ')');
    }
    finding_free(c->out);
    c->out->kind = kind;
    c->out->op = c->at;
    c->out->detail = str_fmt("%s at %s: %s", difference_names[kind], where.s, text);
    strbuf_free(&where);
    mem_free(text);
    return true;
}

static bool found_error(struct compare *c, enum difference kind, struct error *err)
{
    found(c, kind, "%s", err ? err->msg : "no reason given");
    error_free(err);
    return true;
}

/* ---- statuses ---- */

static bool statuses_differ(struct compare *c, int want, int got)
{
    char a[32], b[32];
    if (status_equal(want, got)) {
        return false;
    }
    status_text(a, want);
    status_text(b, got);
    return found(c, DIFF_STATUS, "%s, reference %s", b, a);
}

static bool in_bounds(const struct shadow *sh, const struct op *op)
{
    bool has_range = op->kind <= OP_READ;
    return !has_range || (op->offset <= sh->size && op->bytes <= sh->size - op->offset);
}

/* The oracle's status and effect, into the shadow. */
static bool apply_oracle(struct compare *c, const struct op *op, int *status)
{
    struct error *err = NULL;
    *status = c->oracle->ops->apply(c->oracle, op, &err);
    if (*status == SUBJECT_ERROR) {
        return found_error(c, DIFF_ORACLE, err);
    }
    error_clear(&err);
    if (*status < 0 && !(op->kind == OP_ZERO && in_bounds(&c->shadow, op))) {
        return false;
    }
    if (!in_bounds(&c->shadow, op)) {
        return found(c, DIFF_ORACLE, "the range ends behind the image, and there was no error");
    }
    if (op->kind == OP_RESIZE && op->bytes > SHADOW_MAX) {
        return found(c, DIFF_ORACLE, "programs are limited to images of %lld bytes", SHADOW_MAX);
    }
    if (*status < 0) {
        shadow_fail(&c->shadow, op);
    } else {
        shadow_apply(&c->shadow, op);
    }
    if (!c->shadow.adopt_bytes) {
        return false;
    }
    uint8_t *bytes = mem_alloc((size_t)c->shadow.adopt_bytes);
    int ret = c->oracle->ops->read(c->oracle, c->shadow.adopt_offset, bytes,
                                   (size_t)c->shadow.adopt_bytes, &err);
    if (ret == 0) {
        ret = shadow_adopt(&c->shadow, bytes, &err);
    }
    mem_free(bytes);
    return ret < 0 ? found_error(c, DIFF_ORACLE, err) : false;
}

/* Notes the clusters that an operation zeroes in part, before it is applied. */
static void note_rounding(struct compare *c, const struct op *op)
{
    int64_t start = op->offset, end = op->offset + op->bytes, cluster = c->shadow.cluster;
    if (op->kind == OP_RESIZE) {
        start = c->shadow.size;
        end = op->bytes;
    }
    bool zeroes = op->kind == OP_ZERO || op->kind == OP_RESIZE;
    if (!zeroes || start >= end || (start % cluster == 0 && end % cluster == 0)) {
        return;
    }
    c->rounded = mem_realloc(c->rounded, (c->n_rounded + 2) * sizeof(*c->rounded));
    c->rounded[c->n_rounded++] = (struct rounded){ROUND_DOWN(start, cluster), cluster};
    c->rounded[c->n_rounded++] = (struct rounded){ROUND_DOWN(end - 1, cluster), cluster};
}

bool compare_apply(struct compare *c, const struct op *op)
{
    struct error *err = NULL;
    int status;
    note_rounding(c, op);
    if (apply_oracle(c, op, &status)) {
        return true;
    }
    if (!c->subject) {
        return false;
    }
    int got = c->subject->ops->apply(c->subject, op, &err);
    if (got == SUBJECT_ERROR) {
        return found_error(c, DIFF_SUBJECT, err);
    }
    error_clear(&err);
    return statuses_differ(c, status, got);
}

/* ---- bytes, map, check, info ---- */

static bool verify(struct compare *c, struct subject *s, enum difference kind)
{
    struct error *err = NULL;
    int ret = s->ops->verify(s, &c->shadow, &err);
    if (ret == 0) {
        return false;
    }
    return found_error(c, ret == SUBJECT_ERROR && s != c->oracle ? DIFF_SUBJECT : kind, err);
}

bool compare_bytes(struct compare *c)
{
    return verify(c, c->oracle, DIFF_ORACLE) || (c->subject && verify(c, c->subject, DIFF_BYTES));
}

/* Extents that promise zeroes must be zero, and all must cover the image. */
static bool map_lies(struct compare *c, const struct extent *map, int n, enum difference kind)
{
    int64_t end = 0;
    for (int i = 0; i < n; i++) {
        if (map[i].offset != end || map[i].bytes <= 0) {
            return found(c, kind, "map has a gap at %lld", (long long)end);
        }
        if (map[i].zero && !shadow_is_zero(&c->shadow, map[i].offset, map[i].bytes)) {
            return found(c, kind, "map says zero at %lld+%lld, which is not",
                         (long long)map[i].offset, (long long)map[i].bytes);
        }
        end += map[i].bytes;
    }
    return end != c->shadow.size && found(c, kind, "map ends at %lld", (long long)end);
}

static bool maps_differ(struct compare *c, const struct extent *a, int na, const struct extent *b,
                        int nb)
{
    int i = 0;
    if (extents_equal(a, na, b, nb)) {
        return false;
    }
    while (i < na && i < nb && extents_equal(&a[i], 1, &b[i], 1)) {
        i++;
    }
    struct strbuf got = STRBUF_INIT, want = STRBUF_INIT;
    strbuf_puts(&got, i < nb ? "" : "nothing");
    strbuf_puts(&want, i < na ? "" : "nothing");
    if (i < nb) {
        extent_text(&got, &b[i]);
    }
    if (i < na) {
        extent_text(&want, &a[i]);
    }
    found(c, DIFF_MAP, "%s, reference %s", got.s, want.s);
    strbuf_free(&got);
    strbuf_free(&want);
    return true;
}

/* How much from offset on is, or is not, in a cluster that was zeroed in part. */
static int64_t rounded_at(const struct compare *c, int64_t offset, int64_t bytes, bool *inside)
{
    *inside = false;
    for (size_t i = 0; i < c->n_rounded; i++) {
        const struct rounded *r = &c->rounded[i];
        if (offset >= r->offset && offset < r->offset + r->bytes) {
            *inside = true;
            return MIN(bytes, r->offset + r->bytes - offset);
        }
        if (r->offset > offset) {
            bytes = MIN(bytes, r->offset - offset);
        }
    }
    return bytes;
}

/*
 * That data are zeroes is known only from holes of the host's file: said truthfully or not at all.
 * After a commit: how it rounded what it wrote below is no promise either.  Above a chain: whether
 * a cluster that is zeroed in part becomes a zero cluster hangs on holes below it, so present
 * zeroes are as good as present data there (both were held against the shadow's bytes).
 */
static int join_holes(const struct compare *c, struct extent **map, int n)
{
    bool chain = c->shadow.layers > 1 || c->p->backing;
    struct extent *joined = NULL;
    int count = 0;
    for (int i = 0; i < n; i++) {
        struct extent rest = (*map)[i];
        rest.zero = rest.zero && !rest.data;
        while (rest.bytes) {
            bool inside;
            struct extent e = rest;
            e.bytes = rounded_at(c, rest.offset, rest.bytes, &inside);
            if (chain && inside && e.present && e.zero) {
                e.zero = false;
                e.data = true;
            }
            if (c->committed && (e.depth || !e.present)) {
                e = (struct extent){.offset = e.offset, .bytes = e.bytes, .depth = 1};
            }
            extents_add(&joined, &count, &e);
            rest.offset += e.bytes;
            rest.bytes -= e.bytes;
        }
    }
    mem_free(*map);
    *map = joined;
    return count;
}

/* Holes of raw files are the host's business: there maps must only be truthful. */
static bool map_is_comparable(const struct compare *c)
{
    const char *top = subject_format(c->p, c->shadow.layers - 1);
    return strcmp(top, "raw") != 0 && strcmp(c->p->format, "raw") != 0;
}

bool compare_maps(struct compare *c)
{
    struct extent *a = NULL, *b = NULL;
    struct error *err = NULL;
    bool bad = false;
    int na = c->oracle->ops->map(c->oracle, &a, &err), nb = 0;
    if (na < 0) {
        bad = found_error(c, DIFF_ORACLE, err);
        err = NULL;
    } else {
        bad = map_lies(c, a, na, DIFF_ORACLE);
    }
    if (!bad && c->subject) {
        nb = c->subject->ops->map(c->subject, &b, &err);
        bad = nb < 0 ? found_error(c, nb == SUBJECT_ERROR ? DIFF_SUBJECT : DIFF_MAP, err)
                     : map_lies(c, b, nb, DIFF_MAP);
    }
    if (!bad && c->subject && map_is_comparable(c)) {
        na = join_holes(c, &a, na);
        nb = join_holes(c, &b, nb);
        bad = maps_differ(c, a, na, b, nb);
    }
    mem_free(a);
    mem_free(b);
    return bad;
}

static bool check_one(struct compare *c, struct subject *s, enum difference kind)
{
    struct subject_check found_counts = {.leaks = 0};
    struct error *err = NULL;
    int ret = s->ops->check(s, &found_counts, &err);
    if (ret == -ENOTSUP) {
        error_clear(&err);
        return false;
    }
    if (ret < 0) {
        return found_error(c, ret == SUBJECT_ERROR && s != c->oracle ? DIFF_SUBJECT : kind, err);
    }
    if (found_counts.corruptions || found_counts.leaks || found_counts.check_errors) {
        return found(c, kind, "%s: %d corruptions, %d leaked clusters, %d errors", s->name,
                     found_counts.corruptions, found_counts.leaks, found_counts.check_errors);
    }
    return false;
}

bool compare_checks(struct compare *c)
{
    return check_one(c, c->oracle, DIFF_ORACLE) ||
           (c->subject && check_one(c, c->subject, DIFF_CHECK));
}

bool compare_infos(struct compare *c)
{
    bool bad = false;
    if (!c->subject || !c->subject->ops->info) {
        return false;
    }
    struct error *err = NULL;
    struct value *want = c->oracle->ops->info(c->oracle, NULL),
                 *got = c->subject->ops->info(c->subject, &err);
    if (!want || !got) {
        bad = found_error(c, got ? DIFF_ORACLE : DIFF_INFO, err);
    } else if (!value_equal(want, got)) {
        char *a = json_text(want, false), *b = json_text(got, false);
        bad = found(c, DIFF_INFO, "%s, reference %s", b, a);
        mem_free(a);
        mem_free(b);
    }
    value_free(want);
    value_free(got);
    return bad;
}

/* ---- the whole program ---- */

static bool create(struct compare *c)
{
    struct error *err = NULL;
    int want = c->oracle->ops->create(c->oracle, c->p, &err), got = want;
    c->created = want == 0;
    if (want == SUBJECT_ERROR) {
        return found_error(c, DIFF_ORACLE, err);
    }
    error_clear(&err);
    if (c->subject) {
        got = c->subject->ops->create(c->subject, c->p, &err);
        if (got == SUBJECT_ERROR) {
            return found_error(c, DIFF_SUBJECT, err);
        }
        error_clear(&err);
    }
    return statuses_differ(c, want, got);
}

/* Where the image's metadata is on the disk anyway, so that looking at it from outside changes
 * nothing. */
static bool is_settled(const struct op *op)
{
    return op->kind >= OP_FLUSH;
}

/* Notes the first map that differs, and goes on: what follows from it are no other bytes. */
static bool maps_at_odds(struct compare *c)
{
    if (c->map.kind != DIFF_NONE || !compare_maps(c)) {
        return false;
    }
    if (c->out->kind != DIFF_MAP) {
        return true;
    }
    c->map = *c->out;
    memset(c->out, 0, sizeof(*c->out));
    return false;
}

bool compare_program(struct compare *c)
{
    struct error *err = NULL;
    memset(c->out, 0, sizeof(*c->out));
    memset(&c->map, 0, sizeof(c->map));
    c->at = -1;
    if (shadow_init(&c->shadow, c->p, &err) < 0) {
        return found_error(c, DIFF_ORACLE, err);
    }
    bool bad = create(c);
    for (size_t i = 0; i < c->p->n_ops && !bad && c->created; i++) {
        const struct op *op = &c->p->ops[i];
        c->at = (int)i;
        c->committed = c->committed || op->kind == OP_COMMIT;
        bad = compare_apply(c, op) || compare_bytes(c) || (is_settled(op) && maps_at_odds(c));
    }
    if (bad || !c->created) {
        return bad;
    }
    c->at = (int)c->p->n_ops;
    if (maps_at_odds(c) || compare_bytes(c) || compare_checks(c) || compare_infos(c)) {
        return true;
    }
    *c->out = c->map;
    memset(&c->map, 0, sizeof(c->map));
    return c->out->kind != DIFF_NONE;
}

void compare_end(struct compare *c)
{
    c->oracle->ops->close(c->oracle);
    if (c->subject) {
        c->subject->ops->close(c->subject);
    }
    shadow_free(&c->shadow);
    finding_free(&c->map);
    mem_free(c->rounded);
}

bool compare_run(struct subject *oracle, struct subject *subject, const struct program *p,
                 struct finding *out)
{
    struct compare c = {.oracle = oracle, .subject = subject, .p = p, .out = out};
    bool bad = compare_program(&c);
    compare_end(&c);
    return bad;
}
