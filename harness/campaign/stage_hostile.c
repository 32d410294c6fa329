/*
 * Stage hostile: seeded damage to valid images of each format (fuzz/), in a process of its own that
 * may crash.
 *
 * The same images each time, for both profiles: crashes, hangs, broken words and memory without
 * bound are findings, with the image as hex in the reproducer (which stage fuzz runs again as
 * well).  A batch of images shares a process; the one at fault is told by a counter in shared
 * memory.  Leaves out: search by coverage, that is stage fuzz.
 */
#include "harness/campaign/explore_stages.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>
#include "fuzz/fuzz_image.h"
#include "ref/base/mem.h"

enum {
    IMAGE_SECONDS = 20,      /* CPU of one image: a repair of 65536 snapshots takes five */
    MEMORY_KIB = 160 * 1024, /* that an image may cost; the formats' own limits allow less */
    FINDINGS = 3,            /* of one seed image */
    WALKED = 128,            /* structures whose numbers went to their extremes */
};

/* What a child tells: the image it is at, and what it saw. */
struct shared {
    unsigned at;
    char why[200];
};

struct hostile {
    struct campaign *c;
    const struct subject *subject;
    struct fuzz fuzz;
    struct shared *shared;
    struct fuzz_seed seed;
    unsigned number, extremes; /* of the seed image; images whose numbers go to extremes */
    bool walk;                 /* such images are made of this seed image */
};

/*
 * Image n of the seed image: at first itself, then numbers at their extremes, then damaged by a
 * generator of its own, so that each can be made alone.
 */
static struct disk *damage(struct hostile *x, unsigned n)
{
    const struct fuzz_format *f = x->fuzz.format;
    struct disk *d = disk_clone(x->seed.image);
    struct rng rng;
    if (n <= x->extremes) {
        (void)(n && fuzz_extreme(f, n - 1, d));
        return d;
    }
    rng_seed(&rng, (x->c->seed * 1000 + x->number) * 1000003 + n - x->extremes);
    fuzz_mutate(&rng, f, &x->seed, d);
    return d;
}

static unsigned count_extremes(struct hostile *x)
{
    unsigned n = 0;
    for (bool more = x->walk; more; n += more) {
        struct disk *d = disk_clone(x->seed.image);
        more = fuzz_extreme(x->fuzz.format, n, d);
        disk_free(d);
    }
    return n;
}

static long memory_kib(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return u.ru_maxrss;
}

static void say(struct hostile *x, const char *why)
{
    snprintf(x->shared->why, sizeof(x->shared->why), "%s", why);
    _exit(1);
}

/* The child: images [from, to); ends at the first that is a finding. */
static void run_batch(struct hostile *x, unsigned from, unsigned to)
{
    const struct itimerval cpu = {.it_value = {.tv_sec = IMAGE_SECONDS}};
    signal(SIGPROF, SIG_DFL);
    for (unsigned n = from; n < to; n++) {
        struct error *err = NULL;
        x->shared->at = n;
        setitimer(ITIMER_PROF, &cpu, NULL);
        struct disk *d = damage(x, n);
        long before = memory_kib();
        if (fuzz_image(&x->fuzz, d, &err) < 0) {
            say(x, err->msg);
        }
        if (memory_kib() - before > MEMORY_KIB) {
            say(x, "takes more memory than the format's limits allow");
        }
        disk_free(d);
    }
    _exit(0);
}

static void report(struct hostile *x, const char *why)
{
    const struct fuzz_format *f = x->fuzz.format;
    struct strbuf text = STRBUF_INIT;
    struct disk *d = damage(x, x->shared->at);
    char *name = str_fmt("%s %u", x->seed.recipe->name, x->shared->at);
    fuzz_print(f, d, &text);
    campaign_report(x->c, "hostile", x->subject, f->name, name, VERDICT_FAIL, why, text.s);
    disk_free(d);
    strbuf_free(&text);
    mem_free(name);
}

/* True with a finding; the image at fault is in shared->at. */
static bool batch(struct hostile *x, unsigned from, unsigned to, struct error **err)
{
    int status = 0;
    memset(x->shared, 0, sizeof(*x->shared));
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        run_batch(x, from, to);
    }
    if (pid < 0 || waitpid(pid, &status, 0) < 0) {
        error_set_errno(err, errno, "Could not start a process");
        return false;
    }
    if (WIFSIGNALED(status)) {
        bool hangs = WTERMSIG(status) == SIGPROF || WTERMSIG(status) == SIGKILL;
        char *why = hangs ? str_dup("does not come to an end")
                          : str_fmt("ends with signal %d", WTERMSIG(status));
        report(x, why);
        mem_free(why);
        return true;
    }
    if (WEXITSTATUS(status)) {
        report(x, x->shared->why[0] ? x->shared->why : "ends the process");
        return true;
    }
    return false;
}

/* Each structure of the format is walked once: on the first seed image that has it. */
static bool has_new_structure(const struct fuzz_format *f, const struct disk *d, const char **known,
                              unsigned *n)
{
    struct fuzz_layout l = {0};
    bool found = false;
    f->layout(d, &l);
    for (unsigned i = 0; i < l.places; i++) {
        unsigned k = 0;
        while (k < *n && strcmp(known[k], l.place[i].structure)) {
            k++;
        }
        if (k == *n && *n < WALKED) {
            known[(*n)++] = l.place[i].structure;
            found = true;
        }
    }
    return found;
}

static void run_seed(struct hostile *x, unsigned images, struct error **err)
{
    const struct fuzz_format *f = x->fuzz.format;
    unsigned findings = 0;
    x->extremes = count_extremes(x);
    images += x->extremes + 1;
    for (unsigned from = 0; from < images && findings < FINDINGS && !*err;) {
        bool found = batch(x, from, images, err);
        findings += found;
        from = found ? x->shared->at + 1 : images;
    }
    if (!findings && !*err) {
        char *detail = str_fmt("%u images", images);
        campaign_report(x->c, "hostile", x->subject, f->name, x->seed.recipe->name, VERDICT_PASS,
                        detail, NULL);
        mem_free(detail);
    }
    store_count(x->c->store, "hostile", x->subject->name, "images", images);
}

/* count: images of each seed image of qcow2, of others as the format's share says. */
static int run_format(struct hostile *x, const struct fuzz_format *f, unsigned count,
                      struct error **err)
{
    const char *known[WALKED];
    unsigned n = 0;
    const struct profile *profile = subject_profile(x->subject);
    int ret = fuzz_start(&x->fuzz, x->c->process, profile, f, err);
    if (ret < 0) {
        return ret;
    }
    x->fuzz.plant = x->c->planted == PLANT_FLIP_BYTE ? FUZZ_PLANT_FLIP_BYTE : FUZZ_PLANT_NONE;
    for (const struct fuzz_recipe *r = f->recipes; r->name && !*err; r++) {
        x->number = (unsigned)(f - fuzz_formats) * 100 + (unsigned)(r - f->recipes);
        if (fuzz_seed_make(&x->fuzz, r, &x->seed, err) == 0) {
            x->walk = has_new_structure(f, x->seed.image, known, &n);
            run_seed(x, DIV_ROUND_UP(count * f->share, 100), err);
            fuzz_seed_free(&x->seed);
        }
    }
    fuzz_end(&x->fuzz);
    return *err ? -EIO : 0;
}

int stage_hostile(struct campaign *c, struct error **err)
{
    struct hostile x = {.c = c};
    int ret = 0;
    x.shared =
        mmap(NULL, sizeof(*x.shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (x.shared == MAP_FAILED) {
        return error_set_errno(err, errno, "Could not share memory");
    }
    for (unsigned i = 0; i < c->n_subjects && ret == 0; i++) {
        x.subject = c->subjects[i];
        for (const struct fuzz_format *f = fuzz_formats; f->name && ret == 0; f++) {
            campaign_progress(c, "hostile", (uint64_t)(f - fuzz_formats), fuzz_format_count());
            if (subject_profile(x.subject) && campaign_wants_format(c, f->name, "")) {
                ret = run_format(&x, f, MAX(c->count, 1) * 4, err);
            }
        }
    }
    munmap(x.shared, sizeof(*x.shared));
    return ret;
}
