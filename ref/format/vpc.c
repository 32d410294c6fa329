/*
 * vpc: Virtual PC's VHD images, fixed and dynamic.
 *
 * Models: the footer with its checksum (and its copy in front of dynamic images), the two opinions
 * on a disk's size (geometry, current size) and which writers hold which, the block allocation
 * table (BAT), blocks with their bitmaps.  A new block takes the footer's place; the footer is
 * stable behind it before the BAT names it.  As QEMU, reading does not look at bitmaps, writing
 * sets them whole.  Leaves out: differencing images (refused), freeing blocks, resizing.
 */
#include <errno.h>
#include <inttypes.h>
#include "ref/block/io.h"
#include "ref/block/open.h"
#include "ref/engine/clock.h"
#include "ref/format/create.h"
#include "ref/format/format.h"
#include "specs/vpc_layout.h"

#define SECTOR   ((int64_t)VPC_SECTOR)
#define NO_BLOCK UINT32_MAX

struct vpc {
    uint8_t footer[VPC_FOOTER_SIZE];
    bool fixed;
    uint8_t *bat; /* as on disk, whole sectors */
    uint32_t entries;
    int64_t bat_offset, block_size, bitmap_size;
    int64_t free_offset; /* where the footer is, and the next block goes */
    int64_t size;
    uint32_t marked; /* block whose bitmap is known to be set, or NO_BLOCK */
    struct co_mutex lock;
};

static const char *const size_calcs[] = {"chs", "current_size", NULL};
static const char *const subformats[] = {"dynamic", "fixed", NULL};

static const struct opt_desc vpc_options[] = {
    {.name = "force_size_calc",
     .type = OPT_STRING,
     .help = "Force disk size calculation to use either CHS geometry, or use the disk current_size "
             "specified in the VHD footer. {chs, current_size}"},
    {.name = NULL},
};

static const struct opt_desc vpc_create_options[] = {
    {.name = "size", .type = OPT_SIZE, .help = "Virtual disk size"},
    {.name = "subformat",
     .type = OPT_STRING,
     .help =
         "Type of virtual hard disk format. Supported formats are {dynamic (default) | fixed} "},
    {.name = "force_size",
     .type = OPT_BOOL,
     .help = "Force disk size calculation to use the actual size specified, rather than using the "
             "nearest CHS-based calculation"},
    {.name = NULL},
};

static int vpc_probe(const uint8_t *buf, size_t len, const char *filename)
{
    return len >= 8 && vpc_footer_get_cookie(buf) == VPC_COOKIE ? 100 : 0;
}

/* Complement of the sum of the bytes, the checksum's own four taken as zero (FTR-4). */
static uint32_t checksum(const uint8_t *p, size_t len, size_t at)
{
    uint32_t sum = 0;
    for (size_t i = 0; i < len; i++) {
        sum += i < at || i >= at + 4 ? p[i] : 0;
    }
    return ~sum;
}

/* ---- opening ---- */

static int read_footer(struct node *n, struct error **err)
{
    struct vpc *s = n->state;
    int ret = child_pread(n->file, 0, s->footer, sizeof(s->footer), LABEL_HEADER_LOAD, NULL);
    if (ret < 0) {
        return error_set_errno(err, -ret, "Unable to read VHD header");
    }
    s->fixed = false;
    if (vpc_footer_get_cookie(s->footer) != VPC_COOKIE) {
        int64_t len = child_length(n->file);
        if (len < 0) {
            return error_set_errno(err, (int)-len, "Invalid image size");
        }
        if (len < VPC_FOOTER_SIZE) {
            return error_set(err, EINVAL, "File too small for a VHD header");
        }
        ret = child_pread(n->file, len - VPC_FOOTER_SIZE, s->footer, sizeof(s->footer),
                          LABEL_HEADER_LOAD, NULL);
        if (ret < 0) {
            return error_set_errno(err, -ret, "Unable to read VHD footer");
        }
        if (vpc_footer_get_cookie(s->footer) != VPC_COOKIE ||
            vpc_footer_get_disk_type(s->footer) != VPC_TYPE_FIXED) {
            return error_set(err, EINVAL, "invalid VPC image");
        }
    }
    if (checksum(s->footer, sizeof(s->footer), VPC_FOOTER_CHECKSUM_OFF) !=
        vpc_footer_get_checksum(s->footer)) {
        return error_set(err, EINVAL, "Incorrect header checksum");
    }
    s->fixed = vpc_footer_get_disk_type(s->footer) == VPC_TYPE_FIXED;
    return 0;
}

/* Writers whose geometry is no more than a hint. */
static bool trusts_current_size(const uint8_t *f)
{
    static const char apps[][5] = {"win ", "qem2", "d2v ", "tap\0", "CTXS"};
    for (size_t i = 0; i < ARRAY_SIZE(apps); i++) {
        if (!memcmp(f + VPC_FOOTER_CREATOR_APP_OFF, apps[i], 4)) {
            return true;
        }
    }
    return false;
}

static int set_size(struct node *n, const char *calc, struct error **err)
{
    struct vpc *s = n->state;
    const uint8_t *f = s->footer;
    uint64_t cyls = vpc_footer_get_cylinders(f), heads = vpc_footer_get_heads(f);
    uint64_t per_track = vpc_footer_get_sectors_per_track(f);
    bool current = calc ? !strcmp(calc, size_calcs[1]) : trusts_current_size(f);
    bool largest = cyls == VPC_MAX_CYLINDERS && heads == VPC_MAX_HEADS &&
                   per_track == VPC_MAX_SECTORS_PER_TRACK;
    uint64_t sectors =
        current || largest ? vpc_footer_get_current_size(f) / VPC_SECTOR : cyls * heads * per_track;
    if (sectors > VPC_MAX_SECTORS) {
        return error_set_errno(err, EFBIG, "Could not open '%s'", n->file->node->filename);
    }
    s->size = (int64_t)sectors * SECTOR;
    return 0;
}

static int check_dynamic(struct vpc *s, const uint8_t *d, struct error **err)
{
    if (vpc_dynamic_get_cookie(d) != VPC_DYN_COOKIE) {
        return error_set(err, EINVAL, "Invalid header magic");
    }
    uint32_t block = (uint32_t)vpc_dynamic_get_block_size(d);
    if (!IS_POW2(block) || block < VPC_SECTOR || block > INT32_MAX) {
        return error_set(err, EINVAL, "Invalid block size %" PRIu32, block);
    }
    s->block_size = block;
    s->bitmap_size = ROUND_UP(DIV_ROUND_UP(s->block_size, SECTOR * 8), SECTOR);
    s->entries = (uint32_t)vpc_dynamic_get_max_table_entries(d);
    if (s->entries > INT32_MAX / 4) {
        return error_set(err, EINVAL, "Max Table Entries too large (%" PRId32 ")",
                         (int32_t)s->entries);
    }
    if ((uint64_t)s->entries * block < (uint64_t)s->size) {
        return error_set(err, EINVAL, "Page table too small");
    }
    return 0;
}

static uint32_t entry(const struct vpc *s, uint64_t i)
{
    return i < s->entries ? (uint32_t)vpc_bat_entry_get_sector(s->bat + i * VPC_BAT_ENTRY_SIZE)
                          : VPC_UNUSED;
}

/* The BAT must lie in the file before memory is taken for it; so must every block. */
static int read_bat(struct node *n, uint64_t offset, struct error **err)
{
    static const char truncated[] = "block-vpc: free_data_block_offset points after the end of "
                                    "file. The image has been truncated.";
    struct vpc *s = n->state;
    int64_t bytes = (int64_t)s->entries * VPC_BAT_ENTRY_SIZE;
    int64_t len = child_length(n->file);
    if (len < 0) {
        return error_set_errno(err, (int)-len, "Unable to get image size");
    }
    if (offset > (uint64_t)(INT64_MAX - 2 * bytes - SECTOR)) {
        return error_set(err, EINVAL, "Error reading pagetable");
    }
    s->bat_offset = (int64_t)offset;
    s->free_offset = ROUND_UP(s->bat_offset + bytes, SECTOR);
    if (s->free_offset > len) {
        return error_set(err, EINVAL, "%s", truncated);
    }
    s->bat = mem_try_zalloc((size_t)ROUND_UP(MAX(bytes, 1), SECTOR));
    if (!s->bat) {
        return error_set(err, ENOMEM, "Unable to allocate memory for page table");
    }
    int ret = child_pread(n->file, s->bat_offset, s->bat, bytes, LABEL_TABLE_LOAD, NULL);
    if (ret < 0) {
        return error_set_errno(err, -ret, "Error reading pagetable");
    }
    for (uint32_t i = 0; i < s->entries; i++) {
        uint32_t e = entry(s, i);
        if (e != VPC_UNUSED) {
            int64_t end = e * SECTOR + s->bitmap_size + s->block_size;
            s->free_offset = MAX(s->free_offset, end);
        }
    }
    return s->free_offset > len ? error_set(err, EINVAL, "%s", truncated) : 0;
}

static void vpc_close(struct node *n)
{
    struct vpc *s = n->state;
    mem_free(s->bat);
    s->bat = NULL;
}

static int open_dynamic(struct node *n, struct error **err)
{
    struct vpc *s = n->state;
    uint8_t d[VPC_DYNAMIC_SIZE];
    uint64_t at = vpc_footer_get_data_offset(s->footer);
    if (vpc_footer_get_disk_type(s->footer) == VPC_TYPE_DIFFERENCING) {
        return error_set(err, ENOTSUP, "Differencing VHD images are not supported");
    }
    int ret = at > INT64_MAX - sizeof(d)
                  ? -EIO
                  : child_pread(n->file, (int64_t)at, d, sizeof(d), LABEL_HEADER_LOAD, NULL);
    if (ret < 0) {
        return error_set(err, -ret, "Error reading dynamic VHD header");
    }
    ret = check_dynamic(s, d, err);
    ret = ret < 0 ? ret : read_bat(n, vpc_dynamic_get_table_offset(d), err);
    if (ret < 0) {
        vpc_close(n);
    }
    return ret;
}

static int take_calc(struct value *opts, char **calc, struct error **err)
{
    const char *v = dict_get_str(opts, "force_size_calc");
    if (v && strcmp(v, size_calcs[0]) && strcmp(v, size_calcs[1])) {
        return error_set(err, EINVAL, "Invalid size calculation mode: '%s'", v);
    }
    *calc = str_dup(v);
    dict_del(opts, "force_size_calc");
    return 0;
}

static int load(struct node *n, const char *calc, struct error **err)
{
    struct vpc *s = n->state;
    s->marked = NO_BLOCK;
    int ret = read_footer(n, err);
    ret = ret < 0 ? ret : set_size(n, calc, err);
    return ret < 0 || s->fixed ? ret : open_dynamic(n, err);
}

static int vpc_open(struct node *n, struct value *opts, unsigned flags, struct error **err)
{
    char *calc = NULL;
    int ret = open_file_child(n, opts, err);
    ret = ret < 0 ? ret : take_calc(opts, &calc, err);
    ret = ret < 0 ? ret : load(n, calc, err);
    mem_free(calc);
    return ret;
}

static int vpc_reopen_prepare(struct reopen *r, struct error **err)
{
    return 0;
}

static int64_t vpc_length(struct node *n)
{
    return ((struct vpc *)n->state)->size;
}

static void vpc_refresh_limits(struct node *n, struct error **err)
{
    n->limits.request_alignment = MAX(n->limits.request_alignment, VPC_SECTOR);
}

/* ---- reading and writing ---- */

struct piece {
    uint64_t block;
    int64_t in_block, bytes;
};

static struct piece piece_at(const struct vpc *s, const struct request *r, int64_t done)
{
    int64_t offset = r->offset + done;
    struct piece p = {(uint64_t)(offset / s->block_size), offset % s->block_size, 0};
    p.bytes = MIN(r->bytes - done, s->block_size - p.in_block);
    return p;
}

static int64_t data_offset(const struct vpc *s, uint32_t e)
{
    return e * SECTOR + s->bitmap_size;
}

static int vpc_read(struct node *n, const struct request *r)
{
    struct vpc *s = n->state;
    if (s->fixed) {
        return child_preadv(n->file, r->offset, r->bytes, r->iov, r->iov_off, r->flags,
                            LABEL_READ_AIO, r);
    }
    struct piece p;
    for (int64_t done = 0; done < r->bytes; done += p.bytes) {
        p = piece_at(s, r, done);
        uint32_t e = entry(s, p.block);
        size_t at = r->iov_off + (size_t)done;
        if (e == VPC_UNUSED) {
            iov_fill(r->iov, at, 0, (size_t)p.bytes);
            continue;
        }
        int ret = child_preadv(n->file, data_offset(s, e) + p.in_block, p.bytes, r->iov, at,
                               r->flags, LABEL_READ_AIO, r);
        if (ret < 0) {
            return ret;
        }
    }
    return 0;
}

static int mark_block(struct node *n, uint64_t block, int64_t offset, const struct request *r)
{
    struct vpc *s = n->state;
    if (s->marked == block) {
        return 0;
    }
    uint8_t *ones = mem_alloc((size_t)s->bitmap_size);
    memset(ones, 0xff, (size_t)s->bitmap_size);
    int ret = child_pwrite(n->file, offset, ones, s->bitmap_size, LABEL_ALLOC_BITMAP_UPDATE, r);
    mem_free(ones);
    s->marked = ret < 0 ? NO_BLOCK : (uint32_t)block;
    return ret;
}

/* Gives a block the place where the footer is (BAT-2). */
static int allocate(struct node *n, uint64_t block, const struct request *r)
{
    struct vpc *s = n->state;
    int64_t at = s->free_offset, end = at + s->bitmap_size + s->block_size;
    if (at / SECTOR >= VPC_UNUSED) {
        return -ENOSPC;
    }
    int64_t len = child_length(n->file);
    int ret = len < 0 ? (int)len : 0;
    if (ret == 0 && len > at + VPC_FOOTER_SIZE) {
        /* Something is there that no entry names: an allocation that was cut short. */
        ret = child_pwrite_zeroes(n->file, at + s->bitmap_size, s->block_size, 0, LABEL_TABLE_GROW,
                                  r);
    }
    if (ret == 0) {
        ret = child_pwrite(n->file, end, s->footer, sizeof(s->footer), LABEL_FOOTER_UPDATE, r);
    }
    ret = ret < 0 ? ret : mark_block(n, block, at, r);
    ret = ret < 0 ? ret : child_flush(n->file, r);
    if (ret < 0) {
        s->marked = NO_BLOCK;
        return ret;
    }
    uint8_t raw[VPC_BAT_ENTRY_SIZE];
    vpc_bat_entry_set_sector(raw, (uint32_t)(at / SECTOR));
    ret = child_pwrite(n->file, s->bat_offset + (int64_t)block * VPC_BAT_ENTRY_SIZE, raw,
                       sizeof(raw), LABEL_TABLE_UPDATE, r);
    s->free_offset = end; /* also on failure: the entry may be there */
    if (ret == 0) {
        memcpy(s->bat + block * VPC_BAT_ENTRY_SIZE, raw, sizeof(raw));
    }
    return ret;
}

static int prepare_block(struct node *n, uint64_t block, const struct request *r)
{
    struct vpc *s = n->state;
    co_lock(n->w, &s->lock);
    uint32_t e = entry(s, block);
    int ret = e == VPC_UNUSED ? allocate(n, block, r) : mark_block(n, block, e * SECTOR, r);
    co_unlock(n->w, &s->lock);
    return ret;
}

static int vpc_write(struct node *n, const struct request *r)
{
    struct vpc *s = n->state;
    if (s->fixed) {
        return child_pwritev(n->file, r->offset, r->bytes, r->iov, r->iov_off, r->flags,
                             LABEL_WRITE_AIO, r);
    }
    struct piece p;
    for (int64_t done = 0; done < r->bytes; done += p.bytes) {
        p = piece_at(s, r, done);
        int ret = prepare_block(n, p.block, r);
        if (ret == 0) {
            int64_t at = data_offset(s, entry(s, p.block)) + p.in_block;
            ret = child_pwritev(n->file, at, p.bytes, r->iov, r->iov_off + (size_t)done, r->flags,
                                LABEL_WRITE_AIO, r);
        }
        if (ret < 0) {
            return ret;
        }
    }
    return 0;
}

static int vpc_block_status(struct node *n, bool precise, int64_t offset, int64_t bytes,
                            struct status *out)
{
    const struct vpc *s = n->state;
    *out = (struct status){.flags = STATUS_DATA | STATUS_ALLOCATED | STATUS_OFFSET_VALID,
                           .bytes = bytes,
                           .map = offset,
                           .file = n->file->node};
    if (s->fixed) {
        out->flags |= STATUS_RECURSE;
        return 0;
    }
    uint64_t block = (uint64_t)(offset / s->block_size);
    int64_t len = s->block_size - offset % s->block_size;
    uint32_t e = entry(s, block);
    if (e != VPC_UNUSED) {
        out->map = data_offset(s, e) + offset % s->block_size;
    } else {
        while (len < bytes && entry(s, ++block) == VPC_UNUSED) {
            len += s->block_size;
        }
        *out = (struct status){.flags = STATUS_ZERO | STATUS_ALLOCATED};
    }
    out->bytes = MIN(len, bytes);
    return 0;
}

static bool vpc_has_zero_init(struct node *n)
{
    const struct vpc *s = n->state;
    return !s->fixed || node_has_zero_init(n->file->node);
}

static int vpc_info(struct node *n, struct image_info *out)
{
    const struct vpc *s = n->state;
    out->cluster_size = s->fixed ? 0 : (int)(uint32_t)s->block_size;
    return 0;
}

/* ---- creating ---- */

struct shape {
    uint64_t sectors;
    unsigned cyls, heads, per_track;
    bool fixed, force;
};

/* The geometry of so many sectors, by the appendix of the source. */
static void geometry(uint64_t sectors, struct shape *g)
{
    uint64_t tracks;
    if (sectors >= 65535ull * 16 * 63) {
        sectors = MIN(sectors, 65535ull * 16 * 255);
        g->per_track = 255;
        g->heads = 16;
        tracks = sectors / 255;
    } else {
        g->per_track = 17;
        tracks = sectors / 17;
        g->heads = MAX((unsigned)DIV_ROUND_UP(tracks, 1024), 4);
        if (tracks >= g->heads * 1024ull || g->heads > 16) {
            g->per_track = 31;
            g->heads = 16;
            tracks = sectors / 31;
        }
        if (tracks >= g->heads * 1024ull) {
            g->per_track = 63;
            g->heads = 16;
            tracks = sectors / 63;
        }
    }
    g->cyls = (unsigned)(tracks / g->heads);
}

/* The smallest disk of at least `sectors` that a geometry can say; beyond the largest geometry,
 * just that many. */
static void choose_geometry(uint64_t sectors, struct shape *g)
{
    uint64_t largest = 65535ull * 16 * 255;
    *g = (struct shape){.sectors = sectors, .fixed = g->fixed, .force = g->force};
    if (g->force || sectors >= largest) {
        g->cyls = VPC_MAX_CYLINDERS;
        g->heads = VPC_MAX_HEADS;
        g->per_track = VPC_MAX_SECTORS_PER_TRACK;
        return;
    }
    uint64_t have = 0;
    for (uint64_t try = sectors; sectors && have < sectors; try++) {
        geometry(try, g);
        have = (uint64_t)g->cyls * g->heads * g->per_track;
    }
    /* A reader takes the current size then, not the geometry. */
    g->sectors = have == largest ? sectors : have;
}

static void fill_footer(struct world *w, uint8_t *f, const struct shape *g)
{
    memset(f, 0, VPC_FOOTER_SIZE);
    vpc_footer_set_cookie(f, VPC_COOKIE);
    vpc_footer_set_features(f, VPC_FEATURES);
    vpc_footer_set_version(f, VPC_VERSION);
    vpc_footer_set_data_offset(f, g->fixed ? UINT64_MAX : VPC_FOOTER_SIZE);
    int64_t now = clock_now(w, CLOCK_HOST) / 1000000000;
    vpc_footer_set_timestamp(f, (uint32_t)(now - VPC_EPOCH));
    memcpy(f + VPC_FOOTER_CREATOR_APP_OFF, g->force ? "qem2" : "qemu", 4);
    vpc_footer_set_creator_version(f, 0x00050003);
    memcpy(f + VPC_FOOTER_CREATOR_OS_OFF, "Wi2k", 4);
    vpc_footer_set_original_size(f, g->sectors * VPC_SECTOR);
    vpc_footer_set_current_size(f, g->sectors * VPC_SECTOR);
    vpc_footer_set_cylinders(f, (uint16_t)g->cyls);
    vpc_footer_set_heads(f, (uint8_t)g->heads);
    vpc_footer_set_sectors_per_track(f, (uint8_t)g->per_track);
    vpc_footer_set_disk_type(f, g->fixed ? VPC_TYPE_FIXED : VPC_TYPE_DYNAMIC);
    world_uuid(w, f + VPC_FOOTER_UNIQUE_ID_OFF);
    vpc_footer_set_checksum(f, checksum(f, VPC_FOOTER_SIZE, VPC_FOOTER_CHECKSUM_OFF));
}

static int write_dynamic(struct blk *b, const uint8_t *footer, const struct shape *g)
{
    uint32_t entries = (uint32_t)DIV_ROUND_UP(g->sectors * VPC_SECTOR, VPC_BLOCK);
    int64_t bat = VPC_FOOTER_SIZE + VPC_DYNAMIC_SIZE;
    size_t bytes = ROUND_UP((size_t)entries * VPC_BAT_ENTRY_SIZE, VPC_SECTOR); /* at most 4 MiB */
    uint8_t d[VPC_DYNAMIC_SIZE] = {0};
    vpc_dynamic_set_cookie(d, VPC_DYN_COOKIE);
    vpc_dynamic_set_data_offset(d, UINT64_MAX);
    vpc_dynamic_set_table_offset(d, (uint64_t)bat);
    vpc_dynamic_set_version(d, VPC_VERSION);
    vpc_dynamic_set_max_table_entries(d, entries);
    vpc_dynamic_set_block_size(d, VPC_BLOCK);
    vpc_dynamic_set_checksum(d, checksum(d, sizeof(d), VPC_DYNAMIC_CHECKSUM_OFF));

    uint8_t *table = mem_alloc(MAX(bytes, 1));
    memset(table, 0xff, bytes);
    int ret = blk_pwrite(b, 0, footer, VPC_FOOTER_SIZE, 0);
    ret = ret < 0 ? ret : blk_pwrite(b, VPC_FOOTER_SIZE, d, sizeof(d), 0);
    ret = ret < 0 || !bytes ? ret : blk_pwrite(b, bat, table, (int64_t)bytes, 0);
    ret = ret < 0 ? ret : blk_pwrite(b, bat + (int64_t)bytes, footer, VPC_FOOTER_SIZE, 0);
    mem_free(table);
    return ret;
}

static int create_on(struct world *w, struct node *file, const struct shape *g, struct error **err)
{
    uint8_t footer[VPC_FOOTER_SIZE];
    struct blk *b = format_create_blk(w, file, err);
    if (!b) {
        return -EINVAL;
    }
    fill_footer(w, footer, g);
    int ret;
    if (g->fixed) {
        int64_t size = (int64_t)g->sectors * SECTOR;
        ret = blk_truncate(b, size + VPC_FOOTER_SIZE, false, PREALLOC_OFF, 0, err);
        ret = ret < 0 ? ret : blk_pwrite(b, size, footer, VPC_FOOTER_SIZE, 0);
    } else {
        ret = write_dynamic(b, footer, g);
    }
    if (ret < 0 && err && !*err) {
        error_set_errno(err, -ret, "Could not write the image");
    }
    blk_unref(b);
    return ret;
}

static int parse(const struct value *opts, struct shape *g, uint64_t *size, struct error **err)
{
    const char *sub = dict_get_str(opts, "subformat");
    int ret = opts_get_size(vpc_create_options, opts, "size", size, err);
    ret = ret < 0 ? ret : opts_get_bool(vpc_create_options, opts, "force_size", &g->force, err);
    if (ret == 0 && sub && strcmp(sub, subformats[0]) && strcmp(sub, subformats[1])) {
        ret = error_set(err, EINVAL, "Parameter 'subformat' does not accept value '%s'", sub);
    }
    g->fixed = sub && !strcmp(sub, subformats[1]);
    return ret;
}

static int check_size(uint64_t size, struct error **err)
{
    return size / VPC_SECTOR > VPC_MAX_SECTORS
               ? error_set(err, EFBIG, "Disk size is too large, max size is 2040 GiB")
               : 0;
}

static int vpc_create(struct world *w, const char *filename, struct value *opts, struct error **err)
{
    struct shape g = {0};
    uint64_t size = 0;
    struct node *file = format_create_file(w, filename, opts, vpc_create_options, err);
    if (!file) {
        return -EINVAL;
    }
    int ret = parse(opts, &g, &size, err);
    ret = ret < 0 ? ret : check_size(size, err);
    if (ret == 0) {
        choose_geometry(DIV_ROUND_UP(size, VPC_SECTOR), &g);
        ret = create_on(w, file, &g, err);
    }
    node_unref(file);
    return ret;
}

static int vpc_create_json(struct world *w, struct value *opts, struct error **err)
{
    struct shape g = {0};
    uint64_t size = 0;
    struct value *force = dict_take(opts, "force-size");
    if (force) {
        dict_put(opts, "force_size", force);
    }
    int ret = parse(opts, &g, &size, err);
    struct node *file = ret < 0 ? NULL : format_take_node(w, opts, "file", err);
    if (!file) {
        return -EINVAL;
    }
    ret = check_size(size, err);
    if (ret == 0) {
        choose_geometry(size / VPC_SECTOR, &g);
        ret = g.sectors * VPC_SECTOR == size
                  ? create_on(w, file, &g, err)
                  : error_set(err, EINVAL,
                              "The requested image size cannot be represented in CHS "
                              "geometry");
    }
    node_unref(file);
    return ret;
}

const struct block_driver driver_vpc = {
    .name = "vpc",
    .kind = DRIVER_FORMAT,
    .state_size = sizeof(struct vpc),
    .open_options = vpc_options,
    .create_options = vpc_create_options,
    .probe = vpc_probe,
    .open = vpc_open,
    .close = vpc_close,
    .reopen_prepare = vpc_reopen_prepare,
    .create = vpc_create,
    .create_json = vpc_create_json,
    .read = vpc_read,
    .write = vpc_write,
    .block_status = vpc_block_status,
    .length = vpc_length,
    .refresh_limits = vpc_refresh_limits,
    .has_zero_init = vpc_has_zero_init,
    .info = vpc_info,
};
