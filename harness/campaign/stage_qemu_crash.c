/*
 * Stage qemu-crash: states that a power cut or a failed request may leave of an unmodified QEMU's
 * images, every format.
 *
 * Seeded programs of each image of outside_programs.h run on simulated disks behind FUSE, and one
 * operation of each beside as many faults as FAULTS says; QEMU judges what is left.  Where there is
 * no QEMU or no FUSE the stage says that it was skipped. Reproducers hold the captured log, so they
 * need no FUSE.
 */
#include "harness/campaign/campaign.h"
#include "harness/campaign/explore_stages.h"
#include "harness/campaign/repro.h"
#include "harness/outside/outside_explore.h"
#include "harness/programs/outside_programs.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "ref/base/mem.h"

#define STAGE      "qemu-crash"
#define MAX_STATES 24 /* of one program */
#define FAULTS     3  /* the first requests of each kind fail */

struct qemu_stage {
    struct campaign *c;
    const struct subject *subject;
    struct outside *x;
    struct outside_options options;
    struct outside_counts counts; /* of the image at hand */
    struct outside_fault_counts faults;
    const struct program *p; /* at hand */
    char *id, *why;          /* of its first finding */
    char *body, *capture;    /* its reproducer, and what the file has beside */
};

static void remember(void *opaque, const struct crash_finding *f)
{
    struct qemu_stage *s = opaque;
    if (!s->id) {
        s->id = str_dup(f->id);
        s->why = str_dup(f->why);
        s->body = outside_repro(s->p, &s->options, f->id, f->timeline);
    }
}

static void remember_fault(void *opaque, const struct fault_finding *f, const struct capture *c)
{
    struct qemu_stage *s = opaque;
    if (!s->id) {
        struct strbuf text = STRBUF_INIT;
        capture_print(c, &text);
        s->id = fault_finding_id(f);
        s->why = str_dup(f->why);
        s->body = outside_fault_repro(s->p, f);
        s->capture = strbuf_take(&text);
    }
}

/*
 * The capture goes into the reproducer's file only: it holds what QEMU drew at random (identifiers,
 * dates), and results depend on the seed alone.
 */
static void report(struct qemu_stage *s, const char *title)
{
    char *id;
    campaign_report(s->c, STAGE, s->subject, s->p->format, title, VERDICT_FAIL, s->why, s->body);
    char *text = repro_text(STAGE, s->subject->name, s->why, s->body, &id);
    char *whole = str_fmt("%s%s", text, s->capture ? s->capture : "");
    repro_save(s->c, id, whole);
    mem_free(whole);
    mem_free(text);
    mem_free(id);
}

static void begin(struct qemu_stage *s, const struct program *p)
{
    s->p = p;
    s->id = s->why = s->body = s->capture = NULL;
}

/* ret and err (freed): of the run; what: names it where it could not be done. */
static void end(struct qemu_stage *s, int ret, struct error *err, const char *what)
{
    char *title = program_title(s->p, ret < 0 ? what : s->id ? s->id : "-");
    if (ret < 0) {
        campaign_report(s->c, STAGE, s->subject, s->p->format, title, VERDICT_SUBJECT_ERROR,
                        err ? err->msg : "cannot run", NULL);
    } else if (s->id) {
        report(s, title);
    }
    error_free(err);
    mem_free(title);
    mem_free(s->id);
    mem_free(s->why);
    mem_free(s->body);
    mem_free(s->capture);
}

static void run_one(struct qemu_stage *s, const struct program *p)
{
    struct error *err = NULL;
    begin(s, p);
    int ret =
        outside_crash_program(s->x, p, &s->options, remember, s, &s->counts, &s->capture, &err);
    end(s, ret, err, "run");
}

static void fail_one(struct qemu_stage *s, const struct program *p)
{
    struct fault_options o = fault_options_default;
    struct error *err = NULL;
    begin(s, p);
    o.modes = fault_modes_parse("EIO,short");
    o.kmax = FAULTS;
    o.cuts = 0;
    o.max_findings = 1;
    int ret = outside_faults(s->x, p, &o, remember_fault, s, &s->faults, &err);
    end(s, ret, err, "faults");
}

static void close_image(struct qemu_stage *s, const char *line)
{
    char detail[64], format[16] = "";
    sscanf(line, "image %15s", format);
    snprintf(detail, sizeof(detail), "%llu states, %llu faults",
             (unsigned long long)s->counts.crash.distinct, (unsigned long long)s->faults.fired);
    if (!s->counts.crash.findings && !s->faults.findings) {
        campaign_report(s->c, STAGE, s->subject, format, line, VERDICT_PASS, detail, NULL);
    }
    store_count(s->c->store, STAGE, s->subject->name, "cuts", (int64_t)s->counts.crash.cuts);
    store_count(s->c->store, STAGE, s->subject->name, "states", (int64_t)s->counts.crash.states);
    store_count(s->c->store, STAGE, s->subject->name, "judged", (int64_t)s->counts.crash.distinct);
    store_count(s->c->store, STAGE, s->subject->name, "faults", (int64_t)s->faults.fired);
    memset(&s->counts, 0, sizeof(s->counts));
    memset(&s->faults, 0, sizeof(s->faults));
}

static void run_image(struct qemu_stage *s, size_t image, unsigned programs)
{
    struct rng rng;
    struct program p;
    rng_seed(&rng, s->c->seed * 1000 + image);
    for (unsigned n = 0; n < programs; n++) {
        outside_random(image, &rng, 6, &p);
        run_one(s, &p);
        program_free(&p);
        outside_program(image, 1, rng_below(&rng, outside_program_count(image, 1)), &p);
        fail_one(s, &p);
        program_free(&p);
    }
    close_image(s, outside_image(image));
}

static void skip(struct campaign *c, const struct subject *s, const char *why)
{
    campaign_report(c, STAGE, s ? s : c->subjects[0], "-", "all", VERDICT_SKIP, why, NULL);
}

static struct outside *open_outside(struct campaign *c, const struct subject *subject,
                                    const char *programs, struct error **err)
{
    char *name = str_fmt("%s-sim", subject->name), *dir = campaign_scratch(c, name);
    struct outside *x = outside_new(subject->name, programs, dir, err);
    mem_free(name);
    mem_free(dir);
    return x;
}

static void run_subject(struct campaign *c, const struct subject *subject, const char *programs)
{
    struct error *err = NULL;
    struct qemu_stage s = {.c = c, .subject = subject, .options = outside_options_default};
    size_t images = outside_image_count();
    s.x = open_outside(c, subject, programs, &err);
    if (!s.x || outside_no_capture(s.x)) {
        skip(c, subject, s.x ? outside_no_capture(s.x) : err->msg);
    } else {
        s.options.crash.bounds.max_states = MAX_STATES;
        s.options.crash.bounds.max_built = 10 * MAX_STATES;
        s.options.crash.bounds.seed = c->seed;
        s.options.crash.max_findings = 1;
        s.options.drop_flushes = c->planted == PLANT_DROP_FLUSH;
        for (size_t i = 0; i < images; i++) {
            campaign_progress(c, STAGE, i, images);
            if (campaign_wants_image(c, outside_image(i))) {
                run_image(&s, i, MAX(c->count / 100, 1));
            }
        }
        campaign_progress(c, STAGE, images, images);
    }
    error_free(err);
    outside_free(s.x);
}

int stage_qemu_crash(struct campaign *c, struct error **err)
{
    const char *programs;
    bool any = false;
    for (unsigned i = 0; i < c->n_subjects; i++) {
        if (subject_is_qemu(c->subjects[i], &programs)) {
            any = true;
            run_subject(c, c->subjects[i], programs);
        }
    }
    if (!any) {
        skip(c, NULL, "no QEMU here");
    }
    return 0;
}

static int run_repro(struct campaign *c, struct outside *x, const char *text, const char *id,
                     struct error **err)
{
    struct outside_options o = outside_options_default;
    struct outside_counts n = {0};
    struct first_finding first = {0};
    struct capture capture;
    struct program p;
    int ret = program_parse(text, &p, err);
    if (ret < 0) {
        return ret;
    }
    o.crash.only = strcmp(id, "none") ? id : NULL; /* none: all states */
    o.continue_every = 1;
    o.drop_flushes = c->planted == PLANT_DROP_FLUSH;
    if (capture_is_in(text)) {
        ret = capture_scan(x, text, &p, &capture, err);
        if (ret == 0) {
            ret = outside_crash(x, &capture, &o, first_crash, &first, &n, err);
            capture_free(&capture);
        }
    } else {
        ret = outside_crash_program(x, &p, &o, first_crash, &first, &n, NULL, err);
    }
    if (ret == 0 && first.why) {
        error_set(err, EILSEQ, "%s", first.why);
        ret = 1;
    }
    mem_free(first.why);
    program_free(&p);
    return ret;
}

int repro_qemu_crash(struct campaign *c, const char *subject, const char *text, struct error **err)
{
    char id[256];
    const char *programs = NULL, *at = strstr(text, "# crash: state ");
    struct subject *s = campaign_subject(c, subject);
    if (!at || sscanf(at, "# crash: state %255s sector", id) != 1) {
        return error_set(err, EINVAL,
                         "no crash state in the reproducer: '# crash: state ID sector N'");
    }
    if (!s || !subject_is_qemu(s, &programs)) {
        return error_set(err, ENOENT, "no QEMU here that is called '%s'", subject);
    }
    struct outside *x = open_outside(c, s, programs, err);
    int ret = x ? run_repro(c, x, text, id, err) : -ENOTSUP;
    outside_free(x);
    return ret;
}
