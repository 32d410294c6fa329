/*
 * Creating QED images: header, backing file name, an empty L1 table.
 */
#include "ref/format/create.h"
#include "ref/format/qed/qed.h"

#include <errno.h>
#include <inttypes.h>

const struct opt_desc qed_create_options[] = {
    {.name = "size", .type = OPT_SIZE, .help = "Virtual disk size"},
    {.name = "backing_file", .type = OPT_STRING, .help = "File name of a base image"},
    {.name = "backing_fmt", .type = OPT_STRING, .help = "Image format of the base image"},
    {.name = "cluster_size", .type = OPT_SIZE, .def = "65536", .help = "Cluster size (in bytes)"},
    {.name = "table_size", .type = OPT_SIZE, .help = "L1/L2 table size (in clusters)"},
    {.name = NULL},
};

/* Keys of create options as blockdev-create has them. */
static const struct {
    const char *json, *flat;
} renames[] = {
    {"backing-file", "backing_file"},
    {"backing-fmt", "backing_fmt"},
    {"cluster-size", "cluster_size"},
    {"table-size", "table_size"},
};

struct params {
    uint64_t size, cluster_size, table_size;
    const char *backing_file, *backing_fmt;
};

static int parse_params(const struct value *d, struct params *p, struct error **err)
{
    const struct opt_desc *T = qed_create_options;
    *p = (struct params){.cluster_size = QED_DEFAULT_CLUSTER_SIZE,
                         .table_size = QED_DEFAULT_TABLE_SIZE};
    int ret = opts_get_size(T, d, "size", &p->size, err);
    ret = ret < 0 ? ret : opts_get_size(T, d, "cluster_size", &p->cluster_size, err);
    ret = ret < 0 ? ret : opts_get_size(T, d, "table_size", &p->table_size, err);
    p->backing_file = dict_get_str(d, "backing_file");
    p->backing_fmt = dict_get_str(d, "backing_fmt");
    p->backing_file = p->backing_file && *p->backing_file ? p->backing_file : NULL;
    return ret;
}

static int check_params(struct world *w, const struct params *p, struct error **err)
{
    if (p->backing_fmt && *p->backing_fmt && !driver_find(w, p->backing_fmt)) {
        return error_set(err, EINVAL, "Parameter 'backing-fmt' does not accept value '%s'",
                         p->backing_fmt);
    }
    if (!qed_cluster_size_valid(p->cluster_size)) {
        return error_set(err, EINVAL,
                         "QED cluster size must be within range [%u, %u] and power of 2",
                         QED_MIN_CLUSTER_SIZE, QED_MAX_CLUSTER_SIZE);
    }
    if (!qed_table_size_valid(p->table_size)) {
        return error_set(err, EINVAL, "QED table size must be within range [%u, %u] and power of 2",
                         QED_MIN_TABLE_SIZE, QED_MAX_TABLE_SIZE);
    }
    uint64_t max = qed_max_image_size(p->cluster_size, p->table_size);
    if (!IS_ALIGNED(p->size, 512) || p->size > INT64_MAX || (max && p->size > max)) {
        return error_set(
            err, EINVAL,
            "QED image size must be a non-zero multiple of cluster size and less than %" PRIu64
            " bytes",
            max ? max : INT64_MAX);
    }
    if (p->backing_file && strlen(p->backing_file) > QED_MAX_BACKING_NAME) {
        return error_set(err, EINVAL, "QED backing filename is too long (at most %u bytes)",
                         QED_MAX_BACKING_NAME);
    }
    return 0;
}

static int write_image(struct blk *b, const struct params *p)
{
    uint8_t buf[QED_HEADER_SIZE + QED_MAX_BACKING_NAME] = {0};
    size_t len = p->backing_file ? strlen(p->backing_file) : 0;
    uint64_t features = 0;
    if (len) {
        features = QED_FEATURE_BACKING_FILE;
        features |= p->backing_fmt && strcmp(p->backing_fmt, "raw") == 0
                        ? QED_FEATURE_BACKING_FORMAT_NO_PROBE
                        : 0;
        qed_header_set_backing_filename_offset(buf, QED_HEADER_SIZE);
        qed_header_set_backing_filename_size(buf, (uint32_t)len);
        memcpy(buf + QED_HEADER_SIZE, p->backing_file, len);
    }
    qed_header_set_magic(buf, QED_MAGIC);
    qed_header_set_cluster_size(buf, (uint32_t)p->cluster_size);
    qed_header_set_table_size(buf, (uint32_t)p->table_size);
    qed_header_set_header_size(buf, 1);
    qed_header_set_features(buf, features);
    qed_header_set_l1_table_offset(buf, p->cluster_size);
    qed_header_set_image_size(buf, p->size);
    int ret = blk_pwrite(b, 0, buf, (int64_t)(QED_HEADER_SIZE + len), 0);
    if (ret == 0) {
        int64_t tables = (int64_t)(p->table_size * p->cluster_size);
        ret = blk_pwrite_zeroes(b, (int64_t)p->cluster_size, tables, 0, NULL);
    }
    return ret < 0 ? ret : blk_flush(b, NULL);
}

/* Creates on a node that exists; gives up the caller's reference to it. */
static int create_on(struct world *w, struct node *file, const struct params *p, struct error **err)
{
    struct blk *b = format_create_blk(w, file, err);
    int ret = -EINVAL;
    if (b) {
        ret = write_image(b, p);
        if (ret < 0) {
            error_set_errno(err, -ret, "Could not write QED header");
        }
        blk_unref(b);
    }
    node_unref(file);
    return ret;
}

int qed_create(struct world *w, const char *filename, struct value *opts, struct error **err)
{
    struct params p;
    int ret = parse_params(opts, &p, err);
    p.size = ROUND_UP(MIN(p.size, UINT64_MAX - 511), 512);
    ret = ret < 0 ? ret : check_params(w, &p, err);
    if (ret < 0) {
        return ret;
    }
    struct node *file = format_create_file(w, filename, opts, qed_create_options, err);
    return file ? create_on(w, file, &p, err) : -EINVAL;
}

int qed_create_json(struct world *w, struct value *opts, struct error **err)
{
    struct params p;
    struct value *flat = value_clone(opts);
    for (size_t i = 0; i < ARRAY_SIZE(renames); i++) {
        struct value *v = dict_take(flat, renames[i].json);
        if (v) {
            dict_put(flat, renames[i].flat, v);
        }
    }
    int ret = parse_params(flat, &p, err);
    ret = ret < 0 ? ret : check_params(w, &p, err);
    if (ret == 0) {
        struct node *file = format_take_node(w, flat, "file", err);
        ret = file ? create_on(w, file, &p, err) : -EINVAL;
    }
    value_free(flat);
    return ret;
}
