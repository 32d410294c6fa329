/*
 * vpc: Virtual PC's VHD images, fixed, dynamic, and differencing ones to read.
 *
 * Models: the footer with its checksum (and its copy in front of dynamic images), the two opinions
 * on a disk's size (geometry, current size) and which writers hold which, the block allocation
 * table (BAT).  Leaves out: writing differencing images (refused), resizing (as QEMU).
 */
#include <errno.h>
#include <inttypes.h>
#include "ref/format/vpc/vpc.h"

static const char read_only[] = "Differencing VHD images can only be read";
static const char *const size_calcs[] = {"chs", "current_size", NULL};

static const char *const vpc_strong_options[] = {"force_size_calc", NULL};
static const struct opt_desc vpc_options[] = {
    {.name = "force_size_calc",
     .type = OPT_STRING,
     .help = "Force disk size calculation to use either CHS geometry, or use the disk current_size "
             "specified in the VHD footer. {chs, current_size}"},
    {.name = NULL},
};

static int vpc_probe(const uint8_t *buf, size_t len, const char *filename)
{
    return len >= 8 && vpc_footer_get_cookie(buf) == VPC_COOKIE ? 100 : 0;
}

uint32_t vpc_checksum(const uint8_t *p, size_t len, size_t at)
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
    if (vpc_checksum(s->footer, sizeof(s->footer), VPC_FOOTER_CHECKSUM_OFF) !=
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

uint32_t vpc_entry(const struct vpc *s, uint64_t i)
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
        uint32_t e = vpc_entry(s, i);
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
    table_cache_free(&s->bitmaps);
    mem_free(s->bat);
    s->bat = NULL;
}

static int open_dynamic(struct node *n, struct error **err)
{
    struct vpc *s = n->state;
    uint8_t d[VPC_DYNAMIC_SIZE];
    uint64_t at = vpc_footer_get_data_offset(s->footer);
    s->differencing = vpc_footer_get_disk_type(s->footer) == VPC_TYPE_DIFFERENCING;
    if (s->differencing && node_apply_auto_read_only(n, read_only, err) < 0) {
        return -EACCES;
    }
    int ret = at > INT64_MAX - sizeof(d)
                  ? -EIO
                  : child_pread(n->file, (int64_t)at, d, sizeof(d), LABEL_HEADER_LOAD, NULL);
    if (ret < 0) {
        return error_set(err, -ret, "Error reading dynamic VHD header");
    }
    ret = check_dynamic(s, d, err);
    ret = ret < 0 ? ret : read_bat(n, vpc_dynamic_get_table_offset(d), err);
    ret = ret < 0 || !s->differencing ? ret : vpc_name_parent(n, d, err);
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
    table_cache_init(&s->bitmaps, n->file);
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
    if (vpc_state(r->node)->differencing && (r->flags & OPEN_RDWR)) {
        return error_set(err, EACCES, "%s", read_only);
    }
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

/* Without the bitmaps of differencing images, which are read only. */
static const enum label labels[] = {
    LABEL_HEADER_LOAD,  LABEL_FOOTER_UPDATE, LABEL_TABLE_LOAD,
    LABEL_TABLE_UPDATE, LABEL_TABLE_GROW,    LABEL_ALLOC_BITMAP_UPDATE,
    LABEL_READ_AIO,     LABEL_WRITE_AIO,     LABEL_COUNT};

const struct block_driver driver_vpc = {
    .name = "vpc",
    .labels = labels,
    .kind = DRIVER_FORMAT,
    .state_size = sizeof(struct vpc),
    .supports_backing = true,
    .check_backing = vpc_check_backing,
    .open_options = vpc_options,
    .strong_options = vpc_strong_options,
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
