/*
 * Opening the extents of ESX servers (specs/vmdk.yaml, COW and SES): COWD, and seSparse, which is
 * only read.
 *
 * Leaves out: the journal of seSparse (refused where it must be replayed), its bitmap of free
 * grains and its back map.
 */
#include "ref/format/vmdk/vmdk.h"

#include <errno.h>
#include <inttypes.h>

/* Fewer bytes are zeroes where the file ends. */
static int load(struct vmdk_extent *e, uint64_t sector, uint8_t *buf, size_t size,
                struct error **err)
{
    if (sector > (uint64_t)(INT64_MAX - (int64_t)size) / VMDK_SECTOR) {
        return error_set_errno(err, EIO, "Could not read header from file '%s'",
                               e->file->node->filename);
    }
    int ret = child_pread(e->file, (int64_t)(sector * VMDK_SECTOR), buf, (int64_t)size,
                          LABEL_HEADER_LOAD, NULL);
    return ret < 0 ? error_set_errno(err, -ret, "Could not read header from file '%s'",
                                     e->file->node->filename)
                   : 0;
}

int vmdk_open_cowd(struct vmdk *s, struct vmdk_extent *e, uint64_t sectors, struct error **err)
{
    uint8_t h[VMDK_COWD_SIZE];
    int ret = load(e, 0, h, sizeof(h), err);
    if (ret < 0) {
        return ret;
    }
    e->kind = VMDK_COWD;
    e->sectors = vmdk_cowd_get_sectors(h);
    e->grain = (uint64_t)vmdk_cowd_get_grain_size(h) * VMDK_SECTOR;
    e->gt_entries = VMDK_COWD_GTES;
    e->gd_entries = vmdk_cowd_get_gd_entries(h);
    e->gd_offset = (uint64_t)vmdk_cowd_get_gd_offset(h) * VMDK_SECTOR;
    if (e->grain > (uint64_t)VMDK_MAX_GRAIN * VMDK_SECTOR || e->grain == 0) {
        return error_set(err, EFBIG, "Invalid granularity, image may be corrupt");
    }
    if (e->gd_entries >= VMDK_MAX_GDES) {
        return error_set(err, EFBIG, "L1 size too big");
    }
    ret = vmdk_find_end(e, err);
    if (ret == 0) {
        uint64_t tables = ROUND_UP(e->gd_offset + e->gd_entries * VMDK_GD_ENTRY_SIZE, VMDK_SECTOR);
        uint64_t claimed = (uint64_t)vmdk_cowd_get_free_sector(h) * VMDK_SECTOR;
        tables = MAX(tables, (uint64_t)VMDK_COWD_SIZE);
        /* A new writer goes on where the last one ended, and behind everything there is. */
        e->next = MAX(e->next, tables);
        if (claimed > e->next && claimed - e->next <= (uint64_t)VMDK_MAX_GRAIN * VMDK_SECTOR) {
            e->next = claimed;
        }
    }
    return ret;
}

static int check_constant(const uint8_t *h, struct error **err)
{
    if (vmdk_se_header_get_magic(h) != VMDK_SE_MAGIC) {
        return error_set(err, ENOTSUP, "Bad const header magic: 0x%016" PRIx64,
                         vmdk_se_header_get_magic(h));
    }
    if (vmdk_se_header_get_version(h) != VMDK_SE_VERSION) {
        return error_set(err, ENOTSUP, "Unsupported version: 0x%016" PRIx64,
                         vmdk_se_header_get_version(h));
    }
    if (vmdk_se_header_get_grain_size(h) != 8) {
        return error_set(err, ENOTSUP, "Unsupported grain size: %" PRIu64,
                         vmdk_se_header_get_grain_size(h));
    }
    if (vmdk_se_header_get_gt_size(h) != 64) {
        return error_set(err, ENOTSUP, "Unsupported grain table size: %" PRIu64,
                         vmdk_se_header_get_gt_size(h));
    }
    if (vmdk_se_header_get_flags(h) != 0) {
        return error_set(err, ENOTSUP, "Unsupported flags: 0x%016" PRIx64,
                         vmdk_se_header_get_flags(h));
    }
    uint64_t r1 = vmdk_se_header_get_reserved1(h), r2 = vmdk_se_header_get_reserved2(h);
    uint64_t r3 = vmdk_se_header_get_reserved3(h), r4 = vmdk_se_header_get_reserved4(h);
    if (r1 || r2 || r3 || r4) {
        return error_set(err, ENOTSUP,
                         "Unsupported reserved bits: 0x%016" PRIx64 " 0x%016" PRIx64
                         " 0x%016" PRIx64 " 0x%016" PRIx64,
                         r1, r2, r3, r4);
    }
    return 0;
}

static int check_volatile(struct vmdk_extent *e, uint64_t sector, struct error **err)
{
    uint8_t v[VMDK_SE_VOLATILE_SIZE];
    int ret = load(e, sector, v, sizeof(v), err);
    if (ret < 0) {
        return ret;
    }
    if (vmdk_se_volatile_get_magic(v) != VMDK_SE_VOLATILE_MAGIC) {
        return error_set(err, ENOTSUP, "Bad volatile header magic: 0x%016" PRIx64,
                         vmdk_se_volatile_get_magic(v));
    }
    if (vmdk_se_volatile_get_replay_journal(v)) {
        return error_set(err, ENOTSUP, "Image is dirty, Replaying journal not supported");
    }
    return 0;
}

int vmdk_open_sesparse(struct vmdk *s, struct vmdk_extent *e, struct error **err)
{
    uint8_t h[VMDK_SE_HEADER_SIZE];
    int ret = load(e, 0, h, sizeof(h), err);
    ret = ret < 0 ? ret : check_constant(h, err);
    ret = ret < 0 ? ret : check_volatile(e, vmdk_se_header_get_volatile_offset(h), err);
    if (ret < 0) {
        return ret;
    }
    const uint64_t limit = (uint64_t)INT64_MAX / VMDK_SECTOR / 2;
    uint64_t gd = vmdk_se_header_get_gd_offset(h), gd_size = vmdk_se_header_get_gd_size(h);
    uint64_t gt = vmdk_se_header_get_gt_offset(h), grains = vmdk_se_header_get_grains_offset(h);
    e->kind = VMDK_SESPARSE;
    e->sectors = vmdk_se_header_get_capacity(h);
    e->grain = 8 * VMDK_SECTOR;
    e->gt_entries = VMDK_SE_GTES;
    if (gd > limit || gt > limit || grains > limit) {
        return error_set_errno(err, EIO, "Could not read l1 table from extent '%s'",
                               e->file->node->filename);
    }
    e->gd_entries = MIN(gd_size, limit) * VMDK_SECTOR / VMDK_SE_GD_ENTRY_SIZE;
    if (e->gd_entries >= VMDK_MAX_GDES) {
        return error_set(err, EFBIG, "L1 size too big");
    }
    e->gd_offset = gd * VMDK_SECTOR;
    e->gt_base = gt * VMDK_SECTOR;
    e->grain_base = grains * VMDK_SECTOR;
    e->zeroed_grains = true;
    return 0;
}
