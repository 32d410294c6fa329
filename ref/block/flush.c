/*
 * Flush: own volatile data to the OS, then to the disk, then the children that we may have written.
 *
 * Flushes of one node run one after the other; one that finds nothing written since the last skips
 * its own disk step.  The first one does not: who had the image open before may have written what
 * this guest has read and wants to rely on.  (Closing alone asks for nothing new.)  With
 * cache.no-flush the disk step never happens.  Formats with an order of their own replace both
 * steps.
 */
#include <assert.h>
#include <errno.h>
#include "ref/block/io_impl.h"

static int flush_call(struct node *n, int (*fn)(struct node *n, const struct request *r),
                      const struct request *parent)
{
    struct request r = {.op = REQ_FLUSH, .label = LABEL_FLUSH_TO_DISK, .parent = parent};
    if (parent) {
        r.tag = parent->tag;
        r.origin = parent->origin;
        r.deadline = parent->deadline;
        r.cancelled = parent->cancelled;
    }
    struct point pt = {.kind = POINT_SUBMIT, .object = n, .write = true, .name = "flush"};
    bool bottom = n->drv->kind == DRIVER_PROTOCOL;
    if (bottom) {
        sched_point(n->w, &pt);
    }
    int ret = fn(n, &r);
    if (bottom) {
        pt.kind = POINT_COMPLETE;
        sched_point(n->w, &pt);
    }
    return ret;
}

static int flush_node(struct node *n, const struct request *parent, bool closing);

static int flush_children(struct node *n, const struct request *parent, bool closing)
{
    int ret = 0;
    struct child *c;
    LIST_FOREACH (c, &n->children, children_link) {
        if (c->perm & (PERM_WRITE | PERM_WRITE_UNCHANGED)) {
            int r = c->node->flush_held ? 0 : flush_node(c->node, parent, closing);
            ret = ret < 0 ? ret : r;
        }
    }
    return ret;
}

static int flush_steps(struct node *n, uint64_t gen, const struct request *parent, bool closing)
{
    const struct block_driver *drv = n->drv;
    struct child *primary = node_primary(n);
    int ret = 0;
    if (drv->flush) {
        return flush_call(n, drv->flush, parent);
    }
    if (primary) {
        node_event(primary->node, LABEL_FLUSH_TO_OS, parent);
    }
    if (drv->flush_to_os) {
        ret = flush_call(n, drv->flush_to_os, parent);
        if (ret < 0) {
            return ret;
        }
    }
    bool due = n->flushed_gen != gen || (!n->flushed && !closing);
    if (!(n->open_flags & OPEN_NO_FLUSH) && due) {
        if (primary) {
            node_event(primary->node, LABEL_FLUSH_TO_DISK, parent);
        }
        if (drv->flush_to_disk) {
            ret = flush_call(n, drv->flush_to_disk, parent);
            if (ret < 0) {
                return ret;
            }
        }
    }
    return flush_children(n, parent, closing);
}

static int flush_node(struct node *n, const struct request *parent, bool closing)
{
    if (!n->drv || n->read_only || n->sg) {
        return 0;
    }
    node_inc_in_flight(n);
    uint64_t gen = n->write_gen;
    while (n->flush_active) {
        waitq_wait(n->w, &n->flush_q);
    }
    n->flush_active = true;
    int ret = n->drv ? flush_steps(n, gen, parent, closing) : 0;
    if (ret >= 0) {
        ret = 0;
        n->flushed_gen = MAX(gen, n->flushed_gen);
        n->flushed |= !closing;
    }
    n->flush_active = false;
    waitq_wake_one(n->w, &n->flush_q);
    node_dec_in_flight(n);
    return ret;
}

int node_flush(struct node *n, const struct request *parent)
{
    return n->flush_held ? 0 : flush_node(n, parent, false);
}

int node_flush_closing(struct node *n)
{
    return n->flush_held ? 0 : flush_node(n, NULL, true);
}

int node_flush_now(struct node *n)
{
    return flush_node(n, NULL, false);
}

void node_hold_flush(struct node *n)
{
    n->flush_held++;
}

int node_release_flush(struct node *n)
{
    assert(n->flush_held);
    return --n->flush_held ? 0 : node_flush(n, NULL);
}

int child_flush(struct child *c, const struct request *parent)
{
    return c->node->drv ? node_flush(c->node, parent) : -ENOMEDIUM;
}
