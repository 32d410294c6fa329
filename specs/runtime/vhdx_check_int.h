/*
 * Shared by the files of the VHDX spec checker: the state of one walk, checksums, the log.
 */
#ifndef BLKREF_SPECS_VHDX_CHECK_INT_H
#define BLKREF_SPECS_VHDX_CHECK_INT_H

#include "specs/runtime/walk.h"
#include "specs/vhdx_layout.h"

/* A change that the log holds: bytes of the file that come from elsewhere, or zeroes. */
struct vhdx_change {
    uint64_t offset, bytes;
    uint64_t data; /* where the data sector is, 0: zeroes */
    uint64_t leading;
    uint32_t trailing;
};

struct vhdx_walk {
    struct spec_walk s;
    struct vhdx_params params;
    const struct spec_image *file; /* as it is; s.image is as it will be behind the replay */
    struct spec_image replayed;
    struct vhdx_change *changes;
    size_t n, room;
    uint32_t crc_table[16];
    uint8_t header[VHDX_HEADER_SIZE]; /* the current one */
    uint64_t log, log_bytes;
    uint64_t bat, bat_bytes, metadata, metadata_bytes;
    uint64_t disk, block, sector, ratio; /* ratio: payload blocks of a chunk */
    uint64_t first_block;                /* the lowest place of a block, 0: none */
    bool has_parent, pending;            /* pending: there are changes to replay */
};

/* As [MS-VHDX] prints them. */
struct vhdx_guid {
    uint32_t a;
    uint16_t b, c;
    uint8_t d[8];
};

bool vhdx_is_guid(const uint8_t *p, const struct vhdx_guid *g);

/* A corruption under the clause. */
void vhdx_complain(struct vhdx_walk *v, const char *clause, uint64_t at, uint64_t found,
                   uint64_t expected, const char *what);
void vhdx_crc_init(struct vhdx_walk *v);
/* Goes on with a checksum that began with UINT32_MAX; its end value is inverted by the caller. */
uint32_t vhdx_crc(const struct vhdx_walk *v, uint32_t crc, const uint8_t *p, size_t len);
/* Judges the log; from then on s.image reads as if it had been replayed. */
void vhdx_take_log(struct vhdx_walk *v);
/* Judges the metadata region, fills in the disk's shape; t has room for a table. */
void vhdx_take_metadata(struct vhdx_walk *v, uint8_t *t);

#endif
