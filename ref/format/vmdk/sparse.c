/*
 * Opening hosted sparse extents (specs/vmdk.yaml, HDR): monolithic, split, stream-optimized.
 *
 * Leaves out: the unclean-shutdown byte and the test of line end bytes, which QEMU does not look at
 * either.  Nothing of the tables is read here, so memory does not follow what the header claims.
 */
#include "ref/format/vmdk/vmdk.h"

#include <errno.h>
#include <inttypes.h>

/* The header is in the footer: marker, footer, end of stream are the last three sectors (HDR-10).
 */
int vmdk_load_footer(struct vmdk_extent *e, uint8_t *header, struct error **err)
{
    uint8_t last[3 * VMDK_SECTOR];
    const uint8_t *footer = last + VMDK_SECTOR, *end = footer + VMDK_SECTOR;
    int64_t len = child_length(e->file);
    if (len < (int64_t)sizeof(last) + VMDK_SECTOR) {
        return error_set(err, EINVAL, "Invalid footer");
    }
    int64_t at = ROUND_DOWN(len, VMDK_SECTOR) - (int64_t)sizeof(last);
    int ret = child_pread(e->file, at, last, sizeof(last), LABEL_HEADER_LOAD, NULL);
    if (ret < 0) {
        return error_set_errno(err, -ret, "Failed to read footer");
    }
    if (vmdk_marker_get_size(last) != 0 || vmdk_marker_get_type(last) != VMDK_MARKER_FOOTER ||
        vmdk_header_get_magic(footer) != VMDK_MAGIC || vmdk_marker_get_value(end) != 0 ||
        vmdk_marker_get_size(end) != 0 || vmdk_marker_get_type(end) != VMDK_MARKER_END) {
        return error_set(err, EINVAL, "Invalid footer");
    }
    memcpy(header, footer, VMDK_HEADER_SIZE);
    return 0;
}

static int check_version(const struct vmdk_extent *e, const struct node *n, struct error **err)
{
    if (e->version > 3) {
        return error_set(err, ENOTSUP, "Unsupported VMDK version %" PRIu32, e->version);
    }
    if (e->version == 3 && !e->compressed && !n->read_only && (n->open_flags & OPEN_RDWR)) {
        return error_set(err, EINVAL, "VMDK version 3 must be read only");
    }
    return 0;
}

/* Sectors to bytes; false where nothing of `bytes` can be there. */
static bool place(uint64_t sector, uint64_t bytes, uint64_t *out)
{
    *out = sector * VMDK_SECTOR;
    return sector <= (uint64_t)INT64_MAX / VMDK_SECTOR && *out <= (uint64_t)INT64_MAX - bytes;
}

static int check_shape(struct vmdk_extent *e, const uint8_t *h, struct error **err)
{
    uint64_t grain = vmdk_header_get_grain_size(h), capacity = vmdk_header_get_capacity(h);
    uint32_t gtes = vmdk_header_get_gtes_per_gt(h);
    if (gtes > VMDK_MAX_GTES) {
        return error_set(err, EINVAL, "L2 table size too big");
    }
    if (gtes == 0 || grain == 0) {
        return error_set(err, EINVAL, "L1 entry size is invalid");
    }
    if (grain > VMDK_MAX_GRAIN) {
        return error_set(err, EFBIG, "Invalid granularity, image may be corrupt");
    }
    if (capacity > INT64_MAX || DIV_ROUND_UP(capacity, grain * gtes) >= VMDK_MAX_GDES) {
        return error_set(err, EFBIG, "L1 size too big");
    }
    e->sectors = capacity;
    e->grain = grain * VMDK_SECTOR;
    e->gt_entries = gtes;
    e->gd_entries = DIV_ROUND_UP(capacity, grain * gtes);
    return 0;
}

static int check_places(struct vmdk_extent *e, const uint8_t *h, struct error **err)
{
    uint64_t bytes = e->gd_entries * VMDK_GD_ENTRY_SIZE, overhead = vmdk_header_get_overhead(h);
    int64_t len = child_length(e->file);
    if (len < 0) {
        return error_set_errno(err, (int)-len, "Could not get image size");
    }
    if (DIV_ROUND_UP((uint64_t)len, VMDK_SECTOR) < overhead) {
        return error_set(err, EINVAL, "File truncated, expecting at least %" PRId64 " bytes",
                         (int64_t)(overhead * VMDK_SECTOR));
    }
    if (!place(vmdk_header_get_gd_offset(h), bytes, &e->gd_offset)) {
        return error_set_errno(err, EIO, "Could not read l1 table from extent '%s'",
                               e->file->node->filename);
    }
    if (e->redundant && !place(vmdk_header_get_rgd_offset(h), bytes, &e->rgd_offset)) {
        return error_set_errno(err, EIO, "Could not read l1 backup table from extent '%s'",
                               e->file->node->filename);
    }
    return 0;
}

int vmdk_find_end(struct vmdk_extent *e, struct error **err)
{
    int64_t len = child_length(e->file);
    uint64_t unit = e->compressed ? VMDK_SECTOR : e->grain;
    if (len < 0) {
        return error_set_errno(err, (int)-len, "Could not get image size");
    }
    e->next = DIV_ROUND_UP((uint64_t)len, unit) * unit;
    return 0;
}

int vmdk_open_hosted(struct vmdk *s, struct vmdk_extent *e, const uint8_t *header,
                     struct error **err)
{
    uint8_t h[VMDK_HEADER_SIZE];
    memcpy(h, header, sizeof(h));
    e->kind = VMDK_SPARSE;
    e->gd_in_footer = vmdk_header_get_gd_offset(h) == VMDK_GD_AT_END;
    int ret = e->gd_in_footer ? vmdk_load_footer(e, h, err) : 0;
    if (ret < 0) {
        return ret;
    }
    uint32_t flags = vmdk_header_get_flags(h);
    e->version = vmdk_header_get_version(h);
    e->compressed = vmdk_header_get_compress_algorithm(h) == VMDK_DEFLATE;
    e->markers = flags & VMDK_FLAGS_MARKERS;
    e->zeroed_grains = flags & VMDK_FLAGS_ZEROED_GRAIN;
    e->redundant = flags & VMDK_FLAGS_REDUNDANT;
    ret = check_version(e, s->n, err);
    ret = ret < 0 ? ret : check_shape(e, h, err);
    ret = ret < 0 ? ret : check_places(e, h, err);
    return ret < 0 ? ret : vmdk_find_end(e, err);
}
