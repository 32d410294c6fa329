/*
 * What the files of the vpc driver share: one open image.
 *
 * Spec clauses are those of specs/vpc.yaml.
 */
#ifndef BLKREF_FORMAT_VPC_VPC_H
#define BLKREF_FORMAT_VPC_VPC_H

#include "ref/block/io.h"
#include "ref/block/open.h"
#include "ref/format/format.h"
#include "ref/format/table_cache.h"
#include "specs/vpc_layout.h"

#define SECTOR   ((int64_t)VPC_SECTOR)
#define NO_BLOCK UINT32_MAX

struct vpc {
    uint8_t footer[VPC_FOOTER_SIZE];
    bool fixed, differencing;
    uint8_t *bat; /* as on disk, whole sectors */
    uint32_t entries;
    int64_t bat_offset, block_size, bitmap_size;
    int64_t free_offset; /* where the footer is, and the next block goes */
    int64_t size;
    uint32_t marked; /* block whose bitmap is known to be set, or NO_BLOCK */
    struct co_mutex lock;
    uint8_t parent_id[VPC_DYNAMIC_PARENT_ID_WIDTH];
    struct table_cache bitmaps; /* of blocks; differencing images alone look at them */
};

static inline struct vpc *vpc_state(struct node *n)
{
    return n->state;
}

/* ---- driver.c ---- */
/* Complement of the sum of the bytes, the checksum's own four taken as zero (FTR-4). */
uint32_t vpc_checksum(const uint8_t *p, size_t len, size_t at);
/* Sector where block i begins, or VPC_UNUSED. */
uint32_t vpc_entry(const struct vpc *s, uint64_t i);

/* ---- io.c ---- */
int vpc_read(struct node *n, const struct request *r);
int vpc_write(struct node *n, const struct request *r);
int vpc_block_status(struct node *n, bool precise, int64_t offset, int64_t bytes,
                     struct status *out);

/* ---- parent.c ---- */
/* The backing file of a differencing image, from its dynamic header (DIF-3): of the names that it
 * gives the first that can be opened, else the first. */
int vpc_name_parent(struct node *n, const uint8_t *dynamic, struct error **err);
/* May `backing` be n's parent (DIF-2)?  -EINVAL where not. */
int vpc_check_backing(struct node *n, struct node *backing, struct error **err);

/* ---- create.c ---- */
extern const struct opt_desc vpc_create_options[];
int vpc_create(struct world *w, const char *filename, struct value *opts, struct error **err);
int vpc_create_json(struct world *w, struct value *opts, struct error **err);

#endif
