/*
 * Where an image has its structures and tables, by what its own fields say just now.
 *
 * For mutations: what a damaged image no longer says is left out.  The first few of each kind are
 * enough; the rest is met by mutations of words.
 */
#include <string.h>
#include "fuzz/seeds_int.h"
#include "ref/base/bytes.h"
#include "ref/base/mem.h"
#include "specs/bochs_layout.h"
#include "specs/cloop_layout.h"
#include "specs/dmg_layout.h"
#include "specs/luks_layout.h"
#include "specs/parallels_layout.h"
#include "specs/qcow2_layout.h"
#include "specs/qcow_layout.h"
#include "specs/qed_layout.h"
#include "specs/vdi_layout.h"
#include "specs/vhdx_layout.h"
#include "specs/vmdk_layout.h"
#include "specs/vpc_layout.h"

enum { SECTOR = 512, FEW = 4 };

static bool inside(const struct disk *d, uint64_t at)
{
    return at < (uint64_t)disk_size(d);
}

uint64_t fuzz_get(const struct disk *d, int64_t at, unsigned width, bool big_endian)
{
    uint8_t raw[8] = {0};
    if (at >= 0 && inside(d, (uint64_t)at)) {
        disk_read(d, at, raw, width);
    }
    return load_uint(raw, width, big_endian);
}

int fuzz_put(struct disk *d, int64_t at, unsigned width, bool big_endian, uint64_t v)
{
    uint8_t raw[8];
    store_uint(raw, width, big_endian, v);
    return disk_write(d, at, raw, width);
}

static uint64_t be(const struct disk *d, uint64_t at, unsigned width)
{
    return fuzz_get(d, (int64_t)at, width, true);
}

static uint64_t le(const struct disk *d, uint64_t at, unsigned width)
{
    return fuzz_get(d, (int64_t)at, width, false);
}

static void place(const struct disk *d, struct fuzz_layout *l, const char *structure, uint64_t at)
{
    if (l->places < FUZZ_MAX_PLACES && inside(d, at)) {
        l->place[l->places++] = (struct fuzz_place){structure, (int64_t)at};
    }
}

static void table(const struct disk *d, struct fuzz_layout *l, uint64_t at, struct fuzz_table t)
{
    if (l->tables < FUZZ_MAX_PLACES && inside(d, at) && at > 0 && t.n > 0) {
        t.at = (int64_t)at;
        l->table[l->tables++] = t;
    }
}

/* Two levels of 8-byte entries; those of the first are places of the second. */
static void two_levels(const struct disk *d, struct fuzz_layout *l, uint64_t at, uint64_t n,
                       uint64_t mask, uint64_t below, bool big)
{
    struct fuzz_table t = {.width = 8, .unit = 1, .big_endian = big, .n = n};
    table(d, l, at, t);
    for (uint64_t i = 0; i < MIN(n, FEW) && inside(d, at); i++) {
        t.n = below;
        table(d, l, fuzz_get(d, (int64_t)(at + 8 * i), 8, big) & mask, t);
    }
}

void layout_qcow2(const struct disk *d, struct fuzz_layout *l)
{
    const uint64_t mask = UINT64_C(0x00fffffffffffe00);
    uint64_t cluster = UINT64_C(1) << (be(d, QCOW2_HEADER_CLUSTER_BITS_OFF, 4) & 31);
    uint64_t snapshots = be(d, QCOW2_HEADER_SNAPSHOTS_OFFSET_OFF, 8);
    uint64_t l1_at = be(d, QCOW2_HEADER_L1_TABLE_OFFSET_OFF, 8);
    uint64_t rt_at = be(d, QCOW2_HEADER_REFCOUNT_TABLE_OFFSET_OFF, 8);
    uint64_t rt_n = be(d, QCOW2_HEADER_REFCOUNT_TABLE_CLUSTERS_OFF, 4) * cluster / 8;
    place(d, l, "header", 0);
    if (snapshots) {
        place(d, l, "snapshot", snapshots);
    }
    if (be(d, QCOW2_HEADER_VERSION_OFF, 4) > 2) {
        place(d, l, "header_extension", be(d, QCOW2_HEADER_HEADER_LENGTH_OFF, 4));
    }
    two_levels(d, l, l1_at, be(d, QCOW2_HEADER_L1_SIZE_OFF, 4), mask, cluster / 8, true);
    table(d, l, rt_at, (struct fuzz_table){.width = 8, .unit = 1, .big_endian = true, .n = rt_n});
    uint64_t block = be(d, rt_at, 8);
    table(d, l, block,
          (struct fuzz_table){.width = 2, .unit = 1, .big_endian = true, .n = cluster / 2});
    uint64_t ext = be(d, QCOW2_HEADER_HEADER_LENGTH_OFF, 4);
    if (be(d, ext, 4) == QCOW2_EXT_CRYPTO) { /* place and length of the encryption header */
        table(d, l, ext + QCOW2_HEADER_EXTENSION_SIZE,
              (struct fuzz_table){.width = 8, .unit = 1, .big_endian = true, .n = 2});
    }
}

void layout_qed(const struct disk *d, struct fuzz_layout *l)
{
    uint64_t n = le(d, QED_HEADER_CLUSTER_SIZE_OFF, 4) * le(d, QED_HEADER_TABLE_SIZE_OFF, 4) / 8;
    place(d, l, "header", 0);
    two_levels(d, l, le(d, QED_HEADER_L1_TABLE_OFFSET_OFF, 8), n, UINT64_MAX, n, false);
}

void layout_qcow(const struct disk *d, struct fuzz_layout *l)
{
    place(d, l, "header", 0);
    two_levels(d, l, be(d, QCOW_HEADER_L1_TABLE_OFFSET_OFF, 8), FEW, UINT64_MAX,
               UINT64_C(1) << (be(d, QCOW_HEADER_L2_BITS_OFF, 1) & 31), true);
}

void layout_vdi(const struct disk *d, struct fuzz_layout *l)
{
    place(d, l, "header", 0);
    table(d, l, le(d, VDI_HEADER_OFFSET_BMAP_OFF, 4),
          (struct fuzz_table){
              .width = 4, .unit = VDI_BLOCK, .n = le(d, VDI_HEADER_BLOCKS_IN_IMAGE_OFF, 4)});
}

void layout_vpc(const struct disk *d, struct fuzz_layout *l)
{
    uint64_t header = be(d, VPC_FOOTER_DATA_OFFSET_OFF, 8);
    place(d, l, "footer", 0);
    place(d, l, "footer", (uint64_t)disk_size(d) - VPC_FOOTER_SIZE);
    if (!inside(d, header)) {
        return;
    }
    place(d, l, "dynamic", header);
    place(d, l, "parent_locator", header + VPC_DYNAMIC_PARENT_LOCATORS_OFF);
    table(d, l, be(d, header + VPC_DYNAMIC_TABLE_OFFSET_OFF, 8),
          (struct fuzz_table){.width = 4,
                              .unit = VPC_SECTOR,
                              .big_endian = true,
                              .n = be(d, header + VPC_DYNAMIC_MAX_TABLE_ENTRIES_OFF, 4)});
}

static void layout_vhdx_metadata(const struct disk *d, struct fuzz_layout *l, uint64_t at)
{
    place(d, l, "metadata_table", at);
    for (unsigned i = 0; i < 5; i++) {
        uint64_t entry = at + VHDX_METADATA_TABLE_SIZE + (uint64_t)i * VHDX_METADATA_ENTRY_SIZE;
        place(d, l, "metadata_entry", entry);
    }
    /* Block size, then the other items, numbers of 4 and 8 bytes. */
    uint64_t items = at + VHDX_TABLE_BYTES;
    place(d, l, "file_parameters", items);
    table(d, l, items, (struct fuzz_table){.width = 4, .unit = 1, .n = 12});
}

static void layout_vhdx_log(const struct disk *d, struct fuzz_layout *l, uint64_t at)
{
    if (le(d, at, 4) == VHDX_LOG_SIGNATURE) {
        place(d, l, "log_entry", at);
        place(d, l, "log_desc", at + VHDX_LOG_ENTRY_SIZE);
        place(d, l, "log_data", at + VHDX_LOG_SECTOR);
    }
}

struct vhdx_region layout_vhdx_region(const struct disk *d, unsigned i)
{
    uint64_t e = VHDX_REGION1_OFFSET + VHDX_REGION_TABLE_SIZE + i * VHDX_REGION_ENTRY_SIZE;
    uint64_t at = le(d, e + VHDX_REGION_ENTRY_FILE_OFFSET_OFF, 8);
    return (struct vhdx_region){e, at, le(d, at, 8) == VHDX_METADATA_SIGNATURE};
}

void layout_vhdx(const struct disk *d, struct fuzz_layout *l)
{
    place(d, l, "header", VHDX_HEADER1_OFFSET);
    place(d, l, "header", VHDX_HEADER2_OFFSET);
    place(d, l, "region_table", VHDX_REGION1_OFFSET);
    place(d, l, "region_table", VHDX_REGION2_OFFSET);
    for (unsigned i = 0; i < 2; i++) {
        struct vhdx_region region = layout_vhdx_region(d, i);
        place(d, l, "region_entry", region.entry);
        if (region.metadata) {
            layout_vhdx_metadata(d, l, region.at);
        } else {
            table(d, l, region.at, (struct fuzz_table){.width = 8, .unit = 1, .n = FEW});
        }
    }
    layout_vhdx_log(d, l, le(d, VHDX_HEADER1_OFFSET + VHDX_HEADER_LOG_OFFSET_OFF, 8));
}

static void layout_vmdk_hosted(const struct disk *d, struct fuzz_layout *l, uint64_t header)
{
    static const unsigned directories[] = {VMDK_HEADER_RGD_OFFSET_OFF, VMDK_HEADER_GD_OFFSET_OFF};
    place(d, l, "header", header);
    for (size_t i = 0; i < ARRAY_SIZE(directories); i++) {
        uint64_t gd = le(d, header + directories[i], 8) * SECTOR;
        table(d, l, gd, (struct fuzz_table){.width = 4, .unit = SECTOR, .n = FEW});
        table(d, l, le(d, gd, 4) * SECTOR,
              (struct fuzz_table){.width = 4, .unit = SECTOR, .n = VMDK_MAX_GTES});
    }
}

static void layout_sesparse(const struct disk *d, struct fuzz_layout *l)
{
    struct fuzz_table t = {.width = 8, .unit = 1, .n = FEW};
    uint64_t gd = le(d, VMDK_SE_HEADER_GD_OFFSET_OFF, 8) * SECTOR;
    uint64_t gt = le(d, VMDK_SE_HEADER_GT_OFFSET_OFF, 8) * SECTOR;
    place(d, l, "se_header", 0);
    place(d, l, "se_volatile", le(d, VMDK_SE_HEADER_VOLATILE_OFFSET_OFF, 8) * SECTOR);
    table(d, l, gd, t);
    table(d, l, gt + (le(d, gd, 8) & UINT32_MAX) * VMDK_SE_GTES * 8, t);
}

void layout_vmdk(const struct disk *d, struct fuzz_layout *l)
{
    if (le(d, 0, 8) == VMDK_SE_MAGIC) {
        layout_sesparse(d, l);
    } else if (le(d, 0, 4) == VMDK_COWD_MAGIC) {
        uint64_t gd = le(d, VMDK_COWD_GD_OFFSET_OFF, 4) * SECTOR;
        place(d, l, "cowd", 0);
        table(d, l, gd, (struct fuzz_table){.width = 4, .unit = SECTOR, .n = FEW});
        table(d, l, le(d, gd, 4) * SECTOR,
              (struct fuzz_table){.width = 4, .unit = SECTOR, .n = FEW});
    } else if (le(d, 0, 4) == VMDK_MAGIC) {
        layout_vmdk_hosted(d, l, 0);
        if (le(d, VMDK_HEADER_GD_OFFSET_OFF, 8) == VMDK_GD_AT_END) {
            uint64_t end = (uint64_t)disk_size(d);
            layout_vmdk_hosted(d, l, end - 2 * SECTOR);
            place(d, l, "marker", end - 3 * SECTOR);
        }
        if (le(d, VMDK_HEADER_FLAGS_OFF, 4) & VMDK_FLAGS_MARKERS) {
            place(d, l, "marker", le(d, VMDK_HEADER_OVERHEAD_OFF, 8) * SECTOR);
        }
    }
}

void layout_parallels(const struct disk *d, struct fuzz_layout *l)
{
    uint64_t ext = le(d, PARALLELS_HEADER_EXT_OFF_OFF, 8) * SECTOR;
    place(d, l, "header", 0);
    table(d, l, PARALLELS_HEADER_SIZE,
          (struct fuzz_table){.width = 4,
                              .unit = (unsigned)le(d, PARALLELS_HEADER_TRACKS_OFF, 4) * SECTOR,
                              .n = le(d, PARALLELS_HEADER_NB_BAT_ENTRIES_OFF, 4)});
    if (ext && le(d, ext, 8) == PARALLELS_EXT_MAGIC) {
        place(d, l, "ext_header", ext);
        place(d, l, "feature", ext + PARALLELS_EXT_HEADER_SIZE);
        uint64_t bitmap = ext + PARALLELS_EXT_HEADER_SIZE + PARALLELS_FEATURE_SIZE;
        place(d, l, "bitmap", bitmap);
        table(d, l, bitmap + PARALLELS_BITMAP_SIZE,
              (struct fuzz_table){.width = 8, .unit = SECTOR, .n = FEW});
    }
}

void layout_luks(const struct disk *d, struct fuzz_layout *l)
{
    place(d, l, "header", 0);
    for (unsigned i = 0; i < 3; i++) {
        place(d, l, "key_slot", LUKS_SLOTS_OFFSET + (uint64_t)i * LUKS_KEY_SLOT_SIZE);
    }
}

void layout_bochs(const struct disk *d, struct fuzz_layout *l)
{
    place(d, l, "header", 0);
    table(d, l, le(d, BOCHS_HEADER_HEADER_BYTES_OFF, 4),
          (struct fuzz_table){.width = 4, .unit = 1, .n = FEW});
}

void layout_cloop(const struct disk *d, struct fuzz_layout *l)
{
    place(d, l, "header", 0);
    table(d, l, CLOOP_HEADER_SIZE,
          (struct fuzz_table){.width = 8,
                              .unit = 1,
                              .big_endian = true,
                              .n = be(d, CLOOP_HEADER_N_BLOCKS_OFF, 4) + 1});
}

void layout_dmg(const struct disk *d, struct fuzz_layout *l)
{
    uint64_t trailer = (uint64_t)disk_size(d) - DMG_TRAILER_SIZE;
    place(d, l, "trailer", trailer);
    uint64_t fork = be(d, trailer + DMG_TRAILER_RSRC_OFFSET_OFF, 8);
    if (!inside(d, trailer) || !be(d, trailer + DMG_TRAILER_RSRC_LENGTH_OFF, 8)) {
        return;
    }
    place(d, l, "resource_header", fork);
    uint64_t item = fork + be(d, fork, 4);
    if (be(d, item + 4, 4) == DMG_MISH) {
        place(d, l, "table", item + 4);
        for (unsigned i = 0; i < 7; i++) {
            place(d, l, "chunk", item + 4 + DMG_TABLE_SIZE + (uint64_t)i * DMG_CHUNK_SIZE);
        }
        table(d, l, item, (struct fuzz_table){.width = 4, .unit = 1, .big_endian = true, .n = 1});
    }
}
