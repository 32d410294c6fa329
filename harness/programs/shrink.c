/*
 * The minimiser.
 */
#include "harness/programs/shrink.h"

#include "ref/base/mem.h"

struct shrinker {
    struct program *p;
    shrink_test *fails;
    void *opaque;
    unsigned attempts, max;
};

/* Takes over the candidate when it fails, too; else frees it. */
static bool try(struct shrinker *s, struct program *candidate)
{
    if (s->attempts < s->max) {
        s->attempts++;
        if (s->fails(candidate, s->opaque)) {
            program_free(s->p);
            *s->p = *candidate;
            return true;
        }
    }
    program_free(candidate);
    return false;
}

static bool drop_operations(struct shrinker *s)
{
    bool changed = false;
    for (size_t chunk = MAX(s->p->n_ops / 2, 1);; chunk /= 2) {
        for (size_t at = 0; at < s->p->n_ops && s->attempts < s->max;) {
            struct program c = program_clone(s->p);
            size_t n = MIN(chunk, c.n_ops - at);
            program_cut(&c, at, n);
            if (try(s, &c)) {
                changed = true;
            } else {
                at += n;
            }
        }
        if (chunk <= 1) {
            return changed;
        }
    }
}

/* The n-th comma-separated option cut out; false when there is none. */
static bool cut_option(char *options, unsigned n)
{
    char *at = options;
    for (; n; n--) {
        at = strchr(at, ',');
        if (!at) {
            return false;
        }
        at++;
    }
    if (!*at) {
        return false;
    }
    char *end = strchr(at, ',');
    if (end) {
        memmove(at, end + 1, strlen(end + 1) + 1);
    } else {
        *(at > options ? at - 1 : at) = 0;
    }
    return true;
}

static bool drop_options(struct shrinker *s)
{
    bool changed = false;
    if (s->p->backing) {
        struct program c = program_clone(s->p);
        c.backing = false;
        changed |= try(s, &c);
    }
    for (unsigned n = 0; s->attempts < s->max;) {
        struct program c = program_clone(s->p);
        if (!cut_option(c.options, n)) {
            program_free(&c);
            break;
        }
        if (try(s, &c)) {
            changed = true;
        } else {
            n++;
        }
    }
    return changed;
}

static int64_t simpler(int64_t n, unsigned how)
{
    switch (how) {
    case 0:
        return 0;
    case 1:
        return ROUND_DOWN(n, 64 * KiB);
    case 2:
        return ROUND_DOWN(n / 2, 512);
    default:
        return n / 2;
    }
}

/* One number of one operation, or the image's size, made simpler. */
static bool lower(struct shrinker *s, size_t i, bool is_bytes)
{
    bool changed = false;
    for (unsigned how = 0; how < 4 && s->attempts < s->max; how++) {
        struct program c = program_clone(s->p);
        int64_t *n = is_bytes ? &c.ops[i].bytes : &c.ops[i].offset;
        int64_t to = simpler(*n, how);
        if (to == *n || (is_bytes && to < 1)) {
            program_free(&c);
            continue;
        }
        *n = to;
        changed |= try(s, &c);
    }
    return changed;
}

static bool clear_flags(struct shrinker *s, size_t i)
{
    struct program c = program_clone(s->p);
    if (!c.ops[i].flags && c.ops[i].prealloc == PREALLOC_OFF) {
        program_free(&c);
        return false;
    }
    c.ops[i].flags = 0;
    c.ops[i].prealloc = PREALLOC_OFF;
    return try(s, &c);
}

/* Behind the operation before it, not beside it. */
static bool separate(struct shrinker *s, size_t i)
{
    if (!s->p->ops[i].beside) {
        return false;
    }
    struct program c = program_clone(s->p);
    c.ops[i].beside = false;
    return try(s, &c);
}

static bool lower_numbers(struct shrinker *s)
{
    bool changed = false;
    for (size_t i = 0; i < s->p->n_ops; i++) {
        changed |= lower(s, i, true);
        changed |= lower(s, i, false);
        changed |= clear_flags(s, i);
        changed |= separate(s, i);
    }
    return changed;
}

unsigned shrink_program(struct program *p, shrink_test *fails, void *opaque, unsigned max_attempts)
{
    struct shrinker s = {.p = p, .fails = fails, .opaque = opaque, .max = max_attempts};
    bool changed = true;
    while (changed && s.attempts < s.max) {
        changed = drop_operations(&s);
        changed |= drop_options(&s);
        changed |= lower_numbers(&s);
    }
    return s.attempts;
}
