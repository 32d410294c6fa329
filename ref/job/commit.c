/*
 * Commit jobs: a copy from the top of a chain into one of its lower layers.
 */
#include "ref/job/commit.h"

#include <assert.h>
#include <errno.h>
#include "ref/base/mem.h"
#include "ref/block/graph.h"
#include "ref/block/open.h"

static struct blk *backend(struct commit *c, struct node *n, unsigned perm, struct error **err)
{
    struct blk *b = blk_new(c->w, perm, PERM_ALL);
    if (blk_insert(b, n, err) < 0) {
        blk_unref(b);
        return NULL;
    }
    return b;
}

static int open_ends(struct commit *c, struct error **err)
{
    c->base_was_read_only = c->base->read_only;
    int ret = c->base_was_read_only ? node_set_read_only(c->base, false, err) : 0;
    if (ret < 0) {
        return ret;
    }
    c->source.b = backend(c, c->top, PERM_CONSISTENT_READ, err);
    c->target = c->source.b
                    ? backend(c, c->base, PERM_CONSISTENT_READ | PERM_WRITE | PERM_RESIZE, err)
                    : NULL;
    return c->target ? 0 : -EPERM;
}

static int prepare_copy(struct commit *c, struct error **err)
{
    int64_t top = blk_length(c->source.b), base = blk_length(c->target);
    if (top < 0 || base < 0) {
        return error_set_errno(err, (int)-MIN(top, base),
                               "Could not get the length of the images to commit");
    }
    c->source.bytes = top;
    c->copy.total = top;
    c->copy.backing_bytes = base;
    c->copy.target = c->target;
    return base < top ? blk_truncate(c->target, top, false, PREALLOC_OFF, 0, err) : 0;
}

static int commit_run(struct job *j, struct error **err)
{
    struct commit *c = container_of(j->opaque, struct commit, copy);
    int ret = open_ends(c, err);
    if (ret == 0) {
        ret = prepare_copy(c, err);
    }
    if (ret == 0) {
        ret = copy_driver.run(j, err);
    }
    if (ret == 0) {
        ret = blk_flush(c->target, NULL);
    }
    return ret;
}

static void commit_clean(struct job *j)
{
    struct commit *c = container_of(j->opaque, struct commit, copy);
    if (c->target) {
        blk_unref(c->target);
    }
    if (c->source.b) {
        blk_unref(c->source.b);
    }
    c->target = c->source.b = NULL;
    if (c->base_was_read_only && !c->base->read_only) {
        struct error *err = NULL;
        node_set_read_only(c->base, true, &err);
        error_free(err); /* it stays writable then */
    }
}

static void commit_kick(struct job *j)
{
    copy_driver.kick(j);
}

static const struct job_driver commit_driver = {
    .type = JOB_COMMIT,
    .run = commit_run,
    .clean = commit_clean,
    .kick = commit_kick,
};

struct job *commit_job_new(struct commit *c, const char *id, struct node *top, struct node *base,
                           int64_t speed, struct error **err)
{
    assert(top != base && graph_chain_contains(top, base));
    *c = (struct commit){.w = top->w, .top = top, .base = base};
    c->copy = (struct copy){
        .w = c->w,
        .sources = &c->source,
        .n_sources = 1,
        .overlay = true,
        .base = base,
        .in_order = true,
        .workers = COPY_MAX_WORKERS,
    };
    struct job *j = job_new(c->w, id, &commit_driver, &c->copy, 0, err);
    if (j) {
        c->copy.job = j;
        job_set_speed(j, speed, NULL);
    }
    return j;
}
