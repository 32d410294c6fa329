/*
 * What an image has from its backing file, whatever the format.
 */
#ifndef BLKREF_FORMAT_BACKING_H
#define BLKREF_FORMAT_BACKING_H

#include "ref/block/io.h"

/* Bytes of n's disk as its backing file has them; zeroes behind the backing file's end, or without
 * one.  0 or -errno. */
int format_read_backing(struct node *n, uint64_t offset, uint64_t bytes, const struct iov *q,
                        size_t q_off, const struct request *r);
/* The same bytes, copied to `host` of the file `to` in pieces of bounded memory. */
int format_copy_backing(struct node *n, uint64_t offset, uint64_t bytes, struct child *to,
                        uint64_t host, const struct request *r);

#endif
