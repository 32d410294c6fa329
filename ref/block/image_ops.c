/*
 * Whole-image operations that only ask the driver: check, empty, change of the backing name,
 * (in)activation.
 */
#include <errno.h>
#include "ref/block/block_state.h"
#include "ref/block/graph.h"
#include "ref/block/image_info.h"
#include "ref/block/io.h"
#include "ref/block/open.h"

int node_check(struct node *n, struct check_result *res, unsigned fix)
{
    *res = (struct check_result){0};
    if (!n->drv) {
        return -ENOMEDIUM;
    }
    return n->drv->check ? n->drv->check(n, res, fix) : -ENOTSUP;
}

int node_make_empty(struct node *n, struct error **err)
{
    if (!n->drv) {
        return error_set(err, ENOMEDIUM, "No medium inserted");
    }
    if (!n->drv->make_empty) {
        return error_set(err, ENOTSUP, "'%s' does not support emptying an image", n->drv->name);
    }
    int r = n->drv->make_empty(n);
    if (r < 0) {
        node_refresh_filename(n);
        return error_set_errno(err, -r, "Failed to empty %s", n->filename);
    }
    return 0;
}

static void replace(char **p, const char *s)
{
    char *copy = str_dup(s);
    mem_free(*p);
    *p = copy;
}

/* With `warn`, a backing file without its format is refused: it would have to be guessed later. */
int node_change_backing_file(struct node *n, const char *backing, const char *format, bool warn)
{
    if (!n->drv) {
        return -ENOMEDIUM;
    }
    if (!backing && format) {
        return -EINVAL;
    }
    if (warn && backing && *backing && !format) {
        return -EINVAL;
    }
    if (!n->drv->change_backing) {
        return -ENOTSUP;
    }
    int r = n->drv->change_backing(n, backing, format);
    if (r == 0) {
        replace(&n->backing_file, backing ? backing : "");
        replace(&n->backing_format, format ? format : "");
        replace(&n->auto_backing_file, n->backing_file);
    }
    return r;
}

/* Parents first, so that nobody writes to an inactive node. */
static int inactivate(struct node *n)
{
    struct child *c;
    if (!n->drv || (n->open_flags & OPEN_INACTIVE)) {
        return 0;
    }
    LIST_FOREACH (c, &n->parents, parents_link) {
        int r = c->class->inactivate ? c->class->inactivate(c) : 0;
        if (r < 0) {
            return r;
        }
    }
    int r = n->drv->inactivate ? n->drv->inactivate(n) : 0;
    if (r < 0) {
        return r;
    }
    unsigned perm, shared;
    node_cumulative_perms(n, &perm, &shared);
    if (perm & (PERM_WRITE | PERM_WRITE_UNCHANGED)) {
        return -EPERM;
    }
    n->open_flags |= OPEN_INACTIVE;
    node_refresh_perms(n, NULL);
    LIST_FOREACH (c, &n->children, children_link) {
        r = inactivate(c->node);
        if (r < 0) {
            return r;
        }
    }
    return 0;
}

static bool has_node_parent(const struct node *n)
{
    const struct child *c;
    LIST_FOREACH (c, &n->parents, parents_link) {
        if (c->class->parent_is_node) {
            return true;
        }
    }
    return false;
}

int node_inactivate_all(struct world *w)
{
    int r = 0;
    for (struct node *n = node_next(w, NULL); n && r == 0; n = node_next(w, n)) {
        if (!has_node_parent(n)) {
            node_flush(n, NULL);
            r = inactivate(n);
        }
    }
    return r;
}

/* Children first; a node is active again only when its driver agrees. */
static int activate(struct node *n, struct error **err)
{
    struct child *c;
    struct error *local = NULL;
    if (!n->drv) {
        return 0;
    }
    bool inactive = (n->open_flags & OPEN_INACTIVE) != 0;
    n->open_flags &= ~(unsigned)OPEN_INACTIVE;
    int r = inactive ? node_refresh_perms(n, err) : 0;
    LIST_FOREACH (c, &n->children, children_link) {
        r = r < 0 ? r : activate(c->node, err);
    }
    if (r == 0 && inactive && n->drv->activate) {
        n->drv->activate(n, &local);
    }
    LIST_FOREACH (c, &n->parents, parents_link) {
        if (r == 0 && !local && inactive && c->class->activate) {
            c->class->activate(c, &local);
        }
    }
    if (local || r < 0) {
        n->open_flags |= inactive ? OPEN_INACTIVE : 0;
        error_propagate(err, local);
        return -EINVAL;
    }
    return 0;
}

void node_activate_all(struct world *w, struct error **err)
{
    for (struct node *n = node_next(w, NULL); n; n = node_next(w, n)) {
        if (!has_node_parent(n) && activate(n, err) < 0) {
            return;
        }
    }
}
