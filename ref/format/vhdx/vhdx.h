/*
 * What the files of the VHDX driver share: one open image ([MS-VHDX]; clauses: specs/vhdx.yaml).
 */
#ifndef BLKREF_FORMAT_VHDX_H
#define BLKREF_FORMAT_VHDX_H

#include "ref/block/io.h"
#include "ref/block/open.h"
#include "ref/format/format.h"
#include "ref/format/table_cache.h"
#include "specs/vhdx_layout.h"

#define GUID_BYTES 16

struct vhdx_range {
    uint64_t start, end; /* bytes of the file */
};

struct vhdx {
    struct node *n;
    uint8_t header[VHDX_HEADER_BYTES]; /* the current one, as on disk */
    int current;                       /* 0 or 1: where it is */
    struct vhdx_range log, bat_region, metadata;
    struct table_cache tables;
    struct table_ref bat;
    uint32_t block_size, logical_sector, physical_sector, chunk_ratio;
    uint32_t flags; /* file parameters */
    uint64_t size;  /* of the disk */
    uint64_t blocks;
    bool begun;            /* the write GUIDs are new since the image was opened */
    bool replayed;         /* a log was replayed when the image was opened */
    uint64_t log_sequence; /* of the next entry */
    uint32_t log_at;       /* where it goes, bytes into the log */
    bool dead;             /* the header could not be written: nothing more is */
    struct co_mutex lock;  /* held while a block is allocated */
};

static inline struct vhdx *vhdx_state(struct node *n)
{
    return n->state;
}

extern const uint8_t vhdx_guid_bat[GUID_BYTES], vhdx_guid_metadata[GUID_BYTES];
extern const uint8_t vhdx_item_file_parameters[GUID_BYTES], vhdx_item_disk_size[GUID_BYTES],
    vhdx_item_disk_id[GUID_BYTES], vhdx_item_logical_sector[GUID_BYTES],
    vhdx_item_physical_sector[GUID_BYTES], vhdx_item_parent_locator[GUID_BYTES];

/* crc32c.c: CRC-32C (Castagnoli); begin with 0. */
uint32_t vhdx_crc32c(uint32_t crc, const void *data, size_t len);
/* Sets, or compares, the checksum field at bytes 4 to 7 of a structure of len bytes. */
void vhdx_seal(uint8_t *p, size_t len);
bool vhdx_sealed(const uint8_t *p, size_t len);

/* header.c: 0, or -errno with err. */
int vhdx_read_headers(struct vhdx *s, struct error **err);
/* Changes the current header by way of the other place, twice, so that both are new (HDR-8).
 * log_guid NULL: stays; data: new write GUIDs, the data one too. */
int vhdx_update_headers(struct vhdx *s, const uint8_t *log_guid, bool write_guids,
                        const struct request *r);
/* What the first write of a session changes (HDR-9). */
int vhdx_begin_writing(struct vhdx *s, const struct request *r);
bool vhdx_has_log(const struct vhdx *s);

/* metadata.c */
int vhdx_read_regions(struct vhdx *s, struct error **err);
int vhdx_read_metadata(struct vhdx *s, struct error **err);
/* Whether the range meets log, BAT or metadata; told as a warning. */
bool vhdx_overlaps(struct vhdx *s, struct vhdx_range r);

/* log.c */
/* Replays what the log has.  writable false: -EPERM with err when there is something. */
int vhdx_replay(struct vhdx *s, bool writable, struct error **err);
/* Writes the 4 KiB at offset by way of the log (LOG-10). */
int vhdx_log_write(struct vhdx *s, uint64_t offset, const uint8_t *sector, const struct request *r);
/* The log is empty from now on; what it described is stable. */
int vhdx_close_log(struct vhdx *s, const struct request *r);

/* io.c */
/* Index in the BAT of payload block i. */
uint64_t vhdx_bat_index(const struct vhdx *s, uint64_t block);
/* Entries up to that of the last block. */
uint64_t vhdx_bat_entries(const struct vhdx *s);
int vhdx_entry(struct vhdx *s, uint64_t index, uint64_t *entry, const struct request *r);
int vhdx_read(struct node *n, const struct request *r);
int vhdx_write(struct node *n, const struct request *r);
int vhdx_block_status(struct node *n, bool precise, int64_t offset, int64_t bytes,
                      struct status *out);

/* check.c: entries against the file and each other; counts what is wrong, telling of each. */
int vhdx_check_bat(struct vhdx *s, struct check_result *res);
int vhdx_check(struct node *n, struct check_result *res, unsigned fix);

/* create.c */
extern const struct opt_desc vhdx_create_options[];
int vhdx_create(struct world *w, const char *filename, struct value *opts, struct error **err);
int vhdx_create_json(struct world *w, struct value *opts, struct error **err);

#endif
