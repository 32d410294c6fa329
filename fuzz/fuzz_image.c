/*
 * One iteration of fuzzing.  See fuzz_image.h.
 */
#include "fuzz/fuzz_image.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "fuzz/expected.h"
#include "ref/base/mem.h"
#include "ref/block/backend.h"
#include "ref/block/secret.h"
#include "ref/block/snapshot.h"
#include "ref/protocol/sim.h"
#include "ref/protocol/sim_image.h"
#include "ref/tools/drivers.h"
#include "specs/runtime/checkers.h"

enum {
    EXTENTS = 24,      /* of block status that are followed */
    PIECE = 16 * 1024, /* bytes read of each */
    SPOT = 4096,       /* bytes written at a time */
    RESIZED = 4 << 20, /* disks up to this size are resized: work goes with it */
    LARGEST = 1 << 16, /* bytes of a cluster that is compressed */
    MEMORY = 32 << 20, /* bytes in one piece: a qcow2 L1 table takes no more, nor does anything */
    SPARE = 1 << 20,   /* bytes more than a file has */
    CHECKED = 1 << 24, /* bytes that the spec checker looks at */
};

struct iteration {
    struct fuzz *f;
    struct world *w;
    struct disk *image;
    struct disk_log *log, *unguarded; /* the second: of the same image, overlap checks off */
    struct disk *past; /* what the disk held before the operations that were not judged yet */
    size_t seen;       /* operations of the log that were judged */
    int64_t aligned;   /* what is being written begins at a start of a cluster of that size; or 0 */
    bool trusted;      /* a check found nothing: what is there must stay */
    struct expected expected;
    unsigned reads; /* for the planted byte */
    struct error *err;
    uint8_t buf[PIECE];
};

static bool planted(const struct iteration *it, enum fuzz_plant plant)
{
    return it->f->plant == plant;
}

static void broken(struct iteration *it, const char *what, int64_t offset)
{
    if (!it->err) {
        error_set(&it->err, EILSEQ, "%s at %lld", what, (long long)offset);
    }
}

/* All that is open are the simulated disks. */
static void judge_names(struct iteration *it)
{
    for (struct node *n = node_next(it->w, NULL); n; n = node_next(it->w, n)) {
        if (n->drv && n->drv->kind == DRIVER_PROTOCOL && strcmp(n->drv->name, "sim")) {
            broken(it, "a file that the image names was opened", 0);
        }
    }
}

static size_t limit_of(const struct iteration *it)
{
    size_t limit = it->f->format->memory ? it->f->format->memory : MEMORY;
    return MAX(limit, (size_t)disk_size(it->image) + SPARE);
}

/* No number in an image makes it ask for more memory than the largest table takes, or the file. */
static bool too_much(size_t size, void *opaque)
{
    struct iteration *it = opaque;
    size_t limit = limit_of(it);
    if (size > limit) {
        broken(it, "more memory than the format's limits allow is asked for", (int64_t)size);
    }
    return size > limit;
}

static void do_plant(struct iteration *it)
{
    struct disk_op op = {.kind = DISK_OP_WRITE, .label = LABEL_WRITE_AIO, .bytes = 1};
    if (planted(it, FUZZ_PLANT_MEMORY)) {
        mem_free(mem_try_alloc(limit_of(it) + 1));
    } else if (planted(it, FUZZ_PLANT_ALIGNMENT)) {
        op.offset = disk_size(it->image) + 1;
        disk_log_add(it->log, &op, "");
    } else if (planted(it, FUZZ_PLANT_NAME)) {
        struct blk *b = blk_open(it->w, "null-co://", NULL, NULL, 0, NULL);
        judge_names(it);
        blk_unref(b);
    } else if (planted(it, FUZZ_PLANT_HANG)) {
        co_park(it->w);
    }
}

static struct blk *open_disk(struct iteration *it, const char *name, const char *checks,
                             unsigned flags)
{
    struct value *opts = value_dict();
    dict_put_str(opts, "driver", it->f->format->driver);
    if (it->f->format->options) {
        it->f->format->options(it->image, opts);
    }
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
    for (; it->past && it->seen < disk_log_len(it->log); it->seen++) {
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

/* ---- reading ---- */

static int read_some(struct iteration *it, struct blk *b, int64_t offset, int64_t bytes)
{
    int ret = blk_pread(b, offset, it->buf, bytes);
    it->buf[0] ^= planted(it, FUZZ_PLANT_FLIP_BYTE) && it->reads++ % 2;
    return ret;
}

/* A piece that is there, to be compared later. */
static void look_at(struct iteration *it, struct blk *b, int64_t offset, int64_t bytes)
{
    int ret = read_some(it, b, offset, bytes);
    expected_set(&it->expected, offset, bytes, ret < 0 ? NULL : it->buf);
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
        look_at(it, b, at, MIN(MIN(st.bytes, length - at), (int64_t)PIECE));
        at += st.bytes;
    }
    if (length > SPOT) {
        look_at(it, b, length - SPOT, SPOT);
    }
}

/* An image without damage gives what it gave before. */
static void judge_kept(struct iteration *it, struct blk *b, const char *when)
{
    for (unsigned i = 0; it->trusted && i < it->expected.n && !it->err; i++) {
        const struct piece *p = &it->expected.piece[i];
        int ret = read_some(it, b, p->offset, p->bytes);
        it->f->kept++;
        if (ret < 0 || !expected_kept(p, it->buf)) {
            error_set(&it->err, EILSEQ, "what was at %lld does not read back %s (%d)",
                      (long long)p->offset, when, ret);
        }
    }
}

/* ---- writing ---- */

static int64_t cluster_of(struct blk *b)
{
    struct image_info info = {0};
    return node_info(blk_node(b), &info) < 0 ? 0 : info.cluster_size;
}

/* Writes and reads back; an image without damage must give the same bytes. */
static void write_spot(struct iteration *it, struct blk *b, int64_t offset, int fill)
{
    uint8_t out[SPOT];
    int64_t length = blk_length(b);
    if (offset < 0 || length < SPOT || offset > length - SPOT) {
        return;
    }
    memset(out, fill, sizeof(out));
    int64_t cluster = cluster_of(b);
    judge_places(it);
    int written = blk_pwrite(b, offset, out, SPOT, 0);
    do_plant(it);
    it->aligned = cluster > 0 && offset % cluster == 0 ? cluster : 0;
    judge_places(it);
    it->aligned = 0;
    expected_set(&it->expected, offset, SPOT, written < 0 ? NULL : out);
    if (written < 0) {
        return;
    }
    it->f->wrote++;
    int ret = read_some(it, b, offset, SPOT);
    if (it->trusted && !it->err && (ret < 0 || memcmp(out, it->buf, SPOT))) {
        error_set(&it->err, EILSEQ, "what was written at %lld does not read back (%d)",
                  (long long)offset, ret);
    }
}

/* Bytes that no compressor makes shorter, or the same one again and again. */
static void write_compressed(struct iteration *it, struct blk *b, int64_t offset, int64_t bytes,
                             bool dense)
{
    uint8_t *out = mem_alloc((size_t)bytes), *in = mem_alloc((size_t)bytes);
    struct rng rng;
    rng_seed(&rng, (uint64_t)offset);
    for (int64_t i = 0; i < bytes; i++) {
        out[i] = dense ? (uint8_t)rng_next(&rng) : 0x33;
    }
    int ret = blk_pwrite(b, offset, out, bytes, REQ_COMPRESSED);
    judge_places(it);
    expected_set(&it->expected, offset, bytes, NULL);
    if (ret == 0 && it->trusted &&
        (blk_pread(b, offset, in, bytes) < 0 || memcmp(in, out, bytes))) {
        broken(it, "what was compressed does not read back", offset);
    }
    mem_free(out);
    mem_free(in);
}

static void compress_some(struct iteration *it, struct blk *b)
{
    int64_t length = blk_length(b), cluster = cluster_of(b);
    if (cluster <= 0 || cluster > LARGEST || length < cluster) {
        return;
    }
    for (int i = 0; i < 3; i++) {
        int64_t at = ROUND_DOWN(length / 4 * 3, cluster) + i * cluster;
        if (at + cluster <= length) {
            write_compressed(it, b, at, cluster, i == 1);
        }
    }
}

/* A snapshot of our own, gone back to. */
static void take_snapshot(struct iteration *it, struct blk *b)
{
    struct snapshot_info sn = {.name = "fuzz", .icount = UINT64_MAX};
    struct expected then = it->expected;
    if (snapshot_create(blk_node(b), &sn) == 0) {
        write_spot(it, b, 0, 0x66);
        if (snapshot_goto(blk_node(b), sn.id, NULL) == 0) {
            it->expected = then;
        }
        snapshot_delete(blk_node(b), sn.id, sn.name, NULL);
    }
}

/* The first snapshot that the image came with. */
static void go_back(struct iteration *it, struct blk *b)
{
    struct snapshot_info *list = NULL;
    int n = snapshot_list(blk_node(b), &list);
    if (n > 0 && snapshot_goto(blk_node(b), list[0].id, NULL) == 0) {
        it->expected.n = 0;
        write_spot(it, b, 0, 0x67);
    }
    if (n > 0) {
        snapshot_delete(blk_node(b), list[0].id, list[0].name, NULL);
    }
    mem_free(list);
}

static void resize(struct iteration *it, struct blk *b)
{
    int64_t length = blk_length(b);
    if (length <= 0 || length > RESIZED) {
        return;
    }
    if (blk_truncate(b, ROUND_UP(length + SPOT, 512), false, PREALLOC_OFF, 0, NULL) == 0) {
        write_spot(it, b, length, 0x5b);
    }
    blk_truncate(b, ROUND_UP(length / 2, 512), false, PREALLOC_OFF, 0, NULL);
    expected_cut(&it->expected, ROUND_UP(length / 2, 512));
    write_spot(it, b, 0, 0x5c);
}

static void change(struct iteration *it, struct blk *b)
{
    static const uint8_t zero[3 * SPOT];
    int64_t length = blk_length(b);
    write_spot(it, b, 0, 0x5a);
    write_spot(it, b, length / 2 + 100, 0x59);
    write_spot(it, b, length - SPOT, 0x58);
    judge_kept(it, b, "beside a write");
    int64_t zeroed = MIN(length, 3 * SPOT);
    int ret = blk_pwrite_zeroes(b, 0, zeroed, REQ_MAY_UNMAP, NULL);
    expected_set(&it->expected, 0, zeroed, ret < 0 ? NULL : zero);
    blk_discard(b, 0, MIN(length, 2 * SPOT), NULL);
    expected_set(&it->expected, 0, MIN(length, 2 * SPOT), NULL);
    take_snapshot(it, b);
    go_back(it, b);
    compress_some(it, b);
    blk_flush(b, NULL);
    resize(it, b);
    blk_flush(b, NULL);
    judge_kept(it, b, "behind all changes");
}

/* Also without overlap checks, which an option switches off and which end most runs on damaged
 * images early: nothing new (as compressed data always is) is put over the header, and snapshots
 * are applied and deleted. */
static void change_unguarded(struct iteration *it, const struct disk_log *log)
{
    struct blk *b = open_disk(it, "sim:unguarded", "none", OPEN_RDWR | OPEN_RESIZE);
    if (!b) {
        return;
    }
    int64_t cluster = cluster_of(b);
    it->trusted = false;
    compress_some(it, b);
    go_back(it, b);
    blk_unref(b);
    for (size_t i = 0; i < disk_log_len(log); i++) {
        const struct disk_op *op = disk_log_op(log, i);
        if (is_data(op) && op->label == LABEL_WRITE_COMPRESSED && op->offset < cluster) {
            broken(it, "compressed data was written over the header", op->offset);
        }
    }
}

/* ---- the iteration ---- */

static bool spec_finds_nothing(struct iteration *it)
{
    const struct spec_limits limits = {.clusters = 1 << 16, .work = CHECKED};
    struct spec_image image = sim_image(it->image);
    struct spec_report *r = mem_zalloc(sizeof(*r));
    const char *clause = NULL;
    int ret = spec_checker_find(it->f->format->driver)->check(&image, &limits, r, &clause);
    bool clean = ret == 0 && !r->count[SPEC_CORRUPTION] && !r->count[SPEC_TOLERATED];
    mem_free(r);
    return clean;
}

static void iterate(void *arg)
{
    struct iteration *it = arg;
    struct check_result res;
    bool clean = spec_finds_nothing(it);
    struct blk *b = open_image(it, OPEN_CHECK);
    it->trusted = clean;
    if (b) {
        int ret = node_check(blk_node(b), &res, 0);
        it->trusted = clean || (!it->f->format->weak_check && ret == 0 && !res.corruptions &&
                                !res.check_errors);
        it->f->opened++;
        it->f->clean += it->trusted;
        walk(it, b);
        judge_kept(it, b, "at once");
        blk_unref(b);
    }
    b = it->f->format->read_only ? NULL : open_image(it, OPEN_RDWR | OPEN_RESIZE | OPEN_UNMAP);
    if (b) {
        change(it, b);
        blk_unref(b);
    }
    b = it->f->format->read_only ? NULL : open_image(it, OPEN_RDWR | OPEN_RESIZE | OPEN_CHECK);
    if (b) {
        judge_kept(it, b, "when opened again");
        node_check(blk_node(b), &res, FIX_LEAKS | FIX_ERRORS);
        judge_kept(it, b, "behind a repair");
        walk(it, b);
        blk_unref(b);
    }
    if (it->unguarded) {
        change_unguarded(it, it->unguarded);
    }
}

/* The image as "sim:fuzz", or behind a descriptor of that name; what it may name beside. */
static void register_disks(struct iteration *it, struct disk **own)
{
    const struct fuzz_format *f = it->f->format;
    const char *type = f->extent ? f->extent(it->image) : NULL;
    struct sim_disk d = {.disk = it->image, .log = it->log}, base = {.disk = own[0]};
    sim_register(it->w, type ? "extent" : "fuzz", &d);
    sim_register(it->w, "base", &base);
    if (type) {
        struct sim_disk top = {.disk = own[1]};
        char *text =
            str_fmt("# Disk DescriptorFile\nversion=1\nCID=00000001\n"
                    "parentCID=ffffffff\ncreateType=\"%s\"\n"
                    "RW %d %s \"sim:extent\"\n",
                    strcmp(type, "SESPARSE") ? "vmfsSparse" : "seSparse", FUZZ_DISK / 512, type);
        disk_write(own[1], 0, text, strlen(text));
        sim_register(it->w, "fuzz", &top);
        mem_free(text);
    }
    if (it->unguarded) {
        struct sim_disk u = {.disk = own[2], .log = it->unguarded};
        sim_register(it->w, "unguarded", &u);
    }
}

static void run(struct iteration *it)
{
    struct fuzz *f = it->f;
    struct world_config cfg = {.profile = f->profile,
                               .io = IO_SYNC,
                               .io_set = true,
                               .seed = 1,
                               .simulated_time = true,
                               .deny_names_in_images = true,
                               .report = report_nothing};
    struct disk *own[] = {disk_clone(f->base), disk_new(f->pool, 0), disk_clone(it->image)};
    it->w = world_new(f->process, &cfg);
    block_set_drivers(it->w, &all_drivers);
    secret_add(it->w, FUZZ_SECRET, FUZZ_PASSWORD, strlen(FUZZ_PASSWORD), NULL);
    register_disks(it, own);
    mem_set_fail_hook(too_much, it);
    if (world_exec(it->w, iterate, it) < 0 && !it->err) {
        error_set(&it->err, EILSEQ, "a request waits for one that never comes");
    }
    world_free(it->w);
    mem_set_fail_hook(NULL, NULL);
    for (size_t i = 0; i < ARRAY_SIZE(own); i++) {
        disk_free(own[i]);
    }
}

int fuzz_image(struct fuzz *f, const struct disk *image, struct error **err)
{
    struct iteration *it = mem_zalloc(sizeof(*it));
    bool places = f->format->judges_places;
    it->f = f;
    it->image = disk_clone(image);
    it->log = places ? disk_log_new(f->pool) : NULL;
    it->unguarded = places ? disk_log_new(f->pool) : NULL;
    it->past = places ? disk_clone(image) : NULL;
    f->runs++;
    run(it);
    disk_free(it->image);
    disk_free(it->past);
    if (places) {
        disk_log_free(it->log);
        disk_log_free(it->unguarded);
    }
    int ret = it->err ? -EILSEQ : 0;
    error_propagate(err, it->err);
    mem_free(it);
    return ret;
}
