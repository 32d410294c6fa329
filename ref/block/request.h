/*
 * The one request object, from the device model to the bottom.
 *
 * Offsets and lengths are bytes of the node that the request is sent to.  A driver gets a pointer
 * to the request, passes it as `parent` to the requests it makes for it, and returns the result.
 */
#ifndef BLKREF_BLOCK_REQUEST_H
#define BLKREF_BLOCK_REQUEST_H

#include <stdbool.h>
#include <stdint.h>
#include "fault/label.h"
#include "ref/base/iov.h"

enum req_op {
    REQ_READ,
    REQ_WRITE,
    REQ_WRITE_ZEROES,
    REQ_DISCARD,
    REQ_FLUSH,
    REQ_BLOCK_STATUS, /* only seen by rule engines (blkdebug's iotype) */
};

enum req_flag {
    REQ_FUA = 1 << 0,         /* durable when it completes */
    REQ_MAY_UNMAP = 1 << 1,   /* write zeroes: may deallocate */
    REQ_NO_FALLBACK = 1 << 2, /* write zeroes: -ENOTSUP rather than writing a buffer of zeroes */
    REQ_COMPRESSED = 1 << 3,  /* write compressed; -ENOTSUP where the format cannot */
    REQ_UNCHANGED =
        1 << 4, /* guest-visible content does not change (PERM_WRITE_UNCHANGED suffices) */
    REQ_SERIALISING = 1 << 5, /* waits for, and is waited for by, every overlapping request */
    REQ_COPY_ON_READ = 1 << 6,
    REQ_PREFETCH = 1 << 7,   /* read: only for its copy-on-read effect, iov may be NULL */
    REQ_NO_WAIT = 1 << 8,    /* serialising: -EBUSY instead of waiting */
    REQ_ZERO_GROWN = 1 << 9, /* truncate: the grown part must read as zeroes */
    REQ_ANNOUNCED = 1 << 10, /* to children: the label's event was announced already */
};

enum req_origin { ORIGIN_GUEST, ORIGIN_JOB, ORIGIN_FORMAT, ORIGIN_TOOL };

struct request {
    enum req_op op;
    unsigned flags;   /* enum req_flag */
    enum label label; /* why this I/O happens; LABEL_NONE for plain guest I/O */
    int64_t offset, bytes;
    const struct iov *iov; /* REQ_READ, REQ_WRITE */
    size_t iov_off;
    const char *tag; /* which guest request it serves, or NULL; inherited from parent */
    enum req_origin origin;
    int64_t deadline;      /* CLOCK_REAL ns, 0: none; inherited */
    const bool *cancelled; /* NULL or becomes true: give up before the next submission; inherited */
    const struct request *parent;
};

#endif
