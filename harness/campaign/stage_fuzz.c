/*
 * Stage fuzz: AFL++ on the fuzz target (fuzz/main), one format after the other, each for its share
 * of the seconds; crashes and hangs are findings, with the image as hex in the reproducer.
 * Executions depend on the machine, so they are measures, not results. Skipped, with the reason,
 * where afl-fuzz or the target is missing.
 */
#include "harness/campaign/explore_stages.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "fuzz/fuzz_image.h"
#include "ref/base/mem.h"

enum { PLANTED_SECONDS = 5, REPRO_LIMIT = 10, LONGEST_RERUN = 60 };

struct fuzzing {
    struct campaign *c;
    const struct fuzz_format *format;
    const char *dir, *target;
};

static bool write_file(const char *path, const void *data, size_t len)
{
    FILE *f = fopen(path, "wb");
    bool ok = f && fwrite(data, 1, len, f) == len;
    return (!f || fclose(f) == 0) && ok;
}

static uint8_t *read_file(const char *path, size_t *len)
{
    uint8_t *buf = mem_alloc(FUZZ_MAX_INPUT);
    FILE *f = fopen(path, "rb");
    *len = f ? fread(buf, 1, FUZZ_MAX_INPUT, f) : 0;
    if (f) {
        fclose(f);
    }
    return buf;
}

static int write_seed(struct fuzz *f, const struct fuzz_recipe *r, const char *in,
                      struct error **err)
{
    struct fuzz_seed seed;
    uint8_t *packed;
    int ret = fuzz_seed_make(f, r, &seed, err);
    if (ret < 0) {
        return ret;
    }
    char *path = str_fmt("%s/%s", in, r->name);
    size_t len = fuzz_pack(seed.image, &packed);
    if (!write_file(path, packed, len)) {
        ret = error_set(err, EIO, "Could not write '%s'", path);
    }
    mem_free(packed);
    mem_free(path);
    fuzz_seed_free(&seed);
    return ret;
}

/* Seed images and dictionary below the folder. */
static int make_corpus(struct fuzzing *z, struct error **err)
{
    char *in = str_fmt("%s/in", z->dir), *dict = str_fmt("%s/dict", z->dir);
    struct strbuf words = STRBUF_INIT;
    struct fuzz f;
    int ret = mkdir(in, 0777) < 0 && errno != EEXIST
                  ? error_set_errno(err, errno, "Could not make '%s'", in)
                  : fuzz_start(&f, z->c->process, &profile_reference, z->format, err);
    if (ret == 0) {
        for (const struct fuzz_recipe *r = z->format->recipes; r->name && ret == 0; r++) {
            ret = write_seed(&f, r, in, err);
        }
        fuzz_end(&f);
    }
    fuzz_dictionary(z->format, &words);
    if (ret == 0 && !write_file(dict, words.s, words.len)) {
        ret = error_set(err, EIO, "Could not write '%s'", dict);
    }
    strbuf_free(&words);
    mem_free(in);
    mem_free(dict);
    return ret;
}

/* The child. */
static void exec_afl(const struct fuzzing *z, unsigned seconds)
{
    static const char *const env[] = {
        "AFL_NO_UI",       "AFL_SKIP_CPUFREQ", "AFL_I_DONT_CARE_ABOUT_MISSING_CRASHES",
        "AFL_NO_AFFINITY", "AFL_QUIET",        "AFL_NO_STARTUP_CALIBRATION"};
    char *in = str_fmt("%s/in", z->dir), *out = str_fmt("%s/out", z->dir),
         *dict = str_fmt("%s/dict", z->dir), *log = str_fmt("%s/log", z->dir),
         *time = str_fmt("%u", seconds),
         *seed = str_fmt("%llu", (unsigned long long)(z->c->seed % 1000000 + 1));
    for (size_t i = 0; i < ARRAY_SIZE(env); i++) {
        setenv(env[i], "1", 1);
    }
    if (z->c->planted == PLANT_FLIP_BYTE) {
        setenv("BLKREF_FUZZ_PLANT", "flip-byte", 1);
        setenv("AFL_SKIP_CRASHES", "1", 1);
    }
    if (!freopen(log, "w", stdout) || dup2(STDOUT_FILENO, STDERR_FILENO) < 0) {
        _exit(126);
    }
    execlp("afl-fuzz", "afl-fuzz", "-i", in, "-o", out, "-x", dict, "-s", seed, "-V", time, "-t",
           "60000", "-m", "none", "--", z->target, z->format->name, (char *)NULL);
    _exit(127);
}

static int run_afl(const struct fuzzing *z, unsigned seconds)
{
    int status = -1;
    pid_t pid = fork();
    if (pid == 0) {
        exec_afl(z, seconds);
    }
    if (pid > 0) {
        waitpid(pid, &status, 0);
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void report_input(const struct fuzzing *z, const char *path, const char *what)
{
    size_t len;
    uint8_t *data = read_file(path, &len);
    struct disk_pool *pool = disk_pool_new(0);
    struct disk *d = fuzz_unpack(pool, data, len);
    struct strbuf text = STRBUF_INIT;
    char name[64];
    snprintf(name, sizeof(name), "%s %016llx", what, (unsigned long long)hash_bytes(data, len, 0));
    fuzz_print(z->format, d, &text);
    campaign_report(z->c, "fuzz", z->c->subjects[0], z->format->name, name, VERDICT_FAIL,
                    "the image in the reproducer makes the reference crash, hang or break its word",
                    text.s);
    disk_free(d);
    disk_pool_free(pool);
    strbuf_free(&text);
    mem_free(data);
}

static int is_input(const struct dirent *d)
{
    return !strncmp(d->d_name, "id", 2);
}

/* Findings in one of AFL++'s folders. */
static unsigned collect(const struct fuzzing *z, const char *folder, const char *what)
{
    char *path = str_fmt("%s/out/default/%s", z->dir, folder);
    struct dirent **list = NULL;
    int n = scandir(path, &list, is_input, alphasort);
    for (int i = 0; i < n; i++) {
        char *file = str_fmt("%s/%s", path, list[i]->d_name);
        if (i < REPRO_LIMIT) {
            report_input(z, file, what);
        }
        mem_free(file);
        free(list[i]);
    }
    free(list);
    mem_free(path);
    return n > 0 ? (unsigned)n : 0;
}

/* The number behind "execs_done" in AFL++'s own statistics. */
static double executions(const struct fuzzing *z)
{
    char *path = str_fmt("%s/out/default/fuzzer_stats", z->dir), line[256];
    FILE *f = fopen(path, "r");
    double n = 0;
    while (f && fgets(line, sizeof(line), f)) {
        sscanf(line, "execs_done : %lf", &n);
    }
    if (f) {
        fclose(f);
    }
    mem_free(path);
    return n;
}

static void tell(const struct fuzzing *z, int verdict, const char *detail)
{
    campaign_report(z->c, "fuzz", z->c->subjects[0], z->format->name, "afl", verdict, detail, NULL);
}

static void fuzz(struct fuzzing *z, unsigned seconds)
{
    int status = run_afl(z, seconds);
    double n = executions(z);
    if (status == 127) {
        tell(z, VERDICT_SKIP, "afl-fuzz is not installed (package afl++)");
    } else if (n == 0) {
        char detail[96];
        snprintf(detail, sizeof(detail), "afl-fuzz ended with status %d and ran nothing", status);
        tell(z, VERDICT_SUBJECT_ERROR, detail);
    } else if (collect(z, "crashes", "crash") + collect(z, "hangs", "hang") == 0) {
        tell(z, VERDICT_PASS, "no crash and no hang");
    }
    if (n > 0) {
        char *name = str_fmt("executions %s", z->format->name);
        store_measure(z->c->store, "fuzz", z->c->subjects[0]->name, name, n);
        mem_free(name);
    }
}

/* Of the stage's seconds what the shares of the formats that are wanted give this one. */
static unsigned seconds_of(const struct campaign *c, const struct fuzz_format *f)
{
    unsigned total = 0;
    for (const struct fuzz_format *o = fuzz_formats; o->name; o++) {
        total += campaign_wants_format(c, o->name, "") ? o->share : 0;
    }
    return c->planted ? PLANTED_SECONDS : MAX(c->fuzz_seconds * f->share / total, 1);
}

static int fuzz_format(struct campaign *c, const struct fuzz_format *f, const char *target,
                       struct error **err)
{
    char *folder = str_fmt("fuzz-%s", f->name), *dir = campaign_scratch(c, folder);
    struct fuzzing z = {.c = c, .format = f, .dir = dir, .target = target};
    int ret = 0;
    if (access(target, X_OK) < 0) {
        tell(&z, VERDICT_SKIP, "no fuzz target: make fuzz-target");
    } else if ((ret = make_corpus(&z, err)) == 0) {
        fuzz(&z, seconds_of(c, f));
    }
    mem_free(folder);
    mem_free(dir);
    return ret;
}

int stage_fuzz(struct campaign *c, struct error **err)
{
    char *target = str_fmt("%s/fuzz/fuzz_target", c->build);
    int ret = 0;
    for (const struct fuzz_format *f = fuzz_formats; f->name && ret == 0; f++) {
        if (campaign_wants_format(c, f->name, "")) {
            campaign_progress(c, "fuzz", (uint64_t)(f - fuzz_formats), fuzz_format_count());
            ret = fuzz_format(c, f, target, err);
        }
    }
    mem_free(target);
    return ret;
}

/* The child of a reproducer: 0 when the image does no harm. */
static int run_text(struct campaign *c, const char *subject, const char *text)
{
    struct fuzz f;
    struct error *err = NULL;
    const struct fuzz_format *format = NULL;
    struct disk_pool *pool = disk_pool_new(0);
    struct disk *d = fuzz_parse(pool, text, &format, NULL), *own;
    uint8_t *packed;
    size_t len = fuzz_pack(d, &packed);
    if (fuzz_start(&f, c->process, profile_named(subject), format, NULL) < 0) {
        return 2;
    }
    alarm(LONGEST_RERUN);
    f.plant = c->planted == PLANT_FLIP_BYTE ? FUZZ_PLANT_FLIP_BYTE : FUZZ_PLANT_NONE;
    own = fuzz_unpack(f.pool, packed, len);
    int ret = fuzz_image(&f, own, &err);
    if (ret < 0) {
        fprintf(stderr, "%s\n", err->msg);
    }
    return ret < 0;
}

/* In a process of its own, which may crash or hang. */
int repro_fuzz(struct campaign *c, const char *subject, const char *text, struct error **err)
{
    const struct fuzz_format *format = NULL;
    struct disk_pool *pool = disk_pool_new(0);
    struct disk *d = fuzz_parse(pool, text, &format, err);
    int status = 0;
    disk_free(d);
    disk_pool_free(pool);
    if (!d) {
        return -EINVAL;
    }
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        _exit(run_text(c, subject, text));
    }
    if (pid < 0 || waitpid(pid, &status, 0) < 0) {
        return error_set_errno(err, errno, "Could not start a process");
    }
    if (WIFSIGNALED(status)) {
        error_set(err, EILSEQ, "ends with signal %d", WTERMSIG(status));
        return 1;
    }
    if (WEXITSTATUS(status)) {
        error_set(err, EILSEQ, "does not keep its word");
        return 1;
    }
    return 0;
}
