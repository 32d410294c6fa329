/*
 * The `blkref` program's commands.
 */
#ifndef BLKREF_HARNESS_CLI_H
#define BLKREF_HARNESS_CLI_H

struct cli_command {
    const char *name, *what;
    int (*run)(int argc, char **argv); /* argv[0] is the command's name; exit status */
};
extern const struct cli_command cli_commands[]; /* ends with name == NULL */

int cli_main(int argc, char **argv);
int campaign_main(int argc, char **argv);
int gate_main(int argc, char **argv);
int repro_main(int argc, char **argv);
int check_spec_main(int argc, char **argv);
int iotests_main(int argc, char **argv);
int mutants_main(int argc, char **argv);
int bench_main(int argc, char **argv);

#endif
