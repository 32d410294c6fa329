/*
 * Emptying a qcow2 image: afterwards every cluster reads from the backing file.
 *
 * Where nothing but the active L1 table refers to clusters the metadata is laid out anew, as in a
 * new image, and the file is cut behind it: header, refcount table, refcount block, L1 table.  The
 * dirty bit stands on disk meanwhile: a power cut, or an error, leaves an image whose refcounts the
 * next open repairs.  Else clusters are discarded one by one.
 */
#include "ref/format/qcow2/qcow2.h"

#include <assert.h>
#include <errno.h>

/* Clusters of the new layout. */
enum { REFTABLE = 1, REFBLOCK = 2, L1 = 3 };

static uint64_t l1_clusters(const struct qcow2 *s)
{
    return size_to_clusters(s, (uint64_t)s->l1_size * QCOW2_L1_ENTRY_SIZE);
}

static bool can_reset(const struct qcow2 *s)
{
    return s->version >= 3 && !has_data_file(s) && s->nb_snapshots == 0 && s->nb_bitmaps == 0 &&
           !s->has_crypto_ext && list_empty(&s->ios) && L1 + l1_clusters(s) <= s->refblock_size;
}

/* The L1 table where it is now: from here on no cluster of the guest is referred to. */
static int clear_l1(struct qcow2 *s)
{
    uint64_t bytes = l1_clusters(s) << s->cluster_bits;
    if (bytes == 0) {
        return 0;
    }
    int ret = qcow2_pre_write_overlap(s, OL_ACTIVE_L1, s->l1_offset, bytes, false);
    if (ret == 0) {
        ret = child_pwrite_zeroes(s->n->file, (int64_t)s->l1_offset, (int64_t)bytes, 0,
                                  LABEL_L1_UPDATE, NULL);
    }
    if (ret == 0) {
        ret = child_flush(s->n->file, NULL);
    }
    if (ret == 0) {
        memset(s->l1, 0, (size_t)s->l1_size * 8);
    }
    return ret;
}

/* The places of the new tables, which may be anything now, and then the header, which names them.
 */
static int place_tables(struct qcow2 *s)
{
    uint64_t cs = s->cluster_size;
    uint8_t buf[20];
    _Static_assert(QCOW2_HEADER_REFCOUNT_TABLE_CLUSTERS_OFF ==
                       QCOW2_HEADER_L1_TABLE_OFFSET_OFF + 16,
                   "neighbours");
    int ret = child_pwrite_zeroes(s->n->file, REFTABLE * (int64_t)cs,
                                  (int64_t)((L1 - 1 + l1_clusters(s)) * cs), 0,
                                  LABEL_EMPTY_IMAGE_PREPARE, NULL);
    if (ret == 0) {
        ret = child_flush(s->n->file, NULL);
    }
    if (ret < 0) {
        return ret;
    }
    store_be64(buf, L1 * cs);
    store_be64(buf + 8, REFTABLE * cs);
    store_be32(buf + 16, 1);
    return child_pwrite_sync(s->n->file, QCOW2_HEADER_L1_TABLE_OFFSET_OFF, buf, sizeof(buf),
                             LABEL_REFTABLE_UPDATE, NULL);
}

/* The same in memory: no refcounts at all yet. */
static int adopt_tables(struct qcow2 *s)
{
    uint64_t *table = mem_try_zalloc(s->cluster_size);
    if (!table) {
        return -ENOMEM;
    }
    mem_free(s->reftable);
    s->reftable = table;
    s->reftable_offset = REFTABLE * s->cluster_size;
    s->reftable_clusters = 1;
    s->reftable_size = (uint32_t)(s->cluster_size / 8);
    s->reftable_used = 0;
    s->l1_offset = L1 * s->cluster_size;
    s->free_cluster_index = s->free_byte_offset = 0;
    qcow2_process_discards(s, -ECANCELED); /* the file is cut anyway */
    return 0;
}

/* Refcounts of the new layout, and the end of the file behind it. */
static int count_tables(struct qcow2 *s, struct error **err)
{
    uint64_t used = L1 + l1_clusters(s);
    uint8_t *block = mem_try_zalloc(s->cluster_size), entry[8];
    if (!block) {
        return -ENOMEM;
    }
    for (uint64_t i = 0; i < used; i++) {
        qcow2_refcount_block_entry_set(block, i, s->refcount_order, 1);
    }
    int ret = child_pwrite_sync(s->n->file, REFBLOCK * (int64_t)s->cluster_size, block,
                                (int64_t)s->cluster_size, LABEL_REFBLOCK_ALLOC, NULL);
    mem_free(block);
    if (ret == 0) {
        store_be64(entry, REFBLOCK * s->cluster_size);
        ret = child_pwrite_sync(s->n->file, REFTABLE * (int64_t)s->cluster_size, entry, 8,
                                LABEL_REFBLOCK_ALLOC_HOOKUP, NULL);
    }
    if (ret == 0) {
        s->reftable[0] = REFBLOCK * s->cluster_size;
        s->reftable_used = 1;
        s->virgin_known = false;
        s->data_end = 0;
        ret = child_truncate(s->n->file, (int64_t)(used << s->cluster_bits), false, PREALLOC_OFF, 0,
                             err);
    }
    return ret;
}

static int reset(struct qcow2 *s, struct error **err)
{
    int ret = qcow2_cache_empty(s->l2_cache, NULL);
    ret = ret < 0 ? ret : qcow2_cache_empty(s->refblock_cache, NULL);
    ret = ret < 0 ? ret : qcow2_mark_dirty(s);
    if (ret < 0) {
        return ret;
    }
    ret = clear_l1(s);
    ret = ret < 0 ? ret : place_tables(s);
    ret = ret < 0 ? ret : adopt_tables(s);
    ret = ret < 0 ? ret : count_tables(s, err);
    if (ret < 0) {
        s->dead =
            true; /* what tables there are on disk is not known: opening the image repairs it */
        return ret;
    }
    return s->use_lazy_refcounts ? 0 : qcow2_mark_clean(s);
}

static int discard_all(struct qcow2 *s)
{
    uint64_t end = ROUND_UP(s->virtual_size, s->cluster_size),
             step = ROUND_DOWN((uint64_t)INT32_MAX, s->cluster_size);
    int ret = 0;
    for (uint64_t offset = 0; offset < end && ret == 0; offset += step) {
        ret = qcow2_discard_range(s, offset, MIN(step, end - offset), DISCARD_SNAPSHOT, true, NULL);
    }
    return ret < 0 ? ret : qcow2_writethrough(s, NULL);
}

int qcow2_make_empty(struct node *n)
{
    struct qcow2 *s = qcow2_state(n);
    struct error *err = NULL;
    co_lock(s->w, &s->lock);
    qcow2_wait_allocs(s, 0, INT64_MAX);
    int ret = qcow2_may_change(s);
    ret = ret < 0 ? ret : can_reset(s) ? reset(s, &err) : discard_all(s);
    error_free(err);
    co_unlock(s->w, &s->lock);
    return ret;
}
