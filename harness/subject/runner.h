/*
 * `blkref run`: one program on the reference in this build, a result line an operation.
 */
#ifndef BLKREF_HARNESS_RUNNER_H
#define BLKREF_HARNESS_RUNNER_H

/*
 * run [--profile reference|optimized] [--dir DIR] [--lines] PROGRAM|-
 * A line of results: STATUS LENGTH HASH MAP; with --lines nothing else is printed and standard
 * input is answered line by line ("check" closes with CORRUPTIONS LEAKS ERRORS instead of the map).
 * Exit status.
 */
int runner_main(int argc, char **argv);

#endif
