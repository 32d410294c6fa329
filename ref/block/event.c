/*
 * Announcing labels: the node's own driver hears of them, nobody below (as seen with breakpoints of
 * qemu-io: the write events of raw do not reach blkdebug under it, those of blkdebug itself do).
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
