/*
 * What the guest must see: plain memory that the operations are applied to.
 */
#include "harness/subject/shadow.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "ref/base/iov.h"
#include "ref/base/mem.h"
#include "ref/base/rng.h"
#include "ref/base/sizes.h"

#define BACKING_STEP (64 * KiB)

void shadow_backing_fill(void *buf, int64_t offset, size_t len)
{
    uint8_t *p = buf;
    while (len) {
        size_t n = (size_t)MIN((int64_t)len, BACKING_STEP - offset % BACKING_STEP);
        memset(p, (int)(0xb0 + offset / BACKING_STEP % 16), n);
        p += n;
        offset += (int64_t)n;
        len -= n;
    }
}

/* The number behind "key=" in an option text, or def. */
static int64_t option_size(const char *options, const char *key, int64_t def)
{
    const char *at = strstr(options, key);
    char *end;
    if (!at) {
        return def;
    }
    int64_t v = strtoll(at + strlen(key), &end, 10);
    return *end == 'k' || *end == 'K' ? v * KiB : *end == 'M' ? v * MiB : v;
}

int64_t program_granule(const struct program *p)
{
    static const struct {
        const char *format, *option;
        int64_t bytes;
    } all[] = {
        {"raw", NULL, 1},
        {"luks", NULL, 512}, /* enciphered as a whole */
        {"vdi", NULL, 1 * MiB},
        {"vpc", NULL, 2 * MiB},
        {"vhdx", "block_size=", 8 * MiB},
        {"parallels", "cluster_size=", 1 * MiB},
    };
    for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
        if (!strcmp(all[i].format, p->format)) {
            return all[i].option ? option_size(p->options, all[i].option, all[i].bytes)
                                 : all[i].bytes;
        }
    }
    return !strcmp(p->format, "qcow") ? (p->backing ? 512 : 4 * KiB)
                                      : option_size(p->options, "cluster_size=", 64 * KiB);
}

int64_t program_cluster(const struct program *p)
{
    const char *option = strstr(p->options, "cluster_size=");
    uint64_t size;
    const char *end;
    if (option && parse_size(option + strlen("cluster_size="), &end, 'B', &size) == 0 && size &&
        size <= 2 * MiB) {
        return (int64_t)size;
    }
    bool common = strcmp(p->format, "qcow2") == 0 || strcmp(p->format, "raw") == 0;
    return common ? 64 * KiB : 2 * MiB; /* overlays of raw images are qcow2 */
}

int shadow_init(struct shadow *sh, const struct program *p, struct error **err)
{
    memset(sh, 0, sizeof(*sh));
    if (p->size > SHADOW_MAX) {
        return error_set(err, EFBIG, "image of %lld bytes: programs are limited to %lld",
                         (long long)p->size, SHADOW_MAX);
    }
    sh->size = ROUND_UP(p->size, 512);
    sh->data = mem_zalloc((size_t)MAX(sh->size, 1));
    sh->layers = 1;
    sh->cluster = program_cluster(p);
    if (p->backing) {
        shadow_backing_fill(sh->data, 0, (size_t)sh->size);
    }
    return 0;
}

static void drop_snapshots(struct shadow *sh)
{
    for (unsigned i = 0; i < sh->n_snapshots; i++) {
        mem_free(sh->snapshots[i].data);
    }
    sh->n_snapshots = 0;
}

void shadow_free(struct shadow *sh)
{
    drop_snapshots(sh);
    mem_free(sh->data);
    mem_free(sh->cut);
    memset(sh, 0, sizeof(*sh));
}

static void set_size(struct shadow *sh, int64_t size)
{
    sh->data = mem_realloc(sh->data, (size_t)MAX(size, 1));
    if (size > sh->size) {
        memset(sh->data + sh->size, 0, (size_t)(size - sh->size));
    }
    sh->size = size;
}

/* Keeps what is cut off at `size`. */
static void keep_cut(struct shadow *sh, int64_t size)
{
    if (sh->cut_size < sh->size) {
        sh->cut = mem_realloc(sh->cut, (size_t)sh->size);
        memset(sh->cut + sh->cut_size, 0, (size_t)(sh->size - sh->cut_size));
        sh->cut_size = sh->size;
    }
    memcpy(sh->cut + size, sh->data + size, (size_t)(sh->size - size));
}

/* After a shrink the last cluster may still hold what was cut off; all behind it is zero. */
static void resize(struct shadow *sh, int64_t size)
{
    int64_t old = sh->size;
    if (size < old) {
        keep_cut(sh, size);
    }
    set_size(sh, size);
    int64_t end = MIN(size, ROUND_UP(old, sh->cluster));
    if (size <= old || end <= old || !(sh->cut_size > old || sh->cut_unknown)) {
        return;
    }
    if (sh->cut_size > old) {
        memcpy(sh->data + old, sh->cut + old, (size_t)(MIN(end, sh->cut_size) - old));
    }
    sh->adopt_whole = sh->cut_unknown;
    sh->adopt_offset = old;
    sh->adopt_bytes = end - old;
}

static struct shadow_snapshot *find(struct shadow *sh, const char *name)
{
    for (unsigned i = 0; i < sh->n_snapshots; i++) {
        if (!strcmp(sh->snapshots[i].name, name)) {
            return &sh->snapshots[i];
        }
    }
    return NULL;
}

static void take_snapshot(struct shadow *sh, const char *name)
{
    if (sh->n_snapshots < SHADOW_SNAPSHOTS) {
        struct shadow_snapshot *sn = &sh->snapshots[sh->n_snapshots++];
        memset(sn, 0, sizeof(*sn));
        memcpy(sn->name, name, sizeof(sn->name));
        sn->size = sh->size;
        sn->data = mem_dup(sh->data, (size_t)MAX(sh->size, 1));
    }
}

static void apply_snapshot(struct shadow *sh, const char *name)
{
    const struct shadow_snapshot *sn = find(sh, name);
    sh->cut_unknown = sh->cut_unknown || sh->cut_size || !sn || sn->size != sh->size;
    if (!sn || sn->stale) {
        sh->adopt_whole = true;
        sh->adopt_offset = 0;
        set_size(sh, sn ? sn->size : sh->size);
        sh->adopt_bytes = sh->size;
        return;
    }
    set_size(sh, sn->size);
    memcpy(sh->data, sn->data, (size_t)sn->size);
}

static void delete_snapshot(struct shadow *sh, const char *name)
{
    struct shadow_snapshot *sn = find(sh, name);
    if (sn) {
        mem_free(sn->data);
        *sn = sh->snapshots[--sh->n_snapshots];
    }
}

void shadow_apply(struct shadow *sh, const struct op *op)
{
    switch (op->kind) {
    case OP_WRITE:
    case OP_WRITE_COMPRESSED:
        op_fill(sh->data + op->offset, op->seed, op->offset, (size_t)op->bytes);
        break;
    case OP_ZERO:
        memset(sh->data + op->offset, 0, (size_t)op->bytes);
        break;
    case OP_DISCARD:
        sh->adopt_offset = op->offset;
        sh->adopt_bytes = op->bytes;
        break;
    case OP_SNAPSHOT:
        take_snapshot(sh, op->text);
        break;
    case OP_APPLY:
        apply_snapshot(sh, op->text);
        break;
    case OP_DELSNAP:
        delete_snapshot(sh, op->text);
        break;
    case OP_RESIZE:
        resize(sh, ROUND_UP(op->bytes, 512));
        break;
    case OP_OVERLAY:
        drop_snapshots(sh);
        sh->layers++;
        break;
    case OP_COMMIT:
        for (unsigned i = 0; i < sh->n_snapshots; i++) {
            sh->snapshots[i].stale = true;
        }
        break;
    default:
        break;
    }
}

void shadow_fail(struct shadow *sh, const struct op *op)
{
    sh->adopt_offset = op->offset;
    sh->adopt_bytes = op->bytes;
}

int shadow_adopt(struct shadow *sh, const uint8_t *bytes, struct error **err)
{
    int ret = 0;
    for (int64_t i = 0; i < sh->adopt_bytes && ret == 0; i++) {
        uint8_t *was = &sh->data[sh->adopt_offset + i];
        if (!sh->adopt_whole && bytes[i] != *was && bytes[i] != 0) {
            ret = error_set(err, EILSEQ, "byte %lld is 0x%02x, neither 0x%02x nor zero",
                            (long long)(sh->adopt_offset + i), bytes[i], *was);
        }
        *was = bytes[i];
    }
    sh->adopt_bytes = 0;
    sh->adopt_whole = false;
    return ret;
}

/* How many of p's bytes equal its first. */
static size_t run_length(const uint8_t *p, size_t max)
{
    size_t n = 1;
    while (n < max && n % 64) {
        if (p[n] != p[0]) {
            return n;
        }
        n++;
    }
    while (n + 64 <= max && !memcmp(p, p + n, 64)) {
        n += 64;
    }
    while (n < max && p[n] == p[0]) {
        n++;
    }
    return n;
}

bool shadow_run_at(const struct shadow *sh, int64_t offset, struct shadow_run *run)
{
    if (offset >= sh->size) {
        return false;
    }
    *run = (struct shadow_run){.offset = offset, .value = sh->data[offset]};
    run->bytes = (int64_t)run_length(sh->data + offset, (size_t)(sh->size - offset));
    return true;
}

uint64_t shadow_hash(const struct shadow *sh)
{
    return hash_bytes(sh->data, (size_t)sh->size, 0);
}

bool shadow_is_zero(const struct shadow *sh, int64_t offset, int64_t bytes)
{
    return offset < sh->size &&
           buf_is_zero(sh->data + offset, (size_t)MIN(bytes, sh->size - offset));
}
