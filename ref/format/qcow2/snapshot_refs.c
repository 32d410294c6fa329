/*
 * References of a whole L1 table: taken once more, or given up, for everything in it; and its
 * COPIED flags.
 *
 * Orders: the flags come off before refcounts are raised, and a raised refcount is on disk before
 * what refers to it; a lowered one only after the reference is gone, which is the caller's
 * business.  A power cut in between leaks clusters and leaves flags off, nothing else.
 */
#include "ref/format/qcow2/qcow2.h"

#include <errno.h>
#include <inttypes.h>

struct walk {
    int addend;             /* 0: only flags */
    uint64_t changed, most; /* how many references were changed, and may be */
};

static int change(struct qcow2 *s, struct walk *w, uint64_t offset, uint64_t bytes)
{
    if (!w->addend || w->changed == w->most) {
        return 0;
    }
    int ret = qcow2_update_refcount(s, offset, bytes, 1, w->addend < 0, DISCARD_SNAPSHOT);
    w->changed += ret == 0;
    return ret;
}

/* Changes what one L2 entry refers to; *copied tells whether the cluster has one reference now. */
static int one_cluster(struct qcow2 *s, uint64_t l2_offset, unsigned l2_index, uint64_t entry,
                       struct walk *w, bool *copied)
{
    uint64_t offset = entry & L2_OFFSET_MASK, refcount;
    enum cluster_type t = qcow2_cluster_type(s, entry);
    *copied = false;
    if (t == CLUSTER_COMPRESSED) {
        unsigned bytes;
        qcow2_compressed_extent(s, entry, &offset, &bytes);
        return change(s, w, offset, bytes);
    }
    if (t != CLUSTER_NORMAL && t != CLUSTER_ZERO_ALLOC) {
        return 0;
    }
    if (offset_into_cluster(s, offset)) {
        qcow2_signal_corruption(s, true, -1, -1,
                                "Cluster allocation offset %#" PRIx64
                                " unaligned (L2 offset: %#" PRIx64 ", L2 index: %#x)",
                                offset, l2_offset, l2_index);
        return -EIO;
    }
    int ret = change(s, w, offset, s->cluster_size);
    ret = ret < 0 ? ret : qcow2_get_refcount(s, offset >> s->cluster_bits, &refcount);
    *copied = ret == 0 && refcount == 1;
    return ret;
}

static int one_slice(struct qcow2 *s, uint64_t l2_offset, unsigned first, struct walk *w)
{
    uint8_t *slice;
    bool ordered = false;
    int ret =
        qcow2_cache_get(s->l2_cache, l2_offset + (uint64_t)first * s->l2_entry_size, &slice, NULL);
    if (ret < 0) {
        return ret;
    }
    for (unsigned i = 0; i < s->l2_slice_size && ret == 0; i++) {
        uint64_t entry = l2_get_entry(s, slice, i);
        bool copied;
        if (entry == 0) {
            continue;
        }
        ret = one_cluster(s, l2_offset, first + i, entry & ~OFLAG_COPIED, w, &copied);
        uint64_t now = (entry & ~OFLAG_COPIED) | (copied ? OFLAG_COPIED : 0);
        /* A table that gives its references up is not looked at again through this L1 table. */
        if (ret < 0 || now == entry || w->addend < 0) {
            continue;
        }
        if (!ordered) {
            ret = qcow2_cache_set_dependency(s->l2_cache, s->refblock_cache, NULL);
            ordered = true;
        }
        if (ret == 0) {
            l2_set_entry(s, slice, i, now);
            qcow2_cache_dirty(s->l2_cache, slice);
        }
    }
    qcow2_cache_put(s->l2_cache, &slice);
    return ret;
}

static int one_table(struct qcow2 *s, uint64_t *l1_entry, uint32_t l1_index, struct walk *w)
{
    uint64_t offset = *l1_entry & L1_OFFSET_MASK, refcount;
    if (offset_into_cluster(s, offset)) {
        qcow2_signal_corruption(s, true, -1, -1,
                                "L2 table offset %#" PRIx64 " unaligned (L1 index: %#" PRIx32 ")",
                                offset, l1_index);
        return -EIO;
    }
    int ret = 0;
    for (uint64_t i = 0; i < s->l2_size && ret == 0; i += s->l2_slice_size) {
        ret = one_slice(s, offset, (unsigned)i, w);
    }
    ret = ret < 0 ? ret : change(s, w, offset, s->cluster_size);
    ret = ret < 0 ? ret : qcow2_get_refcount(s, offset >> s->cluster_bits, &refcount);
    if (ret == 0) {
        *l1_entry = (*l1_entry & ~OFLAG_COPIED) | (refcount == 1 ? OFLAG_COPIED : 0);
    }
    return ret;
}

static int walk_tables(struct qcow2 *s, uint64_t *l1, uint32_t entries, struct walk *w)
{
    int ret = 0;
    for (uint32_t i = 0; i < entries && ret == 0; i++) {
        if (l1[i] & L1_OFFSET_MASK) {
            ret = one_table(s, &l1[i], i, w);
        }
    }
    return ret;
}

int qcow2_update_l1_references(struct qcow2 *s, uint64_t *l1, uint32_t entries, int addend)
{
    struct walk w = {.addend = addend, .most = UINT64_MAX};
    int ret = walk_tables(s, l1, entries, &w);
    if (ret < 0 && addend > 0 && !s->dead && !world_leaks_as_qemu(s->w)) {
        /* What was taken is given back, in the same order; what is not leaks. */
        struct walk back = {.addend = -1, .most = w.changed};
        (void)walk_tables(s, l1, entries, &back);
    }
    qcow2_process_discards(s, ret);
    /* A cluster in use without a refcount: the image is damaged. */
    return ret == QCOW2_SEARCH_AGAIN ? -EAGAIN : ret;
}

int qcow2_read_l1_table(struct qcow2 *s, uint64_t offset, uint32_t entries, uint64_t **l1)
{
    *l1 = mem_try_array(entries ? entries : 1, 8);
    if (!*l1) {
        return -ENOMEM;
    }
    int ret = entries ? child_pread(s->n->file, (int64_t)offset, *l1, (int64_t)entries * 8,
                                    LABEL_SNAPSHOT_L1_LOAD, NULL)
                      : 0;
    if (ret < 0) {
        mem_free(*l1);
        *l1 = NULL;
        return ret;
    }
    for (uint32_t i = 0; i < entries; i++) {
        (*l1)[i] = load_be64(&(*l1)[i]);
    }
    return 0;
}

int qcow2_write_l1_table(struct qcow2 *s, uint64_t offset, const uint64_t *l1, uint32_t entries,
                         unsigned ignore)
{
    if (entries == 0) {
        return 0;
    }
    int ret = qcow2_pre_write_overlap(s, ignore, offset, (uint64_t)entries * 8, false);
    uint8_t *buf = ret == 0 ? mem_try_alloc((size_t)entries * 8) : NULL;
    if (!buf) {
        return ret < 0 ? ret : -ENOMEM;
    }
    for (uint32_t i = 0; i < entries; i++) {
        store_be64(buf + (size_t)i * 8, l1[i]);
    }
    ret = child_pwrite_sync(s->n->file, (int64_t)offset, buf, (int64_t)entries * 8, LABEL_L1_UPDATE,
                            NULL);
    if (offset == s->l1_offset) {
        s->l1_unsure = ret < 0;
    }
    mem_free(buf);
    return ret;
}

int qcow2_settle_l1(struct qcow2 *s)
{
    return s->l1_unsure ? qcow2_write_l1_table(s, s->l1_offset, s->l1, s->l1_size, OL_ACTIVE_L1)
                        : 0;
}

/* Takes the flags of a table's entries off. */
static int strip_table(struct qcow2 *s, uint64_t l2_offset)
{
    int ret = 0;
    for (uint64_t o = 0; o < s->l2_size && ret == 0; o += s->l2_slice_size) {
        uint8_t *slice;
        ret = qcow2_cache_get(s->l2_cache, l2_offset + o * s->l2_entry_size, &slice, NULL);
        if (ret < 0) {
            return ret;
        }
        for (unsigned i = 0; i < s->l2_slice_size; i++) {
            uint64_t entry = l2_get_entry(s, slice, i);
            if (entry & OFLAG_COPIED && !(entry & OFLAG_COMPRESSED)) {
                l2_set_entry(s, slice, i, entry & ~OFLAG_COPIED);
                qcow2_cache_dirty(s->l2_cache, slice);
            }
        }
        qcow2_cache_put(s->l2_cache, &slice);
    }
    return ret;
}

/*
 * Before references are taken once more: no flag says any longer that there is just one.  A flag
 * that is missing costs a copy at worst; one that is left behind a raised refcount is corruption.
 */
static int strip_flags(struct qcow2 *s, const uint64_t *l1, uint32_t entries)
{
    int ret = 0;
    for (uint32_t i = 0; i < entries && ret == 0; i++) {
        uint64_t offset = l1[i] & L1_OFFSET_MASK;
        if (offset && !offset_into_cluster(s, offset)) {
            ret = strip_table(s, offset);
        }
    }
    return ret < 0 ? ret : qcow2_cache_flush(s->l2_cache, NULL);
}

/* The active table as l1 says, in memory and on disk.  Memory first: a flag that went must not be
 * relied upon. */
static int write_active(struct qcow2 *s, const uint64_t *l1)
{
    if (s->l1_size) {
        memcpy(s->l1, l1, (size_t)s->l1_size * 8);
    }
    return qcow2_write_l1_table(s, s->l1_offset, l1, s->l1_size, OL_ACTIVE_L1);
}

static int strip_active(struct qcow2 *s, uint64_t *l1)
{
    int ret = strip_flags(s, l1, s->l1_size);
    for (uint32_t i = 0; i < s->l1_size; i++) {
        l1[i] &= ~OFLAG_COPIED;
    }
    /* Always: an earlier write of it may have failed. */
    return ret < 0 ? ret : write_active(s, l1);
}

/* The active table's entries, changed in memory and on disk. */
static int update_active(struct qcow2 *s, int addend)
{
    uint64_t *l1 = mem_try_array(s->l1_size ? s->l1_size : 1, 8);
    if (!l1) {
        return -ENOMEM;
    }
    if (s->l1_size) {
        memcpy(l1, s->l1, (size_t)s->l1_size * 8);
    }
    int ret = addend > 0 ? strip_active(s, l1) : 0;
    ret = ret < 0 ? ret : qcow2_update_l1_references(s, l1, s->l1_size, addend);
    if (ret < 0 && addend > 0) {
        qcow2_update_l1_references(s, l1, s->l1_size,
                                   0); /* flags again where there is one reference still */
    }
    int flushed = qcow2_cache_flush(s->refblock_cache, NULL);
    flushed = flushed < 0 ? flushed : qcow2_cache_flush(s->l2_cache, NULL);
    ret = ret < 0 ? ret : flushed;
    /* Also after an error: entries that lost their flag must not be written in place any more. */
    bool changed = s->l1_size && memcmp(l1, s->l1, (size_t)s->l1_size * 8) != 0;
    int w = changed ? write_active(s, l1) : 0;
    mem_free(l1);
    return ret < 0 ? ret : w;
}

int qcow2_update_snapshot_refcount(struct qcow2 *s, uint64_t l1_offset, uint32_t l1_size,
                                   int addend)
{
    if (l1_offset == s->l1_offset) {
        return update_active(s, addend);
    }
    uint64_t *l1;
    int ret = qcow2_read_l1_table(s, l1_offset, l1_size, &l1);
    if (ret < 0) {
        return ret;
    }
    ret = addend > 0 ? strip_flags(s, l1, l1_size) : 0;
    ret = ret < 0 ? ret : qcow2_update_l1_references(s, l1, l1_size, addend);
    ret = ret < 0 ? ret : qcow2_cache_flush(s->refblock_cache, NULL);
    ret = ret < 0 ? ret : qcow2_cache_flush(s->l2_cache, NULL);
    mem_free(l1);
    return ret;
}
