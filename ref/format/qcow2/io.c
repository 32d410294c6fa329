/*
 * qcow2 requests: guest reads and writes, zeroes, discard, flush, and the VM state behind the
 * disk's end.
 *
 * The lock is held for looking at and changing metadata, not while guest data moves.
 */
#include "ref/format/qcow2/crypt.h"

#include <assert.h>
#include <errno.h>

/* What the backing file has; zeroes behind its end, or without one. */
static int read_backing(struct qcow2 *s, uint64_t offset, uint64_t bytes, const struct iov *q,
                        size_t q_off, enum label label, const struct request *r)
{
    struct child *b = s->n->backing;
    int64_t len = b ? child_length(b) : 0;
    if (len < 0) {
        return (int)len;
    }
    uint64_t n = offset < (uint64_t)len ? MIN(bytes, (uint64_t)len - offset) : 0;
    if (n < bytes) {
        iov_fill(q, q_off + n, 0, bytes - n);
    }
    if (n == 0) {
        return 0;
    }
    /* Events are this image's: they are announced on its file. */
    if (label != LABEL_COW_READ) {
        child_event(s->n->file, LABEL_READ_BACKING_AIO, r);
    }
    label = label == LABEL_COW_READ ? label : LABEL_READ_BACKING_AIO;
    return child_preadv(b, (int64_t)offset, (int64_t)n, q, q_off, REQ_ANNOUNCED, label, r);
}

/* One piece of one type. */
static int read_piece(struct qcow2 *s, uint64_t offset, uint64_t bytes, uint64_t host,
                      enum subcluster_type type, const struct iov *q, size_t q_off,
                      enum label label, const struct request *r)
{
    switch (type) {
    case SUBCLUSTER_ZERO_PLAIN:
    case SUBCLUSTER_ZERO_ALLOC:
        iov_fill(q, q_off, 0, bytes);
        return 0;
    case SUBCLUSTER_UNALLOCATED_PLAIN:
    case SUBCLUSTER_UNALLOCATED_ALLOC:
        return read_backing(s, offset, bytes, q, q_off, label, r);
    case SUBCLUSTER_COMPRESSED:
        return qcow2_read_compressed(s, host, offset_into_cluster(s, offset), bytes, q, q_off, r);
    default:
        /* For COW it was announced already, once for the area. */
        if (s->crypt) {
            return qcow2_crypt_preadv(s, offset, host, bytes, q, q_off,
                                      label == LABEL_COW_READ ? LABEL_NONE : label, r);
        }
        return child_preadv(s->data_file, (int64_t)host, (int64_t)bytes, q, q_off,
                            label == LABEL_COW_READ ? REQ_ANNOUNCED : 0, label, r);
    }
}

int qcow2_read_range(struct qcow2 *s, uint64_t offset, uint64_t bytes, const struct iov *q,
                     size_t q_off, enum label label, const struct request *r)
{
    while (bytes > 0) {
        uint64_t n = bytes, host;
        enum subcluster_type type;
        struct qcow2_io io;
        bool busy = false;
        co_lock(s->w, &s->lock);
        int ret = s->dead ? -ENOMEDIUM : qcow2_get_host(s, offset, &n, &host, &type, r);
        if (ret == 0 && type == SUBCLUSTER_NORMAL) {
            qcow2_io_begin(s, &io, host, n);
            busy = true;
        } else if (ret == 0 && type == SUBCLUSTER_COMPRESSED) {
            uint64_t start;
            unsigned size;
            qcow2_compressed_extent(s, host, &start, &size);
            qcow2_io_begin(s, &io, start, size);
            busy = true;
        }
        co_unlock(s->w, &s->lock);
        if (ret < 0) {
            return ret;
        }
        ret = read_piece(s, offset, n, host, type, q, q_off, label, r);
        if (busy) {
            qcow2_io_end(s, &io);
        }
        if (ret < 0) {
            return ret;
        }
        offset += n;
        bytes -= n;
        q_off += n;
    }
    return 0;
}

int qcow2_read(struct node *n, const struct request *r)
{
    return qcow2_read_range(qcow2_state(n), (uint64_t)r->offset, (uint64_t)r->bytes, r->iov,
                            r->iov_off, LABEL_READ_AIO, r);
}

/* What a write at host may touch, COW areas included, must not be metadata. (locked) */
static int check_target(struct qcow2 *s, uint64_t offset, uint64_t bytes, uint64_t host,
                        const struct qcow2_alloc *a)
{
    uint64_t start = host, end = host + bytes;
    if (a) {
        start = a->host_offset + (alloc_from(a) - a->guest_offset);
        end = a->host_offset + (alloc_to(a) - a->guest_offset);
    }
    return qcow2_pre_write_overlap(s, 0, start, end - start, true);
}

/* One contiguous piece: returns with the lock held, as it was called. */
static int write_piece(struct qcow2 *s, uint64_t offset, uint64_t *bytes, uint64_t *host,
                       const struct qcow2_source *from, const struct request *r)
{
    struct qcow2_alloc *a = NULL;
    struct qcow2_io io;
    int ret = s->dead ? -ENOMEDIUM : qcow2_alloc_host(s, offset, bytes, host, &a, r);
    if (ret < 0) {
        return ret;
    }
    ret = check_target(s, offset, *bytes, *host, a);
    if (ret == 0) {
        qcow2_io_begin(s, &io, *host, *bytes);
        co_unlock(s->w, &s->lock);
        ret = from->src
                  ? qcow2_copy_with_cow(s, *bytes, *host, from, a, r)
                  : qcow2_write_with_cow(s, offset, *bytes, *host, from->q, from->q_off, a, r);
        co_lock(s->w, &s->lock);
        qcow2_io_end(s, &io);
    }
    if (s->dead && ret == 0) {
        ret = -ENOMEDIUM;
    }
    if (a && ret == 0) {
        ret = qcow2_link_l2(s, a, r);
    }
    if (a && ret < 0) {
        qcow2_alloc_abort(s, a);
    }
    return ret;
}

/* Encrypted data goes through memory: a bounded part at a time. */
static uint64_t encrypted_max(const struct qcow2 *s, uint64_t offset)
{
    return (QCOW2_MAX_ENCRYPTED_CLUSTERS << s->cluster_bits) - offset_into_cluster(s, offset);
}

int qcow2_write_from(struct qcow2 *s, uint64_t offset, uint64_t bytes,
                     const struct qcow2_source *data, const struct request *r)
{
    struct qcow2_source from = *data;
    uint64_t host = 0;
    co_lock(s->w, &s->lock);
    int ret = qcow2_may_change(s);
    while (bytes > 0 && ret == 0) {
        /* New clusters go behind the piece before, when that ended at a cluster's end. */
        uint64_t n = s->crypt ? MIN(bytes, encrypted_max(s, offset)) : bytes,
                 where = offset_into_cluster(s, host) == 0 ? host : 0;
        ret = write_piece(s, offset, &n, &where, &from, r);
        host = where + n;
        offset += n;
        bytes -= n;
        from.q_off += n;
        from.src_off += (int64_t)n;
    }
    qcow2_process_discards(s, ret);
    if (ret == 0) {
        ret = qcow2_writethrough(s, r);
    }
    co_unlock(s->w, &s->lock);
    return ret;
}

int qcow2_write_range(struct qcow2 *s, uint64_t offset, uint64_t bytes, const struct iov *q,
                      size_t q_off, const struct request *r)
{
    return qcow2_write_from(s, offset, bytes, &(struct qcow2_source){.q = q, .q_off = q_off}, r);
}

int qcow2_write(struct node *n, const struct request *r)
{
    return qcow2_write_range(qcow2_state(n), (uint64_t)r->offset, (uint64_t)r->bytes, r->iov,
                             r->iov_off, r);
}

/* The range reads as zeroes already, as far as that is known without reading data. (not locked) */
static bool reads_zero(struct qcow2 *s, uint64_t offset, uint64_t bytes)
{
    uint64_t size = (uint64_t)s->n->length;
    if (offset >= size) {
        return true; /* behind the disk's end there is nothing */
    }
    uint64_t end = MIN(offset + bytes, size);
    while (offset < end) {
        struct status st;
        if (node_block_status_above(s->n, NULL, true, (int64_t)offset, (int64_t)(end - offset), &st,
                                    NULL) < 0 ||
            !(st.flags & STATUS_ZERO) || st.bytes <= 0) {
            return false;
        }
        offset += (uint64_t)st.bytes;
    }
    return true;
}

/* Widens a part of one subcluster to the whole, when the rest of it reads as zeroes and nothing is
 * allocated there. */
static int widen_zeroes(struct qcow2 *s, uint64_t *offset, uint64_t *bytes, const struct request *r)
{
    uint64_t start = *offset & ~(s->subcluster_size - 1),
             end = ROUND_UP(*offset + *bytes, s->subcluster_size);
    bool alone = end - start == s->subcluster_size;
    bool zero = alone && reads_zero(s, start, *offset - start) &&
                reads_zero(s, *offset + *bytes, end - *offset - *bytes);
    co_lock(s->w, &s->lock);
    if (!zero) {
        return -ENOTSUP;
    }
    uint64_t n = s->subcluster_size, host;
    enum subcluster_type type;
    qcow2_wait_allocs(s, start, n);
    int ret = s->dead ? -ENOMEDIUM : qcow2_get_host(s, start, &n, &host, &type, r);
    if (ret < 0) {
        return ret;
    }
    /* Somebody may have written here meanwhile. */
    if (type == SUBCLUSTER_NORMAL || type == SUBCLUSTER_COMPRESSED) {
        return -ENOTSUP;
    }
    *offset = start;
    *bytes = s->subcluster_size;
    return 0;
}

int qcow2_write_zeroes(struct node *n, const struct request *r)
{
    struct qcow2 *s = qcow2_state(n);
    uint64_t offset = (uint64_t)r->offset, bytes = (uint64_t)r->bytes;
    bool tail =
        !IS_ALIGNED(offset + bytes, s->subcluster_size) && r->offset + r->bytes != n->length;
    int ret = 0;
    if (!IS_ALIGNED(offset, s->subcluster_size) || tail) {
        ret = widen_zeroes(s, &offset, &bytes, r);
    } else {
        co_lock(s->w, &s->lock);
    }
    ret = ret < 0 ? ret : qcow2_may_change(s);
    if (ret == 0) {
        qcow2_wait_allocs(s, offset, bytes);
        ret = s->dead ? -ENOMEDIUM : qcow2_zeroize_range(s, offset, bytes, r->flags, r);
    }
    if (ret == 0) {
        ret = qcow2_writethrough(s, r);
    }
    co_unlock(s->w, &s->lock);
    return ret;
}

int qcow2_discard(struct node *n, const struct request *r)
{
    struct qcow2 *s = qcow2_state(n);
    uint64_t offset = (uint64_t)r->offset, bytes = (uint64_t)r->bytes;
    if (s->version < 3 && n->backing) {
        return -ENOTSUP; /* without zero clusters the backing file would show */
    }
    if (!IS_ALIGNED(offset | bytes, s->cluster_size)) {
        /* Part of a cluster, unless it is the disk's last one. */
        bool last = IS_ALIGNED(offset, s->cluster_size) && r->offset + r->bytes == n->length;
        if (!last) {
            return -ENOTSUP;
        }
    }
    co_lock(s->w, &s->lock);
    qcow2_wait_allocs(s, offset, bytes);
    int ret = qcow2_may_change(s);
    ret = ret < 0 ? ret : qcow2_discard_range(s, offset, bytes, DISCARD_REQUEST, false, r);
    if (ret == 0) {
        ret = qcow2_writethrough(s, r);
    }
    co_unlock(s->w, &s->lock);
    return ret;
}

int qcow2_flush_to_os(struct node *n, const struct request *r)
{
    struct qcow2 *s = qcow2_state(n);
    co_lock(s->w, &s->lock);
    int ret = s->dead ? 0 : qcow2_write_caches(s, r);
    co_unlock(s->w, &s->lock);
    return ret;
}

/* VM state is stored like guest data, behind the last L1 entry of the disk (spec: "Snapshots"). */
static uint64_t vmstate_base(const struct qcow2 *s)
{
    return (uint64_t)s->l1_vm_state_index << (s->l2_bits + s->cluster_bits);
}

static int vmstate_bounds(const struct qcow2 *s, const struct request *r)
{
    uint64_t base = vmstate_base(s);
    return r->offset < 0 || r->bytes < 0 ||
                   (uint64_t)r->offset > INT64_MAX - base - (uint64_t)r->bytes
               ? -EFBIG
               : 0;
}

int qcow2_save_vmstate(struct node *n, const struct request *r)
{
    struct qcow2 *s = qcow2_state(n);
    int ret = vmstate_bounds(s, r);
    if (ret == 0) {
        child_event(n->file, LABEL_VMSTATE_SAVE, r);
        ret = qcow2_write_range(s, vmstate_base(s) + (uint64_t)r->offset, (uint64_t)r->bytes,
                                r->iov, r->iov_off, r);
    }
    return ret;
}

int qcow2_load_vmstate(struct node *n, const struct request *r)
{
    struct qcow2 *s = qcow2_state(n);
    int ret = vmstate_bounds(s, r);
    if (ret == 0) {
        child_event(n->file, LABEL_VMSTATE_LOAD, r);
        ret = qcow2_read_range(s, vmstate_base(s) + (uint64_t)r->offset, (uint64_t)r->bytes, r->iov,
                               r->iov_off, LABEL_READ_AIO, r);
    }
    return ret;
}
