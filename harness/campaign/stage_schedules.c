/*
 * Stage schedules: operations beside each other in every order within a bound, on the reference's
 * two profiles in process.
 *
 * One result a profile and image: how many schedules were run, or each finding, its program shrunk,
 * with its reproducer.  Of the pairs and triples of the exhaustive sets, and of seeded groups, as
 * many as the budget allows; some are looked at with more power cuts, and with faults.
 */
#include "harness/campaign/campaign.h"
#include "harness/campaign/explore_stages.h"
#include "harness/campaign/explored.h"
#include "harness/programs/schedule_programs.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "ref/base/mem.h"

struct schedule_stage {
    struct campaign *c;
    const struct subject *subject;
    struct sandbox *sb;
    struct schedule_options options;
    struct schedule_counts counts; /* of the image at hand */
    bool reported;
};

/* ---- one finding ---- */

static void keep(void *opaque, const struct schedule_finding *f)
{
    struct explored *first = opaque;
    if (!first->why) {
        explored_set(first, f->schedule, f->fault, f->state, f->why);
    }
}

static bool explore(void *opaque, const struct program *p, const struct explored *only,
                    const struct failure *alike, struct explored *first)
{
    struct schedule_stage *x = opaque;
    struct schedule_options o = x->options;
    struct error *err = NULL;
    o.max_findings = 1;
    o.alike = alike;
    o.only = only ? only->schedule : NULL;
    o.fault = only ? only->fault : NULL;
    int ret = schedule_explore(x->sb, p, &o, keep, first, &x->counts, &err);
    if (ret < 0 && !alike) {
        explored_set(first, "-", NULL, NULL, err ? err->msg : "cannot run");
    }
    error_free(err);
    return first->why != NULL;
}

static void report(struct schedule_stage *x, const struct program *p, const struct explored *k)
{
    struct schedule_finding f = {k->schedule, k->fault, k->state, k->why};
    char *repro = explored_draw(x->sb, p, k, schedule_repro(p, &f)),
         *name = program_title(p, k->schedule);
    campaign_report(x->c, "schedules", x->subject, p->format, name, VERDICT_FAIL, k->why, repro);
    x->reported = true;
    mem_free(name);
    mem_free(repro);
}

static void run_one(struct schedule_stage *x, struct program *p)
{
    struct explored f = {0};
    if (explore(x, p, NULL, NULL, &f)) {
        struct schedule_counts counts = x->counts;
        explored_shrink_in(x->c, explore, x, p, &f);
        x->counts = counts;
        report(x, p, &f);
    }
    explored_free(&f);
    program_free(p);
}

/* ---- the stage ---- */

static void close_image(struct schedule_stage *x, const char *line)
{
    struct store *st = x->c->store;
    const char *name = x->subject->name;
    char format[16] = "";
    sscanf(line, "image %15s", format);
    if (!x->reported) {
        char *detail =
            str_fmt("%llu schedules, %llu crash states", (unsigned long long)x->counts.schedules,
                    (unsigned long long)x->counts.states);
        campaign_report(x->c, "schedules", x->subject, format, line, VERDICT_PASS, detail, NULL);
        mem_free(detail);
    }
    store_count(st, "schedules", name, "schedules", (int64_t)x->counts.schedules);
    store_count(st, "schedules", name, "passed over", (int64_t)x->counts.skipped);
    store_count(st, "schedules", name, "steps", (int64_t)x->counts.steps);
    store_count(st, "schedules", name, "states", (int64_t)x->counts.states);
    memset(&x->counts, 0, sizeof(x->counts));
    x->reported = false;
}

/* Few schedules of a program, many programs: most of what goes wrong does so with one preemption.
 */
static void draw(struct schedule_stage *x, size_t image, unsigned n, struct rng *rng,
                 struct program *p)
{
    x->options.cuts = n % 16 == 4 ? 4 : 0;
    x->options.fail_max = n % 32 == 14 ? 1 : 0;
    x->options.max = x->options.fail_max ? 20 : 100;
    x->options.pct = x->options.fail_max ? 5 : 15;
    switch (n % 4) {
    case 1:
        schedule_close(image, rng_below(rng, schedule_close_count()), p);
        break;
    case 2:
        schedule_random(image, rng, p);
        break;
    case 3:
        if (n % 8 == 7) {
            schedule_drain(image, rng_below(rng, schedule_drain_count()), p);
        } else {
            schedule_reuse(image, rng_below(rng, schedule_reuse_count()), p);
        }
        break;
    default:
        schedule_pair(image, rng_below(rng, schedule_pair_count()), p);
        break;
    }
}

static void run_image(struct schedule_stage *x, size_t image, unsigned programs)
{
    struct rng rng;
    struct program p;
    bool raw = strstr(schedule_image(image), "image raw") != NULL;
    rng_seed(&rng, x->c->seed * 1000 + image);
    for (unsigned n = 0; n < programs; n++) {
        draw(x, image, n, &rng, &p);
        run_one(x, &p);
    }
    /* Who relies on what another request has only half done: that one fails. */
    x->options.fail_max = 2;
    x->options.max = 20;
    x->options.pct = x->options.cuts = 0;
    for (size_t n = 0; n < schedule_reliant_count(); n++) {
        schedule_reliant(image, n, &p);
        run_one(x, &p);
    }
    x->options.fail_max = 0;
    /* Where requests meet nothing but each other, and on the first image: all of them. */
    x->options.max = 20;
    x->options.pct = raw ? 5 : 0;
    for (size_t n = 0; (raw || image == 0) && n < schedule_close_count(); n++) {
        if (raw && n % 4 > 1) {
            continue; /* it has nothing that a prelude could make cold or zeroed */
        }
        schedule_close(image, n, &p);
        run_one(x, &p);
    }
    close_image(x, schedule_image(image));
}

/*
 * Programs of an image.  Formats with fewer structures than qcow2 have fewer, but where they are
 * all that is wanted.  A vhdx log makes schedules long, and each of a luks volume derives its key
 * anew.
 */
static unsigned programs_of(const struct campaign *c, const char *line)
{
    bool main = strstr(line, "image qcow2") || strstr(line, "image raw");
    unsigned part = strstr(line, "image luks")   ? 50
                    : strstr(line, "image vhdx") ? 25
                    : main || c->format          ? 2
                                                 : 8;
    return MAX(c->count / part, 1);
}

int stage_schedules(struct campaign *c, struct error **err)
{
    size_t images = schedule_image_count();
    c->shrunk = 0;
    for (unsigned i = 0; i < c->n_subjects; i++) {
        const struct profile *profile = subject_profile(c->subjects[i]);
        if (!profile) {
            continue;
        }
        struct schedule_stage x = {
            .c = c, .subject = c->subjects[i], .options = schedule_options_default};
        x.options.seed = c->seed;
        x.sb = sandbox_new(c->process, profile, i == 0 ? c->planted : PLANT_NONE);
        for (size_t k = 0; k < images; k++) {
            campaign_progress(c, "schedules", k, images);
            if (campaign_wants_image(c, schedule_image(k))) {
                run_image(&x, k, programs_of(c, schedule_image(k)));
            }
        }
        campaign_progress(c, "schedules", images, images);
        sandbox_free(x.sb);
    }
    return 0;
}

/* The word behind `key` in the first line, or NULL; mem_free(). */
static char *word_behind(const char *line, const char *key)
{
    const char *at = strstr(line, key), *end = strchr(line, '\n');
    if (!at || (end && at > end)) {
        return NULL;
    }
    at += strlen(key);
    return str_ndup(at, strcspn(at, " \n"));
}

int repro_schedules(struct campaign *c, const char *subject, const char *text, struct error **err)
{
    const char *line = strstr(text, "# schedules: ");
    struct program p;
    struct explored k = {0};
    if (!line) {
        return error_set(err, EINVAL, "no schedule in the reproducer: '# schedules: ID'");
    }
    int ret = program_parse(text, &p, err);
    if (ret < 0) {
        return ret;
    }
    char *id = word_behind(line, "# schedules: "), *fault = word_behind(line, " fault "),
         *state = word_behind(line, " state ");
    struct schedule_options o = schedule_options_default;
    struct schedule_counts counts = {0};
    struct sandbox *sb = sandbox_new(c->process, profile_named(subject), c->planted);
    o.only = id;
    o.fault = fault;
    o.state = state;
    ret = schedule_explore(sb, &p, &o, keep, &k, &counts, err);
    if (ret == 0 && k.why) {
        error_set(err, EILSEQ, "%s", k.why);
        ret = 1;
    }
    explored_free(&k);
    mem_free(id);
    mem_free(fault);
    mem_free(state);
    sandbox_free(sb);
    program_free(&p);
    return ret;
}
