/*
 * The last step down: one driver call, or several where limits ask for it.
 *
 * Splits by max_transfer and max_iov; hands the driver the write flags that it takes, and makes FUA
 * of a flush behind the write where it does not take it.  The submission and the completion of a
 * protocol's request are scheduling points, and a cancelled request is not submitted.
 */
#include <assert.h>
#include <errno.h>
#include "fault/fiu.h"
#include "ref/block/block_state.h"
#include "ref/block/io_impl.h"

static void bottom_point(const struct request *r, struct node *n, enum point_kind kind)
{
    struct point pt = {
        .kind = kind,
        .object = n,
        .offset = r->offset,
        .bytes = r->bytes,
        .write = r->op != REQ_READ,
        .name = label_name(r->label),
    };
    sched_point(n->w, &pt);
}

static int call(struct node *n, int (*fn)(struct node *n, const struct request *r),
                const struct request *r)
{
    if (r->cancelled && *r->cancelled) {
        return -ECANCELED;
    }
    if (n->drv->kind != DRIVER_PROTOCOL) {
        return fn(n, r);
    }
    struct fault_fiu *fiu = block_state(n->w)->fiu;
    int failed = fiu ? fault_fiu_decide(fiu, r->label) : 0;
    if (failed) {
        return -failed;
    }
    bottom_point(r, n, POINT_SUBMIT);
    int ret = fn(n, r);
    bottom_point(r, n, POINT_COMPLETE);
    return ret;
}

static struct request request_for(const struct io *io, enum req_op op, unsigned flags,
                                  int64_t offset, int64_t bytes)
{
    struct request r = {
        .op = op, .flags = flags, .label = io->label, .offset = offset, .bytes = bytes};
    if (io->parent) {
        r.tag = io->parent->tag;
        r.origin = io->parent->origin;
        r.deadline = io->parent->deadline;
        r.cancelled = io->parent->cancelled;
        r.parent = io->parent;
    }
    return r;
}

/* How many of `bytes` from off lie in the first max pieces. */
static int64_t iov_reach(const struct iov *q, size_t off, int64_t bytes, int max)
{
    int64_t reach = 0;
    for (int i = 0; i < q->n && max > 0 && reach < bytes; i++) {
        size_t len = q->v[i].iov_len;
        if (off >= len) {
            off -= len;
            continue;
        }
        reach += (int64_t)(len - off);
        off = 0;
        max--;
    }
    return MIN(reach, bytes);
}

/* Vectors finer than the alignment go through a buffer, one piece after the other. */
static int call_bounced(struct node *n, int (*fn)(struct node *n, const struct request *r),
                        struct request *r)
{
    const struct iov *q = r->iov;
    void *buf = node_try_blockalign(n, (size_t)r->bytes);
    if (!buf) {
        return -ENOMEM;
    }
    struct iov one;
    size_t q_off = r->iov_off;
    iov_single(&one, buf, (size_t)r->bytes);
    r->iov = &one;
    r->iov_off = 0;
    if (r->op == REQ_WRITE) {
        iov_to_buf(q, q_off, buf, (size_t)r->bytes);
    }
    int ret = call(n, fn, r);
    if (r->op == REQ_READ && ret >= 0) {
        iov_from_buf(q, q_off, buf, (size_t)r->bytes);
    }
    mem_free(buf);
    return ret;
}

static int call_split(struct io *io, int (*fn)(struct node *n, const struct request *r),
                      enum req_op op, int64_t offset, int64_t bytes, const struct iov *q,
                      size_t q_off, unsigned flags)
{
    struct node *n = io->n;
    const struct limits *l = &n->limits;
    int64_t max = l->max_transfer > 0 ? ROUND_DOWN(l->max_transfer, (int64_t)l->request_alignment)
                                      : INT64_MAX;
    int max_iov = l->max_iov > 0 ? l->max_iov : INT32_MAX;
    int ret = 0;

    while (bytes > 0) {
        int64_t len = MIN(bytes, max);
        bool bounce = false;
        if (q->n > max_iov && iov_reach(q, q_off, len, max_iov) < len) {
            int64_t reach =
                ROUND_DOWN(iov_reach(q, q_off, len, max_iov), (int64_t)l->request_alignment);
            bounce = reach == 0;
            len = bounce ? MIN(len, MAX(IO_MAX_BOUNCE, (int64_t)l->request_alignment)) : reach;
        }
        struct request r = request_for(io, op, flags, offset, len);
        r.iov = q;
        r.iov_off = q_off;
        ret = bounce ? call_bounced(n, fn, &r) : call(n, fn, &r);
        if (ret < 0) {
            return ret;
        }
        offset += len;
        q_off += (size_t)len;
        bytes -= len;
    }
    return 0;
}

int submit_read(struct io *io, int64_t offset, int64_t bytes, const struct iov *q, size_t q_off)
{
    if (!io->n->drv) {
        return -ENOMEDIUM;
    }
    if (!io->n->drv->read) {
        return -ENOTSUP;
    }
    assert(io_aligned(io->n, offset, bytes));
    return call_split(io, io->n->drv->read, REQ_READ, offset, bytes, q, q_off, 0);
}

int submit_write(struct io *io, int64_t offset, int64_t bytes, const struct iov *q, size_t q_off,
                 unsigned flags)
{
    struct node *n = io->n;
    if (!n->drv) {
        return -ENOMEDIUM;
    }
    if (!n->drv->write) {
        return -ENOTSUP;
    }
    assert(io_aligned(n, offset, bytes));
    int ret =
        call_split(io, n->drv->write, REQ_WRITE, offset, bytes, q, q_off, flags & n->write_flags);
    if (ret == 0 && (flags & REQ_FUA) && !(n->write_flags & REQ_FUA)) {
        n->write_gen++; /* or the flush would find nothing written */
        ret = node_flush(n, io->parent);
    }
    return ret;
}

int submit_compressed(struct io *io, int64_t offset, int64_t bytes, const struct iov *q,
                      size_t q_off)
{
    struct node *n = io->n;
    if (!n->drv) {
        return -ENOMEDIUM;
    }
    if (!n->drv->write_compressed) {
        return -ENOTSUP;
    }
    struct request r = request_for(io, REQ_WRITE, REQ_COMPRESSED, offset, bytes);
    r.iov = q;
    r.iov_off = q_off;
    int ret = call(n, n->drv->write_compressed, &r);
    return MIN(ret, 0);
}

int submit_zeroes(struct io *io, int64_t offset, int64_t bytes, unsigned flags)
{
    struct node *n = io->n;
    if (!n->drv) {
        return -ENOMEDIUM;
    }
    if (!n->drv->write_zeroes) {
        return -ENOTSUP;
    }
    struct request r = request_for(io, REQ_WRITE_ZEROES, flags & n->zero_flags, offset, bytes);
    return call(n, n->drv->write_zeroes, &r);
}

int submit_discard(struct io *io, int64_t offset, int64_t bytes)
{
    struct node *n = io->n;
    if (!n->drv) {
        return -ENOMEDIUM;
    }
    if (!n->drv->discard) {
        return -ENOTSUP;
    }
    struct request r = request_for(io, REQ_DISCARD, 0, offset, bytes);
    return call(n, n->drv->discard, &r);
}
