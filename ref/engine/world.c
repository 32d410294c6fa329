/*
 * Worlds: creation, the parts that are made on first use, and the end.  See world.h.
 */
#include "ref/engine/world.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "ref/engine/eventq.h"
#include "ref/engine/hostio.h"
#include "ref/engine/internal.h"

const struct profile profile_reference = {
    .name = "reference",
    .io = IO_SYNC,
};

const struct profile profile_optimized = {
    .name = "optimized",
    .metadata_cache = true,
    .merge_requests = true,
    .copy_offload = true,
    .clean_cache = true,
    .io = IO_URING,
};

struct world *world_new(struct process *p, const struct world_config *cfg)
{
    struct world *w = mem_zalloc(sizeof(*w));

    w->process = p;
    p->worlds++;
    w->profile = cfg->profile ? cfg->profile : &profile_reference;
    w->io = cfg->io_set ? cfg->io : w->profile->io;
    w->policy = cfg->policy;
    w->head.points = cfg->policy && cfg->policy->preempt;
    w->seed = cfg->seed;
    w->random_seed = cfg->random_seed;
    w->simulated = cfg->simulated_time;
    w->deny_names = cfg->deny_names_in_images;
    w->leak_as_qemu = cfg->leak_as_qemu;
    w->plain_data_files = cfg->plain_data_files;
    w->report = cfg->report;
    w->report_opaque = cfg->report_opaque;
    w->prog_name = cfg->prog_name;
    w->exit_on_fatal = cfg->exit_on_fatal;
    list_init(&w->ready);
    list_init(&w->all);
    list_init(&w->polls);
    clock_init(w);
    return w;
}

void world_free(struct world *w)
{
    assert(!w->in_scheduler);
    hostio_drain(w);
    if (w->block_destroy) {
        w->block_destroy(w->block);
    }
    attachments_free(w);
    co_reap_all(w);
    hostio_free(w);
    events_free(w);
    mem_free(w->candidates);
    mem_free(w->pollfds);
    w->process->worlds--;
    mem_free(w);
}

unsigned world_live(const struct world *w)
{
    return w->live;
}

const struct profile *world_profile(const struct world *w)
{
    return w->profile;
}

bool world_denies_names(const struct world *w)
{
    return w->deny_names;
}

bool world_plain_data_files(const struct world *w)
{
    return w->plain_data_files;
}

bool world_leaks_as_qemu(const struct world *w)
{
    return w->leak_as_qemu;
}

struct rng *world_rng(struct world *w)
{
    if (!w->rng_ready) {
        if (w->random_seed && getrandom(&w->seed, sizeof(w->seed), 0) != sizeof(w->seed)) {
            w->seed = (uint64_t)clock_now(w, CLOCK_HOST);
        }
        if (w->random_seed) {
            w->seed = (uint64_t)event_value(w, EVENT_SEED, 0, (int64_t)w->seed);
        }
        rng_seed(&w->rng, w->seed);
        w->rng_ready = true;
    }
    return &w->rng;
}

void world_secret_bytes(struct world *w, void *buf, size_t len)
{
    uint8_t *p = buf;
    if (!w->random_seed) {
        rng_fill(world_rng(w), buf, len);
        return;
    }
    while (len > 0) {
        uint64_t v;
        if (getrandom(&v, sizeof(v), 0) != sizeof(v)) {
            abort(); /* a key that can be guessed is worse than none */
        }
        v = (uint64_t)event_value(w, EVENT_SEED, 0, (int64_t)v);
        size_t n = len < sizeof(v) ? len : sizeof(v);
        memcpy(p, &v, n);
        p += n;
        len -= n;
    }
}

void world_uuid(struct world *w, uint8_t uuid[16])
{
    rng_fill(world_rng(w), uuid, 16);
    uuid[6] = (uuid[6] & 0x0f) | 0x40; /* version 4, RFC 4122 4.4 */
    uuid[8] = (uuid[8] & 0x3f) | 0x80; /* its variant */
}

void world_set_block(struct world *w, void *block, void (*destroy)(void *block))
{
    w->block = block;
    w->block_destroy = destroy;
}

void *world_block(const struct world *w)
{
    return w->block;
}
