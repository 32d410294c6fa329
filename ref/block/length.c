/*
 * How long a node is, who hears of changes, and what it takes on the host.
 *
 * Lengths are multiples of 512: a protocol's odd length is rounded up, and its tail reads as
 * zeroes.
 */
#include <assert.h>
#include <errno.h>
#include "ref/block/io_impl.h"

int node_refresh_length(struct node *n)
{
    if (!n->drv) {
        return -ENOMEDIUM;
    }
    int64_t length = n->length;
    if (n->drv->length) {
        length = n->drv->length(n);
    } else if (node_filtered(n)) {
        length = node_length(node_filtered(n)->node);
    }
    if (length < 0) {
        return (int)length;
    }
    if (length > IO_MAX_LENGTH) {
        return -EFBIG;
    }
    n->length = ROUND_UP(length, 512);
    return 0;
}

int64_t node_length(struct node *n)
{
    if (!n->drv) {
        return -ENOMEDIUM;
    }
    if (n->drv->variable_length || (!n->drv->length && n->drv->kind == DRIVER_FILTER)) {
        int ret = node_refresh_length(n);
        if (ret < 0) {
            return ret;
        }
    }
    return n->length;
}

int64_t child_length(struct child *c)
{
    return node_length(c->node);
}

void node_resized(struct node *n)
{
    struct child *c, *next;
    LIST_FOREACH_SAFE (c, next, &n->parents, parents_link) {
        if (c->class->resized) {
            c->class->resized(c);
        }
    }
}

void node_watch_writes(struct node *n, struct write_watch *ww)
{
    if (!n->write_watches.next) {
        list_init(&n->write_watches);
    }
    list_push(&n->write_watches, &ww->link);
}

void node_unwatch_writes(struct write_watch *ww)
{
    list_remove(&ww->link);
}

void node_written(struct node *n, int64_t offset, int64_t bytes)
{
    if (!n->write_watches.next) {
        return;
    }
    struct write_watch *ww, *next;
    LIST_FOREACH_SAFE (ww, next, &n->write_watches, link) {
        ww->written(ww, offset, bytes);
    }
}

int64_t node_allocated_size(struct node *n)
{
    if (!n->drv) {
        return -ENOMEDIUM;
    }
    if (n->drv->allocated_size) {
        return n->drv->allocated_size(n);
    }
    if (n->drv->kind == DRIVER_PROTOCOL) {
        return -ENOTSUP;
    }
    if (n->drv->kind == DRIVER_FILTER) {
        return node_filtered(n) ? node_allocated_size(node_filtered(n)->node) : -ENOTSUP;
    }
    int64_t sum = 0;
    struct child *c;
    LIST_FOREACH (c, &n->children, children_link) {
        if (c->role & (ROLE_DATA | ROLE_METADATA | ROLE_FILTERED)) {
            int64_t size = node_allocated_size(c->node);
            if (size < 0) {
                return size;
            }
            sum += size;
        }
    }
    return sum;
}

bool node_has_zero_init(struct node *n)
{
    if (!n->drv || node_cow_child(n)) {
        return false; /* what the backing file holds shows through */
    }
    if (n->drv->has_zero_init) {
        return n->drv->has_zero_init(n);
    }
    struct child *c = node_filtered(n);
    return c && node_has_zero_init(c->node);
}
