/*
 * What the files of qcow2's check share: counted references, and the state of one check.
 */
#ifndef BLKREF_FORMAT_QCOW2_CHECK_H
#define BLKREF_FORMAT_QCOW2_CHECK_H

#include "ref/format/qcow2/qcow2.h"

/* ---- refmap.c: sparse counters of references, by host cluster ---- */
#define REFMAP_PAGE 64 /* clusters in a page: no refcount block covers fewer */
struct refmap_page {
    uint64_t first; /* cluster index of count[0] */
    uint32_t count[REFMAP_PAGE];
};
struct refmap {
    struct refmap_page **slot; /* open addressing; nb_slots is a power of two or 0 */
    size_t nb_slots, used;
    struct refmap_page *last;
};
void refmap_free(struct refmap *m);
/* Counter of a cluster, made when it is not there; NULL: no memory. */
uint32_t *refmap_at(struct refmap *m, uint64_t cluster);
/* The page that has a cluster, or NULL: all counters are 0. */
struct refmap_page *refmap_page(struct refmap *m, uint64_t cluster);
uint32_t refmap_get(struct refmap *m, uint64_t cluster);
/* All pages by rising cluster; *pages is owned by the caller (mem_free). -ENOMEM */
int refmap_sorted(const struct refmap *m, struct refmap_page ***pages);

/* ---- one check ---- */
struct check {
    struct qcow2 *s;
    struct check_result *res;
    unsigned fix;     /* enum check_fix */
    bool fix_copied;  /* COPIED flags are repaired */
    bool refs_stable; /* the repaired refcounts are on the disk to stay */
    bool rebuild;     /* refcounts are so wrong that new structures are needed */
    uint64_t file_len,
        nb_clusters;  /* of the image file; nb_clusters may be larger by a last partial one */
    uint64_t highest; /* last cluster in use */
    struct refmap map;
    uint8_t *table; /* one cluster, for L2 tables */
    uint8_t *block; /* pinned refcount block, or NULL */
    uint64_t block_index;
};

/* Message on stderr as it is. */
#define check_say(c, ...) world_report((c)->s->w, REPORT_PLAIN, __VA_ARGS__)
/* "Repairing" or "ERROR". */
static inline const char *check_verb(unsigned fix)
{
    return fix & FIX_ERRORS ? "Repairing" : "ERROR";
}

/* check_map.c: counts every reference into c->map. 0 or -errno. */
int check_count_references(struct check *c);
/* A reference to [offset, +bytes): behind the end of the file, or more than a refcount can hold, is
 * a corruption. */
int check_count_range(struct check *c, uint64_t offset, uint64_t bytes);
/* An L2 entry in the table at l2_offset on disk; the cache forgets the table. Says what went wrong.
 */
int check_write_l2_entry(struct check *c, uint64_t l2_offset, unsigned index, uint64_t entry,
                         uint64_t bitmap, bool active);

/* check_refcounts.c */
int check_refcounts(struct check *c);
/* Block for the cluster, *block NULL when there is none; -errno is what a refcount there reads as.
 */
int check_get_block(struct check *c, uint64_t cluster, uint8_t **block);
void check_put_block(struct check *c);

/* check_copied.c: COPIED flags of the active tables against the refcounts on disk. */
int check_copied_flags(struct check *c);

/* check_rebuild.c: new refcount structures from c->map. */
int check_rebuild_refcounts(struct check *c);

/* check_snapshots.c: the snapshot table, read anew; and written when it was repaired. */
int check_read_snapshots(struct qcow2 *s, struct check_result *res, unsigned fix, bool *rewrite);
int check_fix_snapshots(struct qcow2 *s, struct check_result *res, unsigned fix, bool rewrite);

#endif
