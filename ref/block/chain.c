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
    if (cur->backing_file && strcmp(name, cur->backing_file) == 0) {
        return true;
    }
    if (path_has_protocol(name)) {
        return strcmp(name, below->filename) == 0;
    }
    char *full = full_backing_filename(cur->exact_filename ? cur->exact_filename : "", name, NULL);
    struct same_file f = {full, below->exact_filename ? below->exact_filename : below->filename};
    bool same = full && (strcmp(full, f.b) == 0 || host_call(cur->w, same_path, &f) == 1);
    mem_free(full);
    return same;
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

/* Moves every parent of top to base; overlays among them get a new name in their headers. */
static int move_and_rename(struct graph_tx *tx, struct node *top, struct node *base,
                           const char *name, struct error **err)
{
    struct child *c, *next;
    struct node *both[2] = {base, top};
    size_t n = 0, count = 0;
    int r = 0;
    LIST_FOREACH (c, &top->parents, parents_link) {
        count++;
    }
    struct node **overlays = mem_array(count + 1, sizeof(*overlays));
    LIST_FOREACH_SAFE (c, next, &top->parents, parents_link) {
        struct node *overlay = child_parent_node(c);
        r = edge_check_frozen(c, err);
        if (r < 0) {
            break;
        }
        edge_replace(tx, c, base);
        if (overlay && (c->role & ROLE_COW) && !overlay->implicit) {
            overlays[n++] = overlay;
        }
    }
    if (r == 0) {
        r = perm_refresh(tx, both, 2, err);
    }
    for (size_t i = 0; i < n && r == 0; i++) {
        r = rename_backing(overlays[i], name, node_format_name(node_skip_filters(base)), err);
    }
    mem_free(overlays);
    return r;
}

int graph_drop_intermediate(struct node *top, struct node *base, const char *backing_file_str,
                            struct error **err)
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
    node_ref(top);
    node_ref(base);
    node_drain_begin(base);
    struct graph_tx *tx = graph_tx_new(top->w);
    int r = graph_tx_finish(tx, move_and_rename(tx, top, base, backing_file_str, err));
    node_drain_end(base);
    node_unref(base);
    node_unref(top);
    return r;
}
