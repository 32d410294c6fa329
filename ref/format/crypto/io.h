/*
 * Guest data that is encrypted on a child: reading and writing it through bounce buffers.
 */
#ifndef BLKREF_FORMAT_CRYPTO_IO_H
#define BLKREF_FORMAT_CRYPTO_IO_H

#include "ref/block/io.h"
#include "ref/format/crypto/block.h"

/* Encrypted in pieces of this size: bounded memory, and work for several threads. */
#define CRYPT_PIECE ((int64_t)MiB)

/*
 * bytes at `host` of the child, from or to q at q_off; `offset` decides the vectors.  All in whole
 * sectors.
 */
int crypt_preadv(struct crypt_block *b, struct child *c, int64_t host, int64_t offset,
                 int64_t bytes, const struct iov *q, size_t q_off, enum label label,
                 const struct request *r);
int crypt_pwritev(struct crypt_block *b, struct child *c, int64_t host, int64_t offset,
                  int64_t bytes, const struct iov *q, size_t q_off, unsigned flags,
                  enum label label, const struct request *r);

#endif
