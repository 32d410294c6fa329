/*
 * The simulated disk's log: what was done to a set of disks, and when.
 *
 * Models: byte-granular writes, zeroes, discards, truncates, flushes and marks, each with label,
 * tag, and two stamps of one logical clock: when it was issued and when it completed.  The log
 * since the last flush *is* the volatile cache: crash.h derives from it what a power cut may leave.
 * Payloads share pages with the disks they are applied to.  Leaves out: the disks' content
 * (disk.h).
 *
 * Use: op = disk_log_begin(...) when the request is submitted; disk_op_apply() to the live disk and
 * disk_log_end() when it completes.  An op that fails is closed with disk_log_fail() and not
 * applied; until the next flush a power cut may still leave it there, afterwards it is gone.  What
 * a failing op did in part (short, torn) is logged as an op of its own.
 */
#ifndef BLKREF_FAULT_DISKLOG_H
#define BLKREF_FAULT_DISKLOG_H

#include "fault/disk.h"
#include "fault/label.h"

#define DISK_SET_MAX 4 /* image, backing file, data file, ... */

struct disk_set {
    int n;
    struct disk *disk[DISK_SET_MAX];
};
struct disk_set disk_set_clone(const struct disk_set *from); /* shares pages until they change */
void disk_set_free(struct disk_set *s);

enum disk_op_kind {
    DISK_OP_WRITE,
    DISK_OP_ZERO,
    DISK_OP_DISCARD,
    DISK_OP_TRUNCATE,
    DISK_OP_FLUSH,
    DISK_OP_MARK
};

enum disk_op_flag {
    DISK_OP_FUA = 1 << 0,      /* durable when complete */
    DISK_OP_ALLOCATE = 1 << 1, /* zeroes: keep pages allocated */
    DISK_OP_FAILED = 1 << 2,   /* set by disk_log_fail() */
};

#define DISK_OP_IN_FLIGHT UINT64_MAX

struct disk_op {
    enum disk_op_kind kind;
    unsigned flags; /* enum disk_op_flag */
    int disk;       /* index in the set; marks: 0 */
    enum label label;
    const char *tag;       /* or the mark's text; owned by the log, may be NULL */
    int64_t offset, bytes; /* truncate: offset is the new size, bytes 0 */
    uint64_t issued,
        completed; /* stamps from 1; DISK_OP_IN_FLIGHT while neither complete nor failed */
    /* Payload of a write: bytes up to the first whole page, whole pages, bytes behind the last. */
    const uint8_t *head, *tail;
    const disk_page *pages;
    uint32_t head_bytes, tail_bytes, n_pages;
};

struct disk_log;

struct disk_log *disk_log_new(struct disk_pool *p);
void disk_log_free(struct disk_log *l);
/* Forgets all ops and sets the clock back to 1; keeps memory. */
void disk_log_reset(struct disk_log *l);

/*
 * Issues an op: kind, flags, disk, label, tag, offset and bytes are taken from *op, a write's bytes
 * from data (copied; less than 4 GiB).  offset + bytes at most DISK_MAX.  Returns its number,
 * counted from 0.
 */
size_t disk_log_begin(struct disk_log *l, const struct disk_op *op, const void *data);
void disk_log_end(struct disk_log *l, size_t i);
void disk_log_fail(struct disk_log *l, size_t i);
/* Begin and end at once. */
size_t disk_log_add(struct disk_log *l, const struct disk_op *op, const void *data);
/* An instant that the oracle wants to know of ("flush 3 acknowledged"). */
size_t disk_log_mark(struct disk_log *l, const char *text);

size_t disk_log_len(const struct disk_log *l);
const struct disk_op *disk_log_op(const struct disk_log *l,
                                  size_t i);       /* valid until the next begin */
uint64_t disk_log_clock(const struct disk_log *l); /* the next stamp */
struct disk_pool *disk_log_pool(const struct disk_log *l);

/* Does the op to the disk (flushes and marks: nothing).  0, -EFBIG or -ENOSPC. */
int disk_op_apply(struct disk *d, const struct disk_op *op);
/* The part [start, end) of the op, in bytes from its offset; writes, zeroes and discards only. */
int disk_op_apply_part(struct disk *d, const struct disk_op *op, int64_t start, int64_t end);
/* Bytes [start, start + n) of a write's payload (zeroes for other kinds). */
void disk_op_read(const struct disk_pool *p, const struct disk_op *op, int64_t start, void *buf,
                  size_t n);
const char *disk_op_kind_name(enum disk_op_kind k);

#endif
