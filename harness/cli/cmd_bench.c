/*
 * `blkref bench`: what worlds and crash states cost in process, as JSON for harness/bench.py.
 *
 * Crash states are those of a two-write program on a 16 MiB qcow2 image with 4 KiB clusters; each
 * distinct state is opened, checked and read back.  Reads the CPU clock of the process, since other
 * processes must not count. Leaves out: comparing with other programs (bench.py does it).
 */
#include <stdio.h>
#include <string.h>
#include <time.h>
#include "harness/cli/cli.h"
#include "harness/explore/crash_explore.h"
#include "ref/base/mem.h"
#include "ref/engine/world.h"

#define WORLDS  100000
#define SECONDS 1.0 /* of CPU time for each rate */

static double cpu_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double world_microseconds(struct process *process)
{
    const struct world_config cfg = {.simulated_time = true};
    double start = cpu_seconds();
    for (int i = 0; i < WORLDS; i++) {
        world_free(world_new(process, &cfg));
    }
    return (cpu_seconds() - start) / WORLDS * 1e6;
}

static void count_finding(void *opaque, const struct crash_finding *f)
{
    fprintf(stderr, "blkref bench: state %s: %s\n", f->id, f->why);
}

/* Distinct states a second; < 0 with err. */
static double crash_rate(struct process *process, const struct profile *profile, struct error **err)
{
    static const char text[] = "image qcow2 16M cluster_size=4k\n"
                               "write 0 8k 17\nwrite 1M 4k 34\nflush\n";
    struct crash_options o = crash_options_default;
    struct crash_counts counts = {0};
    struct program p;
    int ret = program_parse(text, &p, err);
    if (ret < 0) {
        return ret;
    }
    struct sandbox *sb = sandbox_new(process, profile, PLANT_NONE);
    double start = cpu_seconds(), took = 0;
    while (ret >= 0 && took < SECONDS) {
        ret = crash_explore(sb, &p, &o, count_finding, NULL, &counts, err);
        took = cpu_seconds() - start;
    }
    sandbox_free(sb);
    program_free(&p);
    return ret < 0 ? ret : (double)counts.distinct / took;
}

int bench_main(int argc, char **argv)
{
    const struct profile *const profiles[] = {&profile_reference, &profile_optimized};
    struct process *process;
    struct error *err = NULL;
    int status = 0;
    if (argc > 1) {
        fputs("usage: blkref bench\nPrints costs of worlds and crash states as JSON.\n",
              strcmp(argv[1], "--help") ? stderr : stdout);
        return strcmp(argv[1], "--help") ? 2 : 0;
    }
    process = process_new();
    printf("{\"world_us\": %.3f", world_microseconds(process));
    for (unsigned i = 0; i < ARRAY_SIZE(profiles) && !status; i++) {
        double rate = crash_rate(process, profiles[i], &err);
        if (rate < 0) {
            fprintf(stderr, "blkref bench: %s\n", err ? err->msg : "cannot run");
            status = 1;
        }
        printf(", \"crash_states_%s\": %.0f", profiles[i]->name, rate);
    }
    puts("}");
    error_clear(&err);
    process_free(process);
    return status;
}
