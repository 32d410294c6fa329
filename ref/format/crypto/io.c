/*
 * Encrypted guest data: see io.h.
 */
#include "ref/format/crypto/io.h"

#include <errno.h>
#include "ref/base/mem.h"

int crypt_preadv(struct crypt_block *b, struct child *c, int64_t host, int64_t offset,
                 int64_t bytes, const struct iov *q, size_t q_off, enum label label,
                 const struct request *r)
{
    int64_t done = 0;
    uint8_t *buf = node_try_blockalign(c->node, (size_t)MIN(bytes, CRYPT_PIECE));
    int ret = buf ? 0 : -ENOMEM;
    while (ret == 0 && done < bytes) {
        int64_t len = MIN(bytes - done, CRYPT_PIECE);
        ret = child_pread(c, host + done, buf, len, label, r);
        if (ret == 0) {
            crypt_block_run(b, false, (uint64_t)(offset + done), buf, (size_t)len);
            iov_from_buf(q, q_off + (size_t)done, buf, (size_t)len);
            done += len;
        }
    }
    mem_free(buf);
    return ret;
}

int crypt_pwritev(struct crypt_block *b, struct child *c, int64_t host, int64_t offset,
                  int64_t bytes, const struct iov *q, size_t q_off, unsigned flags,
                  enum label label, const struct request *r)
{
    int64_t done = 0;
    uint8_t *buf = node_try_blockalign(c->node, (size_t)MIN(bytes, CRYPT_PIECE));
    int ret = buf ? 0 : -ENOMEM;
    while (ret == 0 && done < bytes) {
        int64_t len = MIN(bytes - done, CRYPT_PIECE);
        struct iov one;
        iov_to_buf(q, q_off + (size_t)done, buf, (size_t)len);
        crypt_block_run(b, true, (uint64_t)(offset + done), buf, (size_t)len);
        iov_single(&one, buf, (size_t)len);
        ret = child_pwritev(c, host + done, len, &one, 0, flags, label, r);
        done += len;
    }
    mem_free(buf);
    return ret;
}
