/*
 * The `blkref` program's commands.
 */
#ifndef BLKREF_HARNESS_CLI_H
#define BLKREF_HARNESS_CLI_H

#include <stdbool.h>
#include <stddef.h>

struct cli_command {
    const char *name, *what;
    int (*run)(int argc, char **argv); /* argv[0] is the command's name; exit status */
};
extern const struct cli_command cli_commands[]; /* ends with name == NULL */

/* On a terminal: how far a set of programs is; start: clock_seconds() when the image's began. */
void cli_set_progress(size_t image, size_t images, size_t done, size_t total, double start);

int cli_main(int argc, char **argv);
int campaign_main(int argc, char **argv);
int gate_main(int argc, char **argv);
int repro_main(int argc, char **argv);
int check_spec_main(int argc, char **argv);
int iotests_main(int argc, char **argv);
int mutants_main(int argc, char **argv);
int bench_main(int argc, char **argv);

/* `blkref crash PROGRAM`, `faults` and `schedules`: exit status 0 nothing found, 1 findings, 2
 * usage. */
int cmd_crash(int argc, char **argv);
int cmd_faults(int argc, char **argv);
int cmd_schedules(int argc, char **argv);
/* The same with `--subject qemu`: does the command line ask for it, and its run. */
bool outside_wants(int argc, char **argv);
int cmd_outside(int argc, char **argv, bool faults);

#endif
