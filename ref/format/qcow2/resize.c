/*
 * Changing the size of a qcow2 image, and preallocation.
 *
 * Growing writes the header's size last.  Shrinking takes the clusters away, durably, before the
 * size: what a later growth exposes must read as zeroes.
 */
#include "ref/format/qcow2/qcow2.h"

#include <assert.h>
#include <errno.h>

static int write_size(struct qcow2 *s, uint64_t size)
{
    uint8_t buf[8];
    store_be64(buf, size);
    return child_pwrite_sync(s->n->file, QCOW2_HEADER_SIZE_OFF, buf, sizeof(buf),
                             LABEL_HEADER_UPDATE, NULL);
}

static uint64_t l1_entries(const struct qcow2 *s, uint64_t size)
{
    return DIV_ROUND_UP(size_to_clusters(s, size), s->l2_size);
}

/* Cuts what no cluster uses off the end of the file. */
static int cut_tail(struct qcow2 *s, struct error **err)
{
    int64_t old = child_length(s->n->file);
    if (old < 0) {
        return error_set_errno(err, (int)-old, "Failed to inquire current file length");
    }
    int64_t last = qcow2_last_cluster(s, old);
    if (last < 0) {
        return error_set_errno(err, (int)-last, "Failed to find the last cluster");
    }
    int64_t end = (last + 1) << s->cluster_bits;
    struct error *local = NULL;
    if (end < old && child_truncate(s->n->file, end, false, PREALLOC_OFF, 0, &local) < 0) {
        error_prepend(&local, "Failed to truncate the tail of the image: ");
        world_warn(s->w, "%s", local->msg);
        error_free(local);
    }
    return 0;
}

static int shrink(struct qcow2 *s, uint64_t size, enum prealloc prealloc, struct error **err)
{
    if (prealloc != PREALLOC_OFF) {
        return error_set(err, EINVAL, "Preallocation can't be used for shrinking an image");
    }
    uint64_t from = ROUND_UP(size, s->cluster_size);
    qcow2_wait_allocs(s, from, UINT64_MAX / 2 - from);
    int ret = 0;
    if (s->virtual_size > from) {
        ret = qcow2_discard_range(s, from, s->virtual_size - from, DISCARD_ALWAYS, true, NULL);
    }
    if (ret < 0) {
        return error_set_errno(err, -ret, "Failed to discard cropped clusters");
    }
    ret = qcow2_shrink_l1(s, l1_entries(s, size));
    if (ret < 0) {
        return error_set_errno(err, -ret, "Failed to reduce the number of L2 tables");
    }
    ret = qcow2_shrink_reftable(s);
    if (ret < 0) {
        return error_set_errno(err, -ret, "Failed to discard unused refblocks");
    }
    ret = qcow2_flush_caches(s, NULL);
    if (ret == 0) {
        ret = qcow2_cache_flush(s->refblock_cache, NULL);
    }
    if (ret < 0) {
        return error_set_errno(err, -ret, "Failed to flush the metadata caches");
    }
    if (has_data_file(s)) {
        struct error *local = NULL;
        if (child_truncate(s->data_file, (int64_t)size, false, PREALLOC_OFF, 0, &local) < 0) {
            world_warn(s->w, "Failed to truncate the external data file: %s", local->msg);
            error_free(local);
        }
    }
    return cut_tail(s, err);
}

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

/* Host space for all of the new part and its metadata first, then the metadata inside it. */
static int preallocate_space(struct qcow2 *s, uint64_t size, enum prealloc mode, struct error **err)
{
    int64_t have = child_length(s->n->file);
    (void)qcow2_is_virgin(
        s, 0); /* from today's end of the file on all is zero, also when that is allocated now */
    if (have < 0) {
        return error_set_errno(err, (int)-have, "Failed to inquire current file length");
    }
    int64_t last = qcow2_last_cluster(s, have);
    if (last < 0) {
        return error_set_errno(err, (int)-last, "Failed to find the last cluster");
    }
    uint64_t data = size_to_clusters(s, size) - size_to_clusters(s, s->virtual_size);
    uint64_t tables = l1_entries(s, size) - s->virtual_size / (s->l2_size << s->cluster_bits);
    uint64_t end = (uint64_t)last + 1 + data + tables;
    /* Refcount blocks for what comes behind those there are. */
    uint64_t covered = (uint64_t)s->reftable_used << s->refblock_bits;
    if (end > covered) {
        end += DIV_ROUND_UP(end - covered, s->refblock_size - 1);
    }
    if (end > QCOW2_MAX_HOST_OFFSET >> s->cluster_bits) {
        return error_set_errno(err, EFBIG, "Failed to resize refcount structures");
    }
    /* The rest of the last cluster in use is no new space. */
    if (offset_into_cluster(s, (uint64_t)have)) {
        int ret = child_truncate(s->n->file, (int64_t)ROUND_UP((uint64_t)have, s->cluster_size),
                                 false, PREALLOC_OFF, 0, err);
        if (ret < 0) {
            return ret;
        }
    }
    return child_truncate(s->n->file, (int64_t)(end << s->cluster_bits), false, mode, 0, err);
}

/* Writes zeroes as data; small ranges. */
static int write_zero_data(struct qcow2 *s, uint64_t offset, uint64_t bytes)
{
    uint8_t *zero = mem_try_zalloc(bytes);
    if (!zero) {
        return -ENOMEM;
    }
    struct iov q;
    iov_single(&q, zero, bytes);
    co_unlock(s->w, &s->lock);
    int ret = qcow2_write_range(s, offset, bytes, &q, 0, NULL);
    co_lock(s->w, &s->lock);
    mem_free(zero);
    return ret;
}

/* The old disk's last cluster is on the host already, but it may be a hole there behind the old
 * end. */
static int fill_last_cluster(struct qcow2 *s, uint64_t size)
{
    uint64_t end = MIN(size, ROUND_UP(s->virtual_size, s->cluster_size));
    bool whole = has_data_file(s) || s->extended_l2 || s->virtual_size >= end;
    return whole ? 0 : write_zero_data(s, s->virtual_size, end - s->virtual_size);
}

static int grow_data(struct qcow2 *s, uint64_t size, enum prealloc mode, struct error **err)
{
    int ret = 0;
    if (has_data_file(s) && (mode == PREALLOC_OFF || mode == PREALLOC_METADATA)) {
        ret = child_truncate(s->data_file, (int64_t)size, false, PREALLOC_OFF, 0, err);
    } else if (has_data_file(s)) {
        ret = child_truncate(s->data_file, (int64_t)size, false, mode, 0, err);
    } else if (mode == PREALLOC_FALLOC || mode == PREALLOC_FULL) {
        ret = preallocate_space(s, size, mode, err);
    }
    if (ret < 0 || mode == PREALLOC_OFF) {
        return ret;
    }
    ret = qcow2_preallocate(s, s->virtual_size, size, mode, err);
    if (ret == 0 && mode != PREALLOC_METADATA) {
        ret = fill_last_cluster(s, size);
        if (ret < 0) {
            error_set_errno(err, -ret, "Could not fill the last cluster");
        }
    }
    if (ret == 0) {
        ret = qcow2_flush_caches(s, NULL);
        if (ret == 0) {
            ret = qcow2_cache_flush(s->refblock_cache, NULL);
        }
        if (ret < 0) {
            error_set_errno(err, -ret, "Could not flush qcow2 metadata");
        }
    }
    return ret;
}

/* Growth over a longer backing file: the new part must read as zeroes. */
static int zero_new_part(struct qcow2 *s, uint64_t old, uint64_t size, struct error **err)
{
    uint64_t start = ROUND_UP(old, s->subcluster_size);
    int ret = 0;
    if (start < size) {
        ret = qcow2_zeroize_range(s, start, size - start, 0, NULL);
    }
    if (ret == 0 && old < start) {
        ret = write_zero_data(s, old, MIN(start, size) - old);
    }
    return ret < 0 ? error_set_errno(err, -ret, "Failed to zero out new image area") : 0;
}

static int grow(struct qcow2 *s, uint64_t size, enum prealloc prealloc, unsigned flags,
                struct error **err)
{
    int ret = qcow2_grow_l1(s, l1_entries(s, size), true);
    if (ret < 0) {
        return error_set_errno(err, -ret, "Failed to grow the L1 table");
    }
    ret = grow_data(s, size, prealloc, err);
    if (ret == 0 && (flags & REQ_ZERO_GROWN)) {
        ret = zero_new_part(s, s->virtual_size, size, err);
    }
    if (ret == 0 && !s->writeback) {
        ret = qcow2_write_caches(s, NULL);
        if (ret < 0) {
            error_set_errno(err, -ret, "Could not write the metadata");
        }
    }
    return ret;
}

static int resize(struct qcow2 *s, uint64_t size, enum prealloc prealloc, unsigned flags,
                  struct error **err)
{
    if (s->dead) {
        return error_set(err, ENOMEDIUM, "No medium inserted");
    }
    if (!IS_ALIGNED(size, 512)) {
        return error_set(err, EINVAL, "The new size must be a multiple of 512");
    }
    /* Version 2 has no place for the size that a snapshot's disk had. */
    if (s->nb_snapshots && s->version < 3) {
        return error_set(err, ENOTSUP, "Can't resize a v2 image which has snapshots");
    }
    if (s->nb_bitmaps && (s->autoclear & QCOW2_AUTOCLEAR_BITMAPS)) {
        return error_set(err, ENOTSUP, "Can't resize a qcow2 image with bitmaps");
    }
    int ret = size < s->virtual_size ? shrink(s, size, prealloc, err)
                                     : grow(s, size, prealloc, flags, err);
    if (ret < 0) {
        return ret;
    }
    ret = write_size(s, size);
    if (ret < 0) {
        return error_set_errno(err, -ret, "Failed to update the image size");
    }
    s->virtual_size = size;
    s->l1_vm_state_index = (uint32_t)l1_entries(s, size);
    return 0;
}

int qcow2_truncate(struct node *n, int64_t size, bool exact, enum prealloc prealloc, unsigned flags,
                   struct error **err)
{
    struct qcow2 *s = qcow2_state(n);
    co_lock(s->w, &s->lock);
    if (data_file_is_raw(s) && prealloc == PREALLOC_OFF && (uint64_t)size > s->virtual_size) {
        prealloc = PREALLOC_METADATA; /* what is in the raw file is in the image */
    }
    int ret = resize(s, (uint64_t)size, prealloc, flags, err);
    co_unlock(s->w, &s->lock);
    return ret;
}
