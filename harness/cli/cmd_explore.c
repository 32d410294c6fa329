/*
 * `blkref crash` and `blkref faults`: the explorers on one program file, or on all short programs
 * of the exhaustive set, on both profiles.
 */
#include "harness/campaign/explore_stages.h"
#include "harness/campaign/text_file.h"
#include "harness/cli/cli.h"
#include "harness/sim/write_log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "harness/explore/label_cover.h"
#include "harness/programs/crash_programs.h"
#include "harness/programs/letters.h"
#include "ref/base/mem.h"
#include "ref/tools/drivers.h"

#define SOURCE_USAGE                                                                               \
    "PROGRAM is a file, or - for the input.  --exhaustive N takes all programs of N operations\n"  \
    "of the alphabet on every image (--image TEXT: only on images whose line contains it, or is\n" \
    "it; --part I/N: every N-th program from the I-th on, counted from 0), and the hand-made\n"    \
    "ones when N is 0.\n"

static const char usage_crash[] =
    "Usage: blkref crash [--profile NAME] [--state ID] [--sector N] [--max N] [--nested N] "
    "[--all]\n"
    "                    PROGRAM\n"
    "       blkref crash [--profile NAME] [--sector N] [--max N] [--nested N] --exhaustive N\n"
    "                    [--image TEXT] [--part I/N]\n"
    "Judges every state that a power cut may leave; of every 64th one (--nested N: N-th, 0: none)\n"
    "also the states that another cut leaves while it is repaired.\n" SOURCE_USAGE;
static const char usage_faults[] =
    "Usage: blkref faults [--profile NAME] [--fault PLAN] [--modes LIST] [--pairs N] [--cuts N]\n"
    "                     [--max N] [--all] [--here] [--labels] PROGRAM\n"
    "       blkref faults [--profile NAME] [--modes LIST] [--pairs N] [--cuts N] [--max N]\n"
    "                     [--here] [--labels] --exhaustive N [--image TEXT] [--part I/N]\n"
    "Lets the k-th I/O of each label go wrong in each way, k rising until the fault does not fire\n"
    "(--max N: k up to N), and so many pairs of I/Os fail.  LIST: all, or of EIO, ENOSPC, ENOMEM,\n"
    "EAGAIN, short, torn, lost, stale, misdirected, delayed, hung, nomem (allocations); with a +\n"
    "for each one from then on.  --cuts N judges so many crash states of each faulted run, too.  "
    "Each program runs in a\n"
    "process of its own, but for --here.  --labels shows a line for each label.\n" SOURCE_USAGE;

struct command {
    const char *usage, *profile, *only, *file, *image;
    unsigned sector, cuts, findings, ops, nested, modes, pairs;
    unsigned long part, parts;
    uint64_t max;
    bool faults, exhaustive, here, labels;
    const struct program *program;
    struct crash_counts crash;
    struct fault_counts fault;
    struct label_cover *cover;
};

static bool take_source(struct command *c, const char *a, const char *v)
{
    if (!strcmp(a, "--exhaustive")) {
        c->exhaustive = true;
        c->ops = (unsigned)atoi(v);
    } else if (!strcmp(a, "--image")) {
        c->image = v;
    } else if (strcmp(a, "--part") || sscanf(v, "%lu/%lu", &c->part, &c->parts) != 2) {
        return false;
    }
    return true;
}

static int parse(struct command *c, int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        const char *a = argv[i], *v = i + 1 < argc ? argv[i + 1] : NULL;
        if (!strcmp(a, "--help")) {
            return 0;
        }
        if (!strcmp(a, "--all")) {
            c->findings = 0;
        } else if (!strcmp(a, "--here") && c->faults) {
            c->here = true;
        } else if (!strcmp(a, "--labels") && c->faults) {
            c->labels = true;
        } else if (a[0] != '-' || !a[1]) {
            c->file = a;
        } else if (!v) {
            return -1;
        } else {
            i++;
            if (!strcmp(a, "--profile")) {
                c->profile = v;
            } else if (!strcmp(a, c->faults ? "--fault" : "--state")) {
                c->only = v;
            } else if (!strcmp(a, "--sector") && !c->faults) {
                c->sector = (unsigned)atoi(v);
            } else if (!strcmp(a, "--nested") && !c->faults) {
                c->nested = (unsigned)atoi(v);
            } else if (!strcmp(a, "--cuts") && c->faults) {
                c->cuts = (unsigned)atoi(v);
            } else if (!strcmp(a, "--pairs") && c->faults) {
                c->pairs = (unsigned)atoi(v);
            } else if (!strcmp(a, "--modes") && c->faults) {
                c->modes = fault_modes_parse(v);
            } else if (!strcmp(a, "--max")) {
                c->max = strtoull(v, NULL, 10);
            } else if (!take_source(c, a, v)) {
                return -1;
            }
        }
    }
    bool sector_ok = c->sector >= 512 && c->sector <= 65536 && IS_POW2(c->sector);
    bool source_ok = !c->file == c->exhaustive && c->ops <= 4 && c->part < c->parts;
    return sector_ok && source_ok && (c->modes || !c->faults) ? 1 : -1;
}

/* Of a set, a finding is told as the reproducer that `blkref repro` takes. */
static void print_crash(void *opaque, const struct crash_finding *f)
{
    const struct command *c = opaque;
    printf("FAIL %s: %s\n%s", f->id, f->why, f->description);
    if (c->exhaustive) {
        struct crash_options o = crash_options_default;
        o.bounds.sector = c->sector;
        char *text = crash_repro(c->program, &o, f->id);
        puts(text);
        mem_free(text);
    }
}

static void print_fault(void *opaque, const struct fault_finding *f)
{
    const struct command *c = opaque;
    char *id = fault_finding_id(f);
    printf("FAIL %s: %s\n", id, f->why);
    mem_free(id);
    if (c->exhaustive) {
        char *text = fault_repro(c->program, f);
        puts(text);
        mem_free(text);
    }
}

static int explore_crash(struct command *c, struct sandbox *sb, struct error **err)
{
    struct crash_options o = crash_options_default;
    o.bounds.sector = c->sector;
    o.bounds.max_states = c->max ? c->max : o.bounds.max_states;
    o.nested_every = c->nested;
    o.max_findings = c->findings;
    o.only = c->only;
    return crash_explore(sb, c->program, &o, print_crash, c, &c->crash, err);
}

static int explore_faults(struct command *c, struct sandbox *sb, struct error **err)
{
    struct fault_options o = fault_options_default;
    o.kmax = (unsigned)c->max;
    o.cuts = c->cuts;
    o.modes = c->modes;
    o.pairs = c->pairs;
    o.apart = !c->here;
    o.max_findings = c->findings;
    o.only = c->only;
    struct fault_counts *n = mem_zalloc(sizeof(*n));
    int ret = fault_explore(sb, c->program, &o, print_fault, c, n, err);
    fault_counts_add(&c->fault, n);
    label_cover_add(c->cover, c->program->format, n);
    mem_free(n);
    return ret;
}

static bool explore(struct command *c, struct sandbox *sb, const struct program *p)
{
    struct error *err = NULL;
    c->program = p;
    int ret = (c->faults ? explore_faults : explore_crash)(c, sb, &err);
    if (ret < 0) {
        fprintf(stderr, "blkref: %s: %s\n", c->file ? c->file : crash_image(0),
                err ? err->msg : "cannot run");
    }
    error_free(err);
    return ret == 0;
}

static bool explore_image(struct command *c, struct sandbox *sb, size_t image)
{
    size_t total = c->ops ? crash_program_count(c->ops) : crash_special_count();
    double start = clock_seconds();
    bool ok = true;
    for (size_t n = c->part; n < total; n += c->parts) {
        struct program p;
        if (c->ops) {
            crash_program(image, c->ops, n, &p);
        } else {
            crash_special(n, &p);
        }
        ok &= explore(c, sb, &p);
        program_free(&p);
        if (n / c->parts % 64 == 0) {
            cli_set_progress(image, crash_image_count(), n, total, start);
        }
    }
    return ok;
}

static bool explore_set(struct command *c, struct sandbox *sb)
{
    bool ok = true;
    const size_t n = crash_image_count();
    for (size_t i = 0; i < (c->ops ? n : 1); i++) {
        if (program_image_wanted(crash_image, n, i, c->image)) {
            ok &= explore_image(c, sb, i);
        }
    }
    return ok;
}

static void print_fault_counts(const struct fault_counts *n, const char *profile)
{
    printf("%s: %llu programs, %llu runs, %llu faults fired (%llu pairs), %llu crash states, "
           "%llu findings, %llu programs cut off\n",
           profile, (unsigned long long)n->programs, (unsigned long long)n->runs,
           (unsigned long long)n->fired, (unsigned long long)n->pairs,
           (unsigned long long)n->states, (unsigned long long)n->findings,
           (unsigned long long)n->cut_off);
    printf("%s: %llu silent metadata faults: %llu noticed by check or opening, %llu harmless, "
           "%llu unnoticed with wrong data\n",
           profile, (unsigned long long)n->silent, (unsigned long long)n->noticed,
           (unsigned long long)(n->silent - n->noticed - n->unnoticed),
           (unsigned long long)n->unnoticed);
}

/* Of a set, also what it never reached. */
static void print_label(void *opaque, const struct label_line *l)
{
    const struct command *c = opaque;
    if (l->reached || (c->exhaustive && l->wrong)) {
        printf("%-9s %-30s %9llu", l->format, label_name(l->label), (unsigned long long)l->reached);
        for (int m = 0; m < FAULT_MODES; m++) {
            printf(" %llu", (unsigned long long)l->failed[m]);
        }
        printf("%s%s\n", l->wrong ? "  " : "", l->wrong ? l->wrong : "");
    }
}

/* A line a format and label: how often it is reached, and faults by way. */
static void print_labels(struct command *c)
{
    printf("%-9s %-30s %9s", "format", "label", "reached");
    for (int m = 0; m < FAULT_MODES; m++) {
        printf(" %s", fault_modes[m].name);
    }
    printf("\n");
    label_cover_each(c->cover, print_label, c);
}

static uint64_t print_counts(struct command *c, const char *profile)
{
    if (c->faults) {
        print_fault_counts(&c->fault, profile);
        if (c->labels) {
            print_labels(c);
        }
        return c->fault.findings;
    }
    printf("%s: %llu cuts, %llu states, %llu distinct, %llu of cut repairs, %llu findings, "
           "%llu programs cut off\n",
           profile, (unsigned long long)c->crash.cuts, (unsigned long long)c->crash.states,
           (unsigned long long)c->crash.distinct, (unsigned long long)c->crash.nested,
           (unsigned long long)c->crash.findings, (unsigned long long)c->crash.cut_off);
    return c->crash.findings;
}

/* One program, or NULL for the set. */
static int run_profiles(struct command *c, const struct program *p)
{
    const struct profile *const profiles[] = {&profile_reference, &profile_optimized};
    struct process *process = process_new();
    int status = 0;
    for (size_t i = 0; i < ARRAY_SIZE(profiles); i++) {
        if (c->profile && strcmp(c->profile, profiles[i]->name)) {
            continue;
        }
        struct sandbox *sb = sandbox_new(process, profiles[i], PLANT_NONE);
        c->crash = (struct crash_counts){0};
        c->fault = (struct fault_counts){0};
        c->cover = label_cover_new(&all_drivers);
        bool ran = p ? explore(c, sb, p) : explore_set(c, sb);
        status = print_counts(c, profiles[i]->name) || !ran ? 1 : status;
        label_cover_free(c->cover);
        sandbox_free(sb);
    }
    process_free(process);
    return status;
}

static int command(struct command *c, int argc, char **argv)
{
    struct program p;
    struct error *err = NULL;
    int ret = parse(c, argc, argv);
    if (ret <= 0) {
        fputs(c->usage, ret ? stderr : stdout);
        return ret ? 2 : 0;
    }
    if (c->exhaustive) {
        return run_profiles(c, NULL);
    }
    if (text_file_program(c->file, &p, NULL, &err) < 0) {
        fprintf(stderr, "blkref: %s\n", err->msg);
        error_free(err);
        return 2;
    }
    int status = run_profiles(c, &p);
    program_free(&p);
    return status;
}

int cmd_crash(int argc, char **argv)
{
    if (write_log_wants(argc, argv)) {
        return cmd_write_log(argc, argv);
    }
    if (outside_wants(argc, argv)) {
        return cmd_outside(argc, argv, false);
    }
    struct command c = {
        .usage = usage_crash, .sector = 512, .findings = 3, .parts = 1, .nested = 64};
    return command(&c, argc, argv);
}

int cmd_faults(int argc, char **argv)
{
    if (outside_wants(argc, argv)) {
        return cmd_outside(argc, argv, true);
    }
    struct command c = {.usage = usage_faults,
                        .sector = 512,
                        .findings = 3,
                        .parts = 1,
                        .faults = true,
                        .modes = FAULT_MODES_ALL};
    return command(&c, argc, argv);
}
