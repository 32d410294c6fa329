/*
 * Growth of qcow2's refcount structures: new refcount blocks, a larger refcount table; and their
 * shrinking.
 *
 * A block is durable before the table refers to it, a table before the header does.  After any
 * growth the caller starts its search again (QCOW2_SEARCH_AGAIN), for the new structures took
 * clusters themselves.
 */
#include "ref/format/qcow2/qcow2.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>

static void set_reftable(struct qcow2 *s, uint64_t i, uint64_t offset)
{
    s->reftable[i] = offset;
    if (i >= s->reftable_used) {
        s->reftable_used = (uint32_t)i + 1;
    }
}

/* Points the header at a new table: offset and clusters are neighbours there. */
static int switch_table(struct qcow2 *s, uint64_t offset, uint32_t clusters)
{
    uint8_t buf[12];
    _Static_assert(QCOW2_HEADER_REFCOUNT_TABLE_CLUSTERS_OFF ==
                       QCOW2_HEADER_REFCOUNT_TABLE_OFFSET_OFF + 8,
                   "neighbours");
    store_be64(buf, offset);
    store_be32(buf + 8, clusters);
    int ret = child_pwrite_sync(s->n->file, QCOW2_HEADER_REFCOUNT_TABLE_OFFSET_OFF, buf,
                                sizeof(buf), LABEL_REFBLOCK_ALLOC_SWITCH_TABLE, NULL);
    s->header_unsure |= ret < 0;
    return ret;
}

/* Blocks and table clusters so that `total` blocks cover everything up to `start` and all of
 * themselves. */
static void table_geometry(const struct qcow2 *s, uint64_t start, uint64_t *total,
                           uint64_t *table_clusters)
{
    uint64_t blocks = start >> s->refblock_bits, table = 0;
    for (;;) {
        uint64_t b = DIV_ROUND_UP(start + blocks + table, s->refblock_size);
        uint64_t t = size_to_clusters(s, (b + DIV_ROUND_UP(b, 2)) * 8);
        if (b == blocks && t == table) {
            break;
        }
        blocks = b;
        table = t;
    }
    *total = blocks;
    *table_clusters = table;
}

/* Writes the refcount blocks of a new area: `used` clusters from its start have refcount 1. */
static int write_area_blocks(struct qcow2 *s, uint64_t start, uint64_t nb, uint64_t used)
{
    uint8_t *buf = mem_try_alloc(s->cluster_size);
    if (!buf) {
        return -ENOMEM;
    }
    int ret = 0;
    for (uint64_t b = 0; b < nb && ret == 0; b++) {
        memset(buf, 0, s->cluster_size);
        for (uint64_t i = 0; i < s->refblock_size && b * s->refblock_size + i < used; i++) {
            qcow2_refcount_block_entry_set(buf, i, s->refcount_order, 1);
        }
        uint64_t offset = (start + b) << s->cluster_bits;
        ret = qcow2_pre_write_overlap(s, 0, offset, s->cluster_size, false);
        if (ret == 0) {
            ret = child_pwrite_sync(s->n->file, (int64_t)offset, buf, (int64_t)s->cluster_size,
                                    LABEL_REFBLOCK_ALLOC_WRITE_BLOCKS, NULL);
        }
    }
    mem_free(buf);
    return ret;
}

static int write_table(struct qcow2 *s, uint64_t *table, uint64_t entries, uint64_t offset)
{
    int ret = qcow2_pre_write_overlap(s, 0, offset, entries * 8, false);
    if (ret < 0) {
        return ret;
    }
    for (uint64_t i = 0; i < entries; i++) {
        store_be64(&table[i], table[i]);
    }
    ret = child_pwrite_sync(s->n->file, (int64_t)offset, table, (int64_t)(entries * 8),
                            LABEL_REFBLOCK_ALLOC_WRITE_TABLE, NULL);
    for (uint64_t i = 0; i < entries; i++) {
        table[i] = load_be64(&table[i]);
    }
    return ret;
}

/* The header refers to `table` now (consumed). */
static void replace_table(struct qcow2 *s, uint64_t *table, uint64_t offset, uint32_t clusters,
                          uint32_t used)
{
    uint64_t old_offset = s->reftable_offset,
             old_bytes = (uint64_t)s->reftable_clusters << s->cluster_bits;
    mem_free(s->reftable);
    s->reftable = table;
    s->reftable_offset = offset;
    s->reftable_clusters = clusters;
    s->reftable_size = (uint32_t)(((uint64_t)clusters << s->cluster_bits) / 8);
    s->reftable_used = used;
    /* Moves the hint: what is just being allocated goes to where the old table was, when that is
     * large enough. */
    qcow2_free_clusters(s, old_offset, old_bytes, DISCARD_OTHER);
}

int qcow2_move_reftable(struct qcow2 *s, uint64_t entries)
{
    uint64_t clusters = MAX(s->reftable_clusters, size_to_clusters(s, entries * 8)),
             bytes = clusters << s->cluster_bits;
    if (bytes > QCOW2_MAX_REFCOUNT_TABLE_BYTES) {
        return -EFBIG;
    }
    int64_t offset = qcow2_alloc_clusters(s, bytes);
    if (offset < 0) {
        return (int)offset;
    }
    if (offset == 0) {
        qcow2_signal_corruption(s, true, -1, -1,
                                "Preventing invalid allocation of refcount table at offset 0");
        return -EIO;
    }
    if (s->reftable_size > bytes / 8) {
        /* Allocating made the table larger than was asked for, far out on a long device. */
        qcow2_free_clusters(s, (uint64_t)offset, bytes, DISCARD_OTHER);
        return 0;
    }
    uint64_t *table = mem_try_zalloc(bytes);
    int ret = table ? qcow2_cache_flush(s->refblock_cache, NULL) : -ENOMEM;
    if (ret == 0) {
        memcpy(table, s->reftable, (size_t)s->reftable_size * 8);
        ret = write_table(s, table, bytes / 8, (uint64_t)offset);
    }
    if (ret < 0) {
        qcow2_free_clusters(s, (uint64_t)offset, bytes, DISCARD_OTHER);
    } else {
        /* Should this fail, it is not known which of the two the header names: both stay. */
        ret = switch_table(s, (uint64_t)offset, (uint32_t)clusters);
    }
    if (ret < 0) {
        mem_free(table);
        return ret;
    }
    replace_table(s, table, (uint64_t)offset, (uint32_t)clusters, s->reftable_used);
    return 0;
}

/* A larger table, in which block `index` is at new_block.  The new area starts behind all that is
 * covered, so nothing of it was freed and waits to be discarded. */
static int grow_table(struct qcow2 *s, uint64_t cluster_index, uint64_t new_block)
{
    uint64_t high = MAX(cluster_index + 1, new_block >> s->cluster_bits);
    uint64_t first = DIV_ROUND_UP(high, s->refblock_size), start = first << s->refblock_bits, total,
             table_clusters;
    child_event(s->n->file, LABEL_REFTABLE_GROW, NULL);
    table_geometry(s, start, &total, &table_clusters);
    uint64_t bytes = table_clusters << s->cluster_bits, nb = total - first;
    if (bytes > QCOW2_MAX_REFCOUNT_TABLE_BYTES ||
        (start + nb + table_clusters) > QCOW2_MAX_HOST_OFFSET >> s->cluster_bits) {
        return -EFBIG;
    }
    uint64_t *table = mem_try_zalloc(bytes);
    if (!table) {
        return -ENOMEM;
    }
    memcpy(table, s->reftable, (size_t)s->reftable_size * 8);
    table[cluster_index >> s->refblock_bits] = new_block;
    for (uint64_t i = 0; i < nb; i++) {
        table[first + i] = (start + i) << s->cluster_bits;
    }
    uint64_t table_offset = (start + nb) << s->cluster_bits;
    if (qcow2_is_virgin(s, table_offset)) {
        s->virgin = table_offset + bytes;
    }
    int ret = write_area_blocks(s, start, nb, nb + table_clusters);
    if (ret == 0) {
        ret = write_table(s, table, bytes / 8, table_offset);
    }
    if (ret == 0) {
        ret = switch_table(s, table_offset, (uint32_t)table_clusters);
    }
    if (ret < 0) {
        mem_free(table);
        return ret;
    }
    replace_table(s, table, table_offset, (uint32_t)table_clusters, (uint32_t)total);
    return QCOW2_SEARCH_AGAIN;
}

/* The refcount of the new block itself, and the (empty) block in the cache, pinned. */
static int make_block(struct qcow2 *s, uint64_t index, uint64_t offset, uint8_t **block)
{
    uint64_t self = offset >> s->cluster_bits;
    bool inside = self >> s->refblock_bits == index;
    if (!inside) {
        int ret = qcow2_update_refcount(s, offset, s->cluster_size, 1, false, DISCARD_NEVER);
        if (ret == 0) {
            ret = qcow2_cache_flush(s->refblock_cache, NULL);
        }
        if (ret < 0) {
            return ret;
        }
    }
    int ret = qcow2_cache_get_empty(s->refblock_cache, offset, block, NULL);
    if (ret < 0) {
        return ret;
    }
    memset(*block, 0, s->cluster_size);
    if (inside) {
        qcow2_refcount_block_entry_set(*block, self & (s->refblock_size - 1), s->refcount_order, 1);
    }
    qcow2_cache_dirty(s->refblock_cache, *block);
    return 0;
}

int qcow2_alloc_refblock(struct qcow2 *s, uint64_t cluster_index)
{
    uint64_t index = cluster_index >> s->refblock_bits;
    int settled = qcow2_settle_header(s);
    int64_t offset = settled < 0 ? settled : qcow2_find_free(s, s->cluster_size);
    if (offset < 0) {
        return (int)offset;
    }
    if (offset == 0) {
        qcow2_signal_corruption(s, true, -1, -1,
                                "Preventing invalid allocation of refcount block at offset 0");
        return -EIO;
    }
    uint8_t *block;
    int ret = make_block(s, index, (uint64_t)offset, &block);
    if (ret < 0) {
        return ret; /* also QCOW2_SEARCH_AGAIN: its own block had to be made first */
    }
    qcow2_cache_put(s->refblock_cache, &block);
    child_event(s->n->file, LABEL_REFBLOCK_ALLOC_WRITE, NULL);
    ret = qcow2_cache_flush(s->refblock_cache, NULL);
    if (ret < 0) {
        goto fail;
    }
    if (index >= s->reftable_size) {
        ret = grow_table(s, cluster_index, (uint64_t)offset);
        if (ret < 0 && ret != QCOW2_SEARCH_AGAIN) {
            goto fail;
        }
        return ret;
    }
    uint8_t buf[8];
    store_be64(buf, (uint64_t)offset);
    ret = child_pwrite_sync(s->n->file, (int64_t)(s->reftable_offset + index * 8), buf, 8,
                            LABEL_REFBLOCK_ALLOC_HOOKUP, NULL);
    if (ret < 0) {
        goto fail;
    }
    set_reftable(s, index, (uint64_t)offset);
    return QCOW2_SEARCH_AGAIN;

fail:
    /* The table does not know the block: its cached copy must go before the cluster becomes
     * something else. */
    qcow2_cache_discard(s->refblock_cache, (uint64_t)offset, s->cluster_size);
    return ret;
}

/* A block counts as unused when it has no reference but the one on itself. */
static int block_is_unused(struct qcow2 *s, uint64_t i, bool *unused)
{
    uint64_t offset = s->reftable[i] & REFT_OFFSET_MASK;
    uint8_t *block;
    int ret = qcow2_cache_get(s->refblock_cache, offset, &block, NULL);
    if (ret < 0) {
        return ret;
    }
    uint64_t self = offset >> s->cluster_bits;
    *unused = true;
    for (uint64_t k = 0; k < s->refblock_size && *unused; k++) {
        uint64_t v = qcow2_refcount_block_entry_get(block, k, s->refcount_order);
        bool own = self >> s->refblock_bits == i && (self & (s->refblock_size - 1)) == k;
        *unused = v == (own ? 1 : 0);
    }
    qcow2_cache_put(s->refblock_cache, &block);
    return 0;
}

/* Gives up the cluster of an unused block.  Its own refcount is in another block, or goes with it.
 */
static int discard_block(struct qcow2 *s, uint64_t offset)
{
    uint64_t self = offset >> s->cluster_bits, i = self >> s->refblock_bits;
    if (i >= s->reftable_size || (s->reftable[i] & REFT_OFFSET_MASK) == 0) {
        qcow2_signal_corruption(
            s, true, -1, -1, "Refblock at %#" PRIx64 " is not covered by the refcount structures",
            offset);
        return -EIO;
    }
    if ((s->reftable[i] & REFT_OFFSET_MASK) != offset) {
        return qcow2_update_refcount(s, offset, s->cluster_size, 1, true, DISCARD_OTHER);
    }
    qcow2_cache_discard(s->refblock_cache, offset, s->cluster_size);
    if (self < s->free_cluster_index) {
        s->free_cluster_index = self;
    }
    return 0;
}

int qcow2_shrink_reftable(struct qcow2 *s)
{
    uint64_t bytes = (uint64_t)s->reftable_size * 8;
    uint64_t *table = mem_try_zalloc(bytes ? bytes : 1);
    if (!table) {
        return -ENOMEM;
    }
    int ret = qcow2_cache_flush(s->refblock_cache, NULL);
    for (uint32_t i = 0; i < s->reftable_size && ret == 0; i++) {
        bool unused = false;
        if (s->reftable[i] & REFT_OFFSET_MASK) {
            ret = block_is_unused(s, i, &unused);
            table[i] = unused ? 0 : s->reftable[i];
        }
    }
    if (ret == 0) {
        for (uint32_t i = 0; i < s->reftable_size; i++) {
            store_be64(&table[i], table[i]);
        }
        ret = child_pwrite_sync(s->n->file, (int64_t)s->reftable_offset, table, (int64_t)bytes,
                                LABEL_REFTABLE_UPDATE, NULL);
    }
    /* What was on its way when the write failed is not known: look at each entry by itself. */
    for (uint32_t i = 0; i < s->reftable_size && ret == 0; i++) {
        uint64_t old = s->reftable[i] & REFT_OFFSET_MASK;
        if (old && table[i] == 0) {
            ret = discard_block(s, old);
            if (ret == 0) {
                s->reftable[i] = 0;
            }
        }
    }
    while (s->reftable_used && !(s->reftable[s->reftable_used - 1] & REFT_OFFSET_MASK)) {
        s->reftable_used--;
    }
    mem_free(table);
    return ret;
}
