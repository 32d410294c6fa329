/*
 * Changing the size of a qcow2 image.  Preallocation: prealloc.c.
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
    int ret = child_pwrite_sync(s->n->file, QCOW2_HEADER_SIZE_OFF, buf, sizeof(buf),
                                LABEL_HEADER_UPDATE, NULL);
    s->header_unsure |= ret < 0;
    return ret;
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

/* At least `size` bytes; what lies behind them (VM state) stays. */
static int lengthen_data_file(struct qcow2 *s, uint64_t size, enum prealloc mode,
                              struct error **err)
{
    int64_t length = child_length(s->data_file);
    if (length < 0) {
        return error_set_errno(err, (int)-length, "Could not get the length of the data file");
    }
    if ((uint64_t)length >= size) {
        return 0;
    }
    mode = mode == PREALLOC_METADATA ? PREALLOC_OFF : mode;
    return child_truncate(s->data_file, (int64_t)size, false, mode, 0, err);
}

static int grow_data(struct qcow2 *s, uint64_t size, enum prealloc mode, struct error **err)
{
    int ret = has_data_file(s) ? lengthen_data_file(s, size, mode, err) : 0;
    if (ret < 0 || mode == PREALLOC_OFF) {
        return ret;
    }
    if (has_data_file(s) || mode == PREALLOC_METADATA) {
        ret = qcow2_preallocate(s, s->virtual_size, size, mode, err);
    } else {
        ret = qcow2_preallocate_space(s, s->virtual_size, size, mode, err);
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
        if (ret < 0) {
            return error_set_errno(err, -ret, "Failed to zero out new clusters");
        }
    }
    if (ret == 0 && old < start) {
        ret = write_zero_data(s, old, MIN(start, size) - old);
    }
    return ret < 0 ? error_set_errno(err, -ret, "Failed to zero out new image area") : 0;
}

/*
 * An encrypted data file ends where the old disk did: behind that the last cluster's data are
 * holes, which nobody encrypted.  They are written, stable before the size, as encrypted zeroes.
 */
static int encrypt_last_cluster(struct qcow2 *s, uint64_t old, uint64_t size)
{
    uint64_t at = ROUND_UP(old, 512), end = MIN(size, ROUND_UP(old, s->cluster_size));
    bool wrote = false;
    int ret = 0;
    while (ret == 0 && at < end) {
        enum subcluster_type type;
        uint64_t bytes = end - at, host;
        ret = qcow2_get_host(s, at, &bytes, &host, &type, NULL);
        if (ret == 0 && type == SUBCLUSTER_NORMAL) {
            ret = write_zero_data(s, at, bytes);
            wrote = true;
        }
        at += bytes;
    }
    return ret == 0 && wrote ? child_flush(s->data_file, NULL) : ret;
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
    if (ret == 0 && s->crypt && has_data_file(s)) {
        ret = encrypt_last_cluster(s, s->virtual_size, size);
        if (ret < 0) {
            error_set_errno(err, -ret, "Failed to zero out new image area");
        }
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
    int ret = qcow2_may_change(s);
    ret = ret < 0 ? error_set_errno(err, -ret, "Could not resize image")
                  : resize(s, (uint64_t)size, prealloc, flags, err);
    co_unlock(s->w, &s->lock);
    return ret;
}
