/*
 * Stage fuzz: AFL++ on the qcow2 target (fuzz/main) for 60 seconds; crashes and hangs are findings,
 * with the image as hex in the reproducer.  Executions depend on the machine, so they are measures,
 * not results. Skipped, with the reason, where afl-fuzz or the target is missing.
 */
#include "harness/explore_stages.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "fuzz/fuzz_qcow2.h"
#include "ref/base/mem.h"

enum { SECONDS = 60, REPRO_LIMIT = 10 };

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

/* Seed images and dictionary below `dir`. */
static int make_corpus(struct campaign *c, const char *dir, struct error **err)
{
    char *in = str_fmt("%s/in", dir), *dict = str_fmt("%s/qcow2.dict", dir);
    struct strbuf words = STRBUF_INIT;
    int ret = mkdir(in, 0777) < 0 && errno != EEXIST
                  ? error_set_errno(err, errno, "Could not make '%s'", in)
                  : 0;
    for (size_t i = 0; i < fuzz_seed_count() && ret == 0; i++) {
        uint8_t *image = NULL;
        int64_t len = fuzz_seed(c->process, i, &image, err);
        char *path = str_fmt("%s/%s", in, fuzz_seed_name(i));
        if (len < 0) {
            ret = (int)len;
        } else if (!write_file(path, image, (size_t)len)) {
            ret = error_set(err, EIO, "Could not write '%s'", path);
        }
        mem_free(path);
        mem_free(image);
    }
    fuzz_dictionary(&words);
    if (ret == 0 && !write_file(dict, words.s, words.len)) {
        ret = error_set(err, EIO, "Could not write '%s'", dict);
    }
    strbuf_free(&words);
    mem_free(in);
    mem_free(dict);
    return ret;
}

static int run_afl(struct campaign *c, const char *dir, const char *target)
{
    char *in = str_fmt("%s/in", dir), *out = str_fmt("%s/out", dir),
         *dict = str_fmt("%s/qcow2.dict", dir);
    char seconds[16], seed[32];
    snprintf(seconds, sizeof(seconds), "%d", c->planted ? 5 : SECONDS);
    snprintf(seed, sizeof(seed), "%llu", (unsigned long long)(c->seed % 1000000 + 1));
    pid_t pid = fork();
    if (pid == 0) {
        static const char *const env[] = {
            "AFL_NO_UI",       "AFL_SKIP_CPUFREQ", "AFL_I_DONT_CARE_ABOUT_MISSING_CRASHES",
            "AFL_NO_AFFINITY", "AFL_QUIET",        "AFL_NO_STARTUP_CALIBRATION"};
        for (size_t i = 0; i < ARRAY_SIZE(env); i++) {
            setenv(env[i], "1", 1);
        }
        if (c->planted == PLANT_FLIP_BYTE) {
            setenv("BLKREF_FUZZ_PLANT", "flip-byte", 1);
            setenv("AFL_SKIP_CRASHES", "1", 1);
        }
        char *log = str_fmt("%s/log", dir);
        if (!freopen(log, "w", stdout) || dup2(STDOUT_FILENO, STDERR_FILENO) < 0) {
            _exit(126);
        }
        execlp("afl-fuzz", "afl-fuzz", "-i", in, "-o", out, "-x", dict, "-s", seed, "-V", seconds,
               "-t", "10000", "-m", "none", "--", target, (char *)NULL);
        _exit(127);
    }
    int status = -1;
    if (pid > 0) {
        waitpid(pid, &status, 0);
    }
    mem_free(in);
    mem_free(out);
    mem_free(dict);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void report_input(struct campaign *c, const char *path, const char *what)
{
    size_t len;
    uint8_t *data = read_file(path, &len);
    struct strbuf text = STRBUF_INIT;
    char name[64];
    snprintf(name, sizeof(name), "%s %016llx", what, (unsigned long long)hash_bytes(data, len, 0));
    strbuf_puts(&text, "# fuzz: hex\n");
    for (size_t i = 0; i < len; i++) {
        strbuf_printf(&text, "%02x%s", data[i], i % 32 == 31 || i + 1 == len ? "\n" : "");
    }
    campaign_report(c, "fuzz", c->subjects[0], "qcow2", name, VERDICT_FAIL,
                    "the image in the reproducer makes the reference crash, hang or break its word",
                    text.s);
    strbuf_free(&text);
    mem_free(data);
}

static int is_input(const struct dirent *d)
{
    return !strncmp(d->d_name, "id", 2);
}

/* Findings in one of AFL++'s folders. */
static unsigned collect(struct campaign *c, const char *dir, const char *folder, const char *what)
{
    char *path = str_fmt("%s/out/default/%s", dir, folder);
    struct dirent **list = NULL;
    int n = scandir(path, &list, is_input, alphasort);
    for (int i = 0; i < n; i++) {
        char *file = str_fmt("%s/%s", path, list[i]->d_name);
        if (i < REPRO_LIMIT) {
            report_input(c, file, what);
        }
        mem_free(file);
        free(list[i]);
    }
    free(list);
    mem_free(path);
    return n > 0 ? (unsigned)n : 0;
}

/* The number behind "execs_done" in AFL++'s own statistics. */
static double executions(const char *dir)
{
    char *path = str_fmt("%s/out/default/fuzzer_stats", dir), line[256];
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

static void skip(struct campaign *c, const char *why)
{
    campaign_report(c, "fuzz", c->subjects[0], "qcow2", "afl", VERDICT_SKIP, why, NULL);
}

static void fuzz(struct campaign *c, const char *dir, const char *target)
{
    int status = run_afl(c, dir, target);
    double n = executions(dir);
    if (status == 127) {
        skip(c, "afl-fuzz is not installed (package afl++)");
    } else if (n == 0) {
        char detail[96];
        snprintf(detail, sizeof(detail), "afl-fuzz ended with status %d and ran nothing", status);
        campaign_report(c, "fuzz", c->subjects[0], "qcow2", "afl", VERDICT_SUBJECT_ERROR, detail,
                        NULL);
    } else if (collect(c, dir, "crashes", "crash") + collect(c, dir, "hangs", "hang") == 0) {
        campaign_report(c, "fuzz", c->subjects[0], "qcow2", "afl", VERDICT_PASS,
                        "no crash and no hang", NULL);
    }
    if (n > 0) {
        store_measure(c->store, "fuzz", c->subjects[0]->name, "executions", n);
    }
}

int stage_fuzz(struct campaign *c, struct error **err)
{
    char *target = str_fmt("%s/fuzz/qcow2_target", c->build), *dir = campaign_scratch(c, "fuzz");
    int ret = 0;
    if (access(target, X_OK) < 0) {
        skip(c, "no fuzz target: make fuzz-target");
    } else {
        ret = make_corpus(c, dir, err);
        if (ret == 0) {
            fuzz(c, dir, target);
        }
    }
    mem_free(target);
    mem_free(dir);
    return ret;
}

static size_t decode(const char *hex, uint8_t *out, size_t max)
{
    size_t n = 0;
    unsigned v;
    while (n < max && sscanf(hex, " %2x", &v) == 1) {
        out[n++] = (uint8_t)v;
        hex += strspn(hex, " \n\r");
        hex += 2;
    }
    return n;
}

/* In a process of its own, which may crash or hang. */
int repro_fuzz(struct campaign *c, const char *subject, const char *text, struct error **err)
{
    static const char head[] = "# fuzz: hex\n";
    const char *at = strstr(text, head);
    if (!at) {
        return error_set(err, EINVAL, "no image in the reproducer: '# fuzz: hex'");
    }
    uint8_t *data = mem_alloc(FUZZ_MAX_INPUT);
    size_t len = decode(at + strlen(head), data, FUZZ_MAX_INPUT);
    int status = 0;
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        struct fuzz f = {.process = process_new(),
                         .profile = profile_named(subject),
                         .flip_byte = c->planted == PLANT_FLIP_BYTE};
        alarm(10);
        _exit(fuzz_qcow2(&f, data, len, NULL) < 0);
    }
    mem_free(data);
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
