/*
 * Internal snapshots, for any node: finds the layer that has them (through raw and filters).
 */
#ifndef BLKREF_BLOCK_SNAPSHOT_H
#define BLKREF_BLOCK_SNAPSHOT_H

#include "ref/block/node.h"

bool snapshot_can(struct node *n);
int snapshot_create(struct node *n, struct snapshot_info *sn);
int snapshot_goto(struct node *n, const char *id_or_name, struct error **err);
int snapshot_delete(struct node *n, const char *id, const char *name, struct error **err);
int snapshot_list(
    struct node *n,
    struct snapshot_info **out); /* count or -errno; *out by mem_free, NULL on error */
/* The first of that name (an id is none); 1 found, 0 not, -errno. */
int snapshot_find(struct node *n, struct snapshot_info *out, const char *name);
/* id or name, both when given must match; 1 found, 0 not, -errno with err. */
int snapshot_find_by_id_and_name(struct node *n, const char *id, const char *name,
                                 struct snapshot_info *out, struct error **err);
int snapshot_load(struct node *n, const char *id, const char *name, struct error **err);

#endif
