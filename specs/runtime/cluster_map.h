/*
 * Who refers to which host cluster: a count and the kinds of content for each cluster that is
 * referred to. A hash map, so that memory follows the number of references and not the size that an
 * image claims.
 */
#ifndef BLKREF_SPECS_CLUSTER_MAP_H
#define BLKREF_SPECS_CLUSTER_MAP_H

#include <stddef.h>
#include <stdint.h>

struct cluster_ref {
    uint64_t cluster;
    uint32_t count;  /* references found */
    uint32_t stored; /* refcount on disk, at most UINT32_MAX */
    uint32_t kinds;  /* the format's bits: what the cluster holds; 0 marks a free slot */
    uint32_t flags;  /* the format's */
};

struct cluster_map {
    struct cluster_ref *slots;
    size_t nr_slots, used, limit;
};

/* At most limit clusters are kept. */
void cluster_map_init(struct cluster_map *m, size_t limit);
void cluster_map_free(struct cluster_map *m);
/* NULL when nobody refers to it. */
struct cluster_ref *cluster_map_find(const struct cluster_map *m, uint64_t cluster);
/* Finds or adds, with kinds or-ed in (not 0); NULL when the limit or memory is used up. */
struct cluster_ref *cluster_map_add(struct cluster_map *m, uint64_t cluster, uint32_t kinds);

#endif
