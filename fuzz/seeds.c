/*
 * Seed images for fuzzing qcow2, made by the reference itself: small clusters keep them small.
 */
#include <errno.h>
#include <string.h>
#include "fuzz/fuzz_qcow2.h"
#include "ref/base/mem.h"
#include "ref/block/backend.h"
#include "ref/block/image_make.h"
#include "ref/block/snapshot.h"
#include "ref/protocol/sim.h"
#include "ref/tools/drivers.h"
#include "specs/qcow2_layout.h"

enum { UNTOUCHED = 1, SNAPSHOT = 2, COMPRESSED = 4, BACKING = 8, DATA_FILE = 16 };

#define OUTSIDE "/proc/self/exe" /* a file that is there */

static const struct {
    const char *name, *options;
    unsigned how;
} seeds[] = {
    {"empty", "cluster_size=512", UNTOUCHED},
    {"v3", "cluster_size=512", 0},
    {"v2", "cluster_size=512,compat=0.10", 0},
    {"lazy", "cluster_size=512,lazy_refcounts=on", 0},
    {"snapshot", "cluster_size=512", SNAPSHOT},
    {"compressed", "cluster_size=512", COMPRESSED},
    {"zstd", "cluster_size=512,compression_type=zstd", COMPRESSED},
    {"refcount1", "cluster_size=512,refcount_bits=1", 0},
    {"refcount64", "cluster_size=512,refcount_bits=64", SNAPSHOT},
    {"4k", "cluster_size=4k", 0},
    {"extended", "cluster_size=16k,extended_l2=on", 0},
    {"backing", "cluster_size=512", UNTOUCHED | BACKING},
    {"itself", "cluster_size=512", UNTOUCHED | BACKING},
    {"data-file", "cluster_size=512", UNTOUCHED | DATA_FILE},
};

size_t fuzz_seed_count(void)
{
    return ARRAY_SIZE(seeds);
}

const char *fuzz_seed_name(size_t i)
{
    return seeds[i].name;
}

bool fuzz_seed_snapshot(size_t i)
{
    return seeds[i].how & SNAPSHOT;
}

bool fuzz_seed_names(size_t i)
{
    return seeds[i].how & (BACKING | DATA_FILE);
}

struct making {
    struct world *w;
    size_t i;
    int ret;
    struct error *err;
};

static int fill(struct blk *b, unsigned how)
{
    uint8_t buf[1024];
    memset(buf, 0x11, sizeof(buf));
    unsigned flags = how & COMPRESSED ? REQ_COMPRESSED : 0;
    int64_t step = how & COMPRESSED ? 512 : 1024;
    int ret = 0;
    for (int k = 0; k < 2 && ret == 0; k++) {
        ret = blk_pwrite(b, k * step, buf, step, flags);
    }
    if (ret == 0 && how & SNAPSHOT) {
        struct snapshot_info sn = {.name = "s", .icount = UINT64_MAX};
        ret = snapshot_create(blk_node(b), &sn);
    }
    return ret < 0 ? ret : blk_pwrite_zeroes(b, 8192, 1024, 0, NULL);
}

static void make_seed(void *arg)
{
    struct making *m = arg;
    struct image_recipe r = {.filename = "sim:fuzz",
                             .format = "qcow2",
                             .options = seeds[m->i].options,
                             .size = 65536,
                             .quiet = true};
    m->ret = image_make(m->w, &r, &m->err);
    if (m->ret < 0 || seeds[m->i].how & UNTOUCHED) {
        return;
    }
    struct value *opts = value_dict();
    dict_put_str(opts, "driver", "qcow2");
    struct blk *b = blk_open(m->w, "sim:fuzz", NULL, opts, OPEN_RDWR | OPEN_RESIZE, &m->err);
    m->ret = b ? fill(b, seeds[m->i].how) : -EIO;
    if (b) {
        blk_unref(b);
    }
}

/* Names are put in by hand: creating such an image would look for the files. */
static void add_backing(uint8_t *image, const char *name)
{
    enum { AT = 400 };
    memcpy(image + AT, name, strlen(name));
    qcow2_header_set_backing_file_offset(image, AT);
    qcow2_header_set_backing_file_size(image, (uint32_t)strlen(name));
}

static void add_data_file(uint8_t *image)
{
    uint8_t *ext = image + qcow2_header_get_header_length(image);
    qcow2_header_set_incompatible_features(image, QCOW2_INCOMPAT_DATA_FILE);
    memset(ext, 0, 64);
    qcow2_header_extension_set_type(ext, QCOW2_EXT_DATA_FILE);
    qcow2_header_extension_set_length(ext, (uint32_t)strlen(OUTSIDE));
    memcpy(ext + QCOW2_HEADER_EXTENSION_SIZE, OUTSIDE, strlen(OUTSIDE));
}

int64_t fuzz_seed(struct process *p, size_t i, uint8_t **out, struct error **err)
{
    struct world_config cfg = {.io = IO_SYNC, .io_set = true, .seed = 1, .simulated_time = true};
    struct disk_pool *pool = disk_pool_new(0);
    struct sim_disk d = {.disk = disk_new(pool, 0)};
    struct making m = {.w = world_new(p, &cfg), .i = i};
    block_set_drivers(m.w, &all_drivers);
    sim_register(m.w, "fuzz", &d);
    int64_t ret = world_exec(m.w, make_seed, &m);
    ret = ret < 0 ? ret : m.ret;
    if (ret < 0 && !m.err) {
        error_set(&m.err, (int)-ret, "seed image '%s' cannot be made", seeds[i].name);
    }
    error_propagate(err, m.err);
    world_free(m.w);
    if (ret == 0) {
        ret = disk_size(d.disk);
        *out = mem_alloc((size_t)ret);
        disk_read(d.disk, 0, *out, (size_t)ret);
        if (seeds[i].how & BACKING) {
            add_backing(*out, strcmp(seeds[i].name, "itself") ? OUTSIDE : "sim:fuzz");
        } else if (seeds[i].how & DATA_FILE) {
            add_data_file(*out);
        }
    }
    disk_free(d.disk);
    disk_pool_free(pool);
    return ret;
}
