/*
 * Starting a program under test.
 *
 * Models: posix_spawn with given descriptors as standard input and output; what the harness ignores
 * (SIGPIPE) is not ignored there.  Leaves out: talking to it (pipe.h).
 */
#ifndef BLKREF_HARNESS_SPAWN_H
#define BLKREF_HARNESS_SPAWN_H

#include <sys/types.h>

/* The child's descriptors 0 and 1 (and 2) are `in` and `out`; `control` becomes CONTROL_FD there,
 * unless it is < 0.  argv[0] is looked for in PATH; env NULL: ours.  0 or -errno. */
#define SPAWN_CONTROL_FD 198
int spawn_program(pid_t *pid, char *const argv[], char *const env[], int in, int out, int control);

#endif
