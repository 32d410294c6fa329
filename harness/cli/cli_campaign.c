/*
 * `blkref campaign` and `blkref repro`: options, subjects, stages in order, scoreboard, exit
 * status.
 */
#include <dirent.h>
#include <errno.h>
#include <ftw.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "fuzz/fuzz_image.h"
#include "harness/campaign/campaign.h"
#include "harness/campaign/divergence.h"
#include "harness/campaign/repro.h"
#include "harness/campaign/text_file.h"
#include "harness/cli/cli.h"
#include "harness/cli/cli_campaign.h"
#include "harness/programs/crash_programs.h"
#include "harness/programs/image_kinds.h"
#include "harness/programs/long_programs.h"
#include "harness/programs/outside_programs.h"
#include "harness/programs/schedule_programs.h"
#include "ref/base/mem.h"
#include "ref/base/sizes.h"
#include "reports/report.h"

#define DEFAULT_COUNT    100
#define COUNT_PER_MINUTE 100
#define FUZZ_SECONDS     60

static const char usage_text[] =
    "usage: blkref campaign [OPTION...]\n"
    "       blkref repro [OPTION...] ID|FILE\n"
    "       blkref gate --baseline STORE [OPTION...]\n"
    "       blkref gate --baseline STORE --current STORE [--json]\n\n"
    "  --seed N             of everything drawn at random (1)\n"
    "  --count N            programs a subject; other stages scale with it (100)\n"
    "  --minutes N          chooses the count for about so long; results depend on the count "
    "alone\n"
    "  --only STAGE         read, write, programs, trace ...; may be given several times\n"
    "  --format NAME        only images of this format, in all stages that make images: raw, "
    "qcow2,\n"
    "                       vmdk, qed, qcow, vdi, vpc, vhdx, parallels, luks, crypt (encrypted\n"
    "                       qcow2); in stages hostile and fuzz alone: bochs, cloop, dmg\n"
    "  --image TEXT         only images whose line holds TEXT, of the stages that have lists of "
    "images:\n"
    "                       sequences, faults, crash, schedules, qemu-crash\n"
    "  --fuzz-seconds N     of stage fuzz, shared by the formats (60)\n"
    "  --subject NAME=DIR   QEMU's programs in DIR as a further subject; several times\n"
    "  --in-process         no other programs: just the reference's two profiles\n"
    "  --build DIR          build folder: optimized builds, fuzz targets, reproducers (build)\n"
    "  --divergences FILE   known differences (docs/divergences.txt)\n"
    "  --report DIR         where result store and reports go\n"
    "  --json               results as JSON instead of the scoreboard\n"
    "  --first              ends with the first failure, which is printed\n"
    "  --plant DEFECT       flip-byte, drop-flush, leak-cluster, race, deadlock, swallow-error: to "
    "see\n"
    "                       stages fail\n\n"
    "Status: 0, or 1 on a failure that the divergence list does not explain, 2 when it could not "
    "run.\n\n"
    "blkref gate runs a campaign and compares it with an earlier one: status 1 on new failures "
    "only.\n\n"
    "  --baseline STORE     results.sqlite of the earlier campaign, with the same seed and count\n"
    "  --current STORE      runs nothing: compares this store with the baseline\n"
    "  --allow-different    also when seed, count or format differ\n"
    "  --report DIR         of the campaign that is run (BUILD/gate)\n"
    "  --json               the comparison as JSON, no scoreboard\n";

static bool number(const char *text, uint64_t *out)
{
    return parse_uint64(text, NULL, 0, out) == 0;
}

static bool planted_by_name(const char *name, enum planted *out)
{
    for (int i = 0; planted_names[i]; i++) {
        if (!strcmp(planted_names[i], name)) {
            *out = (enum planted)i;
            return true;
        }
    }
    return false;
}

enum {
    OPT_SEED = 1,
    OPT_COUNT,
    OPT_MINUTES,
    OPT_ONLY,
    OPT_SUBJECT,
    OPT_FORMAT,
    OPT_IMAGE,
    OPT_FUZZ_SECONDS,
    OPT_IN_PROCESS,
    OPT_BUILD,
    OPT_DIVERGENCES,
    OPT_REPORT,
    OPT_JSON,
    OPT_FIRST,
    OPT_PLANT,
    OPT_BASELINE,
    OPT_CURRENT,
    OPT_ALLOW_DIFFERENT,
    OPT_HELP
};

static bool is_gate_option(int option)
{
    return option == OPT_BASELINE || option == OPT_CURRENT || option == OPT_ALLOW_DIFFERENT;
}

static bool take_gate_option(struct campaign_request *r, int option, const char *arg)
{
    switch (option) {
    case OPT_BASELINE:
        r->baseline = arg;
        return r->gate;
    case OPT_CURRENT:
        r->current = arg;
        return r->gate;
    default:
        r->allow_different = true;
        return r->gate;
    }
}

/* Is it of any stage's list? */
static bool image_exists(const char *text)
{
    static const struct {
        size_t (*count)(void);
        const char *(*line)(size_t i);
    } lists[] = {{crash_image_count, crash_image},
                 {long_image_count, long_image},
                 {schedule_image_count, schedule_image},
                 {outside_image_count, outside_image}};
    for (size_t i = 0; i < ARRAY_SIZE(lists); i++) {
        for (size_t k = 0; k < lists[i].count(); k++) {
            if (strstr(lists[i].line(k), text)) {
                return true;
            }
        }
    }
    return false;
}

static bool take_option(struct campaign_request *r, int option, const char *arg)
{
    switch (option) {
    case OPT_SEED:
        return number(arg, &r->seed);
    case OPT_COUNT:
        return number(arg, &r->count) && r->count > 0 && r->count <= 100000000;
    case OPT_MINUTES:
        if (!number(arg, &r->count) || !r->count || r->count > 100000) {
            return false;
        }
        r->count *= COUNT_PER_MINUTE;
        return true;
    case OPT_ONLY:
        return r->n_only < MAX_NAMED && stage_find(arg) && (r->only[r->n_only++] = arg);
    case OPT_SUBJECT:
        return r->n_named < MAX_NAMED && strchr(arg, '=') > arg && (r->named[r->n_named++] = arg);
    case OPT_FORMAT:
        r->format = arg;
        return image_kind_named(arg) || fuzz_format_find(arg);
    case OPT_IMAGE:
        r->image = arg;
        return image_exists(arg);
    case OPT_FUZZ_SECONDS:
        return number(arg, &r->fuzz_seconds) && r->fuzz_seconds > 0 && r->fuzz_seconds <= 1000000;
    case OPT_PLANT:
        return planted_by_name(arg, &r->planted);
    case OPT_IN_PROCESS:
        r->in_process = true;
        return true;
    case OPT_JSON:
        r->json = true;
        return true;
    case OPT_FIRST:
        r->first = true;
        return true;
    case OPT_BUILD:
        r->build = arg;
        return true;
    case OPT_DIVERGENCES:
        r->divergences = arg;
        return true;
    case OPT_REPORT:
        r->report = arg;
        return true;
    default:
        return is_gate_option(option) && take_gate_option(r, option, arg);
    }
}

int campaign_parse(struct campaign_request *r, int argc, char **argv)
{
    static const struct option options[] = {
        {"seed", required_argument, 0, OPT_SEED},
        {"count", required_argument, 0, OPT_COUNT},
        {"minutes", required_argument, 0, OPT_MINUTES},
        {"only", required_argument, 0, OPT_ONLY},
        {"subject", required_argument, 0, OPT_SUBJECT},
        {"format", required_argument, 0, OPT_FORMAT},
        {"image", required_argument, 0, OPT_IMAGE},
        {"fuzz-seconds", required_argument, 0, OPT_FUZZ_SECONDS},
        {"in-process", no_argument, 0, OPT_IN_PROCESS},
        {"build", required_argument, 0, OPT_BUILD},
        {"divergences", required_argument, 0, OPT_DIVERGENCES},
        {"report", required_argument, 0, OPT_REPORT},
        {"json", no_argument, 0, OPT_JSON},
        {"first", no_argument, 0, OPT_FIRST},
        {"plant", required_argument, 0, OPT_PLANT},
        {"baseline", required_argument, 0, OPT_BASELINE},
        {"current", required_argument, 0, OPT_CURRENT},
        {"allow-different", no_argument, 0, OPT_ALLOW_DIFFERENT},
        {"help", no_argument, 0, OPT_HELP},
        {0, 0, 0, 0},
    };
    int c, index = 0;
    *r = (struct campaign_request){.seed = 1,
                                   .count = DEFAULT_COUNT,
                                   .fuzz_seconds = FUZZ_SECONDS,
                                   .build = "build",
                                   .divergences = "docs/divergences.txt",
                                   .gate = r->gate};
    while ((c = getopt_long(argc, argv, "", options, &index)) != -1) {
        if (c == OPT_HELP) {
            fputs(usage_text, stdout);
            return 1;
        }
        if (c == '?' || !take_option(r, c, optarg)) {
            if (is_gate_option(c)) {
                fprintf(stderr, "blkref %s: --%s is an option of blkref gate\n", argv[0],
                        options[index].name);
            } else if (c != '?') {
                fprintf(stderr, "blkref: bad value '%s' for --%s\n", optarg, options[index].name);
            }
            fputs("Try 'blkref campaign --help'\n", stderr);
            return 3;
        }
    }
    return 0;
}

/* ---- subjects ---- */

static void add_subject(struct campaign *c, struct subject *s)
{
    if (!s) {
        return;
    }
    if (c->n_subjects == MAX_SUBJECTS) {
        subject_free(s);
        return;
    }
    c->subjects[c->n_subjects++] = s;
    char *key = str_fmt("subject.%s", s->name);
    store_fact(c->store, key, s->version ? s->version : "this tree");
    mem_free(key);
}

static void add_build(struct campaign *c, const char *name)
{
    char *program = str_fmt("%s/%s/bin/blkref", c->build, name);
    if (access(program, X_OK) == 0) {
        add_subject(c, subject_runner_new(name, program, NULL));
    }
    mem_free(program);
}

static int add_qemu(struct campaign *c, const char *name, const char *programs, struct error **err)
{
    char *dir = campaign_scratch(c, name);
    struct subject *s = subject_qemu_new(name, programs, dir, err);
    mem_free(dir);
    add_subject(c, s);
    return s ? 0 : -ENOENT;
}

static int find_subjects(struct campaign *c, const struct campaign_request *r, struct error **err)
{
    int ret = 0;
    add_subject(c, subject_ref_new(c->process, "reference", &profile_reference, NULL, c->planted));
    add_subject(c, subject_ref_new(c->process, "optimized", &profile_optimized, NULL, c->planted));
    if (!r->in_process) {
        add_build(c, "gcc-O3");
        add_build(c, "clang-O3");
        add_qemu(c, "qemu", NULL, NULL);
    }
    for (unsigned i = 0; i < r->n_named && ret == 0; i++) {
        const char *equals = strchr(r->named[i], '=');
        char *name = str_ndup(r->named[i], (size_t)(equals - r->named[i]));
        ret = add_qemu(c, name, equals + 1, err);
        mem_free(name);
    }
    return ret;
}

/* ---- running ---- */

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    return remove(path);
}

static void remove_tree(const char *path)
{
    nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

/* Of a format that nobody writes there are no programs. */
static bool has_images(const struct campaign_request *r, const char *stage)
{
    return !r->format || image_kind_named(r->format) || !strcmp(stage, "hostile") ||
           !strcmp(stage, "fuzz");
}

static bool wanted(const struct campaign_request *r, const char *stage)
{
    if (!has_images(r, stage)) {
        return false;
    }
    for (unsigned i = 0; i < r->n_only; i++) {
        if (!strcmp(r->only[i], stage)) {
            return true;
        }
    }
    return !r->n_only;
}

/* The fact "stages" is there when all that was asked for has run to its end. */
static void note_end(struct campaign *c, const struct campaign_request *r)
{
    struct strbuf names = STRBUF_INIT;
    for (const struct stage *s = campaign_stages; s->name; s++) {
        if (wanted(r, s->name)) {
            strbuf_printf(&names, "%s%s", names.len ? " " : "", s->name);
        }
    }
    if (store_complete(c->store)) {
        store_fact(c->store, "stages", names.s);
    }
    strbuf_free(&names);
}

static int run_stages(struct campaign *c, const struct campaign_request *r)
{
    int status = 0;
    for (const struct stage *s = campaign_stages; s->name; s++) {
        struct error *err = NULL;
        double start = clock_seconds();
        if (!wanted(r, s->name)) {
            continue;
        }
        if (s->run(c, &err) < 0) {
            fprintf(stderr, "blkref: stage %s: %s\n", s->name, err ? err->msg : "failed");
            status = 2;
        }
        error_clear(&err);
        store_timing(c->store, s->name, "-", clock_seconds() - start);
    }
    return status;
}

/*
 * After a full campaign every entry of the list must have met something: what it explains, or its
 * own reproducer, which must still differ.  Entries about other subjects and versions than those
 * found are left alone.
 */
static void judge_divergence(struct campaign *c, struct divergence *e)
{
    struct error *err = NULL;
    char *path = e->repro ? str_fmt("%s/%s", c->divergences->dir, e->repro) : NULL;
    char *text = path ? text_file_read(path, &err) : NULL;
    char *subject = text ? repro_head(text, "subject") : NULL;
    struct subject *s = subject ? campaign_subject(c, subject) : NULL;
    int verdict = VERDICT_FAIL;
    const char *detail = "matches nothing any more";
    if (e->seen) {
        verdict = VERDICT_PASS;
        detail = NULL;
    } else if (text && !s) {
        verdict = VERDICT_SKIP;
        detail = "its subject is not here";
    } else if (text && repro_run(c, text, &err) == 1) {
        verdict = VERDICT_PASS;
        detail = NULL;
    }
    campaign_report(c, "divergences", NULL, "-", e->id, verdict, detail, text);
    error_clear(&err);
    mem_free(path);
    mem_free(text);
    mem_free(subject);
}

static void judge_divergences(struct campaign *c)
{
    for (size_t i = 0; i < c->divergences->n; i++) {
        judge_divergence(c, &c->divergences->entries[i]);
    }
}

/* --first: one failure is all that is wanted. */
static void end_at_first(struct campaign *c, const char *stage, const char *name,
                         const char *detail)
{
    printf("%s: %s: %s\n", stage, name, detail ? detail : "fails");
    fflush(stdout);
    remove_tree(c->dir);
    _exit(1);
}

/* In memory where that can be: the subjects' flushes would otherwise wait for the host's disk. */
static const char *scratch_place(void)
{
    const char *tmp = getenv("TMPDIR");
    return tmp ? tmp : access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
}

static int start(struct campaign *c, const struct campaign_request *r, struct error **err)
{
    char *dir = str_fmt("%s/blkref.XXXXXX", scratch_place());
    char *path = r->report ? str_fmt("%s/results.sqlite", r->report) : NULL;
    *c = (struct campaign){
        .seed = r->seed, .count = (unsigned)r->count, .build = r->build, .planted = r->planted};
    c->format = r->format;
    c->image = r->image;
    c->fuzz_seconds = (unsigned)r->fuzz_seconds;
    c->dir = mkdtemp(dir);
    int ret = c->dir ? 0 : error_set_errno(err, errno, "%s", dir);
    if (r->report) {
        mkdir(r->report, 0777);
    }
    c->progress = isatty(2);
    c->failed = r->first ? end_at_first : NULL;
    c->repro_dir = str_fmt("%s/repro", r->report ? r->report : r->build);
    c->divergences = ret < 0 ? NULL : divergences_load(r->divergences, err);
    c->store = c->divergences ? store_open(path, err) : NULL;
    ret = c->store ? 0 : ret < 0 ? ret : -EIO;
    if (ret == 0) {
        c->process = process_new();
        ret = find_subjects(c, r, err);
    }
    mem_free(path);
    return ret;
}

static void end(struct campaign *c)
{
    for (unsigned i = 0; i < c->n_subjects; i++) {
        subject_free(c->subjects[i]);
    }
    if (c->process) {
        process_free(c->process);
    }
    if (c->store) {
        store_close(c->store);
    }
    divergences_free(c->divergences);
    if (c->dir) {
        remove_tree(c->dir);
    }
    mem_free((char *)c->dir);
    mem_free((char *)c->repro_dir);
}

static void print_results(struct campaign *c, const struct campaign_request *r)
{
    struct strbuf text = STRBUF_INIT;
    if (r->json) {
        store_export_json(c->store, &text);
    } else {
        store_scoreboard(c->store, &text);
    }
    fputs(text.s ? text.s : "", stdout);
    strbuf_free(&text);
}

static int write_report(struct campaign *c, const struct campaign_request *r)
{
    struct error *err = NULL;
    char *path = r->report ? str_fmt("%s/results.sqlite", r->report) : NULL;
    int ret = path ? report_write(c->store, path, r->report, &err) : 0;
    if (ret < 0) {
        fprintf(stderr, "blkref campaign: report: %s\n", err ? err->msg : "could not be written");
    }
    error_clear(&err);
    mem_free(path);
    return ret;
}

static void note_facts(struct campaign *c, const struct campaign_request *r)
{
    char *seed = str_fmt("%llu", (unsigned long long)r->seed), *count = str_fmt("%u", c->count);
    store_fact(c->store, "seed", seed);
    store_fact(c->store, "count", count);
    if (r->format) {
        store_fact(c->store, "format", r->format);
    }
    if (r->image) {
        store_fact(c->store, "image", r->image);
    }
    mem_free(seed);
    mem_free(count);
}

int campaign_run(const struct campaign_request *r)
{
    struct campaign c;
    struct error *err = NULL;
    int status = 2;
    signal(SIGPIPE, SIG_IGN);
    if (start(&c, r, &err) == 0) {
        note_facts(&c, r);
        status = run_stages(&c, r);
        if (!r->n_only && !r->planted && !r->image) {
            judge_divergences(&c);
        }
        if (status == 0) {
            note_end(&c, r);
        }
        if (!r->quiet) {
            print_results(&c, r);
        }
        status = status ? status : store_failures(c.store) > 0;
        status = write_report(&c, r) < 0 ? 2 : status;
    } else {
        fprintf(stderr, "blkref campaign: %s\n", err ? err->msg : "cannot start");
    }
    error_clear(&err);
    end(&c);
    return status;
}

int campaign_main(int argc, char **argv)
{
    struct campaign_request r = {0};
    int ended = campaign_parse(&r, argc, argv);
    if (ended) {
        return ended - 1;
    }
    if (optind < argc) {
        fprintf(stderr, "blkref campaign: surplus argument '%s'\n", argv[optind]);
        return 2;
    }
    return campaign_run(&r);
}

/* A file, or an id among the reproducers of this build and report folder. */
static char *find_repro(const struct campaign *c, const char *name, struct error **err)
{
    if (access(name, F_OK) == 0) {
        return text_file_read(name, err);
    }
    char *path = str_fmt("%s/%s.txt", c->repro_dir, name);
    char *text = text_file_read(path, err);
    mem_free(path);
    return text;
}

int repro_main(int argc, char **argv)
{
    struct campaign_request r = {0};
    struct campaign c;
    struct error *err = NULL;
    int ended = campaign_parse(&r, argc, argv), ret = -1;
    if (ended || optind != argc - 1) {
        fputs(ended ? "" : usage_text, stderr);
        return ended ? ended - 1 : 2;
    }
    signal(SIGPIPE, SIG_IGN);
    const char *report = r.report;
    r.report = NULL;
    if (start(&c, &r, &err) == 0) {
        if (report) {
            mem_free((char *)c.repro_dir);
            c.repro_dir = str_fmt("%s/repro", report);
        }
        char *text = find_repro(&c, argv[optind], &err);
        ret = text ? repro_run(&c, text, &err) : -ENOENT;
        mem_free(text);
    }
    printf("%s%s%s\n",
           ret == 0  ? "passes"
           : ret > 0 ? "fails: "
                     : "cannot run: ",
           err ? err->msg : "", "");
    error_clear(&err);
    end(&c);
    return ret == 0 ? 0 : ret > 0 ? 1 : 2;
}
