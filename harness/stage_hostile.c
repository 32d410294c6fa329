/*
 * Stage hostile: seeded damage to valid qcow2 images (fuzz/), in a process of its own that may
 * crash.
 *
 * The same images each time, for both profiles: crashes, hangs, broken words and memory without
 * bound are findings, with the image as hex in the reproducer (which stage fuzz runs again as
 * well).  A batch of images shares a process; the one at fault is told by a counter in shared
 * memory.  Leaves out: search by coverage, that is stage fuzz.
 */
#include "harness/explore_stages.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include "fuzz/fuzz_qcow2.h"
#include "ref/base/mem.h"

enum {
    BATCH_SECONDS = 15,      /* CPU of one process */
    MEMORY_KIB = 160 * 1024, /* that an image may cost; the format's own limits allow less */
    FINDINGS = 3,            /* of one seed image */
};

/* What a child tells: the image it is at, and what it saw. */
struct shared {
    unsigned at;
    char why[200];
};

struct hostile {
    struct campaign *c;
    const struct subject *subject;
    const struct profile *profile;
    struct shared *shared;
    size_t seed;
    const char *walk;  /* the structure whose numbers go to their extremes, or NULL */
    unsigned extremes; /* images of that walk */
    uint8_t *image, *copy;
    size_t len;
};

/*
 * Image n of the seed image: at first itself, then numbers at their extremes, then damaged by a
 * generator of its own, so that each can be made alone.
 */
static size_t damage(struct hostile *x, unsigned n)
{
    struct rng rng;
    memcpy(x->copy, x->image, x->len);
    if (n <= x->extremes) {
        (void)(n && fuzz_extreme(x->walk, n - 1, x->copy, x->len));
        return x->len;
    }
    rng_seed(&rng, (x->c->seed * 1000 + x->seed) * 1000003 + n - x->extremes);
    return fuzz_mutate(&rng, x->copy, x->len);
}

static unsigned count_extremes(struct hostile *x)
{
    unsigned n = 0;
    while (x->walk && fuzz_extreme(x->walk, n, x->copy, x->len)) {
        n++;
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
    struct rlimit cpu = {BATCH_SECONDS, BATCH_SECONDS};
    setrlimit(RLIMIT_CPU, &cpu);
    struct fuzz f = {.process = process_new(),
                     .profile = x->profile,
                     .flip_byte = x->c->planted == PLANT_FLIP_BYTE};
    for (unsigned n = from; n < to; n++) {
        struct error *err = NULL;
        x->shared->at = n;
        size_t len = damage(x, n);
        long before = memory_kib();
        if (fuzz_qcow2(&f, x->copy, len, &err) < 0) {
            say(x, err->msg);
        }
        if (memory_kib() - before > MEMORY_KIB) {
            say(x, "takes more memory than the format's limits allow");
        }
    }
    _exit(0);
}

static void report(struct hostile *x, const char *why)
{
    struct strbuf text = STRBUF_INIT;
    size_t len = damage(x, x->shared->at);
    char *name = str_fmt("%s %u", fuzz_seed_name(x->seed), x->shared->at);
    strbuf_puts(&text, "# fuzz: hex\n");
    for (size_t i = 0; i < len; i++) {
        strbuf_printf(&text, "%02x%s", x->copy[i], i % 32 == 31 || i + 1 == len ? "\n" : "");
    }
    campaign_report(x->c, "hostile", x->subject, "qcow2", name, VERDICT_FAIL, why, text.s);
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
        bool hangs = WTERMSIG(status) == SIGXCPU || WTERMSIG(status) == SIGKILL;
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

/* Each walk is taken once: on the first image, and on the first that has a snapshot. */
static const char *walk_of(size_t seed)
{
    size_t first = 0;
    while (!fuzz_seed_snapshot(first)) {
        first++;
    }
    return seed == 0 ? "header" : seed == first ? "snapshot" : NULL;
}

static int run_seed(struct hostile *x, unsigned images, struct error **err)
{
    unsigned findings = 0;
    int64_t len = fuzz_seed(x->c->process, x->seed, &x->image, err);
    if (len < 0) {
        return (int)len;
    }
    x->len = (size_t)len;
    x->copy = mem_alloc(x->len);
    x->walk = walk_of(x->seed);
    x->extremes = count_extremes(x);
    images += x->extremes;
    for (unsigned from = 0; from < images && findings < FINDINGS && !*err;) {
        bool found = batch(x, from, images, err);
        findings += found;
        from = found ? x->shared->at + 1 : images;
    }
    if (!findings && !*err) {
        char *detail = str_fmt("%u images", images);
        campaign_report(x->c, "hostile", x->subject, "qcow2", fuzz_seed_name(x->seed), VERDICT_PASS,
                        detail, NULL);
        mem_free(detail);
    }
    store_count(x->c->store, "hostile", x->subject->name, "images", images);
    mem_free(x->image);
    mem_free(x->copy);
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
        x.profile = subject_profile(x.subject);
        for (x.seed = 0; x.profile && x.seed < fuzz_seed_count() && ret == 0; x.seed++) {
            campaign_progress(c, "hostile", x.seed, fuzz_seed_count());
            ret = run_seed(&x, MAX(c->count, 1) * 4, err);
        }
    }
    munmap(x.shared, sizeof(*x.shared));
    return ret;
}
