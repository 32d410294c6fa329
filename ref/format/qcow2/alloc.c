/*
 * Allocating writes of qcow2: where a guest range goes on the host, and linking it into L2
 * afterwards.
 *
 * A range is of one kind: written in place (data clusters with refcount 1), onto host clusters that
 * are kept (preallocated zero clusters, unallocated subclusters), or to new clusters.  The last two
 * are allocations in flight until link or abort.
 */
#include "ref/format/qcow2/qcow2.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>

enum kind { IN_PLACE, KEEP, NEW };

/* How the part [from, to) of one cluster is written; from and to are offsets in the cluster. */
static int kind_of(struct qcow2 *s, uint64_t entry, uint64_t bitmap, uint64_t guest, uint64_t from,
                   uint64_t to, enum kind *kind)
{
    enum cluster_type t = qcow2_cluster_type(s, entry);
    *kind = NEW;
    if (qcow2_subcluster_type(s, entry, bitmap, 0) == SUBCLUSTER_INVALID) {
        qcow2_signal_corruption(
            s, true, -1, -1, "Invalid cluster entry found (L2 offset: %#" PRIx64 ", L2 index: %#x)",
            s->l1[offset_to_l1_index(s, guest)] & L1_OFFSET_MASK, offset_to_l2_index(s, guest));
        return -EIO;
    }
    if (!(entry & OFLAG_COPIED) || (t != CLUSTER_NORMAL && t != CLUSTER_ZERO_ALLOC)) {
        return 0;
    }
    uint64_t host = entry & L2_OFFSET_MASK;
    if (offset_into_cluster(s, host)) {
        qcow2_signal_corruption(
            s, true, -1, -1, "%s offset %#" PRIx64 " unaligned (guest offset: %#" PRIx64 ")",
            t == CLUSTER_NORMAL ? "Data cluster" : "Preallocated zero cluster", host, guest);
        return -EIO;
    }
    *kind = IN_PLACE;
    for (unsigned sc = (unsigned)(from >> s->subcluster_bits); sc <= (to - 1) >> s->subcluster_bits;
         sc++) {
        if (qcow2_subcluster_type(s, entry, bitmap, sc) != SUBCLUSTER_NORMAL) {
            *kind = KEEP;
        }
    }
    return 0;
}

/* First (or behind last) byte in a cluster that COW must bring along when [from, to) is written. */
static void cow_bounds(const struct qcow2 *s, enum kind kind, uint64_t entry, uint64_t bitmap,
                       uint64_t from, uint64_t to, uint64_t *first, uint64_t *end)
{
    *first = from & ~(s->subcluster_size - 1);
    *end = ROUND_UP(to, s->subcluster_size);
    for (unsigned sc = 0; sc < s->subclusters; sc++) {
        enum subcluster_type t = qcow2_subcluster_type(s, entry, bitmap, sc);
        uint64_t start = (uint64_t)sc << s->subcluster_bits;
        if (kind == NEW && (t == SUBCLUSTER_NORMAL || t == SUBCLUSTER_COMPRESSED)) {
            *first = MIN(*first, start);
            *end = MAX(*end, start + s->subcluster_size);
        } else if (kind == KEEP && t == SUBCLUSTER_NORMAL) {
            /* That subcluster is where it belongs. */
            if (start == *first) {
                *first = from;
            }
            if (start + s->subcluster_size == *end) {
                *end = to;
            }
        }
    }
}

/* What COW would copy from this cluster reads as zeroes, without looking at any data. */
static bool reads_zero(const struct qcow2 *s, uint64_t entry, uint64_t bitmap)
{
    for (unsigned sc = 0; sc < s->subclusters; sc++) {
        enum subcluster_type t = qcow2_subcluster_type(s, entry, bitmap, sc);
        bool none = t == SUBCLUSTER_UNALLOCATED_PLAIN || t == SUBCLUSTER_UNALLOCATED_ALLOC;
        if (t != SUBCLUSTER_ZERO_PLAIN && t != SUBCLUSTER_ZERO_ALLOC && !(none && !s->n->backing)) {
            return false;
        }
    }
    return true;
}

/* Host clusters for `nb` guest clusters: behind `hint` when that is free; fewer than nb are
 * possible then. */
static int take_clusters(struct qcow2 *s, uint64_t guest, uint64_t hint, unsigned *nb,
                         uint64_t *host, bool *fresh)
{
    *fresh = false;
    if (has_data_file(s)) {
        *host = guest;
        return 0;
    }
    if (hint) {
        bool virgin = qcow2_is_virgin(s, hint);
        int64_t got = qcow2_alloc_clusters_at(s, hint, *nb);
        if (got < 0) {
            return (int)got;
        }
        if (got > 0) {
            *nb = (unsigned)got;
            *host = hint;
            *fresh = virgin;
            return 0;
        }
    }
    (void)qcow2_is_virgin(s, 0);
    uint64_t virgin = s->virgin;
    int64_t offset = qcow2_alloc_clusters(s, (uint64_t)*nb << s->cluster_bits);
    if (offset < 0) {
        return (int)offset;
    }
    *host = (uint64_t)offset;
    *fresh = (uint64_t)offset >= virgin;
    return 0;
}

/* Clusters from the slice's entry `index` on that are all new, or all kept and follow each other:
 * one write. */
static int count_run(struct qcow2 *s, const uint8_t *slice, unsigned index, uint64_t guest,
                     uint64_t bytes, enum kind *kind, unsigned *nb)
{
    uint64_t in = offset_into_cluster(s, guest), done = 0,
             host = l2_get_entry(s, slice, index) & L2_OFFSET_MASK;
    *nb = 0;
    for (; done < bytes && index < s->l2_slice_size; index++) {
        uint64_t entry = l2_get_entry(s, slice, index), from = *nb ? 0 : in,
                 to = MIN(s->cluster_size, from + bytes - done);
        enum kind k;
        int ret = kind_of(s, entry, l2_get_bitmap(s, slice, index),
                          start_of_cluster(s, guest + done), from, to, &k);
        if (*nb == 0) {
            *kind = k;
        }
        if (ret < 0) {
            return ret;
        }
        if ((k == NEW) != (*kind == NEW) || (k != NEW && (entry & L2_OFFSET_MASK) != host)) {
            break;
        }
        *kind = MAX(*kind, k);
        host += s->cluster_size;
        done += to - from;
        ++*nb;
    }
    return 0;
}

static int new_alloc(struct qcow2 *s, const uint8_t *slice, unsigned index, enum kind kind,
                     uint64_t guest, uint64_t bytes, unsigned nb, struct qcow2_alloc **out)
{
    uint64_t start = start_of_cluster(s, guest), last = start_of_cluster(s, guest + bytes - 1),
             first, end, unused;
    uint64_t e0 = l2_get_entry(s, slice, index), b0 = l2_get_bitmap(s, slice, index);
    uint64_t e1 = l2_get_entry(s, slice, index + nb - 1),
             b1 = l2_get_bitmap(s, slice, index + nb - 1);
    uint64_t to0 = nb == 1 ? guest + bytes - start : s->cluster_size,
             from1 = nb == 1 ? guest - start : 0;
    cow_bounds(s, kind, e0, b0, guest - start, to0, &first, &unused);
    cow_bounds(s, kind, e1, b1, from1, guest + bytes - last, &unused, &end);
    struct qcow2_alloc *a = mem_zalloc(sizeof(*a));
    a->guest_offset = start;
    a->nb_clusters = nb;
    a->keep_old = kind == KEEP;
    a->head.offset = start + first;
    a->head.bytes = guest - a->head.offset;
    a->tail.offset = guest + bytes;
    a->tail.bytes = last + end - a->tail.offset;
    a->cow_zero = (a->head.bytes == 0 || reads_zero(s, e0, b0)) &&
                  (a->tail.bytes == 0 || reads_zero(s, e1, b1));
    *out = a;
    return 0;
}

int qcow2_alloc_host(struct qcow2 *s, uint64_t guest_offset, uint64_t *bytes, uint64_t *host,
                     struct qcow2_alloc **alloc, const struct request *r)
{
    uint64_t hint = *host, in = offset_into_cluster(s, guest_offset);
    uint8_t *slice;
    unsigned index, nb;
    enum kind kind = NEW;
    *alloc = NULL;
    qcow2_wait_first_alloc(s, guest_offset, bytes);
    int ret = qcow2_get_slice_for_write(s, guest_offset, &slice, &index, r);
    if (ret < 0) {
        return ret;
    }
    ret = count_run(s, slice, index, guest_offset, *bytes, &kind, &nb);
    uint64_t new_host = l2_get_entry(s, slice, index) & L2_OFFSET_MASK;
    bool fresh = false;
    if (ret == 0 && kind == NEW) {
        ret = take_clusters(s, start_of_cluster(s, guest_offset), hint, &nb, &new_host, &fresh);
    }
    if (ret == 0) {
        *bytes = MIN(*bytes, ((uint64_t)nb << s->cluster_bits) - in);
        *host = new_host + in;
        if (kind != IN_PLACE) {
            ret = new_alloc(s, slice, index, kind, guest_offset, *bytes, nb, alloc);
            (*alloc)->host_offset = new_host;
            (*alloc)->fresh = fresh;
            (*alloc)->skip_cow = fresh && (*alloc)->cow_zero && s->merge && !s->crypt;
            if ((*alloc)->skip_cow) {
                s->data_end =
                    MAX(s->data_end, new_host + (alloc_to(*alloc) - (*alloc)->guest_offset));
            }
            qcow2_alloc_register(s, *alloc);
        }
    }
    qcow2_cache_put(s->l2_cache, &slice);
    return ret;
}

/* The subcluster bitmap of cluster i of an allocation, from what it was. */
static uint64_t new_bitmap(const struct qcow2 *s, const struct qcow2_alloc *a, unsigned i,
                           uint64_t entry, uint64_t bitmap)
{
    uint64_t start = a->guest_offset + ((uint64_t)i << s->cluster_bits);
    uint64_t from = MAX(alloc_from(a), start) - start,
             to = MIN(alloc_to(a), start + s->cluster_size) - start;
    unsigned lo = (unsigned)(from >> s->subcluster_bits),
             hi = (unsigned)((to + s->subcluster_size - 1) >> s->subcluster_bits);
    if (entry & OFLAG_COMPRESSED) {
        bitmap = 0;
    }
    if (a->prealloc) {
        /* Behind what was copied to the new cluster nothing counts: it is part of the disk only
         * from now on. */
        uint64_t copied = MAX(a->head.offset + a->head.bytes, start) - start;
        hi = (unsigned)DIV_ROUND_UP(copied, s->subcluster_size);
        uint64_t keep = (UINT64_C(1) << hi) - 1;
        bitmap &= keep | keep << 32;
    }
    for (unsigned sc = lo; sc < hi; sc++) {
        bitmap |= UINT64_C(1) << sc;
        bitmap &= ~(UINT64_C(1) << (sc + 32));
    }
    return bitmap;
}

/* Order on disk for an entry that is about to refer to newly used clusters. */
static int order_link(struct qcow2 *s, bool cow, const struct request *r)
{
    if (cow) {
        qcow2_cache_depends_on_data(s->l2_cache);
    }
    if (s->use_lazy_refcounts) {
        int ret = qcow2_mark_dirty(s);
        if (ret < 0) {
            return ret;
        }
    }
    return qcow2_need_accurate_refcounts(s)
               ? qcow2_cache_set_dependency(s->l2_cache, s->refblock_cache, r)
               : 0;
}

int qcow2_link_l2(struct qcow2 *s, struct qcow2_alloc *a, const struct request *r)
{
    uint8_t *slice;
    unsigned index, nb_old = 0;
    bool cow = !a->skip_cow && a->head.bytes + a->tail.bytes > 0;
    uint64_t *old = mem_array(a->nb_clusters, sizeof(*old));
    int ret = order_link(s, cow, r);
    if (ret == 0) {
        ret = qcow2_get_slice_for_write(s, a->guest_offset, &slice, &index, r);
    }
    if (ret < 0) {
        mem_free(old);
        return ret;
    }
    assert(index + a->nb_clusters <= s->l2_slice_size);
    for (unsigned i = 0; i < a->nb_clusters; i++) {
        uint64_t entry = l2_get_entry(s, slice, index + i),
                 bitmap = l2_get_bitmap(s, slice, index + i);
        uint64_t host = a->host_offset + ((uint64_t)i << s->cluster_bits);
        if (!a->keep_old && !has_data_file(s) && (entry & ~OFLAG_ZERO)) {
            old[nb_old++] = entry;
        }
        l2_set_entry(s, slice, index + i, host | OFLAG_COPIED);
        l2_set_bitmap(s, slice, index + i, new_bitmap(s, a, i, entry, bitmap));
    }
    qcow2_cache_dirty(s->l2_cache, slice);
    qcow2_cache_put(s->l2_cache, &slice);
    /* Not given back to the host: the next write uses them again. */
    for (unsigned i = 0; i < nb_old; i++) {
        qcow2_free_any_cluster(s, old[i], DISCARD_NEVER);
    }
    mem_free(old);
    qcow2_alloc_finish(s, a);
    return 0;
}

void qcow2_alloc_abort(struct qcow2 *s, struct qcow2_alloc *a)
{
    if (!a->keep_old && !has_data_file(s) && !s->dead) {
        qcow2_free_clusters(s, a->host_offset, (uint64_t)a->nb_clusters << s->cluster_bits,
                            DISCARD_NEVER);
    }
    qcow2_alloc_finish(s, a);
}

static bool in_use(const struct qcow2 *s, uint64_t entry)
{
    enum cluster_type t = qcow2_cluster_type(s, entry);
    return t == CLUSTER_NORMAL || t == CLUSTER_ZERO_ALLOC || t == CLUSTER_COMPRESSED;
}

int qcow2_check_compressible(struct qcow2 *s, uint64_t guest_offset, const struct request *r)
{
    uint8_t *slice;
    unsigned index;
    int ret = qcow2_get_slice_for_write(s, guest_offset, &slice, &index, r);
    if (ret == 0) {
        ret = in_use(s, l2_get_entry(s, slice, index)) ? -EIO : 0;
        qcow2_cache_put(s->l2_cache, &slice);
    }
    return ret;
}

int qcow2_link_compressed(struct qcow2 *s, uint64_t guest_offset, uint64_t host, unsigned bytes,
                          const struct request *r)
{
    uint8_t *slice;
    unsigned index;
    uint64_t sectors =
        (host + bytes - 1) / QCOW2_COMPRESSED_SECTOR - host / QCOW2_COMPRESSED_SECTOR;
    assert((host & ~s->cluster_offset_mask) == 0 && (sectors & ~s->csize_mask) == 0);
    /* The data must be there first: a stream that is cut off cannot be read at all. */
    int ret = order_link(s, true, r);
    if (ret == 0) {
        ret = qcow2_get_slice_for_write(s, guest_offset, &slice, &index, r);
    }
    if (ret < 0) {
        return ret;
    }
    child_event(s->n->file, LABEL_L2_UPDATE_COMPRESSED, r);
    l2_set_entry(s, slice, index, host | OFLAG_COMPRESSED | sectors << s->csize_shift);
    l2_set_bitmap(s, slice, index, 0);
    qcow2_cache_dirty(s->l2_cache, slice);
    qcow2_cache_put(s->l2_cache, &slice);
    return 0;
}
