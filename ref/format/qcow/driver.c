/*
 * The qcow (version 1) driver: its table, and opening (specs/qcow.yaml, HDR).
 */
#include "ref/format/qcow/qcow.h"

#include <errno.h>
#include <inttypes.h>

static const struct opt_desc qcow_options[] = {
    {.name = "encrypt", .type = OPT_DICT, .help = "Encryption: format and key-secret"},
    {.name = NULL},
};

static int probe(const uint8_t *buf, size_t len, const char *filename)
{
    return len >= QCOW_HEADER_SIZE && qcow_header_get_magic(buf) == QCOW_MAGIC &&
                   qcow_header_get_version(buf) == QCOW_VERSION
               ? 100
               : 0;
}

static int check_version(const uint8_t *h, struct error **err)
{
    if (qcow_header_get_magic(h) != QCOW_MAGIC) {
        return error_set(err, EINVAL, "Image not in qcow format");
    }
    uint32_t version = qcow_header_get_version(h);
    if (version == QCOW_VERSION) {
        return 0;
    }
    error_set(err, ENOTSUP, "qcow (v1) does not support qcow version %" PRIu32, version);
    if (version == 2 || version == 3) {
        error_hint(err, "Try the 'qcow2' driver instead.\n");
    }
    return -ENOTSUP;
}

/* Fields against their ranges. */
static int parse(struct qcow *s, const uint8_t *h, struct error **err)
{
    s->size = qcow_header_get_size(h);
    s->cluster_bits = qcow_header_get_cluster_bits(h);
    s->l2_bits = qcow_header_get_l2_bits(h);
    s->l1_offset = qcow_header_get_l1_table_offset(h);
    if (s->size <= 1) {
        return error_set(err, EINVAL, "Image size is too small (must be at least 2 bytes)");
    }
    if (s->cluster_bits < QCOW_MIN_CLUSTER_BITS || s->cluster_bits > QCOW_MAX_CLUSTER_BITS) {
        return error_set(err, EINVAL, "Cluster size must be between 512 and 64k");
    }
    if (s->l2_bits < QCOW_MIN_L2_BITS || s->l2_bits > QCOW_MAX_L2_BITS) {
        return error_set(err, EINVAL, "L2 table size must be between 512 and 64k");
    }
    if (qcow_header_get_crypt_method(h) > QCOW_CRYPT_AES) {
        return error_set(err, EINVAL, "invalid encryption method in qcow header");
    }
    s->cluster_size = UINT64_C(1) << s->cluster_bits;
    s->l2_entries = UINT64_C(1) << s->l2_bits;
    uint64_t per_l1 = s->cluster_size << s->l2_bits;
    if (s->size > INT64_MAX - per_l1 || DIV_ROUND_UP(s->size, per_l1) * 8 > INT32_MAX) {
        return error_set(err, EINVAL, "Image too large");
    }
    s->l1_size = DIV_ROUND_UP(s->size, per_l1);
    s->size = ROUND_DOWN(s->size, 512);
    if (s->l1_offset > (uint64_t)INT64_MAX - s->l1_size * 8) {
        return error_set(err, EIO, "L1 table offset is invalid");
    }
    return 0;
}

static void set_str(char **dst, const char *src)
{
    char *copy = str_dup(src);
    mem_free(*dst);
    *dst = copy;
}

static int read_backing_name(struct qcow *s, const uint8_t *h, struct error **err)
{
    char name[QCOW_MAX_BACKING_NAME + 1] = {0};
    uint64_t offset = qcow_header_get_backing_file_offset(h);
    uint32_t size = qcow_header_get_backing_file_size(h);
    if (offset == 0) {
        return 0;
    }
    if (size > QCOW_MAX_BACKING_NAME) {
        return error_set(err, EINVAL, "Backing file name too long");
    }
    if (offset > (uint64_t)INT64_MAX - size) {
        return error_set(err, EINVAL, "Backing file name offset is invalid");
    }
    int ret =
        size ? child_pread(s->n->file, (int64_t)offset, name, size, LABEL_HEADER_LOAD, NULL) : 0;
    if (ret < 0) {
        return error_set_errno(err, -ret, "Could not read the backing file name");
    }
    set_str(&s->n->backing_file, name);
    set_str(&s->n->auto_backing_file, name);
    return 0;
}

/* Takes the options and, of an encrypted image, the key. */
static int open_crypt(struct qcow *s, struct value *opts, unsigned flags, struct error **err)
{
    char *secret;
    bool aes = s->n->encrypted;
    int ret = crypt_open_options(opts, aes ? "aes" : NULL, &secret, err);
    if (ret == 0 && aes) {
        s->crypt =
            crypt_block_open(s->w, CRYPT_QCOW, secret, "encrypt.", NULL, flags & OPEN_NO_IO, err);
        ret = s->crypt ? 0 : -EINVAL;
    }
    mem_free(secret);
    return ret;
}

static int read_header(struct qcow *s, struct error **err)
{
    uint8_t h[QCOW_HEADER_SIZE];
    int ret = child_pread(s->n->file, 0, h, sizeof(h), LABEL_HEADER_LOAD, NULL);
    int64_t len = ret < 0 ? ret : child_length(s->n->file);
    if (len < 0) {
        return error_set_errno(err, (int)-len, "Could not read qcow header");
    }
    s->file_end = (uint64_t)len;
    ret = check_version(h, err);
    ret = ret < 0 ? ret : parse(s, h, err);
    s->n->encrypted = ret == 0 && qcow_header_get_crypt_method(h) == QCOW_CRYPT_AES;
    ret = ret < 0 ? ret : read_backing_name(s, h, err);
    s->n->length = (int64_t)s->size;
    return ret;
}

static int open_qcow(struct node *n, struct value *opts, unsigned flags, struct error **err)
{
    struct qcow *s = qcow_state(n);
    s->n = n;
    s->w = n->w;
    int ret = open_file_child(n, opts, err);
    if (ret == 0) {
        table_cache_init(&s->tables, n->file);
        ret = read_header(s, err);
        ret = ret < 0 ? ret : open_crypt(s, opts, flags, err);
    }
    return ret;
}

static void close_qcow(struct node *n)
{
    table_cache_free(&qcow_state(n)->tables);
    crypt_block_free(qcow_state(n)->crypt);
}

/* Everything is on disk already. */
static int reopen_prepare(struct reopen *r, struct error **err)
{
    char *secret;
    int ret = crypt_open_options(r->options, r->node->encrypted ? "aes" : NULL, &secret, err);
    mem_free(secret); /* the key we have stays */
    return ret;
}

static int inactivate(struct node *n)
{
    return 0;
}

/* Somebody else had the image. */
static void activate(struct node *n, struct error **err)
{
    struct qcow *s = qcow_state(n);
    table_cache_forget(&s->tables);
    if (read_header(s, err) < 0) {
        error_prepend(err, "Could not reopen qcow layer: ");
    }
}

static int64_t length(struct node *n)
{
    return (int64_t)qcow_state(n)->size;
}

/* Requests of the guest are sectors. */
static void refresh_limits(struct node *n, struct error **err)
{
    n->limits.request_alignment = MAX(n->limits.request_alignment, 512u);
}

static bool has_zero_init(struct node *n)
{
    return true;
}

static int info(struct node *n, struct image_info *out)
{
    out->cluster_size = (int)qcow_state(n)->cluster_size;
    return 0;
}

static const char *const strong_options[] = {"encrypt.key-secret", NULL};

static const enum label labels[] = {
    LABEL_HEADER_LOAD,      LABEL_TABLE_LOAD,          LABEL_L1_UPDATE,
    LABEL_L2_LOAD,          LABEL_L2_UPDATE,           LABEL_L2_UPDATE_COMPRESSED,
    LABEL_CLUSTER_ALLOC,    LABEL_EMPTY_IMAGE_PREPARE, LABEL_READ_AIO,
    LABEL_READ_BACKING_AIO, LABEL_READ_COMPRESSED,     LABEL_WRITE_AIO,
    LABEL_WRITE_COMPRESSED, LABEL_COW_WRITE,           LABEL_COUNT};

const struct block_driver driver_qcow = {
    .name = "qcow",
    .labels = labels,
    .kind = DRIVER_FORMAT,
    .state_size = sizeof(struct qcow),
    .supports_backing = true,
    .open_options = qcow_options,
    .create_options = qcow_create_options,
    .strong_options = strong_options,
    .probe = probe,
    .open = open_qcow,
    .close = close_qcow,
    .reopen_prepare = reopen_prepare,
    .create = qcow_create,
    .create_json = qcow_create_json,
    .read = qcow_read,
    .write = qcow_write,
    .write_compressed = qcow_write_compressed,
    .block_status = qcow_block_status,
    .length = length,
    .refresh_limits = refresh_limits,
    .has_zero_init = has_zero_init,
    .info = info,
    .make_empty = qcow_make_empty,
    .inactivate = inactivate,
    .activate = activate,
};
