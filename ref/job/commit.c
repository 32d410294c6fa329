/*
 * Commit jobs: a copy from the top of a chain into one of its lower layers.
 */
#include "ref/job/commit.h"

#include <assert.h>
#include <errno.h>
#include "ref/base/mem.h"
#include "ref/block/graph.h"
#include "ref/block/open.h"
#include "ref/job/commit_filter.h"

static struct commit *commit_of(struct job *j)
{
    return container_of((struct copy *)j->opaque, struct commit, copy);
}

struct node *commit_target(struct node *overlay)
{
    struct child *c = node_cow_child(node_skip_filters(overlay));
    while (c && c->node->drv && c->node->drv->kind == DRIVER_FILTER && node_filtered(c->node)) {
        c = node_filtered(c->node);
    }
    return c ? c->node : NULL;
}

/* ---- taking hold of the chain, and letting go ---- */

static struct blk *backend(struct commit *c, struct node *n, unsigned perm, unsigned shared,
                           struct error **err)
{
    struct blk *b = blk_new(c->w, perm, shared);
    if (blk_insert(b, n, err) < 0) {
        blk_unref(b);
        return NULL;
    }
    blk_set_disable_request_queuing(b, true); /* a drain waits for the job, not the job for it */
    return b;
}

static int hold_nodes(struct commit *c, struct error **err)
{
    const unsigned calm = PERM_CONSISTENT_READ | PERM_WRITE_UNCHANGED;
    for (struct node *n = c->top; n != c->base;) {
        /* Sharing all: who does not share writes would not let us write to what is below it. */
        if (!job_nodes_add(&c->nodes, "intermediate node", n, 0, PERM_ALL, true, err)) {
            return -EPERM;
        }
        struct child *below = node_filtered(n);
        below = below ? below : node_cow_child(n);
        n = below->node;
    }
    if (!job_nodes_add(&c->nodes, "main node", c->base, 0, PERM_ALL, true, err)) {
        return -EPERM;
    }
    c->source.b = backend(c, c->top, PERM_CONSISTENT_READ, PERM_ALL, err);
    c->target = c->source.b ? backend(c, c->base, PERM_CONSISTENT_READ | PERM_WRITE | PERM_RESIZE,
                                      calm, err)
                            : NULL;
    return c->target ? 0 : -EPERM;
}

/* Base becomes writable before anything of the job could be drained by that. */
static int hold(struct commit *c, const struct commit_options *o, struct error **err)
{
    c->base_was_read_only = c->base->read_only;
    int ret = c->base_was_read_only ? node_set_read_only(c->base, false, err) : 0;
    if (ret == 0 && o->live) {
        c->filter = commit_filter_insert(c->top, o->filter_node_name, err);
        ret = c->filter ? 0 : -EPERM;
    }
    if (ret == 0) {
        ret = hold_nodes(c, err);
    }
    if (ret == 0) {
        ret = graph_freeze_chain(c->top, c->base, err);
        c->frozen = ret == 0;
    }
    return ret;
}

static void let_go_of_io(struct commit *c)
{
    if (c->frozen) {
        graph_unfreeze_chain(c->top, c->base);
    }
    if (c->target) {
        blk_unref(c->target);
    }
    if (c->source.b) {
        blk_unref(c->source.b);
    }
    c->frozen = false;
    c->target = c->source.b = NULL;
}

static void let_go(struct commit *c)
{
    let_go_of_io(c);
    node_ref(c->base);
    job_nodes_drop(&c->nodes);
    if (c->filter) {
        commit_filter_remove(c->filter);
        c->filter = NULL;
    }
    if (c->base_was_read_only && !c->base->read_only) {
        struct error *err = NULL;
        node_set_read_only(c->base, true, &err);
        error_free(err); /* it stays writable then: somebody writes to it now */
    }
    node_unref(c->base);
    mem_free(c->backing_file);
    c->backing_file = NULL;
}

/* ---- the job ---- */

static int prepare_copy(struct commit *c, struct error **err)
{
    int64_t top = blk_length(c->source.b), base = blk_length(c->target);
    if (top < 0 || base < 0) {
        return error_set_errno(err, (int)-MIN(top, base),
                               "Could not get the length of the images to commit");
    }
    c->source.bytes = top;
    c->copy.total = top;
    c->copy.backing_bytes = top; /* zeroes behind the end of the old base are written as such */
    c->copy.target = c->target;
    return base < top ? blk_truncate(c->target, top, false, PREALLOC_OFF, 0, err) : 0;
}

static int commit_run(struct job *j, struct error **err)
{
    struct commit *c = commit_of(j);
    int ret = prepare_copy(c, err);
    if (ret == 0) {
        ret = copy_driver.run(j, err);
    }
    if (ret == 0 && !job_cancelled(j)) {
        ret = blk_flush(c->target, NULL);
        if (ret < 0) {
            error_set_errno(err, -ret, "Could not flush '%s'", c->base->filename);
        }
    }
    c->copied = ret == 0 && !job_cancelled(j);
    return ret;
}

/* What may still fail, with everything that was committed in place. */
static int commit_prepare(struct job *j, struct error **err)
{
    struct commit *c = commit_of(j);
    struct error *local = NULL;
    int ret = 0;
    let_go_of_io(c);
    if (c->after == COMMIT_EMPTY) {
        ret = node_make_empty(c->top, &local);
        if (ret == -ENOTSUP) {
            error_clear(&local); /* a format that gives nothing back stays as it is */
            ret = 0;
        }
    } else if (c->after == COMMIT_DROP) {
        ret = graph_drop_intermediate(c->filter ? c->filter : c->top, c->base, c->backing_file,
                                      &c->dropped, &local);
    }
    error_propagate(err, local);
    return ret;
}

/* Another job of the transaction could not be prepared. */
static void commit_abort(struct job *j)
{
    struct commit *c = commit_of(j);
    if (c->dropped) {
        graph_drop_undo(c->dropped);
        c->dropped = NULL;
    }
}

static void commit_commit(struct job *j)
{
    struct commit *c = commit_of(j);
    if (c->dropped) {
        graph_drop_forget(c->dropped);
        c->dropped = NULL;
    }
}

static void commit_clean(struct job *j)
{
    let_go(commit_of(j));
}

static void commit_kick(struct job *j)
{
    copy_driver.kick(j);
}

static const struct job_driver commit_driver = {
    .type = JOB_COMMIT,
    .block = true,
    .run = commit_run,
    .prepare = commit_prepare,
    .commit = commit_commit,
    .abort = commit_abort,
    .clean = commit_clean,
    .kick = commit_kick,
};

struct job *commit_job_new(struct commit *c, const char *id, struct node *top, struct node *base,
                           const struct commit_options *o, struct error **err)
{
    assert(top != base && graph_chain_contains(top, base));
    *c = (struct commit){.w = top->w,
                         .top = top,
                         .base = base,
                         .after = o->after,
                         .backing_file = str_dup(o->backing_file)};
    c->copy = (struct copy){
        .w = c->w,
        .sources = &c->source,
        .n_sources = 1,
        .overlay = true,
        .base = base,
        .in_order = true,
        .workers = COPY_MAX_WORKERS,
    };
    struct job *j = job_new(c->w, id, &commit_driver, &c->copy, o->flags, err);
    if (!j) {
        mem_free(c->backing_file);
        return NULL;
    }
    job_nodes_init(&c->nodes, j);
    c->copy.job = j;
    job_set_speed(j, o->speed, NULL);
    if (hold(c, o, err) < 0) {
        let_go(c);
        job_discard(j);
        return NULL;
    }
    return j;
}
