/*
 * Backends: the root edges that devices, tools and exports hold on to.
 *
 * Leaves out: requests in flight across a drain of all (drain.c), throttling.
 */
#include "ref/block/backend.h"

#include <assert.h>
#include <errno.h>
#include "ref/block/block_state.h"
#include "ref/block/graph.h"

struct blk {
    struct world *w;
    int refcnt;
    struct list all_link;
    char *name;         /* NULL: not the monitor's */
    struct child *root; /* NULL: no medium */
    unsigned perm, shared;
    bool write_cache, beyond_eof, no_queuing;
    unsigned in_flight, quiesce;
    struct waitq resumed, idle;
    struct co_mutex resizing; /* one change of length at a time */
};

/* ---- the edge ---- */

static char *blk_describe(const struct child *c)
{
    const struct blk *b = c->parent;
    return b->name ? str_fmt("block device '%s'", b->name) : str_dup("an unnamed block device");
}

static void blk_drained_begin(struct child *c)
{
    struct blk *b = c->parent;
    b->quiesce++;
}

static bool blk_drained_poll(struct child *c)
{
    const struct blk *b = c->parent;
    return b->in_flight > 0;
}

static void blk_drained_end(struct child *c)
{
    struct blk *b = c->parent;
    assert(b->quiesce > 0);
    if (--b->quiesce == 0) {
        waitq_wake_all(b->w, &b->resumed);
    }
}

static const struct child_class blk_class = {
    .name = "backend",
    .describe = blk_describe,
    .drained_begin = blk_drained_begin,
    .drained_poll = blk_drained_poll,
    .drained_end = blk_drained_end,
};

const char *node_device_name(const struct node *n)
{
    const struct child *c;
    LIST_FOREACH (c, &n->parents, parents_link) {
        if (c->class == &blk_class) {
            const struct blk *b = c->parent;
            if (b->name) {
                return b->name;
            }
        }
    }
    return "";
}

/* ---- lifetime ---- */

struct blk *blk_new(struct world *w, unsigned perm, unsigned shared)
{
    struct blk *b = mem_zalloc(sizeof(*b));
    b->w = w;
    b->refcnt = 1;
    b->perm = perm;
    b->shared = shared;
    b->write_cache = true;
    list_push(&block_state(w)->backends, &b->all_link);
    return b;
}

void blk_ref(struct blk *b)
{
    assert(b->refcnt > 0);
    b->refcnt++;
}

void blk_unref(struct blk *b)
{
    if (!b || --b->refcnt > 0) {
        return;
    }
    assert(b->refcnt == 0);
    if (b->root) {
        b->refcnt = 1; /* closing may suspend */
        blk_remove(b);
        b->refcnt = 0;
    }
    assert(b->in_flight == 0);
    list_remove(&b->all_link);
    mem_free(b->name);
    mem_free(b);
}

struct blk *blk_open(struct world *w, const char *filename, const char *reference,
                     struct value *options, unsigned flags, struct error **err)
{
    unsigned perm = PERM_CONSISTENT_READ;
    unsigned shared = flags & OPEN_NO_SHARE ? PERM_ALL & ~(PERM_WRITE | PERM_RESIZE) : PERM_ALL;
    if (flags & OPEN_RDWR) {
        perm |= PERM_WRITE;
    }
    if (flags & OPEN_RESIZE) {
        perm |= PERM_RESIZE;
    }
    struct node *n = node_open(w, filename, reference, options, flags, err);
    if (!n) {
        return NULL;
    }
    struct blk *b = blk_new(w, perm, shared);
    b->root = graph_attach_root(n, "root", &blk_class, ROLE_FILTERED | ROLE_PRIMARY, perm, shared,
                                b, err);
    if (!b->root) {
        blk_unref(b);
        return NULL;
    }
    return b;
}

int blk_insert(struct blk *b, struct node *n, struct error **err)
{
    assert(!b->root);
    node_ref(n);
    b->root = graph_attach_root(n, "root", &blk_class, ROLE_FILTERED | ROLE_PRIMARY, b->perm,
                                b->shared, b, err);
    return b->root ? 0 : -EPERM;
}

void blk_remove(struct blk *b)
{
    if (!b->root) {
        return;
    }
    if (b->in_flight > 0) {
        blk_drain(b);
    }
    struct child *c = b->root;
    b->root = NULL;
    graph_detach_root(c);
}

int blk_replace(struct blk *b, struct node *n, struct error **err)
{
    assert(b->root);
    struct node *old = b->root->node;
    return old == n ? 0 : graph_replace_root(b->root, n, err);
}

/* ---- attributes ---- */

struct node *blk_node(const struct blk *b)
{
    return b->root ? b->root->node : NULL;
}

struct child *blk_root(const struct blk *b)
{
    return b->root;
}

struct world *blk_world(const struct blk *b)
{
    return b->w;
}

struct blk *blk_find(struct world *w, const char *name)
{
    struct blk *b;
    LIST_FOREACH (b, &block_state(w)->backends, all_link) {
        if (b->name && strcmp(b->name, name) == 0) {
            return b;
        }
    }
    return NULL;
}

struct blk *blk_next(struct world *w, struct blk *b)
{
    struct list *head = &block_state(w)->backends;
    struct list *next = b ? b->all_link.next : head->next;
    return next == head ? NULL : LIST_ENTRY(next, struct blk, all_link);
}

int blk_set_name(struct blk *b, const char *name, struct error **err)
{
    if (blk_find(b->w, name)) {
        return error_set(err, EEXIST, "Device with id '%s' already exists", name);
    }
    if (node_find(b->w, name)) {
        return error_set(err, EEXIST, "Device name '%s' conflicts with an existing node name",
                         name);
    }
    mem_free(b->name);
    b->name = str_dup(name);
    return 0;
}

const char *blk_name(const struct blk *b)
{
    return b->name ? b->name : "";
}

int blk_set_perm(struct blk *b, unsigned perm, unsigned shared, struct error **err)
{
    if (b->root) {
        int r = child_set_perm(b->root, perm, shared, err);
        if (r < 0) {
            return r;
        }
    }
    b->perm = perm;
    b->shared = shared;
    return 0;
}

void blk_set_write_cache(struct blk *b, bool writeback)
{
    b->write_cache = writeback;
}

bool blk_write_cache(const struct blk *b)
{
    return b->write_cache;
}

void blk_set_allow_write_beyond_eof(struct blk *b, bool allow)
{
    b->beyond_eof = allow;
}

void blk_set_disable_request_queuing(struct blk *b, bool disable)
{
    b->no_queuing = disable;
}

unsigned blk_in_flight(const struct blk *b)
{
    return b->in_flight;
}

struct node *node_lookup(struct world *w, const char *device, const char *node_name,
                         struct error **err)
{
    struct blk *b = device ? blk_find(w, device) : NULL;
    if (b) {
        if (!b->root) {
            error_set(err, ENOMEDIUM, "Device '%s' has no medium", device);
        }
        return blk_node(b);
    }
    struct node *n = node_name ? node_find(w, node_name) : NULL;
    if (!n) {
        error_set(err, ENOENT, "Cannot find device='%s' nor node-name='%s'", device ? device : "",
                  node_name ? node_name : "");
    }
    return n;
}

/* ---- I/O ---- */

/* Waits while the graph below is drained, then counts the request. */
static int begin(struct blk *b, int64_t offset, int64_t bytes, bool check_end)
{
    if (!b->root || !b->root->node->drv) {
        return -ENOMEDIUM;
    }
    while (b->quiesce > 0 && !b->no_queuing) {
        waitq_wait(b->w, &b->resumed);
    }
    if (!b->root) {
        return -ENOMEDIUM;
    }
    if (offset < 0 || bytes < 0 || offset > INT64_MAX - bytes) {
        return -EIO;
    }
    if (check_end && !b->beyond_eof) {
        int64_t len = node_length(b->root->node);
        if (len < 0) {
            return (int)len;
        }
        if (offset > len || len - offset < bytes) {
            return -EIO;
        }
    }
    b->in_flight++;
    return 0;
}

static int end(struct blk *b, int r)
{
    assert(b->in_flight > 0);
    if (--b->in_flight == 0) {
        waitq_wake_all(b->w, &b->idle);
        if (b->root && b->quiesce > 0) {
            node_drain_kick(b->root->node);
        }
    }
    return r;
}

static struct request guest_request(enum req_op op, const char *tag)
{
    return (struct request){.op = op, .label = LABEL_NONE, .tag = tag, .origin = ORIGIN_GUEST};
}

int blk_preadv(struct blk *b, int64_t offset, int64_t bytes, const struct iov *q, unsigned flags,
               const char *tag)
{
    struct request g = guest_request(REQ_READ, tag);
    int r = begin(b, offset, bytes, true);
    return r < 0 ? r
                 : end(b, child_preadv(b->root, offset, bytes, q, 0, flags, LABEL_NONE,
                                       tag ? &g : NULL));
}

int blk_pwritev(struct blk *b, int64_t offset, int64_t bytes, const struct iov *q, unsigned flags,
                const char *tag)
{
    struct request g = guest_request(REQ_WRITE, tag);
    int r = begin(b, offset, bytes, true);
    if (r < 0) {
        return r;
    }
    if (!b->write_cache) {
        flags |= REQ_FUA;
    }
    return end(b, child_pwritev(b->root, offset, bytes, q, 0, flags, LABEL_NONE, tag ? &g : NULL));
}

int blk_pread(struct blk *b, int64_t offset, void *buf, int64_t bytes)
{
    struct iov q;
    if (bytes < 0) {
        return -EIO;
    }
    iov_single(&q, buf, (size_t)bytes);
    return blk_preadv(b, offset, bytes, &q, 0, NULL);
}

int blk_pwrite(struct blk *b, int64_t offset, const void *buf, int64_t bytes, unsigned flags)
{
    struct iov q;
    if (bytes < 0) {
        return -EIO;
    }
    iov_single(&q, (void *)(uintptr_t)buf, (size_t)bytes);
    return blk_pwritev(b, offset, bytes, &q, flags, NULL);
}

int blk_pwrite_zeroes(struct blk *b, int64_t offset, int64_t bytes, unsigned flags, const char *tag)
{
    struct request g = guest_request(REQ_WRITE_ZEROES, tag);
    int r = begin(b, offset, bytes, true);
    if (r < 0) {
        return r;
    }
    if (!b->write_cache) {
        flags |= REQ_FUA;
    }
    return end(b, child_pwrite_zeroes(b->root, offset, bytes, flags, LABEL_NONE, tag ? &g : NULL));
}

int blk_discard(struct blk *b, int64_t offset, int64_t bytes, const char *tag)
{
    struct request g = guest_request(REQ_DISCARD, tag);
    int r = begin(b, offset, bytes, true);
    return r < 0 ? r : end(b, child_discard(b->root, offset, bytes, LABEL_NONE, tag ? &g : NULL));
}

int blk_flush(struct blk *b, const char *tag)
{
    struct request g = guest_request(REQ_FLUSH, tag);
    int r = begin(b, 0, 0, false);
    return r < 0 ? r : end(b, child_flush(b->root, tag ? &g : NULL));
}

int blk_truncate(struct blk *b, int64_t size, bool exact, enum prealloc prealloc, unsigned flags,
                 struct error **err)
{
    int r = begin(b, 0, 0, false);
    if (r < 0) {
        return error_set(err, -r, "No medium inserted");
    }
    return end(b, child_truncate(b->root, size, exact, prealloc, flags, err));
}

int blk_resize(struct blk *b, int64_t size, bool exact, enum prealloc prealloc, struct error **err)
{
    int ret = begin(b, 0, 0, false);
    if (ret < 0) {
        return error_set(err, -ret, "No medium inserted");
    }
    end(b, 0); /* a drain waits for all that is counted */
    struct node *n = b->root->node;
    node_ref(n);
    co_lock(b->w, &b->resizing);
    node_drain_begin(n);
    ret = b->root ? child_truncate(b->root, size, exact, prealloc, 0, err)
                  : error_set(err, ENOMEDIUM, "No medium inserted");
    node_drain_end(n);
    co_unlock(b->w, &b->resizing);
    node_unref(n);
    return ret;
}

int64_t blk_length(struct blk *b)
{
    return b->root ? node_length(b->root->node) : -ENOMEDIUM;
}

void blk_drain(struct blk *b)
{
    if (b->root) {
        struct node *n = b->root->node;
        node_ref(n);
        node_drain_begin(n);
        node_drain_end(n);
        node_unref(n);
        return;
    }
    while (b->in_flight > 0) {
        waitq_wait(b->w, &b->idle);
    }
}
