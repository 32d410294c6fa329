/*
 * `blkref`: which command, help and version.
 */
#include "harness/cli/cli.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "harness/campaign/explore_stages.h"
#include "harness/subject/runner.h"
#include "ref/base/mem.h"

const struct cli_command cli_commands[] = {
    {"campaign", "all stages on all subjects found", campaign_main},
    {"gate", "a campaign held against an earlier one: status 1 on new failures only", gate_main},
    {"run", "one program on the reference, a result line an operation", runner_main},
    {"repro", "exactly one failure again", repro_main},
    {"crash", "every state a power cut may leave of one program", cmd_crash},
    {"faults", "the k-th I/O of each label of one program fails", cmd_faults},
    {"schedules", "operations beside each other in every order", cmd_schedules},
    {"check-spec", "an image by the clauses of its format's spec", check_spec_main},
    {"iotests", "an upstream tests/qemu-iotests tree on our programs or others", iotests_main},
    {"mutants", "historical bugs put back: which explorer finds them, how fast", mutants_main},
    {"bench", "what worlds and crash states cost, for `make bench`", bench_main},
    {NULL, NULL, NULL},
};

static void help(FILE *out)
{
    fputs("usage: blkref COMMAND [OPTION...]\n\n", out);
    for (const struct cli_command *c = cli_commands; c->name; c++) {
        fprintf(out, "  %-12s%s\n", c->name, c->what);
    }
    fputs("\nblkref COMMAND --help says more.\n", out);
}

void cli_set_progress(size_t image, size_t images, size_t done, size_t total, double start)
{
    if (isatty(2)) {
        double rate = (double)done / MAX(clock_seconds() - start, 1e-3);
        fprintf(stderr, "\rimage %zu of %zu: %zu of %zu programs, %.1f/s, %.0f s left   ",
                image + 1, images, done, total, rate, (double)(total - done) / MAX(rate, 1e-3));
    }
}

int cli_main(int argc, char **argv)
{
    const char *word = argc > 1 ? argv[1] : "";
    if (!strcmp(word, "--help") || !strcmp(word, "-h") || !strcmp(word, "help")) {
        help(stdout);
        return 0;
    }
    if (!strcmp(word, "--version")) {
        puts("blkref 0.1");
        return 0;
    }
    for (const struct cli_command *c = cli_commands; c->name; c++) {
        if (!strcmp(c->name, word)) {
            return c->run(argc - 1, argv + 1);
        }
    }
    if (*word) {
        fprintf(stderr, "blkref: unknown command '%s'\n", word);
    }
    help(stderr);
    return 1;
}
