/*
 * Discard and zeroing of qcow2 clusters and subclusters: changes of L2 entries that free host
 * clusters.
 *
 * The entry goes first, the refcount after it (cache dependency).  Callers wait for allocations in
 * flight.
 */
#include "ref/format/qcow2/qcow2.h"

#include <assert.h>
#include <errno.h>

static bool is_allocated(enum cluster_type t)
{
    return t == CLUSTER_COMPRESSED || t == CLUSTER_NORMAL || t == CLUSTER_ZERO_ALLOC;
}

struct pair {
    uint64_t entry, bitmap;
};

#define ALL_ZERO_SUBCLUSTERS (UINT64_C(0xffffffff) << 32)

/* A discarded cluster: reads as zeroes where the backing file or the old data would show otherwise.
 */
static struct pair discarded(const struct qcow2 *s, struct pair old, bool full)
{
    struct pair p = {0, 0};
    if (!full && (s->n->backing || is_allocated(qcow2_cluster_type(s, old.entry)))) {
        if (s->extended_l2) {
            p.bitmap = ALL_ZERO_SUBCLUSTERS;
        } else if (s->version >= 3) {
            p.entry = OFLAG_ZERO;
        }
    } else if (!full) {
        return old;
    }
    return p;
}

static int discard_in_slice(struct qcow2 *s, uint64_t offset, uint64_t nb,
                            enum qcow2_discard_type type, bool full, uint64_t *done,
                            const struct request *r)
{
    uint8_t *slice;
    unsigned index;
    int ret = qcow2_get_slice_for_write(s, offset, &slice, &index, r);
    if (ret < 0) {
        return ret;
    }
    *done = MIN(nb, (uint64_t)(s->l2_slice_size - index));
    for (uint64_t i = 0; i < *done; i++) {
        unsigned k = index + (unsigned)i;
        struct pair old = {l2_get_entry(s, slice, k), l2_get_bitmap(s, slice, k)},
                    new = discarded(s, old, full);
        if (new.entry == old.entry &&new.bitmap == old.bitmap) {
            continue;
        }
        qcow2_cache_dirty(s->l2_cache, slice);
        l2_set_entry(s, slice, k, new.entry);
        l2_set_bitmap(s, slice, k, new.bitmap);
        qcow2_free_any_cluster(s, old.entry, type);
    }
    qcow2_cache_put(s->l2_cache, &slice);
    return s->dead ? -ENOMEDIUM : 0;
}

int qcow2_discard_range(struct qcow2 *s, uint64_t offset, uint64_t bytes,
                        enum qcow2_discard_type type, bool full, const struct request *r)
{
    assert(offset_into_cluster(s, offset) == 0);
    uint64_t nb = size_to_clusters(s, bytes);
    int ret = 0;
    while (nb > 0 && ret == 0) {
        uint64_t done = 0;
        ret = discard_in_slice(s, offset, nb, type, full, &done, r);
        nb -= done;
        offset += done << s->cluster_bits;
    }
    qcow2_process_discards(s, ret);
    return ret;
}

static int zero_in_slice(struct qcow2 *s, uint64_t offset, uint64_t nb, unsigned flags,
                         uint64_t *done, const struct request *r)
{
    uint8_t *slice;
    unsigned index;
    int ret = qcow2_get_slice_for_write(s, offset, &slice, &index, r);
    if (ret < 0) {
        return ret;
    }
    *done = MIN(nb, (uint64_t)(s->l2_slice_size - index));
    for (uint64_t i = 0; i < *done; i++) {
        unsigned k = index + (unsigned)i;
        struct pair old = {l2_get_entry(s, slice, k), l2_get_bitmap(s, slice, k)}, new = old;
        enum cluster_type t = qcow2_cluster_type(s, old.entry);
        bool unmap = t == CLUSTER_COMPRESSED || ((flags & REQ_MAY_UNMAP) && is_allocated(t));
        if (unmap) {
            new.entry = 0;
        }
        if (s->extended_l2) {
            new.bitmap = ALL_ZERO_SUBCLUSTERS;
        } else {
            new.entry |= OFLAG_ZERO;
        }
        if (new.entry == old.entry &&new.bitmap == old.bitmap) {
            continue;
        }
        qcow2_cache_dirty(s->l2_cache, slice);
        l2_set_entry(s, slice, k, new.entry);
        l2_set_bitmap(s, slice, k, new.bitmap);
        if (unmap) {
            qcow2_free_any_cluster(s, old.entry, DISCARD_REQUEST);
        }
    }
    qcow2_cache_put(s->l2_cache, &slice);
    return s->dead ? -ENOMEDIUM : 0;
}

/* Part of one cluster, in subclusters. */
static int zero_subclusters(struct qcow2 *s, uint64_t offset, uint64_t bytes,
                            const struct request *r)
{
    uint8_t *slice;
    unsigned index, sc = offset_to_sc_index(s, offset), n = (unsigned)(bytes >> s->subcluster_bits);
    assert(s->extended_l2 && sc + n <= s->subclusters);
    int ret = qcow2_get_slice_for_write(s, offset, &slice, &index, r);
    if (ret < 0) {
        return ret;
    }
    uint64_t bitmap = l2_get_bitmap(s, slice, index), mask = (UINT64_C(1) << n) - 1;
    if (qcow2_cluster_type(s, l2_get_entry(s, slice, index)) == CLUSTER_COMPRESSED) {
        ret = -ENOTSUP; /* has no subclusters */
    } else {
        l2_set_bitmap(s, slice, index, (bitmap & ~(mask << sc)) | mask << (sc + 32));
        qcow2_cache_dirty(s->l2_cache, slice);
    }
    qcow2_cache_put(s->l2_cache, &slice);
    return ret;
}

int qcow2_zeroize_range(struct qcow2 *s, uint64_t offset, uint64_t bytes, unsigned flags,
                        const struct request *r)
{
    assert(IS_ALIGNED(offset, s->subcluster_size));
    uint64_t end = offset + ROUND_UP(bytes, s->subcluster_size);
    if (data_file_is_raw(s)) {
        /* Whoever reads the raw file must see the zeroes. */
        int ret = child_pwrite_zeroes(s->data_file, (int64_t)offset, (int64_t)bytes, flags,
                                      LABEL_NONE, r);
        if (ret < 0) {
            return ret;
        }
    }
    if (s->version < 3) {
        return s->n->backing
                   ? -ENOTSUP
                   : qcow2_discard_range(s, offset, end - offset, DISCARD_REQUEST, false, r);
    }
    int ret = 0;
    while (offset < end && ret == 0) {
        uint64_t in = offset_into_cluster(s, offset), left = end - offset, done = 0;
        if (in || left < s->cluster_size) {
            /* The last cluster of the disk is zeroed as a whole: nothing can be behind its end.
             */
            done = MIN(left, s->cluster_size - in);
            if (in == 0 && (!s->extended_l2 || end >= s->virtual_size)) {
                uint64_t one;
                ret = zero_in_slice(s, offset, 1, flags, &one, r);
            } else {
                ret = zero_subclusters(s, offset, done, r);
            }
        } else {
            ret = zero_in_slice(s, offset, left >> s->cluster_bits, flags, &done, r);
            done <<= s->cluster_bits;
        }
        offset += done;
    }
    qcow2_process_discards(s, ret);
    return ret;
}
