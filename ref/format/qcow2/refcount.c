/*
 * qcow2 refcounts (spec: "Host cluster management"): reading, changing, allocating and freeing host
 * clusters.
 *
 * Allocation takes the first run of free clusters from a moving hint on.  A cluster is free when
 * its refcount is 0 and no guest data is in flight on it.  A run is handed out only after every
 * reference that freed clusters had is gone from stable storage (freed_lo/hi).  Leaves out: growth
 * of the tables (refblock.c), check and repair.
 */
#include "ref/format/qcow2/qcow2.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>

int qcow2_refcount_open(struct qcow2 *s, struct error **err)
{
    uint64_t bytes = (uint64_t)s->reftable_clusters << s->cluster_bits;
    assert(bytes <= QCOW2_MAX_REFCOUNT_TABLE_BYTES);
    list_init(&s->discards);
    s->freed_lo = UINT64_MAX;
    s->freed_hi = 0;
    s->reftable_size = (uint32_t)(bytes / 8);
    s->reftable_used = 0;
    if (bytes == 0) {
        return 0;
    }
    s->reftable = mem_try_alloc(bytes);
    if (!s->reftable) {
        return error_set(err, ENOMEM, "Could not allocate memory for the refcount table");
    }
    int ret = child_pread(s->n->file, (int64_t)s->reftable_offset, s->reftable, (int64_t)bytes,
                          LABEL_REFTABLE_LOAD, NULL);
    if (ret < 0) {
        return error_set_errno(err, -ret, "Could not initialize refcount handling");
    }
    const uint32_t n = s->reftable_size;
    for (size_t i = 0; (i = words_skip_zero(s->reftable, i, n)) < n; i++) {
        s->reftable[i] = load_be64(&s->reftable[i]);
        if (s->reftable[i] & REFT_OFFSET_MASK) {
            s->reftable_used = (uint32_t)i + 1;
        }
    }
    return 0;
}

void qcow2_refcount_close(struct qcow2 *s)
{
    mem_free(s->reftable);
    s->reftable = NULL;
    s->reftable_size = s->reftable_used = 0;
    if (s->discards.next) {
        qcow2_process_discards(s, -ECANCELED);
    }
}

/* Host offset of the refcount block with index i, 0 when there is none. */
static int refblock_offset(struct qcow2 *s, uint64_t i, uint64_t *offset)
{
    *offset = i < s->reftable_size ? s->reftable[i] & REFT_OFFSET_MASK : 0;
    if (offset_into_cluster(s, *offset)) {
        qcow2_signal_corruption(
            s, true, -1, -1,
            "Refblock offset %#" PRIx64 " unaligned (reftable index: %#" PRIx64 ")", *offset, i);
        return -EIO;
    }
    return 0;
}

int qcow2_get_refcount(struct qcow2 *s, uint64_t cluster_index, uint64_t *refcount)
{
    uint64_t offset;
    uint8_t *block;
    *refcount = 0;
    int ret = refblock_offset(s, cluster_index >> s->refblock_bits, &offset);
    if (ret < 0 || offset == 0) {
        return ret;
    }
    ret = qcow2_cache_get(s->refblock_cache, offset, &block, NULL);
    if (ret < 0) {
        return ret;
    }
    *refcount = qcow2_refcount_block_entry_get(block, cluster_index & (s->refblock_size - 1),
                                               s->refcount_order);
    qcow2_cache_put(s->refblock_cache, &block);
    return 0;
}

/* A cluster whose place on the host may go, in the image or its data file. */
static void queue_discard(struct qcow2 *s, uint64_t offset, enum qcow2_discard_type type,
                          bool data_file)
{
    bool after_flush = type != DISCARD_REQUEST;
    if (!s->discard_passthrough[type]) {
        return;
    }
    struct qcow2_discard *d =
        list_empty(&s->discards) ? NULL : LIST_ENTRY(s->discards.prev, struct qcow2_discard, link);
    if (d && d->offset + d->bytes == offset && d->after_flush == after_flush &&
        d->data_file == data_file) {
        d->bytes += s->cluster_size;
        return;
    }
    d = mem_zalloc(sizeof(*d));
    *d = (struct qcow2_discard){.offset = offset,
                                .bytes = s->cluster_size,
                                .after_flush = after_flush,
                                .data_file = data_file};
    list_push(&s->discards, &d->link);
}

/* The cluster lost its last reference. */
static void cluster_freed(struct qcow2 *s, uint64_t index, enum qcow2_discard_type type)
{
    uint64_t offset = index << s->cluster_bits;
    if (index < s->free_cluster_index) {
        s->free_cluster_index = index;
    }
    qcow2_cache_discard(s->refblock_cache, offset, s->cluster_size);
    qcow2_cache_discard(s->l2_cache, offset, s->cluster_size);
    if (s->free_byte_offset && start_of_cluster(s, s->free_byte_offset - 1) == offset) {
        s->free_byte_offset = 0; /* what comes there next is no compressed data */
    }
    s->freed_lo = MIN(s->freed_lo, offset);
    s->freed_hi = MAX(s->freed_hi, offset + s->cluster_size);
    queue_discard(s, offset, type, false);
}

void qcow2_process_discards(struct qcow2 *s, int ret)
{
    bool flushed = false;
    while (!list_empty(&s->discards)) {
        struct qcow2_discard *d = LIST_FIRST(&s->discards, struct qcow2_discard, link);
        list_remove(&d->link);
        /* The guest may lose what it discards itself at once; anything else only when nothing
         * refers to it. */
        if (ret >= 0 && d->after_flush && !flushed) {
            ret = qcow2_cache_flush(s->l2_cache, NULL);
            flushed = true;
        }
        if (ret >= 0 && (d->data_file || !qcow2_io_busy(s, d->offset, d->bytes))) {
            (void)child_discard(d->data_file ? s->data_file : s->n->file, (int64_t)d->offset,
                                (int64_t)d->bytes, LABEL_DISCARD, NULL);
        }
        mem_free(d);
    }
}

/* [offset, +bytes) is in use again: a queued discard must not touch it. */
static void cancel_discards(struct qcow2 *s, uint64_t offset, uint64_t bytes)
{
    struct qcow2_discard *d, *tmp;
    LIST_FOREACH_SAFE (d, tmp, &s->discards, link) {
        if (!d->data_file && d->offset < offset + bytes && offset < d->offset + d->bytes) {
            list_remove(&d->link);
            mem_free(d);
        }
    }
}

/* Changes the refcount of one cluster in its (pinned, dirty) block. */
static int change_one(struct qcow2 *s, uint8_t *block, uint64_t index, uint64_t addend,
                      bool decrease, enum qcow2_discard_type type)
{
    uint64_t i = index & (s->refblock_size - 1);
    uint64_t v = qcow2_refcount_block_entry_get(block, i, s->refcount_order);
    if (decrease ? v < addend : s->refcount_max - v < addend) {
        return -EINVAL;
    }
    v = decrease ? v - addend : v + addend;
    qcow2_refcount_block_entry_set(block, i, s->refcount_order, v);
    if (v == 0) {
        cluster_freed(s, index, type);
    }
    return 0;
}

int qcow2_update_refcount(struct qcow2 *s, uint64_t offset, uint64_t bytes, uint64_t addend,
                          bool decrease, enum qcow2_discard_type type)
{
    if (bytes == 0) {
        return 0;
    }
    int ret = 0;
    if (decrease && qcow2_need_accurate_refcounts(s)) {
        ret = qcow2_cache_set_dependency(s->refblock_cache, s->l2_cache, NULL);
        if (ret < 0) {
            return ret;
        }
    }
    if (!decrease) {
        cancel_discards(s, start_of_cluster(s, offset), bytes + offset_into_cluster(s, offset));
        if (qcow2_is_virgin(s, offset + bytes - 1)) {
            s->virgin = ROUND_UP(offset + bytes, s->cluster_size);
        }
    }
    uint64_t first = offset >> s->cluster_bits, last = (offset + bytes - 1) >> s->cluster_bits;
    uint8_t *block = NULL;
    uint64_t i;
    for (i = first; i <= last; i++) {
        if (!block || (i & (s->refblock_size - 1)) == 0) {
            uint64_t block_offset;
            if (block) {
                qcow2_cache_put(s->refblock_cache, &block);
            }
            /* Announced before it is known whether a block must be made: tests count on it. */
            child_event(s->n->file, LABEL_REFBLOCK_ALLOC, NULL);
            ret = refblock_offset(s, i >> s->refblock_bits, &block_offset);
            if (ret == 0 && block_offset == 0) {
                ret = decrease ? -EINVAL : qcow2_alloc_refblock(s, i);
            }
            if (ret < 0) {
                break;
            }
            child_event(s->n->file, LABEL_REFBLOCK_LOAD, NULL);
            ret = qcow2_cache_get(s->refblock_cache, block_offset, &block, NULL);
            if (ret < 0) {
                break;
            }
        }
        qcow2_cache_dirty(s->refblock_cache, block);
        ret = change_one(s, block, i, addend, decrease, type);
        if (ret < 0) {
            break;
        }
    }
    if (block) {
        qcow2_cache_put(s->refblock_cache, &block);
    }
    if (ret < 0 && i > first) {
        /* Taken back; when that fails too there are leaks at worst, for decreases an error that
         * check finds. */
        (void)qcow2_update_refcount(s, first << s->cluster_bits, (i - first) << s->cluster_bits,
                                    addend, !decrease, DISCARD_NEVER);
    }
    return ret;
}

bool qcow2_io_busy(const struct qcow2 *s, uint64_t host_offset, uint64_t bytes)
{
    const struct qcow2_io *io;
    LIST_FOREACH (io, &s->ios, link) {
        if (!io->data_file && io->host_offset < host_offset + bytes &&
            host_offset < io->host_offset + io->bytes) {
            return true;
        }
    }
    return false;
}

/* 1 when cluster i may be handed out, 0 when not. */
static int cluster_is_free(struct qcow2 *s, uint64_t i)
{
    uint64_t refcount;
    int ret = qcow2_get_refcount(s, i, &refcount);
    if (ret < 0) {
        return ret;
    }
    return refcount == 0 &&
           (list_empty(&s->ios) || !qcow2_io_busy(s, i << s->cluster_bits, s->cluster_size));
}

/* References that freed clusters had are gone from stable storage before the clusters are used
 * again. */
static int settle_freed(struct qcow2 *s, uint64_t offset, uint64_t bytes)
{
    if (offset < s->freed_hi && s->freed_lo < offset + bytes) {
        return qcow2_cache_flush(s->l2_cache, NULL);
    }
    return 0;
}

int64_t qcow2_find_free(struct qcow2 *s, uint64_t bytes)
{
    uint64_t nb = size_to_clusters(s, bytes), run = 0, i = s->free_cluster_index;
    uint64_t end = QCOW2_MAX_HOST_OFFSET >> s->cluster_bits;
    while (run < nb) {
        if (i >= end) {
            return -EFBIG;
        }
        if (i >> s->refblock_bits >= s->reftable_used && list_empty(&s->ios)) {
            i += nb - run; /* no refcount block from here on: all free */
            run = nb;
            break;
        }
        int ret = cluster_is_free(s, i++);
        if (ret < 0) {
            return ret;
        }
        run = ret ? run + 1 : 0;
    }
    if (i > end) {
        return -EFBIG;
    }
    s->free_cluster_index = i;
    uint64_t offset = (i - nb) << s->cluster_bits;
    /* Refcount structures count themselves, so it is done here. */
    cancel_discards(s, offset, nb << s->cluster_bits);
    int ret = settle_freed(s, offset, nb << s->cluster_bits);
    return ret < 0 ? ret : (int64_t)offset;
}

int64_t qcow2_alloc_clusters(struct qcow2 *s, uint64_t bytes)
{
    child_event(s->n->file, LABEL_CLUSTER_ALLOC, NULL);
    for (;;) {
        int64_t offset = qcow2_find_free(s, bytes);
        if (offset < 0) {
            return offset;
        }
        int ret = qcow2_update_refcount(s, (uint64_t)offset, bytes, 1, false, DISCARD_NEVER);
        if (ret == 0) {
            return offset;
        }
        /* Also to search again: the run is free still, so the search starts with it, or in front
         * of it. */
        s->free_cluster_index = MIN(s->free_cluster_index, (uint64_t)offset >> s->cluster_bits);
        if (ret != QCOW2_SEARCH_AGAIN) {
            return ret;
        }
    }
}

int64_t qcow2_alloc_clusters_at(struct qcow2 *s, uint64_t offset, uint64_t nb)
{
    assert(offset_into_cluster(s, offset) == 0);
    uint64_t first = offset >> s->cluster_bits, end = QCOW2_MAX_HOST_OFFSET >> s->cluster_bits;
    for (;;) {
        uint64_t i = first;
        while (i - first < nb && i < end) {
            int ret = cluster_is_free(s, i);
            if (ret < 0) {
                return ret;
            }
            if (!ret) {
                break;
            }
            i++;
        }
        uint64_t bytes = (i - first) << s->cluster_bits;
        int ret = settle_freed(s, offset, bytes);
        if (ret == 0) {
            ret = qcow2_update_refcount(s, offset, bytes, 1, false, DISCARD_NEVER);
        }
        if (ret == 0) {
            return (int64_t)(i - first);
        }
        if (ret != QCOW2_SEARCH_AGAIN) {
            return ret;
        }
    }
}

/* Where `bytes` more compressed bytes go: behind the last ones when that cluster (and its follower)
 * has room. */
static int64_t place_bytes(struct qcow2 *s, unsigned bytes)
{
    uint64_t offset = s->free_byte_offset;
    if (offset) {
        uint64_t refcount;
        int ret = qcow2_get_refcount(s, offset >> s->cluster_bits, &refcount);
        if (ret < 0) {
            return ret;
        }
        if (refcount == 0 || refcount == s->refcount_max) {
            offset = 0;
        }
    }
    uint64_t room = offset ? s->cluster_size - offset_into_cluster(s, offset) : 0;
    if (offset && room >= bytes) {
        return (int64_t)offset;
    }
    int64_t fresh = qcow2_find_free(s, s->cluster_size);
    if (fresh < 0) {
        return fresh;
    }
    if (fresh == 0) {
        qcow2_signal_corruption(s, true, -1, -1,
                                "Preventing invalid allocation of compressed cluster at offset 0");
        return -EIO;
    }
    return offset && offset + room == (uint64_t)fresh ? (int64_t)offset : fresh;
}

int64_t qcow2_alloc_bytes(struct qcow2 *s, unsigned bytes)
{
    child_event(s->n->file, LABEL_CLUSTER_ALLOC_BYTES, NULL);
    assert(bytes > 0 && bytes <= s->cluster_size);
    for (;;) {
        uint64_t hint = s->free_cluster_index;
        int64_t offset = place_bytes(s, bytes);
        if (offset < 0) {
            return offset;
        }
        int ret = qcow2_update_refcount(s, (uint64_t)offset, bytes, 1, false, DISCARD_NEVER);
        if (ret == 0) {
            s->free_byte_offset = (uint64_t)offset + bytes;
            if (offset_into_cluster(s, s->free_byte_offset) == 0) {
                s->free_byte_offset = 0;
            }
            return offset;
        }
        s->free_cluster_index = hint;
        if (ret != QCOW2_SEARCH_AGAIN) {
            return ret;
        }
    }
}

void qcow2_free_clusters(struct qcow2 *s, uint64_t offset, uint64_t bytes,
                         enum qcow2_discard_type type)
{
    child_event(s->n->file, LABEL_CLUSTER_FREE, NULL);
    int ret = qcow2_update_refcount(s, offset, bytes, 1, true, type);
    if (ret < 0) {
        world_report(s->w, REPORT_PLAIN, "qcow2_free_clusters failed: %s\n", strerror(-ret));
    }
}

void qcow2_compressed_extent(const struct qcow2 *s, uint64_t l2_entry, uint64_t *offset,
                             unsigned *bytes)
{
    *offset = l2_entry & s->cluster_offset_mask;
    uint64_t sectors = ((l2_entry >> s->csize_shift) & s->csize_mask) + 1;
    *bytes =
        (unsigned)(sectors * QCOW2_COMPRESSED_SECTOR - (*offset & (QCOW2_COMPRESSED_SECTOR - 1)));
}

void qcow2_free_any_cluster(struct qcow2 *s, uint64_t l2_entry, enum qcow2_discard_type type)
{
    enum cluster_type t = qcow2_cluster_type(s, l2_entry);
    uint64_t offset = l2_entry & L2_OFFSET_MASK;
    if (has_data_file(s)) {
        if (t == CLUSTER_NORMAL || t == CLUSTER_ZERO_ALLOC) {
            queue_discard(s, offset, type, true);
        }
        return;
    }
    if (t == CLUSTER_COMPRESSED) {
        unsigned bytes;
        qcow2_compressed_extent(s, l2_entry, &offset, &bytes);
        qcow2_free_clusters(s, offset, bytes, type);
    } else if (t == CLUSTER_NORMAL || t == CLUSTER_ZERO_ALLOC) {
        if (offset_into_cluster(s, offset)) {
            qcow2_signal_corruption(s, false, -1, -1, "Cannot free unaligned cluster %#" PRIx64,
                                    offset);
        } else {
            qcow2_free_clusters(s, offset, s->cluster_size, type);
        }
    }
}

int qcow2_write_caches(struct qcow2 *s, const struct request *r)
{
    int ret = qcow2_cache_write(s->l2_cache, r);
    if (ret == 0 && qcow2_need_accurate_refcounts(s)) {
        ret = qcow2_cache_write(s->refblock_cache, r);
    }
    return ret;
}

int qcow2_flush_caches(struct qcow2 *s, const struct request *r)
{
    int ret = qcow2_write_caches(s, r);
    return ret < 0 ? ret : qcow2_cache_flush(s->l2_cache, r);
}

int qcow2_writethrough(struct qcow2 *s, const struct request *r)
{
    return s->writeback || s->dead ? 0 : qcow2_write_caches(s, r);
}

bool qcow2_is_virgin(struct qcow2 *s, uint64_t offset)
{
    if (!s->virgin_known) {
        int64_t end = child_length(s->n->file);
        s->virgin_known = true;
        s->virgin = UINT64_MAX;
        /* Growing must read as zeroes: only then is what lies behind the end known. */
        if (end >= 0 && (s->n->file->node->truncate_flags & REQ_ZERO_GROWN)) {
            s->virgin = ROUND_UP((uint64_t)end, s->cluster_size);
        }
    }
    return offset >= s->virgin;
}

int64_t qcow2_last_cluster(struct qcow2 *s, int64_t size)
{
    int64_t i = (int64_t)size_to_clusters(s, (uint64_t)size) - 1;
    for (; i >= 0; i--) {
        uint64_t refcount, block = (uint64_t)i >> s->refblock_bits;
        /* A file may reach far behind all that is counted: work goes with the blocks there are. */
        if (block >= s->reftable_used || !(s->reftable[block] & REFT_OFFSET_MASK)) {
            i = (int64_t)(MIN(block, s->reftable_used) << s->refblock_bits);
            continue;
        }
        int ret = qcow2_get_refcount(s, (uint64_t)i, &refcount);
        if (ret < 0) {
            return ret;
        }
        if (refcount) {
            return i;
        }
    }
    qcow2_signal_corruption(s, true, -1, -1, "There are no references in the refcount table.");
    return -EIO;
}
