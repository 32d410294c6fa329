/*
 * Starting a program under test.  See spawn.h.
 */
#include "harness/subject/spawn.h"

#include <signal.h>
#include <spawn.h>
#include <unistd.h>

int spawn_program(pid_t *pid, char *const argv[], char *const env[], int in, int out, int control)
{
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attr;
    sigset_t defaults;
    sigemptyset(&defaults);
    sigaddset(&defaults, SIGPIPE);
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_adddup2(&files, in, 0);
    posix_spawn_file_actions_adddup2(&files, out, 1);
    posix_spawn_file_actions_adddup2(&files, out, 2);
    if (control >= 0) {
        posix_spawn_file_actions_adddup2(&files, control, SPAWN_CONTROL_FD);
    }
    posix_spawnattr_init(&attr);
    posix_spawnattr_setsigdefault(&attr, &defaults);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGDEF);
    int ret = posix_spawnp(pid, argv[0], &files, &attr, argv, env ? env : environ);
    posix_spawn_file_actions_destroy(&files);
    posix_spawnattr_destroy(&attr);
    return -ret;
}
