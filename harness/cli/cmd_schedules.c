/*
 * `blkref schedules PROGRAM`: the schedule explorer on one program file, on both profiles.
 */
#include "harness/campaign/explore_stages.h"
#include "harness/cli/cli.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "harness/campaign/text_file.h"
#include "ref/base/mem.h"
#include "ref/base/sizes.h"

static const char usage_text[] =
    "Usage: blkref schedules [OPTION...] PROGRAM\n"
    "Runs the operations that stand beside each other (\"||\") in every order within the "
    "bounds.\n\n"
    "  --profile NAME     reference or optimized; without it both\n"
    "  --preemptions N    all schedules of up to N preemptions (2)\n"
    "  --max N            but no more than N schedules (20000; 0: no limit)\n"
    "  --random N         then N schedules of random priorities (200)\n"
    "  --depth N          ... that change N times (3)\n"
    "  --seed N           of the random ones (1)\n"
    "  --no-reduction     also those that differ only in the order of what commutes\n"
    "  --cuts N           also up to N crash states of each schedule\n"
    "  --faults N         also the first N I/Os of each label fail, each by itself\n"
    "  --schedule ID      just this schedule; --fault PLAN and --state ID as findings name them\n"
    "  --all              all findings of a program, not just three\n"
    "Status: 0 nothing found, 1 findings, 2 it could not run.\n";

struct command {
    const char *profile, *file;
    struct schedule_options o;
};

static bool number(const char *text, unsigned *out)
{
    uint64_t v;
    if (parse_uint64(text, NULL, 0, &v) < 0 || v > UINT32_MAX) {
        return false;
    }
    *out = (unsigned)v;
    return true;
}

static bool take(struct command *c, int option, const char *arg)
{
    switch (option) {
    case 'p':
        c->profile = arg;
        return !strcmp(arg, profile_reference.name) || !strcmp(arg, profile_optimized.name);
    case 'n':
        return number(arg, &c->o.preemptions);
    case 'm':
        return parse_uint64(arg, NULL, 0, &c->o.max) == 0;
    case 'r':
        return number(arg, &c->o.pct);
    case 'd':
        return number(arg, &c->o.depth);
    case 's':
        return parse_uint64(arg, NULL, 0, &c->o.seed) == 0;
    case 'R':
        c->o.reduce = false;
        return true;
    case 'c':
        return number(arg, &c->o.cuts);
    case 'f':
        return number(arg, &c->o.fail_max);
    case 'S':
        c->o.only = arg;
        return true;
    case 'F':
        c->o.fault = arg;
        return true;
    case 'C':
        c->o.state = arg;
        return arg[0] == 'c';
    case 'a':
        c->o.max_findings = 0;
        return true;
    default:
        return false;
    }
}

/* 0 to go on, else 1 + exit status. */
static int parse(struct command *c, int argc, char **argv)
{
    static const struct option options[] = {
        {"profile", required_argument, 0, 'p'},
        {"preemptions", required_argument, 0, 'n'},
        {"max", required_argument, 0, 'm'},
        {"random", required_argument, 0, 'r'},
        {"depth", required_argument, 0, 'd'},
        {"seed", required_argument, 0, 's'},
        {"no-reduction", no_argument, 0, 'R'},
        {"cuts", required_argument, 0, 'c'},
        {"faults", required_argument, 0, 'f'},
        {"schedule", required_argument, 0, 'S'},
        {"fault", required_argument, 0, 'F'},
        {"state", required_argument, 0, 'C'},
        {"all", no_argument, 0, 'a'},
        {"help", no_argument, 0, 'h'},
        {0, 0, 0, 0},
    };
    int option;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option == 'h') {
            fputs(usage_text, stdout);
            return 1;
        }
        if (!take(c, option, optarg)) {
            fputs(usage_text, stderr);
            return 3;
        }
    }
    if (optind != argc - 1) {
        fputs(usage_text, stderr);
        return 3;
    }
    c->file = argv[optind];
    return 0;
}

static void print(void *opaque, const struct schedule_finding *f)
{
    printf("FAIL schedule %s", f->schedule);
    printf("%s%s", f->fault ? " fault " : "", f->fault ? f->fault : "");
    printf("%s%s", f->state ? " state " : "", f->state ? f->state : "");
    printf(": %s\n", f->why);
}

static int explore(const struct command *c, const struct program *p, struct process *process,
                   const struct profile *profile)
{
    struct schedule_counts n = {0};
    struct error *err = NULL;
    struct sandbox *sb = sandbox_new(process, profile, PLANT_NONE);
    int ret = schedule_explore(sb, p, &c->o, print, NULL, &n, &err);
    if (ret < 0) {
        fprintf(stderr, "blkref: %s: %s\n", c->file, err ? err->msg : "cannot run");
    } else {
        printf("%s: %llu schedules (%llu random, %llu passed over), %llu steps, %llu faults, "
               "%llu crash states, %llu findings\n",
               profile->name, (unsigned long long)n.schedules, (unsigned long long)n.random,
               (unsigned long long)n.skipped, (unsigned long long)n.steps,
               (unsigned long long)n.faults, (unsigned long long)n.states,
               (unsigned long long)n.findings);
    }
    error_free(err);
    sandbox_free(sb);
    return ret < 0 ? 2 : n.findings > 0;
}

int cmd_schedules(int argc, char **argv)
{
    static const struct profile *const profiles[] = {&profile_reference, &profile_optimized};
    struct command c = {.o = schedule_options_default};
    struct program p;
    struct error *err = NULL;
    int ended = parse(&c, argc, argv), status = 0;
    if (ended) {
        return ended - 1;
    }
    if (text_file_program(c.file, &p, NULL, &err) < 0) {
        fprintf(stderr, "blkref: %s\n", err->msg);
        error_free(err);
        return 2;
    }
    struct process *process = process_new();
    for (size_t i = 0; i < ARRAY_SIZE(profiles); i++) {
        if (!c.profile || !strcmp(c.profile, profiles[i]->name)) {
            int ret = explore(&c, &p, process, profiles[i]);
            status = MAX(status, ret);
        }
    }
    process_free(process);
    program_free(&p);
    return status;
}
