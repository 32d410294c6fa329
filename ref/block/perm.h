/*
 * Permission refresh as a step of a graph change.  Private to ref/block.
 */
#ifndef BLKREF_BLOCK_PERM_H
#define BLKREF_BLOCK_PERM_H

#include "ref/block/graph.h"

/*
 * Brings used and shared permissions of everything below the given nodes in line with their
 * parents' edges as they are now.  The steps go to tx; on failure the caller aborts tx.
 */
int perm_refresh(struct graph_tx *tx, struct node *const *nodes, size_t count, struct error **err);
/* The same, committed or aborted at once. */
int perm_refresh_now(struct node *n, struct error **err);
/* Sets an edge's permissions and remembers the old ones in tx; no check. */
void perm_set_edge(struct graph_tx *tx, struct child *c, unsigned perm, unsigned shared);

#endif
