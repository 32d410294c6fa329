/*
 * Stage faults: each labelled I/O of small programs fails, on the reference's two profiles in
 * process.
 *
 * One result a profile and image, and one for each label of each format's driver: one that no
 * program reached, on either profile, is a finding.
 */
#include "harness/campaign/campaign.h"
#include "harness/campaign/explore_stages.h"
#include "harness/campaign/explored.h"
#include "harness/explore/label_cover.h"
#include "harness/programs/crash_programs.h"
#include "harness/programs/fault_programs.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "ref/base/mem.h"
#include "ref/tools/drivers.h"

struct fault_stage {
    struct campaign *c;
    const struct subject *subject;
    struct sandbox *sb;
    struct fault_options options;
    struct fault_counts counts; /* of the image at hand */
    struct label_cover *cover;  /* of all images */
    const char *like;           /* the plan of a finding that is made smaller, or NULL */
};

static void keep(void *opaque, const struct fault_finding *f)
{
    struct explored *first = opaque;
    if (!first->why) {
        explored_set(first, NULL, f->fault, f->state, f->why);
        first->died = f->died;
    }
}

/* alike: what is made smaller goes wrong in the way that the finding did. */
static bool explore(void *opaque, const struct program *p, const struct explored *only,
                    const struct failure *alike, struct explored *first)
{
    struct fault_stage *x = opaque;
    struct fault_options o = x->options;
    struct error *err = NULL;
    o.alike = alike;
    o.only = only ? only->fault : NULL;
    if (alike && x->like) {
        o.modes = fault_modes_like(x->like);
        o.pairs = strchr(x->like, ';') ? o.pairs : 0;
    }
    int ret = fault_explore(x->sb, p, &o, keep, first, &x->counts, &err);
    if (ret < 0 && !alike) {
        char *name = program_title(p, "run");
        campaign_report(x->c, "faults", x->subject, p->format, name, VERDICT_FAIL, err->msg, NULL);
        mem_free(name);
    }
    error_free(err);
    return first->why != NULL;
}

/* What is tried for a finding is no part of the counts. */
static void shrink(struct fault_stage *x, struct program *p, struct explored *f)
{
    struct fault_counts *counts = mem_dup(&x->counts, sizeof(x->counts));
    char *like = str_dup(f->fault);
    x->like = like;
    explored_shrink_in(x->c, explore, x, p, f);
    x->like = NULL;
    x->counts = *counts;
    mem_free(like);
    mem_free(counts);
}

static void run_one(struct fault_stage *x, struct program *p)
{
    struct explored f = {0};
    if (explore(x, p, NULL, NULL, &f)) {
        shrink(x, p, &f);
        struct fault_finding said = {.fault = f.fault, .state = f.state};
        char *repro = explored_draw(x->sb, p, &f, fault_repro(p, &said));
        char *name = program_title(p, f.fault);
        campaign_report(x->c, "faults", x->subject, p->format, name, VERDICT_FAIL, f.why, repro);
        mem_free(name);
        mem_free(repro);
    }
    explored_free(&f);
    program_free(p);
}

static void close_image(struct fault_stage *x, const char *format, const char *name)
{
    char detail[160];
    snprintf(detail, sizeof(detail),
             "%llu faults fired in %llu runs of %llu programs; a bound cut %llu of them off",
             (unsigned long long)x->counts.fired, (unsigned long long)x->counts.runs,
             (unsigned long long)x->counts.programs, (unsigned long long)x->counts.cut_off);
    if (!x->counts.findings) {
        campaign_report(x->c, "faults", x->subject, format, name, VERDICT_PASS, detail, NULL);
    }
    store_count(x->c->store, "faults", x->subject->name, "runs", (int64_t)x->counts.runs);
    store_count(x->c->store, "faults", x->subject->name, "fired", (int64_t)x->counts.fired);
    store_count(x->c->store, "faults", x->subject->name, "pairs", (int64_t)x->counts.pairs);
    store_count(x->c->store, "faults", x->subject->name, "programs", (int64_t)x->counts.programs);
    store_count(x->c->store, "faults", x->subject->name, "cut off", (int64_t)x->counts.cut_off);
    store_count(x->c->store, "faults", x->subject->name, "silent", (int64_t)x->counts.silent);
    store_count(x->c->store, "faults", x->subject->name, "silent, noticed",
                (int64_t)x->counts.noticed);
    store_count(x->c->store, "faults", x->subject->name, "silent, unnoticed",
                (int64_t)x->counts.unnoticed);
    label_cover_add(x->cover, format, &x->counts);
    memset(&x->counts, 0, sizeof(x->counts));
}

static void run_image(struct fault_stage *x, size_t image, unsigned programs)
{
    struct rng rng;
    struct program p;
    rng_seed(&rng, x->c->seed * 1000 + image);
    for (unsigned n = 0; n < programs; n++) {
        if (n % 4 == 3) {
            crash_random(image, &rng, 6, &p);
        } else {
            crash_program(image, 3, rng_below(&rng, crash_program_count(3)), &p);
        }
        run_one(x, &p);
    }
    const char *line = crash_image(image);
    close_image(x, crash_image_format(image), line);
}

/* A column for each way to go wrong. */
static void count_label(void *opaque, const struct label_line *l)
{
    const struct fault_stage *x = opaque;
    bool first = !strcmp(l->format, "qcow2");
    const char *prefix = first ? "" : l->format, *colon = first ? "" : ":";
    char key[96];
    snprintf(key, sizeof(key), "label:%s%s%s", prefix, colon, label_name(l->label));
    store_count(x->c->store, "faults", x->subject->name, key, (int64_t)l->reached);
    for (int m = 0; m < FAULT_MODES; m++) {
        snprintf(key, sizeof(key), "fault:%s%s%s:%s", prefix, colon, label_name(l->label),
                 fault_modes[m].name);
        store_count(x->c->store, "faults", x->subject->name, key, (int64_t)l->failed[m]);
    }
}

static void report_label(void *opaque, const struct label_line *l)
{
    const struct fault_stage *x = opaque;
    char name[64];
    if (x->c->format && strcmp(x->c->format, l->format)) {
        return; /* whoever takes some of a format's images meets some of its labels */
    }
    snprintf(name, sizeof(name), "label %s", label_name(l->label));
    campaign_report(x->c, "faults", x->subject, l->format, name,
                    l->wrong ? VERDICT_FAIL : VERDICT_PASS, l->wrong, NULL);
}

static void run_specials(struct fault_stage *x)
{
    struct program p;
    const char *format;
    for (size_t f = 0; (format = label_cover_format(x->cover, f)); f++) {
        /* Some of these send thousands of requests; each label is met there, that is what they are
         * for. */
        x->options.modes = fault_modes_parse("EIO,ENOSPC,lost,hung,nomem");
        x->options.kmax = 1;
        x->options.pairs = 0;
        for (size_t i = 0; i < crash_special_count(); i++) {
            crash_special(i, &p);
            bool wanted = campaign_wants_format(x->c, p.format, p.options);
            if (wanted && strcmp(p.format, format) == 0) {
                run_one(x, &p);
            } else {
                program_free(&p);
            }
        }
        if (x->counts.programs) {
            close_image(x, format, "specials");
        }
    }
}

static void run_followed(struct fault_stage *x)
{
    struct program p;
    x->options.modes = fault_modes_parse("EIO,EIO+,ENOSPC,short,short+");
    x->options.kmax = 8;
    x->options.pairs = 20;
    for (size_t i = 0; i < fault_program_count(); i++) {
        fault_program(i, &p); /* all qcow2 */
        run_one(x, &p);
    }
    close_image(x, "qcow2", "one fault and what follows it");
}

static void run_subject(struct fault_stage *x)
{
    size_t images = crash_image_count();
    unsigned each = MAX(x->c->count / 16, 1);
    if (!x->c->image) {
        if (campaign_wants_format(x->c, "qcow2", "")) {
            run_followed(x);
        }
        run_specials(x);
    }
    x->options.modes = FAULT_MODES_ALL;
    x->options.kmax = 4;
    x->options.pairs = 10;
    for (size_t i = 0; i < images; i++) {
        campaign_progress(x->c, "faults", i, images);
        if (campaign_wants_image(x->c, crash_image(i))) {
            run_image(x, i, each);
        }
    }
    campaign_progress(x->c, "faults", images, images);
    label_cover_each(x->cover, count_label, x);
}

int stage_faults(struct campaign *c, struct error **err)
{
    struct label_cover *all = label_cover_new(&all_drivers);
    struct fault_stage first = {.c = c};
    c->shrunk = 0;
    for (unsigned i = 0; i < c->n_subjects; i++) {
        const struct profile *profile = subject_profile(c->subjects[i]);
        if (!profile) {
            continue;
        }
        struct fault_stage *x = mem_zalloc(sizeof(*x));
        x->c = c;
        x->subject = c->subjects[i];
        x->options = fault_options_default;
        x->options.max_findings = 1;
        x->options.apart = true;
        x->cover = label_cover_new(&all_drivers);
        x->sb = sandbox_new(c->process, profile, i == 0 ? c->planted : PLANT_NONE);
        run_subject(x);
        label_cover_sum(all, x->cover);
        first.subject = first.subject ? first.subject : x->subject;
        label_cover_free(x->cover);
        sandbox_free(x->sb);
        mem_free(x);
    }
    if (first.subject && !c->image) {
        label_cover_each(all, report_label, &first);
    }
    label_cover_free(all);
    return 0;
}

int repro_faults(struct campaign *c, const char *subject, const char *text, struct error **err)
{
    static const char head[] = "# faults: ";
    const char *at = strstr(text, head);
    struct program p;
    if (!at) {
        return error_set(err, EINVAL, "no fault in the reproducer: '# faults: PLAN'");
    }
    int ret = program_parse(text, &p, err);
    if (ret < 0) {
        return ret;
    }
    at += strlen(head);
    char *plan = str_ndup(at, strcspn(at, " \n"));
    struct fault_options o = fault_options_default;
    struct first_finding first = {0};
    struct fault_counts *counts = mem_zalloc(sizeof(*counts));
    struct sandbox *sb = sandbox_new(c->process, profile_named(subject), c->planted);
    o.only = plan;
    ret = fault_explore(sb, &p, &o, first_fault, &first, counts, err);
    if (ret == 0 && first.why) {
        error_set(err, EILSEQ, "%s", first.why);
        ret = 1;
    }
    mem_free(first.why);
    mem_free(counts);
    mem_free(plan);
    sandbox_free(sb);
    program_free(&p);
    return ret;
}
