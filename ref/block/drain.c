/*
 * Drain: a quiesced node gets no new requests from above, and those in flight are waited for.
 *
 * Quiescing tells the node's driver and its parents, which stop sending (backends, jobs) or are
 * quiesced themselves (nodes).  Children need not be told: what they do for this node is in flight
 * here too.
 */
#include <assert.h>
#include "ref/block/graph.h"
#include "ref/block/io.h"

void node_quiesce(struct node *n)
{
    if (n->quiesce++ > 0) {
        return;
    }
    if (n->drv && n->drv->drain_begin) {
        n->drv->drain_begin(n);
    }
    struct child *c, *next;
    LIST_FOREACH_SAFE (c, next, &n->parents, parents_link) {
        child_quiesce_parent(c);
    }
}

void node_unquiesce(struct node *n)
{
    assert(n->quiesce > 0);
    if (--n->quiesce > 0) {
        return;
    }
    if (n->drv && n->drv->drain_end) {
        n->drv->drain_end(n);
    }
    struct child *c, *next;
    LIST_FOREACH_SAFE (c, next, &n->parents, parents_link) {
        child_unquiesce_parent(c);
    }
    waitq_wake_all(n->w, &n->quiesce_done);
}

bool node_busy(struct node *n)
{
    if (n->in_flight) {
        return true;
    }
    struct child *c;
    LIST_FOREACH (c, &n->parents, parents_link) {
        if (c->class->drained_poll && c->class->drained_poll(c)) {
            return true;
        }
    }
    return false;
}

/* Whoever drains n, or a node below it, looks again. */
void node_drain_kick(struct node *n)
{
    waitq_wake_all(n->w, &n->idle);
    struct child *c;
    LIST_FOREACH (c, &n->children, children_link) {
        if (c->node->quiesce) {
            node_drain_kick(c->node);
        }
    }
}

void node_inc_in_flight(struct node *n)
{
    n->in_flight++;
}

void node_dec_in_flight(struct node *n)
{
    assert(n->in_flight > 0);
    if (--n->in_flight == 0 && n->quiesce) {
        node_drain_kick(n);
    }
}

static void wait_idle(struct node *n)
{
    while (node_busy(n)) {
        waitq_wait(n->w, &n->idle);
    }
}

void node_drain_begin(struct node *n)
{
    node_quiesce(n);
    wait_idle(n);
}

void node_drain_end(struct node *n)
{
    node_unquiesce(n);
}

void world_drain_all_begin(struct world *w)
{
    struct node *n;
    for (n = node_next(w, NULL); n; n = node_next(w, n)) {
        n->drained_all++;
        node_quiesce(n);
    }
    /* The list may change while we wait: start over after each wait. */
    n = node_next(w, NULL);
    while (n) {
        if (n->drained_all && node_busy(n)) {
            waitq_wait(w, &n->idle);
            n = node_next(w, NULL);
        } else {
            n = node_next(w, n);
        }
    }
}

void world_drain_all_end(struct world *w)
{
    for (struct node *n = node_next(w, NULL); n; n = node_next(w, n)) {
        if (n->drained_all) {
            n->drained_all--;
            node_unquiesce(n);
        }
    }
}
