/*
 * Programs for the schedule explorer.  See schedule_programs.h.
 *
 * The alphabet's operations meet in few clusters, so that they share blocks, clusters, L2 tables
 * and refcount blocks.  A prelude makes the image what they meet: fresh, written, shared with a
 * snapshot, with its metadata not yet in memory, with clusters freed or zeroed.  What the image
 * reads as afterwards is looked at while it is still open.  Three sets are narrower: parts of one
 * block; a cluster that is in use while another operation gives it up and a third takes it; and who
 * waits for the requests of others.
 */
#include "harness/programs/schedule_programs.h"

#include <assert.h>
#include <string.h>
#include "harness/programs/letters.h"
#include "ref/base/mem.h"

/* cluster: the operations' unit; where blocks are large, a part of one, so that not all meet in one
 * block and programs stay cheap. */
static const struct {
    const char *line;
    int64_t cluster;
} images[] = {
    {"image qcow2 256k cluster_size=4k", 4096},
    {"image qcow2 128k cluster_size=512", 512},
    {"image qcow2 256k backing cluster_size=4k", 4096},
    {"image qcow2 1M cluster_size=16k,extended_l2=on", 16384},
    {"image qcow2 256k cluster_size=4k,lazy_refcounts=on", 4096},
    {"image qcow2 256k compat=0.10,cluster_size=4k", 4096},
    {"image qcow2 256k cluster_size=4k,data_file=data", 4096},
    {"image qcow2 256k cluster_size=4k,preallocation=metadata", 4096},
    {"image raw 256k", 4096},
    {"image qed 256k cluster_size=4k,table_size=2", 4096},
    {"image qed 256k backing cluster_size=4k,table_size=2", 4096},
    {"image qcow 256k", 4096},
    {"image qcow 256k backing", 512},
    {"image qcow 256k encrypt.format=aes", 4096},
    {"image vmdk 1M", 65536},
    {"image vmdk 1M backing zeroed_grain=on", 65536},
    {"image vmdk 1M subformat=twoGbMaxExtentSparse", 65536},
    {"image vmdk 1M subformat=monolithicFlat", 65536},
    {"image vdi 8M", 1 << 18},
    {"image vpc 8M force_size=on", 1 << 19},
    {"image vhdx 8M block_size=1M", 1 << 18},
    {"image parallels 1M cluster_size=64k", 65536},
    {"image luks 256k", 4096},
    {"image qcow2 256k cluster_size=4k,encrypt.format=aes", 4096},
};

static const struct letter alphabet[] = {
    {OP_WRITE, 0, 0, 0, 8, 0, ""},     /* the first cluster */
    {OP_WRITE, 0, 4, 0, 8, 0, ""},     /* half of it and of the next */
    {OP_WRITE, 0, 0, 100, 0, 100, ""}, /* a part of the first block */
    {OP_WRITE, 0, 0, 300, 0, 100, ""}, /* another part of it */
    {OP_WRITE, OP_FUA, 8, 0, 8, 0, ""},
    {OP_WRITE, 0, 48, 0, 16, 0, ""},           /* far from the others */
    {OP_WRITE_COMPRESSED, 0, 16, 0, 8, 0, ""}, /* the third cluster */
    {OP_ZERO, OP_UNMAP, 0, 0, 16, 0, ""},
    {OP_ZERO, 0, 0, 150, 0, 200, ""},
    {OP_ZERO, 0, 0, 400, 0, 50, ""},
    {OP_DISCARD, 0, 0, 0, 16, 0, ""},
    {OP_READ, 0, 0, 0, 24, 0, ""},
    {OP_FLUSH, 0, 0, 0, 0, 0, ""},
    {OP_SNAPSHOT, 0, 0, 0, 0, 0, "t"},
    {OP_DELSNAP, 0, 0, 0, 0, 0, "s"},
    {OP_APPLY, 0, 0, 0, 0, 0, "s"},
    {OP_RESIZE, 0, 0, 0, 0, 2 << 20, ""},
    {OP_AMEND, 0, 0, 0, 0, 0, "lazy_refcounts=on"},
};

/* Parts of one block, all of it, and what shares its table. */
static const struct letter close_by[] = {
    {OP_WRITE, 0, 0, 0, 8, 0, ""},     {OP_WRITE, 0, 0, 100, 0, 100, ""},
    {OP_WRITE, 0, 0, 300, 0, 100, ""}, {OP_ZERO, 0, 0, 150, 0, 200, ""},
    {OP_ZERO, 0, 0, 400, 0, 50, ""},   {OP_DISCARD, 0, 0, 0, 8, 0, ""},
    {OP_READ, 0, 0, 0, 24, 0, ""},     {OP_WRITE, 0, 48, 0, 16, 0, ""},
};

/* The second finds what the first has changed in memory, and may have to take back. */
static const struct {
    struct letter first, second;
} reliant[] = {
    {{OP_WRITE, 0, 0, 0, 1, 0, ""}, {OP_WRITE, 0, 2, 0, 1, 0, ""}}, /* one new cluster */
    {{OP_WRITE, 0, 0, 0, 8, 0, ""}, {OP_WRITE, 0, 8, 0, 8, 0, ""}}, /* one new table */
    {{OP_ZERO, 0, 0, 0, 8, 0, ""}, {OP_WRITE, 0, 2, 0, 1, 0, ""}},
    {{OP_WRITE, 0, 0, 0, 8, 0, ""}, {OP_ZERO, 0, 4, 0, 4, 0, ""}},
};

/* Who uses a cluster, who gives it up, who may be given it. */
static const struct letter users[] = {
    {OP_WRITE, 0, 0, 0, 8, 0, ""},
    {OP_READ, 0, 0, 0, 16, 0, ""},
    {OP_WRITE, 0, 8, 300, 0, 100, ""},
};
static const struct letter givers[] = {
    {OP_DISCARD, 0, 0, 0, 16, 0, ""},
    {OP_ZERO, OP_UNMAP, 0, 0, 16, 0, ""},
    {OP_APPLY, 0, 0, 0, 0, 0, "s"},
    {OP_RESIZE, 0, 0, 0, 8, 0, ""},
};
static const struct letter takers[] = {
    {OP_WRITE, 0, 48, 0, 16, 0, ""},
    {OP_WRITE_COMPRESSED, 0, 40, 0, 8, 0, ""},
    {OP_SNAPSHOT, 0, 0, 0, 0, 0, "t"},
    {OP_WRITE, 0, 48, 100, 0, 200, ""},
};

/* Who has requests in flight, and who waits for them before it goes on. */
static const struct letter busy[] = {
    {OP_VMSAVE, 0, 0, 0, 8, 0, ""},
    {OP_WRITE, 0, 4, 0, 8, 0, ""},
    {OP_READ, 0, 0, 0, 24, 0, ""},
    {OP_FLUSH, 0, 0, 0, 0, 0, ""},
};
static const struct letter drainers[] = {
    {OP_APPLY, 0, 0, 0, 0, 0, "s"},
    {OP_REOPEN, 0, 0, 0, 0, 0, "l2-cache-size=1k"},
    {OP_SNAPSHOT, 0, 0, 0, 0, 0, "t"},
    {OP_DELSNAP, 0, 0, 0, 0, 0, "s"},
};

enum { FRESH, WRITTEN, SHARED, COLD, FREED, ZEROED, REOPENED, PRELUDES };

size_t schedule_image_count(void)
{
    return ARRAY_SIZE(images);
}

const char *schedule_image(size_t i)
{
    return images[i].line;
}

static void add(struct program *p, enum op_kind kind, int64_t offset, int64_t bytes,
                const char *text)
{
    struct op op = {.kind = kind, .offset = offset, .bytes = bytes};
    if (kind == OP_WRITE) {
        op.seed = (uint32_t)p->n_ops % 255 + 1;
    }
    memcpy(op.text, text, strlen(text) + 1);
    program_add(p, &op);
}

static void start(size_t image, unsigned prelude, struct program *out)
{
    int64_t c = images[image].cluster;
    program_start(images[image].line, out);
    if (prelude == FRESH) {
        return;
    }
    add(out, OP_WRITE, 0, 4 * c, "");
    if (prelude == SHARED || prelude == COLD) {
        add(out, OP_SNAPSHOT, 0, 0, "s");
    }
    if (prelude == FREED || prelude == SHARED) {
        add(out, OP_DISCARD, 0, 3 * c, "");
    } else if (prelude == ZEROED) {
        add(out, OP_ZERO, 0, 3 * c, ""); /* the clusters stay */
    }
    if (prelude == COLD || prelude == REOPENED) {
        add(out, OP_REOPEN, 0, 0, "");
    } else {
        add(out, OP_FLUSH, 0, 0, "");
    }
}

/* What the operations left, as the open image shows it. */
static void finish(int64_t bytes, struct program *out)
{
    add(out, OP_READ, 0, bytes, "");
    add(out, OP_FLUSH, 0, 0, "");
}

/* The n-th pair of them: who stands first does not matter. */
static void add_pair(struct program *p, const struct letter *letters, size_t count, size_t n,
                     int64_t cluster)
{
    size_t first = 0;
    while (n >= count - first) {
        n -= count - first;
        first++;
    }
    program_add_letter(p, &letters[first], cluster, 0, false);
    program_add_letter(p, &letters[first + n], cluster, 0, true);
}

size_t schedule_pair_count(void)
{
    return ARRAY_SIZE(alphabet) * (ARRAY_SIZE(alphabet) + 1) / 2 * PRELUDES;
}

void schedule_pair(size_t image, size_t n, struct program *out)
{
    int64_t cluster = images[image].cluster;
    assert(n < schedule_pair_count());
    start(image, n % PRELUDES, out);
    add_pair(out, alphabet, ARRAY_SIZE(alphabet), n / PRELUDES, cluster);
    finish(8 * cluster, out);
}

size_t schedule_close_count(void)
{
    return ARRAY_SIZE(close_by) * (ARRAY_SIZE(close_by) + 1) / 2 * 4;
}

void schedule_close(size_t image, size_t n, struct program *out)
{
    assert(n < schedule_close_count());
    static const unsigned preludes[] = {FRESH, WRITTEN, REOPENED, ZEROED};
    start(image, preludes[n % 4], out);
    add_pair(out, close_by, ARRAY_SIZE(close_by), n / 4, images[image].cluster);
    finish(8 * images[image].cluster, out);
}

size_t schedule_reliant_count(void)
{
    return ARRAY_SIZE(reliant);
}

void schedule_reliant(size_t image, size_t n, struct program *out)
{
    int64_t cluster = images[image].cluster;
    assert(n < schedule_reliant_count());
    start(image, FRESH, out);
    program_add_letter(out, &reliant[n].first, cluster, 0, false);
    program_add_letter(out, &reliant[n].second, cluster, 0, true);
    finish(8 * cluster, out);
}

size_t schedule_reuse_count(void)
{
    return ARRAY_SIZE(users) * ARRAY_SIZE(givers) * ARRAY_SIZE(takers);
}

void schedule_reuse(size_t image, size_t n, struct program *out)
{
    int64_t cluster = images[image].cluster;
    const struct letter *giver = &givers[n / ARRAY_SIZE(takers) % ARRAY_SIZE(givers)];
    assert(n < schedule_reuse_count());
    start(image, giver->kind == OP_APPLY ? SHARED : WRITTEN, out);
    program_add_letter(out, &users[n / ARRAY_SIZE(takers) / ARRAY_SIZE(givers)], cluster, 0, false);
    program_add_letter(out, giver, cluster, 0, true);
    program_add_letter(out, &takers[n % ARRAY_SIZE(takers)], cluster, 0, true);
    finish(giver->kind == OP_RESIZE ? cluster : 8 * cluster, out);
}

size_t schedule_drain_count(void)
{
    return ARRAY_SIZE(busy) * ARRAY_SIZE(drainers);
}

void schedule_drain(size_t image, size_t n, struct program *out)
{
    int64_t cluster = images[image].cluster;
    assert(n < schedule_drain_count());
    start(image, SHARED, out);
    program_add_letter(out, &busy[n / ARRAY_SIZE(drainers)], cluster, 0, false);
    program_add_letter(out, &drainers[n % ARRAY_SIZE(drainers)], cluster, 0, true);
    finish(8 * cluster, out);
}

void schedule_random(size_t image, struct rng *rng, struct program *out)
{
    int64_t cluster = images[image].cluster;
    start(image, (unsigned)rng_below(rng, PRELUDES), out);
    for (unsigned line = 0; line < 2; line++) {
        unsigned n = 2 + (unsigned)rng_below(rng, 3);
        for (unsigned i = 0; i < n; i++) {
            const struct letter *l = &alphabet[rng_below(rng, ARRAY_SIZE(alphabet))];
            program_add_letter(out, l, cluster, (int64_t)rng_below(rng, 3) * cluster, i > 0);
        }
    }
    finish(8 * cluster, out);
}
