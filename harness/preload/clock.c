/*
 * Preloaded into QEMU's programs: the CPU clock of a thread counts how often it is asked.
 *
 * Models: a program that measures how many rounds of a key derivation take so and so long (LUKS)
 * asks for its CPU time before and after ever longer runs, for about two seconds an image; here a
 * second passes with each question.  The first run is long enough, the number of rounds is the same
 * on each machine, and a busy machine is no reason to fail.  Only that number depends on it. Leaves
 * out: all other clocks, and the CPU time of the process, which are the host's.
 */
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

int getrusage(__rusage_who_t who, struct rusage *usage)
{
    static long asked;
    if (who != RUSAGE_THREAD) {
        return (int)syscall(SYS_getrusage, who, usage);
    }
    memset(usage, 0, sizeof(*usage));
    usage->ru_utime.tv_sec = __atomic_add_fetch(&asked, 1, __ATOMIC_RELAXED);
    return 0;
}
