/*
 * Crash states a second: a two-write program on a 16 MiB qcow2 image with 4 KiB clusters, each
 * state opened, checked and read back.  Judges nothing.
 */
#include <stdio.h>
#include <time.h>
#include "harness/explore/crash_explore.h"
#include "ref/engine/world.h"

static void found(void *opaque, const struct crash_finding *f)
{
    printf("  %s: %s\n%s", f->id, f->why, f->description);
}

static void run(const struct profile *profile, const char *text)
{
    struct process *process = process_new();
    struct sandbox *sb = sandbox_new(process, profile, PLANT_NONE);
    struct crash_options o = crash_options_default;
    struct crash_counts c = {0};
    struct error *err = NULL;
    struct program p;
    struct timespec t0, t1;

    if (program_parse(text, &p, &err) < 0) {
        printf("%s\n", err->msg);
        return;
    }
    clock_gettime(CLOCK_MONOTONIC, &t0);
    for (int i = 0; i < 20; i++) {
        if (crash_explore(sb, &p, &o, found, NULL, &c, &err) < 0) {
            printf("%s\n", err->msg);
            break;
        }
    }
    clock_gettime(CLOCK_MONOTONIC, &t1);
    double sec = (double)(t1.tv_sec - t0.tv_sec) + (double)(t1.tv_nsec - t0.tv_nsec) / 1e9;
    printf("%-10s %8.0f distinct states/s (%llu distinct, %llu states, %llu findings)\n",
           profile->name, (double)c.distinct / sec, (unsigned long long)c.distinct,
           (unsigned long long)c.states, (unsigned long long)c.findings);
    program_free(&p);
    sandbox_free(sb);
    process_free(process);
}

int main(void)
{
    static const char two_writes[] =
        "image qcow2 16M cluster_size=4k\nwrite 0 8k 17\nwrite 1M 4k 34\nflush\n";
    static const char unflushed[] =
        "image qcow2 16M cluster_size=4k\nwrite 0 8k 17\nflush\nwrite 512 4k 34\n";
    const struct profile *profiles[] = {&profile_reference, &profile_optimized};
    for (int i = 0; i < 2; i++) {
        run(profiles[i], two_writes);
        run(profiles[i], unflushed);
    }
    return 0;
}
