/*
 * Findings of explorers, made small.  See explored.h.
 */
#include "harness/campaign/explored.h"

#include <string.h>
#include "harness/explore/timeline.h"
#include "harness/programs/shrink.h"
#include "ref/base/mem.h"

#define PROGRAM_ATTEMPTS 60
#define REST_ATTEMPTS    30 /* for the faults, and for the schedule */

void explored_set(struct explored *e, const char *schedule, const char *fault, const char *state,
                  const char *why)
{
    *e = (struct explored){.schedule = schedule ? str_dup(schedule) : NULL,
                           .fault = fault ? str_dup(fault) : NULL,
                           .state = state ? str_dup(state) : NULL,
                           .why = str_dup(why)};
}

void explored_free(struct explored *e)
{
    mem_free(e->schedule);
    mem_free(e->fault);
    mem_free(e->state);
    mem_free(e->why);
    memset(e, 0, sizeof(*e));
}

/* Ids of states that are cut begin so. */
static bool is_cut(const struct explored *e)
{
    return e->state && e->state[0] == 'c';
}

struct shrinking {
    explore_program *explore;
    void *opaque;
    const struct program *p;
    struct failure alike;
    struct explored *best;
};

static bool fails(struct shrinking *s, const struct program *p, const struct explored *only)
{
    struct explored found = {0};
    if (!s->explore(s->opaque, p, only, &s->alike, &found)) {
        explored_free(&found);
        return false;
    }
    explored_free(s->best);
    *s->best = found;
    return true;
}

static bool program_fails(const struct program *p, void *opaque)
{
    return fails(opaque, p, NULL);
}

static bool fault_fails(const char *plan, void *opaque)
{
    struct shrinking *s = opaque;
    char *schedule = s->best->schedule ? str_dup(s->best->schedule) : NULL;
    struct explored only = {.schedule = schedule, .fault = (char *)plan};
    bool bad = fails(s, s->p, &only);
    mem_free(schedule);
    return bad;
}

static bool schedule_fails(const char *id, void *opaque)
{
    struct shrinking *s = opaque;
    char *fault = s->best->fault ? str_dup(s->best->fault) : NULL;
    struct explored only = {.schedule = (char *)id, .fault = fault};
    bool bad = fails(s, s->p, &only);
    mem_free(fault);
    return bad;
}

unsigned explored_shrink(explore_program *explore, void *opaque, struct program *p,
                         struct explored *f)
{
    char *why = str_dup(f->why);
    struct shrinking s = {
        .explore = explore, .opaque = opaque, .p = p, .alike = {why, is_cut(f)}, .best = f};
    unsigned attempts = shrink_program(p, program_fails, &s, PROGRAM_ATTEMPTS);
    if (f->fault) {
        char *plan = str_dup(f->fault);
        attempts += shrink_faults(&plan, f->schedule, fault_fails, &s, REST_ATTEMPTS);
        mem_free(plan);
    }
    if (f->schedule) {
        char *id = str_dup(f->schedule);
        attempts += shrink_schedule(&id, schedule_fails, &s, REST_ATTEMPTS);
        mem_free(id);
    }
    mem_free(why);
    return attempts;
}

void explored_shrink_in(struct campaign *c, explore_program *explore, void *opaque,
                        struct program *p, struct explored *f)
{
    if (!c->failed && c->shrunk < SHRINKS_A_STAGE) {
        c->shrunk++;
        explored_shrink(explore, opaque, p, f);
    }
}

char *explored_draw(struct sandbox *sb, const struct program *p, const struct explored *f,
                    char *repro)
{
    struct timeline_run how = {.fault = f->fault, .schedule = f->schedule, .state = f->state};
    struct strbuf text = STRBUF_INIT;
    if (f->died) {
        return repro;
    }
    strbuf_puts(&text, repro);
    timeline_run(sb, p, &how, &text);
    mem_free(repro);
    return strbuf_take(&text);
}
