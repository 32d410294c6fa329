/*
 * Stage sequences: all programs of up to two operations, and seeded ones of three, once each, on
 * the reference's two profiles in process.
 *
 * No faults, no cuts: after each program what was written is there, check finds nothing, and the
 * image was closed and opened in between.  So each costs little, and all can be run.  Also a few
 * programs on disks larger than their backing file, or of several GiB, where a length in 32 bits
 * goes wrong, and seeded long ones (long_programs.h).  A small count takes only some of the pairs.
 * One result a profile and image, or each finding with its reproducer.
 */
#include "harness/campaign/campaign.h"
#include "harness/campaign/explore_stages.h"
#include "harness/explore/timeline.h"
#include "harness/oracle/failure_class.h"
#include "harness/programs/crash_programs.h"
#include "harness/programs/letters.h"
#include "harness/programs/long_programs.h"
#include "harness/programs/shrink.h"

#include <errno.h>
#include <string.h>
#include "ref/base/mem.h"

#define SHRINK_ATTEMPTS 100
#define PAIRS_A_COUNT   42 /* of all pairs on an image; a count of 20 takes all */

static const char *const large[] = {
    "image qcow2 64k backing cluster_size=4k\nresize 256k\nwrite 128k 8k 1\nwrite 0 4k 2\ncommit\n"
    "read 128k 8k\nflush\n", /* larger than its backing file */
    "image qcow2 9G cluster_size=2M\nwrite 0 4k 1\nwrite 8G 4k 2\nzero 0 5G\nread 8G 4k\nflush\n",
    "image qcow2 9G cluster_size=2M\nwrite 1G 4k 1\nzero 0 3G unmap\nread 1G 4k\nflush\n",
    "image qcow2 6G cluster_size=2M\nwrite 0 4k 1\nwrite 5G 4k 2\nflush\nresize 1G\nresize "
    "6G\nread "
    "5G 4k\nread 0 4k\nflush\n",
    "image qcow2 6G cluster_size=2M\nwrite 4G 4k 1\ndiscard 0 6G\nread 4G 4k\nflush\n",
    "image qcow2 1M cluster_size=2M\nresize 6G metadata\nwrite 5G 4k 1\nread 5G 4k\nflush\n",
    /* on a device of 2 GiB, more than 65536 refcount blocks away */
    "image qcow2 1M cluster_size=512,refcount_bits=64\nwrite 0 768k 1\ndiscard 64k "
    "640k\nflush\nextend 2G\nresize 1100k falloc\nread 0 1100k\nflush\n",
    "image raw 6G\nwrite 5G 4k 1\nzero 0 5G\nread 5G 4k\nflush\n",
};

struct sequences {
    struct campaign *c;
    const struct subject *subject;
    struct sandbox *sb;
    struct looked looked;
    struct disk_set base; /* fresh image of `made`, for the programs that begin with it */
    struct program made;
    unsigned programs, findings; /* of the image at hand */
    const char *first;           /* what is made smaller fails like this */
};

/* Where the disk is healthy, what a guest asks within its bounds succeeds. */
static char *refused(const struct program *p, const int *status)
{
    int64_t size = p->size;
    if (strcmp(p->format, "qcow2") && strcmp(p->format, "raw")) {
        return NULL; /* others have kinds of image that take no plain writes */
    }
    for (size_t i = 0; i < p->n_ops; i++) {
        const struct op *op = &p->ops[i];
        bool plain = op->kind == OP_WRITE || op->kind == OP_READ || op->kind == OP_DISCARD ||
                     (op->kind == OP_ZERO && !(op->flags & OP_NO_FALLBACK));
        bool inside = op->offset <= size && op->bytes <= size - op->offset;
        bool bad = op->kind == OP_FLUSH              ? status[i] < 0
                   : op->kind == OP_WRITE_COMPRESSED ? inside && status[i] == -EINVAL
                                                     : plain && inside && status[i] < 0;
        if (bad) {
            return str_fmt("operation %zu: %s", i + 1, strerror(-status[i]));
        }
        size = op->kind == OP_RESIZE  ? MIN(size, op->bytes) /* which of the two is not known */
               : op->kind == OP_APPLY ? 0
                                      : size;
    }
    return NULL;
}

static bool same_image(const struct program *a, const struct program *b)
{
    return a->size == b->size && a->backing == b->backing && !strcmp(a->format, b->format) &&
           !strcmp(a->options, b->options);
}

static int make_image(struct sequences *x, const struct program *p, struct error **err)
{
    if (x->base.n && same_image(&x->made, p)) {
        return 0;
    }
    disk_set_free(&x->base);
    x->base.n = 0;
    x->made = *p;
    return sandbox_create(x->sb, p, &x->base, err);
}

/* What is wrong with it; mem_free().  NULL: nothing. */
static char *run(struct sequences *x, const struct program *p)
{
    struct recording rec;
    struct error *err = NULL;
    char *why = NULL;
    if (make_image(x, p, &err) < 0) {
        why = str_dup(err ? err->msg : "cannot be made");
        error_free(err);
        x->base.n = 0;
        return why;
    }
    if (sandbox_record(x->sb, p, &x->base, NULL, false, &rec, &err) < 0) {
        why = str_dup(err ? err->msg : "does not run");
    } else if (rec.wrong) {
        why = str_dup(rec.why.s);
    } else if ((why = refused(p, rec.status))) {
    } else if (!sandbox_look(x->sb, p, &rec.end, &rec.oracle, ORACLE_LIVE,
                             recording_may_leak(&rec) ? LOOK_SPEC : LOOK_CLEAN, &x->looked)) {
        why = str_dup(x->looked.why.s);
    }
    error_free(err);
    recording_free(&rec);
    return why;
}

static bool fails_alike(const struct program *p, void *opaque)
{
    const struct sequences *x = opaque;
    char *why = run(opaque, p);
    bool alike = why && failure_alike(why, x->first);
    mem_free(why);
    return alike;
}

static void run_one(struct sequences *x, struct program *p)
{
    char *why = run(x, p);
    x->programs++;
    if (why && x->findings < 3) {
        struct strbuf text = STRBUF_INIT;
        if (!x->c->failed) {
            x->first = why;
            shrink_program(p, fails_alike, x, SHRINK_ATTEMPTS);
        }
        char *name = program_title(p, "end"), *again = run(x, p);
        program_print(&text, p);
        timeline_run(x->sb, p, &(struct timeline_run){.sector = 512}, &text);
        campaign_report(x->c, "sequences", x->subject, p->format, name, VERDICT_FAIL,
                        again ? again : why, text.s);
        strbuf_free(&text);
        mem_free(name);
        mem_free(again);
    }
    x->findings += why != NULL;
    mem_free(why);
    program_free(p);
}

static void close_image(struct sequences *x, const char *format, const char *name)
{
    if (!x->findings) {
        char *detail = str_fmt("%u programs", x->programs);
        campaign_report(x->c, "sequences", x->subject, format, name, VERDICT_PASS, detail, NULL);
        mem_free(detail);
    }
    store_count(x->c->store, "sequences", x->subject->name, "programs", x->programs);
    x->programs = x->findings = 0;
}

static void run_image(struct sequences *x, size_t image, unsigned three)
{
    struct rng rng;
    struct program p;
    rng_seed(&rng, x->c->seed * 1000 + image);
    for (unsigned ops = 1; ops <= 2; ops++) {
        size_t all = crash_program_count(ops), some = MAX(PAIRS_A_COUNT * x->c->count, 1),
               step = MAX(all / some, 1);
        /* Not in step with the alphabet: each letter comes first, and second. */
        while (step > 1 && (step % 2 == 0 || step % 5 == 0)) {
            step++;
        }
        for (size_t n = 0; n < all; n += step) {
            crash_program(image, ops, n, &p);
            run_one(x, &p);
        }
    }
    for (unsigned n = 0; n < three; n++) {
        crash_program(image, 3, rng_below(&rng, crash_program_count(3)), &p);
        run_one(x, &p);
    }
    close_image(x, crash_image_format(image), crash_image(image));
}

static void run_large(struct sequences *x)
{
    for (size_t i = 0; i < ARRAY_SIZE(large); i++) {
        struct program p;
        program_start(large[i], &p);
        if (campaign_wants_special(x->c, &p)) {
            run_one(x, &p);
        } else {
            program_free(&p);
        }
    }
    if (x->programs) {
        close_image(x, campaign_special_format(x->c), "large disks");
    }
}

static void run_long(struct sequences *x, size_t image)
{
    struct rng rng;
    struct program p;
    rng_seed(&rng, x->c->seed * 1000 + image);
    for (unsigned n = 0; n < 20 * x->c->count; n++) {
        long_program(image, &rng, &p);
        run_one(x, &p);
    }
    char *name = str_fmt("long: %s", long_image(image));
    close_image(x, "qcow2", name);
    mem_free(name);
}

int stage_sequences(struct campaign *c, struct error **err)
{
    size_t images = crash_image_count();
    for (unsigned i = 0; i < c->n_subjects; i++) {
        const struct profile *profile = subject_profile(c->subjects[i]);
        if (!profile) {
            continue;
        }
        struct sequences x = {.c = c, .subject = c->subjects[i]};
        x.sb = sandbox_new(c->process, profile, i == 0 ? c->planted : PLANT_NONE);
        run_large(&x);
        for (size_t k = 0; k < long_image_count(); k++) {
            if (campaign_wants_image(c, long_image(k))) {
                run_long(&x, k);
            }
        }
        for (size_t k = 0; k < images; k++) {
            campaign_progress(c, "sequences", k, images);
            if (campaign_wants_image(c, crash_image(k))) {
                run_image(&x, k, 10 * c->count);
            }
        }
        campaign_progress(c, "sequences", images, images);
        disk_set_free(&x.base);
        sandbox_free(x.sb);
        strbuf_free(&x.looked.why);
    }
    return 0;
}

int repro_sequences(struct campaign *c, const char *subject, const char *text, struct error **err)
{
    struct program p;
    struct sequences x = {.c = c};
    int ret = program_parse(text, &p, err);
    if (ret < 0) {
        return ret;
    }
    x.sb = sandbox_new(c->process, profile_named(subject), c->planted);
    char *why = run(&x, &p);
    if (why) {
        error_set(err, EILSEQ, "%s", why);
        ret = 1;
    }
    mem_free(why);
    disk_set_free(&x.base);
    sandbox_free(x.sb);
    strbuf_free(&x.looked.why);
    program_free(&p);
    return ret;
}
