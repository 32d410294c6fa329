/*
 * Changing the width of refcounts: new blocks and a new table beside the old ones, then one write
 * of the header.
 *
 * The new structures take clusters through the old ones, so the walk over all refcounts is repeated
 * until none had to be added.  Until the header is switched a power cut leaks the new structures,
 * behind it the old ones.
 */
#include "ref/format/qcow2/amend.h"

#include <errno.h>
#include <inttypes.h>

struct rewrite {
    struct qcow2 *s;
    struct amend_progress *p;
    unsigned order, block_bits; /* of the new structures; entries of a block as log2 */
    uint64_t *table;            /* places of new blocks, host order */
    uint64_t entries, room;
    uint64_t table_offset, table_clusters;
    uint8_t *old, *new; /* one block each */
    int walk, walks;
};

static int grow_entries(struct rewrite *r, uint64_t entries)
{
    if (entries > QCOW2_MAX_REFTABLE_ENTRIES) {
        return -EFBIG;
    }
    if (entries > r->room) {
        uint64_t room = MAX(MAX(entries, r->room * 2), 64);
        uint64_t *t = mem_try_realloc(r->table, room * 8);
        if (!t) {
            return -ENOMEM;
        }
        memset(t + r->room, 0, (room - r->room) * 8);
        r->table = t;
        r->room = room;
    }
    r->entries = MAX(r->entries, entries);
    return 0;
}

/* A cluster that is in use needs a new block that has its refcount. */
static int cover(struct rewrite *r, uint64_t cluster, uint64_t refcount, bool *added,
                 struct error **err)
{
    struct qcow2 *s = r->s;
    if (r->order < 6 && refcount >> (1u << r->order)) {
        return error_set(
            err, EINVAL,
            "Cannot decrease refcount entry width to %u bits: Cluster at offset %#" PRIx64
            " has a refcount of %" PRIu64,
            1u << r->order, cluster << s->cluster_bits, refcount);
    }
    uint64_t index = cluster >> r->block_bits;
    int ret = grow_entries(r, index + 1);
    if (ret == 0 && r->table[index] == 0) {
        int64_t offset = qcow2_alloc_clusters(s, s->cluster_size);
        ret = offset < 0 ? (int)offset : 0;
        r->table[index] = ret < 0 ? 0 : (uint64_t)offset;
        *added = true;
    }
    return ret < 0 ? error_set_errno(err, -ret, "Failed to allocate refblock") : 0;
}

static int walk_block(struct rewrite *r, uint32_t i, bool *added, struct error **err)
{
    struct qcow2 *s = r->s;
    uint64_t offset = s->reftable[i] & REFT_OFFSET_MASK;
    uint8_t *block;
    if (offset == 0) {
        return 0;
    }
    if (offset_into_cluster(s, offset)) {
        qcow2_signal_corruption(
            s, true, -1, -1,
            "Refblock offset %#" PRIx64 " unaligned (reftable index: %#" PRIx32 ")", offset, i);
        return error_set(err, EIO, "Image is corrupt");
    }
    /* A copy: allocations change the block meanwhile, which the next walk sees. */
    int ret = qcow2_cache_get(s->refblock_cache, offset, &block, NULL);
    if (ret < 0) {
        return error_set_errno(err, -ret, "Failed to retrieve reference count");
    }
    memcpy(r->old, block, s->cluster_size);
    qcow2_cache_put(s->refblock_cache, &block);
    for (uint64_t k = 0; k < s->refblock_size && ret == 0; k++) {
        uint64_t v = qcow2_refcount_block_entry_get(r->old, k, s->refcount_order);
        if (v) {
            ret = cover(r, ((uint64_t)i << s->refblock_bits) + k, v, added, err);
        }
    }
    return ret;
}

static int walk_all(struct rewrite *r, bool *added, struct error **err)
{
    struct qcow2 *s = r->s;
    int ret = 0;
    for (uint32_t i = 0; i < s->reftable_size && ret == 0; i++) {
        amend_report(r->p, (int64_t)s->reftable_size * r->walk + i,
                     (int64_t)s->reftable_size * r->walks);
        ret = walk_block(r, i, added, err);
    }
    r->walk++;
    if (ret == 0) {
        amend_report(r->p, (int64_t)s->reftable_size * r->walk,
                     (int64_t)s->reftable_size * r->walks);
    }
    return ret;
}

/* Room on disk for the new table. */
static int place_table(struct rewrite *r, bool *added, struct error **err)
{
    struct qcow2 *s = r->s;
    uint64_t need = size_to_clusters(s, r->entries * 8);
    if (need <= r->table_clusters) {
        return 0;
    }
    if (r->table_clusters) {
        qcow2_free_clusters(s, r->table_offset, r->table_clusters << s->cluster_bits,
                            DISCARD_NEVER);
        r->table_clusters = 0;
    }
    int64_t offset = qcow2_alloc_clusters(s, need << s->cluster_bits);
    if (offset < 0) {
        return error_set_errno(err, (int)-offset, "Failed to allocate the new reftable");
    }
    r->table_offset = (uint64_t)offset;
    r->table_clusters = need;
    *added = true;
    return 0;
}

static int write_blocks(struct rewrite *r, struct error **err)
{
    struct qcow2 *s = r->s;
    uint64_t entries = UINT64_C(1) << r->block_bits;
    int ret = 0;
    for (uint64_t i = 0; i < r->entries && ret == 0; i++) {
        if (r->table[i] == 0) {
            continue;
        }
        memset(r->new, 0, s->cluster_size);
        for (uint64_t k = 0; k < entries && ret == 0; k++) {
            uint64_t v;
            ret = qcow2_get_refcount(s, (i << r->block_bits) + k, &v);
            if (ret == 0 && v) {
                qcow2_refcount_block_entry_set(r->new, k, r->order, v);
            }
        }
        ret = ret < 0 ? ret : qcow2_pre_write_overlap(s, 0, r->table[i], s->cluster_size, false);
        ret = ret < 0
                  ? ret
                  : child_pwrite(s->n->file, (int64_t)r->table[i], r->new, (int64_t)s->cluster_size,
                                 LABEL_REFBLOCK_ALLOC_WRITE_BLOCKS, NULL);
    }
    return ret < 0 ? error_set_errno(err, -ret, "Failed to write refblock") : 0;
}

static int write_table(struct rewrite *r, struct error **err)
{
    struct qcow2 *s = r->s;
    uint64_t bytes = r->table_clusters << s->cluster_bits;
    uint8_t *buf = mem_try_zalloc(bytes);
    int ret = buf ? qcow2_pre_write_overlap(s, 0, r->table_offset, bytes, false) : -ENOMEM;
    for (uint64_t i = 0; i < r->entries && ret == 0; i++) {
        store_be64(buf + i * 8, r->table[i]);
    }
    ret = ret < 0 ? ret
                  : child_pwrite_sync(s->n->file, (int64_t)r->table_offset, buf, (int64_t)bytes,
                                      LABEL_REFBLOCK_ALLOC_WRITE_TABLE, NULL);
    mem_free(buf);
    return ret < 0 ? error_set_errno(err, -ret, "Failed to write the new reftable") : 0;
}

static void set_width(struct qcow2 *s, unsigned order)
{
    s->refcount_order = order;
    s->refcount_bits = 1u << order;
    s->refcount_max = order == 6 ? UINT64_MAX : (UINT64_C(1) << s->refcount_bits) - 1;
    s->refblock_bits = s->cluster_bits + 3 - order;
    s->refblock_size = UINT64_C(1) << s->refblock_bits;
}

/* Header and state go over to the new structures; *old is the old table, of old_size entries. */
static int switch_over(struct rewrite *r, uint64_t **old, struct error **err)
{
    struct qcow2 *s = r->s;
    uint64_t size = (r->table_clusters << s->cluster_bits) / 8, old_offset = s->reftable_offset;
    uint64_t *table = mem_try_array(size, 8);
    uint32_t old_clusters = s->reftable_clusters;
    unsigned old_order = s->refcount_order;
    if (!table) {
        return error_set_errno(err, ENOMEM, "Failed to allocate the new reftable");
    }
    memcpy(table, r->table, r->entries * 8);
    s->reftable_offset = r->table_offset;
    s->reftable_clusters = (uint32_t)r->table_clusters;
    s->refcount_order = r->order;
    int ret = qcow2_header_write(s);
    ret = ret < 0 ? ret : child_flush(s->n->file, NULL);
    s->header_unsure |= ret < 0;
    if (ret < 0) {
        s->reftable_offset = old_offset;
        s->reftable_clusters = old_clusters;
        s->refcount_order = old_order;
        mem_free(table);
        return error_set_errno(err, -ret, "Failed to update the qcow2 header");
    }
    set_width(s, r->order);
    *old = s->reftable;
    s->reftable = table;
    s->reftable_size = (uint32_t)size;
    s->reftable_used = (uint32_t)r->entries;
    s->free_cluster_index = 0;
    qcow2_cache_discard(s->refblock_cache, 0, UINT64_MAX);
    return 0;
}

/* What was allocated for structures that will not be used. */
static void give_up(struct rewrite *r)
{
    struct qcow2 *s = r->s;
    for (uint64_t i = 0; i < r->entries; i++) {
        if (r->table[i]) {
            qcow2_free_clusters(s, r->table[i], s->cluster_size, DISCARD_OTHER);
        }
    }
    if (r->table_clusters) {
        qcow2_free_clusters(s, r->table_offset, r->table_clusters << s->cluster_bits,
                            DISCARD_OTHER);
    }
}

static int build(struct rewrite *r, struct error **err)
{
    struct qcow2 *s = r->s;
    bool added;
    int ret;
    do {
        added = false;
        r->walks = MAX(r->walk + 2, 3);
        ret = walk_all(r, &added, err);
        ret = ret < 0 ? ret : place_table(r, &added, err);
    } while (ret == 0 && added);
    if (ret < 0) {
        return ret;
    }
    ret = qcow2_cache_flush(s->refblock_cache, NULL);
    if (ret < 0) {
        return error_set_errno(err, -ret, "Could not flush the refcount block cache");
    }
    for (uint32_t i = 0; i <= s->reftable_size; i++) {
        amend_report(r->p, (int64_t)s->reftable_size * r->walk + i,
                     (int64_t)s->reftable_size * r->walks);
    }
    ret = write_blocks(r, err);
    return ret < 0 ? ret : write_table(r, err);
}

int amend_refcount_width(struct qcow2 *s, unsigned order, struct amend_progress *p,
                         struct error **err)
{
    struct rewrite r = {.s = s, .p = p, .order = order, .block_bits = s->cluster_bits + 3 - order};
    uint64_t old_offset = s->reftable_offset, *old = NULL;
    uint32_t old_size = s->reftable_size;
    uint64_t old_bytes = (uint64_t)s->reftable_clusters << s->cluster_bits;
    r.old = mem_try_alloc(s->cluster_size);
    r.new = mem_try_alloc(s->cluster_size);
    int ret = r.old && r.new ? build(&r, err)
                             : error_set_errno(err, ENOMEM, "Failed to allocate refblock");
    if (ret == 0) {
        /* The table may have grown on the way. */
        old_offset = s->reftable_offset;
        old_size = s->reftable_size;
        old_bytes = (uint64_t)s->reftable_clusters << s->cluster_bits;
        ret = switch_over(&r, &old, err);
    }
    if (ret < 0) {
        give_up(&r);
    } else {
        for (uint32_t i = 0; i < old_size; i++) {
            if (old[i] & REFT_OFFSET_MASK) {
                qcow2_free_clusters(s, old[i] & REFT_OFFSET_MASK, s->cluster_size, DISCARD_OTHER);
            }
        }
        qcow2_free_clusters(s, old_offset, old_bytes, DISCARD_OTHER);
    }
    mem_free(old);
    mem_free(r.table);
    mem_free(r.old);
    mem_free(r.new);
    return ret;
}
