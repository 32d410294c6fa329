/*
 * Stage crash: every state that a power cut may leave of small programs, on the reference's two
 * profiles in process.
 *
 * One result a profile and image: how many states were judged, or each finding with its reproducer.
 * The specials always run; of the pairs of the exhaustive set, and of seeded programs, as many as
 * the budget allows.
 */
#include "harness/campaign/campaign.h"
#include "harness/campaign/explore_stages.h"
#include "harness/campaign/explored.h"
#include "harness/explore/crash_explore.h"
#include "harness/programs/crash_programs.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "ref/base/mem.h"

struct crash_stage {
    struct campaign *c;
    const struct subject *subject;
    struct sandbox *sb;
    struct crash_options options;
    struct crash_counts counts; /* of the image at hand */
};

static void keep(void *opaque, const struct crash_finding *f)
{
    struct explored *first = opaque;
    if (!first->why) {
        explored_set(first, NULL, NULL, f->id, f->why);
    }
}

/* A state hangs on its program, so only the program can be smaller. */
static bool explore(void *opaque, const struct program *p, const struct explored *only,
                    const struct failure *alike, struct explored *first)
{
    struct crash_stage *x = opaque;
    struct crash_options o = x->options;
    struct error *err = NULL;
    o.alike = alike;
    int ret = crash_explore(x->sb, p, &o, keep, first, &x->counts, &err);
    if (ret < 0 && !alike) {
        char *name = program_title(p, "run");
        campaign_report(x->c, "crash", x->subject, p->format, name, VERDICT_FAIL, err->msg, NULL);
        mem_free(name);
    }
    error_free(err);
    return first->why != NULL;
}

static void run_one(struct crash_stage *x, struct program *p)
{
    struct explored f = {0};
    if (explore(x, p, NULL, NULL, &f)) {
        struct crash_counts counts = x->counts;
        explored_shrink_in(x->c, explore, x, p, &f);
        x->counts = counts;
        char *repro = explored_draw(x->sb, p, &f, crash_repro(p, &x->options, f.state));
        char *name = program_title(p, f.state);
        campaign_report(x->c, "crash", x->subject, p->format, name, VERDICT_FAIL, f.why, repro);
        mem_free(name);
        mem_free(repro);
    }
    explored_free(&f);
    program_free(p);
}

static void close_image(struct crash_stage *x, const char *format, const char *name)
{
    struct store *st = x->c->store;
    char detail[96];
    snprintf(detail, sizeof(detail), "%llu distinct states of %llu, %llu programs cut off",
             (unsigned long long)x->counts.distinct, (unsigned long long)x->counts.states,
             (unsigned long long)x->counts.cut_off);
    if (!x->counts.findings) {
        campaign_report(x->c, "crash", x->subject, format, name, VERDICT_PASS, detail, NULL);
    }
    store_count(st, "crash", x->subject->name, "cuts", (int64_t)x->counts.cuts);
    store_count(st, "crash", x->subject->name, "states", (int64_t)x->counts.states);
    store_count(st, "crash", x->subject->name, "distinct", (int64_t)x->counts.distinct);
    store_count(st, "crash", x->subject->name, "nested", (int64_t)x->counts.nested);
    store_count(st, "crash", x->subject->name, "programs cut off", (int64_t)x->counts.cut_off);
    for (unsigned e = 0; e < CRASH_EPOCHS; e++) {
        char key[32];
        snprintf(key, sizeof(key), "epoch:%u%s", e, e == CRASH_EPOCHS - 1 ? "+" : "");
        if (x->counts.epoch[e]) {
            store_count(st, "crash", x->subject->name, key, (int64_t)x->counts.epoch[e]);
        }
    }
    memset(&x->counts, 0, sizeof(x->counts));
}

static void run_image(struct crash_stage *x, size_t image, unsigned programs)
{
    struct rng rng;
    struct program p;
    rng_seed(&rng, x->c->seed * 1000 + image);
    for (unsigned n = 0; n < programs; n++) {
        if (n % 4 == 3) {
            crash_random(image, &rng, 8, &p);
        } else {
            crash_program(image, 3, rng_below(&rng, crash_program_count(3)), &p);
        }
        run_one(x, &p);
    }
    const char *line = crash_image(image);
    close_image(x, crash_image_format(image), line);
}

static void run_subject(struct crash_stage *x)
{
    struct program p;
    size_t images = crash_image_count();
    unsigned each = MAX(x->c->count / 4, 1);
    bool any = false;
    for (size_t i = 0; i < crash_special_count(); i++) {
        crash_special(i, &p);
        if (campaign_wants_special(x->c, &p)) {
            run_one(x, &p);
            any = true;
        } else {
            program_free(&p);
        }
    }
    if (any) {
        close_image(x, campaign_special_format(x->c), "specials");
    }
    for (size_t i = 0; i < images; i++) {
        campaign_progress(x->c, "crash", i, images);
        if (campaign_wants_image(x->c, crash_image(i))) {
            run_image(x, i, each);
        }
    }
    campaign_progress(x->c, "crash", images, images);
}

int stage_crash(struct campaign *c, struct error **err)
{
    c->shrunk = 0;
    for (unsigned i = 0; i < c->n_subjects; i++) {
        const struct profile *profile = subject_profile(c->subjects[i]);
        if (!profile) {
            continue;
        }
        struct crash_stage x = {
            .c = c, .subject = c->subjects[i], .options = crash_options_default};
        x.options.bounds.max_states = 300;
        x.options.bounds.max_built = 3000;
        x.options.bounds.seed = c->seed;
        x.options.max_findings = 1;
        x.sb = sandbox_new(c->process, profile, i == 0 ? c->planted : PLANT_NONE);
        run_subject(&x);
        sandbox_free(x.sb);
    }
    return 0;
}

int repro_crash(struct campaign *c, const char *subject, const char *text, struct error **err)
{
    char id[256];
    const char *at = strstr(text, "# crash: state ");
    if (!at || sscanf(at, "# crash: state %255s sector", id) != 1) {
        return error_set(err, EINVAL,
                         "no crash state in the reproducer: '# crash: state ID sector N'");
    }
    struct program p;
    int ret = program_parse(text, &p, err);
    if (ret < 0) {
        return ret;
    }
    struct crash_options o = crash_options_default;
    struct first_finding first = {0};
    struct crash_counts counts = {0};
    struct sandbox *sb = sandbox_new(c->process, profile_named(subject), c->planted);
    o.only = id;
    ret = crash_explore(sb, &p, &o, first_crash, &first, &counts, err);
    if (ret == 0 && first.why) {
        error_set(err, EILSEQ, "%s", first.why);
        ret = 1;
    }
    mem_free(first.why);
    sandbox_free(sb);
    program_free(&p);
    return ret;
}
