/*
 * The in-memory drivers of memdrv.h.
 */
#include "ref/block/tests/memdrv.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include "ref/block/block_state.h"

/* ---- the disk ---- */

static void log_call(struct memdisk *d, const char *what, const struct request *r)
{
    if (!d->log) {
        return;
    }
    strbuf_printf(d->log, "%s%s %" PRId64 "+%" PRId64, d->log->len ? " " : "", what, r->offset,
                  r->bytes);
    if (r->flags & REQ_FUA) {
        strbuf_puts(d->log, ":fua");
    }
    if (r->flags & REQ_MAY_UNMAP) {
        strbuf_puts(d->log, ":unmap");
    }
    if (r->flags & REQ_UNCHANGED) {
        strbuf_puts(d->log, ":unchanged");
    }
}

static int injected(struct memdisk *d, enum req_op op)
{
    int ret = 0;
    if (d->fail && d->fail_op == op) {
        ret = d->fail;
        d->fail = 0;
    }
    return ret;
}

static void give_way(struct node *n)
{
    struct memdisk *d = n->state;
    if (d->async) {
        co_yield (n->w);
    }
}

static int disk_read(struct node *n, const struct request *r)
{
    struct memdisk *d = n->state;
    log_call(d, "R", r);
    d->reads++;
    give_way(n);
    int ret = injected(d, REQ_READ);
    if (r->offset < d->bad_to && d->bad_from < r->offset + r->bytes) {
        ret = -EIO;
    }
    int64_t have = MAX(0, MIN(r->bytes, d->size - r->offset));
    if (ret == 0) {
        iov_from_buf(r->iov, r->iov_off, d->data + r->offset, (size_t)have);
        iov_fill(r->iov, r->iov_off + (size_t)have, 0, (size_t)(r->bytes - have));
    }
    give_way(n);
    return ret;
}

static void grow(struct memdisk *d, int64_t size)
{
    if (size > d->size) {
        d->data = mem_realloc(d->data, (size_t)size);
        memset(d->data + d->size, 0, (size_t)(size - d->size));
        d->size = size;
    }
}

static int disk_write(struct node *n, const struct request *r)
{
    struct memdisk *d = n->state;
    log_call(d, "W", r);
    d->writes++;
    if (d->widen) {
        tracked_make_serialising(n, tracked_self(n), (uint64_t)d->widen);
    }
    while (d->stopped) {
        waitq_wait(n->w, &d->gate);
    }
    give_way(n);
    int ret = injected(d, REQ_WRITE);
    if (ret == 0) {
        grow(d, r->offset + r->bytes);
        iov_to_buf(r->iov, r->iov_off, d->data + r->offset, (size_t)r->bytes);
    }
    give_way(n);
    return ret;
}

static int disk_write_zeroes(struct node *n, const struct request *r)
{
    struct memdisk *d = n->state;
    log_call(d, "Z", r);
    int ret = injected(d, REQ_WRITE_ZEROES);
    if (d->no_zeroes) {
        return -ENOTSUP;
    }
    give_way(n);
    if (ret == 0) {
        grow(d, r->offset + r->bytes);
        memset(d->data + r->offset, 0, (size_t)r->bytes);
    }
    return ret;
}

static int disk_discard(struct node *n, const struct request *r)
{
    struct memdisk *d = n->state;
    log_call(d, "D", r);
    give_way(n);
    return injected(d, REQ_DISCARD);
}

static int disk_copy_from(struct node *n, struct child *src, int64_t src_off, struct child *dst,
                          int64_t dst_off, int64_t bytes, unsigned read_flags, unsigned write_flags)
{
    return child_copy_range_to(src, src_off, dst, dst_off, bytes, read_flags, write_flags);
}

static int disk_copy_to(struct node *n, struct child *src, int64_t src_off, struct child *dst,
                        int64_t dst_off, int64_t bytes, unsigned read_flags, unsigned write_flags)
{
    struct memdisk *to = n->state, *from = src->node->state;
    struct request r = {.offset = dst_off, .bytes = bytes};
    log_call(to, "C", &r);
    memcpy(to->data + dst_off, from->data + src_off, (size_t)bytes);
    return 0;
}

static int disk_flush(struct node *n, const struct request *r)
{
    struct memdisk *d = n->state;
    if (d->log) {
        strbuf_puts(d->log, d->log->len ? " F" : "F");
    }
    d->flushes++;
    give_way(n);
    return injected(d, REQ_FLUSH);
}

static int64_t disk_length(struct node *n)
{
    struct memdisk *d = n->state;
    return d->size;
}

static int disk_truncate(struct node *n, int64_t size, bool exact, enum prealloc prealloc,
                         unsigned flags, struct error **err)
{
    struct memdisk *d = n->state;
    give_way(n);
    if (d->fail && d->fail_op == REQ_BLOCK_STATUS) {
        return error_set(err, ENOSPC, "no room");
    }
    grow(d, size);
    d->size = size;
    return 0;
}

static void disk_refresh_limits(struct node *n, struct error **err)
{
    struct memdisk *d = n->state;
    const struct limits *l = &d->limits;
    n->limits.request_alignment = l->request_alignment ? l->request_alignment : 1;
    n->limits.max_transfer = l->max_transfer;
    n->limits.max_iov = l->max_iov ? l->max_iov : n->limits.max_iov;
    n->limits.max_discard = l->max_discard;
    n->limits.discard_alignment = l->discard_alignment;
    n->limits.max_zeroes = l->max_zeroes;
    n->limits.zeroes_alignment = l->zeroes_alignment;
    n->limits.opt_transfer = l->opt_transfer;
}

static void disk_event(struct node *n, enum label label, const struct request *r)
{
    struct memdisk *d = n->state;
    if (d->log && d->log_events) {
        strbuf_printf(d->log, "%s%s", d->log->len ? " " : "", label_name(label));
    }
}

static void disk_close(struct node *n)
{
    struct memdisk *d = n->state;
    mem_free(d->data);
}

static void disk_drain_begin(struct node *n)
{
    struct memdisk *d = n->state;
    d->drained++;
}

static void disk_drain_end(struct node *n)
{
    struct memdisk *d = n->state;
    d->drained--;
}

const struct block_driver driver_memdisk = {
    .name = "memdisk",
    .kind = DRIVER_PROTOCOL,
    .state_size = sizeof(struct memdisk),
    .variable_length = true,
    .close = disk_close,
    .read = disk_read,
    .write = disk_write,
    .write_zeroes = disk_write_zeroes,
    .discard = disk_discard,
    .copy_range_from = disk_copy_from,
    .copy_range_to = disk_copy_to,
    .flush_to_disk = disk_flush,
    .length = disk_length,
    .truncate = disk_truncate,
    .refresh_limits = disk_refresh_limits,
    .event = disk_event,
    .drain_begin = disk_drain_begin,
    .drain_end = disk_drain_end,
};

struct memdisk *memdisk_of(struct node *n)
{
    assert(n->drv == &driver_memdisk);
    return n->state;
}

static struct node *make(struct world *w, const struct block_driver *drv, const char *name)
{
    struct node *n = node_new(w, drv, name, NULL);
    assert(n);
    node_new_state(n);
    n->open_flags = OPEN_RDWR | OPEN_UNMAP;
    return n;
}

static struct node *opened(struct node *n)
{
    int ret = node_refresh_length(n);
    assert(ret == 0);
    mem_refresh_limits(n);
    return n;
}

struct node *memdisk_new(struct world *w, const char *name, int64_t size)
{
    struct node *n = make(w, &driver_memdisk, name);
    grow(n->state, size);
    n->zero_flags = REQ_MAY_UNMAP | REQ_NO_FALLBACK;
    n->truncate_flags = REQ_ZERO_GROWN;
    return opened(n);
}

void mem_refresh_limits(struct node *n)
{
    struct child *c;
    int ret = node_refresh_limits(n, NULL);
    assert(ret == 0);
    LIST_FOREACH (c, &n->parents, parents_link) {
        if (child_parent_node(c)) {
            mem_refresh_limits(child_parent_node(c));
        }
    }
}

/* ---- copy on write ---- */

static int64_t cluster_end(const struct memcow *m, int64_t at, int64_t end)
{
    return MIN(end, (at / m->cluster + 1) * m->cluster);
}

static int read_backing(struct node *n, int64_t at, int64_t len, const struct iov *q, size_t off,
                        const struct request *r)
{
    struct child *b = n->backing;
    if (!b) {
        iov_fill(q, off, 0, (size_t)len);
        return 0;
    }
    return child_preadv(b, at, len, q, off, 0, LABEL_READ_BACKING_AIO, r);
}

static int cow_read(struct node *n, const struct request *r)
{
    struct memcow *m = n->state;
    for (int64_t at = r->offset, end = at + r->bytes, next; at < end; at = next) {
        size_t off = r->iov_off + (size_t)(at - r->offset);
        int ret = 0;
        next = cluster_end(m, at, end);
        uint8_t kind = m->map[at / m->cluster];
        if (kind == 1) {
            ret = child_preadv(n->file, at, next - at, r->iov, off, 0, LABEL_READ_AIO, r);
        } else if (kind == 0) {
            ret = read_backing(n, at, next - at, r->iov, off, r);
        } else {
            iov_fill(r->iov, off, 0, (size_t)(next - at));
        }
        if (ret < 0) {
            return ret;
        }
    }
    return 0;
}

/* A cluster that is written in part is filled first. */
static int cow_fill(struct node *n, int64_t index, const struct request *r)
{
    struct memcow *m = n->state;
    uint8_t *buf = mem_zalloc((size_t)m->cluster);
    struct iov q;
    int ret = 0;
    iov_single(&q, buf, (size_t)m->cluster);
    if (m->map[index] == 0) {
        ret = read_backing(n, index * m->cluster, m->cluster, &q, 0, r);
    }
    if (ret == 0) {
        ret = child_pwrite(n->file, index * m->cluster, buf, m->cluster, LABEL_COW_WRITE, r);
    }
    mem_free(buf);
    return ret;
}

static int cow_write(struct node *n, const struct request *r)
{
    struct memcow *m = n->state;
    for (int64_t at = r->offset, end = at + r->bytes, next; at < end; at = next) {
        size_t off = r->iov_off + (size_t)(at - r->offset);
        int64_t index = at / m->cluster;
        int ret = 0;
        next = cluster_end(m, at, end);
        if (m->map[index] != 1 && next - at < m->cluster) {
            ret = cow_fill(n, index, r);
        }
        if (ret == 0) {
            ret = child_pwritev(n->file, at, next - at, r->iov, off, 0, LABEL_WRITE_AIO, r);
        }
        if (ret < 0) {
            return ret;
        }
        m->map[index] = 1;
    }
    return 0;
}

static int cow_write_zeroes(struct node *n, const struct request *r)
{
    struct memcow *m = n->state;
    if (r->offset % m->cluster || r->bytes % m->cluster) {
        return -ENOTSUP;
    }
    memset(m->map + r->offset / m->cluster, 2, (size_t)(r->bytes / m->cluster));
    return 0;
}

static int cow_block_status(struct node *n, bool precise, int64_t offset, int64_t bytes,
                            struct status *out)
{
    struct memcow *m = n->state;
    uint8_t kind = m->map[offset / m->cluster];
    int64_t at = offset, end = offset + bytes;
    while (at < end && m->map[at / m->cluster] == kind) {
        at = cluster_end(m, at, end);
    }
    *out = (struct status){.bytes = at - offset};
    if (kind == 1) {
        out->flags = STATUS_DATA | STATUS_OFFSET_VALID | STATUS_RECURSE;
        out->map = offset;
        out->file = n->file->node;
    } else if (kind == 2) {
        out->flags = STATUS_ZERO;
    }
    return 0;
}

static int64_t cow_length(struct node *n)
{
    struct memcow *m = n->state;
    return m->clusters * m->cluster;
}

static int cow_truncate(struct node *n, int64_t size, bool exact, enum prealloc prealloc,
                        unsigned flags, struct error **err)
{
    struct memcow *m = n->state;
    int64_t clusters = size / m->cluster;
    m->map = mem_realloc(m->map, (size_t)clusters);
    if (clusters > m->clusters) {
        memset(m->map + m->clusters, flags & REQ_ZERO_GROWN ? 2 : 0,
               (size_t)(clusters - m->clusters));
    }
    m->clusters = clusters;
    return 0;
}

static void cow_refresh_limits(struct node *n, struct error **err)
{
    struct memcow *m = n->state;
    n->limits.zeroes_alignment = (uint32_t)m->cluster;
}

static int cow_info(struct node *n, struct image_info *out)
{
    struct memcow *m = n->state;
    out->cluster_size = (int)m->cluster;
    return 0;
}

static void cow_close(struct node *n)
{
    struct memcow *m = n->state;
    mem_free(m->map);
}

const struct block_driver driver_memcow = {
    .name = "memcow",
    .kind = DRIVER_FORMAT,
    .state_size = sizeof(struct memcow),
    .supports_backing = true,
    .close = cow_close,
    .read = cow_read,
    .write = cow_write,
    .write_zeroes = cow_write_zeroes,
    .block_status = cow_block_status,
    .length = cow_length,
    .truncate = cow_truncate,
    .refresh_limits = cow_refresh_limits,
    .info = cow_info,
};

static void attach(struct node *n, struct node *child, const char *name, unsigned role)
{
    struct child *c = graph_attach(n, child, name, role, NULL);
    assert(c);
}

struct node *memcow_new(struct world *w, const char *name, int64_t cluster, struct node *file,
                        struct node *backing)
{
    struct node *n = make(w, &driver_memcow, name);
    struct memcow *m = n->state;
    int64_t size = node_length(file);
    m->cluster = cluster;
    m->clusters = size / cluster;
    m->map = mem_zalloc((size_t)m->clusters);
    n->zero_flags = REQ_MAY_UNMAP | REQ_NO_FALLBACK;
    n->truncate_flags = REQ_ZERO_GROWN;
    attach(n, file, "file", ROLE_IMAGE | ROLE_PRIMARY);
    if (backing) {
        attach(n, backing, "backing", ROLE_COW);
    }
    return opened(n);
}

/* ---- the filter ---- */

static int filter_read(struct node *n, const struct request *r)
{
    return child_preadv(n->file, r->offset, r->bytes, r->iov, r->iov_off, r->flags, LABEL_NONE, r);
}

static int filter_write(struct node *n, const struct request *r)
{
    return child_pwritev(n->file, r->offset, r->bytes, r->iov, r->iov_off, r->flags, LABEL_NONE, r);
}

const struct block_driver driver_memfilter = {
    .name = "memfilter",
    .kind = DRIVER_FILTER,
    .read = filter_read,
    .write = filter_write,
};

struct node *memfilter_new(struct world *w, const char *name, struct node *file)
{
    struct node *n = make(w, &driver_memfilter, name);
    attach(n, file, "file", ROLE_FILTERED | ROLE_PRIMARY);
    return opened(n);
}

/* ---- roots ---- */

static char *root_describe(const struct child *c)
{
    return str_dup("the test");
}

static void root_drained_begin(struct child *c)
{
    mem_root_state(c)->drained++;
}

static bool root_drained_poll(struct child *c)
{
    return mem_root_state(c)->in_flight > 0;
}

static void root_drained_end(struct child *c)
{
    mem_root_state(c)->drained--;
}

static void root_resized(struct child *c)
{
    mem_root_state(c)->resized++;
}

static const struct child_class mem_root_class = {
    .name = "test",
    .describe = root_describe,
    .drained_begin = root_drained_begin,
    .drained_poll = root_drained_poll,
    .drained_end = root_drained_end,
    .resized = root_resized,
};

struct mem_root_state *mem_root_state(struct child *c)
{
    return c->parent;
}

struct child *mem_root(struct node *n)
{
    struct mem_root_state *s = mem_zalloc(sizeof(*s));
    struct child *c = graph_attach_root(n, "root", &mem_root_class, ROLE_FILTERED | ROLE_PRIMARY,
                                        PERM_ALL, PERM_ALL, s, NULL);
    assert(c);
    return c;
}

void mem_root_drop(struct child *c)
{
    struct mem_root_state *s = c->parent;
    graph_detach_root(c);
    mem_free(s);
}

/* ---- worlds ---- */

void mem_world_init(struct mem_world *m, uint64_t seed)
{
    mem_world_init_profile(m, seed, &profile_reference);
}

void mem_world_init_profile(struct mem_world *m, uint64_t seed, const struct profile *profile)
{
    struct world_config cfg = {
        .simulated_time = true, .seed = seed, .profile = profile, .io = IO_SYNC, .io_set = true};
    *m = (struct mem_world){.p = process_new()};
    if (seed) {
        sched_seeded_init(&m->seeded, seed, 300);
        cfg.policy = &m->seeded.base;
    }
    m->w = world_new(m->p, &cfg);
}

void mem_world_exec(struct mem_world *m, void (*fn)(void *), void *arg)
{
    int ret = world_exec(m->w, fn, arg);
    assert(ret == 0);
}

void mem_world_destroy(struct mem_world *m)
{
    if (co_self(m->w)) {
        return; /* a failed assertion jumped out of the coroutine: let the failure be printed */
    }
    world_settle(m->w);
    world_free(m->w);
    process_free(m->p);
}
