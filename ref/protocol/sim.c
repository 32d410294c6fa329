/*
 * sim: a simulated disk (fault/disk.h) as a protocol.
 *
 * Models: requests become operations of the disk's log, stamped when they are submitted and when
 * they complete, with their labels and tags, so that crash states can be derived; a fault plan
 * decides what goes wrong with each request. What a verdict owes is in fault/verdict.h; a request
 * may be delayed by `arg` scheduling points, or, from DELAY_IS_TIME on, by `arg` nanoseconds of the
 * real clock (which costs nothing where time is simulated). Leaves out: making disks, and
 * everything about power cuts.
 */
#include <assert.h>
#include <errno.h>
#include "ref/block/io.h"
#include "ref/block/open.h"
#include "ref/engine/clock.h"
#include "ref/protocol/protocol.h"
#include "ref/protocol/sim.h"

#define DELAY_IS_TIME 1000000

struct sim_entry {
    struct list link;
    char *name;
    struct sim_disk d;
    bool owns_past;
};

struct sim_registry {
    struct list entries;
    uint64_t changes; /* of entries */
    struct waitq hung;
    bool released;
};

struct sim_state {
    char *name;
    struct sim_registry *registry;
    struct sim_entry *entry; /* of that name, NULL: none; true while nothing has changed since */
    uint64_t looked;         /* registry->changes then */
};

static const char registry_key;

static void registry_free(void *p)
{
    struct sim_registry *g = p;
    struct sim_entry *e, *tmp;
    LIST_FOREACH_SAFE (e, tmp, &g->entries, link) {
        if (e->owns_past) {
            disk_free(e->d.past);
        }
        mem_free(e->name);
        mem_free(e);
    }
    mem_free(g);
}

static struct sim_registry *registry(struct world *w)
{
    struct sim_registry *g = world_attachment(w, &registry_key);
    if (!g) {
        g = mem_zalloc(sizeof(*g));
        list_init(&g->entries);
        world_attach(w, &registry_key, g, registry_free);
    }
    return g;
}

static struct sim_entry *find_entry(struct world *w, const char *name)
{
    struct sim_entry *e;
    LIST_FOREACH (e, &registry(w)->entries, link) {
        if (!strcmp(e->name, name)) {
            return e;
        }
    }
    return NULL;
}

void sim_unregister(struct world *w, const char *name)
{
    struct sim_entry *e = find_entry(w, name);
    if (!e) {
        return;
    }
    list_remove(&e->link);
    registry(w)->changes++;
    if (e->owns_past) {
        disk_free(e->d.past);
    }
    mem_free(e->name);
    mem_free(e);
}

void sim_register(struct world *w, const char *name, const struct sim_disk *d)
{
    assert(!d->request_alignment || IS_POW2(d->request_alignment));
    sim_unregister(w, name);
    struct sim_entry *e = mem_zalloc(sizeof(*e));
    e->name = str_dup(name);
    e->d = *d;
    list_push(&registry(w)->entries, &e->link);
    registry(w)->changes++;
}

struct sim_disk *sim_find(struct world *w, const char *name)
{
    struct sim_entry *e = find_entry(w, name);
    return e ? &e->d : NULL;
}

void sim_release_hung(struct world *w)
{
    struct sim_registry *g = registry(w);
    g->released = true;
    waitq_wake_all(w, &g->hung);
}

/* The node's disk: the harness may replace it at any time. */
static struct sim_entry *node_disk(const struct node *n)
{
    struct sim_state *s = n->state;
    if (!s->registry || s->looked != s->registry->changes) {
        s->registry = registry(n->w);
        s->looked = s->registry->changes;
        s->entry = find_entry(n->w, s->name);
    }
    return s->entry;
}

/* ---- faults ---- */

static bool plan_has(const struct fault_plan *p, enum fault_kind kind)
{
    for (int i = 0; p && i < p->n; i++) {
        if (p->entries[i].kind == kind) {
            return true;
        }
    }
    return false;
}

static struct fault_verdict decide(struct sim_entry *e, enum fault_iotype type,
                                   const struct request *r)
{
    if (!e->d.plan) {
        return (struct fault_verdict){.kind = FAULT_NONE, .entry = -1};
    }
    struct fault_event ev = {
        .label = r->label,
        .req = {.iotype = type, .offset = r->offset, .bytes = r->bytes, .tag = r->tag},
    };
    struct fault_verdict v = fault_plan_decide(e->d.plan, &ev);
    if (v.error <= 0) {
        v.error = EIO;
    }
    return v;
}

/* Waiting that the verdict asks for; -ECANCELED when the request was given up. */
static int linger(struct node *n, const struct fault_verdict *v)
{
    struct sim_registry *g = registry(n->w);
    if (v->kind == FAULT_HUNG) {
        while (!g->released) {
            waitq_wait(n->w, &g->hung);
        }
        return -ECANCELED;
    }
    if (v->kind == FAULT_DELAYED) {
        if (v->arg >= DELAY_IS_TIME) {
            return co_sleep(n->w, CLOCK_REAL, v->arg);
        }
        for (int64_t i = 0; i < v->arg; i++) {
            co_yield (n->w);
        }
    }
    return 0;
}

/* ---- changes ---- */

struct change {
    enum disk_op_kind kind;
    unsigned flags;
    int64_t offset, bytes;
    const void *data; /* writes */
};

/* For stale reads: what the range holds now is its past from now on. */
static void keep_past(struct sim_entry *e, const struct change *c)
{
    if (!plan_has(e->d.plan, FAULT_STALE) || c->kind > DISK_OP_DISCARD) {
        return;
    }
    if (!e->d.past) {
        e->d.past = disk_clone(e->d.disk);
        e->owns_past = true;
    }
    uint8_t page[DISK_PAGE];
    for (int64_t done = 0; done < c->bytes;) {
        size_t len = (size_t)MIN(c->bytes - done, (int64_t)sizeof(page));
        disk_read(e->d.disk, c->offset + done, page, len);
        if (disk_write(e->d.past, c->offset + done, page, len) < 0) {
            return; /* pool exhausted: a stale read sees the present there */
        }
        done += (int64_t)len;
    }
}

/* Straight to the disk: without a log. */
static int apply_unlogged(struct disk *d, const struct change *c, int64_t bytes)
{
    switch (c->kind) {
    case DISK_OP_WRITE:
        return disk_write(d, c->offset, c->data, (size_t)bytes);
    case DISK_OP_ZERO:
        return disk_write_zeroes(d, c->offset, bytes, c->flags & DISK_OP_ALLOCATE);
    case DISK_OP_DISCARD:
        return disk_discard(d, c->offset, bytes);
    case DISK_OP_TRUNCATE:
        return disk_truncate(d, c->offset);
    default:
        return 0;
    }
}

/* The point between submission and completion, where a schedule may let others run. */
static void in_flight(struct node *n, const struct change *c, enum label label)
{
    struct point pt = {.kind = POINT_EVENT,
                       .object = n,
                       .offset = c->offset,
                       .bytes = c->bytes,
                       .write = true,
                       .name = label_name(label)};
    sched_point(n->w, &pt);
}

/* Does the change, or only its first `part` bytes, and logs what it does as an op of its own. */
static int carry_out(struct node *n, struct sim_entry *e, const struct change *c,
                     const struct request *r, int64_t part)
{
    struct disk_log *log = e->d.log;
    if (!log) {
        keep_past(e, c);
        in_flight(n, c, r->label);
        return apply_unlogged(e->d.disk, c, part);
    }
    struct disk_op op = {.kind = c->kind,
                         .flags = c->flags,
                         .disk = e->d.index,
                         .label = r->label,
                         .tag = r->tag,
                         .offset = c->offset,
                         .bytes = part};
    size_t i = disk_log_begin(log, &op, c->data);
    in_flight(n, c, r->label);
    keep_past(e, c);
    int ret = disk_op_apply(e->d.disk, disk_log_op(log, i));
    if (ret < 0) {
        disk_log_fail(log, i);
    } else {
        disk_log_end(log, i);
    }
    return ret;
}

static int change_disk(struct node *n, struct change *c, enum fault_iotype type,
                       const struct request *r)
{
    struct sim_entry *e = node_disk(n);
    if (!e) {
        return -ENODEV;
    }
    struct fault_verdict v = decide(e, type, r);
    int ret = linger(n, &v);
    e = node_disk(n); /* the harness may have worked meanwhile */
    if (ret < 0 || !e) {
        return ret < 0 ? ret : -ENODEV;
    }
    switch (v.kind) {
    case FAULT_ERROR:
        return -v.error;
    case FAULT_LOST:
        return 0;
    case FAULT_SHORT:
        if (fault_part(v.arg, c->offset, c->bytes) > 0) {
            carry_out(n, e, c, r, fault_part(v.arg, c->offset, c->bytes));
        }
        return -v.error;
    case FAULT_TORN:
        if (c->kind == DISK_OP_WRITE || c->kind == DISK_OP_ZERO) {
            int64_t part = fault_part(v.arg, c->offset, c->bytes);
            return part ? carry_out(n, e, c, r, part) : 0;
        }
        break;
    case FAULT_MISDIRECTED:
        if (v.arg < -c->offset || v.arg > DISK_MAX - c->bytes - c->offset) {
            return -v.error; /* nowhere to go */
        }
        c->offset += v.arg;
        break;
    default:
        break;
    }
    return carry_out(n, e, c, r, c->bytes);
}

/* ---- the driver ---- */

static const struct opt_desc sim_options[] = {
    {.name = "disk", .type = OPT_STRING, .help = "Name of a simulated disk"},
    {.name = NULL},
};

static const struct opt_desc sim_create_options[] = {
    {.name = "size", .type = OPT_SIZE, .help = "Virtual disk size"},
    {.name = NULL},
};

static const char *const sim_strong_options[] = {"disk", NULL};

static const char *disk_name(const char *filename)
{
    return strncmp(filename, "sim:", 4) ? filename : filename + 4;
}

static int sim_parse_filename(const char *filename, struct value *opts, struct error **err)
{
    dict_put_str(opts, "disk", disk_name(filename));
    return 0;
}

static int sim_open(struct node *n, struct value *opts, unsigned flags, struct error **err)
{
    struct sim_state *s = n->state;
    struct value *mine = opts_take(sim_options, opts);
    const char *name = dict_get_str(mine, "disk");
    struct sim_disk *d = name ? sim_find(n->w, name) : NULL;
    int ret = 0;
    if (!name) {
        ret = error_set(err, EINVAL, "The 'sim' block driver requires the name of a disk");
    } else if (!d) {
        ret = error_set_errno(err, ENOENT, "Could not open 'sim:%s'", name);
    } else {
        s->name = str_dup(name);
        n->write_flags = d->no_fua ? 0 : REQ_FUA;
        n->zero_flags = n->write_flags | REQ_MAY_UNMAP | REQ_NO_FALLBACK;
        n->truncate_flags = REQ_ZERO_GROWN;
    }
    value_free(mine);
    return ret;
}

static void sim_close(struct node *n)
{
    struct sim_state *s = n->state;
    mem_free(s->name);
}

static int sim_reopen_prepare(struct reopen *r, struct error **err)
{
    return 0;
}

static void sim_refresh_limits(struct node *n, struct error **err)
{
    const struct sim_entry *e = node_disk(n);
    n->limits.request_alignment = e && e->d.request_alignment ? e->d.request_alignment : 1;
}

static void read_range(const struct disk *d, int64_t offset, const struct request *r, int64_t bytes)
{
    size_t skip = r->iov_off;
    for (int i = 0; i < r->iov->n && bytes > 0; i++) {
        const struct iovec *v = &r->iov->v[i];
        if (skip >= v->iov_len) {
            skip -= v->iov_len;
            continue;
        }
        size_t len = (size_t)MIN((int64_t)(v->iov_len - skip), bytes);
        disk_read(d, offset, (uint8_t *)v->iov_base + skip, len);
        offset += (int64_t)len;
        bytes -= (int64_t)len;
        skip = 0;
    }
}

static int sim_read(struct node *n, const struct request *r)
{
    struct sim_entry *e = node_disk(n);
    if (!e) {
        return -ENODEV;
    }
    struct fault_verdict v = decide(e, FAULT_IO_READ, r);
    int ret = 0;
    if (v.kind != FAULT_NONE) {
        ret = linger(n, &v);
        e = node_disk(n);
    }
    if (ret < 0 || !e) {
        return ret < 0 ? ret : -ENODEV;
    }
    switch (v.kind) {
    case FAULT_ERROR:
        return -v.error;
    case FAULT_SHORT:
        read_range(e->d.disk, r->offset, r, fault_part(v.arg, r->offset, r->bytes));
        return -v.error;
    case FAULT_STALE:
        read_range(e->d.past ? e->d.past : e->d.disk, r->offset, r, r->bytes);
        return 0;
    case FAULT_MISDIRECTED:
        if (v.arg < -r->offset || v.arg > DISK_MAX - r->bytes - r->offset) {
            return -v.error;
        }
        read_range(e->d.disk, r->offset + v.arg, r, r->bytes);
        return 0;
    default:
        read_range(e->d.disk, r->offset, r, r->bytes);
        return 0;
    }
}

static unsigned fua_flag(const struct request *r)
{
    return r->flags & REQ_FUA ? DISK_OP_FUA : 0;
}

/* The log wants a write's bytes in one piece. */
static int sim_write(struct node *n, const struct request *r)
{
    struct change c = {
        .kind = DISK_OP_WRITE, .flags = fua_flag(r), .offset = r->offset, .bytes = r->bytes};
    size_t bytes = (size_t)r->bytes;
    void *copy = NULL;
    if (r->iov->n == 1) {
        c.data = (const uint8_t *)r->iov->v[0].iov_base + r->iov_off;
    } else {
        copy = mem_try_alloc(MAX(bytes, 1));
        if (!copy) {
            return -ENOMEM;
        }
        iov_to_buf(r->iov, r->iov_off, copy, bytes);
        c.data = copy;
    }
    int ret = change_disk(n, &c, FAULT_IO_WRITE, r);
    mem_free(copy);
    return ret;
}

static int sim_write_zeroes(struct node *n, const struct request *r)
{
    struct change c = {.kind = DISK_OP_ZERO,
                       .offset = r->offset,
                       .bytes = r->bytes,
                       .flags = fua_flag(r) | (r->flags & REQ_MAY_UNMAP ? 0 : DISK_OP_ALLOCATE)};
    const struct sim_entry *e = node_disk(n);
    return e && e->d.no_zeroes ? -ENOTSUP : change_disk(n, &c, FAULT_IO_WRITE_ZEROES, r);
}

static int sim_discard(struct node *n, const struct request *r)
{
    struct change c = {.kind = DISK_OP_DISCARD, .offset = r->offset, .bytes = r->bytes};
    return change_disk(n, &c, FAULT_IO_DISCARD, r);
}

static int sim_flush_to_disk(struct node *n, const struct request *r)
{
    struct change c = {.kind = DISK_OP_FLUSH};
    return change_disk(n, &c, FAULT_IO_FLUSH, r);
}

static int sim_truncate(struct node *n, int64_t size, bool exact, enum prealloc prealloc,
                        unsigned flags, struct error **err)
{
    struct change c = {.kind = DISK_OP_TRUNCATE, .offset = size};
    struct request r = {.op = REQ_WRITE, .label = LABEL_RESIZE, .offset = size};
    /* Space is never short here, so reserving it is nothing; writing zeroes would be something. */
    if (prealloc != PREALLOC_OFF && prealloc != PREALLOC_FALLOC) {
        return error_set(err, ENOTSUP, "Unsupported preallocation mode: %s",
                         prealloc_names[prealloc]);
    }
    int ret = change_disk(n, &c, FAULT_IO_WRITE, &r);
    return ret < 0 ? error_set_errno(err, -ret, "Could not resize file") : 0;
}

/* Coverage only: a fault needs an I/O. */
static void sim_event(struct node *n, enum label label, const struct request *r)
{
    const struct sim_entry *e = node_disk(n);
    if (e && e->d.plan) {
        e->d.plan->announced[label]++;
    }
}

static int sim_block_status(struct node *n, bool precise, int64_t offset, int64_t bytes,
                            struct status *out)
{
    const struct sim_entry *e = node_disk(n);
    if (!e) {
        return -ENODEV;
    }
    *out =
        (struct status){.flags = STATUS_OFFSET_VALID | STATUS_ALLOCATED, .map = offset, .file = n};
    enum disk_status st = disk_block_status(e->d.disk, offset, bytes, &out->bytes);
    out->flags |= st == DISK_HOLE ? STATUS_ZERO : STATUS_DATA;
    /* A hole ends on a page, what is behind the end may not: whole units only. */
    int64_t unit = n->limits.request_alignment;
    out->bytes = MIN(bytes, ROUND_UP(out->bytes, unit));
    return 0;
}

static int64_t sim_length(struct node *n)
{
    const struct sim_entry *e = node_disk(n);
    return e ? disk_size(e->d.disk) : -ENODEV;
}

static int64_t sim_allocated_size(struct node *n)
{
    const struct sim_entry *e = node_disk(n);
    return e ? disk_allocated(e->d.disk) : -ENODEV;
}

static int sim_info(struct node *n, struct image_info *out)
{
    return 0;
}

static bool sim_has_zero_init(struct node *n)
{
    return true;
}

static void sim_refresh_filename(struct node *n)
{
    const struct sim_state *s = n->state;
    mem_free(n->exact_filename);
    n->exact_filename = str_fmt("sim:%s", s->name);
}

/* Empties the disk, which must be registered, and gives it its size. */
static int sim_create(struct world *w, const char *filename, struct value *opts, struct error **err)
{
    const char *name = disk_name(filename);
    struct sim_disk *d = sim_find(w, name);
    uint64_t size = 0;
    int ret = opts_get_size(sim_create_options, opts, "size", &size, err);
    if (ret < 0) {
        return ret;
    }
    if (!d) {
        return error_set_errno(err, ENOENT, "Could not create 'sim:%s'", name);
    }
    if (size > DISK_MAX) {
        return error_set(err, EFBIG, "Image size is too large");
    }
    const int64_t sizes[] = {0, (int64_t)size};
    for (int i = 0; i < 2 && ret == 0; i++) {
        if (d->log) {
            struct disk_op op = {.kind = DISK_OP_TRUNCATE,
                                 .disk = d->index,
                                 .label = LABEL_CREATE_WRITE,
                                 .offset = sizes[i]};
            disk_log_add(d->log, &op, NULL);
        }
        ret = disk_truncate(d->disk, sizes[i]);
    }
    return ret < 0 ? error_set_errno(err, -ret, "Could not resize file") : 0;
}

const struct block_driver driver_sim = {
    .name = "sim",
    .protocol = "sim",
    .kind = DRIVER_PROTOCOL,
    .internal_only = true,
    .state_size = sizeof(struct sim_state),
    .open_options = sim_options,
    .create_options = sim_create_options,
    .strong_options = sim_strong_options,
    .parse_filename = sim_parse_filename,
    .open = sim_open,
    .close = sim_close,
    .reopen_prepare = sim_reopen_prepare,
    .create = sim_create,
    .read = sim_read,
    .write = sim_write,
    .write_zeroes = sim_write_zeroes,
    .discard = sim_discard,
    .flush_to_disk = sim_flush_to_disk,
    .truncate = sim_truncate,
    .event = sim_event,
    .block_status = sim_block_status,
    .length = sim_length,
    .allocated_size = sim_allocated_size,
    .info = sim_info,
    .refresh_limits = sim_refresh_limits,
    .refresh_filename = sim_refresh_filename,
    .has_zero_init = sim_has_zero_init,
};
