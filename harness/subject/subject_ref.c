/*
 * The reference in process as a subject: a world for each program, images on simulated disks or in
 * files.
 *
 * Models: sessions (the image stays open until `reopen`), overlays and commit as image tools do
 * them, planted defects.  Leaves out: faults and power cuts; their stages build their own disks.
 */
#include <errno.h>
#include <stdio.h>
#include <unistd.h>
#include "harness/subject/plant.h"
#include "harness/subject/shadow.h"
#include "harness/subject/subject.h"
#include "ref/base/mem.h"
#include "ref/block/backend.h"
#include "ref/block/image_info.h"
#include "ref/block/image_make.h"
#include "ref/block/secret.h"
#include "ref/block/snapshot.h"
#include "ref/engine/world.h"
#include "ref/protocol/sim.h"
#include "ref/tools/drivers.h"

#define CHUNK (64 * KiB)

struct ref {
    struct process *process;
    const struct profile *profile;
    enum planted planted;
    struct world *w;
    struct disk_pool *pool;
    struct disk *disks[SUBJECT_LAYERS + 5]; /* layers, base, others; NULL with files */
    struct fault_plan plan;
    struct program p;
    unsigned layers;
    struct blk *b;
    unsigned reads;
};

/* One call of an operation, for the coroutine that does it. */
struct call {
    struct subject *s;
    int (*fn)(struct call *c);
    const struct op *op;
    const struct shadow *sh;
    struct error **err;
    struct extent **extents;
    struct subject_check *check;
    struct value *info;
    int64_t offset;
    void *buf;
    size_t len;
    int ret;
};

static void run_call(void *arg)
{
    struct call *c = arg;
    c->ret = c->fn(c);
}

static int call(struct call *c)
{
    struct ref *r = c->s->state;
    if (!r->w) {
        return error_set(c->err, ENOMEDIUM, "no image");
    }
    c->ret = SUBJECT_ERROR;
    if (world_exec(r->w, run_call, c) < 0) {
        error_set(c->err, EDEADLK, "a request waits for one that never comes");
        return SUBJECT_ERROR;
    }
    return c->ret;
}

static char *file_name(const struct subject *s, const char *name)
{
    return s->dir ? str_fmt("%s/%s", s->dir, name) : str_fmt("sim:%s", name);
}

static char *layer_name(const struct subject *s, unsigned layer)
{
    char name[32];
    subject_layer_name(name, layer);
    return file_name(s, name);
}

static const char *format_of(const struct subject *s, unsigned layer)
{
    const struct ref *r = s->state;
    return subject_format(&r->p, layer);
}

static struct blk *open_image(struct subject *s, unsigned layer, unsigned flags, struct error **err)
{
    struct ref *r = s->state;
    struct value *options = value_dict();
    char *name = layer_name(s, layer);
    dict_put_str(options, "driver", format_of(s, layer));
    subject_key_options(&r->p, layer, options);
    struct blk *b = blk_open(r->w, name, NULL, options, flags, err);
    mem_free(name);
    return b;
}

static int open_top(struct subject *s, struct error **err)
{
    struct ref *r = s->state;
    struct error *local = NULL;
    r->b = open_image(s, r->layers - 1, OPEN_RDWR | OPEN_RESIZE | OPEN_UNMAP, &local);
    int ret = r->b ? 0 : -local->code;
    error_propagate(err, local);
    return ret;
}

static void close_top(struct subject *s)
{
    struct ref *r = s->state;
    if (r->b) {
        blk_unref(r->b);
    }
    r->b = NULL;
}

/* ---- making and opening ---- */

static int write_base(struct subject *s, struct error **err)
{
    struct ref *r = s->state;
    struct image_recipe recipe = {
        .format = subject_base_format(&r->p), .size = r->p.size, .quiet = true};
    uint8_t *buf = mem_alloc(CHUNK);
    char *name = file_name(s, SUBJECT_BASE);
    recipe.filename = name;
    int ret = image_make(r->w, &recipe, err);
    struct value *options = value_dict();
    dict_put_str(options, "driver", recipe.format);
    struct blk *b =
        ret < 0 ? (value_free(options), NULL) : blk_open(r->w, name, NULL, options, OPEN_RDWR, err);
    ret = ret < 0 ? ret : b ? 0 : -EIO;
    for (int64_t at = 0; ret == 0 && at < ROUND_UP(r->p.size, 512); at += CHUNK) {
        int64_t n = MIN(CHUNK, ROUND_UP(r->p.size, 512) - at);
        shadow_backing_fill(buf, at, (size_t)n);
        ret = blk_pwrite(b, at, buf, n, 0);
    }
    if (b) {
        blk_unref(b);
    }
    mem_free(name);
    mem_free(buf);
    return ret;
}

static int make_layer(struct subject *s, unsigned layer, const char *backing,
                      const char *backing_format, struct error **err)
{
    struct ref *r = s->state;
    char *prefix = file_name(s, "");
    char *options = subject_options(&r->p, prefix, layer > 0), *name = layer_name(s, layer);
    struct image_recipe recipe = {
        .filename = name,
        .format = format_of(s, layer),
        .options = *options ? options : NULL,
        .backing_file = backing,
        .backing_format = backing_format,
        .size = layer ? -1 : r->p.size,
        .quiet = true,
    };
    int ret = image_make(r->w, &recipe, err);
    mem_free(prefix);
    mem_free(options);
    mem_free(name);
    return ret;
}

static int create_call(struct call *c)
{
    struct ref *r = c->s->state;
    char *base = file_name(c->s, SUBJECT_BASE);
    int ret = r->p.backing ? write_base(c->s, c->err) : 0;
    if (ret == 0) {
        ret = make_layer(c->s, 0, r->p.backing ? base : NULL,
                         r->p.backing ? subject_base_format(&r->p) : NULL, c->err);
    }
    mem_free(base);
    return ret < 0 ? ret : open_top(c->s, c->err);
}

static int open_call(struct call *c)
{
    return open_top(c->s, c->err);
}

static void make_disks(struct subject *s)
{
    struct ref *r = s->state;
    r->pool = disk_pool_new(0);
    fault_plan_init(&r->plan);
    if (r->planted == PLANT_DROP_FLUSH) {
        struct fault_entry lost = {
            .kind = FAULT_LOST, .label = -1, .iotypes = 1u << FAULT_IO_FLUSH, .sticky = true};
        fault_plan_add(&r->plan, &lost);
    }
    for (unsigned i = 0; i < ARRAY_SIZE(r->disks); i++) {
        static const char *const others[] = {SUBJECT_BASE, SUBJECT_DATA, SUBJECT_EXTENTS};
        char name[32];
        if (i < SUBJECT_LAYERS) {
            subject_layer_name(name, i);
        } else {
            snprintf(name, sizeof(name), "%s", others[i - SUBJECT_LAYERS]);
        }
        r->disks[i] = disk_new(r->pool, 0);
        struct sim_disk d = {.disk = r->disks[i], .plan = r->plan.n ? &r->plan : NULL};
        sim_register(r->w, name, &d);
    }
}

static void start(struct subject *s, const struct program *p, unsigned layers)
{
    struct ref *r = s->state;
    struct world_config cfg = {.profile = r->profile,
                               .io = IO_SYNC,
                               .io_set = true,
                               .seed = 1,
                               .simulated_time = true,
                               .report = report_nothing};
    s->ops->close(s);
    r->p = program_clone(p);
    r->layers = layers;
    r->w = world_new(r->process, &cfg);
    block_set_drivers(r->w, &all_drivers);
    secret_add(r->w, SUBJECT_SECRET_ID, SUBJECT_SECRET, strlen(SUBJECT_SECRET), NULL);
    if (!s->dir) {
        make_disks(s);
    }
}

static int ref_create(struct subject *s, const struct program *p, struct error **err)
{
    start(s, p, 1);
    return call(&(struct call){.s = s, .fn = create_call, .err = err});
}

static int ref_open(struct subject *s, const struct program *p, unsigned layers, struct error **err)
{
    if (!s->dir) {
        return error_set(err, ENOTSUP, "only images in files can be opened");
    }
    start(s, p, layers);
    return call(&(struct call){.s = s, .fn = open_call, .err = err});
}

static int close_call(struct call *c)
{
    close_top(c->s);
    return 0;
}

static void ref_close(struct subject *s)
{
    struct ref *r = s->state;
    if (!r->w) {
        return;
    }
    call(&(struct call){.s = s, .fn = close_call});
    if (r->planted == PLANT_LEAK_CLUSTER && s->dir) {
        char *name = layer_name(s, r->layers - 1);
        plant_leak_file(name);
        mem_free(name);
    }
    world_free(r->w);
    r->w = NULL;
    program_free(&r->p);
    if (r->pool) {
        for (unsigned i = 0; i < ARRAY_SIZE(r->disks); i++) {
            disk_free(r->disks[i]);
        }
        disk_pool_free(r->pool);
        fault_plan_destroy(&r->plan);
        r->pool = NULL;
    }
    r->reads = 0;
}

/* ---- operations ---- */

static int reopen(struct subject *s, struct error **err)
{
    close_top(s);
    return open_top(s, err);
}

static int write_op(struct ref *r, const struct op *op)
{
    unsigned flags =
        (op->flags & OP_FUA ? REQ_FUA : 0) | (op->kind == OP_WRITE_COMPRESSED ? REQ_COMPRESSED : 0);
    uint8_t *buf = mem_alloc((size_t)MAX(op->bytes, 1));
    op_fill(buf, op->seed, op->offset, (size_t)op->bytes);
    int ret = blk_pwrite(r->b, op->offset, buf, op->bytes, flags);
    mem_free(buf);
    return ret;
}

static int read_op(struct ref *r, const struct op *op)
{
    uint8_t *buf = mem_alloc((size_t)MAX(op->bytes, 1));
    int ret = blk_pread(r->b, op->offset, buf, op->bytes);
    mem_free(buf);
    return ret;
}

static int zero_op(struct ref *r, const struct op *op)
{
    unsigned flags = (op->flags & OP_UNMAP ? REQ_MAY_UNMAP : 0) |
                     (op->flags & OP_NO_FALLBACK ? REQ_NO_FALLBACK : 0);
    return blk_pwrite_zeroes(r->b, op->offset, op->bytes, flags, NULL);
}

static int snapshot_op(struct ref *r, const struct op *op, struct error **err)
{
    struct node *n = blk_node(r->b);
    struct snapshot_info sn = {.icount = 0};
    if (op->kind == OP_APPLY) {
        return snapshot_goto(n, op->text, err);
    }
    if (op->kind == OP_SNAPSHOT) {
        snprintf(sn.name, sizeof(sn.name), "%s", op->text);
        return snapshot_create(n, &sn);
    }
    if (snapshot_find(n, &sn, op->text) <= 0) {
        return error_set(err, ENOENT, "snapshot not found");
    }
    return snapshot_delete(n, sn.id, sn.name, err);
}

static int amend_op(struct ref *r, const struct op *op, struct error **err)
{
    struct node *n = blk_node(r->b);
    struct value *options;
    if (!n->drv->amend || !n->drv->amend_options) {
        return error_set(err, ENOTSUP, "Format driver '%s' does not support option amendment",
                         n->drv->name);
    }
    int ret = opts_validate_text(n->drv->amend_options, op->text, err);
    if (ret < 0) {
        return ret;
    }
    options = opts_parse(op->text, NULL, err);
    ret = options ? n->drv->amend(n, options, NULL, NULL, false, err) : -EINVAL;
    value_free(options);
    return ret;
}

static int overlay_op(struct subject *s, struct error **err)
{
    struct ref *r = s->state;
    if (r->layers == SUBJECT_LAYERS) {
        return error_set(err, EINVAL, "too many overlays");
    }
    char *backing = layer_name(s, r->layers - 1);
    const char *backing_format = format_of(s, r->layers - 1);
    close_top(s);
    int ret = make_layer(s, r->layers, backing, backing_format, err);
    r->layers += ret == 0;
    mem_free(backing);
    int opened = open_top(s, ret < 0 ? NULL : err);
    return ret < 0 ? ret : opened;
}

/* What the top image holds itself, in memory. */
struct held {
    struct extent *extents;
    int n;
    uint8_t *data;
    int64_t length;
};

static int read_held(struct ref *r, struct held *h)
{
    int ret = 0;
    h->length = blk_length(r->b);
    if (h->length < 0) {
        return (int)h->length;
    }
    h->data = mem_zalloc((size_t)MAX(h->length, 1));
    for (int64_t at = 0, n = 0; at < h->length && ret == 0; at += n) {
        struct status st;
        ret = node_block_status(blk_node(r->b), true, at, h->length - at, &st);
        n = st.bytes;
        if (ret == 0 && (st.flags & STATUS_ALLOCATED)) {
            struct extent e = {.offset = at, .bytes = n, .zero = st.flags & STATUS_ZERO};
            extents_add(&h->extents, &h->n, &e);
            ret = blk_pread(r->b, at, h->data + at, n);
        }
    }
    return ret;
}

/* As image tools commit: what is allocated in the top image is written into its backing file. */
static int write_held(struct subject *s, const struct held *h, bool base_is_file,
                      struct error **err)
{
    struct ref *r = s->state;
    struct value *options = value_dict();
    char *name = r->layers > 1 ? layer_name(s, r->layers - 2) : file_name(s, SUBJECT_BASE);
    dict_put_str(options, "driver",
                 base_is_file ? subject_base_format(&r->p) : format_of(s, r->layers - 2));
    if (!base_is_file) {
        subject_key_options(&r->p, r->layers - 2, options);
    }
    struct blk *b = blk_open(r->w, name, NULL, options, OPEN_RDWR | OPEN_RESIZE | OPEN_UNMAP, err);
    int ret = b ? 0 : -EIO;
    if (ret == 0 && blk_length(b) < h->length) {
        ret = blk_truncate(b, h->length, false, PREALLOC_OFF, 0, err);
    }
    for (int i = 0; ret == 0 && i < h->n; i++) {
        const struct extent *e = &h->extents[i];
        ret = e->zero ? blk_pwrite_zeroes(b, e->offset, e->bytes, REQ_MAY_UNMAP, NULL)
                      : blk_pwrite(b, e->offset, h->data + e->offset, e->bytes, 0);
    }
    if (b) {
        blk_unref(b);
    }
    mem_free(name);
    return ret;
}

static int commit_op(struct subject *s, struct error **err)
{
    struct ref *r = s->state;
    struct held h = {.n = 0};
    bool base_is_file = r->layers == 1;
    if (r->layers == 1 && !r->p.backing) {
        return error_set(err, ENOTSUP, "Image does not have a backing file");
    }
    int ret = read_held(r, &h);
    if (ret == 0) {
        close_top(s);
        ret = write_held(s, &h, base_is_file, err);
        int opened = open_top(s, ret < 0 ? NULL : err);
        ret = ret < 0 ? ret : opened;
    }
    if (ret == 0) {
        ret = node_make_empty(blk_node(r->b), err);
        if (ret == -ENOTSUP) { /* a format that cannot keeps its clusters; they hold the same */
            error_clear(err);
            ret = 0;
        }
    }
    mem_free(h.extents);
    mem_free(h.data);
    return ret;
}

static int apply_call(struct call *c)
{
    struct ref *r = c->s->state;
    const struct op *op = c->op;
    if (!r->b) {
        return error_set(c->err, ENOMEDIUM, "the image is not open");
    }
    switch (op->kind) {
    case OP_WRITE:
    case OP_WRITE_COMPRESSED:
        return write_op(r, op);
    case OP_ZERO:
        return zero_op(r, op);
    case OP_DISCARD:
        return blk_discard(r->b, op->offset, op->bytes, NULL);
    case OP_READ:
        return read_op(r, op);
    case OP_FLUSH:
        return blk_flush(r->b, NULL);
    case OP_SNAPSHOT:
    case OP_APPLY:
    case OP_DELSNAP:
        return snapshot_op(r, op, c->err);
    case OP_RESIZE:
        return blk_resize(r->b, op->bytes, false, op->prealloc, c->err);
    case OP_AMEND:
        return amend_op(r, op, c->err);
    case OP_OVERLAY:
        return overlay_op(c->s, c->err);
    case OP_COMMIT:
        return commit_op(c->s, c->err);
    case OP_REOPEN:
        return op->text[0] ? -ENOTSUP : reopen(c->s, c->err);
    default:
        return -ENOTSUP;
    }
}

static int ref_apply(struct subject *s, const struct op *op, struct error **err)
{
    return call(&(struct call){.s = s, .fn = apply_call, .op = op, .err = err});
}

/* ---- looking ---- */

static int read_bytes(struct ref *r, int64_t offset, uint8_t *buf, size_t len)
{
    int ret = r->b ? blk_pread(r->b, offset, buf, (int64_t)len) : -ENOMEDIUM;
    if (ret == 0 && r->planted == PLANT_FLIP_BYTE && len > 5 && ++r->reads == 3) {
        buf[5] ^= 1;
    }
    return ret;
}

static int read_call(struct call *c)
{
    return read_bytes(c->s->state, c->offset, c->buf, c->len);
}

static int ref_read(struct subject *s, int64_t offset, void *buf, size_t len, struct error **err)
{
    return call(&(struct call){
        .s = s, .fn = read_call, .offset = offset, .buf = buf, .len = len, .err = err});
}

static int verify_chunk(struct call *c, uint8_t *buf, int64_t at, int64_t n)
{
    int ret = read_bytes(c->s->state, at, buf, (size_t)n);
    if (ret < 0) {
        return error_set_errno(c->err, -ret, "read of %lld bytes at %lld", (long long)n,
                               (long long)at);
    }
    for (int64_t i = 0; memcmp(buf, c->sh->data + at, (size_t)n) && i < n; i++) {
        if (buf[i] != c->sh->data[at + i]) {
            error_set(c->err, EILSEQ, "guest byte %lld is 0x%02x, not 0x%02x", (long long)(at + i),
                      buf[i], c->sh->data[at + i]);
            return 1;
        }
    }
    return 0;
}

static int verify_call(struct call *c)
{
    struct ref *r = c->s->state;
    int64_t length = r->b ? blk_length(r->b) : -ENOMEDIUM;
    uint8_t *buf = mem_alloc(CHUNK);
    int ret = 0;
    if (length != c->sh->size) {
        ret = 1;
        error_set(c->err, EILSEQ, "length is %lld, not %lld", (long long)length,
                  (long long)c->sh->size);
    }
    for (int64_t at = 0; ret == 0 && at < length; at += CHUNK) {
        ret = verify_chunk(c, buf, at, MIN(CHUNK, length - at));
    }
    mem_free(buf);
    return ret;
}

static int ref_verify(struct subject *s, const struct shadow *sh, struct error **err)
{
    return call(&(struct call){.s = s, .fn = verify_call, .sh = sh, .err = err});
}

static int length_call(struct call *c)
{
    struct ref *r = c->s->state;
    c->offset = r->b ? blk_length(r->b) : -ENOMEDIUM;
    return 0;
}

static int64_t ref_length(struct subject *s)
{
    struct call c = {.s = s, .fn = length_call};
    int ret = call(&c);
    return ret < 0 ? ret : c.offset;
}

static int map_call(struct call *c)
{
    struct ref *r = c->s->state;
    int64_t length = r->b ? blk_length(r->b) : -ENOMEDIUM;
    int n = 0;
    int64_t step = 0;
    for (int64_t at = 0; at < length; at += step) {
        struct status st;
        int depth = 0, ret = node_map_status(blk_node(r->b), at, length - at, &st, &depth);
        if (ret < 0) {
            return ret;
        }
        step = st.bytes;
        struct extent e = {.offset = at,
                           .bytes = step,
                           .data = st.flags & STATUS_DATA,
                           .zero = st.flags & STATUS_ZERO,
                           .present = st.flags & STATUS_ALLOCATED,
                           .depth = depth};
        extents_add(c->extents, &n, &e);
    }
    return length < 0 ? (int)length : n;
}

static int ref_map(struct subject *s, struct extent **out, struct error **err)
{
    *out = NULL;
    return call(&(struct call){.s = s, .fn = map_call, .extents = out, .err = err});
}

static int check_image(struct subject *s, struct subject_check *out, struct error **err)
{
    struct ref *r = s->state;
    struct check_result res = {.leaks = 0};
    if (r->planted == PLANT_LEAK_CLUSTER && !s->dir) {
        plant_leak(r->disks[r->layers - 1]);
    }
    struct error *local = NULL;
    struct blk *b = open_image(s, r->layers - 1, OPEN_CHECK, &local);
    int ret = b ? node_check(blk_node(b), &res, 0) : -local->code;
    error_propagate(err, local);
    *out = (struct subject_check){
        .corruptions = res.corruptions, .leaks = res.leaks, .check_errors = res.check_errors};
    if (b) {
        blk_unref(b);
    }
    return ret;
}

static int check_call(struct call *c)
{
    close_top(c->s);
    int ret = check_image(c->s, c->check, c->err);
    int opened = open_top(c->s, ret < 0 ? NULL : c->err);
    return ret < 0 ? ret : opened;
}

static int ref_check(struct subject *s, struct subject_check *out, struct error **err)
{
    return call(&(struct call){.s = s, .fn = check_call, .check = out, .err = err});
}

static int info_call(struct call *c)
{
    struct ref *r = c->s->state;
    c->info = r->b ? image_info(blk_node(r->b), c->err) : NULL;
    return 0;
}

static struct value *ref_info(struct subject *s, struct error **err)
{
    struct call c = {.s = s, .fn = info_call, .err = err};
    call(&c);
    if (c.info) {
        info_normalise(c.info);
    }
    return c.info;
}

static void ref_free(struct subject *s)
{
    mem_free(s->state);
}

static const struct subject_ops ref_ops = {
    .create = ref_create,
    .open = ref_open,
    .apply = ref_apply,
    .read = ref_read,
    .verify = ref_verify,
    .length = ref_length,
    .map = ref_map,
    .check = ref_check,
    .info = ref_info,
    .close = ref_close,
    .free = ref_free,
};

struct subject *subject_ref_new(struct process *process, const char *name,
                                const struct profile *profile, const char *dir,
                                enum planted planted)
{
    struct subject *s = mem_zalloc(sizeof(*s));
    struct ref *r = mem_zalloc(sizeof(*r));
    r->process = process;
    r->profile = profile;
    r->planted = planted;
    s->ops = &ref_ops;
    snprintf(s->name, sizeof(s->name), "%s", name);
    s->dir = str_dup(dir);
    s->state = r;
    return s;
}
