/*
 * The metadata region of VHDX files, for the spec checker: the table, its items and what they say
 * of the disk.  User metadata are looked at for their place only.
 */
#include <string.h>

#include "specs/runtime/arith.h"
#include "specs/runtime/vhdx_check_int.h"

enum { FILE_PARAMETERS, DISK_SIZE, DISK_ID, LOGICAL, PHYSICAL, PARENT, NR_ITEMS };
static const struct {
    struct vhdx_guid id;
    uint32_t bytes; /* 0: any */
    const char *name;
} items[NR_ITEMS] = {
    {{0xcaa16737, 0xfa36, 0x4d43, {0xb3, 0xb6, 0x33, 0xf0, 0xaa, 0x44, 0xe7, 0x6b}},
     8,
     "file parameters"},
    {{0x2fa54224, 0xcd1b, 0x4876, {0xb2, 0x11, 0x5d, 0xbe, 0xd8, 0x3b, 0xf4, 0xb8}},
     8,
     "virtual disk size"},
    {{0xbeca12ab, 0xb2e6, 0x4523, {0x93, 0xef, 0xc3, 0x09, 0xe0, 0x00, 0xc7, 0x46}},
     16,
     "virtual disk id"},
    {{0x8141bf1d, 0xa96f, 0x4709, {0xba, 0x47, 0xf2, 0x33, 0xa8, 0xfa, 0xab, 0x5f}},
     4,
     "logical sector size"},
    {{0xcda348c7, 0x445d, 0x4471, {0x9c, 0xc9, 0xe9, 0x88, 0x52, 0x51, 0xc5, 0x56}},
     4,
     "physical sector size"},
    {{0xa8d35f2d, 0xb30b, 0x454d, {0xab, 0xf7, 0xd3, 0xd8, 0x48, 0x34, 0xab, 0x0c}},
     0,
     "parent locator"},
};

/* The item's bytes into value (at most 16 of them), where it is one that is known. */
static void take_item(struct vhdx_walk *v, const uint8_t *e, uint64_t at, bool *found,
                      uint8_t (*value)[16])
{
    uint64_t offset = vhdx_metadata_entry_get_offset(e), n = vhdx_metadata_entry_get_length(e);
    int which = 0;
    spec_walk_check(&v->s, "metadata_entry", e, at);
    if (spec_add(offset, n) > v->metadata_bytes) {
        vhdx_complain(v, "META-9", at, offset, n, "an item is not inside the metadata region");
        return;
    }
    while (which < NR_ITEMS && !vhdx_is_guid(e, &items[which].id)) {
        which++;
    }
    if (which == NR_ITEMS) {
        if (vhdx_metadata_entry_get_flags(e) & VHDX_META_REQUIRED) {
            vhdx_complain(v, "META-11", at, 0, 0, "a required item is not known");
        }
        return;
    }
    if (found[which] || (items[which].bytes && items[which].bytes != n)) {
        spec_report_add(v->s.r, "META-11", SPEC_CORRUPTION, at, n, items[which].bytes,
                        "item %s is there twice or has %llu bytes", items[which].name,
                        (unsigned long long)n);
        return;
    }
    found[which] = true;
    if (items[which].bytes) {
        spec_walk_get(&v->s, v->metadata + offset, value[which], items[which].bytes);
    }
}

/* META-10; the table's entries are in memory, at most 2047 of them. */
static void check_item_overlaps(struct vhdx_walk *v, const uint8_t *t, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++) {
        const uint8_t *a = t + VHDX_METADATA_TABLE_SIZE + i * VHDX_METADATA_ENTRY_SIZE;
        uint64_t start = vhdx_metadata_entry_get_offset(a);
        uint64_t end = start + vhdx_metadata_entry_get_length(a);
        for (uint64_t k = i + 1; k < n; k++) {
            const uint8_t *b = t + VHDX_METADATA_TABLE_SIZE + k * VHDX_METADATA_ENTRY_SIZE;
            uint64_t other = vhdx_metadata_entry_get_offset(b);
            if (start < other + vhdx_metadata_entry_get_length(b) && other < end) {
                vhdx_complain(v, "META-10", v->metadata + (uint64_t)(b - t), other, end,
                              "two metadata items overlap");
                return;
            }
        }
    }
}

static void judge_items(struct vhdx_walk *v, const bool *found, uint8_t (*value)[16])
{
    for (int i = 0; i < PARENT; i++) {
        if (!found[i]) {
            spec_report_add(v->s.r, "META-11", SPEC_CORRUPTION, v->metadata, 0, 0, "no item %s",
                            items[i].name);
            return;
        }
    }
    v->disk = load_le64(value[DISK_SIZE]);
    v->sector = load_le32(value[LOGICAL]);
    v->has_parent = vhdx_file_parameters_get_flags(value[FILE_PARAMETERS]) & VHDX_FILE_HAS_PARENT;
    if (v->has_parent != found[PARENT]) {
        vhdx_complain(v, "META-11", v->metadata, found[PARENT], v->has_parent,
                      "a differencing image, and no other, has a parent locator");
    }
    bool bad = spec_walk_check(&v->s, "file_parameters", value[FILE_PARAMETERS], v->metadata);
    if (v->sector != 512 && v->sector != 4096) {
        vhdx_complain(v, "META-8", v->metadata, v->sector, 512, "logical sectors of another size");
        bad = true;
    }
    if (v->disk > VHDX_MAX_DISK_SIZE || spec_mod(v->disk, v->sector)) {
        vhdx_complain(v, "META-7", v->metadata, v->disk, VHDX_MAX_DISK_SIZE, "the disk's size");
        bad = true;
    }
    if (!bad) {
        v->block = vhdx_file_parameters_get_block_size(value[FILE_PARAMETERS]);
        v->ratio = VHDX_CHUNK_SECTORS * v->sector / v->block;
    }
}

void vhdx_take_metadata(struct vhdx_walk *v, uint8_t *t)
{
    bool found[NR_ITEMS] = {false};
    uint8_t value[NR_ITEMS][16] = {0};
    if (!spec_walk_get(&v->s, v->metadata, t, VHDX_TABLE_BYTES) ||
        spec_walk_check(&v->s, "metadata_table", t, v->metadata)) {
        return;
    }
    uint64_t n = vhdx_metadata_table_get_entry_count(t);
    for (uint64_t i = 0; i < n; i++) {
        uint64_t at = VHDX_METADATA_TABLE_SIZE + i * VHDX_METADATA_ENTRY_SIZE;
        take_item(v, t + at, v->metadata + at, found, value);
    }
    check_item_overlaps(v, t, n);
    if (!v->s.error) {
        judge_items(v, found, value);
    }
}
