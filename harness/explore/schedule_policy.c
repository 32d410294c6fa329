/*
 * Scripted and random schedules.  See schedule_policy.h.
 */
#include "harness/explore/schedule_policy.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "ref/base/mem.h"

static bool preempt(struct sched_policy *p, struct world *w, const struct point *pt)
{
    return true; /* every point is a decision; pick() may let the same go on */
}

static void add_step(struct schedule_policy *s, const struct sched_candidate *c)
{
    if (s->n_steps == s->cap_steps) {
        s->cap_steps = s->cap_steps * 2 + 64;
        s->steps = mem_realloc(s->steps, s->cap_steps * sizeof(*s->steps));
    }
    struct schedule_step *t = &s->steps[s->n_steps++];
    t->co = c->id;
    t->known = c->point != NULL;
    if (c->point) {
        t->point = *c->point;
    }
    s->last = c->id;
}

/* Later falls stand behind earlier ones; who never fell has a priority by its number. */
static uint64_t priority(const struct schedule_policy *s, unsigned co)
{
    for (unsigned i = s->n_fallen; i-- > 0;) {
        if (s->fallen[i] == co) {
            return s->n_fallen - i;
        }
    }
    return 1000 + hash_bytes(&co, sizeof(co), s->seed) % 1000003;
}

static void fall(struct schedule_policy *s, uint64_t decision)
{
    for (unsigned i = 0; i < s->depth; i++) {
        if (s->change[i] == decision && s->n_fallen < s->depth) {
            s->fallen[s->n_fallen++] = s->last;
        }
    }
}

static unsigned by_priority(struct schedule_policy *s, const struct sched_candidate *c, unsigned n)
{
    unsigned best = 0;
    fall(s, s->n_decisions);
    for (unsigned i = 1; i < n; i++) {
        if (priority(s, c[i].id) > priority(s, c[best].id)) {
            best = i;
        }
    }
    return best;
}

static struct schedule_decision *add_decision(struct schedule_policy *s)
{
    if (s->n_decisions == s->cap_decisions) {
        s->cap_decisions = s->cap_decisions * 2 + 32;
        s->decisions = mem_realloc(s->decisions, s->cap_decisions * sizeof(*s->decisions));
    }
    return &s->decisions[s->n_decisions++];
}

static unsigned pick(struct sched_policy *p, const struct sched_candidate *c, unsigned n)
{
    struct schedule_policy *s = container_of(p, struct schedule_policy, base);
    unsigned first = 0, chosen;
    n = n < SCHEDULE_CHOICES ? n : SCHEDULE_CHOICES;
    if (n == 1 || s->n_steps > SCHEDULE_STEPS) {
        add_step(s, &c[0]);
        return 0;
    }
    bool runs = false;
    for (unsigned i = 0; i < n; i++) {
        if (c[i].id == s->last && c[i].point) {
            first = i;
            runs = true;
        }
    }
    size_t at = s->n_decisions;
    chosen = s->random ? by_priority(s, c, n) : at < s->script_len ? s->script[at] : first;
    chosen = chosen < n ? chosen : first;
    struct schedule_decision *d = add_decision(s);
    d->step = (uint32_t)s->n_steps;
    d->n = (uint8_t)n;
    d->chosen = (uint8_t)chosen;
    d->first = (uint8_t)first;
    d->preempts = runs;
    d->stands = runs;
    d->spent = s->spent;
    d->open = 0;
    if (runs) {
        d->point = *c[first].point;
    }
    for (unsigned i = 0; i < n; i++) {
        d->co[i] = c[i].id;
    }
    s->spent += runs && chosen != first;
    add_step(s, &c[chosen]);
    return chosen;
}

void schedule_policy_init(struct schedule_policy *s)
{
    memset(s, 0, sizeof(*s));
    s->base = (struct sched_policy){pick, preempt};
}

void schedule_policy_free(struct schedule_policy *s)
{
    mem_free(s->decisions);
    mem_free(s->steps);
    mem_free(s->change);
    mem_free(s->fallen);
}

void schedule_policy_start(struct schedule_policy *s, const uint8_t *script, size_t len)
{
    s->script = script;
    s->script_len = len;
    s->n_decisions = s->n_steps = 0;
    s->spent = 0;
    s->last = UINT32_MAX;
    s->random = false;
    s->n_fallen = 0;
}

void schedule_policy_random(struct schedule_policy *s, uint64_t seed, unsigned depth,
                            uint64_t length)
{
    struct rng rng;
    schedule_policy_start(s, NULL, 0);
    s->random = true;
    s->seed = seed;
    s->depth = depth;
    s->change = mem_realloc(s->change, (depth + 1) * sizeof(*s->change));
    s->fallen = mem_realloc(s->fallen, (depth + 1) * sizeof(*s->fallen));
    rng_seed(&rng, seed);
    for (unsigned i = 0; i < depth; i++) {
        s->change[i] = rng_below(&rng, length ? length : 1);
    }
}

void schedule_policy_id(const struct schedule_policy *s, struct strbuf *out)
{
    const char *sep = "";
    for (size_t i = 0; i < s->n_decisions; i++) {
        const struct schedule_decision *d = &s->decisions[i];
        if (d->chosen != d->first) {
            strbuf_printf(out, "%s%zu:%u", sep, i, d->chosen);
            sep = ",";
        }
    }
    strbuf_puts(out, *sep ? "" : "-");
}

int schedule_policy_parse(const char *id, uint8_t **script, size_t *len, struct error **err)
{
    *script = NULL;
    *len = 0;
    while (strcmp(id, "-") && *id) {
        char *end;
        unsigned long at = strtoul(id, &end, 10),
                      choice = *end == ':' ? strtoul(end + 1, &end, 10) : SCHEDULE_CHOICES;
        if (at >= SCHEDULE_STEPS || at < *len || choice >= SCHEDULE_CHOICES ||
            (*end && *end != ',')) {
            mem_free(*script);
            *script = NULL;
            return error_set(err, EINVAL, "no schedule: '%s'", id);
        }
        *script = mem_realloc(*script, at + 1);
        memset(*script + *len, UINT8_MAX, at - *len); /* no choice: the first one */
        (*script)[at] = (uint8_t)choice;
        *len = at + 1;
        id = *end ? end + 1 : end;
    }
    return 0;
}
