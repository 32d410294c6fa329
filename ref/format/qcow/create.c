/*
 * Creating qcow images: header, backing file name, an empty L1 table (specs/qcow.yaml, HDR-9 and
 * HDR-10).
 */
#include "ref/format/create.h"
#include "ref/format/qcow/qcow.h"

#include <errno.h>

const struct opt_desc qcow_create_options[] = {
    {.name = "size", .type = OPT_SIZE, .help = "Virtual disk size"},
    {.name = "backing_file", .type = OPT_STRING, .help = "File name of a base image"},
    {.name = "backing_fmt", .type = OPT_STRING, .help = "Format of the backing image"},
    {.name = "encryption",
     .type = OPT_BOOL,
     .help = "Encrypt the image with format 'aes'. (Deprecated in favor of encrypt.format=aes)"},
    {.name = "encrypt.format",
     .type = OPT_STRING,
     .help = "Encrypt the image, format choices: 'aes'"},
    {.name = "encrypt.key-secret",
     .type = OPT_STRING,
     .help = "ID of the secret that provides the AES encryption key"},
    {.name = NULL},
};

struct params {
    uint64_t size, l1_size, l1_offset;
    unsigned cluster_bits, l2_bits;
    const char *backing_file;
    struct crypt_creation crypt;
};

/* Geometry goes by the size: small clusters save copying from a backing file. */
static int parse_params(struct world *w, const struct value *d, struct params *p,
                        struct error **err)
{
    *p = (struct params){.cluster_bits = 12, .l2_bits = 9};
    int ret = opts_get_size(qcow_create_options, d, "size", &p->size, err);
    ret = ret < 0 ? ret : crypt_create_options(w, d, false, &p->crypt, err);
    if (ret < 0) {
        return ret;
    }
    p->backing_file = dict_get_str(d, "backing_file");
    p->backing_file = p->backing_file && *p->backing_file ? p->backing_file : NULL;
    if (p->backing_file) {
        p->cluster_bits = 9;
        p->l2_bits = 12;
        if (strlen(p->backing_file) > QCOW_MAX_BACKING_NAME) {
            return error_set(err, EINVAL, "Backing file name too long");
        }
    }
    if (p->size == 0) {
        return error_set(err, EINVAL, "Image size is too small, cannot be zero length");
    }
    if (p->size > INT64_MAX - 512) {
        return error_set(err, EFBIG, "Image too large");
    }
    p->size = ROUND_UP(p->size, 512);
    p->l1_size = DIV_ROUND_UP(p->size, UINT64_C(1) << (p->cluster_bits + p->l2_bits));
    p->l1_offset = ROUND_UP(QCOW_HEADER_SIZE + (p->backing_file ? strlen(p->backing_file) : 0), 8);
    return p->l1_size * 8 > INT32_MAX ? error_set(err, EFBIG, "Image too large") : 0;
}

static int write_image(struct blk *b, const struct params *p)
{
    uint8_t buf[QCOW_HEADER_SIZE + QCOW_MAX_BACKING_NAME] = {0};
    size_t len = p->backing_file ? strlen(p->backing_file) : 0;
    qcow_header_set_magic(buf, QCOW_MAGIC);
    qcow_header_set_version(buf, QCOW_VERSION);
    qcow_header_set_size(buf, p->size);
    qcow_header_set_cluster_bits(buf, (uint8_t)p->cluster_bits);
    qcow_header_set_l2_bits(buf, (uint8_t)p->l2_bits);
    qcow_header_set_crypt_method(buf, p->crypt.encrypted ? QCOW_CRYPT_AES : QCOW_CRYPT_NONE);
    qcow_header_set_l1_table_offset(buf, p->l1_offset);
    if (len) {
        qcow_header_set_backing_file_offset(buf, QCOW_HEADER_SIZE);
        qcow_header_set_backing_file_size(buf, (uint32_t)len);
        memcpy(buf + QCOW_HEADER_SIZE, p->backing_file, len);
    }
    int ret = blk_pwrite(b, 0, buf, (int64_t)(QCOW_HEADER_SIZE + len), 0);
    if (ret == 0) {
        ret = blk_pwrite_zeroes(b, (int64_t)p->l1_offset, (int64_t)ROUND_UP(p->l1_size * 8, 512), 0,
                                NULL);
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
            error_set_errno(err, -ret, "Could not write qcow header");
        }
        blk_unref(b);
    }
    node_unref(file);
    return ret;
}

int qcow_create(struct world *w, const char *filename, struct value *opts, struct error **err)
{
    struct params p;
    const char *format = dict_get_str(opts, "backing_fmt");
    int ret = parse_params(w, opts, &p, err);
    if (ret == 0 && format && !driver_find(w, format)) {
        ret = error_set(err, EINVAL, "unrecognized backing format '%s'", format);
    }
    if (ret < 0) {
        return ret;
    }
    struct node *file = format_create_file(w, filename, opts, qcow_create_options, err);
    return file ? create_on(w, file, &p, err) : -EINVAL;
}

int qcow_create_json(struct world *w, struct value *opts, struct error **err)
{
    struct params p;
    struct value *flat = value_clone(opts);
    struct value *v = dict_take(flat, "backing-file");
    if (v) {
        dict_put(flat, "backing_file", v);
    }
    crypt_flatten_options(flat);
    int ret = parse_params(w, flat, &p, err);
    if (ret == 0) {
        struct node *file = format_take_node(w, flat, "file", err);
        ret = file ? create_on(w, file, &p, err) : -EINVAL;
    }
    value_free(flat);
    return ret;
}
