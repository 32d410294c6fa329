/*
 * Open addressing with linear probing; doubles when two thirds are used.
 */
#include "specs/runtime/cluster_map.h"

#include <assert.h>
#include <stdlib.h>

void cluster_map_init(struct cluster_map *m, size_t limit)
{
    *m = (struct cluster_map){.limit = limit};
}

void cluster_map_free(struct cluster_map *m)
{
    free(m->slots);
    *m = (struct cluster_map){.limit = m->limit};
}

static size_t hash(uint64_t cluster)
{
    cluster *= UINT64_C(0x9e3779b97f4a7c15);
    return (size_t)(cluster ^ (cluster >> 29));
}

/* The cluster's slot, or the free one where it belongs. */
static struct cluster_ref *slot(const struct cluster_map *m, uint64_t cluster)
{
    size_t i = hash(cluster) & (m->nr_slots - 1);
    while (m->slots[i].kinds && m->slots[i].cluster != cluster) {
        i = (i + 1) & (m->nr_slots - 1);
    }
    return &m->slots[i];
}

struct cluster_ref *cluster_map_find(const struct cluster_map *m, uint64_t cluster)
{
    if (!m->nr_slots) {
        return NULL;
    }
    struct cluster_ref *r = slot(m, cluster);
    return r->kinds ? r : NULL;
}

static int grow(struct cluster_map *m)
{
    struct cluster_map bigger = *m;
    bigger.nr_slots = m->nr_slots ? 2 * m->nr_slots : 256;
    bigger.slots = calloc(bigger.nr_slots, sizeof(*bigger.slots));
    if (!bigger.slots) {
        return -1;
    }
    for (size_t i = 0; i < m->nr_slots; i++) {
        if (m->slots[i].kinds) {
            *slot(&bigger, m->slots[i].cluster) = m->slots[i];
        }
    }
    free(m->slots);
    *m = bigger;
    return 0;
}

struct cluster_ref *cluster_map_add(struct cluster_map *m, uint64_t cluster, uint32_t kinds)
{
    assert(kinds);
    struct cluster_ref *r = cluster_map_find(m, cluster);
    if (!r) {
        if (m->used >= m->limit || (3 * (m->used + 1) > 2 * m->nr_slots && grow(m))) {
            return NULL;
        }
        r = slot(m, cluster);
        r->cluster = cluster;
        m->used++;
    }
    r->kinds |= kinds;
    return r;
}
