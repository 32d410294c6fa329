/*
 * The simulated disk's content: a growable file of bytes.
 *
 * Models: pages of 4 KiB, reference-counted and copied on write, in a radix tree whose nodes are
 * shared the same way, so a clone costs nothing and a state of a disk costs what it changed.  A
 * page that was never written (or was discarded) is a hole and reads as zeroes.  Each disk has a
 * hash of its content, kept up to date lazily, so that equal states are recognised cheaply.  Leaves
 * out: time and order (disklog.h), power cuts (crash.h), faults (verdict.h).
 *
 * All disks of a pool share its memory; a pool and its disks belong to one thread.
 * Offsets and lengths are bytes, not negative; offset + bytes at most DISK_MAX, else -EFBIG.
 */
#ifndef BLKREF_FAULT_DISK_H
#define BLKREF_FAULT_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DISK_PAGE 4096
#define DISK_MAX  (INT64_MAX - DISK_PAGE + 1)

struct disk_pool;
struct disk;

/* max_pages: distinct pages that may exist at once (writes then fail with -ENOSPC); 0: no limit. */
struct disk_pool *disk_pool_new(uint32_t max_pages);
void disk_pool_free(struct disk_pool *p); /* asserts that all disks and page references are gone */
uint32_t disk_pool_used(const struct disk_pool *p); /* distinct pages in use */

struct disk *disk_new(struct disk_pool *p, int64_t size);
struct disk *disk_clone(const struct disk *d);
/* dst becomes a clone of src (of the same pool). */
void disk_assign(struct disk *dst, const struct disk *src);
void disk_free(struct disk *d); /* NULL is fine */
struct disk_pool *disk_pool_of(const struct disk *d);

int64_t disk_size(const struct disk *d);
/* What lies behind the end reads as zeroes. */
void disk_read(const struct disk *d, int64_t offset, void *buf, size_t bytes);
/* These grow the disk.  0, -EFBIG or -ENOSPC (then a part may have been done). */
int disk_write(struct disk *d, int64_t offset, const void *buf, size_t bytes);
/* allocate: whole pages stay (become) allocated; else they become holes. */
int disk_write_zeroes(struct disk *d, int64_t offset, int64_t bytes, bool allocate);
/* Reads as zeroes afterwards; what lies behind the end is left out. */
int disk_discard(struct disk *d, int64_t offset, int64_t bytes);
/* A cut-off tail is gone; a grown part reads as zeroes. */
int disk_truncate(struct disk *d, int64_t size);

enum disk_status { DISK_HOLE, DISK_DATA };
/* Status at offset, and for how many bytes (1 to `bytes`, > 0) it holds; behind the end: hole. */
enum disk_status disk_block_status(const struct disk *d, int64_t offset, int64_t bytes, int64_t *n);
int64_t disk_allocated(const struct disk *d); /* bytes in pages */

/* Hash of size and content; a hole and a page of zeroes are the same. */
uint64_t disk_hash(struct disk *d);
/* Compares size and content, byte by byte where pages are not shared. */
bool disk_equal(const struct disk *a, const struct disk *b);

/* ---- pages by number, for payloads that are shared with disks (disklog.c) ---- */
typedef uint32_t disk_page; /* 0: none */
/* A page holding DISK_PAGE bytes of buf; the caller has one reference.  0: pool exhausted. */
disk_page disk_page_new(struct disk_pool *p, const void *buf);
void disk_page_unref(struct disk_pool *p, disk_page page);
const uint8_t *disk_page_data(const struct disk_pool *p, disk_page page);
/* Makes `page` the content of the page-aligned range at offset; grows the disk.  0 or -EFBIG. */
int disk_put_page(struct disk *d, int64_t offset, disk_page page);

#endif
