/*
 * Walking an image: see walk.h.  Ranges are noted in one array and sorted at the end; neighbours
 * then show what overlaps and what lies between.
 */
#include "specs/runtime/walk.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "specs/runtime/arith.h"

#define PIECE 4096

void spec_walk_init(struct spec_walk *w, const struct spec_image *image,
                    const struct spec_format *format, const struct spec_limits *limits,
                    struct spec_report *r)
{
    static const struct spec_limits defaults = {UINT64_C(4) << 20, UINT64_C(4) << 30};
    limits = limits ? limits : &defaults;
    *w = (struct spec_walk){
        .image = image, .format = format, .r = r, .work = limits->work, .most = limits->clusters};
}

int spec_walk_end(struct spec_walk *w)
{
    free(w->ranges);
    w->ranges = NULL;
    return w->error;
}

bool spec_walk_work(struct spec_walk *w, uint64_t n)
{
    if (!w->error && n > w->work) {
        w->error = -EFBIG;
    }
    w->work -= w->error ? 0 : n;
    return !w->error;
}

bool spec_walk_get(struct spec_walk *w, uint64_t offset, void *buf, size_t len)
{
    uint64_t there = spec_sub(w->image->size, offset);
    size_t n = there < len ? (size_t)there : len;
    memset((uint8_t *)buf + n, 0, len - n);
    if (spec_walk_work(w, len) && n) {
        int ret = w->image->read(w->image->opaque, offset, buf, n);
        w->error = ret < 0 ? ret : 0;
    }
    return !w->error;
}

bool spec_walk_inside(const struct spec_walk *w, uint64_t offset, uint64_t bytes)
{
    return spec_add(offset, bytes) <= w->image->size;
}

unsigned spec_walk_check(struct spec_walk *w, const char *structure, const uint8_t *p,
                         uint64_t offset)
{
    return spec_structure_check(spec_structure_find(w->format, structure), p, w->params, offset,
                                w->r);
}

static bool is_zero(const uint8_t *p, unsigned width)
{
    static const uint8_t zero[8];
    return memcmp(p, zero, width) == 0;
}

void spec_walk_table(struct spec_walk *w, uint64_t table, uint64_t entries, unsigned width,
                     bool zero_is_nothing,
                     void (*visit)(struct spec_walk *w, uint64_t index, const uint8_t *p,
                                   uint64_t at))
{
    uint8_t buf[PIECE];
    const uint64_t n = PIECE / width;
    for (uint64_t i = 0; i < entries && !w->error; i += n) {
        uint64_t here = entries - i < n ? entries - i : n, at = spec_add(table, i * width);
        if (!spec_walk_get(w, at, buf, (size_t)here * width)) {
            return;
        }
        for (uint64_t k = 0; k < here && !w->error; k++) {
            const uint8_t *p = buf + k * width;
            if (!zero_is_nothing || !is_zero(p, width)) {
                visit(w, i + k, p, at + k * width);
            }
        }
    }
}

void spec_walk_note(struct spec_walk *w, uint64_t start, uint64_t bytes, unsigned kind, uint64_t at)
{
    if (bytes == 0 || w->error) {
        return;
    }
    if (w->n >= w->most) {
        w->error = -EFBIG;
        return;
    }
    if (w->n == w->room) {
        size_t room = w->room ? 2 * w->room : 64;
        struct spec_range *more = realloc(w->ranges, room * sizeof(*more));
        if (!more) {
            w->error = -ENOMEM;
            return;
        }
        w->ranges = more;
        w->room = room;
    }
    w->ranges[w->n++] = (struct spec_range){start, spec_add(start, bytes), at, kind};
}

static int by_start(const void *a, const void *b)
{
    const struct spec_range *x = a, *y = b;
    if (x->start != y->start) {
        return x->start < y->start ? -1 : 1;
    }
    return x->end < y->end ? -1 : x->end > y->end;
}

void spec_walk_overlaps(struct spec_walk *w,
                        void (*clash)(struct spec_walk *w, const struct spec_range *a,
                                      const struct spec_range *b))
{
    if (w->n > 1) {
        qsort(w->ranges, w->n, sizeof(*w->ranges), by_start);
    }
    for (size_t i = 1; i < w->n; i++) {
        struct spec_range *a = &w->ranges[i - 1], *b = &w->ranges[i];
        if (b->start < a->end) {
            clash(w, a, b);
        }
        b->end = b->end > a->end ? b->end : a->end;
    }
}

void spec_walk_tell_overlap(struct spec_walk *w, const char *clause, const char *const *names,
                            const struct spec_range *a, const struct spec_range *b)
{
    spec_report_add(w->r, clause, SPEC_CORRUPTION, b->at, b->start, a->end,
                    "%s at 0x%llx overlaps a %s that ends at 0x%llx", names[b->kind],
                    (unsigned long long)b->start, names[a->kind], (unsigned long long)a->end);
}

static void tell_leak(struct spec_walk *w, uint64_t start, uint64_t end, uint64_t unit,
                      const char *clause)
{
    if (spec_sub(end, start) >= unit) {
        spec_report_add(w->r, clause, SPEC_LEAK, start, end - start, 0,
                        "nothing refers to %llu bytes", (unsigned long long)(end - start));
    }
}

void spec_walk_leaks(struct spec_walk *w, uint64_t start, uint64_t end, uint64_t unit,
                     const char *clause)
{
    for (size_t i = 0; i < w->n && start < end && !w->error; i++) {
        const struct spec_range *x = &w->ranges[i];
        tell_leak(w, start, x->start < end ? x->start : end, unit, clause);
        start = x->end > start ? x->end : start;
    }
    if (!w->error) {
        tell_leak(w, start, end, unit, clause);
    }
}
