/*
 * Planted defects: a leaked cluster, written straight into the image's first refcount block.
 *
 * Reads field positions from the generated layout.  Leaves out: refcount blocks beyond the first.
 */
#include "harness/subject/plant.h"

#include <stdio.h>
#include <string.h>
#include "ref/base/bytes.h"
#include "ref/base/mem.h"
#include "specs/qcow2_layout.h"

static uint64_t get(const struct disk *d, int64_t offset, unsigned width)
{
    uint8_t raw[8];
    disk_read(d, offset, raw, width);
    return load_uint(raw, width, 1);
}

/* Entries below a byte fill it from the least significant bit up. */
static bool raise_entry(struct disk *d, int64_t block, uint64_t index, unsigned order)
{
    unsigned bits = 1u << order, width = MAX(bits / 8, 1);
    int64_t at = block + (int64_t)(index * bits / 8);
    unsigned shift = bits < 8 ? (unsigned)(index * bits % 8) : 0;
    uint64_t value = get(d, at, width), mask = bits < 8 ? (1u << bits) - 1 : UINT64_MAX;
    if (value >> shift & mask) {
        return false;
    }
    uint8_t raw[8];
    store_uint(raw, width, 1, value + (1ull << shift));
    disk_write(d, at, raw, width);
    return true;
}

void plant_leak(struct disk *d)
{
    uint8_t magic[4];
    disk_read(d, 0, magic, sizeof(magic));
    if (memcmp(magic, "QFI\xfb", 4)) {
        return;
    }
    unsigned cluster_bits = (unsigned)get(d, QCOW2_HEADER_CLUSTER_BITS_OFF, 4);
    unsigned order = get(d, QCOW2_HEADER_VERSION_OFF, 4) < 3
                         ? 4
                         : (unsigned)get(d, QCOW2_HEADER_REFCOUNT_ORDER_OFF, 4);
    int64_t block = (int64_t)get(d, (int64_t)get(d, QCOW2_HEADER_REFCOUNT_TABLE_OFFSET_OFF, 8), 8);
    uint64_t entries = (8ull << cluster_bits) >> order;
    for (uint64_t i = 0; i < entries; i++) {
        if (raise_entry(d, block, i, order)) {
            int64_t end = (int64_t)((i + 1) << cluster_bits);
            if (disk_size(d) < end) {
                disk_truncate(d, end);
            }
            return;
        }
    }
}

void plant_leak_file(const char *path)
{
    struct disk_pool *pool = disk_pool_new(0);
    struct disk *d = disk_new(pool, 0);
    uint8_t buf[DISK_PAGE];
    int64_t at = 0;
    size_t n;
    FILE *f = fopen(path, "r+b");
    while (f && (n = fread(buf, 1, sizeof(buf), f)) > 0) {
        disk_write(d, at, buf, n);
        at += (int64_t)n;
    }
    plant_leak(d);
    for (int64_t done = 0; f && done < disk_size(d); done += (int64_t)n) {
        n = (size_t)MIN((int64_t)sizeof(buf), disk_size(d) - done);
        disk_read(d, done, buf, n);
        fseek(f, done, SEEK_SET);
        fwrite(buf, 1, n, f);
    }
    if (f) {
        fclose(f);
    }
    disk_free(d);
    disk_pool_free(pool);
}
