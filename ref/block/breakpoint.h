/*
 * Breakpoints: finds the node below that has them (blkdebug) and hands on.
 */
#ifndef BLKREF_BLOCK_BREAKPOINT_H
#define BLKREF_BLOCK_BREAKPOINT_H

#include "ref/block/node.h"

/* -ENOTSUP when no node from n down the primary children has breakpoints. */
int node_break_set(struct node *n, const char *event, const char *tag);
int node_break_remove(struct node *n, const char *tag);
int node_break_resume(struct node *n, const char *tag);
/* Suspends until a request stands at tag; -ENOTSUP at once where nothing can. */
int node_break_wait(struct node *n, const char *tag);

#endif
