/*
 * `blkref crash PROGRAM` and `blkref faults PROGRAM`: the explorers on one program file, on both
 * profiles.
 */
#include "harness/explore_stages.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "ref/base/mem.h"

static const char usage_crash[] =
    "Usage: blkref crash [--profile NAME] [--state ID] [--sector N] [--max N] [--all] PROGRAM\n"
    "Judges every state that a power cut may leave of the program; PROGRAM is a file, or - for the "
    "input.\n";
static const char usage_faults[] =
    "Usage: blkref faults [--profile NAME] [--fault PLAN] [--cuts N] [--max N] [--all] PROGRAM\n"
    "Fails the k-th I/O of each label with EIO and ENOSPC, k rising until the fault does not "
    "fire.\n";

struct command {
    const char *usage, *profile, *only, *file;
    unsigned sector, cuts, findings;
    uint64_t max;
    bool faults;
    const struct program *program;
};

static char *read_text(const char *file)
{
    FILE *f = strcmp(file, "-") ? fopen(file, "r") : stdin;
    struct strbuf text = STRBUF_INIT;
    char buf[4096];
    size_t n;
    if (!f) {
        return NULL;
    }
    while (text.len < (1u << 20) && (n = fread(buf, 1, sizeof(buf), f)) > 0) {
        strbuf_add(&text, buf, n);
    }
    if (f != stdin) {
        fclose(f);
    }
    return strbuf_take(&text);
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
            } else if (!strcmp(a, "--cuts") && c->faults) {
                c->cuts = (unsigned)atoi(v);
            } else if (!strcmp(a, "--max")) {
                c->max = strtoull(v, NULL, 10);
            } else {
                return -1;
            }
        }
    }
    bool sector_ok = c->sector >= 512 && c->sector <= 65536 && IS_POW2(c->sector);
    return c->file && sector_ok ? 1 : -1;
}

static void print_crash(void *opaque, const struct crash_finding *f)
{
    printf("FAIL %s: %s\n%s", f->id, f->why, f->description);
}

static void print_fault(void *opaque, const struct fault_finding *f)
{
    printf("FAIL %s%s%s: %s\n", f->fault, f->state ? " state " : "", f->state ? f->state : "",
           f->why);
}

static int explore_crash(const struct command *c, struct sandbox *sb, const char *profile,
                         struct error **err)
{
    struct crash_options o = crash_options_default;
    struct crash_counts n = {0};
    o.bounds.sector = c->sector;
    o.bounds.max_states = c->max ? c->max : o.bounds.max_states;
    o.max_findings = c->findings;
    o.only = c->only;
    int ret = crash_explore(sb, c->program, &o, print_crash, NULL, &n, err);
    printf("%s: %llu cuts, %llu states, %llu distinct, %llu findings\n", profile,
           (unsigned long long)n.cuts, (unsigned long long)n.states, (unsigned long long)n.distinct,
           (unsigned long long)n.findings);
    return ret < 0 ? ret : n.findings > 0;
}

static int explore_faults(const struct command *c, struct sandbox *sb, const char *profile,
                          struct error **err)
{
    struct fault_options o = fault_options_default;
    struct fault_counts n = {0};
    o.kmax = (unsigned)c->max;
    o.cuts = c->cuts;
    o.max_findings = c->findings;
    o.only = c->only;
    int ret = fault_explore(sb, c->program, &o, print_fault, NULL, &n, err);
    printf("%s: %llu runs, %llu faults fired, %llu crash states, %llu findings\n", profile,
           (unsigned long long)n.runs, (unsigned long long)n.fired, (unsigned long long)n.states,
           (unsigned long long)n.findings);
    return ret < 0 ? ret : n.findings > 0;
}

static int run_profiles(const struct command *c)
{
    const struct profile *const profiles[] = {&profile_reference, &profile_optimized};
    struct process *process = process_new();
    int status = 0;
    for (size_t i = 0; i < ARRAY_SIZE(profiles); i++) {
        if (c->profile && strcmp(c->profile, profiles[i]->name)) {
            continue;
        }
        struct error *err = NULL;
        struct sandbox *sb = sandbox_new(process, profiles[i], PLANT_NONE);
        int ret = (c->faults ? explore_faults : explore_crash)(c, sb, profiles[i]->name, &err);
        if (ret < 0) {
            fprintf(stderr, "blkref: %s: %s\n", c->file, err ? err->msg : "cannot run");
        }
        status = ret ? 1 : status;
        error_free(err);
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
    char *text = read_text(c->file);
    if (!text || program_parse(text, &p, &err) < 0) {
        fprintf(stderr, "blkref: %s: %s\n", c->file, err ? err->msg : "cannot be read");
        error_free(err);
        mem_free(text);
        return 2;
    }
    c->program = &p;
    int status = run_profiles(c);
    program_free(&p);
    mem_free(text);
    return status;
}

int cmd_crash(int argc, char **argv)
{
    struct command c = {.usage = usage_crash, .sector = 512, .findings = 3};
    return command(&c, argc, argv);
}

int cmd_faults(int argc, char **argv)
{
    struct command c = {.usage = usage_faults, .sector = 512, .findings = 3, .faults = true};
    return command(&c, argc, argv);
}
