/*
 * Advice about data that is used once: it is passed down to the protocols, which may keep the
 * host's page cache clean of it.
 */
#include "ref/block/io.h"

void node_use_once(struct node *n)
{
    struct child *c;
    if (!n->drv || !world_profile(n->w)->clean_cache) {
        return;
    }
    if (n->drv->use_once) {
        n->drv->use_once(n);
    }
    LIST_FOREACH (c, &n->children, children_link) {
        node_use_once(c->node);
    }
}
