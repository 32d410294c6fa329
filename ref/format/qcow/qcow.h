/*
 * Inside the qcow (version 1) driver: state and what its files offer each other.  Layout:
 * specs/qcow.yaml.
 */
#ifndef BLKREF_FORMAT_QCOW_QCOW_H
#define BLKREF_FORMAT_QCOW_QCOW_H

#include "ref/block/open.h"
#include "ref/format/crypto/image_options.h"
#include "ref/format/crypto/io.h"
#include "ref/format/format.h"
#include "ref/format/table_cache.h"
#include "specs/qcow_layout.h"

struct qcow {
    struct node *n;
    struct world *w;
    uint8_t cluster_bits, l2_bits;
    uint64_t cluster_size, l2_entries, l1_size, l1_offset, size;

    /* Lock order: alloc, then lock. */
    struct co_mutex alloc; /* one allocation at a time; guards file_end */
    struct co_mutex lock;  /* guards tables */
    uint64_t file_end;     /* where new space is taken, not aligned */
    struct table_cache tables;
    struct crypt_block *crypt; /* AES, vectors by guest offsets; NULL: none, or no key */
};

enum qcow_type { QCOW_UNALLOCATED, QCOW_DATA, QCOW_COMPRESSED };

/* Where a guest range is: one kind, contiguous on the host. */
struct qcow_map {
    enum qcow_type type;
    uint64_t bytes;     /* for how many bytes from the offset it holds */
    uint64_t host;      /* QCOW_DATA: host offset of the first byte */
    uint64_t entry;     /* the first cluster's L2 entry */
    uint64_t l2_offset; /* 0: no L2 table */
};

static inline struct qcow *qcow_state(struct node *n)
{
    return n->state;
}

/* ---- map.c ---- */
/* (takes lock) */
int qcow_find(struct qcow *s, uint64_t offset, uint64_t bytes, struct qcow_map *m,
              const struct request *r);
/* Points n clusters from offset's on at `entry`, which rises by `step`; one page of one table.
 * (alloc held, takes lock) */
int qcow_link(struct qcow *s, uint64_t offset, unsigned n, uint64_t entry, uint64_t step,
              enum label label, const struct request *r);
int qcow_block_status(struct node *n, bool precise, int64_t offset, int64_t bytes,
                      struct status *out);

/* ---- io.c ---- */
int qcow_read(struct node *n, const struct request *r);
int qcow_write(struct node *n, const struct request *r);
int qcow_make_empty(struct node *n);

/* ---- compress.c ---- */
/* Unpacks the cluster of an L2 entry into buf (one cluster). */
int qcow_unpack(struct qcow *s, uint64_t entry, uint8_t *buf, const struct request *r);
int qcow_write_compressed(struct node *n, const struct request *r);

/* ---- create.c ---- */
extern const struct opt_desc qcow_create_options[];
int qcow_create(struct world *w, const char *filename, struct value *opts, struct error **err);
int qcow_create_json(struct world *w, struct value *opts, struct error **err);

#endif
