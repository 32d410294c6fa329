/*
 * Inside the QED driver: state and what its files offer each other.  Layout:
 * docs/interop/qed_spec.txt, specs/qed.yaml.
 */
#ifndef BLKREF_FORMAT_QED_QED_H
#define BLKREF_FORMAT_QED_QED_H

#include "ref/block/open.h"
#include "ref/engine/clock.h"
#include "ref/format/format.h"
#include "ref/format/table_cache.h"
#include "specs/qed_layout.h"

struct qed {
    struct node *n;
    struct world *w;
    uint8_t header[QED_HEADER_SIZE];             /* as on disk */
    uint64_t cluster_size, table_bytes, entries; /* entries of one table */
    uint64_t features, l1_offset, image_size;
    uint64_t file_end;  /* where the next cluster goes; a multiple of cluster_size */
    uint64_t valid_end; /* clusters in use end here; what a cut last one lacks is zeroes */
    bool unchecked;     /* the need-check bit was found and no repair was done yet */
    bool dead;          /* reading the image again failed */

    /* Lock order: alloc, then tables. */
    struct co_mutex alloc; /* one allocation at a time; guards file_end, features */
    struct co_mutex lock;  /* guards tables */
    struct table_cache tables;
    struct timer clean_timer; /* since the last allocation: clears the need-check bit */
    bool clean_due;           /* it fired while the node was drained */
    bool cleaning;            /* its coroutine is under way */
};

enum qed_type { QED_UNALLOCATED, QED_ZERO, QED_DATA };

/* Where a guest range is: one kind, contiguous on the host. */
struct qed_map {
    enum qed_type type;
    uint64_t bytes;     /* for how many bytes from the offset it holds */
    uint64_t host;      /* QED_DATA: host offset of the first byte */
    uint64_t l2_offset; /* 0: no L2 table */
};

static inline struct qed *qed_state(struct node *n)
{
    return n->state;
}

/* ---- header.c ---- */
int qed_header_read(struct qed *s, unsigned flags, struct error **err);
/* Writes the header's fields from the state (not flushed). */
int qed_header_write(struct qed *s, enum label label, const struct request *r);
/* Sets the bit, stable, where it is not set yet. (alloc held) */
int qed_mark_dirty(struct qed *s, const struct request *r);
/* Flushes, clears the bit, flushes; not for an image that still needs repair. (alloc held) */
int qed_mark_clean(struct qed *s);
/* Largest lawful image for a geometry, 0 when it does not fit in 64 bits. */
uint64_t qed_max_image_size(uint64_t cluster_size, uint64_t table_size);
bool qed_cluster_size_valid(uint64_t cluster_size);
bool qed_table_size_valid(uint64_t table_size);
int qed_change_backing(struct node *n, const char *file, const char *format);

/* ---- map.c ---- */
struct table_ref qed_l1(const struct qed *s);
struct table_ref qed_l2(const struct qed *s, uint64_t offset);
/* An L1 entry names room for a whole table; an L2 entry names a whole cluster (spec: "Consistency
 * checking"). */
bool qed_table_offset_valid(const struct qed *s, uint64_t offset);
bool qed_cluster_offset_valid(const struct qed *s, uint64_t offset);
/* -EINVAL where an entry is not valid. (takes lock) */
int qed_find(struct qed *s, uint64_t offset, uint64_t bytes, struct qed_map *m,
             const struct request *r);
/* Points n clusters from offset's on at `entry`, which rises by `step`; one page of one table.
 * (alloc held, takes lock) */
int qed_link(struct qed *s, uint64_t offset, unsigned n, uint64_t entry, uint64_t step,
             uint64_t l2_offset, const struct request *r);
int qed_block_status(struct node *n, bool precise, int64_t offset, int64_t bytes,
                     struct status *out);

/* ---- io.c ---- */
int qed_read(struct node *n, const struct request *r);
int qed_write(struct node *n, const struct request *r);
int qed_write_zeroes(struct node *n, const struct request *r);
/* Before tables change: repairs what still needs it, sets the need-check bit. (alloc held) */
int qed_prepare(struct qed *s, const struct request *r);
/* The timer's function; arg is the state. */
void qed_clean_later(void *arg);
/* What the timer put off while the node was drained. */
void qed_drain_end(struct node *n);

/* ---- check.c ---- */
int qed_check(struct node *n, struct check_result *res, unsigned fix);
/* Repairs an image with the need-check bit; 0 also when something is left that cannot be repaired.
 * (alloc held) */
int qed_repair(struct qed *s, struct error **err);

/* Where the last cluster in use ends; the end of the file for an image that is not consistent.
 * (alloc held) */
int qed_used_end(struct qed *s, uint64_t *end);

/* ---- resize.c ---- */
int qed_truncate(struct node *n, int64_t size, bool exact, enum prealloc prealloc, unsigned flags,
                 struct error **err);

/* ---- create.c ---- */
extern const struct opt_desc qed_create_options[];
int qed_create(struct world *w, const char *filename, struct value *opts, struct error **err);
int qed_create_json(struct world *w, struct value *opts, struct error **err);

#endif
