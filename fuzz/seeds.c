/*
 * Seed images, made by the reference itself or by hand (seeds_made.c): small, so that most of what
 * is damaged matters.
 */
#include <errno.h>
#include <string.h>
#include "fuzz/seeds_int.h"
#include "ref/base/mem.h"
#include "ref/block/backend.h"
#include "ref/block/image_make.h"
#include "ref/block/secret.h"
#include "ref/block/snapshot.h"
#include "ref/protocol/sim.h"
#include "ref/tools/drivers.h"

enum {
    POOL_PAGES = 8192, /* 32 MiB; beyond, the disk is full */
    SECTOR = 512,
    FILLED = 1024, /* bytes written at a time */
};

static int fill(struct blk *b, unsigned how)
{
    uint8_t buf[64 * 1024];
    struct image_info info = {0};
    int ret = 0;
    node_info(blk_node(b), &info); /* some drivers have none */
    int64_t step = how & SEED_COMPRESSED ? MAX(info.cluster_size, SECTOR) : FILLED;
    unsigned flags = how & SEED_COMPRESSED ? REQ_COMPRESSED : 0;
    step = MIN(step, (int64_t)sizeof(buf));
    memset(buf, 0x11, sizeof(buf));
    for (int k = 0; k < 2 && ret >= 0 && (k + 1) * step <= blk_length(b); k++) {
        ret = blk_pwrite(b, k * step, buf, step, flags);
    }
    if (ret >= 0 && how & SEED_SNAPSHOT) {
        struct snapshot_info sn = {.name = "s", .icount = UINT64_MAX};
        ret = snapshot_create(blk_node(b), &sn);
    }
    if (ret >= 0 && !(how & SEED_COMPRESSED && step > 8192)) {
        ret = blk_pwrite_zeroes(b, 8192, FILLED, 0, NULL);
    }
    return ret;
}

static void with_options(struct fuzz_making *m, struct blk **b)
{
    const struct fuzz_format *f = m->f->format;
    struct value *opts = value_dict();
    dict_put_str(opts, "driver", f->driver);
    if (f->options) {
        f->options(m->image, opts);
    }
    *b = blk_open(m->w, "sim:fuzz", NULL, opts, OPEN_RDWR | OPEN_RESIZE, &m->err);
}

static void create(void *arg)
{
    struct fuzz_making *m = arg;
    bool backed = m->recipe->flags & SEED_BACKING;
    struct image_recipe r = {.filename = "sim:fuzz",
                             .format = m->f->format->driver,
                             .options = m->recipe->options,
                             .backing_file = backed ? "sim:base" : NULL,
                             .backing_format = !backed                      ? NULL
                                               : m->f->format->base_options ? m->f->format->driver
                                                                            : "raw",
                             .size = FUZZ_DISK,
                             .quiet = true};
    m->ret = image_make(m->w, &r, &m->err);
    if (m->ret < 0 || m->recipe->flags & SEED_UNTOUCHED) {
        return;
    }
    struct blk *b;
    with_options(m, &b);
    m->ret = b ? fill(b, m->recipe->flags) : -EIO;
    if (b) {
        blk_unref(b);
    }
}

static int make(struct fuzz_making *m)
{
    struct world_config cfg = {.io = IO_SYNC, .io_set = true, .seed = 1, .simulated_time = true};
    struct sim_disk d = {.disk = m->image}, base = {.disk = m->f->base};
    m->w = world_new(m->f->process, &cfg);
    block_set_drivers(m->w, &all_drivers);
    sim_register(m->w, "fuzz", &d);
    if (m->f->base) {
        sim_register(m->w, "base", &base);
    }
    secret_add(m->w, FUZZ_SECRET, FUZZ_PASSWORD, strlen(FUZZ_PASSWORD), NULL);
    int ret = m->recipe->options ? world_exec(m->w, create, m) : 0;
    ret = ret < 0 ? ret : m->ret;
    world_free(m->w);
    return ret == 0 && m->recipe->make ? m->recipe->make(m) : ret;
}

static int make_image(struct fuzz *f, const struct fuzz_recipe *r, struct disk **out,
                      struct error **err)
{
    struct fuzz_making m = {.f = f, .recipe = r, .image = disk_new(f->pool, 0)};
    int ret = make(&m);
    if (ret < 0 && !m.err) {
        error_set(&m.err, -ret, "seed image '%s' cannot be made", r->name);
    }
    error_propagate(err, m.err);
    *out = m.image;
    if (ret < 0) {
        disk_free(m.image);
    }
    return ret;
}

/* Sectors that are all one byte are guest data, or nothing. */
static bool is_uniform(const uint8_t *p)
{
    return !memcmp(p, p + 1, SECTOR - 1);
}

static void find_sectors(struct fuzz_seed *s)
{
    uint8_t buf[SECTOR];
    int64_t size = disk_size(s->image), n;
    for (int64_t at = 0; at < size; at += SECTOR) {
        if (disk_block_status(s->image, at, size - at, &n) == DISK_HOLE) {
            at += ROUND_UP(n, SECTOR) - SECTOR;
            continue;
        }
        disk_read(s->image, at, buf, SECTOR);
        if (!is_uniform(buf)) {
            s->sectors = mem_realloc(s->sectors, (s->n_sectors + 1) * sizeof(*s->sectors));
            s->sectors[s->n_sectors++] = (uint32_t)(at / SECTOR);
        }
    }
}

int fuzz_seed_make(struct fuzz *f, const struct fuzz_recipe *r, struct fuzz_seed *out,
                   struct error **err)
{
    *out = (struct fuzz_seed){.recipe = r};
    int ret = make_image(f, r, &out->image, err);
    if (ret == 0) {
        find_sectors(out);
    }
    return ret;
}

void fuzz_seed_free(struct fuzz_seed *s)
{
    disk_free(s->image);
    mem_free(s->sectors);
}

/* ---- the backing file ---- */

static int make_base(struct fuzz *f, struct error **err)
{
    if (f->format->base_options) {
        struct fuzz_recipe r = {.name = "base", .options = f->format->base_options};
        return make_image(f, &r, &f->base, err);
    }
    uint8_t *buf = mem_alloc(FUZZ_DISK);
    memset(buf, 0x77, FUZZ_DISK);
    f->base = disk_new(f->pool, 0);
    int ret = disk_write(f->base, 0, buf, FUZZ_DISK);
    mem_free(buf);
    return ret < 0 ? error_set_errno(err, -ret, "base") : 0;
}

int fuzz_start(struct fuzz *f, struct process *process, const struct profile *profile,
               const struct fuzz_format *format, struct error **err)
{
    *f = (struct fuzz){.process = process, .profile = profile, .format = format};
    f->pool = disk_pool_new(POOL_PAGES);
    int ret = make_base(f, err);
    if (ret < 0) {
        f->base = NULL;
        disk_pool_free(f->pool);
    }
    return ret;
}

void fuzz_end(struct fuzz *f)
{
    disk_free(f->base);
    disk_pool_free(f->pool);
}
