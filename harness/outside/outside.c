/*
 * Capturing what an unmodified QEMU does to its disks.  See outside.h.
 */
#include "harness/outside/outside.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "harness/outside/made_image.h"
#include "harness/sim/sim_fuse.h"
#include "harness/sim/sim_nbd.h"
#include "harness/subject/subject.h"
#include "ref/base/mem.h"

#define PREFIX "#| "

struct outside {
    char *programs, *dir, *mount;
    struct error *no_fuse; /* why there is none */
    struct sim_store *store;
    struct sim_fuse *fuse;
    struct sim_nbd *nbd; /* NULL until it is wanted */
    struct subject *subject;
    struct made_image made;
};

static const char *const file_names[] = {"layer0.img", SUBJECT_DATA, SUBJECT_BASE};

struct outside *outside_new(const char *name, const char *programs, const char *dir,
                            struct error **err)
{
    struct outside *x = mem_zalloc(sizeof(*x));
    x->programs = str_dup(programs);
    x->dir = str_dup(dir);
    x->mount = str_fmt("%s/sim", dir);
    mkdir(x->mount, 0700);
    x->store = sim_store_new();
    /* First the mount, which may be ours alone: the subject's servers must see it. */
    x->fuse = sim_fuse_new(x->store, x->mount, &x->no_fuse);
    x->subject = subject_qemu_new(name, programs, x->mount, err);
    if (!x->subject) {
        outside_free(x);
        return NULL;
    }
    return x;
}

void outside_free(struct outside *x)
{
    if (!x) {
        return;
    }
    subject_free(x->subject);
    sim_fuse_free(x->fuse);
    sim_nbd_free(x->nbd);
    made_image_forget(&x->made);
    sim_store_free(x->store);
    rmdir(x->mount);
    error_free(x->no_fuse);
    mem_free(x->mount);
    mem_free(x->dir);
    mem_free(x->programs);
    mem_free(x);
}

const char *outside_no_capture(const struct outside *x)
{
    return x->fuse ? NULL : x->no_fuse->msg;
}

const char *outside_version(const struct outside *x)
{
    return x->subject->version;
}

const char *outside_programs(const struct outside *x)
{
    return x->programs;
}

const char *outside_dir(const struct outside *x)
{
    return x->dir;
}

/* ---- events ---- */

enum event { EVENT_BEGIN, EVENT_END, EVENT_FLUSHED, EVENT_KINDS };
static const char *const event_words[] = {"begin", "end", "flushed"};

/* The event's effect on what is lawful; returns what was acknowledged as durable by it, or NULL. */
static const char *take_event(struct capture *c, enum event e, size_t i, int status, uint64_t stamp)
{
    static const struct op flush = {.kind = OP_FLUSH};
    struct recording *rec = &c->rec;
    const struct op *op = &rec->program->ops[i];
    if (e == EVENT_BEGIN) {
        oracle_begin(&rec->oracle, op);
        recording_remember(rec, stamp);
        return NULL;
    }
    bool fua = e == EVENT_END && op->kind == OP_WRITE && op->flags & OP_FUA;
    rec->status[i] = status;
    oracle_end(&rec->oracle, e == EVENT_END ? op : &flush, status);
    if (status < 0 || (e == EVENT_END && !fua)) {
        return NULL;
    }
    recording_remember(rec, stamp);
    return fua ? "fua" : "flush";
}

static void add_note(struct capture *c, uint64_t stamp, char *text)
{
    c->notes = mem_realloc(c->notes, (c->n_notes + 1) * sizeof(*c->notes));
    c->notes[c->n_notes++] = (struct disk_note){stamp, text};
}

static void start_capture(struct capture *c, const struct program *p, struct disk_pool *pool)
{
    memset(c, 0, sizeof(*c));
    c->rec.program = p;
    c->rec.log = disk_log_new(pool);
    c->rec.status = mem_array(p->n_ops + 1, sizeof(*c->rec.status));
    c->rec.began = mem_array(p->n_ops + 1, sizeof(*c->rec.began));
    c->rec.ended = mem_array(p->n_ops + 1, sizeof(*c->rec.ended));
    oracle_init(&c->rec.oracle, p);
    c->rec.oracle.reuses_at_once = true;
    recording_remember(&c->rec, disk_log_clock(c->rec.log));
}

void capture_free(struct capture *c)
{
    recording_free(&c->rec);
    disk_notes_free(c->notes, c->n_notes);
    for (int i = 0; i < DISK_SET_MAX; i++) {
        mem_free(c->name[i]);
    }
    memset(c, 0, sizeof(*c));
}

/* ---- running ---- */

struct live {
    struct outside *x;
    struct capture *c;
    const struct fault_plan *plan; /* or NULL */
    bool broke;
};

static void event(struct live *l, enum event e, size_t i, int status)
{
    struct disk_log *log = l->c->rec.log;
    sim_store_lock(l->x->store);
    uint64_t stamp = disk_log_clock(log);
    add_note(l->c, stamp,
             e == EVENT_BEGIN ? str_fmt("begin %zu", i)
                              : str_fmt("%s %zu %d", event_words[e], i, status));
    const char *mark = take_event(l->c, e, i, status, stamp);
    if (mark) {
        disk_log_mark(log, mark);
    }
    sim_store_unlock(l->x->store);
}

static void went_wrong(struct live *l, const char *what, const struct error *err)
{
    struct recording *rec = &l->c->rec;
    if (!rec->wrong) {
        strbuf_printf(&rec->why, "%s: %s", what, err ? err->msg : "?");
    }
    rec->wrong = true;
}

/* The subject's status as an errno; sets broke when the subject itself misbehaved. */
static int apply(struct live *l, const struct op *op)
{
    struct error *err = NULL;
    struct subject *s = l->x->subject;
    int ret = s->ops->apply(s, op, &err);
    if (ret == SUBJECT_ERROR) {
        l->broke = true;
        went_wrong(l, op_kind_name(op->kind), err);
    }
    error_free(err);
    return ret == SUBJECT_ERROR || ret == SUBJECT_FAILED ? -EIO : ret;
}

/* qemu-io says nothing when a flush fails: after a fault none counts as acknowledged. */
static int flush(struct live *l)
{
    static const struct op op = {.kind = OP_FLUSH};
    uint64_t fired = 0;
    int ret = apply(l, &op);
    sim_store_lock(l->x->store);
    for (int i = 0; l->plan && i < l->plan->n; i++) {
        fired += l->plan->entries[i].fired;
    }
    sim_store_unlock(l->x->store);
    return fired && ret == 0 ? -EIO : ret;
}

static uint64_t now(struct live *l)
{
    sim_store_lock(l->x->store);
    uint64_t stamp = disk_log_clock(l->c->rec.log);
    sim_store_unlock(l->x->store);
    return stamp;
}

static void run_op(struct live *l, size_t i)
{
    const struct op *op = &l->c->rec.program->ops[i];
    l->c->rec.began[i] = now(l);
    switch (op->kind) {
    case OP_FLUSH:
    case OP_REOPEN:
        event(l, EVENT_FLUSHED, i, flush(l));
        if (op->kind == OP_REOPEN && !l->broke) {
            apply(l, op);
        }
        break;
    case OP_READ:
        l->c->rec.status[i] = apply(l, op);
        break;
    default:
        event(l, EVENT_BEGIN, i, 0);
        event(l, EVENT_END, i, apply(l, op));
        break;
    }
    l->c->rec.ended[i] = now(l);
}

static void run_program(struct live *l, bool close_flush)
{
    const struct program *p = l->c->rec.program;
    struct subject *s = l->x->subject;
    struct error *err = NULL;
    int ret = s->ops->open(s, p, 1, &err);
    if (ret == SUBJECT_ERROR || (ret < 0 && !l->plan)) {
        went_wrong(l, "open", err);
    }
    error_free(err);
    for (size_t i = 0; ret == 0 && i < p->n_ops && !l->broke; i++) {
        run_op(l, i);
    }
    if (ret == 0 && close_flush && !l->broke) {
        int flushed = flush(l);
        event(l, EVENT_FLUSHED, p->n_ops ? p->n_ops - 1 : 0, flushed);
        l->c->rec.flushed = flushed == 0;
    }
    if (l->broke) {
        sim_store_release(l->x->store);
    }
    s->ops->close(s);
}

/* The oracle's own pattern. */
static void fill_backing(struct disk *d)
{
    uint8_t page[DISK_PAGE];
    for (int64_t at = 0; at < disk_size(d); at += DISK_PAGE) {
        size_t n = (size_t)MIN(disk_size(d) - at, (int64_t)DISK_PAGE);
        oracle_backing_fill(page, at, n);
        disk_write(d, at, page, n);
    }
}

/* Lets the log and the faults begin, at what is there now. */
static void begin_logging(struct outside *x, struct capture *c, const struct capture_how *how)
{
    sim_store_lock(x->store);
    if (c->rec.program->backing) {
        fill_backing(sim_store_set(x->store)->disk[2]);
    }
    c->rec.base = disk_set_clone(sim_store_set(x->store));
    for (int i = 0; i < DISK_SET_MAX; i++) {
        const char *name = sim_store_name(x->store, i);
        c->name[i] = str_dup(name);
        if (name) {
            add_note(c, disk_log_clock(c->rec.log), str_fmt("file %d %s", i, name));
        }
    }
    sim_store_format(x->store, c->rec.program->format);
    sim_store_log(x->store, c->rec.log);
    sim_store_plan(x->store, how->plan);
    sim_store_drop_flushes(x->store, how->drop_flushes);
    sim_store_unlock(x->store);
}

static void end_logging(struct outside *x, struct capture *c)
{
    sim_store_lock(x->store);
    sim_store_log(x->store, NULL);
    sim_store_plan(x->store, NULL);
    sim_store_drop_flushes(x->store, false);
    c->rec.end = disk_set_clone(sim_store_set(x->store));
    sim_store_unlock(x->store);
}

/* ---- where the files are ---- */

#define NBD_ROOM (16 << 20) /* bytes of an export beyond the guest's size */

/* The subject's folder becomes a prefix of NBD names. */
static int use_nbd(struct outside *x, struct error **err)
{
    char *path = str_fmt("%s/nbd", x->dir);
    x->nbd = x->nbd ? x->nbd : sim_nbd_new(x->store, path, err);
    if (x->nbd) {
        mem_free(x->subject->dir);
        x->subject->dir = str_fmt("nbd:unix:%s:exportname=", path);
    }
    mem_free(path);
    return x->nbd ? 0 : -EIO;
}

/* An export has its size before the image is made. */
static int make_export(struct outside *x, const struct program *p, struct error **err)
{
    if (p->backing || strstr(p->options, "data_file=")) {
        return error_set(err, ENOTSUP, "over NBD an image is one disk");
    }
    bool raw = !strcmp(p->format, "raw");
    sim_store_open(x->store, file_names[0], true);
    disk_truncate(sim_store_set(x->store)->disk[0], p->size + (raw ? 0 : NBD_ROOM));
    return 0;
}

static int choose_transport(struct outside *x, const struct program *p, bool nbd,
                            struct error **err)
{
    sim_store_reset(x->store);
    for (size_t i = 0; i < ARRAY_SIZE(file_names); i++) {
        sim_store_reserve(x->store, (int)i, file_names[i]);
    }
    if (nbd) {
        int ret = use_nbd(x, err);
        return ret < 0 ? ret : make_export(x, p, err);
    }
    if (!x->fuse) {
        return error_set(err, ENOTSUP, "%s", x->no_fuse->msg);
    }
    mem_free(x->subject->dir);
    x->subject->dir = str_dup(x->mount);
    return 0;
}

static int make_image(struct outside *x, const struct program *p, bool nbd, struct error **err)
{
    struct subject *s = x->subject;
    if (made_image_fits(&x->made, p, nbd)) {
        made_image_put(&x->made, x->store);
        return 0;
    }
    int ret = s->ops->create(s, p, err);
    s->ops->close(s);
    if (ret == 0) {
        made_image_keep(&x->made, p, nbd, x->store);
    }
    return ret;
}

int outside_capture(struct outside *x, const struct program *p, const struct capture_how *how,
                    struct capture *out, struct error **err)
{
    struct live l = {.x = x, .c = out, .plan = how->plan};
    int ret = choose_transport(x, p, how->nbd, err);
    if (ret < 0) {
        return ret;
    }
    start_capture(out, p, sim_store_pool(x->store));
    ret = make_image(x, p, how->nbd, err);
    if (ret < 0) {
        sim_store_reset(x->store);
        capture_free(out);
        return ret == SUBJECT_ERROR ? -ECHILD : -EIO;
    }
    begin_logging(x, out, how);
    run_program(&l, how->close_flush);
    end_logging(x, out);
    sim_store_reset(x->store);
    return 0;
}

/* ---- as text ---- */

void capture_print(const struct capture *c, struct strbuf *out)
{
    disk_log_print(out, PREFIX, &c->rec.base, c->rec.log, c->notes, c->n_notes);
}

bool capture_is_in(const char *text)
{
    return !strncmp(text, PREFIX, strlen(PREFIX)) || strstr(text, "\n" PREFIX);
}

static int bad_note(const char *text, struct error **err)
{
    return error_set(err, EINVAL, "captured log: bad note '%s'", text);
}

static int take_note(struct capture *c, const struct disk_note *n, struct error **err)
{
    char word[16], name[128];
    size_t i;
    int status = 0;
    if (sscanf(n->text, "file %zu %127s", &i, name) == 2) {
        if (i >= DISK_SET_MAX || c->name[i] || strchr(name, '/')) {
            return bad_note(n->text, err);
        }
        c->name[i] = str_dup(name);
        return 0;
    }
    if (sscanf(n->text, "%15s %zu %d", word, &i, &status) < 2 || i >= c->rec.program->n_ops) {
        return bad_note(n->text, err);
    }
    for (int e = 0; e < EVENT_KINDS; e++) {
        if (!strcmp(word, event_words[e])) {
            take_event(c, e, i, status, n->stamp);
            return 0;
        }
    }
    return bad_note(n->text, err);
}

/* What the completed operations leave, in the order of the log. */
static void replay(struct capture *c)
{
    c->rec.end = disk_set_clone(&c->rec.base);
    for (size_t i = 0; i < disk_log_len(c->rec.log); i++) {
        const struct disk_op *op = disk_log_op(c->rec.log, i);
        if (op->completed != DISK_OP_IN_FLIGHT && !(op->flags & DISK_OP_FAILED)) {
            disk_op_apply(c->rec.end.disk[op->disk], op);
        }
    }
}

int capture_scan(struct outside *x, const char *text, const struct program *p, struct capture *out,
                 struct error **err)
{
    start_capture(out, p, sim_store_pool(x->store));
    int ret =
        disk_log_scan(text, PREFIX, &out->rec.base, out->rec.log, &out->notes, &out->n_notes, err);
    for (size_t i = 0; ret == 0 && i < out->n_notes; i++) {
        ret = take_note(out, &out->notes[i], err);
    }
    if (ret == 0 && !out->name[0]) {
        ret = error_set(err, EINVAL, "captured log: it does not name the image's file");
    }
    if (ret < 0) {
        capture_free(out);
        return ret;
    }
    replay(out);
    return 0;
}
