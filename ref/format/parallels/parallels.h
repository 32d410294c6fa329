/*
 * What the files of the parallels driver share: one open image.
 *
 * Spec clauses are those of specs/parallels.yaml (docs/interop/parallels.txt).
 */
#ifndef BLKREF_FORMAT_PARALLELS_H
#define BLKREF_FORMAT_PARALLELS_H

#include "ref/block/io.h"
#include "ref/block/open.h"
#include "ref/format/format.h"
#include "specs/parallels_layout.h"

#define SECTOR 512

struct parallels {
    struct node *n;
    uint8_t *meta;      /* header and BAT, whole sectors */
    uint64_t sectors;   /* of meta */
    uint64_t *dirty;    /* bit a sector that the file has not yet; NULL: write-through */
    bool data_first;    /* data must be stable before dirty sectors are written */
    bool merge;         /* profile: neighbouring clusters are allocated together */
    uint32_t loaded;    /* entries in meta: those that the file has */
    uint32_t entries;   /* of the image, as the header says */
    uint32_t unit;      /* bytes that a BAT entry counts */
    int64_t cluster;    /* bytes */
    int64_t size;       /* of the disk */
    int64_t data_start; /* where clusters begin */
    int64_t data_end;   /* behind the last cluster in use */
    int64_t stale_end;  /* below it the file may hold old bytes; behind it, zeroes */
    bool unclean;       /* in_use was set when the image was opened */
    bool marked;        /* in_use is set by us */
    bool has_ext;       /* the header names a format extension */
    bool prealloc_falloc;
    int64_t prealloc; /* bytes that the file grows by at least; 0: by clusters */
    uint64_t *bitmap; /* dirty bitmap of the extension, read-only images; NULL */
    uint64_t bitmap_bits, bitmap_granularity; /* bits; bytes a bit */
    struct co_mutex lock;                     /* held while a cluster is allocated */
};

static inline struct parallels *parallels_state(struct node *n)
{
    return n->state;
}

/* bat.c; what writes wants the lock */
/* Host offset of guest cluster i in bytes; 0 when it is not allocated. */
int64_t parallels_host(const struct parallels *s, uint64_t i);
/* Sets entry i in memory to that host offset (or 0). */
void parallels_set_host(struct parallels *s, uint64_t i, int64_t host);
/* Writes the sector with entry i. */
int parallels_write_entry(struct parallels *s, uint64_t i, enum label label,
                          const struct request *r);
/* With meta and loaded set: decides by the profile when entries are written; false: no memory. */
bool parallels_init_dirty(struct parallels *s);
/* Entries i to i + n - 1 name neighbouring clusters from `host` on: dirty, or in the file; those
 * that could not be written name none. */
int parallels_enter(struct parallels *s, uint64_t i, uint64_t n, int64_t host,
                    const struct request *r);
/* Flushes when data_first wants it. */
int parallels_order_data(struct parallels *s, const struct request *r);
/* Writes dirty sectors, in order; on failure what was not written stays dirty.  Not flushed. */
int parallels_write_back(struct parallels *s, const struct request *r);
/* data_end from the BAT: clusters in use, and the extension's as long as the header names it. */
void parallels_find_end(struct parallels *s);

/* driver.c */
/* Writes the header's sector, whose entries must not be dirty, and flushes. */
int parallels_write_header(struct parallels *s, enum label label, const struct request *r);
/* Before anything is written: the in-use mark is set, and stable; -EACCES where the mark of
 * somebody else was found, and no check has taken it away. */
int parallels_ensure_mark(struct parallels *s, const struct request *r);

/* io.c */
int parallels_read(struct node *n, const struct request *r);
int parallels_write(struct node *n, const struct request *r);
int parallels_block_status(struct node *n, bool precise, int64_t offset, int64_t bytes,
                           struct status *out);

/* check.c */
int parallels_check(struct node *n, struct check_result *res, unsigned fix);

/* ext.c: the format extension; -errno with err when it is damaged or not understood. */
int parallels_read_ext(struct parallels *s, struct error **err);
/* The highest byte that the extension uses; 0 when it cannot be read. */
int64_t parallels_ext_end(struct parallels *s);

/* create.c */
extern const struct opt_desc parallels_create_options[];
int parallels_create(struct world *w, const char *filename, struct value *opts, struct error **err);
int parallels_create_json(struct world *w, struct value *opts, struct error **err);

#endif
