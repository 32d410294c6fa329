/*
 * QED requests: reads, writes in place, allocating writes, zeroes.
 *
 * Order of an allocating write: without a backing file the need-check bit (stable), then data, then
 * tables; with one the surroundings copied from it and the data (stable), then tables (spec:
 * "Unallocated L2 tables and data clusters"). One allocation runs at a time.  Leaves out: giving
 * clusters back, which the format cannot.
 */
#include "ref/format/backing.h"
#include "ref/format/qed/qed.h"

#include <assert.h>
#include <errno.h>

#define CLEAN_AFTER_NS (5 * 1000000000LL)

int qed_read(struct node *n, const struct request *r)
{
    struct qed *s = qed_state(n);
    uint64_t offset = (uint64_t)r->offset, bytes = (uint64_t)r->bytes;
    size_t q_off = r->iov_off;
    int ret = 0;
    while (bytes > 0 && ret == 0) {
        struct qed_map m;
        ret = qed_find(s, offset, bytes, &m, r);
        if (ret < 0) {
            break;
        }
        if (m.type == QED_ZERO) {
            iov_fill(r->iov, q_off, 0, m.bytes);
        } else if (m.type == QED_DATA) {
            ret = child_preadv(n->file, (int64_t)m.host, (int64_t)m.bytes, r->iov, q_off, 0,
                               LABEL_READ_AIO, r);
        } else {
            ret = format_read_backing(n, offset, m.bytes, r->iov, q_off, r);
        }
        offset += m.bytes;
        bytes -= m.bytes;
        q_off += m.bytes;
    }
    return ret;
}

/* The part of a new cluster that the write does not touch. */
static int fill(struct qed *s, uint64_t offset, uint64_t bytes, uint64_t host, enum qed_type type,
                const struct request *r)
{
    if (bytes == 0) {
        return 0;
    }
    if (type == QED_ZERO || !s->n->backing) {
        return child_pwrite_zeroes(s->n->file, (int64_t)host, (int64_t)bytes, 0, LABEL_COW_WRITE,
                                   r);
    }
    return format_copy_backing(s->n, offset, bytes, s->n->file, host, r);
}

int qed_prepare(struct qed *s, const struct request *r)
{
    if (s->unchecked) {
        int ret = qed_repair(s, NULL);
        if (ret < 0) {
            return ret;
        }
    }
    return s->n->backing ? 0 : qed_mark_dirty(s, r);
}

/* Behind the last allocation for now, the bit may go after a while. */
static void arm_clean_timer(struct qed *s)
{
    if (s->features & QED_FEATURE_NEED_CHECK) {
        timer_arm(&s->clean_timer, clock_now(s->w, CLOCK_VIRTUAL) + CLEAN_AFTER_NS);
    }
}

/* New clusters with data for [offset, *bytes), of one kind; shortens *bytes to what one page of L2
 * maps. (alloc held) */
static int allocate(struct qed *s, const struct qed_map *m, uint64_t offset, uint64_t *bytes,
                    size_t q_off, const struct request *r)
{
    uint64_t cs = s->cluster_size, head = offset % cs, start = offset - head;
    uint64_t in_page = start / cs % TABLE_PAGE_ENTRIES;
    *bytes = MIN(*bytes, (TABLE_PAGE_ENTRIES - in_page) * cs - head);
    uint64_t end = ROUND_UP(offset + *bytes, cs), tail = end - offset - *bytes, host = s->file_end;
    if (host > (uint64_t)INT64_MAX - (end - start)) {
        return -EFBIG;
    }
    int ret = qed_prepare(s, r);
    if (ret < 0) {
        return ret;
    }
    host = s->file_end;
    s->file_end += end - start;
    ret = fill(s, start, head, host, m->type, r);
    if (ret == 0) {
        ret = child_pwritev(s->n->file, (int64_t)(host + head), (int64_t)*bytes, r->iov, q_off, 0,
                            LABEL_WRITE_AIO, r);
    }
    ret = ret < 0 ? ret : fill(s, offset + *bytes, tail, host + head + *bytes, m->type, r);
    if (ret == 0 && s->n->backing) {
        ret = child_flush(s->n->file, r);
    }
    if (ret < 0) {
        s->file_end = host; /* nothing refers to it: the next one takes it */
        return ret;
    }
    ret = qed_link(s, offset, (unsigned)((end - start) / cs), host, cs, m->l2_offset, r);
    arm_clean_timer(s);
    return ret;
}

int qed_write(struct node *n, const struct request *r)
{
    struct qed *s = qed_state(n);
    uint64_t offset = (uint64_t)r->offset, left = (uint64_t)r->bytes;
    size_t q_off = r->iov_off;
    int ret = 0;
    while (left > 0 && ret == 0) {
        struct qed_map m;
        uint64_t part = left;
        ret = qed_find(s, offset, left, &m, r);
        if (ret == 0 && m.type != QED_DATA) {
            co_lock(s->w, &s->alloc);
            /* Somebody may have allocated it meanwhile. */
            ret = qed_find(s, offset, left, &m, r);
            if (ret == 0 && m.type != QED_DATA) {
                part = m.bytes;
                ret = allocate(s, &m, offset, &part, q_off, r);
            }
            co_unlock(s->w, &s->alloc);
        }
        if (ret == 0 && m.type == QED_DATA) {
            part = m.bytes;
            ret = child_pwritev(n->file, (int64_t)m.host, (int64_t)part, r->iov, q_off, 0,
                                LABEL_WRITE_AIO, r);
        }
        offset += part;
        left -= part;
        q_off += part;
    }
    return ret;
}

/* One run of whole clusters that have no data: zero clusters. (alloc held) */
static int zero_run(struct qed *s, const struct qed_map *m, uint64_t offset, uint64_t *bytes,
                    const struct request *r)
{
    uint64_t cs = s->cluster_size, in_page = offset / cs % TABLE_PAGE_ENTRIES;
    *bytes = MIN(m->bytes, (TABLE_PAGE_ENTRIES - in_page) * cs);
    if (m->type == QED_ZERO) {
        return 0;
    }
    int ret = qed_prepare(s, r);
    if (ret == 0) {
        ret = qed_link(s, offset, (unsigned)(*bytes / cs), QED_ENTRY_ZERO, 0, m->l2_offset, r);
        arm_clean_timer(s);
    }
    return ret;
}

int qed_write_zeroes(struct node *n, const struct request *r)
{
    struct qed *s = qed_state(n);
    uint64_t offset = (uint64_t)r->offset, left = (uint64_t)r->bytes;
    int ret = 0;
    if (!IS_ALIGNED(offset | left, s->cluster_size)) {
        return -ENOTSUP; /* part of a cluster: written as data */
    }
    while (left > 0 && ret == 0) {
        struct qed_map m;
        uint64_t part = 0;
        co_lock(s->w, &s->alloc);
        ret = qed_find(s, offset, left, &m, r);
        if (ret == 0 && m.type != QED_DATA) {
            ret = zero_run(s, &m, offset, &part, r);
        }
        co_unlock(s->w, &s->alloc);
        if (ret == 0 && m.type == QED_DATA) {
            part = m.bytes; /* clusters are never given back, only their content */
            ret =
                child_pwrite_zeroes(n->file, (int64_t)m.host, (int64_t)part, 0, LABEL_WRITE_AIO, r);
        }
        offset += part;
        left -= part;
    }
    return ret;
}

static void clean(void *arg)
{
    struct qed *s = arg;
    co_lock(s->w, &s->alloc);
    /* Failure keeps the bit; the next allocation or close tries again. */
    (void)qed_mark_clean(s);
    co_unlock(s->w, &s->alloc);
    s->cleaning = false;
    node_dec_in_flight(s->n);
}

void qed_clean_later(void *arg)
{
    struct qed *s = arg;
    if (s->n->quiesce) {
        s->clean_due = true; /* a drain may last for ever: its end looks again */
    } else if (!s->cleaning && !s->n->read_only) {
        s->cleaning = true;
        node_inc_in_flight(s->n);
        co_spawn(s->w, "qed clean", clean, s);
    }
}

void qed_drain_end(struct node *n)
{
    struct qed *s = qed_state(n);
    if (s->clean_due) {
        s->clean_due = false;
        arm_clean_timer(s);
    }
}
