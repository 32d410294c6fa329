/*
 * Checksums of damaged images made right again, or nothing behind them would be reached.
 *
 * Only what has its magic is sealed, by positions of the layout and arithmetic of its own.
 */
#include <string.h>
#include "fuzz/seeds_int.h"
#include "ref/base/bytes.h"
#include "ref/base/mem.h"
#include "ref/format/crypto/hash.h"
#include "ref/format/vhdx/vhdx.h"
#include "specs/parallels_layout.h"
#include "specs/vpc_layout.h"

/* ---- vpc: the complement of the sum of the bytes ---- */

static void seal_sum(struct disk *d, uint64_t at, size_t bytes, size_t field, uint64_t cookie)
{
    uint8_t p[VPC_DYNAMIC_SIZE];
    uint32_t sum = 0;
    if (at > (uint64_t)disk_size(d) || bytes > (uint64_t)disk_size(d) - at) {
        return;
    }
    disk_read(d, (int64_t)at, p, bytes);
    if (load_be64(p) != cookie) {
        return;
    }
    memset(p + field, 0, 4);
    for (size_t i = 0; i < bytes; i++) {
        sum += p[i];
    }
    fuzz_put(d, (int64_t)(at + field), 4, true, (uint32_t)~sum);
}

void seal_vpc(struct disk *d)
{
    uint64_t end = (uint64_t)disk_size(d) - VPC_FOOTER_SIZE;
    uint64_t ends[] = {0, end};
    for (size_t i = 0; i < ARRAY_SIZE(ends); i++) {
        seal_sum(d, ends[i], VPC_FOOTER_SIZE, VPC_FOOTER_CHECKSUM_OFF, VPC_COOKIE);
        seal_sum(d, fuzz_get(d, (int64_t)ends[i] + VPC_FOOTER_DATA_OFFSET_OFF, 8, true),
                 VPC_DYNAMIC_SIZE, VPC_DYNAMIC_CHECKSUM_OFF, VPC_DYN_COOKIE);
    }
}

/* ---- vhdx: CRC-32C in bytes 4 to 7 ---- */

static void seal_crc(struct disk *d, uint64_t at, size_t bytes)
{
    uint8_t *p = mem_alloc(bytes);
    disk_read(d, (int64_t)at, p, bytes);
    memset(p + 4, 0, 4);
    fuzz_put(d, (int64_t)at + 4, 4, false, vhdx_crc32c(0, p, bytes));
    mem_free(p);
}

/* The entries at the first sectors of the log. */
static void seal_log(struct disk *d, uint64_t log)
{
    enum { SECTORS = 16, MOST = 1 << 20 };
    for (unsigned i = 0; i < SECTORS && log < FUZZ_MAX_IMAGE; i++) {
        uint64_t at = log + (uint64_t)i * VHDX_LOG_SECTOR;
        uint64_t bytes = fuzz_get(d, (int64_t)at + VHDX_LOG_ENTRY_ENTRY_LENGTH_OFF, 4, false);
        if (fuzz_get(d, (int64_t)at, 4, false) == VHDX_LOG_SIGNATURE && bytes >= VHDX_LOG_SECTOR &&
            bytes <= MOST) {
            seal_crc(d, at, bytes);
        }
    }
}

void seal_vhdx(struct disk *d)
{
    static const struct {
        uint64_t at;
        size_t bytes;
    } all[] = {{VHDX_HEADER1_OFFSET, VHDX_HEADER_BYTES},
               {VHDX_HEADER2_OFFSET, VHDX_HEADER_BYTES},
               {VHDX_REGION1_OFFSET, VHDX_TABLE_BYTES},
               {VHDX_REGION2_OFFSET, VHDX_TABLE_BYTES}};
    for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
        if (disk_size(d) >= (int64_t)(all[i].at + all[i].bytes)) {
            seal_crc(d, all[i].at, all[i].bytes);
        }
    }
    for (unsigned i = 0; i < 2; i++) {
        uint64_t header = i ? VHDX_HEADER2_OFFSET : VHDX_HEADER1_OFFSET;
        seal_log(d, fuzz_get(d, (int64_t)header + VHDX_HEADER_LOG_OFFSET_OFF, 8, false));
    }
}

/* ---- parallels: MD5 of the extension's cluster behind its header ---- */

void seal_parallels(struct disk *d)
{
    enum { MOST = 1 << 20 };
    uint64_t ext = fuzz_get(d, PARALLELS_HEADER_EXT_OFF_OFF, 8, false) * 512;
    uint64_t cluster = fuzz_get(d, PARALLELS_HEADER_TRACKS_OFF, 4, false) * 512;
    uint64_t magic = ext < FUZZ_MAX_IMAGE ? fuzz_get(d, (int64_t)ext, 8, false) : 0;
    if (magic != PARALLELS_EXT_MAGIC || cluster <= PARALLELS_EXT_HEADER_SIZE || cluster > MOST) {
        return;
    }
    uint8_t *p = mem_alloc(cluster), digest[16];
    disk_read(d, (int64_t)ext, p, cluster);
    crypt_digest(HASH_MD5, p + PARALLELS_EXT_HEADER_SIZE, cluster - PARALLELS_EXT_HEADER_SIZE,
                 digest);
    disk_write(d, (int64_t)ext + PARALLELS_EXT_HEADER_CHECKSUM_OFF, digest, sizeof(digest));
    mem_free(p);
}
