/*
 * Seeded programs.
 *
 * Offsets favour cluster borders, the image's end and ranges used before; sizes go up to a few
 * clusters.  Every second program reopens the image after each operation, the others keep one
 * session.
 */
#include "harness/programs/generate.h"

#include <stdio.h>
#include "harness/subject/shadow.h"
#include "harness/subject/subject.h"
#include "ref/base/mem.h"
#include "ref/base/sizes.h"

struct gen {
    struct rng *r;
    struct program *p;
    unsigned flags;
    int64_t cluster, size;
    unsigned can, base_can; /* enum image_ability, of the top image and the first one */
    bool has_snapshots;
    unsigned layers, next_snapshot;
    uint32_t next_seed;
    int64_t last_offset, last_bytes;
};

static uint64_t below(struct gen *g, uint64_t n)
{
    return rng_below(g->r, n);
}

static bool chance(struct gen *g, unsigned percent)
{
    return below(g, 100) < percent;
}

/* ---- the image ---- */

static void option(struct program *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void option(struct program *p, const char *fmt, ...)
{
    size_t len = strlen(p->options);
    va_list ap;
    if (len) {
        p->options[len++] = ',';
        p->options[len] = 0;
    }
    va_start(ap, fmt);
    vsnprintf(p->options + len, sizeof(p->options) - len, fmt, ap);
    va_end(ap);
}

static void version3_options(struct gen *g, int64_t cluster, bool encrypted)
{
    struct program *p = g->p;
    if (chance(g, 40)) {
        option(p, "refcount_bits=%u", 1u << below(g, 7));
    }
    if (chance(g, 25)) {
        option(p, "lazy_refcounts=on");
    }
    if (chance(g, 25) && cluster >= 16 * KiB) {
        option(p, "extended_l2=on");
    }
    if (chance(g, 30)) {
        option(p, "compression_type=%s", chance(g, 70) ? "zstd" : "zlib");
    }
    if (chance(g, 15)) {
        option(p, "data_file=data");
        /* Encrypted, a raw file maps what nobody encrypted: a new disk reads as noise. */
        if (!p->backing && !encrypted && chance(g, 50)) {
            option(p, "data_file_raw=on");
        }
    }
}

/*
 * What QEMU can make: it ends with an assertion where a key slot is not whole sectors (192-bit
 * keys but for XTS), and CAST-128 has no XTS nor essiv.
 */
static void cipher_options(struct gen *g, const char *prefix)
{
    static const char *const algs[] = {"aes-128",     "aes-256",     "aes-256",     "cast5-128",
                                       "serpent-128", "serpent-256", "twofish-128", "twofish-256"};
    static const char *const modes[] = {"xts", "cbc", "ctr", "ecb"}, *const ivs[] = {"plain64",
                                                                                     "plain",
                                                                                     "essiv"};
    size_t alg = below(g, ARRAY_SIZE(algs)), mode = below(g, 4);
    bool cast = alg == 3;
    mode += cast && mode == 0;
    if (alg != 1 || chance(g, 50)) {
        option(g->p, "%scipher-alg=%s", prefix, algs[alg]);
    }
    if (mode) {
        option(g->p, "%scipher-mode=%s", prefix, modes[mode]);
    }
    if (chance(g, 60)) {
        option(g->p, "%sivgen-alg=%s", prefix, ivs[below(g, cast ? 2 : 3)]);
    }
}

static void qcow2_encryption(struct gen *g)
{
    bool luks = chance(g, 60);
    option(g->p, "encrypt.format=%s", luks ? "luks" : "aes");
    if (luks) {
        cipher_options(g, "encrypt.");
    }
}

static void qcow2_image(struct gen *g, bool encrypted)
{
    static const int64_t clusters[] = {512,      KiB,      4 * KiB,   16 * KiB,
                                       64 * KiB, 64 * KiB, 256 * KiB, 2 * MiB};
    static const char *const modes[] = {"metadata", "metadata", "falloc", "full"};
    int64_t cluster = clusters[below(g, ARRAY_SIZE(clusters))];
    bool v2 = chance(g, 25);
    g->p->backing = chance(g, 35);
    option(g->p, "compat=%s", v2 ? "0.10" : "1.1");
    if (cluster != 64 * KiB) {
        option(g->p, "cluster_size=%lld", (long long)cluster);
    }
    if (!v2) {
        version3_options(g, cluster, encrypted);
    }
    if (encrypted) {
        qcow2_encryption(g);
    } else if (!g->p->backing && chance(g, 15)) {
        option(g->p, "preallocation=%s", modes[below(g, g->flags & GEN_FILES ? 4 : 2)]);
    }
}

/* Disks of one extent, so that programs stay small; of every kind that can be created. */
static void vmdk_image(struct gen *g)
{
    static const char *const subformats[] = {"monolithicSparse",     "monolithicSparse",
                                             "twoGbMaxExtentSparse", "streamOptimized",
                                             "monolithicFlat",       "twoGbMaxExtentFlat"};
    static const char *const adapters[] = {"ide", "lsilogic", "buslogic", "legacyESX"};
    size_t sub = below(g, ARRAY_SIZE(subformats));
    bool flat = sub >= 4;
    g->p->backing = !flat && chance(g, 35);
    option(g->p, "subformat=%s", subformats[sub]);
    if (!flat && chance(g, 40)) {
        option(g->p, "zeroed_grain=on");
    }
    if (chance(g, 30)) {
        option(g->p, "adapter_type=%s", adapters[below(g, ARRAY_SIZE(adapters))]);
    }
    if (chance(g, 20)) {
        option(g->p, chance(g, 50) ? "compat6=on" : "hwversion=7");
    }
}

/* Of formats with few options: one of the combinations of the stages read and write. */
static void simple_image(struct gen *g, const struct image_kind *kind)
{
    struct program p;
    unsigned many = 0;
    for (unsigned i = 0; image_combination(i, &p); i++) {
        many += !strcmp(p.format, kind->format);
    }
    unsigned pick = (unsigned)below(g, many);
    for (unsigned i = 0; image_combination(i, &p); i++) {
        if (!strcmp(p.format, kind->format) && pick-- == 0) {
            memcpy(g->p->options, p.options, sizeof(p.options));
            break;
        }
    }
    g->p->backing = kind->can & IMAGE_HAS_BACKING && chance(g, 35);
}

static const struct image_kind *draw_kind(struct gen *g)
{
    const struct image_kind *k = image_kinds;
    uint64_t pick = below(g, 100);
    while (pick >= k->share) {
        pick -= k->share;
        k++;
    }
    return k;
}

/* What the operations go by, of the image in g->p. */
static void look_at_image(struct gen *g)
{
    int64_t granule = program_granule(g->p);
    g->size = g->p->size;
    g->can = g->base_can = image_abilities(g->p);
    g->cluster = strcmp(g->p->format, "raw") && strcmp(g->p->format, "luks") ? granule : 64 * KiB;
}

static void image(struct gen *g, const struct image_kind *kind)
{
    struct program *p = g->p;
    kind = kind ? kind : draw_kind(g);
    p->size = (int64_t)(1 + below(g, 1 + below(g, 16))) * 256 * KiB; /* small ones more often */
    if (chance(g, 30)) {
        p->size += 512 * (int64_t)below(g, 300);
    }
    snprintf(p->format, sizeof(p->format), "%s", kind->format);
    if (!strcmp(kind->format, "qcow2")) {
        qcow2_image(g, !strcmp(kind->name, "crypt"));
    } else if (!strcmp(kind->format, "vmdk")) {
        vmdk_image(g);
    } else if (!strcmp(kind->format, "luks")) {
        cipher_options(g, "");
    } else {
        simple_image(g, kind);
    }
    look_at_image(g);
}

/* ---- operations ---- */

static int64_t round_to(struct gen *g, int64_t n)
{
    switch (below(g, 4)) {
    case 0:
    case 1:
        return ROUND_DOWN(n, g->cluster);
    case 2:
        return ROUND_DOWN(n, 512);
    default:
        return n;
    }
}

static void range(struct gen *g, struct op *op)
{
    int64_t most = chance(g, 80) ? 3 * MIN(g->cluster, 128 * KiB) : 512 * KiB;
    op->bytes = round_to(g, 1 + (int64_t)below(g, (uint64_t)MIN(g->size, most)));
    op->bytes = MAX(op->bytes, 1);
    op->offset = round_to(g, (int64_t)below(g, (uint64_t)g->size));
    if (g->last_bytes && chance(g, 30)) {
        op->offset = g->last_offset + (int64_t)below(g, (uint64_t)g->last_bytes) - op->bytes / 2;
        op->offset = MAX(op->offset, 0);
    }
    if (op->bytes == 1 && chance(g, 70)) {
        op->bytes = g->cluster;
    }
    if (chance(g, 6)) {
        op->offset = MAX(g->size - op->bytes, 0);
    }
    bool beyond = chance(g, 2) && !(g->flags & GEN_NO_ERRORS);
    if (!beyond) {
        op->offset = MIN(op->offset, g->size - 1);
        op->bytes = MIN(op->bytes, g->size - op->offset);
    }
    g->last_offset = op->offset;
    g->last_bytes = op->bytes;
}

/* One whole cluster: compressed, anything else is refused, and of several some may be done before
 * one fails. */
static void one_cluster(struct gen *g, struct op *op)
{
    int64_t clusters = MAX(g->size / g->cluster, 1);
    op->offset = (int64_t)below(g, (uint64_t)clusters) * g->cluster;
    op->bytes = MIN(g->cluster, g->size - op->offset);
    if (op->bytes <= 0) {
        op->offset = 0;
        op->bytes = MIN(g->cluster, g->size);
    }
}

static uint32_t seed(struct gen *g)
{
    g->next_seed = g->next_seed % 255 + 1;
    return g->next_seed;
}

static void snapshot_name(struct gen *g, struct op *op)
{
    unsigned n = g->next_snapshot ? 1 + (unsigned)below(g, g->next_snapshot) : 1;
    snprintf(op->text, sizeof(op->text), "s%u", n);
}

static void resize(struct gen *g, struct op *op)
{
    static const enum prealloc modes[] = {PREALLOC_METADATA, PREALLOC_METADATA, PREALLOC_FALLOC,
                                          PREALLOC_FULL};
    op->bytes = (int64_t)(1 + below(g, 5 * 2048)) * 512;
    if (op->bytes < g->size && !(g->can & IMAGE_SHRINKS)) {
        op->bytes += g->size;
    }
    if (op->bytes > g->size && g->can & IMAGE_PREALLOCATES && chance(g, 20)) {
        op->prealloc = modes[below(g, g->flags & GEN_FILES ? 4 : 2)];
    }
    if (!g->has_snapshots) {
        g->size = op->bytes;
    } else {
        g->size = MIN(g->size, op->bytes);
    }
}

static void amend(struct gen *g, struct op *op)
{
    static const char *const texts[] = {
        "compat=1.1",       "compat=0.10",      "lazy_refcounts=on", "lazy_refcounts=off",
        "refcount_bits=16", "refcount_bits=32", "refcount_bits=8"};
    /* Rewriting refcount blocks of a million entries takes QEMU longer than it may. */
    size_t n = g->cluster > 64 * KiB ? 4 : ARRAY_SIZE(texts);
    snprintf(op->text, sizeof(op->text), "%s", texts[below(g, n)]);
}

static enum op_kind kind(struct gen *g)
{
    static const struct {
        enum op_kind kind;
        unsigned weight;
    } weights[] = {
        {OP_WRITE, 36},  {OP_ZERO, 12},  {OP_DISCARD, 10}, {OP_WRITE_COMPRESSED, 8},
        {OP_READ, 3},    {OP_FLUSH, 6},  {OP_SNAPSHOT, 5}, {OP_APPLY, 3},
        {OP_DELSNAP, 2}, {OP_RESIZE, 4}, {OP_AMEND, 2},    {OP_OVERLAY, 3},
        {OP_COMMIT, 2},  {OP_REOPEN, 4},
    };
    uint64_t pick = below(g, 100);
    for (size_t i = 0; i < ARRAY_SIZE(weights); i++) {
        if (pick < weights[i].weight) {
            return weights[i].kind;
        }
        pick -= weights[i].weight;
    }
    return OP_WRITE;
}

/* Into its backing file, or into the image below it. */
static bool can_commit(const struct gen *g)
{
    bool below = g->layers == 1   ? g->p->backing && g->can & IMAGE_COMMITS
                 : g->layers == 2 ? (g->base_can & IMAGE_TAKES_COMMIT) != 0
                                  : !(g->base_can & IMAGE_BEGINS_AS_NOISE);
    return below && !g->has_snapshots;
}

/* False: not with this image; another one is drawn. */
static bool possible(const struct gen *g, enum op_kind k)
{
    switch (k) {
    case OP_WRITE_COMPRESSED:
        return g->can & IMAGE_COMPRESSES;
    case OP_SNAPSHOT:
        return g->can & IMAGE_SNAPSHOTS;
    case OP_APPLY:
    case OP_DELSNAP:
        return g->has_snapshots;
    case OP_AMEND:
        return g->can & IMAGE_AMENDS;
    case OP_OVERLAY:
        return g->layers < 3;
    case OP_RESIZE:
        return g->can & IMAGE_GROWS;
    case OP_COMMIT:
        return can_commit(g);
    default:
        return true;
    }
}

/* An overlay is qcow2; of a qcow2 image with its options, data file and all that hangs on it left
 * out. */
static void overlay(struct gen *g)
{
    bool qcow2 = g->layers > 1 || !strcmp(g->p->format, "qcow2");
    g->can = image_kind_named(subject_encrypted(g->p) ? "crypt" : "qcow2")->can;
    g->cluster = qcow2 ? g->cluster : 64 * KiB;
    g->layers++;
    g->has_snapshots = false;
    g->next_snapshot = 0;
}

static void track(struct gen *g, struct op *op)
{
    switch (op->kind) {
    case OP_SNAPSHOT:
        g->next_snapshot++;
        snprintf(op->text, sizeof(op->text), "s%u", g->next_snapshot);
        g->has_snapshots = true;
        break;
    case OP_APPLY:
    case OP_DELSNAP:
        snapshot_name(g, op);
        break;
    case OP_OVERLAY:
        overlay(g);
        break;
    default:
        break;
    }
}

static void add_operation(struct gen *g)
{
    struct op op = {.kind = kind(g)};
    while (!possible(g, op.kind)) {
        op.kind = kind(g);
    }
    switch (op.kind) {
    case OP_WRITE:
        range(g, &op);
        op.seed = seed(g);
        op.flags = chance(g, 10) ? OP_FUA : 0;
        if (g->can & IMAGE_WHOLE_GRAINS) {
            one_cluster(g, &op); /* all or nothing, again */
        }
        break;
    case OP_WRITE_COMPRESSED:
        one_cluster(g, &op);
        op.seed = seed(g);
        break;
    case OP_ZERO:
        range(g, &op);
        op.flags = chance(g, 40) ? OP_UNMAP : 0;
        if (g->can & IMAGE_WHOLE_GRAINS) {
            one_cluster(g, &op);
        }
        if (chance(g, 10) && !(g->flags & GEN_NO_ERRORS)) {
            op.flags |= OP_NO_FALLBACK; /* all or nothing only for one cluster */
            one_cluster(g, &op);
        }
        break;
    case OP_DISCARD:
    case OP_READ:
        range(g, &op);
        break;
    case OP_RESIZE:
        resize(g, &op);
        break;
    case OP_AMEND:
        amend(g, &op);
        break;
    default:
        track(g, &op);
        break;
    }
    program_add(g->p, &op);
}

static void operations(struct gen *g, unsigned ops)
{
    bool reopens = chance(g, 50);
    unsigned n = ops / 2 + 1 + (unsigned)below(g, ops);
    if (g->can & IMAGE_BEGINS_AS_NOISE) {
        program_add(g->p, &(struct op){.kind = OP_ZERO, .bytes = g->size});
    }
    for (unsigned i = 0; i < n; i++) {
        add_operation(g);
        if (reopens && g->p->ops[g->p->n_ops - 1].kind != OP_REOPEN) {
            program_add(g->p, &(struct op){.kind = OP_REOPEN});
        }
    }
}

void generate_program(struct rng *r, unsigned ops, unsigned flags, const struct image_kind *kind,
                      struct program *p)
{
    struct gen g = {.r = r, .p = p, .flags = flags, .layers = 1};
    memset(p, 0, sizeof(*p));
    image(&g, kind);
    operations(&g, ops);
}

void generate_operations(struct rng *r, unsigned ops, unsigned flags, struct program *p)
{
    struct gen g = {.r = r, .p = p, .flags = flags, .layers = 1};
    look_at_image(&g);
    operations(&g, ops);
}

bool generate_image(unsigned n, struct program *p)
{
    bool there = image_combination(n, p);
    p->size = 3 * MiB + 512 * (int64_t)(n % 7);
    return there;
}
