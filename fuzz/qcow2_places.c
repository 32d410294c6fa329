/*
 * Where a qcow2 image's metadata lies, as the disk has it just now; and whether guest data was put
 * there.
 *
 * A reading of its own, by the positions of the layout alone: header, L1 and L2 tables, refcount
 * table and blocks.  Leaves out: snapshots' tables (an old L2 table may be data by now) and
 * bitmaps.
 */
#include "fuzz/fuzz_image.h"
#include "ref/base/bytes.h"
#include "specs/qcow2_layout.h"

#define ENTRIES_MAX   4096
#define L1_MASK       UINT64_C(0x00fffffffffffe00)
#define REFTABLE_MASK UINT64_C(0xfffffffffffffe00)

static bool meets(int64_t offset, int64_t bytes, uint64_t start, uint64_t len)
{
    uint64_t from = (uint64_t)offset, end = from + (uint64_t)bytes;
    return start < end && from < start + len;
}

/* The table itself, or what its entries point at. */
static const char *table_meets(const struct disk *d, uint64_t at, uint64_t entries, uint64_t mask,
                               uint64_t cluster, int64_t offset, int64_t bytes, const char *table,
                               const char *entry)
{
    if (at == 0 || at > DISK_MAX || entries > ENTRIES_MAX) {
        return NULL;
    }
    if (meets(offset, bytes, at, entries * 8)) {
        return table;
    }
    for (uint64_t i = 0; i < entries; i++) {
        uint8_t raw[8];
        disk_read(d, (int64_t)(at + i * 8), raw, sizeof(raw));
        uint64_t to = load_be64(raw) & mask;
        if (to && meets(offset, bytes, to, cluster)) {
            return entry;
        }
    }
    return NULL;
}

const char *fuzz_metadata_at(const struct disk *d, int64_t offset, int64_t bytes)
{
    uint8_t h[QCOW2_HEADER_V2_SIZE];
    disk_read(d, 0, h, sizeof(h));
    unsigned bits = qcow2_header_get_cluster_bits(h);
    if (qcow2_header_get_magic(h) != QCOW2_MAGIC || bits < 9 || bits > 21) {
        return NULL;
    }
    uint64_t cluster = UINT64_C(1) << bits;
    if (meets(offset, bytes, 0, cluster)) {
        return "the header";
    }
    const char *what =
        table_meets(d, qcow2_header_get_l1_table_offset(h), qcow2_header_get_l1_size(h), L1_MASK,
                    cluster, offset, bytes, "the L1 table", "an L2 table");
    return what ? what
                : table_meets(d, qcow2_header_get_refcount_table_offset(h),
                              ((uint64_t)qcow2_header_get_refcount_table_clusters(h) << bits) / 8,
                              REFTABLE_MASK, cluster, offset, bytes, "the refcount table",
                              "a refcount block");
}
