/*
 * The BAT of a parallels image: held in memory, as far as the file has it.
 *
 * Models: where a cluster is, and how a changed entry gets into the file.  Write-through (profile
 * reference): with the sector of the entry, at once.  Write-back (profiles with a metadata cache):
 * the sector is dirty until a flush, and neighbours are written together.  Nothing orders entries
 * and data between two flushes (specs/parallels.yaml, promise: allocating); where something must be
 * there before the entry, one flush before the first dirty sector does it for all of them.
 */
#include <assert.h>
#include "ref/base/bitmap.h"
#include "ref/base/mem.h"
#include "ref/format/parallels/parallels.h"

static uint8_t *entry_at(const struct parallels *s, uint64_t i)
{
    assert(i < s->loaded);
    return s->meta + PARALLELS_HEADER_SIZE + i * PARALLELS_BAT_ENTRY_SIZE;
}

int64_t parallels_host(const struct parallels *s, uint64_t i)
{
    return i < s->loaded ? (int64_t)parallels_bat_entry_get_offset(entry_at(s, i)) * s->unit : 0;
}

void parallels_set_host(struct parallels *s, uint64_t i, int64_t host)
{
    assert(host % s->unit == 0 && host / s->unit <= UINT32_MAX);
    parallels_bat_entry_set_offset(entry_at(s, i), (uint32_t)(host / s->unit));
}

void parallels_find_end(struct parallels *s)
{
    s->data_end = s->data_start;
    for (uint32_t i = 0; i < s->loaded; i++) {
        int64_t host = parallels_host(s, i);
        s->data_end = host ? MAX(s->data_end, host + s->cluster) : s->data_end;
    }
    if (s->has_ext) {
        int64_t end = parallels_ext_end(s);
        s->data_end = MAX(s->data_end, end);
        s->data_end = ROUND_UP(s->data_end, s->unit); /* the extension may lie anywhere */
    }
}

/* ---- into the file ---- */

static uint64_t sector_of(const struct parallels *s, uint64_t i)
{
    return (uint64_t)(entry_at(s, i) - s->meta) / SECTOR;
}

static int write_sectors(struct parallels *s, uint64_t first, uint64_t end, enum label label,
                         const struct request *r)
{
    int64_t at = (int64_t)first * SECTOR;
    return child_pwrite(s->n->file, at, s->meta + at, (int64_t)(end - first) * SECTOR, label, r);
}

int parallels_write_entry(struct parallels *s, uint64_t i, enum label label,
                          const struct request *r)
{
    return write_sectors(s, sector_of(s, i), sector_of(s, i) + 1, label, r);
}

bool parallels_init_dirty(struct parallels *s)
{
    s->sectors = DIV_ROUND_UP(
        PARALLELS_HEADER_SIZE + (uint64_t)s->loaded * PARALLELS_BAT_ENTRY_SIZE, (uint64_t)SECTOR);
    s->data_first = false;
    if (world_profile(s->n->w)->metadata_cache) {
        s->dirty = mem_try_zalloc(bitmap_words(s->sectors) * sizeof(uint64_t));
        return s->dirty;
    }
    return true;
}

/* Others may write to the cluster as soon as the entry stands in memory: not before it is certain.
 */
static int write_through(struct parallels *s, uint64_t i, int64_t host, const struct request *r)
{
    uint8_t sector[SECTOR];
    int64_t at = (int64_t)sector_of(s, i) * SECTOR;
    memcpy(sector, s->meta + at, SECTOR);
    parallels_bat_entry_set_offset(sector + (entry_at(s, i) - (s->meta + at)),
                                   (uint32_t)(host / s->unit));
    int ret = child_pwrite(s->n->file, at, sector, SECTOR, LABEL_TABLE_UPDATE, r);
    if (ret == 0) {
        parallels_set_host(s, i, host);
    }
    return ret;
}

int parallels_enter(struct parallels *s, uint64_t i, uint64_t n, int64_t host,
                    const struct request *r)
{
    int ret = 0;
    for (uint64_t k = 0; ret == 0 && k < n; k++, host += s->cluster) {
        if (s->dirty) {
            parallels_set_host(s, i + k, host);
            bitmap_set1(s->dirty, sector_of(s, i + k));
        } else {
            ret = write_through(s, i + k, host, r);
        }
    }
    return ret;
}

int parallels_order_data(struct parallels *s, const struct request *r)
{
    int ret = s->data_first ? child_flush(s->n->file, r) : 0;
    s->data_first = s->data_first && ret < 0;
    return ret;
}

int parallels_write_back(struct parallels *s, const struct request *r)
{
    uint64_t first = s->dirty ? bitmap_next_set(s->dirty, s->sectors, 0) : s->sectors, end;
    int ret = first < s->sectors ? parallels_order_data(s, r) : 0;
    for (; ret == 0 && first < s->sectors; first = bitmap_next_set(s->dirty, s->sectors, end)) {
        end = bitmap_next_clear(s->dirty, s->sectors, first);
        ret = write_sectors(s, first, end, LABEL_TABLE_UPDATE, r);
        if (ret == 0) {
            bitmap_clear(s->dirty, first, end - first);
        }
    }
    return ret;
}
