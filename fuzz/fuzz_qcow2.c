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
};

struct iteration {
    struct fuzz *f;
    struct world *w;
    struct error *err;
    uint8_t buf[PIECE];
};

static void quiet(void *opaque, enum report_kind kind, const char *text) {}

static struct blk *open_image(struct iteration *it, unsigned flags)
{
    struct value *opts = value_dict();
    dict_put_str(opts, "driver", "qcow2");
    return blk_open(it->w, "sim:fuzz", NULL, opts, flags, NULL);
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

/* Writes and reads back; trusted: an image without damage must give the same bytes. */
static void write_spot(struct iteration *it, struct blk *b, int64_t offset, bool trusted)
{
    uint8_t out[SPOT];
    int64_t length = blk_length(b);
    if (offset < 0 || length < SPOT || offset > length - SPOT) {
        return;
    }
    memset(out, 0x5a, sizeof(out));
    if (blk_pwrite(b, offset, out, SPOT, 0) < 0) {
        return;
    }
    it->f->wrote++;
    int ret = read_some(it, b, offset, SPOT);
    if (trusted && !it->err && (ret < 0 || memcmp(out, it->buf, SPOT))) {
        error_set(&it->err, EILSEQ, "what was written at %lld does not read back (%d)",
                  (long long)offset, ret);
    }
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
    blk_flush(b, NULL);
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
    struct sim_disk d = {.disk = disk_new(pool, 0)};
    disk_write(d.disk, 0, data, MIN(len, (size_t)FUZZ_MAX_INPUT));
    it->f = f;
    it->w = world_new(f->process, &cfg);
    block_set_drivers(it->w, &all_drivers);
    sim_register(it->w, "fuzz", &d);
    f->runs++;
    if (world_exec(it->w, iterate, it) < 0 && !it->err) {
        error_set(&it->err, EILSEQ, "a request waits for one that never comes");
    }
    world_free(it->w);
    disk_free(d.disk);
    disk_pool_free(pool);
    int ret = it->err ? -EILSEQ : 0;
    error_propagate(err, it->err);
    mem_free(it);
    return ret;
}
