/*
 * qcow2 spec checker: the refcount structures, and stored refcounts against counted references.
 */
#include <string.h>

#include "specs/runtime/qcow2_check_int.h"

enum { SEEN = 2 }; /* cluster_ref.flags: a stored refcount was found */

static uint64_t table_offset(const struct walk *w)
{
    return qcow2_header_get_refcount_table_offset(w->header);
}

static uint64_t table_bytes(const struct walk *w)
{
    return (uint64_t)qcow2_header_get_refcount_table_clusters(w->header) << w->q.cluster_bits;
}

static uint64_t table_entries(const struct walk *w)
{
    return table_bytes(w) / QCOW2_REFCOUNT_TABLE_ENTRY_SIZE;
}

static bool table_readable(const struct walk *w)
{
    return table_bytes(w) && walk_inside(w, table_offset(w), table_bytes(w)) &&
           table_offset(w) % w->q.cluster_size == 0;
}

/* The first entry of the table from i on that is not zero; table_entries() when there is none. */
static uint64_t next_block(struct walk *w, uint64_t i, const uint8_t **p)
{
    return walk_next_entry(w, w->outer, table_offset(w), i, table_entries(w),
                           QCOW2_REFCOUNT_TABLE_ENTRY_SIZE, p);
}

void check_refcount_tables(struct walk *w)
{
    if (!table_bytes(w) || !walk_inside(w, table_offset(w), table_bytes(w))) {
        spec_report_add(w->r, "RC-4", SPEC_CORRUPTION, QCOW2_HEADER_REFCOUNT_TABLE_OFFSET_OFF,
                        table_offset(w), table_bytes(w),
                        "refcount table at 0x%llx is not inside the file",
                        (unsigned long long)table_offset(w));
    }
    if (!table_readable(w)) {
        return;
    }
    walk_ref(w, table_offset(w), table_bytes(w), K_REFCOUNT_TABLE,
             QCOW2_HEADER_REFCOUNT_TABLE_OFFSET_OFF);
    const uint8_t *p;
    for (uint64_t i = 0; (i = next_block(w, i, &p)) < table_entries(w); i++) {
        uint64_t at = table_offset(w) + i * QCOW2_REFCOUNT_TABLE_ENTRY_SIZE;
        uint64_t block = qcow2_refcount_table_entry_get_offset(p);
        walk_check(w, "refcount_table_entry", p, at);
        if (block >= w->image->size) {
            spec_report_add(w->r, "RC-5", SPEC_CORRUPTION, at, block, w->image->size,
                            "refcount block at 0x%llx is behind the end of the file",
                            (unsigned long long)block);
        } else if (block && block % w->q.cluster_size == 0) {
            walk_ref(w, block, w->q.cluster_size, K_REFCOUNT_BLOCK, at);
        }
    }
}

/* With the dirty bit any disagreement is excused (FEAT-3); else too much is a leak, too little
 * corruption. */
static void judge(struct walk *w, uint64_t cluster, uint64_t stored, uint64_t counted)
{
    if (stored == counted) {
        return;
    }
    const char *clause = w->dirty ? "FEAT-3" : stored > counted ? "RC-2" : "RC-1";
    enum spec_severity s = w->dirty           ? SPEC_TOLERATED
                           : stored > counted ? SPEC_LEAK
                                              : SPEC_CORRUPTION;
    uint64_t offset = spec_shl(cluster, w->q.cluster_bits);
    spec_report_add(w->r, clause, s, offset, stored, counted,
                    "cluster 0x%llx has refcount %llu and %llu references",
                    (unsigned long long)offset, (unsigned long long)stored,
                    (unsigned long long)counted);
}

static void judge_stored(struct walk *w, uint64_t cluster, uint64_t stored)
{
    struct cluster_ref *ref = cluster_map_find(&w->map, cluster);
    if (ref) {
        ref->flags |= SEEN;
        ref->stored = stored < UINT32_MAX ? (uint32_t)stored : UINT32_MAX;
    }
    judge(w, cluster, stored, ref ? ref->count : 0);
}

/* The refcounts of one block that are not zero; first is the cluster of its first entry. */
static void check_block(struct walk *w, uint64_t offset, uint64_t first)
{
    unsigned order = w->info->refcount_order;
    const uint64_t words = w->q.cluster_size / 8, in_word = 64u >> order;
    const uint8_t *p;
    for (uint64_t i = 0; (i = walk_next_entry(w, w->inner, offset, i, words, 8, &p)) < words; i++) {
        for (unsigned k = 0; k < in_word; k++) {
            uint64_t stored = qcow2_refcount_block_entry_get(p, k, order);
            if (stored) {
                judge_stored(w, first + i * in_word + k, stored);
            }
        }
    }
}

void walk_check_refcounts(struct walk *w)
{
    uint64_t per_block = (w->q.cluster_size * 8) >> w->info->refcount_order;
    uint64_t entries = table_readable(w) ? table_entries(w) : 0;
    const uint8_t *p;
    for (uint64_t i = 0; i < entries && (i = next_block(w, i, &p)) < entries; i++) {
        uint64_t block = qcow2_refcount_table_entry_get_offset(p);
        if (block && block % w->q.cluster_size == 0 && block < w->image->size) {
            check_block(w, block, spec_mul(i, per_block));
        }
    }
    for (size_t i = 0; i < w->map.nr_slots && !w->error; i++) {
        struct cluster_ref *ref = &w->map.slots[i];
        if (ref->kinds && !(ref->flags & SEEN)) {
            judge(w, ref->cluster, 0, ref->count);
        }
    }
}
