/*
 * The sandbox: making images and running programs on simulated disks.  See sandbox.h; looking is in
 * look.c.
 */
#include "harness/sandbox/sandbox_int.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "harness/sandbox/sandbox_made.h"
#include "harness/subject/plant.h"
#include "harness/subject/subject.h"
#include "ref/base/mem.h"
#include "ref/base/options.h"
#include "ref/block/backend.h"
#include "ref/block/image_make.h"
#include "ref/block/secret.h"
#include "ref/block/snapshot.h"
#include "ref/job/amend.h"
#include "ref/job/commit.h"
#include "ref/tools/drivers.h"

struct sandbox *sandbox_new(struct process *p, const struct profile *profile, enum planted planted)
{
    struct sandbox *sb = mem_zalloc(sizeof(*sb));
    sb->process = p;
    sb->profile = profile;
    sb->planted = planted;
    sb->pool = disk_pool_new(0);
    sb->buf = mem_alloc(SANDBOX_BUF);
    return sb;
}

void sandbox_set_policy(struct sandbox *sb, struct sched_policy *policy, uint32_t alignment)
{
    sb->policy = policy;
    sb->alignment = alignment;
}

void sandbox_free(struct sandbox *sb)
{
    if (!sb) {
        return;
    }
    mem_free(sb->buf);
    disk_pool_free(sb->pool);
    mem_free(sb);
}

struct disk_pool *sandbox_pool(struct sandbox *sb)
{
    return sb->pool;
}

/* NULL: the program's image has no such disk.  Extents of a vmdk that has them in files of their
 * own are named after it. */
static const char *disk_name(const struct program *p, int i)
{
    static const char *const beside[][2] = {{"data_file=data", SUBJECT_DATA},
                                            {"=monolithicFlat", "image-flat"},
                                            {"made=cowd", "image-flat"},
                                            {"=twoGbMaxExtentFlat", "image-f001"},
                                            {"=twoGbMaxExtentSparse", "image-s001"}};
    for (size_t k = 0; i == 1 && k < ARRAY_SIZE(beside); k++) {
        if (strstr(p->options, beside[k][0])) {
            return beside[k][1];
        }
    }
    return i == 0 ? "image" : i == 2 && p->backing ? "backing" : NULL;
}

struct world *sandbox_world(struct sandbox *sb, const struct program *p, const struct disk_set *set,
                            struct disk_log *log, struct fault_plan *plan)
{
    struct world_config cfg = {.profile = sb->profile,
                               .io = IO_SYNC,
                               .io_set = true,
                               .seed = 1,
                               .simulated_time = true,
                               .policy = sb->running,
                               .report = report_nothing};
    struct world *w = world_new(sb->process, &cfg);
    block_set_drivers(w, &all_drivers);
    if (subject_encrypted(p)) {
        secret_add(w, SUBJECT_SECRET_ID, SUBJECT_SECRET, strlen(SUBJECT_SECRET), NULL);
        secret_add(w, "s1", "another", strlen("another"), NULL); /* of slots that amend adds */
    }
    for (int i = 0; i < set->n; i++) {
        struct sim_disk d = {.disk = set->disk[i],
                             .log = log,
                             .index = i,
                             .plan = plan,
                             .request_alignment = sb->running ? sb->alignment : 0};
        const char *name = disk_name(p, i);
        if (name) {
            sim_register(w, name, &d);
        }
    }
    return w;
}

/* Options that begin so are for opening, not for create. */
#define OPEN_PREFIX "open."

static void add_open_options(const struct program *p, struct value *opts)
{
    const char *at = p->options;
    while ((at = strstr(at, OPEN_PREFIX))) {
        size_t len = strcspn(at, ","), key = strcspn(at, "=");
        size_t skip = strlen(OPEN_PREFIX);
        if (key < len) {
            char *k = str_ndup(at + skip, key - skip), *v = str_ndup(at + key + 1, len - key - 1);
            dict_put_str(opts, k, v);
            mem_free(k);
            mem_free(v);
        }
        at += len;
    }
}

struct value *sandbox_open_options(const struct program *p)
{
    struct value *opts = value_dict();
    dict_put_str(opts, "driver", p->format);
    subject_key_options(p, 0, opts);
    if (!strcmp(p->format, "parallels")) {
        dict_put_str(opts, "prealloc-size", "0"); /* 128 MiB would tell nothing more */
        if (p->backing) {                         /* no image of it names one */
            dict_put_str(opts, "backing.driver", subject_base_format(p));
            dict_put_str(opts, "backing.file.driver", "sim");
            dict_put_str(opts, "backing.file.disk", "backing");
        }
    }
    add_open_options(p, opts);
    return opts;
}

/* Without what opening and sandbox_make_so() take. */
char *sandbox_create_options(const struct program *p)
{
    static const char *const ours[] = {OPEN_PREFIX, "made="};
    struct program own = *p;
    char *to = own.options;
    for (const char *s = p->options; *s;) {
        size_t len = strcspn(s, ",");
        if (strncmp(s, ours[0], strlen(ours[0])) && strncmp(s, ours[1], strlen(ours[1]))) {
            to += snprintf(to, sizeof(own.options) - (size_t)(to - own.options), "%s%.*s",
                           to == own.options ? "" : ",", (int)len, s);
        }
        s += len + (s[len] == ',');
    }
    *to = 0;
    return subject_options(&own, "sim:", false);
}

struct making {
    struct sandbox *sb;
    struct world *w;
    const struct program *p;
    int ret;
    struct error *err;
};

static void make_image(void *arg)
{
    struct making *m = arg;
    char *options = sandbox_create_options(m->p);
    struct image_recipe r = {.filename = "sim:image",
                             .format = m->p->format,
                             .options = *options ? options : NULL,
                             .size = m->p->size,
                             .quiet = true};
    if (m->p->backing && strcmp(m->p->format, "parallels")) {
        r.backing_file = "sim:backing";
        r.backing_format = subject_base_format(m->p);
    }
    m->ret = image_make(m->w, &r, &m->err);
    mem_free(options);
}

/* Where a format takes only parents of its own: such an image, written through the block layer. */
static void make_backing(void *arg)
{
    struct making *m = arg;
    struct image_recipe r = {.filename = "sim:backing",
                             .format = subject_base_format(m->p),
                             .size = m->p->size,
                             .quiet = true};
    struct value *options = value_dict();
    dict_put_str(options, "driver", r.format);
    m->ret = image_make(m->w, &r, &m->err);
    struct blk *b =
        m->ret < 0 ? NULL : blk_open(m->w, r.filename, NULL, options, OPEN_RDWR, &m->err);
    m->ret = m->ret < 0 || b ? m->ret : -EIO;
    for (int64_t done = 0; m->ret == 0 && done < m->p->size;) {
        int64_t len = MIN(m->p->size - done, (int64_t)SANDBOX_BUF);
        oracle_backing_fill(m->sb->buf, done, (size_t)len);
        m->ret = blk_pwrite(b, done, m->sb->buf, len, 0);
        done += len;
    }
    blk_unref(b);
}

static void fill_backing(struct sandbox *sb, struct disk *d, int64_t size)
{
    for (int64_t done = 0; done < size;) {
        size_t len = (size_t)MIN(size - done, (int64_t)SANDBOX_BUF);
        oracle_backing_fill(sb->buf, done, len);
        disk_write(d, done, sb->buf, len);
        done += (int64_t)len;
    }
}

int sandbox_create(struct sandbox *sb, const struct program *p, struct disk_set *out,
                   struct error **err)
{
    out->n = SANDBOX_DISKS;
    for (int i = 0; i < out->n; i++) {
        out->disk[i] = disk_new(sb->pool, 0);
    }
    bool raw_base = strcmp(subject_base_format(p), "raw") == 0;
    if (p->backing && raw_base) {
        fill_backing(sb, out->disk[2], p->size);
    }
    struct making m = {.sb = sb, .p = p, .w = sandbox_world(sb, p, out, NULL, NULL)};
    int ret = p->backing && !raw_base ? world_exec(m.w, make_backing, &m) : 0;
    ret = ret < 0 || m.ret < 0 ? ret : world_exec(m.w, make_image, &m);
    ret = ret < 0 ? error_set(err, -ret, "creating the image hangs") : m.ret;
    if (m.err) {
        error_propagate(err, m.err);
    }
    world_free(m.w);
    ret = ret < 0 ? ret : sandbox_make_so(sb, p, out, err);
    if (ret < 0) {
        disk_set_free(out);
    }
    return ret;
}

/* ---- running ---- */

void recording_remember(struct recording *rec, uint64_t from)
{
    if (rec->n_epochs == rec->cap_epochs) {
        rec->cap_epochs = rec->cap_epochs * 2 + 8;
        rec->epochs = mem_realloc(rec->epochs, rec->cap_epochs * sizeof(*rec->epochs));
    }
    struct epoch *e = &rec->epochs[rec->n_epochs++];
    e->from = from;
    oracle_copy(&e->oracle, &rec->oracle);
}

void sandbox_remember(struct recording *rec)
{
    recording_remember(rec, disk_log_clock(rec->log));
}

void sandbox_acknowledge(struct recording *rec, const char *what)
{
    sandbox_remember(rec);
    disk_log_mark(rec->log, what);
}

static int open_image(struct run *r)
{
    struct error *err = NULL;
    r->b = blk_open(r->w, "sim:image", NULL, sandbox_open_options(r->rec->program),
                    OPEN_RDWR | OPEN_RESIZE | OPEN_UNMAP | r->flags, &err);
    if (r->b) {
        r->opened = true;
        blk_set_write_cache(r->b, true);
        return 0;
    }
    int code = err ? -err->code : -EIO;
    if (!r->may_fail) {
        r->rec->wrong = true;
        strbuf_printf(&r->rec->why, "does not open: %s", err ? err->msg : "?");
    }
    error_free(err);
    return code ? code : -EIO;
}

static void close_image(struct run *r)
{
    if (r->b) {
        blk_unref(r->b);
        r->b = NULL;
    }
}

static int flush(struct run *r)
{
    struct op op = {.kind = OP_FLUSH};
    int ret = blk_flush(r->b, NULL);
    oracle_end(&r->rec->oracle, &op, ret);
    if (ret == 0) {
        sandbox_acknowledge(r->rec, "flush");
    }
    return ret;
}

/* How often the medium lied so far. */
static uint64_t silent(const struct run *r)
{
    return !r->plan
               ? 0
               : fault_plan_silent(r->plan, LABEL_DATA) + fault_plan_silent(r->plan, LABEL_META) +
                     fault_plan_silent(r->plan, LABEL_CONTROL);
}

static int read_back(struct run *r, const struct op *op)
{
    struct recording *rec = r->rec;
    for (int64_t done = 0; done < op->bytes;) {
        int64_t len = MIN(op->bytes - done, (int64_t)SANDBOX_BUF), at = op->offset + done;
        uint64_t lies = silent(r);
        int ret = blk_pread(r->b, at, r->sb->buf, len);
        if (ret < 0) {
            return ret;
        }
        if (silent(r) > lies) {
            return 0; /* nobody can know what these bytes are */
        }
        r->sb->buf[0] ^= r->sb->planted == PLANT_FLIP_BYTE;
        if (!rec->wrong &&
            oracle_judge(&rec->oracle, ORACLE_LIVE, at, len, r->sb->buf, false, &rec->why) >= 0) {
            rec->wrong = true;
        }
        done += len;
    }
    return 0;
}

/* Planted: whole blocks are read, changed and written back, and nobody is kept from doing the same.
 */
static int write_by_blocks(struct run *r, const struct op *op, const uint8_t *data)
{
    int64_t block = 4 * KiB, start = ROUND_DOWN(op->offset, block),
            end = MIN(ROUND_UP(op->offset + op->bytes, block), blk_length(r->b));
    uint8_t *buf = mem_alloc((size_t)(end - start));
    int ret = blk_pread(r->b, start, buf, end - start);
    if (ret == 0) {
        memcpy(buf + (op->offset - start), data, (size_t)op->bytes);
        ret = blk_pwrite(r->b, start, buf, end - start, 0);
    }
    mem_free(buf);
    return ret;
}

/* Planted: two locks, in an order that depends on what is written. */
static int write_locked(struct run *r, const struct op *op, const uint8_t *data)
{
    struct co_mutex *first = &r->planted[op->seed % 2], *second = &r->planted[!(op->seed % 2)];
    co_lock(r->w, first);
    co_lock(r->w, second);
    int ret = blk_pwrite(r->b, op->offset, data, op->bytes, 0);
    co_unlock(r->w, second);
    co_unlock(r->w, first);
    return ret;
}

static int write_bytes(struct run *r, const struct op *op)
{
    unsigned flags = op->kind == OP_WRITE_COMPRESSED ? REQ_COMPRESSED
                     : op->flags & OP_FUA            ? REQ_FUA
                                                     : 0;
    uint8_t *buf = mem_try_alloc((size_t)MAX(op->bytes, 1));
    if (!buf) {
        return -ENOMEM;
    }
    op_fill(buf, op->seed, op->offset, (size_t)op->bytes);
    int ret = r->sb->planted == PLANT_RACE ? write_by_blocks(r, op, buf)
              : r->sb->planted == PLANT_DEADLOCK
                  ? write_locked(r, op, buf)
                  : blk_pwrite(r->b, op->offset, buf, op->bytes, flags);
    mem_free(buf);
    return ret < 0 && r->sb->planted == PLANT_SWALLOW ? 0 : ret;
}

static int snapshot(struct run *r, const struct op *op)
{
    struct error *err = NULL;
    struct node *n = blk_node(r->b);
    int ret;
    if (op->kind == OP_SNAPSHOT) {
        struct snapshot_info sn = {.icount = UINT64_MAX};
        snprintf(sn.name, sizeof(sn.name), "%s", op->text);
        ret = snapshot_create(n, &sn);
    } else if (op->kind == OP_APPLY) {
        ret = snapshot_goto(n, op->text, &err);
    } else {
        struct snapshot_info sn;
        ret = snapshot_find(n, &sn, op->text);
        ret = ret < 0 ? ret : ret ? snapshot_delete(n, sn.id, sn.name, &err) : -ENOENT;
    }
    error_free(err);
    return ret;
}

static int amend(struct run *r, const struct op *op)
{
    struct node *n = blk_node(r->b);
    struct error *err = NULL;
    int ret = -ENOTSUP;
    if (n->drv->amend && n->drv->amend_options) {
        struct value *opts = opts_parse(op->text, NULL, NULL);
        struct job *j = opts ? amend_job_flat(NULL, n, opts, false, &err) : NULL;
        ret = j ? job_run(j, &err) : -EINVAL;
    }
    error_free(err);
    return ret;
}

/* Repairs all that is found; which error check met, it only counts. */
static int check(struct run *r)
{
    struct check_result res = {0};
    int ret = node_check(blk_node(r->b), &res, FIX_LEAKS | FIX_ERRORS);
    return ret < 0 ? ret : res.check_errors ? -EIO : 0;
}

static int vmstate(struct run *r, const struct op *op)
{
    struct iov q;
    if (op->bytes > SANDBOX_BUF) {
        return -EFBIG;
    }
    iov_single(&q, r->sb->buf, (size_t)op->bytes);
    if (op->kind == OP_VMLOAD) {
        return node_load_vmstate(blk_node(r->b), &q, op->offset);
    }
    op_fill(r->sb->buf, op->seed, op->offset, (size_t)op->bytes);
    return node_save_vmstate(blk_node(r->b), &q, op->offset);
}

/* What an emptied image held in a data file was given back to the host. */
static void judge_emptied(struct run *r)
{
    static const char zero[ORACLE_SECTOR];
    struct disk *d = r->rec->end.disk[1];
    for (int64_t at = 0; at < disk_size(d) && !r->rec->wrong; at += ORACLE_SECTOR) {
        char buf[ORACLE_SECTOR];
        disk_read(d, at, buf, sizeof(buf));
        if (memcmp(buf, zero, sizeof(buf))) {
            r->rec->wrong = true;
            strbuf_printf(&r->rec->why, "emptied, and the data file holds data still at %lld",
                          (long long)at);
        }
    }
}

/* Into the backing file; the image is emptied then. */
static int commit(struct run *r)
{
    struct node *top = blk_node(r->b), *base = commit_target(top);
    struct commit_options o = {.after = COMMIT_EMPTY};
    struct commit c;
    struct error *err = NULL;
    if (!base) {
        return -ENOTSUP;
    }
    struct job *j = commit_job_new(&c, NULL, top, base, &o, &err);
    int ret = j ? job_run(j, &err) : -EPERM;
    error_free(err);
    if (ret == 0 && !r->may_fail && !r->optioned) {
        judge_emptied(r);
    }
    return ret;
}

/* Options of the open image, in place. */
static int change_options(struct run *r, const char *text)
{
    struct error *err = NULL;
    struct value *options = opts_parse(text, NULL, &err);
    r->optioned = true;
    int ret = options ? node_reopen(blk_node(r->b), options, true, &err) : -EINVAL;
    error_free(err);
    return ret;
}

/* The file below becomes longer than the image, where its end means nothing to the format. */
static int extend(struct run *r, int64_t bytes)
{
    struct child *file = blk_node(r->b)->file;
    if (strcmp(r->rec->program->format, "qcow2")) {
        return -ENOTSUP;
    }
    int64_t length = child_length(file);
    return length < 0        ? (int)length
           : length >= bytes ? 0
                             : child_truncate(file, bytes, false, PREALLOC_OFF, 0, NULL);
}

/* As programs do: what was written is made durable first. */
static int reopen(struct run *r)
{
    int ret = flush(r);
    close_image(r);
    if (ret < 0 && r->sb->profile->metadata_cache) {
        oracle_close_unflushed(&r->rec->oracle);
        sandbox_remember(r->rec);
    }
    int opened = open_image(r);
    return opened < 0 ? opened : ret;
}

int sandbox_carry_out(struct run *r, const struct op *op)
{
    unsigned zero = (op->flags & OP_UNMAP ? REQ_MAY_UNMAP : 0) |
                    (op->flags & OP_NO_FALLBACK ? REQ_NO_FALLBACK : 0);
    switch (op->kind) {
    case OP_WRITE:
    case OP_WRITE_COMPRESSED:
        return write_bytes(r, op);
    case OP_ZERO:
        return blk_pwrite_zeroes(r->b, op->offset, op->bytes, zero, NULL);
    case OP_DISCARD:
        return blk_discard(r->b, op->offset, op->bytes, NULL);
    case OP_READ:
        return read_back(r, op);
    case OP_SNAPSHOT:
    case OP_APPLY:
    case OP_DELSNAP:
        return snapshot(r, op);
    case OP_RESIZE:
        return blk_resize(r->b, op->bytes, true, op->prealloc, NULL);
    case OP_FLUSH:
        return flush(r);
    case OP_REOPEN:
        return op->text[0] ? change_options(r, op->text) : reopen(r);
    case OP_EXTEND:
        return extend(r, op->bytes);
    case OP_AMEND:
        return amend(r, op);
    case OP_CHECK:
        return check(r);
    case OP_VMSAVE:
    case OP_VMLOAD:
        return vmstate(r, op);
    case OP_COMMIT:
        /* A vmdk parent that is written is a parent no more (specs/vmdk.yaml, DSC-5). */
        return strcmp(r->rec->program->format, "vmdk") ? commit(r) : -ENOTSUP;
    default:
        return -ENOTSUP;
    }
}

static int apply(struct run *r, const struct op *op)
{
    struct recording *rec = r->rec;
    if (!r->b && (op->kind != OP_REOPEN || open_image(r) < 0)) {
        return -ENOMEDIUM;
    }
    if (op->kind == OP_FLUSH || op->kind == OP_REOPEN) {
        return sandbox_carry_out(r, op);
    }
    oracle_begin(&rec->oracle, op);
    sandbox_remember(rec);
    uint64_t lies = fault_plan_silent(r->plan, LABEL_DATA);
    int ret = sandbox_carry_out(r, op);
    oracle_end(&rec->oracle, op, ret);
    if (op->kind != OP_READ && fault_plan_silent(r->plan, LABEL_DATA) > lies) {
        oracle_distrust(&rec->oracle, op);
    }
    if (ret == 0 && op->kind == OP_WRITE && op->flags & OP_FUA) {
        sandbox_acknowledge(rec, "fua");
    }
    return ret;
}

void recording_begin(struct recording *rec, size_t i, struct co *co)
{
    rec->runs[i] = co;
    rec->began[i] = disk_log_clock(rec->log);
}

void recording_end(struct recording *rec, size_t i)
{
    rec->runs[i] = NULL;
    rec->ended[i] = disk_log_clock(rec->log);
}

static void run_program(void *arg)
{
    struct run *r = arg;
    const struct program *p = r->rec->program;
    sandbox_remember(r->rec);
    /* Where only check may open what is not in order, who checks first opens as check does. */
    bool check = p->n_ops && p->ops[0].kind == OP_CHECK;
    r->flags = check && sandbox_repair_of(p) == REPAIR_BY_CHECK ? OPEN_CHECK : 0;
    int ret = open_image(r);
    r->flags = 0;
    r->rec->opened = ret;
    for (size_t i = 0, n; r->opened && i < p->n_ops; i += n) {
        n = program_group(p, i);
        if (n > 1 && r->b) {
            sandbox_group(r, i, n);
        } else {
            recording_begin(r->rec, i, co_self(r->w));
            r->rec->status[i] = apply(r, &p->ops[i]);
            recording_end(r->rec, i);
            n = 1;
        }
    }
    if (r->close_flush && r->b) {
        r->rec->flushed = flush(r) == 0;
    }
    close_image(r);
    r->done = true;
}

/* Planted; what is judged knows nothing of it. */
static void drop_flushes(struct fault_plan *plan)
{
    struct fault_entry e = {
        .kind = FAULT_LOST, .label = -1, .iotypes = 1u << FAULT_IO_FLUSH, .nth = 1, .sticky = true};
    fault_plan_add(plan, &e);
}

static void begin_recording(struct sandbox *sb, const struct program *p,
                            const struct disk_set *base, struct recording *rec)
{
    memset(rec, 0, sizeof(*rec));
    rec->program = p;
    rec->base.n = rec->end.n = base->n;
    for (int i = 0; i < base->n; i++) {
        rec->base.disk[i] = disk_clone(base->disk[i]);
        rec->end.disk[i] = disk_clone(base->disk[i]);
    }
    rec->log = disk_log_new(sb->pool);
}

static void repair(void *arg)
{
    struct run *r = arg;
    struct check_result res = {0};
    if (open_image(r) == 0) {
        node_check(blk_node(r->b), &res, FIX_LEAKS | FIX_ERRORS);
    }
    close_image(r);
}

int sandbox_repair(struct sandbox *sb, const struct program *p, const struct disk_set *set,
                   struct recording *rec, struct error **err)
{
    begin_recording(sb, p, set, rec);
    struct run r = {.sb = sb, .rec = rec, .may_fail = true};
    r.flags = sandbox_repair_of(p) == REPAIR_BY_CHECK ? OPEN_CHECK : 0;
    r.w = sandbox_world(sb, p, &rec->end, rec->log, NULL);
    int ret = world_exec(r.w, repair, &r);
    if (ret == 0) {
        world_settle(r.w);
    } else {
        error_set(err, -ret, "the repair hangs");
    }
    world_free(r.w);
    return ret;
}

static bool holds_requests(const struct fault_plan *plan)
{
    for (int i = 0; i < plan->n; i++) {
        if (plan->entries[i].kind == FAULT_HUNG && plan->entries[i].fired) {
            return true;
        }
    }
    return false;
}

static bool no_memory(size_t size, void *plan)
{
    return fault_plan_nomem(plan);
}

int sandbox_record(struct sandbox *sb, const struct program *p, const struct disk_set *base,
                   struct fault_plan *plan, bool close_flush, struct recording *rec,
                   struct error **err)
{
    struct fault_plan own;
    fault_plan_init(&own);
    begin_recording(sb, p, base, rec);
    rec->status = mem_array(MAX(p->n_ops, 1), sizeof(*rec->status));
    rec->began = mem_array(MAX(p->n_ops, 1), sizeof(*rec->began));
    rec->ended = mem_array(MAX(p->n_ops, 1), sizeof(*rec->ended));
    rec->runs = mem_array(MAX(p->n_ops, 1), sizeof(*rec->runs));
    oracle_init(&rec->oracle, p);
    struct run r = {.sb = sb, .rec = rec, .may_fail = plan != NULL, .close_flush = close_flush};
    r.plan = plan = plan ? plan : &own;
    int entries = plan->n;
    if (sb->planted == PLANT_DROP_FLUSH) {
        drop_flushes(plan);
    }
    sb->running = sb->policy;
    r.w = sandbox_world(sb, p, &rec->end, rec->log, plan);
    sb->running = NULL;
    mem_set_fail_hook(no_memory, plan);
    int ret = world_exec(r.w, run_program, &r);
    mem_set_fail_hook(NULL, NULL);
    if (ret < 0 && holds_requests(plan)) {
        rec->hung = true;
        sim_release_hung(r.w);
        ret = 0;
    }
    if (ret == 0) {
        world_settle(r.w);
        ret = r.done ? 0 : -EDEADLK;
    }
    if (ret < 0) {
        error_set(err, -ret, "the program hangs: a request waits for one that never comes");
    }
    world_free(r.w);
    if (sb->planted == PLANT_LEAK_CLUSTER) {
        plant_leak(rec->end.disk[0]);
    }
    plan->n = entries;
    fault_plan_destroy(&own);
    return ret;
}

void recording_free(struct recording *rec)
{
    disk_set_free(&rec->base);
    disk_set_free(&rec->end);
    disk_log_free(rec->log);
    for (size_t i = 0; i < rec->n_epochs; i++) {
        oracle_free(&rec->epochs[i].oracle);
    }
    mem_free(rec->epochs);
    oracle_free(&rec->oracle);
    mem_free(rec->status);
    mem_free(rec->began);
    mem_free(rec->ended);
    mem_free(rec->runs);
    strbuf_free(&rec->why);
    memset(rec, 0, sizeof(*rec));
}

bool recording_may_leak(const struct recording *r)
{
    for (size_t i = 0; i < r->program->n_ops; i++) {
        if (r->status[i] < 0 && r->status[i] != -ENOENT && r->status[i] != -ENOTSUP) {
            return true;
        }
    }
    return strstr(r->program->options, "made=");
}

const struct oracle *recording_oracle(const struct recording *rec, uint64_t cut)
{
    size_t i = 0;
    while (i + 1 < rec->n_epochs && rec->epochs[i + 1].from < cut) {
        i++;
    }
    return &rec->epochs[i].oracle;
}
