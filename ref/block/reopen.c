/*
 * Reopening: changing the options of open nodes, all or nothing.
 *
 * A queue holds the nodes that were named and the children that inherit from them, parents first.
 * Every driver prepares, edges move, permissions are refreshed as if it had happened already; then
 * all commit, children first, or all abort.  Leaves out: changing children other than "file" and
 * "backing".
 */
#include <assert.h>
#include <errno.h>
#include "ref/base/options.h"
#include "ref/block/block_state.h"
#include "ref/block/edge.h"
#include "ref/block/io.h"
#include "ref/block/open_impl.h"
#include "ref/block/perm.h"

struct item {
    struct list link;
    struct reopen r;
    struct item *parent; /* whose flags it inherits, or NULL */
    unsigned role;
    bool keep_old, prepared;
    struct value *full;           /* the node's options afterwards, without its children's */
    struct value *file, *backing; /* new children: name, or null; NULL: unchanged */
};

static struct item *find(struct list *queue, const struct node *n)
{
    struct item *i;
    LIST_FOREACH (i, queue, link) {
        if (i->r.node == n) {
            return i;
        }
    }
    return NULL;
}

/* ---- the queue ---- */

static void collect(struct list *queue, struct node *n, struct value *opts, bool keep_old,
                    struct item *parent, unsigned role);

/* One child: its part of opts goes to an item of its own when it inherits. */
static void collect_child(struct list *queue, struct item *i, struct child *c)
{
    char *prefix = str_fmt("%s.", c->name);
    struct value *ref = dict_get(i->full, c->name);
    bool named = ref && value_type(ref) == VALUE_STRING &&
                 strcmp(value_get_str(ref), c->node->node_name) == 0;
    if (named) {
        dict_del(i->full, c->name);
    }
    if (!ref && c->node->inherits_from == i->r.node) {
        collect(queue, c->node, dict_extract(i->full, prefix), i->keep_old, i, c->role);
    }
    mem_free(prefix);
}

static void collect(struct list *queue, struct node *n, struct value *opts, bool keep_old,
                    struct item *parent, unsigned role)
{
    struct item *i = find(queue, n);
    if (i) {
        /* Named as well as inherited: what was said by name wins. */
        dict_join(i->full, opts, parent == NULL);
        value_free(opts);
        return;
    }
    i = mem_zalloc(sizeof(*i));
    i->r.node = n;
    i->parent = parent;
    i->role = role;
    i->keep_old = keep_old;
    i->full = opts;
    list_push(queue, &i->link);
    struct child *c;
    LIST_FOREACH (c, &n->children, children_link) {
        collect_child(queue, i, c);
    }
}

static void item_free(struct item *i)
{
    if (i->r.node->reopening == &i->r) {
        i->r.node->reopening = NULL;
    }
    list_remove(&i->link);
    value_free(i->r.options);
    value_free(i->full);
    value_free(i->file);
    value_free(i->backing);
    node_unref(i->r.node);
    mem_free(i);
}

/* ---- comparing ---- */

static int refuse_change(const char *key, struct error **err)
{
    return error_set(err, EINVAL, "Cannot change the option '%s'", key);
}

/* ---- one node ---- */

static int check_fixed(struct item *i, struct error **err)
{
    const struct node *n = i->r.node;
    const char *driver = dict_get_str(i->full, "driver");
    const char *name = dict_get_str(i->full, "node-name");
    if (driver && strcmp(driver, n->drv->name) != 0) {
        return refuse_change("driver", err);
    }
    if (name && strcmp(name, n->node_name) != 0) {
        return refuse_change("node-name", err);
    }
    return 0;
}

static unsigned base_flags(const struct item *i)
{
    const struct node *n = i->r.node;
    if (i->parent) {
        const struct node *p = i->parent->r.node;
        unsigned own = OPEN_PROTOCOL | OPEN_NO_BACKING | OPEN_CHECK | OPEN_NO_IO | OPEN_INACTIVE |
                       OPEN_FORCE_SHARE;
        unsigned f = inherit_flags(i->parent->r.flags, i->role, p->drv->kind == DRIVER_FORMAT);
        return (f & ~own) | (n->open_flags & own);
    }
    if (i->keep_old) {
        return n->open_flags;
    }
    unsigned reset = OPEN_NO_CACHE | OPEN_NO_FLUSH | OPEN_UNMAP | OPEN_AUTO_RDONLY;
    return (n->open_flags & ~reset) | OPEN_RDWR;
}

static int apply_generic(struct item *i, struct error **err)
{
    struct node *n = i->r.node;
    struct generic g = {base_flags(i), i->keep_old ? n->detect_zeroes : DETECT_ZEROES_OFF};
    /* Cannot change: stays, to be compared with what it was. */
    int r = opts_check_types(node_generic_options, i->r.options, err);
    struct value *force_share = dict_take(i->r.options, "force-share");
    r = r < 0 ? r : take_generic_options(i->r.options, &g, err);
    if (force_share) {
        dict_put(i->r.options, "force-share", force_share);
    }
    if (r < 0) {
        return r;
    }
    if ((n->open_flags & OPEN_COPY_ON_READ) && !(g.flags & OPEN_RDWR)) {
        return error_set(err, EINVAL, "Can't set node '%s' to r/o with copy-on-read enabled",
                         n->node_name);
    }
    i->r.flags = g.flags;
    i->r.detect_zeroes = g.detect_zeroes;
    return 0;
}

/* "file" and "backing" that name another node (or none) are graph changes, made later. */
static int take_new_children(struct item *i, struct error **err)
{
    struct node *n = i->r.node;
    i->backing = dict_take(i->r.options, "backing");
    dict_del(i->full, "backing");
    if (n->file) {
        i->file = dict_take(i->r.options, "file");
        dict_del(i->full, "file");
    }
    if (i->file && value_type(i->file) == VALUE_NULL) {
        return error_set(err, EINVAL, "Invalid parameter type for 'file', expected: BlockdevRef");
    }
    return 0;
}

static int check_leftovers(struct item *i, struct error **err)
{
    struct node *n = i->r.node;
    struct dict_iter it;
    DICT_FOREACH (it, i->r.options) {
        const struct value *old = n->options ? dict_get(n->options, it.key) : NULL;
        if (!old || !value_equal(it.value, old)) {
            return refuse_change(it.key, err);
        }
    }
    if (i->keep_old || !n->options) {
        return 0;
    }
    DICT_FOREACH (it, n->options) {
        const struct opt_desc *d =
            n->drv->open_options ? opts_find(n->drv->open_options, it.key) : NULL;
        if (d && !d->runtime && !dict_has(i->full, it.key)) {
            return error_set(err, EINVAL, "Option '%s' cannot be reset to its default value",
                             it.key);
        }
    }
    return 0;
}

static bool backing_is_missing(const struct item *i)
{
    const struct node *n = i->r.node;
    return !i->keep_old && n->drv && n->drv->supports_backing && n->backing_file &&
           *n->backing_file;
}

static int prepare(struct item *i, struct error **err)
{
    struct node *n = i->r.node;
    struct error *local = NULL;
    if (!n->drv) {
        return error_set(err, ENOMEDIUM, "Node '%s' is ejected", n->node_name);
    }
    int r = check_fixed(i, err);
    if (r < 0) {
        return r;
    }
    if (i->keep_old && n->options) {
        struct value *old = value_clone(n->options);
        if (n->drv->join_options) {
            n->drv->join_options(i->full, old);
        }
        dict_join(i->full, old, false);
        value_free(old);
    }
    i->r.options = value_clone(i->full);
    r = apply_generic(i, err);
    r = r < 0 ? r : take_new_children(i, err);
    if (r < 0) {
        return r;
    }
    if (i->r.backing_missing) {
        return error_set(err, EINVAL, "backing is missing for '%s'", n->node_name);
    }
    n->reopening = &i->r;
    if (!n->read_only) {
        r = node_flush_closing(n);
        if (r < 0) {
            return error_set_errno(err, -r, "Error flushing drive");
        }
    }
    if (!n->drv->reopen_prepare) {
        return error_set(err, ENOTSUP,
                         "Block format '%s' used by node '%s' does not support reopening files",
                         n->drv->name, n->node_name);
    }
    r = n->drv->reopen_prepare(&i->r, &local);
    if (r < 0) {
        if (!local) {
            error_set(&local, -r, "failed while preparing to reopen image '%s'", n->filename);
        }
        error_propagate(err, local);
        return r;
    }
    i->prepared = true;
    return check_leftovers(i, err);
}

/* ---- edges ---- */

static int move_edge(struct graph_tx *tx, struct item *i, bool backing, struct value *to,
                     struct error **err)
{
    struct node *n = i->r.node, *target = NULL;
    if (!to) {
        return 0;
    }
    if (value_type(to) == VALUE_STRING) {
        target = node_lookup(i->r.node->w, NULL, value_get_str(to), err);
        if (!target) {
            return -ENOENT;
        }
    }
    if (target && backing && graph_check_backing(n, target, err) < 0) {
        return -EINVAL;
    }
    return edge_set(tx, i->r.node, backing, target, err);
}

/* Moves edges and refreshes permissions of everything in the queue. */
static int change_graph(struct graph_tx *tx, struct list *queue, struct error **err)
{
    struct item *i;
    size_t n = 0, count = 0;
    int r = 0;
    LIST_FOREACH (i, queue, link) {
        count++;
    }
    struct node **nodes = mem_array(3 * count, sizeof(*nodes));
    LIST_FOREACH (i, queue, link) {
        struct node *node = i->r.node;
        nodes[n++] = node;
        if (i->file && node->file) {
            nodes[n++] = node->file->node;
        }
        if (i->backing && node->backing) {
            nodes[n++] = node->backing->node;
        }
        r = r < 0 ? r : move_edge(tx, i, true, i->backing, err);
        r = r < 0 ? r : move_edge(tx, i, false, i->file, err);
    }
    if (r == 0) {
        r = perm_refresh(tx, nodes, n, err);
    }
    mem_free(nodes);
    return r;
}

/* ---- the end ---- */

static void commit(struct item *i)
{
    struct node *n = i->r.node;
    if (n->drv->reopen_commit) {
        n->drv->reopen_commit(&i->r);
    }
    n->open_flags = i->r.flags;
    n->read_only = !(i->r.flags & OPEN_RDWR);
    n->detect_zeroes = i->r.detect_zeroes;
    value_free(n->options);
    n->options = i->full;
    i->full = NULL;
    if (!dict_has(n->options, "driver")) {
        dict_put_str(n->options, "driver", n->drv->name);
    }
    if (i->backing && n->backing == NULL) {
        n->open_flags |= OPEN_NO_BACKING;
    } else if (n->backing) {
        n->open_flags &= ~(unsigned)OPEN_NO_BACKING;
    }
    n->reopening = NULL;
    node_refresh_limits(n, NULL);
}

/* Children were queued behind their parents and are ready before them. */
static void commit_all(struct list *queue, struct graph_tx *tx)
{
    struct item *i;
    for (struct list *l = queue->prev; l != queue; l = l->prev) {
        commit(LIST_ENTRY(l, struct item, link));
    }
    graph_tx_commit(tx);
    LIST_FOREACH (i, queue, link) {
        struct node *n = i->r.node;
        if (n->drv->reopen_commit_post) {
            n->drv->reopen_commit_post(&i->r);
        }
        node_refresh_length(n);
    }
}

static void abort_all(struct list *queue, struct graph_tx *tx)
{
    graph_tx_abort(tx);
    for (struct list *l = queue->prev; l != queue; l = l->prev) {
        struct item *i = LIST_ENTRY(l, struct item, link);
        if (i->prepared && i->r.node->drv->reopen_abort) {
            i->r.node->drv->reopen_abort(&i->r);
        }
        i->r.node->reopening = NULL;
    }
}

static int run(struct world *w, struct list *queue, struct error **err)
{
    struct graph_tx *tx = graph_tx_new(w);
    struct item *i;
    int r = 0;
    LIST_FOREACH (i, queue, link) {
        r = prepare(i, err);
        if (r < 0) {
            break;
        }
    }
    if (r == 0) {
        r = change_graph(tx, queue, err);
    }
    if (r < 0) {
        abort_all(queue, tx);
    } else {
        commit_all(queue, tx);
    }
    return r;
}

int nodes_reopen(struct world *w, struct node **nodes, struct value **options, size_t n,
                 bool keep_old, struct error **err)
{
    struct list queue;
    struct item *i, *next;
    list_init(&queue);
    for (size_t k = 0; k < n; k++) {
        node_ref(nodes[k]);
        node_drain_begin(nodes[k]);
        struct value *o = options[k] ? options[k] : value_dict();
        dict_flatten(o);
        bool says_backing = has_child_options(o, "backing");
        collect(&queue, nodes[k], o, keep_old, NULL, 0);
        i = find(&queue, nodes[k]);
        i->r.backing_missing = !says_backing && backing_is_missing(i);
    }
    LIST_FOREACH (i, &queue, link) {
        node_ref(i->r.node);
    }
    int r = run(w, &queue, err);
    LIST_FOREACH_SAFE (i, next, &queue, link) {
        item_free(i);
    }
    for (size_t k = n; k-- > 0;) {
        node_drain_end(nodes[k]);
        node_unref(nodes[k]);
    }
    return r;
}

int node_reopen(struct node *n, struct value *options, bool keep_old, struct error **err)
{
    return nodes_reopen(n->w, &n, &options, 1, keep_old, err);
}

int node_set_read_only(struct node *n, bool read_only, struct error **err)
{
    struct value *o = value_dict();
    dict_put_bool(o, "read-only", read_only);
    return node_reopen(n, o, true, err);
}
