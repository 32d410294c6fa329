/*
 * bochs: growing redologs of Bochs, versions 1 and 2, read only (specs/bochs.yaml).
 *
 * Models: a catalog of extents in memory; each extent has a bitmap of its sectors in front.  What
 * has no extent or no bit reads as zeroes.  Leaves out: writing, and the flat, undoable and
 * volatile kinds, which are no such images.
 */
#include <errno.h>
#include <inttypes.h>

#include "ref/block/io.h"
#include "ref/block/open.h"
#include "ref/format/format.h"
#include "specs/bochs_layout.h"

#define SECTOR       BOCHS_SECTOR
#define BITMAP_BYTES (BOCHS_MAX_EXTENT / SECTOR / 8)

struct bochs {
    uint32_t *catalog; /* host order */
    uint32_t catalog_len;
    uint32_t extent;       /* bytes */
    uint64_t first;        /* host offset of extent 0's bitmap */
    uint64_t bitmap_bytes; /* of the file, in whole sectors */
    int64_t size;          /* of the disk, bytes */
};

/* A text field that ends with a zero byte inside its `width` bytes (HDR-1 to HDR-3). */
static bool text_is(const uint8_t *field, size_t width, const char *text)
{
    return strnlen((const char *)field, width) == strlen(text) &&
           !memcmp(field, text, strlen(text));
}

static bool is_bochs(const uint8_t *h)
{
    uint32_t version = bochs_header_get_version(h);
    return text_is(h + BOCHS_HEADER_MAGIC_OFF, BOCHS_HEADER_MAGIC_WIDTH,
                   "Bochs Virtual HD Image") &&
           text_is(h + BOCHS_HEADER_TYPE_OFF, BOCHS_HEADER_TYPE_WIDTH, "Redolog") &&
           text_is(h + BOCHS_HEADER_SUBTYPE_OFF, BOCHS_HEADER_SUBTYPE_WIDTH, "Growing") &&
           (version == BOCHS_VERSION_1 || version == BOCHS_VERSION_2);
}

static int bochs_probe(const uint8_t *buf, size_t len, const char *filename)
{
    return len >= BOCHS_HEADER_SIZE && is_bochs(buf) ? 100 : 0;
}

/* Reads the catalog; entries behind the end of the file are zero, as all that is behind it. */
static int read_catalog(struct node *n, const uint8_t *h, struct error **err)
{
    struct bochs *s = n->state;
    s->catalog_len = bochs_header_get_catalog(h);
    if (s->catalog_len > BOCHS_MAX_CATALOG) {
        return error_set(err, EFBIG, "Catalog size is too large");
    }
    size_t bytes = (size_t)s->catalog_len * BOCHS_CATALOG_ENTRY_SIZE;
    uint64_t offset = bochs_header_get_header_bytes(h);
    s->catalog = mem_try_zalloc(MAX(bytes, 1));
    if (!s->catalog) {
        return error_set_errno(err, ENOMEM, "Could not allocate the catalog");
    }
    int ret = child_pread(n->file, (int64_t)offset, s->catalog, (int64_t)bytes, LABEL_NONE, NULL);
    if (ret < 0) {
        return error_set_errno(err, -ret, "Could not read the catalog");
    }
    for (uint32_t i = 0; i < s->catalog_len; i++) {
        s->catalog[i] = bochs_catalog_entry_get_extent((const uint8_t *)&s->catalog[i]);
    }
    s->first = offset + bytes;
    return 0;
}

static int check_extents(struct bochs *s, const uint8_t *h, struct error **err)
{
    /* In 32 bits: a bitmap of 0 bytes counts as 4 GiB, which is what QEMU makes of it. */
    s->bitmap_bytes = (1 + (uint64_t)(bochs_header_get_bitmap(h) - 1u) / SECTOR) * SECTOR;
    s->extent = bochs_header_get_extent(h);
    if (s->extent < BOCHS_MIN_EXTENT) {
        return error_set(err, EINVAL, "Extent size must be at least 512");
    }
    if (!IS_POW2(s->extent)) {
        return error_set(err, EINVAL, "Extent size %" PRIu32 " is not a power of two", s->extent);
    }
    if (s->extent > BOCHS_MAX_EXTENT) {
        return error_set(err, EINVAL, "Extent size %" PRIu32 " is too large", s->extent);
    }
    uint64_t disk = bochs_header_get_version(h) == BOCHS_VERSION_1 ? bochs_header_v1_get_disk(h)
                                                                   : bochs_header_get_disk(h);
    disk = ROUND_DOWN(disk, SECTOR);
    if (s->catalog_len < disk / s->extent + !IS_ALIGNED(disk, s->extent)) {
        return error_set(err, EINVAL, "Catalog size is too small for this disk size");
    }
    s->size = (int64_t)disk;
    return 0;
}

static int bochs_open(struct node *n, struct value *opts, unsigned flags, struct error **err)
{
    struct bochs *s = n->state;
    uint8_t h[BOCHS_HEADER_SIZE];
    int ret = node_apply_auto_read_only(n, NULL, err);
    if (ret == 0) {
        ret = open_file_child(n, opts, err);
    }
    if (ret < 0) {
        return ret;
    }
    ret = child_pread(n->file, 0, h, sizeof(h), LABEL_NONE, NULL);
    if (ret < 0) {
        return error_set_errno(err, -ret, "Could not read the header");
    }
    if (!is_bochs(h)) {
        return error_set(err, EINVAL, "Image not in Bochs format");
    }
    ret = read_catalog(n, h, err);
    if (ret == 0) {
        ret = check_extents(s, h, err);
    }
    if (ret < 0) {
        mem_free(s->catalog);
        s->catalog = NULL;
    }
    return ret;
}

static void bochs_close(struct node *n)
{
    struct bochs *s = n->state;
    mem_free(s->catalog);
}

/* Host offset of the extent's bitmap (EXT-2), or -EIO where no file reaches. */
static int64_t bitmap_offset(const struct bochs *s, uint32_t index)
{
    uint64_t offset;
    if (__builtin_mul_overflow((uint64_t)index, s->bitmap_bytes + s->extent, &offset) ||
        __builtin_add_overflow(offset, s->first, &offset) ||
        offset > INT64_MAX - s->bitmap_bytes - s->extent) {
        return -EIO;
    }
    return (int64_t)offset;
}

/* [in_extent, in_extent + bytes) of an extent: runs of sectors with equal bits. */
static int read_extent(struct node *n, int64_t bitmap, uint64_t in_extent, uint64_t bytes,
                       size_t q_off, const struct request *r)
{
    const struct bochs *s = n->state;
    uint8_t bits[BITMAP_BYTES];
    uint64_t sector = in_extent / SECTOR, end = (in_extent + bytes) / SECTOR, byte0 = sector / 8;
    int ret = child_pread(n->file, bitmap + (int64_t)byte0, bits,
                          (int64_t)((end - 1) / 8 + 1 - byte0), LABEL_NONE, r);
    while (ret >= 0 && sector < end) {
        uint64_t next = sector;
        bool set = bits[sector / 8 - byte0] >> sector % 8 & 1;
        while (next < end && set == (bits[next / 8 - byte0] >> next % 8 & 1)) {
            next++;
        }
        uint64_t run = (next - sector) * SECTOR;
        if (set) {
            ret = child_preadv(n->file, bitmap + (int64_t)(s->bitmap_bytes + sector * SECTOR),
                               (int64_t)run, r->iov, q_off, 0, LABEL_READ_AIO, r);
        } else {
            iov_fill(r->iov, q_off, 0, run);
        }
        q_off += run;
        sector = next;
    }
    return ret < 0 ? ret : 0;
}

static int bochs_read(struct node *n, const struct request *r)
{
    const struct bochs *s = n->state;
    uint64_t offset = (uint64_t)r->offset, left = (uint64_t)r->bytes;
    size_t q_off = r->iov_off;
    int ret = 0;
    while (ret == 0 && left > 0) {
        uint64_t in_extent = offset % s->extent, part = MIN(left, s->extent - in_extent);
        uint32_t index = s->catalog[offset / s->extent];
        int64_t bitmap = index == BOCHS_UNALLOCATED ? 0 : bitmap_offset(s, index);
        if (index == BOCHS_UNALLOCATED) {
            iov_fill(r->iov, q_off, 0, part);
        } else {
            ret = bitmap < 0 ? (int)bitmap : read_extent(n, bitmap, in_extent, part, q_off, r);
        }
        offset += part;
        left -= part;
        q_off += part;
    }
    return ret;
}

static int64_t bochs_length(struct node *n)
{
    const struct bochs *s = n->state;
    return s->size;
}

static void bochs_refresh_limits(struct node *n, struct error **err)
{
    n->limits.request_alignment = SECTOR;
}

const struct block_driver driver_bochs = {
    .name = "bochs",
    .kind = DRIVER_FORMAT,
    .state_size = sizeof(struct bochs),
    .probe = bochs_probe,
    .open = bochs_open,
    .close = bochs_close,
    .read = bochs_read,
    .length = bochs_length,
    .refresh_limits = bochs_refresh_limits,
};
