/*
 * vdi: VirtualBox's disk images, dynamic and static.
 *
 * Models: a header sector, a map with one entry for each block of 1 MiB, and the blocks in the
 * order in which they were first written.  Header and map are written through, header first
 * (specs/vdi.yaml MAP-7), so that a power cut may lose a block but never gives one to two places.
 * A map that ends behind the file's end reads as zeroes there, as its bytes would, and takes no
 * memory.  Leaves out: snapshots and parent images (refused), block sizes other than 1 MiB, freeing
 * blocks (as QEMU: nothing is discarded, zeroes are written as data), repair.
 */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include "ref/base/bitmap.h"
#include "ref/block/io.h"
#include "ref/block/open.h"
#include "ref/format/create.h"
#include "ref/format/format.h"
#include "specs/vdi_layout.h"

#define BLOCK    ((int64_t)VDI_BLOCK)
#define MAX_SIZE ((uint64_t)VDI_MAX_BLOCKS * VDI_BLOCK)

struct vdi {
    uint8_t header[VDI_HEADER_SIZE]; /* as on disk */
    uint8_t *map;                    /* whole sectors, as on disk */
    uint32_t loaded;                 /* entries in map: those that the file has */
    uint32_t blocks;                 /* entries of the image */
    uint32_t next;                   /* the next new block's number */
    int64_t map_offset, data_offset, size;
    struct co_mutex lock; /* held while a block is allocated */
};

static const struct opt_desc vdi_create_options[] = {
    {.name = "size", .type = OPT_SIZE, .help = "Virtual disk size"},
    {.name = "static", .type = OPT_BOOL, .def = "off", .help = "VDI static (pre-allocated) image"},
    {.name = NULL},
};

static int vdi_probe(const uint8_t *buf, size_t len, const char *filename)
{
    return len >= VDI_HEADER_SIGNATURE_OFF + VDI_HEADER_SIGNATURE_WIDTH &&
                   vdi_header_get_signature(buf) == VDI_SIGNATURE
               ? 100
               : 0;
}

/* ---- opening ---- */

static int check_size(uint64_t size, struct error **err)
{
    if (size > MAX_SIZE) {
        return error_set(err, ENOTSUP,
                         "Unsupported VDI image size (size is 0x%" PRIx64
                         ", max supported is 0x%" PRIx64 ")",
                         size, MAX_SIZE);
    }
    return 0;
}

/* What must be 512, 1 MiB, 0 or aligned. */
static int check_layout(const uint8_t *h, struct error **err)
{
    uint32_t version = vdi_header_get_version(h);

    if (vdi_header_get_signature(h) != VDI_SIGNATURE) {
        return error_set(err, EINVAL, "Image not in VDI format (bad signature %08x)",
                         (unsigned)vdi_header_get_signature(h));
    }
    if (version != VDI_VERSION_1_1) {
        return error_set(err, ENOTSUP, "unsupported VDI image (version %u.%u)", version >> 16,
                         version & 0xffff);
    }
    if (!IS_ALIGNED(vdi_header_get_offset_bmap(h), VDI_SECTOR)) {
        return error_set(err, ENOTSUP, "unsupported VDI image (unaligned block map offset 0x%x)",
                         (unsigned)vdi_header_get_offset_bmap(h));
    }
    if (!IS_ALIGNED(vdi_header_get_offset_data(h), VDI_SECTOR)) {
        return error_set(err, ENOTSUP, "unsupported VDI image (unaligned data offset 0x%x)",
                         (unsigned)vdi_header_get_offset_data(h));
    }
    if (vdi_header_get_sector_size(h) != VDI_SECTOR) {
        return error_set(err, ENOTSUP, "unsupported VDI image (sector size %u is not %u)",
                         (unsigned)vdi_header_get_sector_size(h), (unsigned)VDI_SECTOR);
    }
    if (vdi_header_get_block_size(h) != VDI_BLOCK) {
        return error_set(err, ENOTSUP, "unsupported VDI image (block size %u is not %u)",
                         (unsigned)vdi_header_get_block_size(h), (unsigned)VDI_BLOCK);
    }
    if (vdi_header_get_block_extra(h) != 0) {
        return error_set(err, ENOTSUP, "unsupported VDI image (block extra data %u)",
                         (unsigned)vdi_header_get_block_extra(h));
    }
    return 0;
}

static int check_header(const uint8_t *h, struct error **err)
{
    uint64_t size = vdi_header_get_disk_size(h);
    uint32_t blocks = vdi_header_get_blocks_in_image(h);

    int ret = check_size(size, err);
    ret = ret < 0 ? ret : check_layout(h, err);
    if (ret < 0) {
        return ret;
    }
    size = ROUND_UP(size, VDI_SECTOR);
    if (size > (uint64_t)blocks * VDI_BLOCK) {
        return error_set(err, ENOTSUP,
                         "unsupported VDI image (disk size %" PRIu64
                         ", image bitmap has room for %" PRIu64 ")",
                         size, (uint64_t)blocks * VDI_BLOCK);
    }
    if (!buf_is_zero(h + VDI_HEADER_UUID_LINK_OFF, VDI_HEADER_UUID_LINK_WIDTH)) {
        return error_set(err, ENOTSUP, "unsupported VDI image (non-NULL link UUID)");
    }
    if (!buf_is_zero(h + VDI_HEADER_UUID_PARENT_OFF, VDI_HEADER_UUID_PARENT_WIDTH)) {
        return error_set(err, ENOTSUP, "unsupported VDI image (non-NULL parent UUID)");
    }
    if (blocks > VDI_MAX_BLOCKS) {
        return error_set(err, ENOTSUP, "unsupported VDI image (too many blocks %u, max is %u)",
                         blocks, (unsigned)VDI_MAX_BLOCKS);
    }
    return 0;
}

/* Entry of block i; behind the end of the file it is 0, which names the first block. */
static uint32_t entry(const struct vdi *s, uint64_t i)
{
    assert(i < s->blocks);
    return i < s->loaded ? (uint32_t)vdi_map_entry_get_block(s->map + i * VDI_MAP_ENTRY_SIZE) : 0;
}

static bool is_allocated(uint32_t e)
{
    return e < VDI_DISCARDED;
}

/* Loads the part of the map that the file has: memory is bounded by the file. */
static int load_map(struct node *n, struct error **err)
{
    struct vdi *s = n->state;
    int64_t len = child_length(n->file);
    if (len < 0) {
        return error_set_errno(err, (int)-len, "Could not get image size");
    }
    int64_t there = MAX(len - s->map_offset, 0);
    s->loaded = (uint32_t)MIN((int64_t)s->blocks, DIV_ROUND_UP(there, VDI_MAP_ENTRY_SIZE));
    size_t bytes = ROUND_UP((size_t)s->loaded * VDI_MAP_ENTRY_SIZE, VDI_SECTOR);
    s->map = mem_try_zalloc(MAX(bytes, 1));
    if (!s->map) {
        return error_set_errno(err, ENOMEM, "Could not load the block map");
    }
    /* In pieces: one request may be shorter than the largest map. */
    for (size_t at = 0; at < bytes; at += (size_t)MIN(bytes - at, 64u << 20)) {
        int ret = child_pread(n->file, s->map_offset + (int64_t)at, s->map + at,
                              (int64_t)MIN(bytes - at, 64u << 20), LABEL_TABLE_LOAD, NULL);
        if (ret < 0) {
            return error_set_errno(err, -ret, "Could not read the block map");
        }
    }
    s->next = (uint32_t)vdi_header_get_blocks_allocated(s->header);
    for (uint32_t i = 0; i < s->loaded; i++) {
        uint32_t e = entry(s, i);
        s->next = e < s->blocks ? MAX(s->next, e + 1) : s->next;
    }
    return 0;
}

static void vdi_close(struct node *n)
{
    struct vdi *s = n->state;
    mem_free(s->map);
    s->map = NULL;
}

static int load(struct node *n, struct error **err)
{
    struct vdi *s = n->state;
    int ret = child_pread(n->file, 0, s->header, sizeof(s->header), LABEL_HEADER_LOAD, NULL);
    if (ret < 0) {
        return error_set_errno(err, -ret, "Could not read the VDI header");
    }
    ret = check_header(s->header, err);
    if (ret < 0) {
        return ret;
    }
    s->blocks = (uint32_t)vdi_header_get_blocks_in_image(s->header);
    s->size = (int64_t)ROUND_UP(vdi_header_get_disk_size(s->header), VDI_SECTOR);
    s->map_offset = (int64_t)vdi_header_get_offset_bmap(s->header);
    s->data_offset = (int64_t)vdi_header_get_offset_data(s->header);
    ret = load_map(n, err);
    if (ret < 0) {
        vdi_close(n);
    }
    return ret;
}

/* A block over the header or the map, or the map over the header, is read only (HDR-4, HDR-5). */
static int check_places(const struct vdi *s, unsigned flags, struct error **err)
{
    int64_t map_end = s->map_offset + (int64_t)s->blocks * VDI_MAP_ENTRY_SIZE;
    if (!(flags & OPEN_RDWR) || (s->map_offset >= VDI_HEADER_SIZE && s->data_offset >= map_end)) {
        return 0;
    }
    return error_set(err, EINVAL,
                     "The block map at 0x%" PRIx64 " or the blocks at 0x%" PRIx64
                     " lie over what is before them; the image cannot be opened read/write",
                     (uint64_t)s->map_offset, (uint64_t)s->data_offset);
}

static int vdi_open(struct node *n, struct value *opts, unsigned flags, struct error **err)
{
    int ret = open_file_child(n, opts, err);
    ret = ret < 0 ? ret : load(n, err);
    if (ret == 0) {
        ret = check_places(n->state, n->read_only ? 0 : flags, err);
        if (ret < 0) {
            vdi_close(n);
        }
    }
    return ret;
}

static void vdi_activate(struct node *n, struct error **err)
{
    vdi_close(n); /* somebody else had the image */
    load(n, err);
}

static int vdi_reopen_prepare(struct reopen *r, struct error **err)
{
    return check_places(r->node->state, r->flags, err);
}

static int64_t vdi_length(struct node *n)
{
    return ((struct vdi *)n->state)->size;
}

static void vdi_refresh_limits(struct node *n, struct error **err)
{
    n->limits.request_alignment = MAX(n->limits.request_alignment, VDI_SECTOR);
}

/* ---- reading and writing ---- */

static int64_t host_offset(const struct vdi *s, uint32_t e)
{
    return s->data_offset + (int64_t)e * BLOCK;
}

/* The part of a request inside one block. */
struct piece {
    uint64_t block;
    int64_t in_block, bytes;
};

static struct piece piece_at(const struct request *r, int64_t done)
{
    int64_t offset = r->offset + done;
    struct piece p = {.block = (uint64_t)(offset / BLOCK), .in_block = offset % BLOCK};
    p.bytes = MIN(r->bytes - done, BLOCK - p.in_block);
    return p;
}

static int vdi_read(struct node *n, const struct request *r)
{
    struct vdi *s = n->state;
    struct piece p;
    for (int64_t done = 0; done < r->bytes; done += p.bytes) {
        p = piece_at(r, done);
        uint32_t e = entry(s, p.block);
        if (!is_allocated(e)) {
            iov_fill(r->iov, r->iov_off + (size_t)done, 0, (size_t)p.bytes);
            continue;
        }
        int ret = child_preadv(n->file, host_offset(s, e) + p.in_block, p.bytes, r->iov,
                               r->iov_off + (size_t)done, r->flags, LABEL_READ_AIO, r);
        if (ret < 0) {
            return ret;
        }
    }
    return 0;
}

/* A whole new block: the piece, and zeroes around it. */
static int write_block(struct node *n, const struct request *r, int64_t done, const struct piece *p,
                       int64_t host)
{
    if (p->bytes == BLOCK) {
        return child_pwritev(n->file, host, BLOCK, r->iov, r->iov_off + (size_t)done, r->flags,
                             LABEL_WRITE_AIO, r);
    }
    uint8_t *buf = mem_try_zalloc((size_t)BLOCK);
    if (!buf) {
        return -ENOMEM;
    }
    iov_to_buf(r->iov, r->iov_off + (size_t)done, buf + p->in_block, (size_t)p->bytes);
    int ret = child_pwrite(n->file, host, buf, BLOCK, LABEL_WRITE_AIO, r);
    mem_free(buf);
    return ret;
}

/*
 * Writes a piece into a new block and enters it in header and map.  On failure the block stays
 * unused, and is not given away again while the image is open.
 */
static int allocate(struct node *n, const struct request *r, int64_t done, const struct piece *p)
{
    struct vdi *s = n->state;
    if (s->next >= VDI_DISCARDED) {
        return -ENOSPC;
    }
    uint32_t e = s->next;
    int ret = write_block(n, r, done, p, host_offset(s, e));
    if (ret < 0) {
        return ret;
    }
    s->next++;
    vdi_header_set_blocks_allocated(s->header, s->next);
    ret = child_pwrite(n->file, 0, s->header, sizeof(s->header), LABEL_HEADER_UPDATE, r);
    if (ret < 0) {
        return ret;
    }
    /* Others rely on the entry as soon as it stands in memory: not before it is certain. */
    size_t at = p->block * VDI_MAP_ENTRY_SIZE, start = ROUND_DOWN(at, VDI_SECTOR);
    uint8_t sector[VDI_SECTOR];
    memcpy(sector, s->map + start, sizeof(sector));
    vdi_map_entry_set_block(sector + (at - start), e);
    ret = child_pwrite(n->file, s->map_offset + (int64_t)start, sector, sizeof(sector),
                       LABEL_TABLE_UPDATE, r);
    if (ret == 0) {
        vdi_map_entry_set_block(s->map + at, e);
    }
    return ret;
}

static int write_piece(struct node *n, const struct request *r, int64_t done, const struct piece *p)
{
    struct vdi *s = n->state;
    if (!is_allocated(entry(s, p->block))) {
        co_lock(n->w, &s->lock);
        /* Another request may have been faster. */
        bool mine = !is_allocated(entry(s, p->block));
        int ret = mine ? allocate(n, r, done, p) : 0;
        co_unlock(n->w, &s->lock);
        if (mine) {
            return ret;
        }
    }
    int64_t host = host_offset(s, entry(s, p->block)) + p->in_block;
    return child_pwritev(n->file, host, p->bytes, r->iov, r->iov_off + (size_t)done, r->flags,
                         LABEL_WRITE_AIO, r);
}

static int vdi_write(struct node *n, const struct request *r)
{
    struct piece p;
    for (int64_t done = 0; done < r->bytes; done += p.bytes) {
        p = piece_at(r, done);
        int ret = write_piece(n, r, done, &p);
        if (ret < 0) {
            return ret;
        }
    }
    return 0;
}

/* A static image's blocks may be holes of its file. */
static int vdi_block_status(struct node *n, bool precise, int64_t offset, int64_t bytes,
                            struct status *out)
{
    const struct vdi *s = n->state;
    uint64_t block = (uint64_t)(offset / BLOCK);
    uint32_t e = entry(s, block);
    int64_t len = BLOCK - offset % BLOCK;
    if (!is_allocated(e)) {
        while (len < bytes && !is_allocated(entry(s, ++block))) {
            len += BLOCK;
        }
        *out = (struct status){.flags = STATUS_ZERO | STATUS_ALLOCATED, .bytes = MIN(len, bytes)};
        return 0;
    }
    bool is_static = vdi_header_get_image_type(s->header) == VDI_TYPE_STATIC;
    *out = (struct status){.flags = STATUS_DATA | STATUS_ALLOCATED | STATUS_OFFSET_VALID |
                                    (is_static ? STATUS_RECURSE : 0),
                           .bytes = MIN(len, bytes),
                           .map = host_offset(s, e) + offset % BLOCK,
                           .file = n->file->node};
    return 0;
}

static bool vdi_has_zero_init(struct node *n)
{
    const struct vdi *s = n->state;
    return vdi_header_get_image_type(s->header) != VDI_TYPE_STATIC ||
           node_has_zero_init(n->file->node);
}

static int vdi_info(struct node *n, struct image_info *out)
{
    out->cluster_size = (int)BLOCK;
    return 0;
}

/* ---- check ---- */

static void check_entry(struct node *n, struct check_result *res, uint64_t *used, uint32_t i,
                        uint32_t *allocated)
{
    struct vdi *s = n->state;
    uint32_t e = entry(s, i);
    if (!is_allocated(e)) {
        return;
    }
    if (e >= s->blocks) {
        world_report(n->w, REPORT_PLAIN, "ERROR: block index %u too large, is %u\n", i, e);
        res->corruptions++;
        return;
    }
    ++*allocated;
    if (bitmap_test(used, e)) {
        world_report(n->w, REPORT_PLAIN, "ERROR: block index %u also used by %u\n", e, e);
        res->corruptions++;
    }
    bitmap_set1(used, e);
}

/* Every block belongs to one entry, and they are as many as the header says (MAP-2 to MAP-4). */
static int vdi_check(struct node *n, struct check_result *res, unsigned fix)
{
    struct vdi *s = n->state;
    if (fix) {
        return -ENOTSUP;
    }
    uint64_t *used = mem_try_array(bitmap_words(s->blocks) + 1, sizeof(*used));
    if (!used) {
        return -ENOMEM;
    }
    uint32_t allocated = 0;
    for (uint32_t i = 0; i < s->loaded; i++) {
        check_entry(n, res, used, i, &allocated);
    }
    uint32_t missing = s->blocks - s->loaded;
    if (missing) {
        /* All of them would name block 0. */
        uint32_t extra = missing - !bitmap_test(used, 0);
        world_report(n->w, REPORT_PLAIN,
                     "ERROR: block map ends behind the file, %u entries are missing\n", missing);
        res->corruptions += (int)MIN(extra, (uint32_t)INT32_MAX / 2);
        allocated += missing;
    }
    if (allocated != vdi_header_get_blocks_allocated(s->header)) {
        world_report(n->w, REPORT_PLAIN, "ERROR: allocated blocks mismatch, is %u, should be %u\n",
                     allocated, (unsigned)vdi_header_get_blocks_allocated(s->header));
        res->corruptions++;
    }
    mem_free(used);
    return 0;
}

/* ---- creating ---- */

static void fill_header(struct world *w, uint8_t *h, uint64_t size, bool is_static)
{
    static const char text[] = "<<< QEMU VM Virtual Disk Image >>>\n";
    uint32_t blocks = (uint32_t)DIV_ROUND_UP(size, VDI_BLOCK);
    uint32_t map_bytes = ROUND_UP(blocks * (uint32_t)VDI_MAP_ENTRY_SIZE, VDI_SECTOR);
    memset(h, 0, VDI_HEADER_SIZE);
    memcpy(h + VDI_HEADER_TEXT_OFF, text, sizeof(text));
    vdi_header_set_signature(h, VDI_SIGNATURE);
    vdi_header_set_version(h, VDI_VERSION_1_1);
    vdi_header_set_header_size(h, VDI_HEADER_BYTES);
    vdi_header_set_image_type(h, is_static ? VDI_TYPE_STATIC : VDI_TYPE_DYNAMIC);
    vdi_header_set_offset_bmap(h, VDI_HEADER_SIZE);
    vdi_header_set_offset_data(h, VDI_HEADER_SIZE + map_bytes);
    vdi_header_set_sector_size(h, VDI_SECTOR);
    vdi_header_set_disk_size(h, size);
    vdi_header_set_block_size(h, VDI_BLOCK);
    vdi_header_set_blocks_in_image(h, blocks);
    vdi_header_set_blocks_allocated(h, is_static ? blocks : 0);
    world_uuid(w, h + VDI_HEADER_UUID_IMAGE_OFF);
    world_uuid(w, h + VDI_HEADER_UUID_LAST_SNAP_OFF);
}

/* The map in pieces: it may have 2 GiB. */
static int write_map(struct blk *b, uint32_t blocks, bool is_static)
{
    enum { PIECE = 16384 };
    uint8_t *buf = mem_alloc(PIECE * VDI_MAP_ENTRY_SIZE);
    int ret = 0;
    for (uint32_t first = 0; ret == 0 && first < blocks; first += PIECE) {
        uint32_t count = MIN(blocks - first, (uint32_t)PIECE);
        size_t bytes = ROUND_UP((size_t)count * VDI_MAP_ENTRY_SIZE, VDI_SECTOR);
        memset(buf, 0, bytes);
        for (uint32_t i = 0; i < count; i++) {
            vdi_map_entry_set_block(buf + i * VDI_MAP_ENTRY_SIZE,
                                    is_static ? first + i : VDI_UNALLOCATED);
        }
        int64_t at = VDI_HEADER_SIZE + (int64_t)first * VDI_MAP_ENTRY_SIZE;
        ret = blk_pwrite(b, at, buf, (int64_t)bytes, 0);
    }
    mem_free(buf);
    return ret;
}

static int create_on(struct world *w, struct node *file, uint64_t size, bool is_static,
                     struct error **err)
{
    uint8_t header[VDI_HEADER_SIZE];
    int ret = check_size(size, err);
    if (ret < 0) {
        return ret;
    }
    struct blk *b = format_create_blk(w, file, err);
    if (!b) {
        return -EINVAL;
    }
    fill_header(w, header, size, is_static);
    ret = blk_pwrite(b, 0, header, sizeof(header), 0);
    if (ret < 0) {
        error_set_errno(err, -ret, "Error writing header");
        goto out;
    }
    uint32_t blocks = (uint32_t)vdi_header_get_blocks_in_image(header);
    ret = write_map(b, blocks, is_static);
    if (ret < 0) {
        error_set_errno(err, -ret, "Error writing bmap");
        goto out;
    }
    if (is_static) {
        int64_t end = (int64_t)vdi_header_get_offset_data(header) + (int64_t)blocks * BLOCK;
        struct error *local = NULL;
        ret = blk_truncate(b, end, false, PREALLOC_OFF, 0, &local);
        error_prepend(&local, "Failed to statically allocate file: ");
        error_propagate(err, local);
    }
out:
    blk_unref(b);
    return ret;
}

static int vdi_create(struct world *w, const char *filename, struct value *opts, struct error **err)
{
    uint64_t size = 0;
    bool is_static = false;
    int ret = opts_get_size(vdi_create_options, opts, "size", &size, err);
    ret = ret < 0 ? ret : opts_get_bool(vdi_create_options, opts, "static", &is_static, err);
    if (ret < 0) {
        return ret;
    }
    struct node *file = format_create_file(w, filename, opts, vdi_create_options, err);
    if (!file) {
        return -EINVAL;
    }
    size = size > UINT64_MAX - VDI_SECTOR ? size : ROUND_UP(size, VDI_SECTOR);
    ret = create_on(w, file, size, is_static, err);
    node_unref(file);
    return ret;
}

static int vdi_create_json(struct world *w, struct value *opts, struct error **err)
{
    uint64_t size = 0;
    const char *mode = dict_get_str(opts, "preallocation");
    int ret = opts_get_size(vdi_create_options, opts, "size", &size, err);
    if (ret < 0) {
        return ret;
    }
    bool is_static = mode && !strcmp(mode, prealloc_names[PREALLOC_METADATA]);
    struct node *file = format_take_node(w, opts, "file", err);
    if (!file) {
        return -EINVAL;
    }
    ret = check_size(size, err);
    if (ret == 0 && mode && !is_static && strcmp(mode, prealloc_names[PREALLOC_OFF])) {
        ret = error_set(err, EINVAL, "Preallocation mode not supported for vdi");
    }
    ret = ret < 0 ? ret : create_on(w, file, size, is_static, err);
    node_unref(file);
    return ret;
}

static const enum label labels[] = {LABEL_HEADER_LOAD,  LABEL_HEADER_UPDATE, LABEL_TABLE_LOAD,
                                    LABEL_TABLE_UPDATE, LABEL_READ_AIO,      LABEL_WRITE_AIO,
                                    LABEL_COUNT};

const struct block_driver driver_vdi = {
    .name = "vdi",
    .labels = labels,
    .kind = DRIVER_FORMAT,
    .state_size = sizeof(struct vdi),
    .create_options = vdi_create_options,
    .probe = vdi_probe,
    .open = vdi_open,
    .close = vdi_close,
    .reopen_prepare = vdi_reopen_prepare,
    .create = vdi_create,
    .create_json = vdi_create_json,
    .read = vdi_read,
    .write = vdi_write,
    .block_status = vdi_block_status,
    .length = vdi_length,
    .refresh_limits = vdi_refresh_limits,
    .has_zero_init = vdi_has_zero_init,
    .info = vdi_info,
    .check = vdi_check,
    .activate = vdi_activate,
};
