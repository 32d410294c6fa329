/*
 * Announcing labels: the first node below, along the primary children, whose driver listens is told.
 */
#include "ref/block/io.h"

void node_event(struct node *n, enum label label, const struct request *parent)
{
    while (n && n->drv) {
        if (n->drv->event) {
            n->drv->event(n, label, parent);
            return;
        }
        struct child *c = n->file ? n->file : node_primary(n);
        n = c ? c->node : NULL;
    }
}

void child_event(struct child *c, enum label label, const struct request *parent)
{
    node_event(c->node, label, parent);
}
