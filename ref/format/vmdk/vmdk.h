/*
 * Inside the vmdk driver: state and what its files offer each other.
 *
 * A disk is a descriptor (text) and extents, each a file of its own or, in a monolithic sparse
 * image, the image itself.  Layout: specs/vmdk.yaml, after VMware's "Virtual Disk Format".
 */
#ifndef BLKREF_FORMAT_VMDK_VMDK_H
#define BLKREF_FORMAT_VMDK_VMDK_H

#include "ref/block/open.h"
#include "ref/format/format.h"
#include "ref/format/table_cache.h"
#include "specs/vmdk_layout.h"

#define VMDK_DESCRIPTOR_MAX ((1u << 20) - 1) /* bytes of text that are looked at */
#define VMDK_EMBEDDED_MAX   (20u * VMDK_SECTOR)

enum vmdk_kind { VMDK_FLAT, VMDK_SPARSE, VMDK_COWD, VMDK_SESPARSE };

struct vmdk_extent {
    struct child *file;
    char *type; /* as the descriptor says, "FLAT"; "" for the image's own */
    enum vmdk_kind kind;
    uint64_t first, sectors; /* place on the disk, sectors */
    uint64_t flat_offset;    /* VMDK_FLAT: where it begins in its file, bytes */

    /* The others.  Places and sizes in bytes. */
    uint32_t version;
    bool compressed, markers, zeroed_grains, redundant;
    bool gd_in_footer; /* the header does not tell the place of the directory (HDR-10) */
    uint64_t grain;
    uint64_t gd_offset, rgd_offset, gd_entries;
    unsigned gt_entries;
    uint64_t gt_base, grain_base; /* VMDK_SESPARSE: tables and grains are numbered from there */
    uint64_t next;                /* the next grain or table goes here */
    struct table_cache *tables;
};

struct vmdk_packer;

struct vmdk {
    struct node *n;
    struct world *w;
    struct vmdk_extent *extents;
    unsigned nr_extents;
    char *create_type;
    uint32_t cid, parent_cid;
    uint64_t cid_place; /* of its digits in the image's file, bytes */
    unsigned cid_digits;
    bool cid_changed;    /* since the image was opened (DSC-4) */
    bool parent_checked; /* DSC-5 */

    /* Lock order: alloc, then tables. */
    struct co_mutex alloc;       /* one allocation at a time; guards next, cid */
    struct co_mutex lock;        /* guards tables */
    struct vmdk_packer *packers; /* not in use */
};

enum vmdk_type { VMDK_UNALLOCATED, VMDK_ZEROED, VMDK_DATA };

/* Where a range of an extent is: one kind, contiguous in its file. */
struct vmdk_map {
    enum vmdk_type type;
    uint64_t bytes;   /* for how many bytes from the offset it holds */
    uint64_t host;    /* VMDK_DATA: of the first byte; compressed: of the grain */
    uint64_t gt, rgt; /* the grain table and its redundant copy, 0: none */
};

/* The part of a request inside one extent. */
struct vmdk_piece {
    struct vmdk_extent *e;
    uint64_t offset, bytes; /* in the extent */
};

static inline struct vmdk *vmdk_state(struct node *n)
{
    return n->state;
}

/* ---- descriptor.c ---- */
/* The value of `key` in text ("key=value" or key="value"), NULL when absent; mem_free(). */
char *vmdk_text_value(const char *text, const char *key);
/* CID, parentCID, parentFileNameHint, createType from text, which begins at `place` of the image's
 * file.  -EINVAL where there is no parentCID. */
int vmdk_take_descriptor(struct vmdk *s, const char *text, uint64_t place, struct error **err);

struct vmdk_line {
    char type[16], name[512];
    int64_t sectors, offset;
};
/*
 * The next extent line from *text on, which moves behind it: 1, 0 at the end, -EINVAL with err for
 * a line that is none.  Lines of other access than RW, or unknown types, are passed over.
 */
int vmdk_next_line(const char **text, struct vmdk_line *line, struct error **err);
/* Gives the disk a new CID, once an opening. (takes alloc) */
int vmdk_touch(struct vmdk *s, const struct request *r);
/* -EINVAL where the backing file is not the parent any more, or never was. */
int vmdk_check_parent(struct vmdk *s);

/* ---- sparse.c, esx.c: reading headers into *e, whose file is there ---- */
int vmdk_open_hosted(struct vmdk *s, struct vmdk_extent *e, const uint8_t *header,
                     struct error **err);
int vmdk_open_cowd(struct vmdk *s, struct vmdk_extent *e, uint64_t sectors, struct error **err);
int vmdk_open_sesparse(struct vmdk *s, struct vmdk_extent *e, struct error **err);
/* Bytes to where new grains go, at the end of the file. */
int vmdk_find_end(struct vmdk_extent *e, struct error **err);
/* The header in the footer (HDR-10), VMDK_HEADER_SIZE bytes. */
int vmdk_load_footer(struct vmdk_extent *e, uint8_t *header, struct error **err);

/* ---- grain.c ---- */
struct vmdk_piece vmdk_piece_at(struct vmdk *s, uint64_t offset, uint64_t bytes);
/* -EIO where an entry is not one. (takes lock) */
int vmdk_find(struct vmdk *s, struct vmdk_extent *e, uint64_t offset, uint64_t bytes,
              struct vmdk_map *m, const struct request *r);
/*
 * Points n grains from offset's on at `sector`, which rises by step; they are entries of one page
 * of one table, which is made where it is missing. (alloc held, takes lock)
 */
int vmdk_link(struct vmdk *s, struct vmdk_extent *e, uint64_t offset, unsigned n, uint32_t sector,
              uint32_t step, const struct vmdk_map *m, const struct request *r);
/*
 * Before anything is put behind the end of an extent whose footer stands there: the header tells
 * the place of the directory from now on, stable. (alloc held)
 */
int vmdk_settle(struct vmdk_extent *e, const struct request *r);
int vmdk_block_status(struct node *n, bool precise, int64_t offset, int64_t bytes,
                      struct status *out);

/* ---- io.c ---- */
int vmdk_read(struct node *n, const struct request *r);
int vmdk_write(struct node *n, const struct request *r);
int vmdk_write_zeroes(struct node *n, const struct request *r);
int vmdk_write_compressed(struct node *n, const struct request *r);

/* ---- stream.c ---- */
/* Bytes of the compressed grain at `host`, from in_grain on. */
int vmdk_read_packed(struct vmdk *s, struct vmdk_extent *e, uint64_t host, uint64_t in_grain,
                     uint64_t bytes, const struct iov *q, size_t q_off, const struct request *r);
/* One grain, or what the extent's last one has. */
int vmdk_write_packed(struct vmdk *s, const struct vmdk_piece *p, const struct iov *q, size_t q_off,
                      const struct request *r);
void vmdk_free_packers(struct vmdk *s);
/* -EIO, said aloud: a grain of a stream is written once (STR-4). */
int vmdk_refuse_rewrite(struct vmdk *s);

/* ---- info.c ---- */
int vmdk_info(struct node *n, struct image_info *out);
struct value *vmdk_specific_info(struct node *n, struct error **err);
int vmdk_check(struct node *n, struct check_result *res, unsigned fix);

/* ---- create.c ---- */
extern const struct opt_desc vmdk_create_options[];
int vmdk_create(struct world *w, const char *filename, struct value *opts, struct error **err);
int vmdk_create_json(struct world *w, struct value *opts, struct error **err);

#endif
