/*
 * Grain directories and grain tables (specs/vmdk.yaml, GD and GT): from places of an extent to
 * places of its file, and linking new grains.
 *
 * Order of writes: a new table with its entries is stable before the directory names it; of an
 * entry the redundant copy is written first, readers go by the other.  Leaves out: giving grains
 * back, which the format cannot.
 */
#include "ref/format/vmdk/vmdk.h"

#include <assert.h>
#include <errno.h>

#define MAX_PAGES 32 /* of a grain table, in one answer */

static struct table_ref directory(const struct vmdk_extent *e, uint64_t offset)
{
    return (struct table_ref){offset, e->gd_entries * e->tables->width, LABEL_TABLE_LOAD,
                              LABEL_L1_UPDATE};
}

static struct table_ref grain_table(const struct vmdk_extent *e, uint64_t offset)
{
    return (struct table_ref){offset, (uint64_t)e->gt_entries * e->tables->width, LABEL_L2_LOAD,
                              LABEL_L2_UPDATE};
}

struct vmdk_piece vmdk_piece_at(struct vmdk *s, uint64_t offset, uint64_t bytes)
{
    uint64_t sector = offset / VMDK_SECTOR;
    unsigned low = 0, high = s->nr_extents;
    assert(s->nr_extents > 0);
    while (high - low > 1) {
        unsigned mid = low + (high - low) / 2;
        if (s->extents[mid].first <= sector) {
            low = mid;
        } else {
            high = mid;
        }
    }
    struct vmdk_extent *e = &s->extents[low];
    uint64_t in = offset - e->first * VMDK_SECTOR;
    assert(in < e->sectors * VMDK_SECTOR);
    return (struct vmdk_piece){e, in, MIN(bytes, e->sectors * VMDK_SECTOR - in)};
}

/* The table that directory entry `index` names, as a place in the file; 0: none. */
static int find_table(struct vmdk_extent *e, uint64_t gd, uint64_t index, uint64_t *table,
                      const struct request *r)
{
    const uint8_t *p;
    unsigned n;
    *table = 0;
    if (index >= e->gd_entries) {
        return 0; /* the directory is shorter than the disk */
    }
    struct table_ref ref = directory(e, gd);
    int ret = table_load(e->tables, &ref, index, &p, &n, r);
    if (ret < 0) {
        return ret;
    }
    if (e->kind != VMDK_SESPARSE) {
        *table = (uint64_t)vmdk_gd_entry_get_sector(p) * VMDK_SECTOR;
        return 0;
    }
    uint64_t v = load_le64(p);
    if (v == 0) {
        return 0;
    }
    if (vmdk_se_gd_entry_tag_of(v) != 0x10000000 || vmdk_se_gd_entry_table_of(v) >= e->gd_entries) {
        return -EIO;
    }
    *table = e->gt_base + vmdk_se_gd_entry_table_of(v) * VMDK_SE_GTES * VMDK_SE_GT_ENTRY_SIZE;
    return 0;
}

/* What one entry says. */
static int decode(const struct vmdk_extent *e, const uint8_t *p, struct vmdk_map *m)
{
    m->host = 0;
    if (e->kind != VMDK_SESPARSE) {
        uint64_t sector = vmdk_gt_entry_get_sector(p);
        m->type = sector == 0                                     ? VMDK_UNALLOCATED
                  : sector == VMDK_GTE_ZEROED && e->zeroed_grains ? VMDK_ZEROED
                                                                  : VMDK_DATA;
        m->host = sector * VMDK_SECTOR;
        return 0;
    }
    uint64_t v = load_le64(p), number;
    switch (vmdk_se_gt_entry_type_of(v)) {
    case VMDK_SE_GRAIN_UNALLOCATED:
        m->type = VMDK_UNALLOCATED;
        return v == 0 ? 0 : -EIO;
    case VMDK_SE_GRAIN_UNMAPPED:
    case VMDK_SE_GRAIN_ZEROED:
        m->type = VMDK_ZEROED;
        return 0;
    case VMDK_SE_GRAIN_ALLOCATED:
        number = vmdk_se_gt_entry_high_of(v) | vmdk_se_gt_entry_low_of(v) << 12;
        m->type = VMDK_DATA;
        m->host = e->grain_base + number * e->grain;
        return number > (uint64_t)INT64_MAX / 4 / e->grain ? -EIO : 0;
    default:
        return -EIO;
    }
}

/* How many grains from index on, at most max, go on as the first one, *m, began. */
static int count_same(struct vmdk_extent *e, const struct table_ref *t, uint64_t index,
                      uint64_t max, struct vmdk_map *m, uint64_t *n, const struct request *r)
{
    const uint8_t *p;
    unsigned have;
    *n = 0;
    for (unsigned pages = 0; pages < MAX_PAGES && *n < max && index + *n < e->gt_entries; pages++) {
        int ret = table_load(e->tables, t, index + *n, &p, &have, r);
        if (ret < 0) {
            return ret;
        }
        for (unsigned i = 0; i < have && *n < max; i++) {
            struct vmdk_map here;
            ret = decode(e, p + (size_t)i * e->tables->width, *n ? &here : m);
            if (ret < 0 && *n == 0) {
                return ret;
            }
            bool data = m->type == VMDK_DATA;
            if (*n && (ret < 0 || here.type != m->type || (data && e->compressed) ||
                       (data && here.host != m->host + *n * e->grain))) {
                return 0;
            }
            ++*n;
        }
    }
    return 0;
}

static int find_locked(struct vmdk_extent *e, uint64_t offset, uint64_t bytes, struct vmdk_map *m,
                       const struct request *r)
{
    uint64_t grain = offset / e->grain, in_grain = offset % e->grain, grains;
    uint64_t index = grain % e->gt_entries;
    *m = (struct vmdk_map){.type = VMDK_UNALLOCATED};
    int ret = find_table(e, e->gd_offset, grain / e->gt_entries, &m->gt, r);
    if (ret < 0) {
        return ret;
    }
    if (m->gt == 0) {
        /* The directory is shorter than the disk: there is nothing more. */
        bool none = grain / e->gt_entries >= e->gd_entries;
        grains = none ? bytes / e->grain + 2 : e->gt_entries - index;
    } else {
        struct table_ref t = grain_table(e, m->gt);
        ret = count_same(e, &t, index, (in_grain + bytes - 1) / e->grain + 1, m, &grains, r);
    }
    if (ret == 0 && e->redundant) {
        ret = find_table(e, e->rgd_offset, grain / e->gt_entries, &m->rgt, r);
    }
    if (ret < 0) {
        return ret;
    }
    m->bytes = MIN(bytes, grains * e->grain - in_grain);
    m->host += m->type == VMDK_DATA && !e->compressed ? in_grain : 0;
    return 0;
}

int vmdk_find(struct vmdk *s, struct vmdk_extent *e, uint64_t offset, uint64_t bytes,
              struct vmdk_map *m, const struct request *r)
{
    assert(bytes > 0);
    if (e->kind == VMDK_FLAT) {
        *m = (struct vmdk_map){VMDK_DATA, bytes, e->flat_offset + offset, 0, 0};
        return 0;
    }
    co_lock(s->w, &s->lock);
    int ret = find_locked(e, offset, bytes, m, r);
    co_unlock(s->w, &s->lock);
    return ret;
}

/* ---- linking ---- */

/* What the footer says, the header says from now on; where the descriptor is, only the header did.
 */
int vmdk_settle(struct vmdk_extent *e, const struct request *r)
{
    uint8_t old[VMDK_HEADER_SIZE], h[VMDK_HEADER_SIZE];
    const size_t at = VMDK_HEADER_DESCRIPTOR_OFFSET_OFF, end = VMDK_HEADER_GTES_PER_GT_OFF;
    if (!e->gd_in_footer) {
        return 0;
    }
    int ret = child_pread(e->file, 0, old, sizeof(old), LABEL_HEADER_LOAD, r);
    ret = ret < 0 ? ret : vmdk_load_footer(e, h, NULL);
    if (ret == 0) {
        memcpy(h + at, old + at, end - at);
        ret = child_pwrite_sync(e->file, 0, h, sizeof(h), LABEL_HEADER_UPDATE, r);
    }
    e->gd_in_footer = ret < 0;
    return ret;
}

/* Room for a new table at the end of the file, with its marker where the extent has them. */
static int reserve_table(struct vmdk_extent *e, uint64_t *table, const struct request *r)
{
    uint8_t marker[VMDK_SECTOR] = {0};
    uint64_t head = e->markers ? VMDK_SECTOR : 0;
    uint64_t bytes = ROUND_UP((uint64_t)e->gt_entries * VMDK_GT_ENTRY_SIZE, VMDK_SECTOR);
    if ((e->next + head + bytes) / VMDK_SECTOR > UINT32_MAX) {
        return -EFBIG;
    }
    *table = e->next + head;
    e->next += e->compressed ? head + bytes : ROUND_UP(head + bytes, e->grain);
    vmdk_marker_set_value(marker, bytes / VMDK_SECTOR);
    vmdk_marker_set_type(marker, VMDK_MARKER_GT);
    return head ? child_pwrite(e->file, (int64_t)(*table - head), marker, sizeof(marker),
                               LABEL_TABLE_GROW, r)
                : 0;
}

/* Entries into one copy of a table, which is made where it is missing. */
static int link_copy(struct vmdk_extent *e, uint64_t gd, uint64_t table, uint64_t grain,
                     const uint8_t *entries, unsigned n, const struct request *r)
{
    bool fresh = table == 0;
    int ret = fresh ? reserve_table(e, &table, r) : 0;
    struct table_ref t = grain_table(e, table);
    if (ret == 0 && fresh) {
        ret = table_clear(e->tables, &t, r);
    }
    ret = ret < 0 ? ret : table_store(e->tables, &t, grain % e->gt_entries, entries, n, r);
    if (ret < 0 || !fresh) {
        return ret;
    }
    uint8_t entry[VMDK_GD_ENTRY_SIZE];
    struct table_ref d = directory(e, gd);
    vmdk_gd_entry_set_sector(entry, (uint32_t)(table / VMDK_SECTOR));
    ret = child_flush(e->file, r);
    return ret < 0 ? ret : table_store(e->tables, &d, grain / e->gt_entries, entry, 1, r);
}

int vmdk_link(struct vmdk *s, struct vmdk_extent *e, uint64_t offset, unsigned n, uint32_t sector,
              uint32_t step, const struct vmdk_map *m, const struct request *r)
{
    uint8_t entries[TABLE_PAGE];
    uint64_t grain = offset / e->grain;
    assert(n > 0 && n <= TABLE_PAGE / VMDK_GT_ENTRY_SIZE && e->kind != VMDK_SESPARSE);
    if (grain / e->gt_entries >= e->gd_entries) {
        return -EINVAL; /* the directory is too short */
    }
    for (unsigned i = 0; i < n; i++) {
        vmdk_gt_entry_set_sector(entries + (size_t)i * VMDK_GT_ENTRY_SIZE, sector + i * step);
    }
    co_lock(s->w, &s->lock);
    int ret = e->redundant ? link_copy(e, e->rgd_offset, m->rgt, grain, entries, n, r) : 0;
    ret = ret < 0 ? ret : link_copy(e, e->gd_offset, m->gt, grain, entries, n, r);
    co_unlock(s->w, &s->lock);
    return ret;
}

int vmdk_block_status(struct node *n, bool precise, int64_t offset, int64_t bytes,
                      struct status *out)
{
    struct vmdk *s = vmdk_state(n);
    struct vmdk_map m;
    struct vmdk_piece p = vmdk_piece_at(s, (uint64_t)offset, (uint64_t)bytes);
    int ret = vmdk_find(s, p.e, p.offset, p.bytes, &m, NULL);
    if (ret < 0) {
        return ret;
    }
    *out = (struct status){.bytes = (int64_t)m.bytes};
    if (m.type == VMDK_ZEROED) {
        out->flags = STATUS_ZERO | STATUS_ALLOCATED;
    } else if (m.type == VMDK_DATA && p.e->compressed) {
        out->flags = STATUS_DATA | STATUS_ALLOCATED | STATUS_COMPRESSED;
    } else if (m.type == VMDK_DATA) {
        out->flags = STATUS_DATA | STATUS_ALLOCATED | STATUS_OFFSET_VALID |
                     (p.e->kind == VMDK_FLAT ? STATUS_RECURSE : 0);
        out->map = (int64_t)m.host;
        out->file = p.e->file->node;
    }
    return 0;
}
