/*
 * Walks and changes along backing chains: overlays, frozen chains, dropping what lies between.
 *
 * A chain goes through filters (their filtered child) and formats (their backing file).
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include "ref/block/block_state.h"
#include "ref/block/edge.h"
#include "ref/block/io.h"
#include "ref/block/open.h"
#include "ref/block/perm.h"
#include "ref/engine/host.h"

static struct child *chain_child(const struct node *n)
{
    struct child *c = node_filtered(n);
    return c ? c : node_cow_child(n);
}

static struct node *chain_next(const struct node *n)
{
    struct child *c = chain_child(n);
    return c ? c->node : NULL;
}

bool graph_chain_contains(const struct node *top, const struct node *base)
{
    for (const struct node *n = top; n; n = chain_next(n)) {
        if (n == base) {
            return true;
        }
    }
    return false;
}

struct node *graph_find_overlay(struct node *active, struct node *n)
{
    struct node *bottom = node_skip_filters(n);
    for (struct node *a = node_skip_filters(active); a; a = node_backing_chain_next(a)) {
        if (node_backing_chain_next(a) == bottom) {
            return a;
        }
    }
    return NULL;
}

struct same_file {
    const char *a, *b;
};

/* host_call(): 1 when both names lead to one existing path. */
static int same_path(void *arg)
{
    const struct same_file *f = arg;
    char *a = realpath(f->a, NULL), *b = realpath(f->b, NULL);
    int same = a && b && strcmp(a, b) == 0;
    free(a);
    free(b);
    return same;
}

/* A plain name is relative to the directory of the overlay, as in its header; never to the working
 * directory. */
static bool names_backing(struct node *cur, struct node *below, const char *name)
{
    bool overridden = node_backing_overridden(cur);
    bool own = !overridden || strncmp(name, "json:", 5) == 0;
    if (own && cur->backing_file && strcmp(name, cur->backing_file) == 0) {
        return true;
    }
    if (path_has_protocol(name)) {
        return strcmp(name, below->filename) == 0;
    }
    const struct node *named = overridden && cur->file ? cur->file->node : cur;
    char *full =
        full_backing_filename(named->exact_filename ? named->exact_filename : "", name, NULL);
    struct same_file f = {full, below->exact_filename ? below->exact_filename : below->filename};
    bool same = full && (strcmp(full, f.b) == 0 || host_call(cur->w, same_path, &f) == 1);
    mem_free(full);
    return same;
}

struct node *graph_find_backing_file(struct node *n, const char *full)
{
    struct node *cur = node_skip_filters(n), *below;
    for (; cur && (below = node_backing_chain_next(cur)) != NULL; cur = below) {
        node_refresh_filename(below);
        struct same_file f = {full, below->exact_filename ? below->exact_filename : ""};
        if (strcmp(full, below->filename) == 0 ||
            (!path_has_protocol(full) && host_call(n->w, same_path, &f) == 1)) {
            return below;
        }
    }
    return NULL;
}

struct node *graph_find_backing_image(struct node *n, const char *name)
{
    struct node *cur = node_skip_filters(n), *below;
    for (; cur && (below = node_backing_chain_next(cur)) != NULL; cur = below) {
        node_refresh_filename(cur);
        node_refresh_filename(below);
        if (names_backing(cur, below, name)) {
            return below;
        }
    }
    return NULL;
}

int graph_freeze_chain(struct node *top, struct node *base, struct error **err)
{
    struct node *n;
    for (n = top; n && n != base; n = chain_next(n)) {
        struct child *c = chain_child(n);
        int r = edge_check_frozen(c, err);
        if (r < 0) {
            return r;
        }
        if (c && c->node->never_freeze) {
            return error_set(err, EPERM, "Cannot freeze '%s' link to '%s'", c->name,
                             c->node->node_name);
        }
    }
    for (n = top; n && n != base; n = chain_next(n)) {
        struct child *c = chain_child(n);
        if (c) {
            c->frozen = true;
        }
    }
    return 0;
}

void graph_unfreeze_chain(struct node *top, struct node *base)
{
    for (struct node *n = top; n && n != base; n = chain_next(n)) {
        struct child *c = chain_child(n);
        if (c) {
            assert(c->frozen);
            c->frozen = false;
        }
    }
}

/* The overlay's header names its new backing file; it is writable for as long as that takes. */
static int rename_backing(struct node *overlay, const char *name, const char *format,
                          struct error **err)
{
    bool was_read_only = overlay->read_only;
    int r = was_read_only ? node_set_read_only(overlay, false, err) : 0;
    if (r < 0) {
        return r;
    }
    r = node_change_backing_file(overlay, name, format, false);
    if (r < 0) {
        error_set_errno(err, -r, "Could not update backing file link");
    }
    if (was_read_only) {
        node_set_read_only(overlay, true, NULL);
    }
    return r;
}

/* What stood on the top of a chain, whose intermediate nodes were dropped. */
struct graph_drop {
    struct node *top, *base; /* references */
    size_t n;
    struct moved {
        struct child *edge;   /* looked for among base's, not followed: it may be gone */
        struct node *overlay; /* reference; NULL: no header names anything */
        char *name, *format;  /* of the backing file, before */
    } * moved;
};

static void remember(struct graph_drop *d, struct child *c)
{
    struct node *overlay = child_parent_node(c);
    bool named = overlay && (c->role & ROLE_COW) && !overlay->implicit;
    d->moved[d->n++] = (struct moved){.edge = c,
                                      .overlay = named ? overlay : NULL,
                                      .name = named ? str_dup(overlay->backing_file) : NULL,
                                      .format = named ? str_dup(overlay->backing_format) : NULL};
    if (named) {
        node_ref(overlay);
    }
}

static struct graph_drop *drop_new(struct node *top, struct node *base)
{
    struct graph_drop *d = mem_zalloc(sizeof(*d));
    struct child *c;
    size_t count = 0;
    d->top = top;
    d->base = base;
    node_ref(top);
    node_ref(base);
    LIST_FOREACH (c, &top->parents, parents_link) {
        count++;
    }
    d->moved = mem_array(count + 1, sizeof(*d->moved));
    LIST_FOREACH (c, &top->parents, parents_link) {
        remember(d, c);
    }
    return d;
}

void graph_drop_forget(struct graph_drop *d)
{
    for (size_t i = 0; i < d->n; i++) {
        if (d->moved[i].overlay) {
            node_unref(d->moved[i].overlay);
        }
        mem_free(d->moved[i].name);
        mem_free(d->moved[i].format);
    }
    mem_free(d->moved);
    node_unref(d->base);
    node_unref(d->top);
    mem_free(d);
}

static bool is_parent(const struct node *n, const struct child *edge)
{
    const struct child *c;
    LIST_FOREACH (c, &n->parents, parents_link) {
        if (c == edge) {
            return true;
        }
    }
    return false;
}

/* Moves the edges from one end of the chain to the other. */
static int move_edges(struct graph_tx *tx, struct graph_drop *d, struct node *from, struct node *to,
                      struct error **err)
{
    struct node *both[2] = {to, from};
    for (size_t i = 0; i < d->n; i++) {
        struct child *c = d->moved[i].edge;
        if (!is_parent(from, c)) {
            continue;
        }
        int r = edge_check_frozen(c, err);
        if (r < 0) {
            return r;
        }
        edge_replace(tx, c, to);
    }
    return perm_refresh(tx, both, 2, err);
}

static int rename_back(const struct moved *m, struct error **err)
{
    struct node *n = m->overlay;
    bool as_before =
        !n || (strcmp(n->backing_file, m->name) == 0 && strcmp(n->backing_format, m->format) == 0);
    return as_before ? 0 : rename_backing(n, m->name, m->format, err);
}

static int drop(struct graph_tx *tx, struct graph_drop *d, const char *name, struct error **err)
{
    const char *format = node_format_name(node_skip_filters(d->base));
    int r = move_edges(tx, d, d->top, d->base, err);
    size_t i = 0;
    for (; i < d->n && r == 0; i++) {
        struct node *overlay = d->moved[i].overlay;
        r = overlay ? rename_backing(overlay, name, format, err) : 0;
    }
    while (r < 0 && i-- > 0) {
        rename_back(&d->moved[i], NULL);
    }
    return r;
}

int graph_drop_intermediate(struct node *top, struct node *base, const char *backing_file_str,
                            struct graph_drop **undo, struct error **err)
{
    if (!top->drv || !base->drv) {
        return error_set(err, ENOMEDIUM, "No medium inserted");
    }
    if (top == base || !graph_chain_contains(top, base)) {
        return error_set(err, EINVAL, "Node '%s' is not a backing image of '%s'", base->node_name,
                         top->node_name);
    }
    if (!backing_file_str) {
        node_refresh_filename(base);
        backing_file_str = base->filename;
    }
    struct graph_drop *d = drop_new(top, base);
    node_drain_begin(base);
    struct graph_tx *tx = graph_tx_new(top->w);
    int r = graph_tx_finish(tx, drop(tx, d, backing_file_str, err));
    node_drain_end(base);
    if (r == 0 && undo) {
        *undo = d;
    } else {
        graph_drop_forget(d);
    }
    return r;
}

void graph_drop_undo(struct graph_drop *d)
{
    struct error *err = NULL;
    node_drain_begin(d->base);
    struct graph_tx *tx = graph_tx_new(d->top->w);
    int r = graph_tx_finish(tx, move_edges(tx, d, d->base, d->top, &err));
    if (r < 0) {
        world_warn(d->top->w, "'%s' does not stand over '%s' again: %s", d->top->node_name,
                   d->base->node_name, err->msg);
        error_clear(&err);
    }
    for (size_t i = 0; i < d->n && r == 0; i++) {
        const struct moved *m = &d->moved[i];
        if (is_parent(d->top, m->edge) && rename_back(m, &err) < 0) {
            world_warn(d->top->w, "The header of '%s' goes on naming '%s': %s",
                       m->overlay->filename, m->overlay->backing_file, err->msg);
            error_clear(&err);
        }
    }
    node_drain_end(d->base);
    graph_drop_forget(d);
}
