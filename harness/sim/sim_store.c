/*
 * Simulated disks behind a server.  See sim_store.h; what a verdict owes is in fault/verdict.h.
 */
#include "harness/sim/sim_store.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include "harness/sim/sim_classify.h"
#include "ref/base/mem.h"

struct sim_store {
    pthread_mutex_t lock;
    struct disk_pool *pool;
    struct disk_set set;
    char *name[DISK_SET_MAX];
    bool there[DISK_SET_MAX];
    struct disk_log *log;
    struct fault_plan *plan;
    struct disk *past[DISK_SET_MAX]; /* what stale reads see; NULL: the present */
    char *format;
    bool drop_flushes, released;
};

struct sim_store *sim_store_new(void)
{
    struct sim_store *s = mem_zalloc(sizeof(*s));
    pthread_mutex_init(&s->lock, NULL);
    s->pool = disk_pool_new(0);
    s->set.n = DISK_SET_MAX;
    for (int i = 0; i < DISK_SET_MAX; i++) {
        s->set.disk[i] = disk_new(s->pool, 0);
    }
    return s;
}

static void forget_past(struct sim_store *s)
{
    for (int i = 0; i < DISK_SET_MAX; i++) {
        disk_free(s->past[i]);
        s->past[i] = NULL;
    }
}

void sim_store_free(struct sim_store *s)
{
    if (!s) {
        return;
    }
    forget_past(s);
    for (int i = 0; i < DISK_SET_MAX; i++) {
        disk_free(s->set.disk[i]);
        mem_free(s->name[i]);
    }
    disk_pool_free(s->pool);
    pthread_mutex_destroy(&s->lock);
    mem_free(s->format);
    mem_free(s);
}

void sim_store_lock(struct sim_store *s)
{
    int ret = pthread_mutex_lock(&s->lock);
    assert(ret == 0);
}

void sim_store_unlock(struct sim_store *s)
{
    int ret = pthread_mutex_unlock(&s->lock);
    assert(ret == 0);
}

void sim_store_reset(struct sim_store *s)
{
    sim_store_lock(s);
    forget_past(s);
    for (int i = 0; i < DISK_SET_MAX; i++) {
        disk_free(s->set.disk[i]);
        s->set.disk[i] = disk_new(s->pool, 0);
        mem_free(s->name[i]);
        s->name[i] = NULL;
        s->there[i] = false;
    }
    s->log = NULL;
    s->plan = NULL;
    s->released = s->drop_flushes = false;
    sim_store_unlock(s);
}

/* ---- names ---- */

void sim_store_reserve(struct sim_store *s, int i, const char *name)
{
    assert(i >= 0 && i < DISK_SET_MAX && !s->name[i]);
    s->name[i] = str_dup(name);
}

void sim_store_put(struct sim_store *s, int i, const char *name, const struct disk *d)
{
    assert(i >= 0 && i < DISK_SET_MAX);
    mem_free(s->name[i]);
    s->name[i] = str_dup(name);
    s->there[i] = true;
    disk_free(s->set.disk[i]);
    s->set.disk[i] = disk_clone(d);
}

const char *sim_store_name(const struct sim_store *s, int i)
{
    return i >= 0 && i < DISK_SET_MAX && s->there[i] ? s->name[i] : NULL;
}

static int find_name(const struct sim_store *s, const char *name)
{
    for (int i = 0; i < DISK_SET_MAX; i++) {
        if (s->name[i] && !strcmp(s->name[i], name)) {
            return i;
        }
    }
    return -ENOENT;
}

static int free_index(const struct sim_store *s)
{
    for (int i = 0; i < DISK_SET_MAX; i++) {
        if (!s->name[i]) {
            return i;
        }
    }
    return -ENFILE;
}

int sim_store_open(struct sim_store *s, const char *name, bool create)
{
    sim_store_lock(s);
    int i = find_name(s, name);
    if (i < 0 && create) {
        i = free_index(s);
        if (i >= 0) {
            s->name[i] = str_dup(name);
        }
    }
    if (i >= 0 && !s->there[i] && !create) {
        i = -ENOENT;
    } else if (i >= 0) {
        s->there[i] = true;
    }
    sim_store_unlock(s);
    return i;
}

int sim_store_unlink(struct sim_store *s, const char *name)
{
    sim_store_lock(s);
    int i = find_name(s, name), ret = i < 0 || !s->there[i] ? -ENOENT : 0;
    if (ret == 0) {
        s->there[i] = false;
        disk_truncate(s->set.disk[i], 0);
    }
    sim_store_unlock(s);
    return ret;
}

int64_t sim_store_size(struct sim_store *s, int disk)
{
    sim_store_lock(s);
    int64_t size = disk_size(s->set.disk[disk]);
    sim_store_unlock(s);
    return size;
}

int64_t sim_store_allocated(struct sim_store *s, int disk)
{
    sim_store_lock(s);
    int64_t bytes = disk_allocated(s->set.disk[disk]);
    sim_store_unlock(s);
    return bytes;
}

int64_t sim_store_seek(struct sim_store *s, int disk, int64_t offset, bool hole)
{
    int64_t n, found = -ENXIO;
    sim_store_lock(s);
    const struct disk *d = s->set.disk[disk];
    int64_t size = disk_size(d);
    while (offset >= 0 && offset < size && found < 0) {
        enum disk_status st = disk_block_status(d, offset, size - offset, &n);
        found = (st == DISK_HOLE) == hole ? offset : -ENXIO;
        offset += n;
    }
    if (found < 0 && hole && offset >= size && size > 0) {
        found = offset == size ? size : -ENXIO; /* every file ends with a hole */
    }
    sim_store_unlock(s);
    return found;
}

/* ---- the harness's side ---- */

const struct disk_set *sim_store_set(const struct sim_store *s)
{
    return &s->set;
}

struct disk_pool *sim_store_pool(const struct sim_store *s)
{
    return s->pool;
}

void sim_store_log(struct sim_store *s, struct disk_log *log)
{
    s->log = log;
}

void sim_store_plan(struct sim_store *s, struct fault_plan *plan)
{
    s->plan = plan;
    forget_past(s);
}

void sim_store_drop_flushes(struct sim_store *s, bool drop)
{
    s->drop_flushes = drop;
}

void sim_store_format(struct sim_store *s, const char *format)
{
    mem_free(s->format);
    s->format = str_dup(format);
}

void sim_store_release(struct sim_store *s)
{
    sim_store_lock(s);
    s->released = true;
    sim_store_unlock(s);
}

bool sim_store_released(struct sim_store *s)
{
    sim_store_lock(s);
    bool released = s->released;
    sim_store_unlock(s);
    return released;
}

/* ---- requests ---- */

static bool changes(const struct sim_request *r)
{
    return r->kind != SIM_READ;
}

static enum label label_of(const struct sim_store *s, const struct sim_request *r)
{
    const char *format = r->disk == 0 ? s->format : NULL;
    if (r->kind == SIM_TRUNCATE) {
        return LABEL_RESIZE;
    }
    if (r->kind == SIM_FLUSH) {
        return LABEL_FLUSH_TO_DISK;
    }
    if (r->kind == SIM_DISCARD || (r->kind == SIM_READ && !s->plan)) {
        return LABEL_NONE;
    }
    return sim_classify(s->set.disk[r->disk], format, changes(r), r->offset, r->bytes, r->data);
}

static struct fault_verdict decide(struct sim_store *s, const struct sim_request *r,
                                   enum label label)
{
    static const enum fault_iotype types[] = {
        [SIM_READ] = FAULT_IO_READ,         [SIM_WRITE] = FAULT_IO_WRITE,
        [SIM_ZERO] = FAULT_IO_WRITE_ZEROES, [SIM_DISCARD] = FAULT_IO_DISCARD,
        [SIM_TRUNCATE] = FAULT_IO_WRITE,    [SIM_FLUSH] = FAULT_IO_FLUSH,
    };
    if (s->drop_flushes && r->kind == SIM_FLUSH) {
        return (struct fault_verdict){.kind = FAULT_LOST, .entry = -1};
    }
    if (!s->plan) {
        return (struct fault_verdict){.kind = FAULT_NONE, .entry = -1};
    }
    struct fault_event ev = {
        .label = label, .req = {.iotype = types[r->kind], .offset = r->offset, .bytes = r->bytes}};
    return fault_plan_decide(s->plan, &ev);
}

static bool plan_has_stale(const struct fault_plan *p)
{
    for (int i = 0; p && i < p->n; i++) {
        if (p->entries[i].kind == FAULT_STALE) {
            return true;
        }
    }
    return false;
}

/* For stale reads: what the range holds now is its past from now on. */
static void keep_past(struct sim_store *s, const struct sim_request *r, int64_t part)
{
    uint8_t page[DISK_PAGE];
    if (!plan_has_stale(s->plan) || (r->kind != SIM_WRITE && r->kind != SIM_ZERO)) {
        return;
    }
    if (!s->past[r->disk]) {
        s->past[r->disk] = disk_clone(s->set.disk[r->disk]);
    }
    for (int64_t done = 0; done < part;) {
        size_t len = (size_t)MIN(part - done, (int64_t)sizeof(page));
        disk_read(s->set.disk[r->disk], r->offset + done, page, len);
        disk_write(s->past[r->disk], r->offset + done, page, len);
        done += (int64_t)len;
    }
}

static struct disk_op log_entry(const struct sim_ticket *t, enum label label)
{
    static const enum disk_op_kind kinds[] = {
        [SIM_WRITE] = DISK_OP_WRITE,     [SIM_ZERO] = DISK_OP_ZERO,
        [SIM_DISCARD] = DISK_OP_DISCARD, [SIM_TRUNCATE] = DISK_OP_TRUNCATE,
        [SIM_FLUSH] = DISK_OP_FLUSH,
    };
    return (struct disk_op){.kind = kinds[t->r.kind],
                            .flags = t->r.flags,
                            .disk = t->r.disk,
                            .label = label,
                            .offset = t->r.offset,
                            .bytes = t->part};
}

/* How much of the request will be done, where, and when. */
static void apply_verdict(struct sim_ticket *t)
{
    struct sim_request *r = &t->r;
    bool has_parts = r->kind == SIM_WRITE || r->kind == SIM_ZERO || r->kind == SIM_READ;
    t->part = r->bytes;
    switch (t->v.kind) {
    case FAULT_ERROR:
        t->part = 0;
        t->failed = true;
        break;
    case FAULT_SHORT:
        t->part = has_parts ? fault_part(t->v.arg, r->offset, r->bytes) : 0;
        t->failed = true;
        break;
    case FAULT_LOST:
        t->part = 0;
        break;
    case FAULT_TORN:
        t->part =
            has_parts && r->kind != SIM_READ ? fault_part(t->v.arg, r->offset, r->bytes) : r->bytes;
        break;
    case FAULT_MISDIRECTED:
        if (t->v.arg < -r->offset || t->v.arg > DISK_MAX - r->bytes - r->offset) {
            t->failed = true; /* nowhere to go */
            t->part = 0;
        } else if (has_parts) {
            r->offset += t->v.arg;
        }
        break;
    case FAULT_DELAYED:
        t->hold = MAX(t->v.arg, 1);
        break;
    case FAULT_HUNG:
        t->hold = SIM_HUNG;
        break;
    default:
        break;
    }
}

/* Does the request leave anything on the disk? */
static bool leaves_something(const struct sim_ticket *t)
{
    if (!changes(&t->r) || t->hold == SIM_HUNG || t->v.kind == FAULT_LOST ||
        t->v.kind == FAULT_ERROR) {
        return false;
    }
    return t->part > 0 || (!t->failed && (t->r.kind == SIM_TRUNCATE || t->r.kind == SIM_FLUSH));
}

void sim_begin(struct sim_store *s, const struct sim_request *r, struct sim_ticket *t)
{
    *t = (struct sim_ticket){.r = *r};
    assert(r->offset >= 0 && r->bytes >= 0 && r->offset <= DISK_MAX - r->bytes);
    sim_store_lock(s);
    enum label label = label_of(s, r);
    t->v = decide(s, r, label);
    t->v.error = t->v.error > 0 ? t->v.error : EIO;
    apply_verdict(t);
    if (leaves_something(t)) {
        /* Without a log a private one carries the bytes to sim_finish(). */
        struct disk_op op = log_entry(t, label);
        struct disk_log *log = s->log ? s->log : disk_log_new(s->pool);
        t->logged = true;
        t->op = disk_log_begin(log, &op, r->data);
        if (!s->log) {
            disk_op_apply(s->set.disk[r->disk], disk_log_op(log, t->op));
            disk_log_free(log);
            t->logged = false;
        }
    }
    t->r.data = NULL;
    sim_store_unlock(s);
}

static int finish_read(struct sim_store *s, const struct sim_ticket *t, void *buf)
{
    const struct disk *d = s->set.disk[t->r.disk], *past = s->past[t->r.disk];
    disk_read(t->v.kind == FAULT_STALE && past ? past : d, t->r.offset, buf, (size_t)t->part);
    return t->failed ? -t->v.error : 0;
}

int sim_finish(struct sim_store *s, struct sim_ticket *t, void *buf)
{
    int ret = t->failed ? -t->v.error : 0;
    sim_store_lock(s);
    if (t->r.kind == SIM_READ) {
        ret = finish_read(s, t, buf);
    } else if (t->logged && s->log) {
        struct disk *d = s->set.disk[t->r.disk];
        const struct disk_op *op = disk_log_op(s->log, t->op);
        keep_past(s, &t->r, t->part);
        int applied = disk_op_apply(d, op); /* what a fault left of the request is all of the op */
        ret = applied < 0 ? applied : ret;
        (applied < 0 ? disk_log_fail : disk_log_end)(s->log, t->op);
    }
    sim_store_unlock(s);
    return ret;
}

int sim_cancel(struct sim_store *s, struct sim_ticket *t)
{
    assert(!t->logged);
    return -ECANCELED;
}
