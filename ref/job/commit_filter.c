/*
 * The filter over the top of a live commit.
 *
 * Models: commit_top.  It shows what is below and takes nothing from it: who reads through it must
 * not forbid the job to write to the base, because what the base changes there is hidden by the
 * layers above it.  Writes are not for it: the layers under a commit are read-only.
 */
#include "ref/job/commit_filter.h"

#include <errno.h>

#include "ref/base/mem.h"
#include "ref/block/block_state.h"
#include "ref/block/graph.h"
#include "ref/block/io.h"
#include "ref/block/open.h"

static int filter_read(struct node *n, const struct request *r)
{
    return child_preadv(n->backing, r->offset, r->bytes, r->iov, r->iov_off, r->flags, LABEL_NONE,
                        r);
}

static void filter_perm(struct node *n, struct child *c, unsigned role, struct reopen *r,
                        unsigned perm, unsigned shared, unsigned *nperm, unsigned *nshared)
{
    *nperm = 0;
    *nshared = PERM_ALL;
}

static void filter_filename(struct node *n)
{
    mem_free(n->exact_filename);
    n->exact_filename = str_dup(n->backing->node->exact_filename);
}

const struct block_driver driver_commit_top = {
    .name = "commit_top",
    .kind = DRIVER_FILTER,
    .filter_of_backing = true,
    .internal_only = true,
    .read = filter_read,
    .child_perm = filter_perm,
    .refresh_filename = filter_filename,
};

static int stand_over(struct node *n, struct node *top, struct error **err)
{
    node_ref(top);
    if (!graph_attach(n, top, "backing", ROLE_FILTERED | ROLE_PRIMARY, err)) {
        return -EPERM;
    }
    int ret = node_refresh_length(n);
    if (ret < 0) {
        return error_set_errno(err, -ret, "Could not get the length of '%s'", top->node_name);
    }
    ret = node_refresh_limits(n, err);
    return ret < 0 ? ret : graph_replace_node(top, n, err);
}

struct node *commit_filter_insert(struct node *top, const char *node_name, struct error **err)
{
    struct node *n = node_new(top->w, &driver_commit_top, node_name, err);
    if (!n) {
        return NULL;
    }
    node_new_state(n);
    n->read_only = true;
    n->implicit = !node_name;
    node_drain_begin(top);
    int ret = stand_over(n, top, err);
    node_drain_end(top);
    if (ret < 0) {
        node_unref(n);
        return NULL;
    }
    node_refresh_filename(n);
    return n;
}

void commit_filter_remove(struct node *filter)
{
    struct node *top = filter->backing->node;
    node_ref(top);
    node_drain_begin(top);
    struct error *err = NULL;
    if (graph_replace_node(filter, top, &err) < 0) {
        world_warn(top->w, "The filter '%s' stays over '%s': %s", filter->node_name, top->node_name,
                   err->msg);
        error_free(err);
    }
    node_drain_end(top);
    node_unref(filter);
    node_unref(top);
}
