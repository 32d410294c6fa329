/*
 * How large a qcow2 file becomes: for an image of a size, or for the content of another image.
 *
 * "fully-allocated" is exact for a new image whose clusters are all written; "required" counts only
 * clusters that hold data now.
 */
#include "ref/format/qcow2/crypt.h"

#include <errno.h>

struct shape {
    bool v2;
    uint64_t size, cluster_size, refcount_bits;
    unsigned l2_entry_size;
    uint64_t luks; /* bytes of the encryption header */
};

/* Bytes of everything but data; -EFBIG when the L1 table gets too large. */
static int64_t metadata_size(const struct shape *p)
{
    uint64_t cs = p->cluster_size, per_l2 = cs / p->l2_entry_size, per_l1 = cs / 8;
    uint64_t l2 = DIV_ROUND_UP(DIV_ROUND_UP(p->size, cs), per_l2), l1 = DIV_ROUND_UP(l2, per_l1);
    if (l2 * 8 > QCOW2_MAX_L1_BYTES) {
        return -EFBIG;
    }
    uint64_t clusters = 1 + l1 + l2 + DIV_ROUND_UP(p->size, cs),
             per_block = cs * 8 / p->refcount_bits;
    uint64_t blocks = 0, table = 0;
    for (;;) {
        uint64_t b = DIV_ROUND_UP(clusters + blocks + table, per_block),
                 t = DIV_ROUND_UP(b, per_l1);
        if (b == blocks && t == table) {
            break;
        }
        blocks = b;
        table = t;
    }
    return (int64_t)((1 + l1 + l2 + blocks + table) * cs + ROUND_UP(p->luks, cs));
}

/* Clusters of `in`, `length` bytes, with data, in bytes; zeroes and what no layer has need no
 * place. */
static int64_t data_size(struct node *in, uint64_t length, const struct shape *p,
                         struct error **err)
{
    uint64_t sum = 0, offset = 0, counted = 0;
    while (offset < length) {
        struct status st;
        int ret = node_block_status_above(in, NULL, true, (int64_t)offset,
                                          (int64_t)(length - offset), &st, NULL);
        if (ret < 0 || st.bytes <= 0) {
            return error_set_errno(err, ret < 0 ? -ret : EIO, "Unable to get block status");
        }
        uint64_t end = offset + (uint64_t)st.bytes;
        if (!(st.flags & STATUS_ZERO) && (st.flags & STATUS_ALLOCATED)) {
            /* A cluster that two extents share counts once. */
            uint64_t from = MAX(ROUND_DOWN(offset, p->cluster_size), counted),
                     to = ROUND_UP(end, p->cluster_size);
            sum += to > from ? to - from : 0;
            counted = MAX(counted, to);
        }
        offset = end;
    }
    return (int64_t)sum;
}

static int read_compat(const char *compat, bool *v2, struct error **err)
{
    *v2 = compat && (!strcmp(compat, "0.10") || !strcmp(compat, "v2"));
    return *v2 || !compat || !strcmp(compat, "1.1") || !strcmp(compat, "v3")
               ? 0
               : error_set(err, EINVAL, "Invalid compatibility level: '%s'", compat);
}

static int read_shape(struct value *d, struct shape *p, bool *prealloc, bool *backing,
                      struct error **err)
{
    const struct opt_desc *T = qcow2_create_options;
    bool ext = false;
    int ret = opts_get_size(T, d, "size", &p->size, err);
    ret = ret < 0 ? ret : opts_get_size(T, d, "cluster_size", &p->cluster_size, err);
    ret = ret < 0 ? ret : opts_get_number(T, d, "refcount_bits", &p->refcount_bits, err);
    ret = ret < 0 ? ret : opts_get_bool(T, d, "extended_l2", &ext, err);
    if (ret < 0) {
        return ret;
    }
    const char *file = dict_get_str(d, "backing_file");
    *backing = file && *file;
    p->l2_entry_size = ext ? QCOW2_L2_ENTRY_EXTENDED_SIZE : QCOW2_L2_ENTRY_SIZE;
    if (p->cluster_size < 512 || p->cluster_size > 2 * MiB || !IS_POW2(p->cluster_size)) {
        return error_set(err, EINVAL, "Cluster size must be a power of two between 512 and 2048k");
    }
    if (ext && p->cluster_size < 1u << QCOW2_MIN_CLUSTER_BITS_EXTENDED_L2) {
        return error_set(
            err, EINVAL,
            "Extended L2 entries are only supported with cluster sizes of at least %u bytes",
            1u << QCOW2_MIN_CLUSTER_BITS_EXTENDED_L2);
    }
    if (read_compat(dict_get_str(d, "compat"), &p->v2, err) < 0) {
        return -EINVAL;
    }
    if (p->refcount_bits == 0 || p->refcount_bits > 64 || !IS_POW2(p->refcount_bits)) {
        return error_set(err, EINVAL,
                         "Refcount width must be a power of two and may not exceed 64 bits");
    }
    if (p->v2 && p->refcount_bits != 16) {
        return error_set(
            err, EINVAL,
            "Different refcount widths than 16 bits require compatibility level 1.1 or above (use "
            "compat=1.1 or greater)");
    }
    enum prealloc mode;
    ret = prealloc_parse(dict_get_str(d, "preallocation"), &mode, err);
    *prealloc = mode >= PREALLOC_FALLOC;
    return ret;
}

static int read_luks(struct world *w, const struct value *d, struct shape *p, struct error **err)
{
    const char *format = dict_get_str(d, "encrypt.format");
    struct crypt_creation c;
    if (!format || strcmp(format, "luks") != 0) {
        return 0;
    }
    int ret = crypt_create_options(w, d, true, &c, err);
    ret = ret < 0 ? ret : crypt_luks_check(w, &c.params, c.secret, "encrypt.", err);
    p->luks = ret < 0 ? 0 : crypt_luks_header_bytes(&c.params);
    return ret;
}

struct value *qcow2_measure(struct world *w, struct value *opts, struct node *in,
                            struct error **err)
{
    struct shape p = {.cluster_size = QCOW2_DEFAULT_CLUSTER_SIZE, .refcount_bits = 16};
    bool prealloc = false, backing = false;
    int64_t length = 0;
    if (read_shape(opts, &p, &prealloc, &backing, err) < 0 || read_luks(w, opts, &p, err) < 0) {
        return NULL;
    }
    if (in) {
        length = node_length(in);
        if (length < 0) {
            error_set_errno(err, (int)-length, "Unable to get image virtual_size");
            return NULL;
        }
        p.size = (uint64_t)length;
    }
    p.size = ROUND_UP(p.size, p.cluster_size);
    int64_t meta = metadata_size(&p), data = 0;
    if (meta < 0) {
        error_set(err, EINVAL, "The image size is too large (try using a larger cluster size)");
        return NULL;
    }
    if (prealloc || (in && backing)) {
        data = (int64_t)p.size; /* what a backing file would save is not known */
    } else if (in) {
        data = data_size(in, (uint64_t)length, &p, err);
        if (data < 0) {
            return NULL;
        }
    }
    struct value *v = value_dict();
    if (!p.v2 && in && in->drv == &driver_qcow2 && qcow2_state(in)->version >= 3) {
        dict_put_int(v, "bitmaps", 0);
    }
    dict_put_int(v, "required", meta + data);
    dict_put_int(v, "fully-allocated", meta + (int64_t)p.size);
    return v;
}
