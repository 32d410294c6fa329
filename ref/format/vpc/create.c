/*
 * Creating VHD images: fixed or dynamic, their geometry, their footer.
 */
#include "ref/format/vpc/vpc.h"

#include <errno.h>
#include "ref/engine/clock.h"
#include "ref/format/create.h"

static const char *const subformats[] = {"dynamic", "fixed", NULL};

const struct opt_desc vpc_create_options[] = {
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
    vpc_footer_set_checksum(f, vpc_checksum(f, VPC_FOOTER_SIZE, VPC_FOOTER_CHECKSUM_OFF));
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
    vpc_dynamic_set_checksum(d, vpc_checksum(d, sizeof(d), VPC_DYNAMIC_CHECKSUM_OFF));

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

int vpc_create(struct world *w, const char *filename, struct value *opts, struct error **err)
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

int vpc_create_json(struct world *w, struct value *opts, struct error **err)
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
