/*
 * I/O vectors: a request's memory as a list of pieces, and views of parts of it.
 */
#ifndef BLKREF_BASE_IOV_H
#define BLKREF_BASE_IOV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct iov {
    struct iovec *v;
    int n;
    int cap;          /* 0 when v is borrowed */
    size_t size;      /* sum of lengths, bytes */
    struct iovec one; /* storage for the single-piece case */
};

/* A vector of one borrowed piece; needs no destroy. */
void iov_single(struct iov *q, void *base, size_t len);
void iov_init(struct iov *q);
/* A view of borrowed pieces; needs no destroy. */
void iov_borrow(struct iov *q, struct iovec *v, int n);
void iov_add(struct iov *q, void *base, size_t len);
/* Adds src[offset, offset+len) to q: shares memory. */
void iov_add_slice(struct iov *q, const struct iov *src, size_t offset, size_t len);
void iov_destroy(struct iov *q); /* the vector, never the memory */
void iov_reset(struct iov *q);

size_t iov_from_buf(const struct iov *q, size_t offset, const void *buf, size_t len);
size_t iov_to_buf(const struct iov *q, size_t offset, void *buf, size_t len);
void iov_fill(const struct iov *q, size_t offset, int byte, size_t len);
bool iov_is_zero(const struct iov *q, size_t offset, size_t len);
/* First differing offset, or -1 when equal; both of one size. */
int64_t iov_compare(const struct iov *a, const struct iov *b);

bool buf_is_zero(const void *p, size_t len);

#endif
