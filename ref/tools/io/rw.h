/*
 * Pieces that reads and writes share, waited for or not: vectors of lengths, pattern checks.
 */
#ifndef BLKREF_TOOLS_IO_RW_H
#define BLKREF_TOOLS_IO_RW_H

#include "ref/tools/io/io.h"

struct io_vector {
    struct iov iov;
    uint8_t *buf;
    int64_t bytes;
};
/* One buffer of n pieces, whose lengths are texts; -EINVAL after a message. */
int io_parse_vector(struct io_session *s, char **lengths, int n, int fill, struct io_vector *out);
void io_vector_free(struct io_session *s, struct io_vector *v);
/* buf was read at offset; compares buf[skip, skip+len); -EINVAL after the message. */
int io_verify(const uint8_t *buf, int pattern, int64_t offset, int64_t skip, int64_t len);

#endif
