/*
 * Shared by the files of the qcow2 spec checker: the state of one walk, reading, counting
 * references.
 */
#ifndef BLKREF_SPECS_QCOW2_CHECK_INT_H
#define BLKREF_SPECS_QCOW2_CHECK_INT_H

#include "specs/qcow2_layout.h"
#include "specs/runtime/cluster_map.h"
#include "specs/runtime/qcow2_check.h"

/* What a host cluster holds. */
enum qcow2_kind {
    K_HEADER = 1 << 0,
    K_REFCOUNT_TABLE = 1 << 1,
    K_REFCOUNT_BLOCK = 1 << 2,
    K_L1 = 1 << 3,
    K_L2 = 1 << 4,
    K_SNAPSHOT_TABLE = 1 << 5,
    K_SNAPSHOT_L1 = 1 << 6,
    K_BITMAP_DIRECTORY = 1 << 7,
    K_BITMAP_TABLE = 1 << 8,
    K_BITMAP_DATA = 1 << 9,
    K_CRYPTO = 1 << 10,
    K_DATA = 1 << 11,
    K_COMPRESSED = 1 << 12,
};

enum { WINDOW = 4096 };

/* A piece of the file that is being looked at; one for each level of nested tables. */
struct window {
    uint64_t offset;
    size_t len;
    uint8_t data[WINDOW];
};

struct walk {
    const struct spec_image *image;
    struct spec_report *r;
    struct spec_qcow2_info *info;
    const struct spec_format *format;
    uint64_t work; /* left */
    int error;     /* first -errno; ends every loop */
    uint8_t header[QCOW2_HEADER_V3_FULL_SIZE];
    struct qcow2_params q;
    uint32_t header_length;
    bool dirty;
    struct cluster_map map;
    struct window *outer, *inner; /* table of tables, and table */
    uint8_t crypto[QCOW2_CRYPTO_EXT_SIZE], bitmaps[QCOW2_BITMAP_EXT_SIZE];
    bool has_crypto, has_bitmaps;
};

/* Moves the window to offset; NULL once w->error is set. */
const uint8_t *walk_read_on(struct walk *w, struct window *win, uint64_t offset);
/* len bytes (at most 512) at offset, zeros behind the end of the file; NULL once w->error is set.
 */
static inline const uint8_t *walk_read(struct walk *w, struct window *win, uint64_t offset,
                                       size_t len)
{
    bool here = offset >= win->offset && offset - win->offset <= win->len &&
                len <= win->len - (offset - win->offset);
    return here && !w->error ? win->data + (offset - win->offset) : walk_read_on(w, win, offset);
}
/*
 * The first entry that is not zero, from i on, of a table of n entries of `size` (8 or 16) bytes at
 * `table`; *p is the entry.  n when there is none, or once w->error is set.
 */
uint64_t walk_next_entry(struct walk *w, struct window *win, uint64_t table, uint64_t i, uint64_t n,
                         unsigned size, const uint8_t **p);
/* Takes n units of work; false once w->error is set. */
bool walk_work(struct walk *w, uint64_t n);
/* spec_structure_check() by name. */
unsigned walk_check(struct walk *w, const char *structure, const uint8_t *p, uint64_t offset);
/* Whether a table of len bytes begins inside the file and ends within its last cluster. */
bool walk_inside(const struct walk *w, uint64_t offset, uint64_t len);
/* Counts a reference to every cluster that the range touches; `at` is where it is written. */
void walk_ref(struct walk *w, uint64_t offset, uint64_t len, enum qcow2_kind kind, uint64_t at);
/* Remembers the bytes (a name) in a map of hashes; true when they were there already. */
bool walk_seen_name(struct walk *w, struct cluster_map *names, uint64_t offset, uint64_t len);
/* Whether len bytes are all zero; len is bounded by the file. */
bool walk_zero(struct walk *w, uint64_t offset, uint64_t len);

void check_extensions(struct walk *w);
/* Every table reachable from an L1 table; kind is K_L1 (active) or K_SNAPSHOT_L1. */
void check_l1(struct walk *w, uint64_t offset, uint32_t entries, enum qcow2_kind kind);
/* Bit 63 of the active tables, once refcounts are known. */
void check_copied(struct walk *w);
/* L1 entries that a disk of this size needs. */
uint64_t l1_needed(const struct walk *w, uint64_t disk_size);
void check_snapshots(struct walk *w);
void check_bitmaps(struct walk *w);
/* References of the refcount structures themselves, before; and the comparison, after everything
 * else. */
void check_refcount_tables(struct walk *w);
void walk_check_refcounts(struct walk *w);

#endif
