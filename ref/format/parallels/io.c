/*
 * Parallels requests: reads, writes in place, writes that allocate.
 *
 * A new cluster is filled, then entered in the BAT; nothing orders the two on the disk
 * (specs/parallels.yaml, promise: behind the end of the file there are only zeroes).  One
 * allocation runs at a time: of a cluster, or where the profile merges requests of all neighbours
 * that a request writes.  Leaves out: zero writes and discards, for which the format has no
 * entries.
 */
#include "ref/format/parallels/parallels.h"

#include <errno.h>
#include "ref/base/mem.h"
#include "ref/format/backing.h"
#include "ref/format/grow.h"

/* A part of a request that one run of clusters serves: neighbours on the host, or all without. */
struct run {
    uint64_t cluster;                /* the first */
    int64_t in_cluster, bytes, host; /* host 0: not allocated */
};

static struct run find(const struct parallels *s, int64_t offset, int64_t bytes)
{
    struct run p = {.cluster = (uint64_t)(offset / s->cluster), .in_cluster = offset % s->cluster};
    int64_t host = parallels_host(s, p.cluster), next = host;
    p.bytes = MIN(bytes, s->cluster - p.in_cluster);
    p.host = host ? host + p.in_cluster : 0;
    for (uint64_t i = p.cluster + 1; p.bytes < bytes; i++) {
        if (!host && i >= s->loaded) {
            p.bytes = bytes; /* the BAT has no more */
            break;
        }
        next = host ? next + s->cluster : 0;
        if (parallels_host(s, i) != next) {
            break;
        }
        p.bytes += MIN(bytes - p.bytes, s->cluster);
    }
    return p;
}

int parallels_read(struct node *n, const struct request *r)
{
    const struct parallels *s = parallels_state(n);
    struct run p;
    for (int64_t done = 0; done < r->bytes; done += p.bytes) {
        size_t q_off = r->iov_off + (size_t)done;
        p = find(s, r->offset + done, r->bytes - done);
        int ret = p.host ? child_preadv(n->file, p.host, p.bytes, r->iov, q_off, r->flags,
                                        LABEL_READ_AIO, r)
                         : format_read_backing(n, (uint64_t)(r->offset + done), (uint64_t)p.bytes,
                                               r->iov, q_off, r);
        if (ret < 0) {
            return ret;
        }
    }
    return 0;
}

/* ---- allocating ---- */

/* The bitmap of the extension says nothing any more: the header names it no longer. */
static int drop_ext(struct parallels *s, const struct request *r)
{
    if (!s->has_ext) {
        return 0;
    }
    uint64_t old = parallels_header_get_ext_off(s->meta);
    parallels_header_set_ext_off(s->meta, 0);
    int ret = parallels_write_header(s, LABEL_EXT_UPDATE, r);
    if (ret < 0) {
        parallels_header_set_ext_off(s->meta, old);
    }
    s->has_ext = ret < 0;
    return ret;
}

/*
 * The file reaches to `end` at least, behind new clusters that begin at `host`, and further by the
 * preallocation; new bytes are zeroes, allocated ones only from `host` on: the header may put the
 * data area far away.
 */
static int grow(struct parallels *s, int64_t host, int64_t end, const struct request *r)
{
    int64_t len = child_length(s->n->file), more = end + s->prealloc;
    bool falloc = s->prealloc && s->prealloc_falloc;
    if (len < 0 || len >= end) {
        return len < 0 ? (int)len : 0;
    }
    int ret = 0;
    if (!falloc || len < host) {
        len = falloc ? host : more;
        ret = format_grow_zeroed(s->n->file, host, len, r);
    }
    return ret < 0 || !falloc
               ? ret
               : child_pwrite_zeroes(s->n->file, len, more - len, 0, LABEL_PREALLOCATE, r);
}

/* The parts of new clusters around the request's: of the backing file, or zeroes. */
static int fill(struct parallels *s, int64_t guest, int64_t host, int64_t bytes,
                const struct request *r)
{
    if (bytes == 0) {
        return 0;
    }
    if (!s->n->backing) {
        return host < s->stale_end
                   ? child_pwrite_zeroes(s->n->file, host, bytes, 0, LABEL_COW_WRITE, r)
                   : 0;
    }
    return format_copy_backing(s->n, (uint64_t)guest, (uint64_t)bytes, s->n->file, (uint64_t)host,
                               r);
}

/* How many of n clusters from i on have entries, and places behind data_end that those can name. */
static int64_t allocatable(const struct parallels *s, uint64_t i, int64_t n)
{
    int64_t units = s->data_end / s->unit;
    if (i >= s->loaded || units > UINT32_MAX) {
        return i >= s->loaded ? -EIO : -EFBIG; /* a BAT that does not cover the disk */
    }
    int64_t places = (UINT32_MAX - units) / (s->cluster / s->unit) + 1;
    return MIN(MIN(n, (int64_t)(s->loaded - i)), places);
}

/*
 * Guest bytes [offset, offset + *bytes) of neighbours without host clusters get some; *bytes
 * becomes less where there is no room for all.  (lock held)
 */
static int allocate(struct parallels *s, int64_t offset, int64_t *bytes, size_t q_off,
                    const struct request *r)
{
    uint64_t i = (uint64_t)(offset / s->cluster);
    int64_t head = offset % s->cluster, host = s->data_end;
    int64_t n = allocatable(s, i, DIV_ROUND_UP(head + *bytes, s->cluster));
    if (n < 0) {
        return (int)n;
    }
    int64_t end = host + n * s->cluster;
    *bytes = MIN(*bytes, n * s->cluster - head);
    int ret = drop_ext(s, r);
    ret = ret < 0 ? ret : grow(s, host, end, r);
    ret = ret < 0 ? ret : fill(s, offset - head, host, head, r);
    if (ret == 0) {
        ret = child_pwritev(s->n->file, host + head, *bytes, r->iov, q_off, 0, LABEL_WRITE_AIO, r);
    }
    int64_t behind = host + head + *bytes;
    ret = ret < 0 ? ret : fill(s, offset + *bytes, behind, end - behind, r);
    /* What the backing file showed, or zeroes over what is stale, must be there before the entry.
     */
    s->data_first |= s->n->backing || host < s->stale_end;
    ret = ret < 0 || s->dirty ? ret : parallels_order_data(s, r);
    if (ret < 0) {
        s->stale_end = MAX(s->stale_end, end); /* the next one takes it */
        return ret;
    }
    /* A failed write may have reached the disk: the clusters are not given to another one. */
    s->data_end = end;
    return parallels_enter(s, i, (uint64_t)n, host, r);
}

int parallels_write(struct node *n, const struct request *r)
{
    struct parallels *s = parallels_state(n);
    int ret = parallels_ensure_mark(s, r);
    for (int64_t done = 0, part; ret == 0 && done < r->bytes; done += part) {
        int64_t offset = r->offset + done;
        struct run p = find(s, offset, r->bytes - done);
        part = p.bytes;
        if (!p.host) {
            part = s->merge ? part : MIN(part, s->cluster - p.in_cluster);
            co_lock(n->w, &s->lock);
            /* Another request may have been faster. */
            p = find(s, offset, part);
            part = p.bytes;
            ret = p.host ? 0 : allocate(s, offset, &part, r->iov_off + (size_t)done, r);
            co_unlock(n->w, &s->lock);
        }
        if (ret == 0 && p.host) {
            ret = child_pwritev(n->file, p.host, part, r->iov, r->iov_off + (size_t)done, r->flags,
                                LABEL_WRITE_AIO, r);
        }
    }
    return ret;
}

int parallels_block_status(struct node *n, bool precise, int64_t offset, int64_t bytes,
                           struct status *out)
{
    struct run p = find(parallels_state(n), offset, bytes);
    *out = (struct status){.bytes = p.bytes};
    if (p.host) {
        out->flags = STATUS_DATA | STATUS_ALLOCATED | STATUS_OFFSET_VALID;
        out->map = p.host;
        out->file = n->file->node;
    }
    return 0;
}
