/*
 * Edges: attach, detach, replace, as steps that can be taken back.
 *
 * Every public function is one change list: move edges, refresh permissions, then commit or abort.
 * Leaves out: permissions (perm.c), walks along backing chains (chain.c), opening (open.c).
 */
#include "ref/block/graph.h"

#include <assert.h>
#include <errno.h>
#include "ref/block/block_state.h"
#include "ref/block/edge.h"
#include "ref/block/io.h"
#include "ref/block/open.h"
#include "ref/block/perm.h"

/* ---- the upper end that is a node ---- */

static char *node_describe(const struct child *c)
{
    const struct node *n = c->parent;
    return str_fmt("node '%s'", n->node_name);
}

static void node_drained_begin(struct child *c)
{
    node_quiesce(c->parent);
}

static bool node_drained_poll(struct child *c)
{
    return node_busy(c->parent);
}

static void node_drained_end(struct child *c)
{
    node_unquiesce(c->parent);
}

const struct child_class child_of_node = {
    .name = "node",
    .parent_is_node = true,
    .describe = node_describe,
    .drained_begin = node_drained_begin,
    .drained_poll = node_drained_poll,
    .drained_end = node_drained_end,
};

/* ---- drain's view ---- */

void child_quiesce_parent(struct child *c)
{
    if (!c->parent_quiesced) {
        c->parent_quiesced = true;
        if (c->class->drained_begin) {
            c->class->drained_begin(c);
        }
    }
}

void child_unquiesce_parent(struct child *c)
{
    if (c->parent_quiesced) {
        c->parent_quiesced = false;
        if (c->class->drained_end) {
            c->class->drained_end(c);
        }
    }
}

/* ---- raw edge moves ---- */

/* Points c at n (or nothing), without permissions; references are the caller's business. */
static void edge_point(struct child *c, struct node *n)
{
    if (c->node) {
        list_remove(&c->parents_link);
        c->node->perm_dirty = true;
    }
    c->node = n;
    if (n) {
        list_push(&n->parents, &c->parents_link);
        n->perm_dirty = true;
    }
    if (n && n->quiesce > 0) {
        child_quiesce_parent(c);
    } else {
        child_unquiesce_parent(c);
    }
}

/* The shortcuts n->file and n->backing follow the children list. */
static void set_shortcuts(struct node *n)
{
    struct child *c;
    n->file = n->backing = NULL;
    LIST_FOREACH (c, &n->children, children_link) {
        bool backing = c->role & ROLE_COW ||
                       ((c->role & ROLE_FILTERED) && n->drv && n->drv->filter_of_backing);
        if (backing) {
            n->backing = n->backing ? n->backing : c;
        } else if (c->role & (ROLE_PRIMARY | ROLE_FILTERED)) {
            if (!n->file || (c->role & ROLE_PRIMARY)) {
                n->file = c;
            }
        }
    }
}

static struct child *edge_new(const struct child_class *cls, void *parent, const char *name,
                              unsigned role)
{
    struct child *c = mem_zalloc(sizeof(*c));
    c->class = cls;
    c->parent = parent;
    c->name = str_dup(name);
    c->role = role;
    c->shared = PERM_ALL;
    list_init(&c->parents_link);
    list_init(&c->children_link);
    return c;
}

static void edge_free(struct child *c)
{
    assert(!c->node);
    mem_free(c->name);
    mem_free(c);
}

static void children_add(struct child *c)
{
    struct node *parent = child_parent_node(c);
    if (parent) {
        list_push_front(&parent->children, &c->children_link);
        set_shortcuts(parent);
        parent->perm_dirty = true;
    }
}

static void children_remove(struct child *c)
{
    struct node *parent = child_parent_node(c);
    if (parent) {
        list_remove(&c->children_link);
        set_shortcuts(parent);
        parent->perm_dirty = true;
    }
}

/* ---- steps ---- */

/* References are dropped in clean: the permission steps of the same list still look at the nodes.
 */
struct edge_move {
    struct child *c;
    struct node *old, *new; /* before and after */
    struct node *drop;      /* reference to drop in the end */
    bool dead;              /* the edge is gone in the end */
};

static void move_step(struct graph_tx *tx, const struct graph_action *a, struct child *c,
                      struct node *old, struct node *new)
{
    struct edge_move m = {.c = c, .old = old, .new = new};
    graph_tx_add(tx, a, &m, sizeof(m));
}

static void move_clean(void *arg)
{
    struct edge_move *m = arg;
    if (m->dead) {
        edge_free(m->c);
    }
    node_unref(m->drop);
}

static void attach_abort(void *arg)
{
    struct edge_move *m = arg;
    children_remove(m->c);
    edge_point(m->c, NULL);
    m->dead = true;
    m->drop = m->new;
}

static const struct graph_action attach_action = {.abort = attach_abort, .clean = move_clean};

struct child *edge_attach(struct graph_tx *tx, struct node *n, const char *name,
                          const struct child_class *cls, unsigned role, unsigned perm,
                          unsigned shared, void *parent)
{
    struct child *c = edge_new(cls, parent, name, role);
    c->perm = perm;
    c->shared = shared;
    node_ref(n);
    edge_point(c, n);
    children_add(c);
    move_step(tx, &attach_action, c, NULL, n);
    return c;
}

static void detach_commit(void *arg)
{
    struct edge_move *m = arg;
    m->dead = true;
    m->drop = m->old;
}

static void detach_abort(void *arg)
{
    struct edge_move *m = arg;
    edge_point(m->c, m->old);
    children_add(m->c);
}

static const struct graph_action detach_action = {detach_commit, detach_abort, move_clean};

void edge_detach(struct graph_tx *tx, struct child *c)
{
    struct node *old = c->node;
    children_remove(c);
    edge_point(c, NULL);
    move_step(tx, &detach_action, c, old, NULL);
}

static void replace_commit(void *arg)
{
    struct edge_move *m = arg;
    m->drop = m->old;
}

static void replace_abort(void *arg)
{
    struct edge_move *m = arg;
    edge_point(m->c, m->old);
    m->drop = m->new;
}

static const struct graph_action replace_action = {replace_commit, replace_abort, move_clean};

void edge_replace(struct graph_tx *tx, struct child *c, struct node *n)
{
    struct node *parent = child_parent_node(c), *old = c->node;
    node_ref(n);
    edge_point(c, n);
    if (parent) {
        parent->perm_dirty = true;
    }
    move_step(tx, &replace_action, c, old, n);
}

int graph_tx_finish(struct graph_tx *tx, int r)
{
    if (r < 0) {
        graph_tx_abort(tx);
    } else {
        graph_tx_commit(tx);
    }
    return r;
}

int edge_check_frozen(const struct child *c, struct error **err)
{
    if (!c || !c->frozen) {
        return 0;
    }
    const struct node *parent = child_parent_node(c);
    return error_set(err, EPERM, "Cannot change frozen '%s' link from '%s' to '%s'", c->name,
                     parent ? parent->node_name : "", c->node->node_name);
}

/* True when `target` is in the graph below n, or n itself. */
static bool reaches(struct node *n, const struct node *target, unsigned mark)
{
    if (n == target) {
        return true;
    }
    if (n->perm_mark == mark) {
        return false;
    }
    n->perm_mark = mark;
    struct child *c;
    LIST_FOREACH (c, &n->children, children_link) {
        if (reaches(c->node, target, mark)) {
            return true;
        }
    }
    return false;
}

int edge_check_cycle(const struct node *parent, struct node *child, const char *name,
                     struct error **err)
{
    if (list_empty(&parent->parents) && parent != child) {
        return 0; /* nothing can lead up to it */
    }
    if (reaches(child, parent, ++block_state(child->w)->perm_walks)) {
        return error_set(err, EINVAL, "Making '%s' a %s child of '%s' would create a cycle",
                         child->node_name, name, parent->node_name);
    }
    return 0;
}

/* ---- attach and detach ---- */

struct child *graph_attach_root(struct node *n, const char *name, const struct child_class *cls,
                                unsigned role, unsigned perm, unsigned shared, void *parent,
                                struct error **err)
{
    struct graph_tx *tx = graph_tx_new(n->w);
    struct child *c = edge_attach(tx, n, name, cls, role, perm, shared, parent);
    int r = graph_tx_finish(tx, perm_refresh(tx, &n, 1, err));
    node_unref(n);
    return r < 0 ? NULL : c;
}

int graph_replace_root(struct child *c, struct node *n, struct error **err)
{
    struct graph_tx *tx = graph_tx_new(n->w);
    struct node *both[2] = {n, c->node};
    node_ref(c->node);
    edge_replace(tx, c, n);
    int r = graph_tx_finish(tx, perm_refresh(tx, both, 2, err));
    node_unref(both[1]);
    return r;
}

/* Drops an edge whose permissions nobody needs any more. */
static void drop_edge(struct child *c)
{
    struct node *n = c->node;
    children_remove(c);
    edge_point(c, NULL);
    edge_free(c);
    if (n->refcnt > 1) {
        perm_refresh_now(n, NULL); /* loosens; cannot matter when it fails */
    }
    node_unref(n);
}

void graph_detach_root(struct child *c)
{
    assert(!c->class->parent_is_node);
    drop_edge(c);
}

struct child *graph_attach(struct node *n, struct node *child, const char *name, unsigned role,
                           struct error **err)
{
    struct child *c = NULL;
    int r = edge_check_cycle(n, child, name, err);
    if (r == 0) {
        struct graph_tx *tx = graph_tx_new(n->w);
        c = edge_attach(tx, child, name, &child_of_node, role, 0, PERM_ALL, n);
        r = graph_tx_finish(tx, perm_refresh(tx, &n, 1, err));
    }
    node_unref(child);
    return r < 0 ? NULL : c;
}

void graph_detach(struct node *n, struct child *c)
{
    assert(c->parent == n && c->class->parent_is_node);
    if (c->node->inherits_from == n) {
        c->node->inherits_from = NULL;
    }
    drop_edge(c);
}

/* ---- changing what an edge leads to ---- */

int edge_set(struct graph_tx *tx, struct node *n, bool backing, struct node *to, struct error **err)
{
    struct child *c = backing ? n->backing : n->file;
    const char *name = backing ? "backing" : "file";
    if ((c ? c->node : NULL) == to) {
        return 0;
    }
    int r = edge_check_frozen(c, err);
    if (r == 0 && to) {
        r = edge_check_cycle(n, to, c ? c->name : name, err);
    }
    if (r < 0) {
        return r;
    }
    if (c && to) {
        edge_replace(tx, c, to);
    } else if (c) {
        edge_detach(tx, c);
    } else {
        unsigned role = node_is_filter(n) ? ROLE_FILTERED | ROLE_PRIMARY
                        : backing         ? ROLE_COW
                                          : ROLE_IMAGE | ROLE_PRIMARY;
        edge_attach(tx, to, name, &child_of_node, role, 0, PERM_ALL, n);
    }
    return 0;
}

static void copy_backing_names(struct node *n)
{
    struct node *b = n->backing ? n->backing->node : NULL;
    if (b && !node_is_filter(n)) {
        node_refresh_filename(b);
        mem_free(n->backing_format);
        n->backing_format = str_dup(node_format_name(b));
        mem_free(n->auto_backing_file);
        n->auto_backing_file = str_dup(b->filename);
        mem_free(n->backing_file);
        n->backing_file = str_dup(b->filename);
    }
}

int graph_check_backing(struct node *n, struct node *to, struct error **err)
{
    if (n->drv && !n->drv->supports_backing && !n->drv->filter_of_backing) {
        return error_set(err, EINVAL, "Driver '%s' of node '%s' does not support backing files",
                         n->drv->name, n->node_name);
    }
    return n->drv && n->drv->check_backing ? n->drv->check_backing(n, to, err) : 0;
}

static int set_child(struct node *n, bool backing, struct node *to, struct error **err)
{
    struct node *old =
        backing ? (n->backing ? n->backing->node : NULL) : (n->file ? n->file->node : NULL);
    if (backing && to && graph_check_backing(n, to, err) < 0) {
        return -EINVAL;
    }
    struct graph_tx *tx = graph_tx_new(n->w);
    struct node *both[2] = {n, old};
    int r = edge_set(tx, n, backing, to, err);
    if (r == 0) {
        r = perm_refresh(tx, both, old ? 2 : 1, err);
    }
    return graph_tx_finish(tx, r);
}

int graph_set_backing(struct node *n, struct node *backing, struct error **err)
{
    int r = set_child(n, true, backing, err);
    if (r == 0) {
        copy_backing_names(n);
        node_refresh_limits(n, NULL);
    }
    return r;
}

int graph_set_file(struct node *n, struct node *file, struct error **err)
{
    int r = set_child(n, false, file, err);
    if (r == 0) {
        node_refresh_limits(n, NULL);
    }
    return r;
}

/* Edges that keep pointing at `from`: its child below `to` would make a cycle. */
static bool should_follow(struct child *c, struct node *to)
{
    struct node *parent = child_parent_node(c);
    return !parent || !reaches(to, parent, ++block_state(to->w)->perm_walks);
}

static int move_parents(struct graph_tx *tx, struct node *from, struct node *to, bool auto_skip,
                        struct error **err)
{
    struct child *c, *next;
    LIST_FOREACH_SAFE (c, next, &from->parents, parents_link) {
        if (!should_follow(c, to)) {
            if (auto_skip) {
                continue;
            }
            return error_set(err, EINVAL, "Should not change '%s' link to '%s'", c->name,
                             from->node_name);
        }
        int r = edge_check_frozen(c, err);
        if (r < 0) {
            return r;
        }
        edge_replace(tx, c, to);
    }
    return 0;
}

int graph_replace_node(struct node *from, struct node *to, struct error **err)
{
    struct graph_tx *tx = graph_tx_new(from->w);
    struct node *both[2] = {to, from};
    node_ref(from);
    int r = move_parents(tx, from, to, true, err);
    if (r == 0) {
        r = perm_refresh(tx, both, 2, err);
    }
    r = graph_tx_finish(tx, r);
    node_unref(from);
    return r;
}

int graph_append(struct node *top, struct node *n, struct error **err)
{
    bool backing = !node_is_filter(top) || top->drv->filter_of_backing;
    struct graph_tx *tx = graph_tx_new(n->w);
    struct node *both[2] = {top, n};
    assert(backing ? !top->backing : !top->file);
    int r = edge_set(tx, top, backing, n, err);
    if (r == 0) {
        r = move_parents(tx, n, top, true, err);
    }
    if (r == 0) {
        r = perm_refresh(tx, both, 2, err);
    }
    r = graph_tx_finish(tx, r);
    if (r == 0) {
        if (backing) {
            copy_backing_names(top);
        }
        node_refresh_limits(top, NULL);
    }
    return r;
}

struct node *graph_insert(struct node *n, struct value *options, unsigned flags, struct error **err)
{
    struct node *top = node_open(n->w, NULL, NULL, options, flags, err);
    if (!top) {
        return NULL;
    }
    node_drain_begin(n);
    int r = graph_replace_node(n, top, err);
    node_drain_end(n);
    if (r < 0) {
        node_unref(top);
        return NULL;
    }
    return top;
}
