/*
 * qcow2 cluster mapping (spec: "Cluster mapping", "Extended L2 Entries"): lookup, and what an entry
 * means.
 *
 * Also the L1 table and new L2 tables.  Changes of entries for data are in alloc.c, discard and
 * zero in zero.c.
 */
#include "ref/format/qcow2/qcow2.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>

enum cluster_type qcow2_cluster_type(const struct qcow2 *s, uint64_t l2_entry)
{
    if (l2_entry & OFLAG_COMPRESSED) {
        return CLUSTER_COMPRESSED;
    }
    bool host = l2_entry & L2_OFFSET_MASK;
    if ((l2_entry & OFLAG_ZERO) && !s->extended_l2) {
        return host || (has_data_file(s) && (l2_entry & OFLAG_COPIED)) ? CLUSTER_ZERO_ALLOC
                                                                       : CLUSTER_ZERO_PLAIN;
    }
    if (!host) {
        /* Host offset 0 is a cluster only in an external data file (spec: "Standard Cluster
         * Descriptor"). */
        return has_data_file(s) && (l2_entry & OFLAG_COPIED) ? CLUSTER_NORMAL : CLUSTER_UNALLOCATED;
    }
    return CLUSTER_NORMAL;
}

enum subcluster_type qcow2_subcluster_type(const struct qcow2 *s, uint64_t l2_entry,
                                           uint64_t bitmap, unsigned sc)
{
    enum cluster_type t = qcow2_cluster_type(s, l2_entry);
    if (!s->extended_l2) {
        static const enum subcluster_type whole[] = {
            [CLUSTER_UNALLOCATED] = SUBCLUSTER_UNALLOCATED_PLAIN,
            [CLUSTER_ZERO_PLAIN] = SUBCLUSTER_ZERO_PLAIN,
            [CLUSTER_ZERO_ALLOC] = SUBCLUSTER_ZERO_ALLOC,
            [CLUSTER_NORMAL] = SUBCLUSTER_NORMAL,
            [CLUSTER_COMPRESSED] = SUBCLUSTER_COMPRESSED,
        };
        return whole[t];
    }
    uint32_t alloc = (uint32_t)bitmap, zero = (uint32_t)(bitmap >> 32);
    if (t == CLUSTER_COMPRESSED) {
        return SUBCLUSTER_COMPRESSED;
    }
    if ((alloc & zero) || (t == CLUSTER_UNALLOCATED && alloc)) {
        return SUBCLUSTER_INVALID;
    }
    if (t == CLUSTER_UNALLOCATED) {
        return zero >> sc & 1 ? SUBCLUSTER_ZERO_PLAIN : SUBCLUSTER_UNALLOCATED_PLAIN;
    }
    return zero >> sc & 1    ? SUBCLUSTER_ZERO_ALLOC
           : alloc >> sc & 1 ? SUBCLUSTER_NORMAL
                             : SUBCLUSTER_UNALLOCATED_ALLOC;
}

static bool has_host(enum subcluster_type t)
{
    return t == SUBCLUSTER_NORMAL || t == SUBCLUSTER_ZERO_ALLOC ||
           t == SUBCLUSTER_UNALLOCATED_ALLOC;
}

/* Slice of the table at l2_offset that has the guest offset's entry; *index is in the slice. */
static int load_slice(struct qcow2 *s, uint64_t l2_offset, uint64_t guest_offset, uint8_t **slice,
                      unsigned *index, const struct request *r)
{
    unsigned l2_index = offset_to_l2_index(s, guest_offset);
    unsigned start = l2_index & ~(s->l2_slice_size - 1);
    *index = l2_index - start;
    return qcow2_cache_get(s->l2_cache, l2_offset + (uint64_t)start * s->l2_entry_size, slice, r);
}

/* L2 table of a guest offset as L1 has it, 0 when there is none. */
static int l2_table_offset(struct qcow2 *s, uint64_t guest_offset, uint64_t *l1_entry)
{
    uint64_t i = offset_to_l1_index(s, guest_offset);
    *l1_entry = i < s->l1_size ? s->l1[i] : 0;
    uint64_t offset = *l1_entry & L1_OFFSET_MASK;
    if (offset_into_cluster(s, offset)) {
        qcow2_signal_corruption(s, true, -1, -1,
                                "L2 table offset %#" PRIx64 " unaligned (L1 index: %#" PRIx64 ")",
                                offset, i);
        return -EIO;
    }
    return 0;
}

/* An entry that breaks the format's rules: said, and -EIO. */
static int check_entry(struct qcow2 *s, uint64_t guest_offset, uint64_t l2_offset, uint64_t entry,
                       enum subcluster_type t)
{
    unsigned l2_index = offset_to_l2_index(s, guest_offset);
    if (t == SUBCLUSTER_INVALID) {
        qcow2_signal_corruption(s, true, -1, -1,
                                "Invalid cluster entry found  (L2 offset: %#" PRIx64
                                ", L2 index: %#x)",
                                l2_offset, l2_index);
        return -EIO;
    }
    if (s->version < 3 && (t == SUBCLUSTER_ZERO_PLAIN || t == SUBCLUSTER_ZERO_ALLOC)) {
        qcow2_signal_corruption(s, true, -1, -1,
                                "Zero cluster entry found in pre-v3 image (L2 offset: %#" PRIx64
                                ", L2 index: %#x)",
                                l2_offset, l2_index);
        return -EIO;
    }
    if (t == SUBCLUSTER_COMPRESSED && has_data_file(s)) {
        qcow2_signal_corruption(
            s, true, -1, -1,
            "Compressed cluster entry found in image with external data file (L2 "
            "offset: %#" PRIx64 ", L2 index: %#x)",
            l2_offset, l2_index);
        return -EIO;
    }
    uint64_t host = entry & L2_OFFSET_MASK;
    if (has_host(t) && offset_into_cluster(s, host)) {
        qcow2_signal_corruption(s, true, -1, -1,
                                "Cluster allocation offset %#" PRIx64
                                " unaligned (L2 offset: %#" PRIx64 ", L2 index: %#x)",
                                host, l2_offset, l2_index);
        return -EIO;
    }
    if (has_host(t) && has_data_file(s) && host != start_of_cluster(s, guest_offset)) {
        qcow2_signal_corruption(s, true, -1, -1,
                                "External data file host cluster offset %#" PRIx64
                                " does not match guest cluster offset: %#" PRIx64
                                ", L2 index: %#x)",
                                host, start_of_cluster(s, guest_offset), l2_index);
        return -EIO;
    }
    return 0;
}

/* How many subclusters from `sc` of entry `index` on have type t and, where they have one, follow
 * on the host. */
static uint64_t count_subclusters(const struct qcow2 *s, const uint8_t *slice, unsigned index,
                                  unsigned sc, enum subcluster_type t, uint64_t max)
{
    uint64_t first = l2_get_entry(s, slice, index), host = first & L2_OFFSET_MASK, n = 0;
    bool hole = s->subclusters == 1 && !has_host(t); /* mostly one value again and again */
    for (; index < s->l2_slice_size && n < max; index++, sc = 0, host += s->cluster_size) {
        uint64_t entry = l2_get_entry(s, slice, index), bitmap = l2_get_bitmap(s, slice, index);
        if (hole && entry == first) {
            if (entry == 0) { /* to the last of a run of them */
                unsigned next = l2_skip_zero(s, slice, index, s->l2_slice_size);
                n += next - 1 - index;
                index = next - 1;
            }
            n++;
            continue;
        }
        if (has_host(t) && (entry & L2_OFFSET_MASK) != host) {
            return n;
        }
        for (; sc < s->subclusters; sc++, n++) {
            if (qcow2_subcluster_type(s, entry, bitmap, sc) != t) {
                return n;
            }
        }
    }
    return n;
}

int qcow2_get_host(struct qcow2 *s, uint64_t guest_offset, uint64_t *bytes, uint64_t *host,
                   enum subcluster_type *type, const struct request *r)
{
    uint64_t l1_entry, in_table = (uint64_t)offset_to_l2_index(s, guest_offset) << s->cluster_bits;
    uint64_t left =
        (s->l2_size << s->cluster_bits) - in_table - offset_into_cluster(s, guest_offset);
    *host = 0;
    *bytes = MIN(*bytes, left);
    *type = SUBCLUSTER_UNALLOCATED_PLAIN;
    int ret = l2_table_offset(s, guest_offset, &l1_entry);
    uint64_t l2_offset = l1_entry & L1_OFFSET_MASK;
    if (ret < 0 || l2_offset == 0) {
        return ret;
    }
    uint8_t *slice;
    unsigned index, sc = offset_to_sc_index(s, guest_offset);
    ret = load_slice(s, l2_offset, guest_offset, &slice, &index, r);
    if (ret < 0) {
        return ret;
    }
    uint64_t entry = l2_get_entry(s, slice, index);
    *type = qcow2_subcluster_type(s, entry, l2_get_bitmap(s, slice, index), sc);
    ret = check_entry(s, guest_offset, l2_offset, entry, *type);
    uint64_t in_sc = guest_offset & (s->subcluster_size - 1), n;
    if (ret < 0) {
        n = 0;
    } else if (*type == SUBCLUSTER_COMPRESSED) {
        *host = entry;
        n = s->subclusters - sc;
    } else {
        if (has_host(*type)) {
            *host = (entry & L2_OFFSET_MASK) + offset_into_cluster(s, guest_offset);
        }
        n = count_subclusters(s, slice, index, sc, *type,
                              (in_sc + *bytes + s->subcluster_size - 1) >> s->subcluster_bits);
    }
    qcow2_cache_put(s->l2_cache, &slice);
    if (ret == 0) {
        *bytes = MIN(*bytes, (n << s->subcluster_bits) - in_sc);
    }
    return ret;
}

/* Points the header at a new L1 table: size and offset are neighbours there. */
static int activate_l1(struct qcow2 *s, uint64_t offset, uint32_t entries)
{
    uint8_t buf[12];
    _Static_assert(QCOW2_HEADER_L1_TABLE_OFFSET_OFF == QCOW2_HEADER_L1_SIZE_OFF + 4, "neighbours");
    store_be32(buf, entries);
    store_be64(buf + 4, offset);
    int ret = child_pwrite_sync(s->n->file, QCOW2_HEADER_L1_SIZE_OFF, buf, sizeof(buf),
                                LABEL_L1_GROW_ACTIVATE_TABLE, NULL);
    s->header_unsure |= ret < 0;
    return ret;
}

int qcow2_write_l1_entry(struct qcow2 *s, unsigned l1_index, const struct request *r)
{
    enum { N = 512 / 8 }; /* a sector's worth, so that no read-modify-write is needed */
    uint8_t buf[512] = {0};
    unsigned start = l1_index & ~(N - 1u), n = MIN((unsigned)N, s->l1_size - start);
    for (unsigned i = 0; i < n; i++) {
        store_be64(buf + i * 8, s->l1[start + i]);
    }
    int ret = qcow2_settle_header(s);
    if (ret == 0) {
        ret = qcow2_pre_write_overlap(s, OL_ACTIVE_L1, s->l1_offset + start * 8ull, n * 8, false);
    }
    if (ret < 0) {
        return ret;
    }
    ret = child_pwrite_sync(s->n->file, (int64_t)(s->l1_offset + start * 8ull), buf, n * 8,
                            LABEL_L1_UPDATE, r);
    s->l1_unsure |= ret < 0;
    return ret;
}

/* Fills the cached slices of a new table: copies of the old one's, or empty. */
static int fill_table(struct qcow2 *s, uint64_t new_offset, uint64_t old_offset,
                      const struct request *r)
{
    unsigned bytes = qcow2_cache_entry_size(s->l2_cache);
    if (old_offset) {
        child_event(s->n->file, LABEL_L2_ALLOC_COW_READ, r);
    }
    for (uint64_t o = 0; o < s->cluster_size; o += bytes) {
        uint8_t *slice, *old;
        int ret = qcow2_cache_get_empty(s->l2_cache, new_offset + o, &slice, r);
        if (ret < 0) {
            return ret;
        }
        memset(slice, 0, bytes);
        if (old_offset) {
            ret = qcow2_cache_get(s->l2_cache, old_offset + o, &old, r);
            if (ret == 0) {
                memcpy(slice, old, bytes);
                qcow2_cache_put(s->l2_cache, &old);
            }
        }
        qcow2_cache_dirty(s->l2_cache, slice);
        qcow2_cache_put(s->l2_cache, &slice);
        if (ret < 0) {
            return ret;
        }
    }
    return 0;
}

/* A new L2 table for an L1 entry: refcount, table, then the L1 entry, each durable before the next.
 */
static int allocate_l2(struct qcow2 *s, unsigned l1_index, const struct request *r)
{
    uint64_t old = s->l1[l1_index];
    int64_t offset = qcow2_alloc_clusters(s, s->cluster_size);
    if (offset < 0) {
        return (int)offset;
    }
    if (offset == 0) {
        qcow2_signal_corruption(s, true, -1, -1,
                                "Preventing invalid allocation of L2 table at offset 0");
        return -EIO;
    }
    int ret = qcow2_need_accurate_refcounts(s) ? qcow2_cache_flush(s->refblock_cache, r) : 0;
    if (ret == 0) {
        ret = fill_table(s, (uint64_t)offset, old & L1_OFFSET_MASK, r);
    }
    if (ret == 0) {
        child_event(s->n->file, LABEL_L2_ALLOC_WRITE, r);
        ret = qcow2_cache_flush(s->l2_cache, r);
    }
    bool linked =
        ret == 0; /* from here on the entry may be on disk: a table that is leaked harms nobody */
    if (ret == 0) {
        s->l1[l1_index] = (uint64_t)offset | OFLAG_COPIED;
        ret = qcow2_write_l1_entry(s, l1_index, r);
        if (ret < 0) {
            s->l1[l1_index] = old;
        }
    }
    if (ret < 0) {
        qcow2_cache_discard(s->l2_cache, (uint64_t)offset, s->cluster_size);
        if (!linked) {
            qcow2_free_clusters(s, (uint64_t)offset, s->cluster_size, DISCARD_ALWAYS);
        }
        return ret;
    }
    if (old & L1_OFFSET_MASK) {
        qcow2_free_clusters(s, old & L1_OFFSET_MASK, s->cluster_size, DISCARD_OTHER);
    }
    return 0;
}

int qcow2_get_slice_for_write(struct qcow2 *s, uint64_t guest_offset, uint8_t **slice,
                              unsigned *index, const struct request *r)
{
    uint64_t l1_index = offset_to_l1_index(s, guest_offset), l1_entry;
    int ret = 0;
    if (l1_index >= s->l1_size) {
        ret = qcow2_grow_l1(s, l1_index + 1, false);
        if (ret < 0) {
            return ret;
        }
    }
    ret = l2_table_offset(s, guest_offset, &l1_entry);
    if (ret == 0 && (!(l1_entry & OFLAG_COPIED) || !(l1_entry & L1_OFFSET_MASK))) {
        ret = allocate_l2(s, (unsigned)l1_index, r);
        l1_entry = s->l1[l1_index];
    }
    if (ret < 0) {
        return ret;
    }
    return load_slice(s, l1_entry & L1_OFFSET_MASK, guest_offset, slice, index, r);
}

static int write_new_l1(struct qcow2 *s, uint64_t offset, const uint64_t *l1, uint64_t entries)
{
    int ret = qcow2_cache_flush(s->refblock_cache, NULL);
    if (ret == 0) {
        ret = qcow2_pre_write_overlap(s, 0, offset, entries * 8, false);
    }
    uint8_t *buf = ret == 0 ? mem_try_alloc(entries * 8) : NULL;
    if (!buf) {
        return ret < 0 ? ret : -ENOMEM;
    }
    for (uint64_t i = 0; i < entries; i++) {
        store_be64(buf + i * 8, l1[i]);
    }
    ret = child_pwrite_sync(s->n->file, (int64_t)offset, buf, (int64_t)(entries * 8),
                            LABEL_L1_GROW_WRITE_TABLE, NULL);
    mem_free(buf);
    return ret < 0 ? ret : activate_l1(s, offset, (uint32_t)entries);
}

int qcow2_grow_l1(struct qcow2 *s, uint64_t min_entries, bool exact)
{
    if (min_entries <= s->l1_size) {
        return 0;
    }
    if (min_entries > QCOW2_MAX_L1_ENTRIES) {
        return -EFBIG;
    }
    uint64_t n = exact ? min_entries : MAX(1, s->l1_size);
    while (n < min_entries) {
        n = DIV_ROUND_UP(n * 3, 2); /* room for more of it */
    }
    n = MIN(n, (uint64_t)QCOW2_MAX_L1_ENTRIES);
    uint64_t *l1 = mem_try_array(n, 8);
    if (!l1) {
        return -ENOMEM;
    }
    if (s->l1_size) {
        memcpy(l1, s->l1, (size_t)s->l1_size * 8);
    }
    child_event(s->n->file, LABEL_L1_GROW_ALLOC_TABLE, NULL);
    int64_t offset = qcow2_alloc_clusters(s, n * 8);
    if (offset < 0) {
        mem_free(l1);
        return (int)offset;
    }
    int ret = write_new_l1(s, (uint64_t)offset, l1, n);
    if (ret < 0) {
        mem_free(l1);
        if (!s->header_unsure) { /* else the header may name it: leaked */
            qcow2_free_clusters(s, (uint64_t)offset, n * 8, DISCARD_OTHER);
        }
        return ret;
    }
    uint64_t old_offset = s->l1_offset, old_size = s->l1_size;
    mem_free(s->l1);
    s->l1 = l1;
    s->l1_offset = (uint64_t)offset;
    s->l1_size = (uint32_t)n;
    qcow2_free_clusters(s, old_offset, old_size * 8, DISCARD_OTHER);
    return 0;
}

int qcow2_shrink_l1(struct qcow2 *s, uint64_t entries)
{
    if (entries >= s->l1_size) {
        return 0;
    }
    uint64_t gone = s->l1_size - entries;
    int ret = qcow2_settle_header(s);
    if (ret < 0) {
        return ret;
    }
    ret = child_pwrite_zeroes(s->n->file, (int64_t)(s->l1_offset + entries * 8),
                              (int64_t)(gone * 8), 0, LABEL_L1_SHRINK_WRITE_TABLE, NULL);
    if (ret == 0) {
        ret = child_flush(s->n->file, NULL);
    }
    if (ret < 0) {
        /* Not known what is on disk: what is not referred to any more is leaked, nothing else. */
        memset(s->l1 + entries, 0, gone * 8);
        return ret;
    }
    child_event(s->n->file, LABEL_L1_SHRINK_FREE_L2_CLUSTERS, NULL);
    for (uint64_t i = s->l1_size; i-- > entries;) {
        if (s->l1[i] & L1_OFFSET_MASK) {
            qcow2_free_clusters(s, s->l1[i] & L1_OFFSET_MASK, s->cluster_size, DISCARD_ALWAYS);
            s->l1[i] = 0;
        }
    }
    return 0;
}
