/*
 * Edge moves as steps of a change list, for graph.c, chain.c and reopen.c.  Private to ref/block.
 */
#ifndef BLKREF_BLOCK_EDGE_H
#define BLKREF_BLOCK_EDGE_H

#include "ref/block/graph.h"

/* New edge with a reference of its own. */
struct child *edge_attach(struct graph_tx *tx, struct node *n, const char *name,
                          const struct child_class *cls, unsigned role, unsigned perm,
                          unsigned shared, void *parent);
void edge_detach(struct graph_tx *tx, struct child *c);
void edge_replace(struct graph_tx *tx, struct child *c, struct node *n);
/* n's backing (or file) edge leads to `to` (NULL: none) afterwards; refuses frozen edges and
 * cycles. */
int edge_set(struct graph_tx *tx, struct node *n, bool backing, struct node *to,
             struct error **err);
int edge_check_frozen(const struct child *c, struct error **err);
int edge_check_cycle(const struct node *parent, struct node *child, const char *name,
                     struct error **err);
/* Commits (r >= 0) or aborts; returns r. */
int graph_tx_finish(struct graph_tx *tx, int r);

#endif
