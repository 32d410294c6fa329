/*
 * Seed images, or parts of them, that the reference does not make: by hand, by the specifications'
 * layouts.  Where the reference has made an image before, it is changed.
 */
#include <bzlib.h>
#include <errno.h>
#include <string.h>
#include <zlib.h>
#include "fuzz/seeds_int.h"
#include "ref/base/bytes.h"
#include "ref/base/mem.h"
#include "ref/base/strbuf.h"
#include "specs/bochs_layout.h"
#include "specs/cloop_layout.h"
#include "specs/dmg_layout.h"
#include "specs/parallels_layout.h"
#include "specs/qcow2_layout.h"
#include "specs/qed_layout.h"
#include "specs/vhdx_layout.h"
#include "specs/vmdk_layout.h"
#include "specs/vpc_layout.h"

#define OUTSIDE "/proc/self/exe" /* a file that is there */

enum { SECTOR = 512 };

static void put(struct fuzz_making *m, int64_t at, const void *data, size_t bytes)
{
    int ret = disk_write(m->image, at, data, bytes);
    m->ret = m->ret < 0 ? m->ret : ret;
}

static void put_be(struct fuzz_making *m, int64_t at, unsigned width, uint64_t v)
{
    fuzz_put(m->image, at, width, true, v);
}

static void put_le(struct fuzz_making *m, int64_t at, unsigned width, uint64_t v)
{
    fuzz_put(m->image, at, width, false, v);
}

/* ---- qcow2: names are put in by hand, creating such an image would look for the files ---- */

static int add_backing(struct fuzz_making *m, const char *name)
{
    enum { AT = 400 };
    put(m, AT, name, strlen(name));
    put_be(m, QCOW2_HEADER_BACKING_FILE_OFFSET_OFF, 8, AT);
    put_be(m, QCOW2_HEADER_BACKING_FILE_SIZE_OFF, 4, strlen(name));
    return m->ret;
}

int make_qcow2_outside(struct fuzz_making *m)
{
    return add_backing(m, OUTSIDE);
}

int make_qcow2_itself(struct fuzz_making *m)
{
    return add_backing(m, "sim:fuzz");
}

int make_qcow2_data_file(struct fuzz_making *m)
{
    uint8_t ext[64] = {0};
    uint64_t at = fuzz_get(m->image, QCOW2_HEADER_HEADER_LENGTH_OFF, 4, true);
    qcow2_header_extension_set_type(ext, QCOW2_EXT_DATA_FILE);
    qcow2_header_extension_set_length(ext, sizeof(OUTSIDE) - 1);
    memcpy(ext + QCOW2_HEADER_EXTENSION_SIZE, OUTSIDE, sizeof(OUTSIDE) - 1);
    put_be(m, QCOW2_HEADER_INCOMPATIBLE_FEATURES_OFF, 8, QCOW2_INCOMPAT_DATA_FILE);
    put(m, (int64_t)at, ext, sizeof(ext));
    return m->ret;
}

/* ---- qed ---- */

int make_qed_dirty(struct fuzz_making *m)
{
    put_le(m, QED_HEADER_FEATURES_OFF, 8, QED_FEATURE_NEED_CHECK);
    return m->ret;
}

/* ---- vhdx ---- */

static uint64_t vhdx_region(const struct disk *d, bool metadata)
{
    struct vhdx_region region = layout_vhdx_region(d, 0);
    return region.metadata == metadata ? region.at : layout_vhdx_region(d, 1).at;
}

/* Logical sectors of 4 KiB: the item of 4 bytes that holds 512. */
int make_vhdx_4k(struct fuzz_making *m)
{
    int64_t items = (int64_t)vhdx_region(m->image, true) + VHDX_TABLE_BYTES;
    for (int64_t at = items; at < items + 64; at += 4) {
        if (fuzz_get(m->image, at, 4, false) == SECTOR) {
            put_le(m, at, 4, 4096);
        }
    }
    return m->ret;
}

/* A log to be replayed: entry 0 of the BAT becomes a block of its own. */
int make_vhdx_log(struct fuzz_making *m)
{
    enum { LENGTH = 2 * VHDX_LOG_SECTOR, GUID = 0x77, SEQUENCE = 5, BLOCK = 8 << 20 };
    uint8_t e[LENGTH] = {0}, *d = e + VHDX_LOG_ENTRY_SIZE, *s = e + VHDX_LOG_SECTOR;
    uint64_t log = fuzz_get(m->image, VHDX_HEADER1_OFFSET + VHDX_HEADER_LOG_OFFSET_OFF, 8, false);
    vhdx_log_entry_set_signature(e, VHDX_LOG_SIGNATURE);
    vhdx_log_entry_set_entry_length(e, LENGTH);
    vhdx_log_entry_set_sequence_number(e, SEQUENCE);
    vhdx_log_entry_set_descriptor_count(e, 1);
    vhdx_log_entry_set_flushed_file_offset(e, (uint64_t)disk_size(m->image));
    vhdx_log_entry_set_last_file_offset(e, 2 * BLOCK);
    e[VHDX_LOG_ENTRY_LOG_GUID_OFF] = GUID;
    vhdx_log_desc_set_signature(d, VHDX_DESC_SIGNATURE);
    vhdx_log_desc_set_leading(d, BLOCK | VHDX_STATE_FULLY_PRESENT);
    vhdx_log_desc_set_file_offset(d, vhdx_region(m->image, false));
    vhdx_log_desc_set_sequence_number(d, SEQUENCE);
    vhdx_log_data_set_signature(s, VHDX_DATA_SIGNATURE);
    vhdx_log_data_set_sequence_low(s, SEQUENCE);
    put(m, (int64_t)log, e, sizeof(e));
    put_le(m, VHDX_HEADER1_OFFSET + VHDX_HEADER_LOG_GUID_OFF, 1, GUID);
    put_le(m, VHDX_HEADER2_OFFSET + VHDX_HEADER_LOG_GUID_OFF, 1, GUID);
    seal_vhdx(m->image);
    return m->ret;
}

/* ---- parallels ---- */

/* The first magic: entries count sectors, the data area's place is not told. */
int make_parallels_old(struct fuzz_making *m)
{
    put(m, 0, "WithoutFreeSpace", PARALLELS_HEADER_MAGIC_WIDTH);
    put_le(m, PARALLELS_HEADER_DATA_OFF_OFF, 4, 0);
    return m->ret;
}

int make_parallels_unclosed(struct fuzz_making *m)
{
    put_le(m, PARALLELS_HEADER_IN_USE_OFF, 4, PARALLELS_IN_USE);
    return m->ret;
}

/* Behind the header's cluster the bitmap's, then the extension. */
int make_parallels_extension(struct fuzz_making *m)
{
    enum { CLUSTER = 65536, AT = 2 * CLUSTER };
    uint8_t c[256] = {0}, *f = c + PARALLELS_EXT_HEADER_SIZE, *b = f + PARALLELS_FEATURE_SIZE;
    parallels_ext_header_set_magic(c, PARALLELS_EXT_MAGIC);
    parallels_feature_set_magic(f, PARALLELS_FEATURE_BITMAP);
    parallels_feature_set_data_size(f, PARALLELS_BITMAP_SIZE + 8);
    parallels_bitmap_set_size(b, FUZZ_DISK / SECTOR);
    parallels_bitmap_set_granularity(b, 128);
    parallels_bitmap_set_l1_size(b, 1);
    store_le64(b + PARALLELS_BITMAP_SIZE, CLUSTER / SECTOR);
    put(m, AT, c, sizeof(c));
    disk_truncate(m->image, AT + CLUSTER);
    put_le(m, PARALLELS_HEADER_EXT_OFF_OFF, 8, AT / SECTOR);
    seal_parallels(m->image);
    return m->ret;
}

/* ---- vpc ---- */

/* A child of the base, by its relative name; of its one block every other sector is its own. */
int make_vpc_differencing(struct fuzz_making *m)
{
    static const char name[] = ".\\base";
    const int64_t at = disk_size(m->image) - VPC_FOOTER_SIZE, end = at + SECTOR + VPC_BLOCK;
    uint8_t id[VPC_FOOTER_UNIQUE_ID_WIDTH], f[VPC_FOOTER_SIZE], bits[SECTOR], d[VPC_DYNAMIC_SIZE];
    uint8_t *l = d + VPC_DYNAMIC_PARENT_LOCATORS_OFF, text[SECTOR] = {0};
    disk_read(m->f->base, VPC_FOOTER_UNIQUE_ID_OFF, id, sizeof(id));
    disk_read(m->image, 0, f, sizeof(f));
    vpc_footer_set_disk_type(f, VPC_TYPE_DIFFERENCING);
    f[VPC_FOOTER_UNIQUE_ID_OFF] ^= 0xff;
    put(m, 0, f, sizeof(f));
    disk_read(m->image, VPC_FOOTER_SIZE, d, sizeof(d));
    memcpy(d + VPC_DYNAMIC_PARENT_ID_OFF, id, sizeof(id));
    vpc_parent_locator_set_code(l, VPC_PLATFORM_W2RU);
    vpc_parent_locator_set_data_space(l, 1);
    vpc_parent_locator_set_data_length(l, 2 * (sizeof(name) - 1));
    vpc_parent_locator_set_data_offset(l, (uint64_t)end);
    for (size_t i = 0; name[i]; i++) {
        text[2 * i] = (uint8_t)name[i];
    }
    put(m, VPC_FOOTER_SIZE, d, sizeof(d));
    memset(bits, 0xaa, sizeof(bits));
    put(m, at, bits, sizeof(bits));
    put_be(m, (int64_t)vpc_dynamic_get_table_offset(d), 4, (uint64_t)at / SECTOR);
    put(m, end, text, sizeof(text));
    put(m, end + SECTOR, f, sizeof(f));
    seal_vpc(m->image);
    return m->ret;
}

/* ---- vmdk ---- */

/* The header that counts is the footer. */
int make_vmdk_footer(struct fuzz_making *m)
{
    uint8_t h[VMDK_HEADER_SIZE], tail[3 * SECTOR] = {0};
    disk_read(m->image, 0, h, sizeof(h));
    vmdk_marker_set_value(tail, 1);
    vmdk_marker_set_type(tail, VMDK_MARKER_FOOTER);
    memcpy(tail + SECTOR, h, sizeof(h));
    put(m, disk_size(m->image), tail, sizeof(tail));
    put_le(m, VMDK_HEADER_GD_OFFSET_OFF, 8, VMDK_GD_AT_END);
    return m->ret;
}

/* Grains of one sector; the first table names the first grain. */
int make_vmdk_cowd(struct fuzz_making *m)
{
    enum { GD = VMDK_COWD_SIZE / SECTOR, GT = GD + 1, GRAIN = GT + VMDK_COWD_GTES * 4 / SECTOR };
    uint8_t h[VMDK_COWD_SIZE] = {0}, data[SECTOR];
    memset(data, 0x11, sizeof(data));
    vmdk_cowd_set_magic(h, VMDK_COWD_MAGIC);
    vmdk_cowd_set_version(h, 1);
    vmdk_cowd_set_flags(h, 3);
    vmdk_cowd_set_sectors(h, FUZZ_DISK / SECTOR);
    vmdk_cowd_set_grain_size(h, 1);
    vmdk_cowd_set_gd_offset(h, GD);
    vmdk_cowd_set_gd_entries(h, 1);
    vmdk_cowd_set_free_sector(h, GRAIN + 1);
    put(m, 0, h, sizeof(h));
    put(m, GRAIN * SECTOR, data, sizeof(data));
    put_le(m, GD * SECTOR, 4, GT);
    put_le(m, GT * SECTOR, 4, GRAIN);
    return m->ret;
}

int make_vmdk_sesparse(struct fuzz_making *m)
{
    enum { GD = 8, GT = 16, GRAINS = 160, GRAIN = 4096 };
    uint8_t h[VMDK_SE_HEADER_SIZE] = {0}, grain[GRAIN];
    memset(grain, 0x11, sizeof(grain));
    vmdk_se_header_set_magic(h, VMDK_SE_MAGIC);
    vmdk_se_header_set_version(h, VMDK_SE_VERSION);
    vmdk_se_header_set_capacity(h, FUZZ_DISK / SECTOR);
    vmdk_se_header_set_grain_size(h, 8);
    vmdk_se_header_set_gt_size(h, 64);
    vmdk_se_header_set_volatile_offset(h, 1);
    vmdk_se_header_set_gd_offset(h, GD);
    vmdk_se_header_set_gd_size(h, 1);
    vmdk_se_header_set_gt_offset(h, GT);
    vmdk_se_header_set_grains_offset(h, GRAINS);
    put(m, 0, h, sizeof(h));
    put_le(m, SECTOR, 8, VMDK_SE_VOLATILE_MAGIC);
    put_le(m, GD * SECTOR, 8, UINT64_C(1) << 60 | 1); /* the second table */
    int64_t gt = (GT + 64) * SECTOR;
    put_le(m, gt, 8, UINT64_C(3) << 60 | UINT64_C(2) << 48); /* grain 2 */
    put_le(m, gt + 8, 8, UINT64_C(2) << 60);
    put_le(m, gt + 16, 8, UINT64_C(1) << 60);
    put(m, GRAINS * SECTOR + 2 * GRAIN, grain, GRAIN);
    return m->ret;
}

/* A descriptor alone. */
int make_vmdk_flat(struct fuzz_making *m)
{
    static const char text[] =
        "# Disk DescriptorFile\nversion=1\nCID=00000001\nparentCID=ffffffff\n"
        "createType=\"twoGbMaxExtentFlat\"\n\n# Extent description\n"
        "RW 16 FLAT \"sim:base\" 0\nRW 64 ZERO\nRW 48 FLAT \"sim:base\" 16\n\n"
        "# The Disk Data Base\n#DDB\n\nddb.virtualHWVersion = \"4\"\nddb.adapterType = \"ide\"\n";
    put(m, 0, text, strlen(text));
    return m->ret;
}

/* ---- bochs, cloop ---- */

/* Of four extents the first and the third are there. */
int make_bochs(struct fuzz_making *m)
{
    enum { EXTENT = 4096, CATALOG = 512, DATA = 1024, STRIDE = SECTOR + EXTENT };
    uint8_t data[EXTENT];
    memset(data, 0x11, sizeof(data));
    put(m, 0, "Bochs Virtual HD Image", 23);
    put(m, BOCHS_HEADER_TYPE_OFF, "Redolog", 8);
    put(m, BOCHS_HEADER_SUBTYPE_OFF, "Growing", 8);
    put_le(m, BOCHS_HEADER_VERSION_OFF, 4, BOCHS_VERSION_2);
    put_le(m, BOCHS_HEADER_HEADER_BYTES_OFF, 4, CATALOG);
    put_le(m, BOCHS_HEADER_CATALOG_OFF, 4, (DATA - CATALOG) / 4);
    put_le(m, BOCHS_HEADER_BITMAP_OFF, 4, 1);
    put_le(m, BOCHS_HEADER_EXTENT_OFF, 4, EXTENT);
    put_le(m, BOCHS_HEADER_DISK_OFF, 8, 4 * EXTENT);
    for (unsigned i = 0; i < (DATA - CATALOG) / 4; i++) {
        put_le(m, CATALOG + i * 4, 4, i == 0 ? 1 : i == 2 ? 0 : BOCHS_UNALLOCATED);
    }
    for (unsigned i = 0; i < 2; i++) {
        put_le(m, DATA + i * STRIDE, 1, 0x5d);
        put(m, DATA + i * STRIDE + SECTOR, data, sizeof(data));
    }
    return m->ret;
}

int make_cloop(struct fuzz_making *m)
{
    enum { BLOCK = 2048, BLOCKS = 6 };
    static const char script[] = "#!/bin/sh\n#V2.0 Format\nmodprobe cloop file=$0\nexit $?\n";
    uint64_t at = CLOOP_HEADER_SIZE + CLOOP_OFFSET_ENTRY_SIZE * (BLOCKS + 1);
    put(m, 0, script, sizeof(script));
    put_be(m, CLOOP_HEADER_BLOCK_SIZE_OFF, 4, BLOCK);
    put_be(m, CLOOP_HEADER_N_BLOCKS_OFF, 4, BLOCKS);
    for (unsigned i = 0; i <= BLOCKS; i++) {
        uint8_t plain[BLOCK], out[2 * BLOCK];
        uLongf n = sizeof(out);
        put_be(m, CLOOP_HEADER_SIZE + i * CLOOP_OFFSET_ENTRY_SIZE, 8, at);
        memset(plain, 'A' + (int)i, sizeof(plain));
        if (i < BLOCKS && compress(out, &n, plain, sizeof(plain)) == Z_OK) {
            put(m, (int64_t)at, out, n);
            at += n;
        }
    }
    return m->ret;
}

/* ---- dmg ---- */

enum { CHUNK = 1024, CHUNKS = 7, ITEM = DMG_TABLE_SIZE + CHUNKS * DMG_CHUNK_SIZE };

static uint8_t *dmg_chunk(uint8_t *item, unsigned i, uint32_t type, uint64_t sectors)
{
    uint8_t *c = item + DMG_TABLE_SIZE + i * DMG_CHUNK_SIZE;
    dmg_chunk_set_type(c, type);
    dmg_chunk_set_sector(c, 2 * (uint64_t)i);
    dmg_chunk_set_sectors(c, sectors);
    return c;
}

/* Chunks of each kind, raw, zlib and bzip2 ones at the start of the file; where they end. */
static uint64_t dmg_data(struct fuzz_making *m, uint8_t *item)
{
    static const uint32_t types[] = {DMG_CHUNK_RAW,  DMG_CHUNK_ZLIB,   DMG_CHUNK_BZIP2,
                                     DMG_CHUNK_ZERO, DMG_CHUNK_IGNORE, DMG_CHUNK_COMMENT,
                                     DMG_CHUNK_END};
    uint64_t at = 0;
    memset(item, 0, ITEM);
    dmg_table_set_magic(item, DMG_MISH);
    dmg_table_set_version(item, 1);
    dmg_table_set_sectors(item, 10);
    dmg_table_set_chunks(item, CHUNKS);
    for (unsigned i = 0; i < CHUNKS; i++) {
        uint8_t plain[CHUNK], out[2 * CHUNK], *c = dmg_chunk(item, i, types[i], i < 5 ? 2 : 0);
        uLongf z = sizeof(out);
        unsigned b = sizeof(out), n = CHUNK;
        memset(plain, 'A' + (int)i, sizeof(plain));
        memcpy(out, plain, sizeof(plain));
        if (types[i] == DMG_CHUNK_ZLIB && compress(out, &z, plain, CHUNK) == Z_OK) {
            n = (unsigned)z;
        } else if (types[i] == DMG_CHUNK_BZIP2 &&
                   BZ2_bzBuffToBuffCompress((char *)out, &b, (char *)plain, CHUNK, 1, 0, 0) ==
                       BZ_OK) {
            n = b;
        }
        if (i < 3) {
            dmg_chunk_set_offset(c, at);
            dmg_chunk_set_length(c, n);
            put(m, (int64_t)at, out, n);
            at += n;
        }
    }
    return at;
}

static int dmg_trailer(struct fuzz_making *m, uint64_t data, unsigned field, uint64_t bytes)
{
    uint8_t t[DMG_TRAILER_SIZE] = {0};
    dmg_trailer_set_magic(t, DMG_MAGIC);
    dmg_trailer_set_version(t, 4);
    dmg_trailer_set_header_bytes(t, sizeof(t));
    dmg_trailer_set_data_length(t, data);
    dmg_trailer_set_sectors(t, 10);
    store_be64(t + field, data);
    store_be64(t + field + 8, bytes);
    put(m, (int64_t)(data + bytes), t, sizeof(t));
    return m->ret;
}

/* Base64 of whole groups of three bytes. */
static void add_base64(struct strbuf *out, const uint8_t *p, size_t len)
{
    static const char set[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i + 3 <= len; i += 3) {
        uint32_t v = (uint32_t)p[i] << 16 | (uint32_t)p[i + 1] << 8 | p[i + 2];
        strbuf_printf(out, "%c%c%c%c", set[v >> 18], set[v >> 12 & 63], set[v >> 6 & 63],
                      set[v & 63]);
    }
}

int make_dmg_list(struct fuzz_making *m)
{
    uint8_t item[ROUND_UP(ITEM, 3)] = {0};
    struct strbuf text = STRBUF_INIT;
    uint64_t at = dmg_data(m, item);
    strbuf_puts(&text, "<plist><data>\n");
    add_base64(&text, item, sizeof(item));
    strbuf_puts(&text, "\n</data></plist>");
    put(m, (int64_t)at, text.s, text.len);
    int ret = dmg_trailer(m, at, DMG_TRAILER_PLIST_OFFSET_OFF, text.len);
    strbuf_free(&text);
    return ret;
}

int make_dmg_fork(struct fuzz_making *m)
{
    enum { HEAD = 256 };
    uint8_t item[ITEM], h[HEAD + 4] = {0};
    uint64_t at = dmg_data(m, item);
    dmg_resource_header_set_data_offset(h, HEAD);
    dmg_resource_header_set_map_offset(h, HEAD + 4 + ITEM);
    dmg_resource_header_set_data_length(h, 4 + ITEM);
    store_be32(h + HEAD, ITEM);
    put(m, (int64_t)at, h, sizeof(h));
    put(m, (int64_t)at + HEAD + 4, item, ITEM);
    return dmg_trailer(m, at, DMG_TRAILER_RSRC_OFFSET_OFF, HEAD + 4 + ITEM);
}
