/*
 * Request limits of a node: the children's merged, then the driver's say.
 */
#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <unistd.h>
#include "ref/block/io.h"

static int64_t min_nonzero(int64_t a, int64_t b)
{
    return !a ? b : !b ? a : MIN(a, b);
}

static void merge(struct limits *l, const struct limits *c)
{
    l->opt_transfer = MAX(l->opt_transfer, c->opt_transfer);
    l->max_transfer = min_nonzero(l->max_transfer, c->max_transfer);
    l->opt_mem_alignment = MAX(l->opt_mem_alignment, c->opt_mem_alignment);
    l->min_mem_alignment = MAX(l->min_mem_alignment, c->min_mem_alignment);
    l->max_iov = (int)min_nonzero(l->max_iov, c->max_iov);
}

int node_refresh_limits(struct node *n, struct error **err)
{
    struct error *local = NULL;
    struct limits l = {0};
    struct child *c;
    bool have = false;
    if (!n->drv) {
        return 0;
    }
    LIST_FOREACH (c, &n->children, children_link) {
        if (c->role & (ROLE_DATA | ROLE_FILTERED | ROLE_COW)) {
            merge(&l, &c->node->limits);
            have = true;
        }
    }
    if (!have) {
        l.min_mem_alignment = 512;
        l.opt_mem_alignment = (uint32_t)sysconf(_SC_PAGESIZE);
        l.max_iov = IOV_MAX;
    }
    /* Drivers that work on bytes say so in refresh_limits. */
    l.request_alignment = n->drv->read ? 1 : 512;
    n->limits = l;
    if (n->drv->refresh_limits) {
        n->drv->refresh_limits(n, &local);
        if (local) {
            int code = local->code;
            error_propagate(err, local);
            return -code;
        }
    }
    if (n->limits.request_alignment > INT_MAX || !IS_POW2(n->limits.request_alignment)) {
        return error_set(err, EINVAL, "Driver requires too large request alignment");
    }
    return 0;
}

void *node_try_blockalign(struct node *n, size_t size)
{
    size_t align = MAX((size_t)n->limits.opt_mem_alignment, sizeof(void *));
    return mem_try_aligned(align, MAX(size, (size_t)1));
}
