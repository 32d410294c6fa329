/*
 * The filter that a live commit puts over its top layer.
 */
#ifndef BLKREF_JOB_COMMIT_FILTER_H
#define BLKREF_JOB_COMMIT_FILTER_H

#include "ref/block/node.h"

extern const struct block_driver driver_commit_top;
/* All parents of `top` stand on the filter afterwards.  Its only reference, or NULL with err. */
struct node *commit_filter_insert(struct node *top, const char *node_name, struct error **err);
/* They go back to top, and the filter ends. */
void commit_filter_remove(struct node *filter);

#endif
