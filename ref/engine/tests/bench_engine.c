/*
 * What the engine's parts cost, in nanoseconds: `make build/tests/ref/engine/tests/bench_engine`,
 * then run it. Not a test: it reads the wall clock.  Budgets stand beside the figures; exits 1 when
 * one is exceeded.
 */
#include <stdint.h>
#include <stdio.h>
#include <time.h>

#include "ref/engine/world.h"

#define ROUNDS 200000

static struct process *process;
static struct world *world;
static int over;

static double now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}

static void show(const char *what, double ns, double budget)
{
    printf("%-34s %8.1f ns   budget %8.0f ns%s\n", what, ns, budget, ns > budget ? "   OVER" : "");
    over |= ns > budget;
}

static void nothing(void *arg) {}

static void yields(void *arg)
{
    for (int i = 0; i < ROUNDS; i++) {
        co_yield (world);
    }
}

static void points(void *arg)
{
    for (int i = 0; i < ROUNDS; i++) {
        sched_point(
            world, &(struct point){.kind = POINT_SUBMIT, .object = world, .offset = i, .bytes = 1});
    }
}

static void locks(void *arg)
{
    static struct co_mutex m;

    for (int i = 0; i < ROUNDS; i++) {
        co_lock(world, &m);
        co_unlock(world, &m);
    }
}

static double per_round(void (*fn)(void *))
{
    double start = now();

    world_exec(world, fn, NULL);
    return (now() - start) / ROUNDS;
}

int main(void)
{
    const struct world_config cfg = {.simulated_time = true};
    double start;

    process = process_new();
    start = now();
    for (int i = 0; i < ROUNDS; i++) {
        world_free(world_new(process, &cfg));
    }
    show("world create + destroy", (now() - start) / ROUNDS, 10000);
    start = now();
    for (int i = 0; i < ROUNDS; i++) {
        world = world_new(process, &cfg);
        world_exec(world, nothing, NULL);
        world_free(world);
    }
    show("world create + exec + destroy", (now() - start) / ROUNDS, 10000);
    world = world_new(process, &cfg);
    start = now();
    for (int i = 0; i < ROUNDS; i++) {
        co_spawn(world, "nothing", nothing, NULL);
        world_settle(world);
    }
    show("coroutine spawn + run + finish", (now() - start) / ROUNDS, 300);
    show("yield (two switches)", per_round(yields), 60);
    show("scheduling point, FIFO", per_round(points), 5);
    show("lock + unlock", per_round(locks), 30);
    world_free(world);
    process_free(process);
    return over;
}
