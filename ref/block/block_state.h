/*
 * What the block layer keeps in a world: drivers, nodes, backends, the counter behind generated
 * names.
 *
 * Private to ref/block.  Made on first use, freed with the world.
 */
#ifndef BLKREF_BLOCK_BLOCK_STATE_H
#define BLKREF_BLOCK_BLOCK_STATE_H

#include "ref/block/node.h"

struct block_state {
    struct world *w;
    const struct driver_list *drivers;
    struct list nodes;     /* struct node.all_link, oldest first */
    struct list backends;  /* struct blk.all_link */
    struct fault_fiu *fiu; /* asked before each request of a protocol; NULL: nobody is */
    unsigned names;        /* generated so far */
    unsigned perm_walks;   /* marks visited nodes, see perm.c */
    unsigned open_depth;   /* nested opens by one caller, see open.c */
};
struct block_state *block_state(struct world *w);

/* A node with refcnt 1 that is in no graph yet; node_name may be NULL. NULL with err for a bad or
 * used name. */
struct node *node_new(struct world *w, const struct block_driver *drv, const char *node_name,
                      struct error **err);
/* Allocates n->state as the driver wants. */
void node_new_state(struct node *n);
/* Undoes an open whose driver refused: drops children, frees everything, without drv->close. */
void node_abandon(struct node *n);

#endif
