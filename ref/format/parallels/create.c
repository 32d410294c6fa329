/*
 * Creating parallels images: always with format extension magic, BAT padded to whole clusters.
 */
#include <errno.h>
#include <string.h>
#include "ref/base/mem.h"
#include "ref/base/options.h"
#include "ref/format/create.h"
#include "ref/format/parallels/parallels.h"

#define DEFAULT_CLUSTER "1048576"
#define MAX_ENTRIES     (INT32_MAX / 4)

const struct opt_desc parallels_create_options[] = {
    {.name = "size", .type = OPT_SIZE, .help = "Virtual disk size"},
    {.name = "cluster_size",
     .type = OPT_SIZE,
     .def = DEFAULT_CLUSTER,
     .help = "Parallels image cluster size"},
    {.name = NULL},
};

static int check(uint64_t size, uint64_t cluster, struct error **err)
{
    if (cluster > INT32_MAX) {
        return error_set(err, EINVAL, "Cluster size is too large");
    }
    if (cluster == 0 || DIV_ROUND_UP(size, cluster) > MAX_ENTRIES) {
        return error_set(err, EINVAL, "Image size is too large for this cluster size");
    }
    return 0;
}

static int write_image(struct blk *b, uint64_t size, uint64_t cluster)
{
    uint8_t h[SECTOR] = {0};
    uint64_t entries = DIV_ROUND_UP(size, cluster);
    uint64_t start = ROUND_UP(PARALLELS_HEADER_SIZE + entries * PARALLELS_BAT_ENTRY_SIZE, cluster);
    memcpy(h, "WithouFreSpacExt", PARALLELS_HEADER_MAGIC_WIDTH);
    parallels_header_set_version(h, PARALLELS_VERSION);
    parallels_header_set_heads(h, PARALLELS_HEADS);
    parallels_header_set_cylinders(
        h, (uint32_t)(size / SECTOR / PARALLELS_HEADS / PARALLELS_SECTORS_PER_TRACK));
    parallels_header_set_tracks(h, (uint32_t)(cluster / SECTOR));
    parallels_header_set_nb_bat_entries(h, (uint32_t)entries);
    parallels_header_set_nb_sectors(h, size / SECTOR);
    parallels_header_set_data_off(h, (uint32_t)(start / SECTOR));
    int ret = blk_pwrite(b, 0, h, SECTOR, 0);
    if (ret == 0 && start > SECTOR) {
        ret = blk_pwrite_zeroes(b, SECTOR, (int64_t)start - SECTOR, 0, NULL);
    }
    return ret;
}

/* Gives up the caller's reference to file. */
static int create_on(struct world *w, struct node *file, uint64_t size, uint64_t cluster,
                     struct error **err)
{
    struct blk *b = format_create_blk(w, file, err);
    int ret = -EINVAL;
    if (b) {
        ret = write_image(b, size, cluster);
        if (ret < 0) {
            error_set_errno(err, -ret, "Failed to create Parallels image");
        }
        blk_unref(b);
    }
    node_unref(file);
    return ret;
}

int parallels_create(struct world *w, const char *filename, struct value *opts, struct error **err)
{
    uint64_t size = 0, cluster = 0;
    int ret = opts_get_size(parallels_create_options, opts, "size", &size, err);
    ret = ret < 0 ? ret
                  : opts_get_size(parallels_create_options, opts, "cluster_size", &cluster, err);
    if (ret < 0) {
        return ret;
    }
    struct node *file = format_create_file(w, filename, opts, parallels_create_options, err);
    if (!file) {
        return -EINVAL;
    }
    size = ROUND_UP(MIN(size, (uint64_t)INT64_MAX), SECTOR);
    cluster = cluster > INT32_MAX ? cluster : ROUND_UP(cluster, SECTOR);
    ret = check(size, cluster, err);
    if (ret < 0) {
        node_unref(file);
        return ret;
    }
    return create_on(w, file, size, cluster, err);
}

int parallels_create_json(struct world *w, struct value *opts, struct error **err)
{
    static const struct opt_desc json[] = {
        {.name = "size", .type = OPT_SIZE},
        {.name = "cluster-size", .type = OPT_SIZE, .def = DEFAULT_CLUSTER},
        {.name = NULL},
    };
    uint64_t size = 0, cluster = 0;
    int ret = opts_get_size(json, opts, "size", &size, err);
    ret = ret < 0 ? ret : opts_get_size(json, opts, "cluster-size", &cluster, err);
    ret = ret < 0 ? ret : check(size, cluster, err);
    if (ret == 0 && !IS_ALIGNED(size, SECTOR)) {
        ret = error_set(err, EINVAL, "Image size must be a multiple of 512 bytes");
    }
    if (ret == 0 && !IS_ALIGNED(cluster, SECTOR)) {
        ret = error_set(err, EINVAL, "Cluster size must be a multiple of 512 bytes");
    }
    if (ret < 0) {
        return ret;
    }
    struct node *file = format_take_node(w, opts, "file", err);
    return file ? create_on(w, file, size, cluster, err) : -EINVAL;
}
