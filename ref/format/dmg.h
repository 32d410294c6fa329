/*
 * dmg: what its two halves share (specs/dmg.yaml).  dmg_chunks.c makes the list of chunks, dmg.c
 * reads them.
 */
#ifndef BLKREF_FORMAT_DMG_H
#define BLKREF_FORMAT_DMG_H

#include "ref/block/node.h"
#include "specs/dmg_layout.h"

struct dmg_chunk {
    uint32_t type;    /* DMG_CHUNK_*, one that can be read */
    uint64_t sector;  /* of the disk */
    uint64_t sectors; /* RAW and packed: up to DMG_MAX_CHUNK_SECTORS */
    uint64_t offset;  /* in the file */
    uint64_t length;  /* in the file, up to DMG_MAX_CHUNK_BYTES */
};

struct dmg {
    int64_t trailer;      /* its offset in the file */
    uint64_t data_offset; /* of the data fork */
    int64_t sectors;      /* of the disk */
    struct dmg_chunk *chunks;
    size_t n_chunks, room;
    bool warned_unknown, warned_lzfse;
    struct co_mutex lock; /* of the block at hand */
    uint8_t *block;       /* the last unpacked chunk, or NULL */
    size_t index;         /* which one */
};

/* Appends the chunks of all tables in the resource fork, or in the property list: both lie before
 * the trailer. */
int dmg_read_resource_fork(struct node *n, uint64_t offset, uint64_t length, struct error **err);
int dmg_read_plist(struct node *n, uint64_t offset, uint64_t length, struct error **err);

#endif
