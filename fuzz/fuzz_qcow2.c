/*
 * One iteration of fuzzing qcow2.  See fuzz_qcow2.h.
 */
#include "fuzz/fuzz_qcow2.h"

#include <errno.h>
#include <string.h>
#include "ref/base/mem.h"
#include "ref/block/backend.h"
#include "ref/block/snapshot.h"
#include "ref/protocol/sim.h"
#include "ref/tools/drivers.h"

enum {
    POOL_PAGES = 8192, /* 32 MiB; beyond, the disk is full */
    EXTENTS = 24,      /* of block status that are followed */
    PIECE = 16 * 1024, /* bytes read of each */
    SPOT = 4096,       /* bytes written at a time */
    RESIZED = 4 << 20, /* disks up to this size are resized: work goes with it */
    MEMORY = 32 << 20, /* bytes in one piece: an L1 table takes no more, nor does anything else */
};

struct iteration {
    struct fuzz *f;
    struct world *w;
    struct disk_log *log, *unguarded; /* the second: of the same image, overlap checks off */
    struct disk *past; /* what the disk held before the operations that were not judged yet */
    size_t seen;       /* operations of the log that were judged */
    int64_t aligned;   /* what is being written begins at a start of a cluster of that size; or 0 */
    struct error *err;
    uint8_t buf[PIECE];
};

static void quiet(void *opaque, enum report_kind kind, const char *text) {}

static void broken(struct iteration *it, const char *what, int64_t offset)
{
    if (!it->err) {
        error_set(&it->err, EILSEQ, "%s at %lld", what, (long long)offset);
    }
}

/* All that is open is the image's own disk. */
static void judge_names(struct iteration *it)
{
    for (struct node *n = node_next(it->w, NULL); n; n = node_next(it->w, n)) {
        if (n->drv && n->drv->kind == DRIVER_PROTOCOL && strcmp(n->drv->name, "sim")) {
            broken(it, "a file that the image names was opened", 0);
        }
    }
}

/* No number in an image makes it ask for more memory than the largest table takes. */
static bool too_much(size_t size, void *opaque)
{
    if (size > MEMORY) {
        broken(opaque, "more memory than the format's limits allow is asked for", (int64_t)size);
    }
    return size > MEMORY;
}

static struct blk *open_disk(struct iteration *it, const char *name, const char *checks,
                             unsigned flags)
{
    struct value *opts = value_dict();
    dict_put_str(opts, "driver", "qcow2");
    if (checks) {
        dict_put_str(opts, "overlap-check", checks);
    }
    struct blk *b = blk_open(it->w, name, NULL, opts, flags, NULL);
    judge_names(it);
    return b;
}

static struct blk *open_image(struct iteration *it, unsigned flags)
{
    return open_disk(it, "sim:fuzz", NULL, flags);
}

static bool is_data(const struct disk_op *op)
{
    return (op->label == LABEL_WRITE_AIO || op->label == LABEL_COW_WRITE ||
            op->label == LABEL_WRITE_COMPRESSED) &&
           op->kind == DISK_OP_WRITE && !(op->flags & DISK_OP_FAILED);
}

/* Guest data that went out since the last look went over nothing that the image needed then, and to
 * whole clusters. */
static void judge_places(struct iteration *it)
{
    for (; it->seen < disk_log_len(it->log); it->seen++) {
        const struct disk_op *op = disk_log_op(it->log, it->seen);
        bool data = is_data(op);
        const char *what = data ? fuzz_metadata_at(it->past, op->offset, op->bytes) : NULL;
        if (data && op->label == LABEL_WRITE_AIO && it->aligned && op->offset % it->aligned) {
            broken(it, "a cluster that lies across two was written", op->offset);
        }
        if (what && !it->err) {
            error_set(&it->err, EILSEQ, "guest data was written over %s at %lld", what,
                      (long long)op->offset);
        }
        if (op->kind <= DISK_OP_TRUNCATE && !(op->flags & DISK_OP_FAILED)) {
            disk_op_apply(it->past, op);
        }
    }
}

static int read_some(struct iteration *it, struct blk *b, int64_t offset, int64_t bytes)
{
    int ret = blk_pread(b, offset, it->buf, bytes);
    it->buf[0] ^= it->f->flip_byte;
    return ret;
}

static void walk(struct iteration *it, struct blk *b)
{
    int64_t length = blk_length(b), at = 0;
    for (int i = 0; i < EXTENTS && at < length; i++) {
        struct status st;
        int ret = node_block_status_above(blk_node(b), NULL, true, at, length - at, &st, NULL);
        if (ret < 0 || st.bytes <= 0) {
            return;
        }
        read_some(it, b, at, MIN(MIN(st.bytes, length - at), (int64_t)PIECE));
        at += st.bytes;
    }
    if (length > SPOT) {
        read_some(it, b, length - SPOT, SPOT);
    }
}

static int64_t cluster_of(struct blk *b)
{
    struct image_info info = {0};
    return node_info(blk_node(b), &info) < 0 ? 0 : info.cluster_size;
}

/* Writes and reads back; trusted: an image without damage must give the same bytes. */
static void write_spot(struct iteration *it, struct blk *b, int64_t offset, bool trusted)
{
    uint8_t out[SPOT];
    int64_t length = blk_length(b);
    if (offset < 0 || length < SPOT || offset > length - SPOT) {
        return;
    }
    memset(out, 0x5a, sizeof(out));
    int64_t cluster = cluster_of(b);
    judge_places(it);
    int written = blk_pwrite(b, offset, out, SPOT, 0);
    it->aligned = cluster > 0 && offset % cluster == 0 ? cluster : 0;
    judge_places(it);
    it->aligned = 0;
    if (written < 0) {
        return;
    }
    it->f->wrote++;
    int ret = read_some(it, b, offset, SPOT);
    if (trusted && !it->err && (ret < 0 || memcmp(out, it->buf, SPOT))) {
        error_set(&it->err, EILSEQ, "what was written at %lld does not read back (%d)",
                  (long long)offset, ret);
    }
}

/* Bytes that no compressor makes shorter, or the same one again and again. */
static void write_compressed(struct iteration *it, struct blk *b, int64_t offset, int64_t bytes,
                             bool dense, bool trusted)
{
    uint8_t *out = mem_alloc((size_t)bytes), *in = mem_alloc((size_t)bytes);
    struct rng rng;
    rng_seed(&rng, (uint64_t)offset);
    for (int64_t i = 0; i < bytes; i++) {
        out[i] = dense ? (uint8_t)rng_next(&rng) : 0x33;
    }
    int ret = blk_pwrite(b, offset, out, bytes, REQ_COMPRESSED);
    judge_places(it);
    if (ret == 0 && trusted && (blk_pread(b, offset, in, bytes) < 0 || memcmp(in, out, bytes))) {
        broken(it, "what was compressed does not read back", offset);
    }
    mem_free(out);
    mem_free(in);
}

static void compress_some(struct iteration *it, struct blk *b, bool trusted)
{
    int64_t length = blk_length(b), cluster = cluster_of(b);
    if (cluster <= 0 || cluster > 65536 || length < 8 * cluster) {
        return;
    }
    for (int i = 0; i < 3; i++) {
        int64_t at = ROUND_DOWN(length / 4 * 3, cluster) + i * cluster;
        if (at + cluster <= length) {
            write_compressed(it, b, at, cluster, i == 1, trusted);
        }
    }
}

/* A snapshot that the image came with. */
static void go_back(struct iteration *it, struct blk *b, bool trusted)
{
    struct snapshot_info *list = NULL;
    int n = snapshot_list(blk_node(b), &list);
    if (n > 0 && snapshot_goto(blk_node(b), list[0].id, NULL) == 0) {
        write_spot(it, b, 0, trusted);
    }
    if (n > 0) {
        snapshot_delete(blk_node(b), list[0].id, list[0].name, NULL);
    }
    mem_free(list);
}

static void change(struct iteration *it, struct blk *b, bool trusted)
{
    int64_t length = blk_length(b);
    write_spot(it, b, 0, trusted);
    write_spot(it, b, length / 2 + 100, trusted);
    write_spot(it, b, length - SPOT, trusted);
    blk_pwrite_zeroes(b, 0, MIN(length, 3 * SPOT), REQ_MAY_UNMAP, NULL);
    blk_discard(b, 0, MIN(length, 2 * SPOT), NULL);
    struct snapshot_info sn = {.name = "fuzz", .icount = UINT64_MAX};
    if (snapshot_create(blk_node(b), &sn) == 0) {
        write_spot(it, b, 0, trusted);
        snapshot_goto(blk_node(b), sn.id, NULL);
        snapshot_delete(blk_node(b), sn.id, sn.name, NULL);
    }
    compress_some(it, b, trusted);
    go_back(it, b, trusted);
    length = blk_length(b);
    blk_flush(b, NULL);
    if (length > 0 && length <= RESIZED) {
        blk_truncate(b, ROUND_UP(length + SPOT, 512), false, PREALLOC_OFF, 0, NULL);
        write_spot(it, b, length, trusted);
        blk_truncate(b, ROUND_UP(length / 2, 512), false, PREALLOC_OFF, 0, NULL);
        write_spot(it, b, 0, trusted);
    }
    blk_flush(b, NULL);
}

/* Also without overlap checks, which an option switches off and which end most damaged images
 * before much happens: nothing new (as compressed data always is) is put over the header, and
 * snapshots are applied and deleted. */
static void change_unguarded(struct iteration *it, const struct disk_log *log)
{
    struct blk *b = open_disk(it, "sim:unguarded", "none", OPEN_RDWR | OPEN_RESIZE);
    if (!b) {
        return;
    }
    int64_t cluster = cluster_of(b);
    compress_some(it, b, false);
    go_back(it, b, false);
    blk_unref(b);
    for (size_t i = 0; i < disk_log_len(log); i++) {
        const struct disk_op *op = disk_log_op(log, i);
        if (is_data(op) && op->label == LABEL_WRITE_COMPRESSED && op->offset < cluster) {
            broken(it, "compressed data was written over the header", op->offset);
        }
    }
}

static void iterate(void *arg)
{
    struct iteration *it = arg;
    struct check_result res;
    struct blk *b = open_image(it, OPEN_CHECK);
    bool trusted = false;
    if (b) {
        int ret = node_check(blk_node(b), &res, 0);
        trusted = ret == 0 && !res.corruptions && !res.check_errors;
        it->f->opened++;
        it->f->clean += trusted;
        walk(it, b);
        blk_unref(b);
    }
    b = open_image(it, OPEN_RDWR | OPEN_RESIZE | OPEN_UNMAP);
    if (b) {
        change(it, b, trusted);
        blk_unref(b);
    }
    b = open_image(it, OPEN_RDWR | OPEN_RESIZE | OPEN_CHECK);
    if (b) {
        node_check(blk_node(b), &res, FIX_LEAKS | FIX_ERRORS);
        walk(it, b);
        blk_unref(b);
    }
    change_unguarded(it, it->unguarded);
}

int fuzz_qcow2(struct fuzz *f, const uint8_t *data, size_t len, struct error **err)
{
    struct world_config cfg = {.profile = f->profile,
                               .io = IO_SYNC,
                               .io_set = true,
                               .seed = 1,
                               .simulated_time = true,
                               .deny_names_in_images = true,
                               .report = quiet};
    struct disk_pool *pool = disk_pool_new(POOL_PAGES);
    struct iteration *it = mem_zalloc(sizeof(*it));
    struct sim_disk d = {.disk = disk_new(pool, 0), .log = disk_log_new(pool)};
    disk_write(d.disk, 0, data, MIN(len, (size_t)FUZZ_MAX_INPUT));
    struct sim_disk u = {.disk = disk_clone(d.disk), .log = disk_log_new(pool)};
    it->f = f;
    it->past = disk_clone(d.disk);
    it->log = d.log;
    it->unguarded = u.log;
    it->w = world_new(f->process, &cfg);
    block_set_drivers(it->w, &all_drivers);
    sim_register(it->w, "fuzz", &d);
    sim_register(it->w, "unguarded", &u);
    f->runs++;
    mem_set_fail_hook(too_much, it);
    if (world_exec(it->w, iterate, it) < 0 && !it->err) {
        error_set(&it->err, EILSEQ, "a request waits for one that never comes");
    }
    world_free(it->w);
    mem_set_fail_hook(NULL, NULL);
    disk_free(d.disk);
    disk_free(u.disk);
    disk_free(it->past);
    disk_log_free(d.log);
    disk_log_free(u.log);
    disk_pool_free(pool);
    int ret = it->err ? -EILSEQ : 0;
    error_propagate(err, it->err);
    mem_free(it);
    return ret;
}
