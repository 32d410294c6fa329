/*
 * Resizing QED images.  Growing is a number in the header; shrinking is an extension of ours.
 *
 * Order of shrinking: the need-check bit; entries of clusters behind the new end go, and what the
 * last cluster has behind it becomes zeroes (stable); the size (stable).  So the tables are right
 * at every moment, and growing again, by whatever program, shows zeroes.  Then the file is cut
 * behind the last cluster in use.  Leaves out: moving clusters; those given back in the middle of
 * the file are leaks, as the format has no list of free ones.
 */
#include "ref/format/qed/qed.h"

#include <errno.h>

/* Entries [first, end) of one table become 0. (lock held) */
static int clear_entries(struct qed *s, const struct table_ref *t, uint64_t first, uint64_t end)
{
    static const uint8_t none[TABLE_PAGE];
    const uint8_t *e;
    unsigned n;
    int ret = 0;
    for (uint64_t i = first; i < end && ret == 0; i += n) {
        ret = table_load(&s->tables, t, i, &e, &n, NULL);
        n = (unsigned)MIN((uint64_t)n, end - i);
        if (ret == 0 && !buf_is_zero(e, 8 * (size_t)n)) {
            ret = table_store(&s->tables, t, i, none, n, NULL);
        }
    }
    return ret;
}

/* No entry names a cluster from number `first` on. (lock held) */
static int forget_clusters(struct qed *s, uint64_t first)
{
    struct table_ref l1 = qed_l1(s);
    uint64_t index = first / s->entries, in_l2 = first % s->entries;
    const uint8_t *e;
    unsigned n;
    int ret = 0;
    if (in_l2) {
        ret = table_load(&s->tables, &l1, index, &e, &n, NULL);
        uint64_t offset = ret < 0 ? 0 : load_le64(e);
        if (ret == 0 && offset && !qed_table_offset_valid(s, offset)) {
            return -EINVAL;
        }
        struct table_ref l2 = qed_l2(s, offset);
        ret = offset ? clear_entries(s, &l2, in_l2, s->entries) : ret;
        index++;
    }
    return ret < 0 ? ret : clear_entries(s, &l1, index, s->entries);
}

/* What the last cluster has behind the end of the disk. */
static int zero_tail(struct qed *s, uint64_t size)
{
    uint64_t tail = ROUND_UP(size, s->cluster_size) - size;
    struct qed_map m;
    if (tail == 0) {
        return 0;
    }
    int ret = qed_find(s, size, tail, &m, NULL);
    return ret < 0 || m.type != QED_DATA
               ? ret
               : child_pwrite_zeroes(s->n->file, (int64_t)m.host, (int64_t)tail, 0, LABEL_RESIZE,
                                     NULL);
}

static int write_size(struct qed *s, uint64_t size)
{
    uint64_t old = s->image_size;
    s->image_size = size;
    int ret = qed_header_write(s, LABEL_HEADER_UPDATE, NULL);
    ret = ret < 0 ? ret : child_flush(s->n->file, NULL);
    if (ret < 0) {
        s->image_size = old;
    }
    return ret;
}

/* The file ends behind the last cluster in use; an image that is not consistent stays as it is. */
static int cut_file(struct qed *s)
{
    uint64_t end;
    int ret = qed_used_end(s, &end);
    if (ret < 0 || end >= s->file_end) {
        return ret;
    }
    ret = child_truncate(s->n->file, (int64_t)end, false, PREALLOC_OFF, 0, NULL);
    if (ret == 0) {
        s->file_end = s->valid_end = end;
        table_cache_forget(&s->tables);
    }
    return ret;
}

/* (alloc held) */
static int shrink(struct qed *s, uint64_t size, struct error **err)
{
    int ret = qed_prepare(s, NULL);
    if (ret < 0) {
        return error_set_errno(err, -ret, "Could not mark the image as in use");
    }
    co_lock(s->w, &s->lock);
    ret = forget_clusters(s, DIV_ROUND_UP(size, s->cluster_size));
    co_unlock(s->w, &s->lock);
    ret = ret < 0 ? ret : zero_tail(s, size);
    ret = ret < 0 ? ret : child_flush(s->n->file, NULL);
    if (ret < 0) {
        return error_set_errno(err, -ret, "Failed to discard cropped clusters");
    }
    ret = write_size(s, size);
    if (ret < 0) {
        return error_set_errno(err, -ret, "Failed to update the image size");
    }
    ret = cut_file(s);
    if (ret < 0) {
        world_warn(s->w, "Clusters behind the end of the image stay lost: %s", strerror(-ret));
    }
    (void)qed_mark_clean(s); /* failure keeps the bit: the next opening checks */
    return 0;
}

int qed_truncate(struct node *n, int64_t size, bool exact, enum prealloc prealloc, unsigned flags,
                 struct error **err)
{
    struct qed *s = qed_state(n);
    uint64_t max = qed_max_image_size(s->cluster_size, s->table_bytes / s->cluster_size);
    if (prealloc != PREALLOC_OFF) {
        return error_set(err, ENOTSUP, "Unsupported preallocation mode '%s'",
                         prealloc_names[prealloc]);
    }
    if (!IS_ALIGNED(size, 512) || (max && (uint64_t)size > max)) {
        return error_set(err, EINVAL, "Invalid image size specified");
    }
    co_lock(s->w, &s->alloc);
    int ret;
    if (s->dead) {
        ret = error_set_errno(err, ENOMEDIUM, "Failed to update the image size");
    } else if ((uint64_t)size < s->image_size) {
        ret = shrink(s, (uint64_t)size, err);
    } else {
        ret = write_size(s, (uint64_t)size);
        ret = ret < 0 ? error_set_errno(err, -ret, "Failed to update the image size") : 0;
    }
    co_unlock(s->w, &s->alloc);
    return ret;
}
