/*
 * Labels for requests whose reason is unknown.  See sim_classify.h.
 */
#include "harness/sim/sim_classify.h"

#include <string.h>
#include "ref/base/bytes.h"
#include "ref/base/mem.h"

#define SECTOR 512

struct range {
    int64_t start, end;
};

static bool touches(const struct range *r, int64_t offset, int64_t bytes)
{
    return offset < r->end && offset + bytes > r->start;
}

static uint64_t read_be64(const struct disk *d, int64_t offset)
{
    uint8_t buf[8];
    disk_read(d, offset, buf, sizeof(buf));
    return load_be64(buf);
}

static uint32_t read_be32(const struct disk *d, int64_t offset)
{
    uint8_t buf[4];
    disk_read(d, offset, buf, sizeof(buf));
    return load_be32(buf);
}

/* Does one of the table's n entries point to the cluster that holds the offset? */
static bool pointed_to(const struct disk *d, int64_t table, uint64_t n, int64_t cluster,
                       int64_t offset)
{
    const uint64_t mask = 0x00fffffffffffe00;
    for (uint64_t i = 0; i < MIN(n, 4096); i++) {
        uint64_t at = read_be64(d, table + (int64_t)i * 8) & mask;
        if (at && (int64_t)at == ROUND_DOWN(offset, cluster)) {
            return true;
        }
    }
    return false;
}

/* Positions: docs/interop/qcow2.txt, "Header". */
static enum label qcow2_place(const struct disk *d, bool write, int64_t offset, int64_t bytes)
{
    uint32_t bits = read_be32(d, 20);
    if (read_be32(d, 0) != 0x514649fb || bits < 9 || bits > 21) {
        return LABEL_NONE;
    }
    int64_t cluster = 1LL << bits;
    uint32_t l1_size = read_be32(d, 36), table_clusters = read_be32(d, 56);
    int64_t l1 = (int64_t)(read_be64(d, 40) & INT64_MAX),
            table = (int64_t)(read_be64(d, 48) & INT64_MAX);
    struct range header = {0, cluster}, l1_range = {l1, l1 + (int64_t)l1_size * 8};
    if (l1 > DISK_MAX / 2 || table > DISK_MAX / 2) {
        return LABEL_NONE;
    }
    struct range table_range = {table, table + (int64_t)table_clusters * cluster};
    if (touches(&header, offset, bytes)) {
        return write ? LABEL_HEADER_UPDATE : LABEL_HEADER_LOAD;
    }
    if (touches(&l1_range, offset, bytes)) {
        return write ? LABEL_L1_UPDATE : LABEL_TABLE_LOAD;
    }
    if (touches(&table_range, offset, bytes)) {
        return write ? LABEL_REFTABLE_UPDATE : LABEL_REFTABLE_LOAD;
    }
    if (pointed_to(d, l1, l1_size, cluster, offset)) {
        return write ? LABEL_L2_UPDATE : LABEL_L2_LOAD;
    }
    if (pointed_to(d, table, (uint64_t)table_clusters * (uint64_t)cluster / 8, cluster, offset)) {
        return write ? LABEL_REFBLOCK_UPDATE : LABEL_REFBLOCK_LOAD;
    }
    return LABEL_NONE;
}

static bool uniform_sectors(int64_t offset, int64_t bytes, const uint8_t *data)
{
    for (int64_t done = 0; done < bytes;) {
        int64_t n = MIN(bytes - done, SECTOR - (offset + done) % SECTOR);
        if (n > 1 && memcmp(data + done, data + done + 1, (size_t)n - 1)) {
            return false;
        }
        done += n;
    }
    return true;
}

enum label sim_classify(const struct disk *d, const char *format, bool write, int64_t offset,
                        int64_t bytes, const void *data)
{
    enum label l = LABEL_NONE;
    if (format && !strcmp(format, "qcow2")) {
        l = qcow2_place(d, write, offset, bytes);
    } else if (format && strcmp(format, "raw") && offset < SECTOR) {
        l = write ? LABEL_HEADER_UPDATE : LABEL_HEADER_LOAD;
    }
    if (l == LABEL_NONE && write && data && !uniform_sectors(offset, bytes, data)) {
        l = LABEL_TABLE_UPDATE;
    }
    return l;
}
