/*
 * Preallocation of qcow2: mapping new guest clusters before there is data for them.
 *
 * Metadata mode maps clusters wherever they are free; their data may be holes of the file.  With
 * space (falloc, full) all new clusters are one run behind the end of the file, allocated on the
 * host by one request, so that they are whole there and later writes need nothing more from it.
 */
#include "ref/format/qcow2/qcow2.h"

#include <assert.h>
#include <errno.h>

/* Host clusters that were used before still hold that: the new part of the disk must read as
 * zeroes. */
static int clear_used(struct qcow2 *s, const struct qcow2_alloc *a)
{
    if (a->fresh || has_data_file(s) || (s->extended_l2 && a->head.bytes == 0)) {
        return 0; /* with extended entries the subclusters stay unallocated */
    }
    qcow2_cache_depends_on_data(s->l2_cache);
    return child_pwrite_zeroes(s->n->file, (int64_t)a->host_offset,
                               (int64_t)((uint64_t)a->nb_clusters << s->cluster_bits),
                               REQ_MAY_UNMAP, LABEL_PREALLOCATE, NULL);
}

/* Links clusters that hold no data yet; the old disk's part of the first one comes along. */
static int map_empty(struct qcow2 *s, struct qcow2_alloc *a)
{
    a->prealloc = a->skip_cow = true;
    int ret = clear_used(s, a);
    if (ret == 0 && a->head.bytes) {
        qcow2_cache_depends_on_data(s->l2_cache);
        co_unlock(s->w, &s->lock);
        ret = qcow2_copy_head(s, a, NULL);
        co_lock(s->w, &s->lock);
    }
    return ret < 0 ? ret : qcow2_link_l2(s, a, NULL);
}

int qcow2_preallocate(struct qcow2 *s, uint64_t offset, uint64_t new_length, enum prealloc mode,
                      struct error **err)
{
    uint64_t end = 0;
    while (offset < new_length) {
        uint64_t bytes = new_length - offset, host = 0;
        struct qcow2_alloc *a;
        int ret = qcow2_alloc_host(s, offset, &bytes, &host, &a, NULL);
        if (ret < 0) {
            return error_set_errno(err, -ret, "Allocating clusters failed");
        }
        end = MAX(end, host + bytes);
        if (a && a->keep_old) {
            qcow2_alloc_abort(s, a); /* has its clusters: they stay what they are */
        } else if (a) {
            ret = map_empty(s, a);
            if (ret < 0) {
                qcow2_alloc_abort(s, a);
                return error_set_errno(err, -ret, "Mapping clusters failed");
            }
        }
        offset += bytes;
    }
    /* Whoever reads the new clusters must not meet the end of the file. */
    int64_t have = child_length(s->data_file);
    end = ROUND_UP(end, s->subcluster_size);
    if (have < 0) {
        return error_set_errno(err, (int)-have, "Failed to inquire current file length");
    }
    if (has_data_file(s)) {
        end = MIN(end, new_length);
    }
    if (end > (uint64_t)have) {
        return child_truncate(s->data_file, (int64_t)end, false,
                              mode == PREALLOC_METADATA ? PREALLOC_OFF : mode, 0, err);
    }
    return 0;
}

#define NO_BLOCK UINT64_MAX

/* Index of the first refcount block that clusters [first, first + nb) lack. */
static uint64_t missing_block(const struct qcow2 *s, uint64_t first, uint64_t nb)
{
    for (uint64_t i = first >> s->refblock_bits; i <= (first + nb - 1) >> s->refblock_bits; i++) {
        if (i >= s->reftable_size || !(s->reftable[i] & REFT_OFFSET_MASK)) {
            return i;
        }
    }
    return NO_BLOCK;
}

/*
 * Refcount structures for nb more clusters behind the end of the file: blocks, then a new table
 * that has room for all.  The old table's place is where L2 tables go.  *first is the first free
 * cluster behind them.
 */
static int reserve_refcounts(struct qcow2 *s, uint64_t nb, uint64_t *first)
{
    uint64_t slack = nb / (s->refblock_size - 1) + s->reftable_clusters + 16;
    bool moved = false;
    for (;;) {
        int64_t at = qcow2_find_free(s, s->cluster_size);
        if (at < 0) {
            return (int)at;
        }
        *first = (uint64_t)at >> s->cluster_bits;
        s->free_cluster_index = *first;
        uint64_t i = missing_block(s, *first, nb + (moved ? 0 : s->reftable_clusters));
        int ret;
        if (!moved && (i == NO_BLOCK || i >= s->reftable_size)) {
            ret = qcow2_move_reftable(s, ((*first + nb + slack) >> s->refblock_bits) + 1);
            s->free_cluster_index = *first; /* behind the table, not in the place of the old one */
            moved = true;
        } else if (i == NO_BLOCK) {
            return 0;
        } else {
            ret = qcow2_alloc_refblock(s, i << s->refblock_bits);
        }
        if (ret < 0 && ret != QCOW2_SEARCH_AGAIN) {
            return ret;
        }
    }
}

/* Takes up to *nb clusters in one run behind the end of the file; host offset or -errno. */
static int64_t take_run(struct qcow2 *s, uint64_t *nb)
{
    int64_t have = child_length(s->n->file), got = have;
    /* Lower free clusters remain for tables, and so does what the refcount table leaves. */
    uint64_t lowest = MIN(s->free_cluster_index, s->reftable_offset >> s->cluster_bits), first = 0;
    if (have < 0) {
        return have;
    }
    s->free_cluster_index = size_to_clusters(s, (uint64_t)have);
    int ret =
        *nb > QCOW2_MAX_HOST_OFFSET >> s->cluster_bits ? -EFBIG : reserve_refcounts(s, *nb, &first);
    if (ret == 0) {
        got = qcow2_alloc_clusters_at(s, first << s->cluster_bits, *nb);
        ret = got < 0 ? (int)got : 0;
    }
    s->free_cluster_index = lowest;
    if (ret < 0) {
        return ret;
    }
    assert(got > 0);
    *nb = (uint64_t)got;
    return (int64_t)(first << s->cluster_bits);
}

/* The file up to the run's end, the run itself in one piece.  Where tables behind the run made the
 * file longer it is not cut: that part of the run is written. */
static int allocate_run(struct qcow2 *s, uint64_t host, uint64_t bytes, enum prealloc mode,
                        struct error **err)
{
    int64_t have = child_length(s->n->file);
    int ret =
        have < 0 ? error_set_errno(err, (int)-have, "Failed to inquire current file length") : 0;
    if (ret == 0 && (uint64_t)have < host) {
        ret = child_truncate(s->n->file, (int64_t)host, false, PREALLOC_OFF, 0, err);
    }
    /* What lies before it gets its place on the host first, or the run cannot follow it there. */
    if (ret == 0) {
        ret = node_flush_now(s->n->file->node);
        ret = ret < 0 ? error_set_errno(err, -ret, "Could not flush the file") : 0;
    }
    if (ret == 0 && (uint64_t)have > host) {
        ret = child_pwrite_zeroes(s->n->file, (int64_t)host,
                                  (int64_t)(MIN((uint64_t)have, host + bytes) - host), 0,
                                  LABEL_PREALLOCATE, NULL);
        ret = ret < 0 ? error_set_errno(err, -ret, "Could not write the new clusters") : 0;
    }
    if (ret == 0 && (uint64_t)have < host + bytes) {
        ret = child_truncate(s->n->file, (int64_t)(host + bytes), false, mode, 0, err);
    }
    return ret;
}

/* Maps nb clusters from the guest's `start` on to the run at `host`; what the disk had in the first
 * one before `old` moves there.  Clusters that were not mapped are free afterwards. */
static int map_run(struct qcow2 *s, uint64_t start, uint64_t old, uint64_t host, uint64_t nb,
                   bool fresh)
{
    int ret = 0;
    while (nb && ret == 0) {
        uint64_t n =
            MIN(nb, s->l2_slice_size - (offset_to_l2_index(s, start) & (s->l2_slice_size - 1)));
        struct qcow2_alloc *a = mem_zalloc(sizeof(*a));
        a->guest_offset = a->head.offset = start;
        a->host_offset = host;
        a->nb_clusters = (unsigned)n;
        a->fresh = fresh;
        a->head.bytes = start < old ? old - start : 0;
        a->tail.offset = start + (n << s->cluster_bits);
        qcow2_alloc_register(s, a);
        ret = map_empty(s, a);
        if (ret < 0) {
            qcow2_alloc_abort(s, a);
        }
        start += n << s->cluster_bits;
        host += n << s->cluster_bits;
        nb -= n;
    }
    if (nb) {
        qcow2_free_clusters(s, host, nb << s->cluster_bits, DISCARD_OTHER);
    }
    return ret;
}

int qcow2_preallocate_space(struct qcow2 *s, uint64_t old, uint64_t size, enum prealloc mode,
                            struct error **err)
{
    uint64_t start = start_of_cluster(s, old), nb;
    if (old == size) {
        return 0;
    }
    qcow2_wait_allocs(s, start, size - start);
    for (; start < size; start += nb << s->cluster_bits) {
        (void)qcow2_is_virgin(s, 0);
        uint64_t virgin = s->virgin;
        nb = size_to_clusters(s, size - start);
        int64_t host = take_run(s, &nb);
        if (host < 0) {
            return error_set_errno(err, (int)-host, "Failed to resize refcount structures");
        }
        uint64_t bytes = nb << s->cluster_bits;
        int ret = allocate_run(s, (uint64_t)host, bytes, mode, err);
        if (ret < 0) {
            qcow2_free_clusters(s, (uint64_t)host, bytes, DISCARD_OTHER);
            return ret;
        }
        ret = map_run(s, start, old, (uint64_t)host, nb, (uint64_t)host >= virgin);
        if (ret < 0) {
            return error_set_errno(err, -ret, "Mapping clusters failed");
        }
    }
    return 0;
}
