/*
 * Announcing labels: the node that a request goes to is told, if its driver listens; nobody below it is.
 */
#include "ref/block/io.h"

void node_event(struct node *n, enum label label, const struct request *parent)
{
    if (n->drv && n->drv->event) {
        n->drv->event(n, label, parent);
    }
}

void child_event(struct child *c, enum label label, const struct request *parent)
{
    node_event(c->node, label, parent);
}
