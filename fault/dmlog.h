/*
 * The dm-log-writes log format (Linux device-mapper log-writes target; note: little-endian).
 *
 * Models: superblock and entries (write, flush, FUA, discard, mark, metadata) in units of the log's
 * sector size S: sector 0 is the superblock, then each entry is one header sector followed by its
 * data (none for discard).  Works on a simulated disk, as device and as log.  Leaves out: where the
 * log comes from.
 */
#ifndef BLKREF_FAULT_DMLOG_H
#define BLKREF_FAULT_DMLOG_H

#include "fault/disk.h"
#include "fault/disklog.h"
#include "ref/base/error.h"

#define DMLOG_MAGIC   0x006a736677736872ULL
#define DMLOG_VERSION 1

enum dmlog_flag {
    DMLOG_FLUSH = 1 << 0,
    DMLOG_FUA = 1 << 1,
    DMLOG_DISCARD = 1 << 2,
    DMLOG_MARK = 1 << 3,
    DMLOG_METADATA = 1 << 4,
};

struct dmlog_super {
    uint64_t magic, version, entries;
    uint32_t sector_size;
};
/* The 28 bytes of the superblock.  Load: 0, or -EINVAL (magic, version, sector size not a power of
 * two in [32, 16 MiB)). */
void dmlog_super_store(uint8_t buf[28], const struct dmlog_super *s);
int dmlog_super_load(const uint8_t buf[28], struct dmlog_super *s, struct error **err);

struct dmlog_entry {
    uint64_t sector, sectors; /* in units of S, of the device */
    uint64_t flags;           /* enum dmlog_flag */
    uint64_t data_len;        /* private data in the header sector (a mark's text) */
};
void dmlog_entry_store(uint8_t buf[32], const struct dmlog_entry *e);
/* -EINVAL for flag bits not in `known`. */
int dmlog_entry_load(const uint8_t buf[32], uint64_t known, struct dmlog_entry *e,
                     struct error **err);
/* Sectors that the entry takes in the log, header included; 0 on overflow. */
uint64_t dmlog_entry_span(const struct dmlog_entry *e);

/*
 * Writes the log of disk number `disk` into `out` (a disk; truncated first).  Ops must be aligned
 * to S and be expressible: a write or zeroes that is not aligned, or a truncate that shrinks, is
 * -ENOTSUP with err. Completion order, as the format has it; ops that never completed are left out.
 */
int dmlog_write(const struct disk_log *log, int disk, uint32_t sector_size, struct disk *out,
                struct error **err);
/* Reads a log into `log` (as disk number `disk`), each entry issued and complete at once.  0,
 * -EINVAL or -EFBIG. */
int dmlog_read(const struct disk *in, struct disk_log *log, int disk, struct error **err);

#endif
