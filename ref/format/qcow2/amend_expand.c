/*
 * Zero clusters out of all L2 tables, for version 2, which has none: data clusters full of zeroes,
 * or nothing where nothing lies below (spec: "Cluster mapping", bit 0).
 *
 * Goes through the active L1 table and those of the snapshots; a table that several share is
 * changed once, for all. Zeroes are on disk before the entry that shows them, refcounts before
 * entries.
 */
#include "ref/format/qcow2/amend.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include "ref/format/qcow2/crypt.h"

/* A cluster for the zeroes that all `refs` users of the table refer to. */
static int new_cluster(struct qcow2 *s, uint64_t refs, uint64_t *offset)
{
    int64_t o = qcow2_alloc_clusters(s, s->cluster_size);
    if (o < 0) {
        return (int)o;
    }
    *offset = (uint64_t)o;
    int ret = refs > 1 ? qcow2_update_refcount(s, *offset, s->cluster_size, refs - 1, false,
                                               DISCARD_OTHER)
                       : 0;
    if (ret < 0) {
        qcow2_free_clusters(s, *offset, s->cluster_size, DISCARD_OTHER);
    }
    return ret;
}

/* The cluster a zero entry keeps may be some other table's data: then it is left alone. */
static int own_cluster(struct qcow2 *s, uint64_t offset, uint64_t refs, uint64_t *place,
                       bool *leave)
{
    uint64_t refcount;
    int ret = qcow2_get_refcount(s, offset >> s->cluster_bits, &refcount);
    *leave = ret == 0 && refcount > refs;
    *place = offset;
    return ret == 0 && *leave ? new_cluster(s, refs, place) : ret;
}

/* Guest cluster `guest` holds zeroes at host offset `place`; encrypted, zeroes are no zeroes. */
static int write_zero_cluster(struct qcow2 *s, uint64_t guest, uint64_t place)
{
    int64_t at = (int64_t)place, bytes = (int64_t)s->cluster_size;
    int ret = qcow2_pre_write_overlap(s, 0, place, s->cluster_size, true);
    if (ret < 0 || !s->crypt) {
        return ret < 0 ? ret : child_pwrite_zeroes(s->data_file, at, bytes, 0, LABEL_NONE, NULL);
    }
    uint8_t *buf = node_try_blockalign(s->data_file->node, s->cluster_size);
    if (!buf) {
        return -ENOMEM;
    }
    memset(buf, 0, s->cluster_size);
    qcow2_encrypt(s, guest, place, buf, s->cluster_size);
    ret = child_pwrite(s->data_file, at, buf, bytes, LABEL_NONE, NULL);
    mem_free(buf);
    return ret;
}

/* Where an entry stands, and how many users its table has. */
struct at {
    uint64_t l2_offset, guest, refs;
    unsigned index;
};

static int expand_entry(struct qcow2 *s, const struct at *at, uint64_t entry, uint64_t *out)
{
    enum cluster_type t = qcow2_cluster_type(s, entry);
    uint64_t offset = entry & L2_OFFSET_MASK, place = 0;
    bool leave = false;
    int ret;
    *out = 0;
    if (t == CLUSTER_ZERO_PLAIN && !s->n->backing) {
        return 0;
    }
    if (offset_into_cluster(s, offset)) {
        qcow2_signal_corruption(s, true, -1, -1,
                                "Cluster allocation offset %#" PRIx64
                                " unaligned (L2 offset: %#" PRIx64 ", L2 index: %#x)",
                                offset, at->l2_offset, at->index);
        return -EIO;
    }
    ret = t == CLUSTER_ZERO_PLAIN ? new_cluster(s, at->refs, &place)
                                  : own_cluster(s, offset, at->refs, &place, &leave);
    ret = ret < 0 ? ret : write_zero_cluster(s, at->guest, place);
    if (ret < 0) {
        return ret;
    }
    qcow2_cache_depends_on_data(s->l2_cache);
    if (leave) {
        /* The entry goes to disk before the old cluster's refcount, as for every decrease. */
        ret = qcow2_update_refcount(s, offset, s->cluster_size, at->refs, true, DISCARD_OTHER);
    }
    *out = place | (at->refs == 1 ? OFLAG_COPIED : 0);
    return ret;
}

/* at: the first entry of the slice. */
static int expand_slice(struct qcow2 *s, struct at at)
{
    uint8_t *slice;
    int ret = qcow2_cache_get(s->l2_cache, at.l2_offset + (uint64_t)at.index * s->l2_entry_size,
                              &slice, NULL);
    if (ret < 0) {
        return ret;
    }
    for (unsigned i = 0; i < s->l2_slice_size && ret == 0;
         i++, at.index++, at.guest += s->cluster_size) {
        uint64_t entry = l2_get_entry(s, slice, i), now;
        enum cluster_type t = qcow2_cluster_type(s, entry);
        if (t != CLUSTER_ZERO_PLAIN && t != CLUSTER_ZERO_ALLOC) {
            continue;
        }
        ret = expand_entry(s, &at, entry, &now);
        ret = ret < 0 ? ret : qcow2_cache_set_dependency(s->l2_cache, s->refblock_cache, NULL);
        if (ret == 0) {
            l2_set_entry(s, slice, i, now);
            qcow2_cache_dirty(s->l2_cache, slice);
        }
    }
    qcow2_cache_put(s->l2_cache, &slice);
    return ret;
}

static int expand_table(struct qcow2 *s, uint64_t l1_entry, uint32_t l1_index)
{
    uint64_t offset = l1_entry & L1_OFFSET_MASK, refs;
    if (offset_into_cluster(s, offset)) {
        qcow2_signal_corruption(s, true, -1, -1,
                                "L2 table offset %#" PRIx64 " unaligned (L1 index: %#" PRIx32 ")",
                                offset, l1_index);
        return -EIO;
    }
    int ret = qcow2_get_refcount(s, offset >> s->cluster_bits, &refs);
    for (uint64_t i = 0; i < s->l2_size && ret == 0 && offset; i += s->l2_slice_size) {
        uint64_t cluster = l1_index * s->l2_size + i;
        ret = expand_slice(s, (struct at){offset, cluster << s->cluster_bits, refs, (unsigned)i});
    }
    return ret;
}

static int has_compressed(struct qcow2 *s, uint64_t l1_entry, uint32_t l1_index)
{
    uint64_t offset = l1_entry & L1_OFFSET_MASK;
    int found = 0;
    for (uint64_t i = 0; i < s->l2_size && !found && offset && !offset_into_cluster(s, offset);
         i += s->l2_slice_size) {
        uint8_t *slice;
        int ret = qcow2_cache_get(s->l2_cache, offset + i * s->l2_entry_size, &slice, NULL);
        if (ret < 0) {
            return ret;
        }
        for (unsigned k = 0; k < s->l2_slice_size && !found; k++) {
            found = qcow2_cluster_type(s, l2_get_entry(s, slice, k)) == CLUSTER_COMPRESSED;
        }
        qcow2_cache_put(s->l2_cache, &slice);
    }
    return found;
}

struct visit {
    int (*fn)(struct qcow2 *s, uint64_t l1_entry, uint32_t l1_index);
    int64_t done, total;
    amend_progress_fn *progress;
    void *opaque;
};

static int visit_l1(struct qcow2 *s, const uint64_t *l1, uint32_t entries, struct visit *v)
{
    int ret = 0;
    for (uint32_t i = 0; i < entries && ret == 0; i++) {
        ret = l1[i] & L1_OFFSET_MASK ? v->fn(s, l1[i], i) : 0;
        v->done++;
        if (ret == 0 && v->progress) {
            v->progress(s->n, v->done, v->total, v->opaque);
        }
    }
    return ret;
}

/* Every L1 table of the image, the active one first. */
static int visit_all(struct qcow2 *s, struct visit *v)
{
    v->total = s->l1_size;
    for (uint32_t i = 0; i < s->nb_snapshots; i++) {
        v->total += s->snapshots[i].l1_size;
    }
    int ret = visit_l1(s, s->l1, s->l1_size, v);
    for (uint32_t i = 0; i < s->nb_snapshots && ret == 0; i++) {
        const struct qcow2_snapshot *sn = &s->snapshots[i];
        struct error *local = NULL;
        uint64_t *l1 = NULL;
        ret = qcow2_validate_table(s, sn->l1_offset, sn->l1_size, 8, QCOW2_MAX_L1_BYTES,
                                   "Snapshot L1 table", &local);
        if (ret < 0) {
            world_report_error(s->w, local);
            return ret;
        }
        ret = qcow2_read_l1_table(s, sn->l1_offset, sn->l1_size, &l1);
        ret = ret ? ret : visit_l1(s, l1, sn->l1_size, v);
        mem_free(l1);
    }
    return ret;
}

int amend_has_compressed(struct qcow2 *s)
{
    struct visit v = {.fn = has_compressed};
    return visit_all(s, &v);
}

int qcow2_expand_zero_clusters(struct qcow2 *s, amend_progress_fn *progress, void *opaque)
{
    struct visit v = {.fn = expand_table, .progress = progress, .opaque = opaque};
    int ret = visit_all(s, &v);
    ret = ret < 0 ? ret : qcow2_flush_caches(s, NULL);
    qcow2_process_discards(s, ret);
    return ret;
}
