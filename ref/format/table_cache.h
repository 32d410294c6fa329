/*
 * A small write-through cache of table pages, for formats whose tables may be larger than one wants
 * to hold in memory.
 *
 * Models: direct-mapped pages of 4 KiB, so memory is bounded whatever an image claims.  A store
 * goes to disk first; a failed one makes the cache forget the page.  Leaves out: byte order
 * (entries are bytes as on disk) and locking.
 */
#ifndef BLKREF_FORMAT_TABLE_CACHE_H
#define BLKREF_FORMAT_TABLE_CACHE_H

#include "ref/block/io.h"

#define TABLE_PAGE         4096
#define TABLE_PAGES        256
#define TABLE_PAGE_ENTRIES (TABLE_PAGE / 8)

struct table_page {
    uint64_t offset; /* in the file */
    uint64_t bytes;  /* that were read */
    bool valid;
    uint8_t data[TABLE_PAGE];
};
struct table_cache {
    struct child *file;
    unsigned width; /* bytes of an entry: 8, unless the owner sets 4 after init */
    struct table_page *page[TABLE_PAGES]; /* made when first needed */
};

/* A table: where it is and how many bytes it has. */
struct table_ref {
    uint64_t offset, bytes;
    enum label load, update;
};

void table_cache_init(struct table_cache *c, struct child *file);
void table_cache_free(struct table_cache *c);
void table_cache_forget(struct table_cache *c);
/*
 * Entry `index` and those behind it in its page: *n of them (at least 1) at *entries, valid until
 * the next call. What is behind the end of the file reads as 0.  0, -ENOMEM, -EIO ...
 */
int table_load(struct table_cache *c, const struct table_ref *t, uint64_t index,
               const uint8_t **entries, unsigned *n, const struct request *r);
/* Writes n entries from index on, all in one page, to disk (not flushed) and to the cache. */
int table_store(struct table_cache *c, const struct table_ref *t, uint64_t index,
                const uint8_t *entries, unsigned n, const struct request *r);
/* Fills the new table with zeroes on disk. */
int table_clear(struct table_cache *c, const struct table_ref *t, const struct request *r);

#endif
