/*
 * Stage probing: a guest on a raw disk whose format was guessed writes the header of each format
 * that we make, in one piece and in several; opened again, the disk must still be raw.
 *
 * In process, on simulated disks, both profiles.  What the guard refuses is refused; what it lets
 * pass must not add up to a header.  Leaves out: formats that are only read.
 */
#include "harness/campaign/explore_stages.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "fault/disk.h"
#include "ref/base/mem.h"
#include "ref/block/backend.h"
#include "ref/block/image_make.h"
#include "ref/protocol/sim.h"
#include "ref/tools/drivers.h"

enum { HEAD = 2048 /* bytes that are looked at when a format is guessed */, PIECES = 4 };

static const char *const formats[] = {"qcow2", "qcow", "qed",  "vdi",
                                      "vpc",   "vhdx", "vmdk", "parallels"};

/* In which pieces the head is written, in this order: offset and length. */
static const struct shape {
    const char *name;
    int piece[PIECES][2];
} shapes[] = {
    {"whole", {{0, HEAD}}},
    {"sector", {{0, 512}}},
    {"backwards", {{512, HEAD - 512}, {0, 512}}},
    {"bytes", {{0, 100}, {100, 412}, {512, HEAD - 512}}},
    {"tail-first", {{300, HEAD - 300}, {0, 300}}},
    {"magic-last", {{8, HEAD - 8}, {0, 8}}},
    {"halves", {{0, 1024}, {1024, HEAD - 1024}}},
};

struct probing {
    struct world *w;
    const char *format;
    const struct shape *shape;
    bool named; /* planted: the guest's disk is opened as raw by name, so nothing guards it */
    uint8_t head[HEAD];
    char why[160];
    int ret;
    struct error *err;
};

static struct blk *open_disk(struct probing *x, const char *name, const char *driver)
{
    struct value *options = value_dict();
    if (driver) {
        dict_put_str(options, "driver", driver);
    }
    struct blk *b = blk_open(x->w, name, NULL, options, OPEN_RDWR, &x->err);
    x->ret = b ? 0 : -EIO;
    return b;
}

static void take_head(struct probing *x)
{
    struct image_recipe r = {
        .filename = "sim:made", .format = x->format, .size = MiB, .quiet = true};
    x->ret = image_make(x->w, &r, &x->err);
    struct blk *b = x->ret < 0 ? NULL : open_disk(x, "sim:made", "raw");
    if (b) {
        x->ret = blk_pread(b, 0, x->head, MIN(HEAD, blk_length(b)));
        blk_unref(b);
    }
}

/* As the guest would: what fails, fails. */
static void write_pieces(struct probing *x, struct blk *b)
{
    for (int i = 0; i < PIECES && x->shape->piece[i][1]; i++) {
        int at = x->shape->piece[i][0];
        (void)blk_pwrite(b, at, x->head + at, x->shape->piece[i][1], 0);
    }
    blk_flush(b, NULL);
    blk_unref(b);
}

static void probe(void *arg)
{
    struct probing *x = arg;
    take_head(x);
    struct blk *b = x->ret < 0 ? NULL : open_disk(x, "sim:guest", x->named ? "raw" : NULL);
    if (!b) {
        return;
    }
    write_pieces(x, b);
    b = blk_open(x->w, "sim:guest", NULL, value_dict(), 0, NULL);
    if (!b || strcmp(blk_node(b)->drv->name, "raw")) {
        snprintf(x->why, sizeof(x->why), "what the guest wrote (%s) made its raw disk %s%s",
                 x->shape->name, b ? blk_node(b)->drv->name : x->format,
                 b ? "" : ", which does not open");
    }
    if (b) {
        blk_unref(b);
    }
}

/* 1 with x->why, 0, or < 0 when it cannot run (x->err). */
static int run(struct campaign *c, const struct profile *profile, struct probing *x)
{
    struct world_config cfg = {.profile = profile,
                               .io = IO_SYNC,
                               .io_set = true,
                               .seed = 1,
                               .simulated_time = true,
                               .report = report_nothing};
    struct disk_pool *pool = disk_pool_new(0);
    struct sim_disk made = {.disk = disk_new(pool, 0)}, guest = {.disk = disk_new(pool, MiB)};
    x->w = world_new(c->process, &cfg);
    x->named = c->planted != PLANT_NONE;
    block_set_drivers(x->w, &all_drivers);
    sim_register(x->w, "made", &made);
    sim_register(x->w, "guest", &guest);
    int ret = world_exec(x->w, probe, x);
    world_free(x->w);
    disk_free(made.disk);
    disk_free(guest.disk);
    disk_pool_free(pool);
    ret = ret < 0 ? ret : x->ret;
    return ret < 0 ? ret : x->why[0] != 0;
}

static void run_format(struct campaign *c, const struct subject *s, const char *format)
{
    unsigned bad = 0;
    for (size_t i = 0; i < ARRAY_SIZE(shapes); i++) {
        struct probing x = {.format = format, .shape = &shapes[i]};
        int ret = run(c, subject_profile(s), &x);
        if (ret) {
            char *name = str_fmt("%s %s", format, shapes[i].name);
            char *repro = str_fmt("# probing: %s\n", name);
            const char *why = ret > 0 ? x.why : x.err ? x.err->msg : "cannot run";
            campaign_report(c, "probing", s, "raw", name, VERDICT_FAIL, why, repro);
            mem_free(name);
            mem_free(repro);
            bad++;
        }
        error_free(x.err);
    }
    store_count(c->store, "probing", s->name, "heads", ARRAY_SIZE(shapes));
    if (!bad) {
        campaign_report(c, "probing", s, "raw", format, VERDICT_PASS, NULL, NULL);
    }
}

int stage_probing(struct campaign *c, struct error **err)
{
    for (unsigned i = 0; i < c->n_subjects; i++) {
        for (size_t f = 0; subject_profile(c->subjects[i]) && f < ARRAY_SIZE(formats); f++) {
            run_format(c, c->subjects[i], formats[f]);
        }
    }
    return 0;
}

int repro_probing(struct campaign *c, const char *subject, const char *text, struct error **err)
{
    char format[16], shape[16];
    const char *at = strstr(text, "# probing: ");
    if (!at || sscanf(at, "# probing: %15s %15s", format, shape) != 2) {
        return error_set(err, EINVAL, "no head in the reproducer: '# probing: FORMAT SHAPE'");
    }
    struct probing x = {.format = format};
    for (size_t i = 0; i < ARRAY_SIZE(shapes); i++) {
        x.shape = strcmp(shapes[i].name, shape) ? x.shape : &shapes[i];
    }
    if (!x.shape) {
        return error_set(err, EINVAL, "no shape '%s'", shape);
    }
    int ret = run(c, profile_named(subject), &x);
    if (ret > 0) {
        error_set(err, EILSEQ, "%s", x.why);
    }
    error_propagate(err, x.err);
    return ret;
}
