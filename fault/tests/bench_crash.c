/*
 * How many crash states a second: clone, apply, hash, look up.  Not built by default and judges
 * nothing: gcc -O2 -std=gnu17 -D_GNU_SOURCE -I. fault/tests/bench_crash.c build/libblkref.a -lm -o
 * /tmp/bench
 */
#include <stdio.h>
#include <time.h>
#include "fault/crash.h"
#include "ref/base/mem.h"
#include "ref/base/rng.h"

static void run(const char *what, int pending, int64_t bytes, bool align, enum label label,
                int disks)
{
    struct disk_pool *p = disk_pool_new(0);
    struct disk_set base = {.n = disks};
    struct disk_log *log = disk_log_new(p);
    struct crash_bounds b = crash_bounds_default;
    struct crash_state s;
    struct timespec t0, t1;
    struct rng r;
    uint8_t *buf = mem_alloc(MiB);

    rng_seed(&r, 1);
    for (int i = 0; i < disks; i++) {
        base.disk[i] = disk_new(p, 0);
        for (int m = 0; m < 16; m++) {
            rng_fill(&r, buf, MiB);
            disk_write(base.disk[i], m * MiB, buf, MiB);
        }
        disk_hash(base.disk[i]);
    }
    for (int i = 0; i < pending; i++) {
        rng_fill(&r, buf, bytes);
        int64_t at = (int64_t)rng_below(&r, 16 * MiB - bytes);
        struct disk_op op = {.kind = DISK_OP_WRITE,
                             .disk = i % disks,
                             .label = label,
                             .offset = align ? ROUND_DOWN(at, DISK_PAGE) : ROUND_DOWN(at, 512),
                             .bytes = bytes};
        disk_log_add(log, &op, buf);
    }
    b.exhaustive = 20;
    b.max_states = 200000;
    struct crash_iter *it = crash_iter_new(&base, log, &b);
    clock_gettime(CLOCK_MONOTONIC, &t0);
    while (crash_iter_next(it, &s)) {
    }
    clock_gettime(CLOCK_MONOTONIC, &t1);
    struct crash_stats st = crash_iter_stats(it);
    double sec = (t1.tv_sec - t0.tv_sec) + (t1.tv_nsec - t0.tv_nsec) / 1e9;
    printf("%-44s %8.0f distinct/s  (%llu states, %llu distinct)\n", what, st.distinct / sec,
           (unsigned long long)st.states, (unsigned long long)st.distinct);
    crash_iter_free(it);
    disk_log_free(log);
    disk_set_free(&base);
    disk_pool_free(p);
    mem_free(buf);
}

int main(void)
{
    run("16 writes of 512 bytes, guest data", 16, 512, false, LABEL_WRITE_AIO, 1);
    run("16 writes of 4 KiB, aligned, guest data", 16, 4096, true, LABEL_WRITE_AIO, 1);
    run("16 writes of 64 KiB, aligned, guest data", 16, 65536, true, LABEL_WRITE_AIO, 1);
    run("16 writes of 64 KiB, unaligned, guest data", 16, 65536, false, LABEL_WRITE_AIO, 1);
    run("8 writes of 4 KiB, metadata, torn", 8, 4096, true, LABEL_L2_UPDATE, 1);
    run("8 writes of 64 KiB, metadata, torn", 8, 65536, true, LABEL_L2_UPDATE, 1);
    run("40 writes of 4 KiB, guest data, drops/keeps", 40, 4096, true, LABEL_WRITE_AIO, 1);
    run("16 writes of 4 KiB over 3 disks", 16, 4096, true, LABEL_WRITE_AIO, 3);
    return 0;
}
