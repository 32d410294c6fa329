/*
 * Breakpoints: the walk down to the node that has them.
 */
#include "ref/block/breakpoint.h"

#include <errno.h>

static struct node *find(struct node *n)
{
    while (n && n->drv && !n->drv->break_set) {
        struct child *below = node_primary(n);
        n = below ? below->node : NULL;
    }
    return n && n->drv ? n : NULL;
}

int node_break_set(struct node *n, const char *event, const char *tag)
{
    struct node *at = find(n);
    return at ? at->drv->break_set(at, event, tag) : -ENOTSUP;
}

int node_break_remove(struct node *n, const char *tag)
{
    struct node *at = find(n);
    return at ? at->drv->break_remove(at, tag) : -ENOTSUP;
}

int node_break_resume(struct node *n, const char *tag)
{
    struct node *at = find(n);
    return at ? at->drv->break_resume(at, tag) : -ENOTSUP;
}

int node_break_wait(struct node *n, const char *tag)
{
    struct node *at = find(n);
    if (!at) {
        return -ENOTSUP;
    }
    while (!at->drv->break_suspended(at, tag)) {
        co_yield (n->w);
    }
    return 0;
}
