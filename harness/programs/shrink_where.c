/*
 * The minimiser of where a program fails: fault plans and schedules.  See shrink.h.
 */
#include "harness/programs/shrink.h"

#include "fault/verdict.h"
#include "ref/base/mem.h"

struct shrinker {
    char **text;
    shrink_text_test *fails;
    void *opaque;
    unsigned attempts, max;
};

/* Takes over the candidate (may be NULL) when it fails, too; else frees it. */
static bool try(struct shrinker *s, char *candidate)
{
    if (s->attempts < s->max) {
        s->attempts++;
        if (s->fails(candidate, s->opaque)) {
            mem_free(*s->text);
            *s->text = candidate;
            return true;
        }
    }
    mem_free(candidate);
    return false;
}

/* ---- faults ---- */

enum simplification { DROP, ONCE, FIRST, HALF, ONE_EARLIER, SIMPLIFICATIONS };

/* Of the plan's entry i; false when it is as simple in this way. */
static bool simplify(struct fault_plan *p, int i, enum simplification how)
{
    struct fault_entry *e = &p->entries[i];
    uint64_t nth = e->nth;
    switch (how) {
    case DROP:
        mem_free(e->tag);
        memmove(e, e + 1, (size_t)(--p->n - i) * sizeof(*e));
        return true;
    case ONCE:
        nth = e->sticky;
        e->sticky = false;
        return nth;
    default:
        e->nth = how == FIRST ? 1 : how == HALF ? nth / 2 : nth - 1;
        return nth > 1 && e->nth >= 1;
    }
}

static bool try_simpler(struct shrinker *s, int i, enum simplification how, bool may_vanish)
{
    struct fault_plan plan;
    struct strbuf text = STRBUF_INIT;
    fault_plan_init(&plan);
    bool ok = fault_plan_parse(&plan, *s->text, NULL) == 0 && i < plan.n &&
              simplify(&plan, i, how) && (plan.n || may_vanish);
    if (ok) {
        fault_plan_print(&plan, &text);
        ok = try(s, plan.n ? strbuf_take(&text) : NULL);
    }
    strbuf_free(&text);
    fault_plan_destroy(&plan);
    return ok;
}

unsigned shrink_faults(char **plan, bool may_vanish, shrink_text_test *fails, void *opaque,
                       unsigned max_attempts)
{
    struct shrinker s = {.text = plan, .fails = fails, .opaque = opaque, .max = max_attempts};
    bool changed = true;
    while (changed && *plan && s.attempts < s.max) {
        changed = false;
        for (int i = 0; *plan && i < 8; i++) {
            for (int how = 0; *plan && how < SIMPLIFICATIONS; how++) {
                changed |= try_simpler(&s, i, how, may_vanish);
            }
        }
    }
    return s.attempts;
}

/* ---- schedules ---- */

/* The id without its n-th choice, counted from 0; NULL: it has none. */
static char *without(const char *id, unsigned n)
{
    struct strbuf out = STRBUF_INIT;
    unsigned i = 0;
    while (strcmp(id, "-") && *id) {
        size_t len = strcspn(id, ",");
        if (i != n) {
            strbuf_puts(&out, out.len ? "," : "");
            strbuf_add(&out, id, len);
        }
        i++;
        id += len + (id[len] == ',');
    }
    strbuf_puts(&out, out.len ? "" : "-");
    if (n >= i) {
        strbuf_free(&out);
        return NULL;
    }
    return strbuf_take(&out);
}

/* Later choices hang on earlier ones: from behind. */
static bool drop_choices(struct shrinker *s)
{
    bool changed = false;
    unsigned n = 0;
    for (const char *c = *s->text; *c; c++) {
        n += *c == ':';
    }
    while (n-- > 0) {
        char *candidate = without(*s->text, n);
        changed |= candidate && try(s, candidate);
    }
    return changed;
}

unsigned shrink_schedule(char **id, shrink_text_test *fails, void *opaque, unsigned max_attempts)
{
    struct shrinker s = {.text = id, .fails = fails, .opaque = opaque, .max = max_attempts};
    if (!strcmp(*id, "-") || try(&s, str_dup("-"))) {
        return s.attempts;
    }
    while (drop_choices(&s) && s.attempts < s.max) {
    }
    return s.attempts;
}
