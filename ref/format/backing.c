/*
 * Reading and copying what the backing file has.  See backing.h.
 */
#include "ref/format/backing.h"

#include <errno.h>
#include "ref/base/mem.h"

#define COPY_BYTES (1 * MiB)

int format_read_backing(struct node *n, uint64_t offset, uint64_t bytes, const struct iov *q,
                        size_t q_off, const struct request *r)
{
    struct child *b = n->backing;
    int64_t len = b ? child_length(b) : 0;
    if (len < 0) {
        return (int)len;
    }
    uint64_t there = offset < (uint64_t)len ? MIN(bytes, (uint64_t)len - offset) : 0;
    if (there < bytes) {
        iov_fill(q, q_off + there, 0, bytes - there);
    }
    if (there == 0) {
        return 0;
    }
    child_event(n->file, LABEL_READ_BACKING_AIO, r);
    return child_preadv(b, (int64_t)offset, (int64_t)there, q, q_off, 0, LABEL_NONE, r);
}

int format_copy_backing(struct node *n, uint64_t offset, uint64_t bytes, struct child *to,
                        uint64_t host, const struct request *r)
{
    uint64_t size = MIN(bytes, (uint64_t)COPY_BYTES);
    uint8_t *buf = mem_try_alloc(MAX(size, 1));
    int ret = buf ? 0 : -ENOMEM;
    for (uint64_t done = 0, part; done < bytes && ret == 0; done += part) {
        struct iov q;
        part = MIN(size, bytes - done);
        iov_single(&q, buf, part);
        ret = format_read_backing(n, offset + done, part, &q, 0, r);
        ret = ret < 0 ? ret
                      : child_pwrite(to, (int64_t)(host + done), buf, (int64_t)part,
                                     LABEL_COW_WRITE, r);
    }
    mem_free(buf);
    return ret;
}
