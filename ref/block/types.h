/*
 * Plain data that drivers and their users exchange.
 */
#ifndef BLKREF_BLOCK_TYPES_H
#define BLKREF_BLOCK_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct error;
struct node;

enum prealloc { PREALLOC_OFF, PREALLOC_METADATA, PREALLOC_FALLOC, PREALLOC_FULL };
extern const char *const prealloc_names[]; /* "off", "metadata", "falloc", "full", NULL */
/* NULL name: off.  0, or -EINVAL with QEMU's message. */
int prealloc_parse(const char *name, enum prealloc *out, struct error **err);

enum status_flag {
    STATUS_DATA = 1 << 0,
    STATUS_ZERO = 1 << 1,         /* reads as zeroes */
    STATUS_OFFSET_VALID = 1 << 2, /* `map` is a host offset in `file` */
    STATUS_RAW = 1 << 3,          /* the answer is file's answer at map: recurse there */
    STATUS_ALLOCATED = 1 << 4,    /* this layer, not the backing file, determines the content */
    STATUS_EOF = 1 << 5,
    STATUS_RECURSE = 1 << 6, /* a lower layer may know that DATA is zero */
    STATUS_COMPRESSED = 1 << 7,
};
struct status {
    unsigned flags;
    int64_t bytes; /* length for which flags hold */
    int64_t map;   /* host offset with OFFSET_VALID */
    struct node *file;
};

struct image_info {
    int cluster_size; /* bytes; 0 when the format has none */
    int64_t vm_state_offset;
    bool is_dirty;
    bool needs_compressed_writes;
    unsigned bitmaps; /* persistent dirty bitmaps that the file has */
};

struct snapshot_info {
    char id[128], name[256];
    uint64_t vm_state_size;
    uint64_t date_sec;
    uint32_t date_nsec;
    uint64_t vm_clock_nsec;
    uint64_t icount; /* UINT64_MAX: unknown */
    int64_t disk_size;
};

enum check_fix { FIX_LEAKS = 1, FIX_ERRORS = 2 };
struct check_result {
    int corruptions, leaks, check_errors;
    int corruptions_fixed, leaks_fixed;
    int64_t image_end_offset;
    int64_t total_clusters, allocated_clusters, fragmented_clusters, compressed_clusters;
};

/* Progress of long work: done and total in one unit; opaque is the caller's. */
typedef void amend_progress_fn(struct node *n, int64_t done, int64_t total, void *opaque);

#endif
