/*
 * qcow requests: reads, writes in place, allocating writes.
 *
 * A new cluster with all of its content is stable before an entry points to it.  One allocation
 * runs at a time.  Leaves out: giving clusters back and zero clusters, which the format does not
 * have.
 */
#include "ref/format/backing.h"
#include "ref/format/qcow/qcow.h"

#include <errno.h>

static int read_compressed(struct qcow *s, const struct qcow_map *m, uint64_t offset,
                           const struct iov *q, size_t q_off, const struct request *r)
{
    uint8_t *buf = mem_try_alloc(s->cluster_size);
    int ret = buf ? qcow_unpack(s, m->entry, buf, r) : -ENOMEM;
    if (ret == 0) {
        iov_from_buf(q, q_off, buf + (offset & (s->cluster_size - 1)), m->bytes);
    }
    mem_free(buf);
    return ret;
}

static int read_data(struct qcow *s, uint64_t offset, const struct qcow_map *m, const struct iov *q,
                     size_t q_off, const struct request *r)
{
    return s->crypt ? crypt_preadv(s->crypt, s->n->file, (int64_t)m->host, (int64_t)offset,
                                   (int64_t)m->bytes, q, q_off, LABEL_READ_AIO, r)
                    : child_preadv(s->n->file, (int64_t)m->host, (int64_t)m->bytes, q, q_off, 0,
                                   LABEL_READ_AIO, r);
}

/* Guest data to its place on the host. */
static int write_data(struct qcow *s, uint64_t offset, uint64_t host, uint64_t bytes,
                      const struct iov *q, size_t q_off, enum label label, const struct request *r)
{
    return s->crypt
               ? crypt_pwritev(s->crypt, s->n->file, (int64_t)host, (int64_t)offset, (int64_t)bytes,
                               q, q_off, 0, label, r)
               : child_pwritev(s->n->file, (int64_t)host, (int64_t)bytes, q, q_off, 0, label, r);
}

static int read_range(struct qcow *s, uint64_t offset, uint64_t bytes, const struct iov *q,
                      size_t q_off, const struct request *r)
{
    while (bytes > 0) {
        struct qcow_map m;
        int ret = qcow_find(s, offset, bytes, &m, r);
        if (ret < 0) {
            return ret;
        }
        if (m.type == QCOW_UNALLOCATED) {
            ret = format_read_backing(s->n, offset, m.bytes, q, q_off, r);
        } else if (m.type == QCOW_COMPRESSED) {
            ret = read_compressed(s, &m, offset, q, q_off, r);
        } else {
            ret = read_data(s, offset, &m, q, q_off, r);
        }
        if (ret < 0) {
            return ret;
        }
        offset += m.bytes;
        bytes -= m.bytes;
        q_off += m.bytes;
    }
    return 0;
}

int qcow_read(struct node *n, const struct request *r)
{
    return read_range(qcow_state(n), (uint64_t)r->offset, (uint64_t)r->bytes, r->iov, r->iov_off,
                      r);
}

/* The part of a new cluster that the write does not touch: at most a cluster. */
static int fill(struct qcow *s, uint64_t offset, uint64_t bytes, uint64_t host, enum qcow_type type,
                const struct request *r)
{
    if (bytes == 0) {
        return 0;
    }
    if (type == QCOW_UNALLOCATED && !s->n->backing && !s->crypt) {
        return child_pwrite_zeroes(s->n->file, (int64_t)host, (int64_t)bytes, 0, LABEL_COW_WRITE,
                                   r);
    }
    uint8_t *buf = mem_try_alloc(bytes);
    struct iov q;
    int ret = -ENOMEM;
    if (buf) {
        iov_single(&q, buf, bytes);
        ret = read_range(s, offset, bytes, &q, 0, r);
        ret = ret < 0 ? ret : write_data(s, offset, host, bytes, &q, 0, LABEL_COW_WRITE, r);
    }
    mem_free(buf);
    return ret;
}

/* New clusters with data for [offset, *bytes), of one kind; shortens *bytes to what one page of L2
 * maps. (alloc held) */
static int allocate(struct qcow *s, const struct qcow_map *m, uint64_t offset, uint64_t *bytes,
                    size_t q_off, const struct request *r)
{
    uint64_t cs = s->cluster_size, head = offset & (cs - 1), start = offset - head;
    uint64_t in_page = (start >> s->cluster_bits) & (TABLE_PAGE_ENTRIES - 1);
    *bytes = MIN(*bytes, (TABLE_PAGE_ENTRIES - in_page) * cs - head);
    uint64_t end = ROUND_UP(offset + *bytes, cs), tail = end - offset - *bytes;
    uint64_t old_end = s->file_end, host = ROUND_UP(old_end, cs);
    if (host > (uint64_t)INT64_MAX - (end - start)) {
        return -EFBIG;
    }
    child_event(s->n->file, LABEL_CLUSTER_ALLOC, r);
    s->file_end = host + (end - start);
    int ret = fill(s, start, head, host, m->type, r);
    if (ret == 0) {
        ret = write_data(s, offset, host + head, *bytes, r->iov, q_off, LABEL_WRITE_AIO, r);
    }
    ret = ret < 0 ? ret : fill(s, offset + *bytes, tail, host + head + *bytes, m->type, r);
    ret = ret < 0 ? ret : child_flush(s->n->file, r);
    if (ret < 0) {
        s->file_end = old_end; /* nothing refers to it: the next one takes it */
        return ret;
    }
    return qcow_link(s, offset, (unsigned)((end - start) >> s->cluster_bits), host, cs,
                     LABEL_L2_UPDATE, r);
}

int qcow_write(struct node *n, const struct request *r)
{
    struct qcow *s = qcow_state(n);
    uint64_t offset = (uint64_t)r->offset, left = (uint64_t)r->bytes;
    size_t q_off = r->iov_off;
    int ret = 0;
    while (left > 0 && ret == 0) {
        struct qcow_map m;
        uint64_t part = left;
        ret = qcow_find(s, offset, left, &m, r);
        if (ret == 0 && m.type != QCOW_DATA) {
            co_lock(s->w, &s->alloc);
            /* Somebody may have allocated it meanwhile. */
            ret = qcow_find(s, offset, left, &m, r);
            if (ret == 0 && m.type != QCOW_DATA) {
                part = m.bytes;
                ret = allocate(s, &m, offset, &part, q_off, r);
            }
            co_unlock(s->w, &s->alloc);
        }
        if (ret == 0 && m.type == QCOW_DATA) {
            part = m.bytes;
            ret = write_data(s, offset, m.host, part, r->iov, q_off, LABEL_WRITE_AIO, r);
        }
        offset += part;
        left -= part;
        q_off += part;
    }
    return ret;
}

/* All of the backing file shows again: an empty L1 table, and nothing behind it. */
int qcow_make_empty(struct node *n)
{
    struct qcow *s = qcow_state(n);
    uint64_t end = s->l1_offset + s->l1_size * 8;
    co_lock(s->w, &s->alloc);
    co_lock(s->w, &s->lock);
    child_event(n->file, LABEL_EMPTY_IMAGE_PREPARE, NULL);
    int ret = child_pwrite_zeroes(n->file, (int64_t)s->l1_offset, (int64_t)(s->l1_size * 8), 0,
                                  LABEL_L1_UPDATE, NULL);
    ret = ret < 0 ? ret : child_flush(n->file, NULL);
    table_cache_forget(&s->tables);
    if (ret == 0) {
        ret = child_truncate(n->file, (int64_t)end, false, PREALLOC_OFF, 0, NULL);
    }
    if (ret == 0) {
        s->file_end = end;
    }
    co_unlock(s->w, &s->lock);
    co_unlock(s->w, &s->alloc);
    return ret;
}
