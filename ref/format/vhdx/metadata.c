/*
 * Region tables and metadata of VHDX files.
 *
 * Leaves out: user metadata, and parent locators (differencing images are refused).
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include "ref/base/bytes.h"
#include "ref/base/mem.h"
#include "ref/format/vhdx/vhdx.h"

/* GUIDs as they stand in files: the first three fields little-endian. */
const uint8_t vhdx_guid_bat[GUID_BYTES] = {0x66, 0x77, 0xc2, 0x2d, 0x23, 0xf6, 0x00, 0x42,
                                           0x9d, 0x64, 0x11, 0x5e, 0x9b, 0xfd, 0x4a, 0x08};
const uint8_t vhdx_guid_metadata[GUID_BYTES] = {0x06, 0xa2, 0x7c, 0x8b, 0x90, 0x47, 0x9a, 0x4b,
                                                0xb8, 0xfe, 0x57, 0x5f, 0x05, 0x0f, 0x88, 0x6e};
const uint8_t vhdx_item_file_parameters[GUID_BYTES] = {
    0x37, 0x67, 0xa1, 0xca, 0x36, 0xfa, 0x43, 0x4d, 0xb3, 0xb6, 0x33, 0xf0, 0xaa, 0x44, 0xe7, 0x6b};
const uint8_t vhdx_item_disk_size[GUID_BYTES] = {0x24, 0x42, 0xa5, 0x2f, 0x1b, 0xcd, 0x76, 0x48,
                                                 0xb2, 0x11, 0x5d, 0xbe, 0xd8, 0x3b, 0xf4, 0xb8};
const uint8_t vhdx_item_disk_id[GUID_BYTES] = {0xab, 0x12, 0xca, 0xbe, 0xe6, 0xb2, 0x23, 0x45,
                                               0x93, 0xef, 0xc3, 0x09, 0xe0, 0x00, 0xc7, 0x46};
const uint8_t vhdx_item_logical_sector[GUID_BYTES] = {
    0x1d, 0xbf, 0x41, 0x81, 0x6f, 0xa9, 0x09, 0x47, 0xba, 0x47, 0xf2, 0x33, 0xa8, 0xfa, 0xab, 0x5f};
const uint8_t vhdx_item_physical_sector[GUID_BYTES] = {
    0xc7, 0x48, 0xa3, 0xcd, 0x5d, 0x44, 0x71, 0x44, 0x9c, 0xc9, 0xe9, 0x88, 0x52, 0x51, 0xc5, 0x56};
const uint8_t vhdx_item_parent_locator[GUID_BYTES] = {
    0x2d, 0x5f, 0xd3, 0xa8, 0x0b, 0xb3, 0x4d, 0x45, 0xab, 0xf7, 0xd3, 0xd8, 0x48, 0x34, 0xab, 0x0c};

bool vhdx_overlaps(struct vhdx *s, struct vhdx_range r)
{
    const struct vhdx_range *all[] = {&s->log, &s->bat_region, &s->metadata};
    bool any = r.start < VHDX_ALIGN;
    for (size_t i = 0; i < ARRAY_SIZE(all) && !any; i++) {
        any = r.start < all[i]->end && all[i]->start < r.end;
        if (any) {
            world_report(s->n->w, REPORT_ERROR,
                         "VHDX region %" PRIu64 "-%" PRIu64 " overlaps with region %" PRIu64
                         "-%" PRIu64,
                         r.start, r.end, all[i]->start, all[i]->end);
        }
    }
    return any;
}

/* ---- regions ---- */

static int take_region(struct vhdx *s, const uint8_t *e, struct error **err)
{
    uint64_t at = vhdx_region_entry_get_file_offset(e), len = vhdx_region_entry_get_length(e);
    bool is_bat = !memcmp(e, vhdx_guid_bat, GUID_BYTES);
    bool is_metadata = !memcmp(e, vhdx_guid_metadata, GUID_BYTES);
    struct vhdx_range r = {at, at + len}, *to = is_bat ? &s->bat_region : &s->metadata;
    if (at < VHDX_ALIGN || !IS_ALIGNED(at | len, VHDX_ALIGN) || len == 0 || at > INT64_MAX - len) {
        return error_set(err, EINVAL, "VHDX region 0x%" PRIx64 "+0x%" PRIx64 " is not valid", at,
                         len);
    }
    if (vhdx_overlaps(s, r)) {
        return error_set(err, EINVAL, "VHDX regions overlap");
    }
    if (!is_bat && !is_metadata) {
        return vhdx_region_entry_get_flags(e) & 1
                   ? error_set(err, ENOTSUP, "A VHDX region that is required is not known")
                   : 0;
    }
    if (to->end) {
        return error_set(err, EINVAL, "VHDX region table names a region twice");
    }
    *to = r;
    return 0;
}

static bool table_valid(const uint8_t *t)
{
    return vhdx_region_table_get_signature(t) == VHDX_REGION_SIGNATURE &&
           vhdx_sealed(t, VHDX_TABLE_BYTES) &&
           vhdx_region_table_get_entry_count(t) <= VHDX_MAX_ENTRIES;
}

/* The second table stands in for a damaged first one. */
static int load_table(struct vhdx *s, uint8_t *t, struct error **err)
{
    static const uint32_t places[2] = {VHDX_REGION1_OFFSET, VHDX_REGION2_OFFSET};
    int failed = 0;
    for (int i = 0; i < 2; i++) {
        int ret = child_pread(s->n->file, places[i], t, VHDX_TABLE_BYTES, LABEL_TABLE_LOAD, NULL);
        if (ret == 0 && table_valid(t)) {
            return 0;
        }
        failed = ret < 0 ? ret : failed;
    }
    return failed ? error_set_errno(err, -failed, "Could not read a VHDX region table")
                  : error_set(err, EINVAL, "No valid VHDX region table found");
}

int vhdx_read_regions(struct vhdx *s, struct error **err)
{
    uint8_t *t = mem_alloc(VHDX_TABLE_BYTES);
    s->bat_region = s->metadata = (struct vhdx_range){0, 0};
    int ret = load_table(s, t, err);
    uint32_t n = ret < 0 ? 0 : (uint32_t)vhdx_region_table_get_entry_count(t);
    for (uint32_t i = 0; i < n && ret == 0; i++) {
        const uint8_t *e = t + VHDX_REGION_TABLE_SIZE + (size_t)i * VHDX_REGION_ENTRY_SIZE;
        /* Trailing entries of nothing are passed over. */
        ret = buf_is_zero(e, VHDX_REGION_ENTRY_SIZE) ? 0 : take_region(s, e, err);
    }
    if (ret == 0 && (!s->bat_region.end || !s->metadata.end)) {
        ret = error_set(err, EINVAL, "VHDX region table lacks the BAT or the metadata");
    }
    mem_free(t);
    return ret;
}

/* ---- metadata ---- */

struct item {
    const uint8_t *id;
    uint32_t length;
    uint8_t data[16];
    bool found;
};

/* Reads one item, when it is one that we know. */
static int take_item(struct vhdx *s, const uint8_t *e, struct item *items, size_t n,
                     struct error **err)
{
    uint32_t at = (uint32_t)vhdx_metadata_entry_get_offset(e),
             len = (uint32_t)vhdx_metadata_entry_get_length(e);
    uint64_t end = s->metadata.end - s->metadata.start;
    for (size_t i = 0; i < n; i++) {
        if (memcmp(e, items[i].id, GUID_BYTES)) {
            continue;
        }
        if (items[i].found) {
            return error_set(err, EINVAL, "VHDX metadata has an item twice");
        }
        if (at < VHDX_TABLE_BYTES || items[i].length > len || at > end - items[i].length) {
            return error_set(err, EINVAL, "VHDX metadata item at 0x%x is not valid", at);
        }
        items[i].found = true;
        int ret = child_pread(s->n->file, (int64_t)(s->metadata.start + at), items[i].data,
                              items[i].length, LABEL_HEADER_LOAD, NULL);
        return ret < 0 ? error_set_errno(err, -ret, "Could not read VHDX metadata") : 0;
    }
    bool ours = !memcmp(e, vhdx_item_parent_locator, GUID_BYTES);
    if (!ours && vhdx_metadata_entry_get_flags(e) & VHDX_META_REQUIRED) {
        return error_set(err, ENOTSUP, "A VHDX metadata item that is required is not known");
    }
    return 0;
}

static int check_disk(struct vhdx *s, struct error **err)
{
    if (s->flags & VHDX_FILE_HAS_PARENT) {
        return error_set(err, ENOTSUP, "VHDX differencing images are not supported");
    }
    if (s->logical_sector != 512 && s->logical_sector != 4096) {
        return error_set(err, ENOTSUP, "VHDX logical sector size %u is not supported",
                         s->logical_sector);
    }
    if (s->block_size < VHDX_ALIGN || s->block_size > VHDX_MAX_BLOCK_SIZE ||
        !IS_POW2(s->block_size)) {
        return error_set(err, EINVAL, "VHDX block size %u is not valid", s->block_size);
    }
    if (s->size > VHDX_MAX_DISK_SIZE || !IS_ALIGNED(s->size, s->logical_sector)) {
        return error_set(err, EINVAL, "VHDX disk size %" PRIu64 " is not valid", s->size);
    }
    s->chunk_ratio = (uint32_t)((uint64_t)VHDX_CHUNK_SECTORS * s->logical_sector / s->block_size);
    s->blocks = DIV_ROUND_UP(s->size, s->block_size);
    uint64_t entries = vhdx_bat_entries(s);
    s->bat = (struct table_ref){s->bat_region.start, s->bat_region.end - s->bat_region.start,
                                LABEL_TABLE_LOAD, LABEL_TABLE_UPDATE};
    if (entries > s->bat.bytes / VHDX_BAT_ENTRY_SIZE) {
        return error_set(err, EINVAL, "VHDX BAT has no room for %" PRIu64 " entries", entries);
    }
    return 0;
}

int vhdx_read_metadata(struct vhdx *s, struct error **err)
{
    struct item items[] = {
        {vhdx_item_file_parameters, 8, {0}, false}, {vhdx_item_disk_size, 8, {0}, false},
        {vhdx_item_disk_id, 16, {0}, false},        {vhdx_item_logical_sector, 4, {0}, false},
        {vhdx_item_physical_sector, 4, {0}, false},
    };
    uint8_t *t = mem_alloc(VHDX_TABLE_BYTES);
    int ret = child_pread(s->n->file, (int64_t)s->metadata.start, t, VHDX_TABLE_BYTES,
                          LABEL_TABLE_LOAD, NULL);
    uint32_t n = ret < 0 ? 0 : (uint32_t)vhdx_metadata_table_get_entry_count(t);
    if (ret < 0) {
        error_set_errno(err, -ret, "Could not read VHDX metadata");
    } else if (vhdx_metadata_table_get_signature(t) != VHDX_METADATA_SIGNATURE ||
               n > VHDX_MAX_ENTRIES) {
        ret = error_set(err, EINVAL, "VHDX metadata table is not valid");
    }
    for (uint32_t i = 0; i < n && ret == 0; i++) {
        ret = take_item(s, t + VHDX_METADATA_TABLE_SIZE + (size_t)i * VHDX_METADATA_ENTRY_SIZE,
                        items, ARRAY_SIZE(items), err);
    }
    mem_free(t);
    for (size_t i = 0; i < ARRAY_SIZE(items) && ret == 0; i++) {
        if (!items[i].found) {
            ret = error_set(err, ENOTSUP, "VHDX metadata lacks an item that is required");
        }
    }
    if (ret < 0) {
        return ret;
    }
    s->block_size = (uint32_t)vhdx_file_parameters_get_block_size(items[0].data);
    s->flags = (uint32_t)vhdx_file_parameters_get_flags(items[0].data);
    s->size = load_le64(items[1].data);
    s->logical_sector = load_le32(items[3].data);
    s->physical_sector = load_le32(items[4].data);
    return check_disk(s, err);
}
