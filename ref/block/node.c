/*
 * Nodes: lifetime, names, and looking around in the graph.
 *
 * A node lives as long as someone holds a reference: every edge to it does, and whoever opened it.
 * The last reference flushes, closes the driver and drops the children.  Leaves out: how edges
 * change (graph.c).
 */
#include "ref/block/node.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include "ref/block/backend.h"
#include "ref/block/block_state.h"
#include "ref/block/graph.h"
#include "ref/block/io.h"

static void block_state_free(void *p)
{
    struct block_state *s = p;
    mem_free(s);
}

struct block_state *block_state(struct world *w)
{
    struct block_state *s = world_block(w);
    if (!s) {
        s = mem_zalloc(sizeof(*s));
        s->w = w;
        list_init(&s->nodes);
        list_init(&s->backends);
        world_set_block(w, s, block_state_free);
    }
    return s;
}

/* Letter first, then letters, digits, '-', '.', '_'; at most 31 bytes are kept. */
static bool name_is_well_formed(const char *name)
{
    const char *p = name;
    if (!((*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z'))) {
        return false;
    }
    for (p++; *p; p++) {
        bool ok = (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') ||
                  (*p >= '0' && *p <= '9') || *p == '-' || *p == '.' || *p == '_';
        if (!ok) {
            return false;
        }
    }
    return true;
}

static int assign_name(struct node *n, const char *name, struct error **err)
{
    struct block_state *s = block_state(n->w);
    if (!name) {
        unsigned v = ++s->names;
        snprintf(n->node_name, sizeof(n->node_name), "#block%03u", v);
        return 0;
    }
    if (!name_is_well_formed(name)) {
        return error_set(err, EINVAL, "Invalid node-name: '%s'", name);
    }
    if (blk_find(n->w, name)) {
        return error_set(err, EINVAL, "node-name=%s is conflicting with a device id", name);
    }
    if (node_find(n->w, name)) {
        return error_set(err, EINVAL, "Duplicate nodes with node-name='%s'", name);
    }
    if (strlen(name) >= sizeof(n->node_name)) {
        return error_set(err, EINVAL, "Node name too long");
    }
    strcpy(n->node_name, name);
    return 0;
}

struct node *node_new(struct world *w, const struct block_driver *drv, const char *node_name,
                      struct error **err)
{
    struct node *n = mem_zalloc(sizeof(*n));
    n->w = w;
    n->refcnt = 1;
    n->shared_perm = PERM_ALL;
    n->perm_dirty = true;
    list_init(&n->all_link);
    list_init(&n->children);
    list_init(&n->parents);
    list_init(&n->tracked);
    list_init(&n->dirty_bitmaps);
    for (size_t i = 0; i < ARRAY_SIZE(n->blockers); i++) {
        list_init(&n->blockers[i]);
    }
    n->limits.request_alignment = 1;
    if (assign_name(n, node_name, err) < 0) {
        mem_free(n);
        return NULL;
    }
    n->drv = drv;
    list_push(&block_state(w)->nodes, &n->all_link);
    return n;
}

void node_new_state(struct node *n)
{
    assert(n->drv && !n->state);
    if (n->drv->state_size) {
        n->state = mem_zalloc(n->drv->state_size);
    }
}

static void drop_children(struct node *n)
{
    while (!list_empty(&n->children)) {
        graph_detach(n, LIST_FIRST(&n->children, struct child, children_link));
    }
    assert(!n->file && !n->backing);
}

static void free_node(struct node *n)
{
    assert(n->refcnt == 0 && list_empty(&n->parents) && list_empty(&n->tracked));
    for (size_t i = 0; i < ARRAY_SIZE(n->blockers); i++) {
        assert(list_empty(&n->blockers[i]));
    }
    if (n->pending_file) {
        node_unref(n->pending_file);
    }
    list_remove(&n->all_link);
    struct node *other;
    LIST_FOREACH (other, &block_state(n->w)->nodes, all_link) {
        if (other->inherits_from == n) {
            other->inherits_from = NULL;
        }
    }
    if (n->drv && n->drv->state_size) {
        mem_free(n->state);
    }
    mem_free(n->filename);
    mem_free(n->exact_filename);
    mem_free(n->backing_file);
    mem_free(n->auto_backing_file);
    mem_free(n->backing_format);
    value_free(n->options);
    value_free(n->full_open_options);
    mem_free(n);
}

void node_abandon(struct node *n)
{
    assert(n->refcnt == 1);
    drop_children(n);
    n->refcnt = 0;
    free_node(n);
}

void node_ref(struct node *n)
{
    assert(n->refcnt > 0);
    n->refcnt++;
}

void node_unref(struct node *n)
{
    if (!n) {
        return;
    }
    assert(n->refcnt > 0);
    if (n->refcnt > 1) {
        n->refcnt--;
        return;
    }
    /* Still referenced while it winds down, so that its own requests may hold and drop references.
     */
    bool quiesced = n->in_flight > 0;
    if (quiesced) {
        node_drain_begin(n);
    }
    if (n->drv) {
        node_flush_closing(n);
        if (n->drv->close) {
            n->drv->close(n);
        }
    }
    if (quiesced) {
        node_drain_end(n);
    }
    drop_children(n);
    assert(n->refcnt == 1);
    n->refcnt = 0;
    free_node(n);
}

struct node *node_find(struct world *w, const char *node_name)
{
    struct node *n;
    LIST_FOREACH (n, &block_state(w)->nodes, all_link) {
        if (strcmp(n->node_name, node_name) == 0) {
            return n;
        }
    }
    return NULL;
}

struct node *node_next(struct world *w, struct node *n)
{
    struct list *head = &block_state(w)->nodes;
    struct list *next = n ? n->all_link.next : head->next;
    return next == head ? NULL : LIST_ENTRY(next, struct node, all_link);
}

struct child *node_filtered(const struct node *n)
{
    struct child *c;
    LIST_FOREACH (c, &n->children, children_link) {
        if (c->role & ROLE_FILTERED) {
            return c;
        }
    }
    return NULL;
}

/* By what it does, not by its kind: blkdebug is named like a protocol and filters all the same. */
bool node_is_filter(const struct node *n)
{
    return (n->drv && n->drv->kind == DRIVER_FILTER) || node_filtered(n);
}

struct child *node_cow_child(const struct node *n)
{
    return n->backing && (n->backing->role & ROLE_COW) ? n->backing : NULL;
}

struct child *node_primary(const struct node *n)
{
    struct child *c;
    LIST_FOREACH (c, &n->children, children_link) {
        if (c->role & ROLE_PRIMARY) {
            return c;
        }
    }
    return NULL;
}

struct node *node_skip_filters(struct node *n)
{
    while (n) {
        struct child *c = node_filtered(n);
        if (!c) {
            return n;
        }
        n = c->node;
    }
    return NULL;
}

struct node *node_backing_chain_next(struct node *n)
{
    n = node_skip_filters(n);
    struct child *c = n ? node_cow_child(n) : NULL;
    return c ? node_skip_filters(c->node) : NULL;
}

struct node *node_child(const struct node *n)
{
    return n->file ? n->file->node : NULL;
}

struct node *child_parent_node(const struct child *c)
{
    return c->class->parent_is_node ? c->parent : NULL;
}

const char *node_device_or_name(const struct node *n)
{
    const char *name = node_device_name(n);
    return *name ? name : n->node_name;
}

const char *node_format_name(const struct node *n)
{
    return n->drv ? n->drv->name : "";
}
