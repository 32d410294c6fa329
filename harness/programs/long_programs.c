/*
 * Long programs.  See long_programs.h.
 *
 * Small clusters, so that tables are many and caches overflow; half of the programs begin on a full
 * disk.  Operations meet again and again in a few clusters, or anywhere: what one gives up, data or
 * table, the next one takes.  A third of the programs do one thing all over the disk.  A write is
 * as often a part of a cluster as the whole, so what was in a cluster before would show.  Leaves
 * out: what is looked at while they run, and power cuts.
 */
#include "harness/programs/long_programs.h"

#include <stdio.h>
#include "harness/programs/letters.h"
#include "ref/base/mem.h"

enum { OPERATIONS = 24, NEAR = 8 /* clusters that are met more often */ };

static const struct {
    const char *line;
    int64_t cluster;
} images[] = {
    {"image qcow2 1M cluster_size=512,refcount_bits=64", 512},
    {"image qcow2 1M cluster_size=512", 512},
    {"image qcow2 1M cluster_size=512,refcount_bits=64,lazy_refcounts=on", 512},
    {"image qcow2 1M backing cluster_size=1k", 1024},
    {"image qcow2 1M cluster_size=4k", 4096},
    {"image qcow2 1M cluster_size=4k,refcount_bits=1", 4096},
    {"image qcow2 1M backing compat=0.10,cluster_size=4k", 4096},
    {"image qcow2 1M cluster_size=16k,extended_l2=on", 16384},
    {"image qcow2 1M backing cluster_size=4k,data_file=data", 4096},
};

static const struct {
    enum op_kind kind;
    unsigned flags, weight;
} mix[] = {
    {OP_WRITE, 0, 34},   {OP_WRITE_COMPRESSED, 0, 10},
    {OP_ZERO, 0, 6},     {OP_ZERO, OP_UNMAP, 8},
    {OP_DISCARD, 0, 14}, {OP_SNAPSHOT, 0, 4},
    {OP_APPLY, 0, 3},    {OP_DELSNAP, 0, 3},
    {OP_RESIZE, 0, 5},   {OP_FLUSH, 0, 4},
    {OP_READ, 0, 4},     {OP_COMMIT, 0, 2},
    {OP_REOPEN, 0, 1},   {OP_WRITE, OP_FUA, 2},
};

/* As most images are open: what the guest gives up stays where it is; and caches that overflow. */
static const char *const options[] = {"", "", "pass-discard-request=off", "l2-cache-size=1k"};

size_t long_image_count(void)
{
    return ARRAY_SIZE(images);
}

const char *long_image(size_t i)
{
    return images[i].line;
}

static uint64_t below(struct rng *rng, uint64_t n)
{
    return rng_below(rng, n);
}

static size_t draw(struct rng *rng)
{
    uint64_t pick = below(rng, 100);
    size_t i = 0;
    for (; i + 1 < ARRAY_SIZE(mix) && pick >= mix[i].weight; i++) {
        pick -= mix[i].weight;
    }
    return i;
}

/* A cluster or more, or a part of one; compressed: one. */
static void range(struct rng *rng, int64_t cluster, int64_t size, struct op *op)
{
    uint64_t clusters = (uint64_t)(size / cluster);
    bool one = op->kind == OP_WRITE_COMPRESSED;
    op->offset = (int64_t)below(rng, below(rng, 2) ? MIN(clusters, NEAR) : clusters) * cluster;
    op->bytes = one || below(rng, 2) ? cluster : (int64_t)(1 + below(rng, 4)) * cluster;
    if (op->kind != OP_DISCARD && !one && below(rng, 2)) {
        int64_t in = (int64_t)below(rng, (uint64_t)cluster);
        op->offset += in;
        op->bytes = 1 + (int64_t)below(rng, (uint64_t)(cluster - in));
    }
    op->bytes = MIN(op->bytes, size - op->offset);
}

static void add(struct rng *rng, int64_t cluster, size_t i, int64_t *size, struct program *p)
{
    static const int64_t sizes[] = {64 * KiB, 512 * KiB, MiB, 2 * MiB};
    struct op op = {.kind = mix[i].kind, .flags = mix[i].flags};
    if (op.kind <= OP_DISCARD) {
        range(rng, cluster, *size, &op);
    }
    switch (op.kind) {
    case OP_WRITE:
    case OP_WRITE_COMPRESSED:
        op.seed = (uint32_t)p->n_ops % 255 + 1;
        break;
    case OP_READ:
        op.bytes = *size;
        break;
    case OP_SNAPSHOT:
    case OP_APPLY:
    case OP_DELSNAP:
        op.text[0] = below(rng, 2) ? 's' : 't';
        break;
    case OP_RESIZE:
        op.bytes = sizes[below(rng, ARRAY_SIZE(sizes))];
        op.prealloc = op.bytes > *size && below(rng, 3) == 0 ? PREALLOC_METADATA : PREALLOC_OFF;
        break;
    default:
        break;
    }
    program_add(p, &op);
    /* Of sizes that a snapshot brings back, or that are refused, the least is sure. */
    *size = op.kind == OP_RESIZE ? MIN(op.bytes, *size) : op.kind == OP_APPLY ? 64 * KiB : *size;
}

/* The same letter, one cluster at a time, each in a table of its own as long as there are any. */
static void add_everywhere(struct rng *rng, int64_t cluster, size_t i, int64_t size,
                           struct program *p)
{
    int64_t step = MAX(size / OPERATIONS / cluster, 1) * cluster,
            in = (int64_t)below(rng, (uint64_t)(step / cluster)) * cluster;
    for (unsigned n = 0; n < OPERATIONS; n++) {
        struct op op = {.kind = mix[i].kind, .flags = mix[i].flags, .bytes = cluster};
        op.offset = (n * step + in) % size;
        op.seed = mix[i].kind <= OP_WRITE_COMPRESSED ? (uint32_t)p->n_ops % 255 + 1 : 0;
        program_add(p, &op);
    }
}

void long_program(size_t image, struct rng *rng, struct program *out)
{
    program_start(images[image].line, out);
    int64_t size = out->size, cluster = images[image].cluster;
    if (below(rng, 2)) {
        program_add(out, &(struct op){.kind = OP_WRITE, .bytes = 512 * KiB, .seed = 1});
        program_add(out, &(struct op){.kind = OP_FLUSH});
    }
    struct op open = {.kind = OP_REOPEN};
    snprintf(open.text, sizeof(open.text), "%s", options[below(rng, ARRAY_SIZE(options))]);
    program_add(out, &open);
    size_t only = draw(rng);
    if (mix[only].kind <= OP_DISCARD && below(rng, 3) == 0) {
        add_everywhere(rng, cluster, only, size, out);
    }
    for (unsigned n = (unsigned)out->n_ops; n < OPERATIONS; n++) {
        add(rng, cluster, draw(rng), &size, out);
    }
    program_add(out, &(struct op){.kind = OP_READ, .bytes = 64 * KiB});
    program_add(out, &(struct op){.kind = OP_FLUSH});
}
