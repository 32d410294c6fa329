/*
 * Stages "read" and "write": images of one subject in the hands of another.
 *
 * read: QEMU makes and fills an image in files, the reference (both profiles) opens it.  write: the
 * reference makes it, QEMU opens and checks it.  Guest bytes, map, info and check must agree with
 * the maker's and with the shadow. Without QEMU both are skipped.
 */
#include <errno.h>
#include <stdio.h>
#include <unistd.h>
#include "harness/campaign/stage_programs.h"
#include "harness/programs/generate.h"
#include "ref/base/mem.h"

#define IMAGE_OPS 8

static bool is_qemu(const struct subject *s)
{
    return s->version != NULL;
}

static struct subject *find_qemu(struct campaign *c)
{
    for (unsigned i = 0; i < c->n_subjects; i++) {
        if (is_qemu(c->subjects[i])) {
            return c->subjects[i];
        }
    }
    return NULL;
}

/* What the maker left, opened by the reader beside the oracle, which still has the same image open.
 */
static bool hand_over(struct compare *c, struct subject *maker, struct subject *reader)
{
    struct error *err = NULL;
    maker->ops->close(maker);
    int ret = reader->ops->open(reader, c->p, c->shadow.layers, &err);
    if (ret < 0) {
        c->out->kind = ret == SUBJECT_ERROR ? DIFF_SUBJECT : DIFF_STATUS;
        c->out->detail =
            str_fmt("status at the end: %s cannot open what %s made", reader->name, maker->name);
        error_clear(&err);
        return true;
    }
    c->subject = reader;
    bool bad = compare_bytes(c) || compare_maps(c) || compare_infos(c) || compare_checks(c);
    reader->ops->close(reader);
    return bad;
}

static bool run_pair(struct campaign *c, struct subject *maker, struct subject *reader,
                     const struct program *p, struct finding *out)
{
    char *dir = campaign_scratch(c, "oracle");
    struct subject *oracle =
        subject_ref_new(c->process, "reference", &profile_reference, dir, PLANT_NONE);
    struct compare with = {.oracle = oracle, .subject = maker, .p = p, .out = out};
    bool bad = compare_program(&with) || (with.created && hand_over(&with, maker, reader));
    compare_end(&with);
    subject_free(oracle);
    mem_free(dir);
    return bad;
}

static struct subject *in_files(struct campaign *c, const struct subject *like, const char *dir)
{
    const struct profile *profile =
        strcmp(like->name, "optimized") ? &profile_reference : &profile_optimized;
    return subject_ref_new(c->process, like->name, profile, dir, c->planted);
}

static bool run_read(struct campaign *c, struct subject *s, const struct program *p,
                     struct finding *out)
{
    struct subject *qemu = find_qemu(c), *reader = in_files(c, s, qemu->dir);
    bool bad = run_pair(c, qemu, reader, p, out);
    subject_free(reader);
    return bad;
}

static bool run_write(struct campaign *c, struct subject *s, const struct program *p,
                      struct finding *out)
{
    struct subject *qemu = find_qemu(c), *maker = in_files(c, s, qemu->dir);
    bool bad = run_pair(c, maker, qemu, p, out);
    subject_free(maker);
    return bad;
}

static int repro(struct campaign *c, const char *subject, const char *text, program_run *run,
                 struct error **err)
{
    if (!find_qemu(c)) {
        return error_set(err, ENOENT, "needs QEMU's programs");
    }
    return program_repro(c, subject, text, run, err);
}

int read_repro(struct campaign *c, const char *subject, const char *text, struct error **err)
{
    return repro(c, subject, text, run_read, err);
}

int write_repro(struct campaign *c, const char *subject, const char *text, struct error **err)
{
    return repro(c, subject, text, run_write, err);
}

/* Both profiles on every combination of create options, each with operations from the seed. */
static int run_stage(struct campaign *c, const char *stage, program_run *run)
{
    struct program image;
    unsigned profiles = MIN(c->n_subjects, 2), total = 0;
    c->shrunk = 0;
    if (!find_qemu(c)) {
        campaign_report(c, stage, c->subjects[0], "-", "all", VERDICT_SKIP,
                        "QEMU's programs are not here", NULL);
        return 0;
    }
    while (generate_image(total, &image)) {
        total++;
    }
    for (unsigned n = 0; n < total; n++) {
        char name[32];
        struct rng r;
        generate_image(n, &image);
        if (!campaign_wants_format(c, image.format, image.options)) {
            continue;
        }
        rng_seed(&r, c->seed * 31337 + n);
        generate_operations(&r, IMAGE_OPS, GEN_FILES, &image);
        snprintf(name, sizeof(name), "image-%02u", n);
        for (unsigned i = 0; i < profiles; i++) {
            if (!is_qemu(c->subjects[i])) {
                program_judge(c, stage, c->subjects[i], name, &image, run);
            }
        }
        program_free(&image);
        campaign_progress(c, stage, n + 1, total);
    }
    return 0;
}

int stage_read(struct campaign *c, struct error **err)
{
    return run_stage(c, "read", run_read);
}

int stage_write(struct campaign *c, struct error **err)
{
    return run_stage(c, "write", run_write);
}
