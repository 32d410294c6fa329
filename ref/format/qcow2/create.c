/*
 * Creating qcow2 images.
 *
 * A minimal image (header, refcount table, refcount block for these three clusters, no L1) is
 * written, opened, and then resized like any other, so that growth has one implementation.  What
 * encryption needs goes behind all that.
 */
#include "ref/block/backend.h"
#include "ref/format/create.h"
#include "ref/format/qcow2/crypt.h"

#include <errno.h>
#include <inttypes.h>

/* In the order in which `create` prints what it was given. */
const struct opt_desc qcow2_create_options[] = {
    {.name = "encryption",
     .type = OPT_BOOL,
     .help = "Encrypt the image with format 'aes'. (Deprecated in favor of encrypt.format=aes)"},
    {.name = "encrypt.format",
     .type = OPT_STRING,
     .help = "Encrypt the image, format choices: 'aes', 'luks'"},
    {.name = "encrypt.key-secret",
     .type = OPT_STRING,
     .help = "ID of secret providing qcow AES key or LUKS passphrase"},
    {.name = "encrypt.cipher-alg",
     .type = OPT_STRING,
     .help = "Name of encryption cipher algorithm"},
    {.name = "encrypt.cipher-mode", .type = OPT_STRING, .help = "Name of encryption cipher mode"},
    {.name = "encrypt.ivgen-alg", .type = OPT_STRING, .help = "Name of IV generator algorithm"},
    {.name = "encrypt.ivgen-hash-alg",
     .type = OPT_STRING,
     .help = "Name of IV generator hash algorithm"},
    {.name = "encrypt.hash-alg", .type = OPT_STRING, .help = "Name of encryption hash algorithm"},
    {.name = "encrypt.iter-time",
     .type = OPT_NUMBER,
     .help = "Time to spend in PBKDF in milliseconds"},
    {.name = "cluster_size", .type = OPT_SIZE, .def = "65536", .help = "qcow2 cluster size"},
    {.name = "extended_l2", .type = OPT_BOOL, .def = "off", .help = "Extended L2 tables"},
    {.name = "preallocation",
     .type = OPT_STRING,
     .help = "Preallocation mode (allowed values: off, metadata, falloc, full)"},
    {.name = "compression_type",
     .type = OPT_STRING,
     .def = "zlib",
     .help = "Compression method used for image cluster compression"},
    QCOW2_COMMON_OPTIONS,
    {.name = "lazy_refcounts", .type = OPT_BOOL, .def = "off", .help = "Postpone refcount updates"},
    {.name = "refcount_bits",
     .type = OPT_NUMBER,
     .def = "16",
     .help = "Width of a reference count entry in bits"},
    {.name = NULL},
};

/* Keys of create options as blockdev-create has them. */
static const struct {
    const char *json, *flat;
} renames[] = {
    {"version", "compat"},
    {"backing-file", "backing_file"},
    {"backing-fmt", "backing_fmt"},
    {"cluster-size", "cluster_size"},
    {"lazy-refcounts", "lazy_refcounts"},
    {"refcount-bits", "refcount_bits"},
    {"compression-type", "compression_type"},
    {"data-file-raw", "data_file_raw"},
    {"extended-l2", "extended_l2"},
};

struct params {
    uint64_t size, cluster_size, refcount_bits;
    unsigned version;
    bool lazy, raw, extended_l2, data_file;
    uint8_t compression;
    int prealloc;
    const char *backing_file, *backing_fmt;
    struct crypt_creation crypt;
    char *data_name; /* as the header will have it; owned */
};

static const struct opt_desc *const T = qcow2_create_options;

/* Index of a word, or an error that names the option as QMP does. */
static int word(const struct value *d, const char *key, const char *qmp, const char *const *words,
                int def, int *out, struct error **err)
{
    const char *v = dict_get_str(d, key);
    *out = def;
    if (!v) {
        return 0;
    }
    for (int i = 0; words[i]; i++) {
        if (strcmp(v, words[i]) == 0) {
            *out = i;
            return 0;
        }
    }
    return error_set(err, EINVAL, "Parameter '%s' does not accept value '%s'", qmp, v);
}

static int parse_words(const struct value *d, struct params *p, struct error **err)
{
    static const char *const versions[] = {"v2", "v3", "0.10", "1.1", NULL};
    static const char *const types[] = {"zlib", "zstd", NULL};
    int version, type;
    int ret = word(d, "compat", "version", versions, 1, &version, err);
    ret = ret < 0 ? ret
                  : word(d, "preallocation", "preallocation", prealloc_names, PREALLOC_OFF,
                         &p->prealloc, err);
    ret = ret < 0 ? ret : word(d, "compression_type", "compression-type", types, 0, &type, err);
    if (ret == 0) {
        p->version = version % 2 ? 3 : 2;
        p->compression = type ? QCOW2_COMPRESSION_ZSTD : QCOW2_COMPRESSION_ZLIB;
    }
    return ret;
}

static int parse_params(struct world *w, const struct value *d, struct params *p,
                        struct error **err)
{
    int ret = opts_get_size(T, d, "size", &p->size, err);
    ret = ret < 0 ? ret : crypt_create_options(w, d, true, &p->crypt, err);
    ret = ret < 0 ? ret : parse_words(d, p, err);
    ret = ret < 0 ? ret : opts_get_size(T, d, "cluster_size", &p->cluster_size, err);
    ret = ret < 0 ? ret : opts_get_number(T, d, "refcount_bits", &p->refcount_bits, err);
    ret = ret < 0 ? ret : opts_get_bool(T, d, "lazy_refcounts", &p->lazy, err);
    ret = ret < 0 ? ret : opts_get_bool(T, d, "data_file_raw", &p->raw, err);
    ret = ret < 0 ? ret : opts_get_bool(T, d, "extended_l2", &p->extended_l2, err);
    p->backing_file = dict_get_str(d, "backing_file");
    p->backing_fmt = dict_get_str(d, "backing_fmt");
    p->backing_file = p->backing_file && *p->backing_file ? p->backing_file : NULL;
    if (ret == 0 && p->backing_fmt && *p->backing_fmt && !driver_find(w, p->backing_fmt)) {
        ret = error_set(err, EINVAL, "Parameter 'backing-fmt' does not accept value '%s'",
                        p->backing_fmt);
    }
    return ret;
}

static int check_v3_only(const struct params *p, struct error **err)
{
    if (p->version >= 3) {
        return 0;
    }
    const char *what =
        p->lazy ? "Lazy refcounts only supported with compatibility level 1.1 and above"
        : p->data_file
            ? "External data files are only supported with compatibility level 1.1 and above"
        : p->extended_l2
            ? "Extended L2 entries are only supported with compatibility level 1.1 and above"
        : p->refcount_bits != 16
            ? "Different refcount widths than 16 bits require compatibility level 1.1 or above"
        : p->compression
            ? "Non-zlib compression type is only supported with compatibility level 1.1 and above"
            : NULL;
    return what ? error_set(err, EINVAL, "%s (use version=v3 or greater)", what) : 0;
}

static int check_params(const struct params *p, struct error **err)
{
    if (!IS_ALIGNED(p->size, 512)) {
        return error_set(err, EINVAL, "Image size must be a multiple of 512 bytes");
    }
    if (p->cluster_size < 512 || p->cluster_size > 2 * MiB || !IS_POW2(p->cluster_size)) {
        return error_set(err, EINVAL, "Cluster size must be a power of two between 512 and 2048k");
    }
    if (p->prealloc != PREALLOC_OFF && p->backing_file && !p->extended_l2) {
        return error_set(err, EINVAL,
                         "Backing file and preallocation can only be used at the same time if "
                         "extended_l2 is on");
    }
    if (p->backing_fmt && *p->backing_fmt && !p->backing_file) {
        return error_set(err, EINVAL, "Backing format cannot be used without backing file");
    }
    if (p->refcount_bits == 0 || p->refcount_bits > 64 || !IS_POW2(p->refcount_bits)) {
        return error_set(err, EINVAL,
                         "Refcount width must be a power of two and may not exceed 64 bits");
    }
    int ret = check_v3_only(p, err);
    if (ret < 0) {
        return ret;
    }
    if (p->extended_l2 && p->cluster_size < 1u << QCOW2_MIN_CLUSTER_BITS_EXTENDED_L2) {
        return error_set(
            err, EINVAL,
            "Extended L2 entries are only supported with cluster sizes of at least %u bytes",
            1u << QCOW2_MIN_CLUSTER_BITS_EXTENDED_L2);
    }
    if (p->raw && !p->data_file) {
        return error_set(err, EINVAL, "data-file-raw requires data-file");
    }
    if (p->raw && p->backing_file) {
        return error_set(err, EINVAL,
                         "Backing file and data-file-raw cannot be used at the same time");
    }
    return 0;
}

/* Header, refcount table with one entry, refcount block with 1 for these three clusters. */
static int write_minimal(struct blk *b, const struct params *p)
{
    uint8_t *buf = mem_try_zalloc(3 * p->cluster_size);
    if (!buf) {
        return -ENOMEM;
    }
    unsigned order = (unsigned)__builtin_ctzll(p->refcount_bits);
    qcow2_header_set_magic(buf, QCOW2_MAGIC);
    qcow2_header_set_version(buf, p->version);
    qcow2_header_set_cluster_bits(buf, (uint32_t)__builtin_ctzll(p->cluster_size));
    qcow2_header_set_refcount_table_offset(buf, p->cluster_size);
    qcow2_header_set_refcount_table_clusters(buf, 1);
    if (p->version >= 3) {
        qcow2_header_set_refcount_order(buf, order);
        qcow2_header_set_header_length(buf, QCOW2_HEADER_V3_FULL_SIZE);
        qcow2_header_set_compression_type(buf, p->compression);
        qcow2_header_set_compatible_features(buf, p->lazy ? QCOW2_COMPAT_LAZY_REFCOUNTS : 0);
        qcow2_header_set_incompatible_features(
            buf, (p->data_file ? QCOW2_INCOMPAT_DATA_FILE : 0) |
                     (p->compression ? QCOW2_INCOMPAT_COMPRESSION_TYPE : 0) |
                     (p->extended_l2 ? QCOW2_INCOMPAT_EXTENDED_L2 : 0));
        qcow2_header_set_autoclear_features(buf, p->raw ? QCOW2_AUTOCLEAR_DATA_FILE_RAW : 0);
    }
    store_be64(buf + p->cluster_size, 2 * p->cluster_size);
    for (unsigned i = 0; i < 3; i++) {
        qcow2_refcount_block_entry_set(buf + 2 * p->cluster_size, i, order, 1);
    }
    int ret = blk_pwrite(b, 0, buf, (int64_t)(3 * p->cluster_size), 0);
    mem_free(buf);
    return ret;
}

/* The image on `file`, opened as qcow2. */
static struct blk *open_image(struct world *w, struct node *file, struct node *data, unsigned flags,
                              struct error **err)
{
    struct value *o = value_dict();
    dict_put_str(o, "driver", "qcow2");
    dict_put_str(o, "file", file->node_name);
    if (data) {
        dict_put_str(o, "data-file", data->node_name);
    }
    return blk_open(w, NULL, NULL, o, flags | OPEN_RDWR | OPEN_RESIZE, err);
}

static int set_names(struct blk *img, const struct params *p, struct error **err)
{
    struct qcow2 *s = qcow2_state(blk_node(img));
    int ret = 0;
    if (p->data_name) {
        mem_free(s->image_data_file);
        s->image_data_file = str_dup(p->data_name);
    }
    if (p->backing_file) {
        ret = qcow2_change_backing(s->n, p->backing_file, p->backing_fmt);
        if (ret < 0) {
            return error_set_errno(err, -ret, "Could not assign backing file '%s' with format '%s'",
                                   p->backing_file,
                                   p->backing_fmt && *p->backing_fmt ? p->backing_fmt : "(null)");
        }
        return 0;
    }
    /* Also the feature names go into it now. */
    co_lock(s->w, &s->lock);
    ret = qcow2_header_write(s);
    co_unlock(s->w, &s->lock);
    return ret < 0 ? error_set_errno(err, -ret, "Could not update qcow2 header") : 0;
}

/* The image as qcow2: names, size, preallocation. */
static int finish_image(struct world *w, struct node *file, struct node *data,
                        const struct params *p, struct error **err)
{
    struct blk *img = open_image(w, file, data, OPEN_NO_FLUSH | OPEN_NO_BACKING, err);
    if (!img) {
        return -EINVAL;
    }
    struct qcow2 *s = qcow2_state(blk_node(img));
    co_lock(s->w, &s->lock);
    /* The three clusters are known to be in use: what comes goes behind them. */
    int64_t first = qcow2_alloc_clusters_at(s, 3 * p->cluster_size, 0);
    co_unlock(s->w, &s->lock);
    int ret = first < 0 ? (int)first : set_names(img, p, err);
    struct error *local = NULL;
    if (ret == 0) {
        /* A raw data file is the guest's disk: every cluster maps to its own place from the start.
         */
        enum prealloc mode =
            p->raw && p->prealloc == PREALLOC_OFF ? PREALLOC_METADATA : (enum prealloc)p->prealloc;
        ret = blk_truncate(img, (int64_t)p->size, false, mode, 0, &local);
        if (ret < 0) {
            error_prepend(&local, "Could not resize image: ");
            error_propagate(err, local);
        }
    }
    if (ret == 0 && p->crypt.encrypted) {
        co_lock(s->w, &s->lock);
        ret = qcow2_crypt_create(s, &p->crypt, err);
        co_unlock(s->w, &s->lock);
    }
    if (ret == 0) {
        ret = blk_flush(img, NULL);
        if (ret < 0) {
            error_set_errno(err, -ret, "Could not flush the image");
        }
    }
    blk_unref(img);
    return ret;
}

/* The same with one flush of each file at the end: before that there is no image to be kept. */
static int finish_at_once(struct world *w, struct node *file, struct node *data,
                          const struct params *p, struct error **err)
{
    struct node *nodes[] = {file, data};
    for (size_t i = 0; i < ARRAY_SIZE(nodes); i++) {
        if (nodes[i]) {
            node_ref(nodes[i]);
            node_hold_flush(nodes[i]);
        }
    }
    int ret = finish_image(w, file, data, p, err);
    for (size_t i = 0; i < ARRAY_SIZE(nodes); i++) {
        if (nodes[i]) {
            int flushed = node_release_flush(nodes[i]);
            if (flushed < 0 && ret == 0) {
                ret = error_set_errno(err, -flushed, "Could not flush the image");
            }
            node_unref(nodes[i]);
        }
    }
    return ret;
}

/* Creates on nodes that exist. */
static int create_on(struct world *w, struct node *file, struct node *data, const struct params *p,
                     struct error **err)
{
    struct error *local = NULL;
    int ret = check_params(p, err);
    if (ret < 0) {
        return ret;
    }
    struct blk *b = format_create_blk(w, file, &local);
    if (!b) {
        ret = -local->code;
        error_propagate(err, local);
        return ret;
    }
    ret = write_minimal(b, p);
    if (ret < 0) {
        error_set_errno(err, -ret, "Could not write qcow2 header");
    }
    blk_unref(b);
    return ret < 0 ? ret : finish_at_once(w, file, data, p, err);
}

static struct node *open_protocol(struct world *w, const char *filename, struct error **err)
{
    return node_open(w, filename, NULL, NULL, OPEN_RDWR | OPEN_RESIZE | OPEN_PROTOCOL, err);
}

static const char *too_large(struct error **err)
{
    /* The one answer to L1 tables beyond their limit, for command lines. */
    return err && *err && (*err)->code == EFBIG ? "The image size is too large for file format "
                                                  "'qcow2' (try using a larger cluster size)"
                                                : NULL;
}

/* A creation that failed leaves no file behind; that it cannot be deleted is not worth a message.
 */
static void delete_file(struct world *w, struct node *file, const char *filename)
{
    struct node *n = file ? file : open_protocol(w, filename, NULL);
    if (n && n->drv->delete_file) {
        n->drv->delete_file(n, NULL);
    }
    if (n && !file) {
        node_unref(n);
    }
}

/* What opens the data file again: without the protocol that was chosen for it; NULL: nothing. */
static char *file_name(struct node *data)
{
    node_refresh_filename(data);
    return data->filename ? str_dup(data->filename) : NULL;
}

int qcow2_create(struct world *w, const char *filename, struct value *opts, struct error **err)
{
    struct params p = {.cluster_size = QCOW2_DEFAULT_CLUSTER_SIZE, .refcount_bits = 16};
    struct node *file = NULL, *data = NULL;
    struct error *local = NULL;
    int ret = parse_params(w, opts, &p, &local);
    const char *name = dict_get_str(opts, "data_file");
    p.size = ROUND_UP(MIN(p.size, UINT64_MAX - 511), 512);
    /* Size and the like are the image's, not its files'. */
    struct value *rest = value_clone(opts);
    value_free(opts_take(T, rest));
    bool made = false, made_data = false;
    if (ret == 0) {
        ret = image_create_file(w, filename, rest, &local);
        made = ret == 0;
    }
    if (ret == 0 && name) {
        p.data_file = true;
        ret = image_create_file(w, name, rest, &local);
        made_data = ret == 0;
    }
    value_free(rest);
    if (ret == 0) {
        file = open_protocol(w, filename, &local);
        ret = file ? 0 : -local->code;
    }
    if (ret == 0 && p.data_file) {
        data = open_protocol(w, name, &local);
        ret = data ? 0 : -local->code;
        p.data_name = data ? file_name(data) : NULL;
    }
    if (ret == 0) {
        ret = create_on(w, file, data, &p, &local);
    }
    if (ret < 0 && made) {
        delete_file(w, file, filename);
    }
    if (ret < 0 && made_data) {
        delete_file(w, data, name);
    }
    if (file) {
        node_unref(file);
    }
    if (data) {
        node_unref(data);
    }
    mem_free(p.data_name);
    if (local && too_large(&local)) {
        ret = error_set(err, EFBIG, "%s", too_large(&local));
        error_free(local);
    } else {
        error_propagate(err, local);
    }
    return ret;
}

int qcow2_create_json(struct world *w, struct value *opts, struct error **err)
{
    struct params p = {.cluster_size = QCOW2_DEFAULT_CLUSTER_SIZE, .refcount_bits = 16};
    struct value *flat = value_clone(opts);
    for (size_t i = 0; i < ARRAY_SIZE(renames); i++) {
        struct value *v = dict_take(flat, renames[i].json);
        if (v) {
            dict_put(flat, renames[i].flat, v);
        }
    }
    crypt_flatten_options(flat);
    p.data_file = dict_has(flat, "data-file");
    struct node *file = NULL, *data = NULL;
    int ret = parse_params(w, flat, &p, err);
    if (ret == 0) {
        file = format_take_node(w, flat, "file", err);
        ret = file ? 0 : -EINVAL;
    }
    if (ret == 0 && p.data_file) {
        data = format_take_node(w, flat, "data-file", err);
        ret = data ? 0 : -EINVAL;
        p.data_name = data ? file_name(data) : NULL;
    }
    if (ret == 0) {
        ret = create_on(w, file, data, &p, err);
    }
    if (file) {
        node_unref(file);
    }
    if (data) {
        node_unref(data);
    }
    mem_free(p.data_name);
    value_free(flat);
    return ret;
}
