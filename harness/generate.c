/*
 * Seeded programs.
 *
 * Offsets favour cluster borders, the image's end and ranges used before; sizes go up to a few
 * clusters.  Every second program reopens the image after each operation, the others keep one
 * session.
 */
#include "harness/generate.h"

#include <stdio.h>
#include "ref/base/mem.h"
#include "ref/base/sizes.h"

struct gen {
    struct rng *r;
    struct program *p;
    unsigned flags;
    int64_t cluster, size;
    bool v2, is_qcow2, is_vmdk, is_stream, has_data_file, has_snapshots; /* of the top image */
    bool base_is_stream;
    bool is_luks, encrypted;
    const struct plain *plain; /* of the top image; NULL: one of the above */
    bool plain_base;
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

static void version3_options(struct gen *g)
{
    struct program *p = g->p;
    if (chance(g, 40)) {
        option(p, "refcount_bits=%u", 1u << below(g, 7));
    }
    if (chance(g, 25)) {
        option(p, "lazy_refcounts=on");
    }
    if (chance(g, 25) && g->cluster >= 16 * KiB) {
        option(p, "extended_l2=on");
    }
    if (chance(g, 30)) {
        option(p, "compression_type=%s", chance(g, 70) ? "zstd" : "zlib");
    }
    if (chance(g, 15)) {
        option(p, "data_file=data");
        g->has_data_file = true;
        /* Encrypted, a raw file maps what nobody encrypted: a new disk reads as noise. */
        if (!p->backing && !(g->flags & GEN_CRYPT) && chance(g, 50)) {
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
    g->encrypted = true;
    option(g->p, "encrypt.format=%s", luks ? "luks" : "aes");
    if (luks) {
        cipher_options(g, "encrypt.");
    }
}

static void qcow2_image(struct gen *g)
{
    static const int64_t clusters[] = {512,      KiB,      4 * KiB,   16 * KiB,
                                       64 * KiB, 64 * KiB, 256 * KiB, 2 * MiB};
    static const char *const modes[] = {"metadata", "metadata", "falloc", "full"};
    g->cluster = clusters[below(g, ARRAY_SIZE(clusters))];
    g->v2 = chance(g, 25);
    g->p->backing = chance(g, 35);
    option(g->p, "compat=%s", g->v2 ? "0.10" : "1.1");
    if (g->cluster != 64 * KiB) {
        option(g->p, "cluster_size=%lld", (long long)g->cluster);
    }
    if (!g->v2) {
        version3_options(g);
    }
    if (g->flags & GEN_CRYPT) {
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
    g->is_stream = g->base_is_stream = sub == 3;
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

/*
 * Formats whose images differ in a few options and whose operations are simple: no snapshots, no
 * amend, no resizing (what they can of it, they refuse differently).
 */
static const struct plain {
    const char *format;
    bool backing, compressed;
    struct {
        const char *text; /* options; NULL: no more */
        int64_t cluster;
    } options[6];
} plains[] = {
    {"qed",
     true,
     false,
     {{"cluster_size=4k,table_size=2", 4 * KiB},
      {"", 64 * KiB},
      {"cluster_size=16k,table_size=4", 16 * KiB},
      {"table_size=16", 64 * KiB}}},
    {"qcow", true, true, {{"", 4 * KiB}}},
    {"vdi", false, false, {{"", 1 * MiB}, {"static=on", 1 * MiB}}},
    {"vpc", false, false, {{"force_size=on", 2 * MiB}, {"subformat=fixed,force_size=on", 2 * MiB}}},
    {"vhdx",
     false,
     false,
     {{"block_size=1M", 1 * MiB},
      {"block_size=1M,block_state_zero=off", 1 * MiB},
      {"subformat=fixed,block_size=1M", 1 * MiB},
      {"block_size=2M,log_size=2M", 2 * MiB}}},
    {"parallels",
     false,
     false,
     {{"cluster_size=64k", 64 * KiB},
      {"", 1 * MiB},
      {"cluster_size=4k", 4 * KiB},
      {"cluster_size=63k", 63 * KiB}}},
};

unsigned generate_flags(const char *format)
{
    static const struct {
        const char *name;
        unsigned flags;
    } others[] = {
        {"qcow2", GEN_QCOW2}, {"vmdk", GEN_VMDK}, {"luks", GEN_LUKS}, {"crypt", GEN_CRYPT}};
    for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
        if (!strcmp(others[i].name, format)) {
            return others[i].flags;
        }
    }
    for (unsigned i = 0; i < ARRAY_SIZE(plains); i++) {
        if (!strcmp(plains[i].format, format)) {
            return (i + 1) * GEN_PLAIN;
        }
    }
    return 0;
}

static void plain_image(struct gen *g)
{
    size_t n = 0;
    while (n < ARRAY_SIZE(g->plain->options) && g->plain->options[n].text) {
        n++;
    }
    size_t pick = below(g, n);
    g->cluster = g->plain->options[pick].cluster;
    g->p->backing = g->plain->backing && chance(g, 35);
    g->plain_base = true;
    snprintf(g->p->options, sizeof(g->p->options), "%s", g->plain->options[pick].text);
}

static void image(struct gen *g)
{
    struct program *p = g->p;
    unsigned plain = g->flags / GEN_PLAIN;
    g->plain = plain ? &plains[plain - 1] : NULL;
    g->is_vmdk = g->flags & GEN_VMDK;
    g->is_luks = g->flags & GEN_LUKS;
    bool open = !g->is_vmdk && !g->is_luks && !g->plain;
    g->is_qcow2 = open && ((g->flags & (GEN_QCOW2 | GEN_CRYPT)) || chance(g, 85));
    g->is_vmdk = g->is_vmdk || (open && !g->is_qcow2 && chance(g, 40));
    p->size = (int64_t)(1 + below(g, 1 + below(g, 16))) * 256 * KiB; /* small ones more often */
    if (chance(g, 30)) {
        p->size += 512 * (int64_t)below(g, 300);
    }
    snprintf(p->format, sizeof(p->format), "%s",
             g->plain      ? g->plain->format
             : g->is_qcow2 ? "qcow2"
             : g->is_vmdk  ? "vmdk"
             : g->is_luks  ? "luks"
                           : "raw");
    g->cluster = 64 * KiB;
    if (g->plain) {
        plain_image(g);
    } else if (g->is_qcow2) {
        qcow2_image(g);
    } else if (g->is_vmdk) {
        vmdk_image(g);
    } else if (g->is_luks) {
        g->encrypted = true;
        cipher_options(g, "");
    }
    g->size = p->size;
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
    if (op->bytes > g->size && g->is_qcow2 && !g->encrypted && chance(g, 20)) {
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

/* False: not with this image; another one is drawn. */
static bool possible(const struct gen *g, enum op_kind k)
{
    switch (k) {
    case OP_WRITE_COMPRESSED:
        return g->is_vmdk || (g->is_qcow2 && !g->has_data_file) ||
               (g->plain && g->plain->compressed);
    case OP_SNAPSHOT:
        return g->is_qcow2 && !g->has_data_file;
    case OP_APPLY:
    case OP_DELSNAP:
        return g->has_snapshots;
    case OP_AMEND:
        return g->is_qcow2;
    case OP_OVERLAY:
        return g->layers < 3;
    case OP_RESIZE:
        return !g->is_vmdk && !g->plain &&
               !g->is_luks; /* what grows has no content that was encrypted */
    case OP_COMMIT:
        /* A vmdk parent that was written is a parent no more; a grain of a stream is written once.
         */
        return !(g->flags & GEN_LUKS) && (g->layers > 1 || (g->p->backing && !g->is_vmdk)) &&
               !g->has_snapshots && !((g->base_is_stream || g->plain_base) && g->layers == 2);
    default:
        return true;
    }
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
        g->layers++;
        g->has_snapshots = false;
        g->next_snapshot = 0;
        g->is_qcow2 = true;
        g->is_vmdk = g->is_stream = g->is_luks = false;
        g->cluster = g->plain ? 64 * KiB : g->cluster; /* an overlay is qcow2 */
        g->plain = NULL;
        g->has_data_file = false;
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
        if (g->is_stream) {
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
        if (g->is_stream) {
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
    if (g->is_luks) {
        /* A new volume is full of what nobody encrypted. */
        program_add(g->p, &(struct op){.kind = OP_ZERO, .bytes = g->size});
    }
    for (unsigned i = 0; i < n; i++) {
        add_operation(g);
        if (reopens && g->p->ops[g->p->n_ops - 1].kind != OP_REOPEN) {
            program_add(g->p, &(struct op){.kind = OP_REOPEN});
        }
    }
}

void generate_program(struct rng *r, unsigned ops, unsigned flags, struct program *p)
{
    struct gen g = {.r = r, .p = p, .flags = flags, .layers = 1};
    memset(p, 0, sizeof(*p));
    image(&g);
    operations(&g, ops);
}

void generate_operations(struct rng *r, unsigned ops, unsigned flags, struct program *p)
{
    struct gen g = {
        .r = r, .p = p, .flags = flags, .layers = 1, .size = p->size, .cluster = 64 * KiB};
    const char *cluster = strstr(p->options, "cluster_size=");
    uint64_t size;
    if (cluster && parse_size(cluster + 13, &(const char *){NULL}, 'B', &size) == 0) {
        g.cluster = (int64_t)size;
    }
    g.is_qcow2 = !strcmp(p->format, "qcow2");
    g.is_vmdk = !strcmp(p->format, "vmdk");
    g.is_luks = !strcmp(p->format, "luks");
    g.encrypted = g.is_luks || strstr(p->options, "encrypt.format=");
    g.is_stream = g.base_is_stream = strstr(p->options, "streamOptimized") != NULL;
    g.has_data_file = strstr(p->options, "data_file=") != NULL;
    g.v2 = strstr(p->options, "compat=0.10") != NULL;
    operations(&g, ops);
}

/* ---- the images of the read and write stages ---- */

bool generate_image(unsigned n, struct program *p)
{
    static const struct {
        const char *format, *options;
        bool backing;
    } images[] = {
        {"raw", "", false},
        {"qcow2", "compat=0.10", false},
        {"qcow2", "compat=0.10,cluster_size=512", false},
        {"qcow2", "compat=0.10,cluster_size=2M", false},
        {"qcow2", "compat=0.10", true},
        {"qcow2", "compat=1.1", false},
        {"qcow2", "compat=1.1", true},
        {"qcow2", "compat=1.1,cluster_size=512", false},
        {"qcow2", "compat=1.1,cluster_size=512", true},
        {"qcow2", "compat=1.1,cluster_size=4k", true},
        {"qcow2", "compat=1.1,cluster_size=1M", true},
        {"qcow2", "compat=1.1,cluster_size=2M", false},
        {"qcow2", "compat=1.1,refcount_bits=1", false},
        {"qcow2", "compat=1.1,refcount_bits=2", false},
        {"qcow2", "compat=1.1,refcount_bits=4,cluster_size=4k", true},
        {"qcow2", "compat=1.1,refcount_bits=8", false},
        {"qcow2", "compat=1.1,refcount_bits=32", false},
        {"qcow2", "compat=1.1,refcount_bits=64,cluster_size=512", false},
        {"qcow2", "compat=1.1,lazy_refcounts=on", false},
        {"qcow2", "compat=1.1,lazy_refcounts=on,cluster_size=1k", true},
        {"qcow2", "compat=1.1,extended_l2=on", false},
        {"qcow2", "compat=1.1,extended_l2=on", true},
        {"qcow2", "compat=1.1,extended_l2=on,cluster_size=16k", true},
        {"qcow2", "compat=1.1,extended_l2=on,cluster_size=2M", false},
        {"qcow2", "compat=1.1,compression_type=zstd", false},
        {"qcow2", "compat=1.1,compression_type=zstd,cluster_size=4k", true},
        {"qcow2", "compat=1.1,compression_type=zstd,extended_l2=on", true},
        {"qcow2", "compat=1.1,data_file=data", false},
        {"qcow2", "compat=1.1,data_file=data,data_file_raw=on", false},
        {"qcow2", "compat=1.1,data_file=data,cluster_size=4k", true},
        {"qcow2", "compat=1.1,data_file=data,extended_l2=on", false},
        {"qcow2", "compat=1.1,preallocation=metadata", false},
        {"qcow2", "compat=1.1,preallocation=falloc", false},
        {"qcow2", "compat=1.1,preallocation=full", false},
        {"qcow2", "compat=0.10,preallocation=metadata,cluster_size=4k", false},
        {"qcow2", "compat=1.1,preallocation=metadata,extended_l2=on", false},
        {"qcow2", "compat=1.1,preallocation=metadata,data_file=data", false},
    };
    if (n >= ARRAY_SIZE(images)) {
        return false;
    }
    memset(p, 0, sizeof(*p));
    snprintf(p->format, sizeof(p->format), "%s", images[n].format);
    snprintf(p->options, sizeof(p->options), "%s", images[n].options);
    p->backing = images[n].backing;
    p->size = 3 * MiB + 512 * (int64_t)(n % 7);
    return true;
}
