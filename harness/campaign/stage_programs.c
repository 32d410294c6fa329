/*
 * Stage "programs": seeded programs on all subjects; and the trace stage, which only makes its
 * programs otherwise.
 */
#include "harness/campaign/stage_programs.h"

#include <errno.h>
#include <stdio.h>
#include "harness/campaign/explore_stages.h"
#include "harness/explore/timeline.h"
#include "harness/oracle/failure_class.h"
#include "harness/programs/generate.h"
#include "harness/programs/shrink.h"
#include "ref/base/mem.h"
#include "ref/base/rng.h"
#include "trace/fio.h"

#define PROGRAM_OPS     12
#define SHRINK_ATTEMPTS 120

struct shrinking {
    struct campaign *c;
    struct subject *s;
    program_run *run;
    const char *first; /* what the finding says */
};

static bool fails_alike(const struct program *p, void *opaque)
{
    struct shrinking *sh = opaque;
    struct finding f;
    bool bad = sh->run(sh->c, sh->s, p, &f);
    bool alike = bad && failure_alike(f.detail, sh->first);
    finding_free(&f);
    return alike;
}

static void shrink(struct campaign *c, struct subject *s, struct program *p, program_run *run,
                   struct finding *f)
{
    struct shrinking sh = {.c = c, .s = s, .run = run, .first = f->detail};
    if (f->kind == DIFF_SUBJECT || c->shrunk >= SHRINKS_A_STAGE) {
        return;
    }
    c->shrunk++;
    shrink_program(p, fails_alike, &sh, SHRINK_ATTEMPTS);
    finding_free(f);
    run(c, s, p, f);
}

/* What a subject in this process did, as the sandbox repeats it: no overlays there. */
static void draw(struct campaign *c, const struct subject *s, const struct program *p,
                 struct strbuf *out)
{
    const struct profile *profile = subject_profile(s);
    for (size_t i = 0; i < p->n_ops; i++) {
        profile = p->ops[i].kind == OP_OVERLAY ? NULL : profile;
    }
    if (profile) {
        struct sandbox *sb = sandbox_new(c->process, profile, PLANT_NONE);
        timeline_run(sb, p, &(struct timeline_run){.sector = 512}, out);
        sandbox_free(sb);
    }
}

void program_judge(struct campaign *c, const char *stage, struct subject *s, const char *name,
                   const struct program *p, program_run *run)
{
    struct finding f;
    if (!run(c, s, p, &f)) {
        campaign_report(c, stage, s, p->format, name, VERDICT_PASS, NULL, NULL);
        return;
    }
    struct program small = program_clone(p);
    struct strbuf text = STRBUF_INIT;
    enum difference kind = f.kind;
    shrink(c, s, &small, run, &f);
    program_print(&text, &small);
    draw(c, s, &small, &text);
    campaign_report(c, stage, s, p->format, name,
                    kind == DIFF_SUBJECT ? VERDICT_SUBJECT_ERROR : VERDICT_FAIL,
                    f.detail ? f.detail : "did not happen again", text.s);
    strbuf_free(&text);
    program_free(&small);
    finding_free(&f);
}

int program_repro(struct campaign *c, const char *subject, const char *text, program_run *run,
                  struct error **err)
{
    struct subject *s = campaign_subject(c, subject);
    struct program p;
    struct finding f;
    if (!s) {
        return error_set(err, ENOENT, "subject '%s' is not here", subject);
    }
    int ret = program_parse(text, &p, err);
    if (ret < 0) {
        return ret;
    }
    if (run(c, s, &p, &f)) {
        error_set(err, EILSEQ, "%s", f.detail);
        ret = 1;
    }
    finding_free(&f);
    program_free(&p);
    return ret;
}

/* ---- programs ---- */

static bool run_beside(struct campaign *c, struct subject *s, const struct program *p,
                       struct finding *out)
{
    struct subject *oracle = c->subjects[0];
    return compare_run(oracle, s == oracle ? NULL : s, p, out);
}

int programs_repro(struct campaign *c, const char *subject, const char *text, struct error **err)
{
    return program_repro(c, subject, text, run_beside, err);
}

int stage_programs(struct campaign *c, struct error **err)
{
    struct rng r;
    c->shrunk = 0;
    campaign_progress(c, "programs", 0, c->count);
    for (unsigned n = 0; n < c->count; n++) {
        struct program p;
        char name[32];
        rng_seed(&r, c->seed * 1000003 + n);
        generate_program(&r, PROGRAM_OPS, 0, campaign_kind(c), &p);
        snprintf(name, sizeof(name), "program-%05u", n);
        for (unsigned i = 0; i < c->n_subjects; i++) {
            program_judge(c, "programs", c->subjects[i], name, &p, run_beside);
            store_count(c->store, "programs", c->subjects[i]->name, "programs", 1);
            store_count(c->store, "programs", c->subjects[i]->name, "operations", (int64_t)p.n_ops);
        }
        program_free(&p);
        campaign_progress(c, "programs", n + 1, c->count);
    }
    return 0;
}

/* ---- trace ---- */

/* A log as fio writes it: sequential stretches, random I/O, trims and syncs on one file. */
static void make_log(struct rng *r, int version, int64_t size, struct fio_log *log)
{
    char *files[] = {"/dev/job.0.0"};
    struct strbuf text = STRBUF_INIT;
    struct fio_entry entries[60];
    struct fio_log made = {.version = version,
                           .files = files,
                           .n_files = 1,
                           .entries = entries,
                           .n_entries = ARRAY_SIZE(entries)};
    int64_t at = 0;
    for (size_t i = 0; i < ARRAY_SIZE(entries); i++) {
        static const enum fio_action mix[] = {FIO_WRITE, FIO_WRITE, FIO_WRITE,    FIO_READ,
                                              FIO_TRIM,  FIO_SYNC,  FIO_DATASYNC, FIO_WRITE};
        int64_t bytes = 512 * (int64_t)(1 + rng_below(r, 96));
        at = rng_below(r, 3) ? at + bytes : 512 * (int64_t)rng_below(r, (uint64_t)size / 512);
        at = MIN(at, size - bytes);
        entries[i] = (struct fio_entry){
            .action = mix[rng_below(r, ARRAY_SIZE(mix))], .offset = at, .bytes = bytes};
    }
    fio_print(&text, &made);
    struct error *err = NULL;
    int ret = fio_parse(text.s, log, &err);
    if (ret < 0) {
        memset(log, 0, sizeof(*log));
        error_free(err);
    }
    strbuf_free(&text);
}

int stage_trace(struct campaign *c, struct error **err)
{
    /* Each kind, and what a guest may write anywhere: no streams. */
    static const char *const images[][2] = {
        {"raw", ""},
        {"qcow2", ""},
        {"qcow2", "cluster_size=4k"},
        {"qcow2", "extended_l2=on"},
        {"qcow2", "encrypt.format=aes"},
        {"vmdk", ""},
        {"vmdk", "subformat=twoGbMaxExtentFlat"},
        {"qed", ""},
        {"qcow", ""},
        {"vdi", ""},
        {"vpc", "force_size=on"},
        {"vhdx", "block_size=1M"},
        {"parallels", "cluster_size=64k"},
        {"luks", ""},
    };
    unsigned logs = MAX(2 * (c->count / 40), (unsigned)ARRAY_SIZE(images));
    struct rng r;
    c->shrunk = 0;
    for (unsigned n = 0; n < logs; n++) {
        const char *const *image = images[n % ARRAY_SIZE(images)];
        struct program p = {.size = 4 * MiB};
        struct fio_log log;
        char name[48];
        if (!campaign_wants_format(c, image[0], image[1])) {
            continue;
        }
        rng_seed(&r, c->seed * 7919 + n);
        make_log(&r, 2 + (int)(n % 2), p.size, &log);
        if (!log.n_entries) {
            return error_set(err, EINVAL, "trace: the log that was made cannot be read back");
        }
        snprintf(p.format, sizeof(p.format), "%s", image[0]);
        snprintf(p.options, sizeof(p.options), "%s", image[1]);
        if (image_abilities(&p) & IMAGE_BEGINS_AS_NOISE) {
            program_add(&p, &(struct op){.kind = OP_ZERO, .bytes = p.size});
        }
        fio_program(&log, 0, &p);
        snprintf(name, sizeof(name), "iolog-v%d-%03u", log.version, n);
        for (unsigned i = 0; i < c->n_subjects; i++) {
            program_judge(c, "trace", c->subjects[i], name, &p, run_beside);
        }
        program_free(&p);
        fio_free(&log);
    }
    return 0;
}
