/*
 * Sets of programs on an unmodified QEMU.  See outside_set.h.
 */
#include "harness/cli/outside_set.h"

#include <stdio.h>
#include <string.h>
#include "harness/campaign/campaign.h"
#include "harness/campaign/explore_stages.h"
#include "harness/cli/cli.h"
#include "harness/programs/letters.h"
#include "harness/programs/outside_programs.h"
#include "ref/base/mem.h"

struct running {
    const struct outside_set *s;
    const struct program *p; /* at hand */
    struct outside_counts crash;
    struct outside_fault_counts faults;
    uint64_t programs, findings, known;
};

/* program: as a reproducer has it, which is what the list's patterns are for. */
static void tell(struct running *r, const char *why, const char *id, const char *program)
{
    struct difference_facts f = {"qemu-crash", r->s->subject, outside_version(r->s->x),
                                 r->p->format, why,           program};
    const struct divergence *known = divergences_match(r->s->known, &f);
    char *title = program_title(r->p, id);
    r->findings++;
    r->known += known != NULL;
    printf("%s%s %s | %s\n", known ? "known " : "FAIL", known ? known->id : "", why, title);
    fflush(stdout);
    mem_free(title);
}

static void hear_crash(void *opaque, const struct crash_finding *f)
{
    struct running *r = opaque;
    char *program = outside_repro(r->p, &r->s->crash, f->id, NULL);
    tell(r, f->why, f->id, program);
    mem_free(program);
}

static void hear_fault(void *opaque, const struct fault_finding *f, const struct capture *c)
{
    struct running *r = opaque;
    char *program = outside_fault_repro(r->p, f), *id = fault_finding_id(f);
    tell(r, f->why, id, program);
    mem_free(program);
    mem_free(id);
}

static int run_one(struct running *r, const struct program *p)
{
    const struct outside_set *s = r->s;
    struct error *err = NULL;
    r->p = p;
    r->programs++;
    int ret = s->faults
                  ? outside_faults(s->x, p, s->faults, hear_fault, r, &r->faults, &err)
                  : outside_crash_program(s->x, p, &s->crash, hear_crash, r, &r->crash, NULL, &err);
    if (ret < 0) {
        char *title = program_title(p, "run");
        fprintf(stderr, "blkref: %s: %s\n", title, err ? err->msg : "cannot run");
        mem_free(title);
    }
    error_free(err);
    return ret;
}

static bool wanted(const struct outside_set *s, const struct program *p)
{
    for (size_t i = 0; s->with && i < p->n_ops; i++) {
        if (!strcmp(op_kind_name(p->ops[i].kind), s->with)) {
            return true;
        }
    }
    return !s->with;
}

static int run_image(struct running *r, size_t image)
{
    const struct outside_set *s = r->s;
    size_t total = s->ops ? outside_program_count(image, s->ops) : s->random;
    double start = clock_seconds();
    struct rng rng;
    int ret = 0;
    rng_seed(&rng, s->seed * 1000 + image);
    for (size_t i = 0; i < total; i++) {
        struct program p;
        if (s->ops) {
            outside_program(image, s->ops, i, &p);
        } else {
            outside_random(image, &rng, 8, &p);
        }
        if (i % s->parts == s->part && wanted(s, &p)) {
            ret = MIN(run_one(r, &p), ret);
            cli_set_progress(image, outside_image_count(), i, total, start);
        }
        program_free(&p);
    }
    return ret;
}

static void print_sum(const struct running *r)
{
    if (r->s->faults) {
        printf("%llu runs, %llu faults fired", (unsigned long long)r->faults.runs,
               (unsigned long long)r->faults.fired);
    } else {
        const struct crash_counts *n = &r->crash.crash;
        printf("%llu cuts, %llu states, %llu judged, %llu shown to it", (unsigned long long)n->cuts,
               (unsigned long long)n->states, (unsigned long long)n->distinct,
               (unsigned long long)r->crash.looked);
    }
    printf(", %llu findings, %llu of them known\n", (unsigned long long)r->findings,
           (unsigned long long)r->known);
}

static void add_up(struct running *all, const struct running *r)
{
    all->crash.crash.cuts += r->crash.crash.cuts;
    all->crash.crash.states += r->crash.crash.states;
    all->crash.crash.distinct += r->crash.crash.distinct;
    all->crash.looked += r->crash.looked;
    all->faults.runs += r->faults.runs;
    all->faults.fired += r->faults.fired;
    all->findings += r->findings;
    all->known += r->known;
}

int outside_set_run(const struct outside_set *s)
{
    struct running all = {.s = s};
    int ret = 0;
    for (size_t i = 0; i < outside_image_count(); i++) {
        struct running r = {.s = s};
        if (!program_image_wanted(outside_image, outside_image_count(), i, s->image)) {
            continue;
        }
        ret = MIN(run_image(&r, i), ret);
        if (r.programs) {
            printf("%s: ", outside_image(i));
            print_sum(&r);
        }
        add_up(&all, &r);
    }
    for (size_t i = 0; i < s->known->n; i++) {
        const struct divergence *d = &s->known->entries[i];
        if (d->seen) {
            printf("known %s: %u\n", d->id, d->seen);
        }
    }
    printf("%s %s: ", s->subject, outside_version(s->x));
    print_sum(&all);
    return ret < 0 ? ret : all.findings > all.known;
}
