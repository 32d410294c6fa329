/*
 * Copy on write and what is in flight in a qcow2 image.
 *
 * Allocations in flight are a list; a request that touches clusters of one waits, so no cluster is
 * copied twice. Guest data in flight is a list of host ranges, which the allocator leaves alone.
 */
#include "ref/format/qcow2/crypt.h"

#include <assert.h>
#include <errno.h>

/* Data and COW areas beyond this are written apart: requests have a limit, and the gain is gone
 * long before. */
#define MAX_MERGED ((uint64_t)1 * GiB)

void qcow2_alloc_register(struct qcow2 *s, struct qcow2_alloc *a)
{
    list_push(&s->allocs, &a->link);
}

void qcow2_alloc_finish(struct qcow2 *s, struct qcow2_alloc *a)
{
    list_remove(&a->link);
    waitq_wake_all(s->w, &a->dependents);
    mem_free(a);
}

static struct qcow2_alloc *overlapping(struct qcow2 *s, uint64_t start, uint64_t end)
{
    struct qcow2_alloc *a;
    LIST_FOREACH (a, &s->allocs, link) {
        uint64_t a_end = a->guest_offset + ((uint64_t)a->nb_clusters << s->cluster_bits);
        if (a->guest_offset < end && start < a_end) {
            return a;
        }
    }
    return NULL;
}

static void wait_for(struct qcow2 *s, struct qcow2_alloc *a)
{
    co_unlock(s->w, &s->lock);
    waitq_wait(s->w, &a->dependents);
    co_lock(s->w, &s->lock);
}

void qcow2_wait_allocs(struct qcow2 *s, uint64_t guest_offset, uint64_t bytes)
{
    uint64_t start = start_of_cluster(s, guest_offset),
             end = ROUND_UP(guest_offset + bytes, s->cluster_size);
    struct qcow2_alloc *a;
    while ((a = overlapping(s, start, end))) {
        wait_for(s, a);
    }
}

void qcow2_wait_first_alloc(struct qcow2 *s, uint64_t guest_offset, uint64_t *bytes)
{
    if (list_empty(&s->allocs)) {
        return;
    }
    uint64_t start = start_of_cluster(s, guest_offset);
    qcow2_wait_allocs(s, start, s->cluster_size);
    struct qcow2_alloc *a;
    while ((a = overlapping(s, start, guest_offset + *bytes))) {
        assert(a->guest_offset > guest_offset);
        *bytes = a->guest_offset - guest_offset;
    }
}

void qcow2_io_begin(struct qcow2 *s, struct qcow2_io *io, uint64_t host_offset, uint64_t bytes)
{
    io->host_offset = host_offset;
    io->bytes = bytes;
    io->data_file = has_data_file(s);
    list_push(&s->ios, &io->link);
}

void qcow2_io_end(struct qcow2 *s, struct qcow2_io *io)
{
    list_remove(&io->link);
}

static uint64_t area_host(const struct qcow2_alloc *a, const struct qcow2_cow_region *c)
{
    return a->host_offset + (c->offset - a->guest_offset);
}

/* The guest's old content of a COW area, as the host will have it; it is not mapped to the new
 * clusters yet. */
static int read_area(struct qcow2 *s, const struct qcow2_alloc *a, const struct qcow2_cow_region *c,
                     uint8_t *buf, const struct request *r)
{
    if (c->bytes == 0) {
        return 0;
    }
    int ret = 0;
    if (a->cow_zero) {
        memset(buf, 0, c->bytes);
    } else {
        child_event(s->n->file, LABEL_COW_READ, r);
        struct iov q;
        iov_single(&q, buf, c->bytes);
        ret = qcow2_read_range(s, c->offset, c->bytes, &q, 0, LABEL_COW_READ, r);
    }
    if (ret == 0) {
        qcow2_encrypt(s, c->offset, area_host(a, c), buf, c->bytes);
    }
    return ret;
}

static int write_area(struct qcow2 *s, const struct qcow2_alloc *a,
                      const struct qcow2_cow_region *c, const uint8_t *buf, const struct request *r)
{
    if (c->bytes == 0) {
        return 0;
    }
    return child_pwrite(s->data_file, (int64_t)area_host(a, c), buf, (int64_t)c->bytes,
                        LABEL_COW_WRITE, r);
}

int qcow2_copy_head(struct qcow2 *s, const struct qcow2_alloc *a, const struct request *r)
{
    uint8_t *buf = node_try_blockalign(s->data_file->node, a->head.bytes);
    if (!buf) {
        return -ENOMEM;
    }
    int ret = read_area(s, a, &a->head, buf, r);
    if (ret == 0) {
        ret = s->dead ? -ENOMEDIUM : write_area(s, a, &a->head, buf, r);
    }
    mem_free(buf);
    return ret;
}

static int write_merged(struct qcow2 *s, uint64_t bytes, uint64_t host, const struct iov *q,
                        size_t q_off, const struct qcow2_alloc *a, uint8_t *buf,
                        const struct request *r)
{
    struct iov all;
    iov_init(&all);
    if (a->head.bytes) {
        iov_add(&all, buf, a->head.bytes);
    }
    if (bytes) {
        iov_add_slice(&all, q, q_off, bytes);
    }
    if (a->tail.bytes) {
        iov_add(&all, buf + a->head.bytes, a->tail.bytes);
    }
    int ret = child_pwritev(s->data_file, (int64_t)(host - a->head.bytes), (int64_t)all.size, &all,
                            0, 0, LABEL_WRITE_AIO, r);
    iov_destroy(&all);
    return ret;
}

/* q as the host has it: encrypted, or as it is. */
static int write_with_cow(struct qcow2 *s, uint64_t guest_offset, uint64_t bytes, uint64_t host,
                          const struct iov *q, size_t q_off, struct qcow2_alloc *a,
                          const struct request *r)
{
    uint64_t cow = a ? a->head.bytes + a->tail.bytes : 0;
    if (a && a->skip_cow && cow) {
        child_event(s->data_file, LABEL_CLUSTER_ALLOC_SPACE, r);
    }
    if (cow == 0 || a->skip_cow) {
        return child_pwritev(s->data_file, (int64_t)host, (int64_t)bytes, q, q_off, 0,
                             LABEL_WRITE_AIO, r);
    }
    uint8_t *buf = node_try_blockalign(s->data_file->node, cow);
    if (!buf) {
        return -ENOMEM;
    }
    assert(a->head.offset + a->head.bytes == guest_offset &&
           guest_offset + bytes == a->tail.offset);
    int ret = read_area(s, a, &a->head, buf, r);
    if (ret == 0) {
        ret = read_area(s, a, &a->tail, buf + a->head.bytes, r);
    }
    if (ret == 0 && s->dead) {
        ret = -ENOMEDIUM; /* found to be corrupt meanwhile: nothing more is written */
    }
    if (ret == 0 && s->merge && bytes + cow <= MAX_MERGED) {
        ret = write_merged(s, bytes, host, q, q_off, a, buf, r);
    } else if (ret == 0) {
        ret = child_pwritev(s->data_file, (int64_t)host, (int64_t)bytes, q, q_off, 0,
                            LABEL_WRITE_AIO, r);
        if (ret == 0) {
            ret = write_area(s, a, &a->head, buf, r);
        }
        if (ret == 0) {
            ret = write_area(s, a, &a->tail, buf + a->head.bytes, r);
        }
    }
    mem_free(buf);
    return ret;
}

int qcow2_write_with_cow(struct qcow2 *s, uint64_t guest_offset, uint64_t bytes, uint64_t host,
                         const struct iov *q, size_t q_off, struct qcow2_alloc *a,
                         const struct request *r)
{
    if (!s->crypt) {
        return write_with_cow(s, guest_offset, bytes, host, q, q_off, a, r);
    }
    uint8_t *buf = node_try_blockalign(s->data_file->node, bytes);
    if (!buf) {
        return -ENOMEM;
    }
    struct iov encrypted;
    iov_to_buf(q, q_off, buf, bytes);
    qcow2_encrypt(s, guest_offset, host, buf, bytes);
    iov_single(&encrypted, buf, bytes);
    int ret = write_with_cow(s, guest_offset, bytes, host, &encrypted, 0, a, r);
    mem_free(buf);
    return ret;
}

/* COW first: a copy that cannot be done leaves nothing that anybody sees. */
int qcow2_copy_with_cow(struct qcow2 *s, uint64_t bytes, uint64_t host,
                        const struct qcow2_source *from, struct qcow2_alloc *a,
                        const struct request *r)
{
    uint64_t cow = a && !a->skip_cow ? a->head.bytes + a->tail.bytes : 0;
    uint8_t *buf = cow ? node_try_blockalign(s->data_file->node, cow) : NULL;
    int ret = cow && !buf ? -ENOMEM : 0;
    if (ret == 0 && cow) {
        ret = read_area(s, a, &a->head, buf, r);
    }
    if (ret == 0 && cow) {
        ret = read_area(s, a, &a->tail, buf + a->head.bytes, r);
    }
    if (ret == 0 && s->dead) {
        ret = -ENOMEDIUM;
    }
    if (ret == 0 && cow) {
        ret = write_area(s, a, &a->head, buf, r);
    }
    if (ret == 0 && cow) {
        ret = write_area(s, a, &a->tail, buf + a->head.bytes, r);
    }
    mem_free(buf);
    return ret < 0 ? ret
                   : child_copy_range_to(from->src, from->src_off, s->data_file, (int64_t)host,
                                         (int64_t)bytes, from->read_flags, 0);
}
