/*
 * qcow2 header (spec: "Header", "Header extensions"): reading with every limit checked before use,
 * and writing.
 *
 * The header is written as a whole from the state: known fields, unknown fields behind them,
 * extensions (backing format, data file, feature names, bitmaps, unknown ones in file order),
 * backing file name.  Leaves out: bitmaps themselves (the extension is kept).
 */
#include "ref/format/qcow2/crypt.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>

/* Names of the features that we know, as they stand in the feature name table. */
static const struct {
    uint8_t type, bit;
    const char *name;
} features[] = {
    {QCOW2_FEATURE_TYPE_INCOMPATIBLE, QCOW2_INCOMPAT_DIRTY_BIT, "dirty bit"},
    {QCOW2_FEATURE_TYPE_INCOMPATIBLE, QCOW2_INCOMPAT_CORRUPT_BIT, "corrupt bit"},
    {QCOW2_FEATURE_TYPE_INCOMPATIBLE, QCOW2_INCOMPAT_DATA_FILE_BIT, "external data file"},
    {QCOW2_FEATURE_TYPE_INCOMPATIBLE, QCOW2_INCOMPAT_COMPRESSION_TYPE_BIT, "compression type"},
    {QCOW2_FEATURE_TYPE_INCOMPATIBLE, QCOW2_INCOMPAT_EXTENDED_L2_BIT, "extended L2 entries"},
    {QCOW2_FEATURE_TYPE_COMPATIBLE, QCOW2_COMPAT_LAZY_REFCOUNTS_BIT, "lazy refcounts"},
    {QCOW2_FEATURE_TYPE_AUTOCLEAR, QCOW2_AUTOCLEAR_BITMAPS_BIT, "bitmaps"},
    {QCOW2_FEATURE_TYPE_AUTOCLEAR, QCOW2_AUTOCLEAR_DATA_FILE_RAW_BIT, "raw external data"},
};

int qcow2_validate_table(struct qcow2 *s, uint64_t offset, uint64_t entries, size_t entry_len,
                         int64_t max_bytes, const char *table_name, struct error **err)
{
    if (entries > (uint64_t)max_bytes / entry_len) {
        return error_set(err, EFBIG, "%s too large", table_name);
    }
    /* The end of the table must be a valid file offset, too. */
    if ((uint64_t)INT64_MAX - entries * entry_len < offset || offset_into_cluster(s, offset)) {
        return error_set(err, EINVAL, "%s offset invalid", table_name);
    }
    return 0;
}

void qcow2_header_free(struct qcow2 *s)
{
    if (s->exts.next) {
        struct qcow2_ext *x, *tmp;
        LIST_FOREACH_SAFE (x, tmp, &s->exts, link) {
            list_remove(&x->link);
            mem_free(x);
        }
    }
    mem_free(s->unknown_header);
    mem_free(s->feature_table);
    mem_free(s->image_data_file);
    mem_free(s->image_backing_file);
    mem_free(s->image_backing_format);
    mem_free(s->l1);
    s->unknown_header = s->feature_table = NULL;
    s->image_data_file = s->image_backing_file = s->image_backing_format = NULL;
    s->l1 = NULL;
    s->has_crypto_ext = false;
}

/* Version 3 fields; version 2 has their fixed values (spec: fields 72 to 111). */
static int read_v3_fields(struct qcow2 *s, const uint8_t *h, struct error **err)
{
    if (s->version < 3) {
        s->refcount_order = QCOW2_V2_REFCOUNT_ORDER;
        s->header_length = QCOW2_HEADER_V2_SIZE;
        return 0;
    }
    s->incompatible = qcow2_header_get_incompatible_features(h);
    s->compatible = qcow2_header_get_compatible_features(h);
    s->autoclear = qcow2_header_get_autoclear_features(h);
    s->refcount_order = qcow2_header_get_refcount_order(h);
    s->header_length = qcow2_header_get_header_length(h);
    if (s->header_length < QCOW2_HEADER_V3_SIZE) {
        return error_set(err, EINVAL, "qcow2 header too short");
    }
    if (s->header_length > s->cluster_size) {
        return error_set(err, EINVAL, "qcow2 header exceeds cluster size");
    }
    s->compression_type = QCOW2_COMPRESSION_ZLIB;
    if (s->header_length > QCOW2_HEADER_COMPRESSION_TYPE_OFF) {
        s->compression_type = qcow2_header_get_compression_type(h);
    }
    if (s->header_length > QCOW2_HEADER_V3_FULL_SIZE) {
        s->unknown_header_size = s->header_length - QCOW2_HEADER_V3_FULL_SIZE;
        s->unknown_header = mem_alloc(s->unknown_header_size);
        int ret = child_pread(s->n->file, QCOW2_HEADER_V3_FULL_SIZE, s->unknown_header,
                              (int64_t)s->unknown_header_size, LABEL_HEADER_LOAD, NULL);
        if (ret < 0) {
            return error_set_errno(err, -ret, "Could not read unknown qcow2 header fields");
        }
    }
    return 0;
}

static int check_compression_type(struct qcow2 *s, struct error **err)
{
    bool bit = s->incompatible & QCOW2_INCOMPAT_COMPRESSION_TYPE;
    if (s->compression_type > QCOW2_COMPRESSION_ZSTD) {
        return error_set(err, ENOTSUP, "qcow2: unknown compression type: %u", s->compression_type);
    }
    if (s->compression_type == QCOW2_COMPRESSION_ZLIB && bit) {
        return error_set(err, EINVAL,
                         "qcow2: Compression type incompatible feature bit must not be set");
    }
    if (s->compression_type != QCOW2_COMPRESSION_ZLIB && !bit) {
        return error_set(err, EINVAL,
                         "qcow2: Compression type incompatible feature bit must be set");
    }
    return 0;
}

static int unsupported_features(struct qcow2 *s, struct error **err)
{
    uint64_t mask = s->incompatible & ~QCOW2_INCOMPAT_KNOWN;
    struct strbuf b = STRBUF_INIT;
    for (size_t i = 0; i < s->feature_table_size; i += QCOW2_FEATURE_NAME_SIZE) {
        const uint8_t *f = s->feature_table + i;
        uint8_t bit = qcow2_feature_name_get_bit(f);
        if (qcow2_feature_name_get_type(f) == QCOW2_FEATURE_TYPE_INCOMPATIBLE && bit < 64 &&
            mask >> bit & 1) {
            const char *name = (const char *)f + QCOW2_FEATURE_NAME_NAME_OFF;
            strbuf_printf(&b, "%s%.*s", b.len ? ", " : "", QCOW2_FEATURE_NAME_NAME_WIDTH, name);
            mask &= ~(UINT64_C(1) << bit);
        }
    }
    if (mask) {
        strbuf_printf(&b, "%sUnknown incompatible feature: %" PRIx64, b.len ? ", " : "", mask);
    }
    error_set(err, ENOTSUP, "Unsupported qcow2 feature(s): %s", b.s);
    strbuf_free(&b);
    return -ENOTSUP;
}

static void warn_of_lost_bitmaps(struct qcow2 *s)
{
    if (s->version < 3) {
        world_warn(s->w,
                   "This qcow2 v2 image contains bitmaps, but they may have been modified by a "
                   "program without persistent bitmap support; so now they must all be "
                   "considered inconsistent");
    } else {
        world_warn(s->w, "a program lacking bitmap support modified this file, so all bitmaps are "
                         "now considered inconsistent");
    }
    /* QEMU ends this line without a line feed. */
    world_report(s->w, REPORT_PLAIN,
                 "Some clusters may be leaked, run 'qemu-img check -r' on the image file to fix.");
}

static int read_bitmaps_ext(struct qcow2 *s, const uint8_t *d, uint32_t len, struct error **err)
{
    if (len != QCOW2_BITMAP_EXT_SIZE) {
        return error_set(err, EINVAL, "bitmaps_ext: Invalid extension length");
    }
    uint32_t nb = qcow2_bitmap_ext_get_nb_bitmaps(d);
    uint64_t size = qcow2_bitmap_ext_get_bitmap_directory_size(d),
             offset = qcow2_bitmap_ext_get_bitmap_directory_offset(d);
    if (!(s->autoclear & QCOW2_AUTOCLEAR_BITMAPS)) {
        warn_of_lost_bitmaps(s);
        /* What the extension says is not to be trusted, nor kept: a writer drops it. */
        s->lost_bitmaps = true;
        return 0;
    }
    if (qcow2_bitmap_ext_get_reserved(d) != 0) {
        return error_set(err, EINVAL, "bitmaps_ext: Reserved field is not zero");
    }
    if (nb > QCOW2_MAX_BITMAPS) {
        return error_set(err, EINVAL,
                         "bitmaps_ext: image has %" PRIu32
                         " bitmaps, exceeding the QEMU supported maximum of %d",
                         nb, QCOW2_MAX_BITMAPS);
    }
    if (nb == 0) {
        return error_set(err, EINVAL, "bitmaps_ext: found bitmaps extension with zero bitmaps");
    }
    if (offset_into_cluster(s, offset)) {
        return error_set(err, EINVAL, "bitmaps_ext: invalid bitmap directory offset");
    }
    if (size > QCOW2_MAX_BITMAP_DIR_SIZE) {
        return error_set(err, EINVAL,
                         "bitmaps_ext: bitmap directory size (%" PRIu64
                         ") exceeds the maximum supported size (%" PRIu64 ")",
                         size, (uint64_t)QCOW2_MAX_BITMAP_DIR_SIZE);
    }
    s->nb_bitmaps = nb;
    s->bitmap_dir_size = size;
    s->bitmap_dir_offset = offset;
    return 0;
}

static int take_extension(struct qcow2 *s, uint32_t magic, const uint8_t *d, uint32_t len,
                          struct error **err)
{
    switch (magic) {
    case QCOW2_EXT_BACKING_FORMAT:
        if (len >= 16) {
            return error_set(err, EINVAL,
                             "ERROR: ext_backing_format: len=%" PRIu32 " too large (>=%d)", len,
                             16);
        }
        mem_free(s->image_backing_format);
        s->image_backing_format = str_ndup((const char *)d, len);
        return 0;
    case QCOW2_EXT_FEATURE_NAMES:
        mem_free(s->feature_table);
        /* The last entry may be cut off behind its name. */
        s->feature_table_size = ROUND_UP((size_t)len, QCOW2_FEATURE_NAME_SIZE);
        s->feature_table = mem_zalloc(s->feature_table_size ? s->feature_table_size : 1);
        memcpy(s->feature_table, d, len);
        return 0;
    case QCOW2_EXT_BITMAPS:
        return read_bitmaps_ext(s, d, len, err);
    case QCOW2_EXT_CRYPTO:
        return qcow2_crypt_take_extension(s, d, len, err);
    case QCOW2_EXT_DATA_FILE:
        mem_free(s->image_data_file);
        s->image_data_file = str_ndup((const char *)d, len);
        return 0;
    default: {
        struct qcow2_ext *x = mem_zalloc(sizeof(*x) + len);
        x->magic = magic;
        x->len = len;
        memcpy(x->data, d, len);
        list_push(&s->exts, &x->link);
        return 0;
    }
    }
}

/* Extensions from the end of the header up to the backing file name or the cluster's end. */
static int read_extensions(struct qcow2 *s, const uint8_t *area, uint64_t end, struct error **err)
{
    uint64_t pos = s->header_length;
    while (pos < end && pos + QCOW2_HEADER_EXTENSION_SIZE <= s->cluster_size) {
        uint32_t magic = qcow2_header_extension_get_type(area + pos);
        uint32_t len = qcow2_header_extension_get_length(area + pos);
        pos += QCOW2_HEADER_EXTENSION_SIZE;
        if (magic == QCOW2_EXT_END) {
            break;
        }
        if (pos > end || len > end - pos) {
            return error_set(err, EINVAL, "Header extension too large");
        }
        int ret = take_extension(s, magic, area + pos, len, err);
        if (ret < 0) {
            return ret;
        }
        pos += ROUND_UP((uint64_t)len, 8);
    }
    return 0;
}

static void set_geometry(struct qcow2 *s)
{
    s->extended_l2 = s->incompatible & QCOW2_INCOMPAT_EXTENDED_L2;
    s->l2_entry_size = s->extended_l2 ? QCOW2_L2_ENTRY_EXTENDED_SIZE : QCOW2_L2_ENTRY_SIZE;
    s->l2_bits = s->cluster_bits - (s->extended_l2 ? 4 : 3);
    s->l2_size = UINT64_C(1) << s->l2_bits;
    s->subclusters = s->extended_l2 ? QCOW2_SUBCLUSTERS : 1;
    s->subcluster_size = s->cluster_size / s->subclusters;
    s->subcluster_bits = (unsigned)__builtin_ctzll(s->subcluster_size);
    s->csize_shift = 62 - (s->cluster_bits - 8);
    s->csize_mask = (UINT64_C(1) << (s->cluster_bits - 8)) - 1;
    s->cluster_offset_mask = (UINT64_C(1) << s->csize_shift) - 1;
}

/* The order passed its limit. */
static void set_refcount_geometry(struct qcow2 *s)
{
    s->refcount_bits = 1u << s->refcount_order;
    s->refcount_max = s->refcount_order == 6 ? UINT64_MAX : (UINT64_C(1) << s->refcount_bits) - 1;
    s->refblock_bits = s->cluster_bits + 3 - s->refcount_order;
    s->refblock_size = UINT64_C(1) << s->refblock_bits;
}

static int check_features(struct qcow2 *s, unsigned flags, struct error **err)
{
    if (s->incompatible & ~QCOW2_INCOMPAT_KNOWN) {
        return unsupported_features(s, err);
    }
    /* Only a checker may write to a corrupt image. */
    if ((s->incompatible & QCOW2_INCOMPAT_CORRUPT) && (flags & OPEN_RDWR) &&
        !(flags & OPEN_CHECK)) {
        return error_set(err, EACCES, "qcow2: Image is corrupt; cannot be opened read/write");
    }
    set_geometry(s);
    if (s->extended_l2 && s->subcluster_size < 512) {
        return error_set(err, EINVAL, "Unsupported subcluster size: %" PRIu64, s->subcluster_size);
    }
    if (s->refcount_order > QCOW2_MAX_REFCOUNT_ORDER) {
        return error_set(err, EINVAL,
                         "Reference count entry width too large; may not exceed 64 bits");
    }
    set_refcount_geometry(s);
    if (s->crypt_method > QCOW2_CRYPT_LUKS) {
        return error_set(err, EINVAL, "Unsupported encryption method %" PRId32,
                         (int32_t)s->crypt_method);
    }
    return 0;
}

/* Table positions and the image's size, each against its limit (spec: "Header", notes). */
static int check_tables(struct qcow2 *s, const uint8_t *h, unsigned flags, struct error **err)
{
    s->reftable_offset = qcow2_header_get_refcount_table_offset(h);
    s->reftable_clusters = qcow2_header_get_refcount_table_clusters(h);
    if (s->reftable_clusters == 0 && !(flags & OPEN_CHECK)) {
        return error_set(err, EINVAL, "Image does not contain a reference count table");
    }
    int ret = qcow2_validate_table(s, s->reftable_offset, s->reftable_clusters, s->cluster_size,
                                   QCOW2_MAX_REFCOUNT_TABLE_BYTES, "Reference count table", err);
    if (ret < 0) {
        return ret;
    }
    s->nb_snapshots = qcow2_header_get_nb_snapshots(h);
    s->snapshots_offset = qcow2_header_get_snapshots_offset(h);
    if (!(flags & OPEN_CHECK)) {
        /* The limit counts the fixed part of the entries alone. */
        ret = qcow2_validate_table(s, s->snapshots_offset, s->nb_snapshots, 40,
                                   QCOW2_MAX_SNAPSHOTS * 40LL, "Snapshot table", err);
        if (ret < 0) {
            return ret;
        }
    }
    s->l1_size = qcow2_header_get_l1_size(h);
    s->l1_offset = qcow2_header_get_l1_table_offset(h);
    ret = qcow2_validate_table(s, s->l1_offset, s->l1_size, QCOW2_L1_ENTRY_SIZE, QCOW2_MAX_L1_BYTES,
                               "Active L1 table", err);
    if (ret < 0) {
        return ret;
    }
    uint64_t index = DIV_ROUND_UP(s->virtual_size >> s->cluster_bits, s->l2_size);
    if (s->virtual_size > UINT64_MAX - s->cluster_size * s->l2_size) {
        return error_set(err, EFBIG, "Could not refresh total sector count: File too large");
    }
    if (s->virtual_size > INT64_MAX || index > INT32_MAX) {
        return error_set(err, EFBIG, "Image is too big");
    }
    index = DIV_ROUND_UP(size_to_clusters(s, s->virtual_size), s->l2_size);
    s->l1_vm_state_index = (uint32_t)index;
    if (s->l1_size < index) {
        return error_set(err, EINVAL, "L1 table is too small");
    }
    return 0;
}

static int read_backing_name(struct qcow2 *s, const uint8_t *area, uint64_t offset, uint32_t len,
                             struct error **err)
{
    if (offset == 0) {
        return 0;
    }
    if (len > MIN((uint64_t)QCOW2_MAX_BACKING_NAME, s->cluster_size - offset)) {
        return error_set(err, EINVAL, "Backing file name too long");
    }
    if (has_data_file(s) && data_file_is_raw(s)) {
        return error_set(err, EINVAL,
                         "A raw external data file cannot be used with a backing file");
    }
    s->image_backing_file = str_ndup((const char *)area + offset, len);
    return 0;
}

static int parse_header(struct qcow2 *s, const uint8_t *h, unsigned flags, struct error **err)
{
    if (qcow2_header_get_magic(h) != QCOW2_MAGIC) {
        return error_set(err, EINVAL, "Image is not in qcow2 format");
    }
    s->version = qcow2_header_get_version(h);
    if (s->version < 2 || s->version > 3) {
        return error_set(err, ENOTSUP, "Unsupported qcow2 version %" PRIu32, s->version);
    }
    s->cluster_bits = qcow2_header_get_cluster_bits(h);
    if (s->cluster_bits < QCOW2_MIN_CLUSTER_BITS || s->cluster_bits > QCOW2_MAX_CLUSTER_BITS) {
        return error_set(err, EINVAL, "Unsupported cluster size: 2^%" PRIu32, s->cluster_bits);
    }
    s->cluster_size = UINT64_C(1) << s->cluster_bits;
    s->virtual_size = ROUND_DOWN(qcow2_header_get_size(h), UINT64_C(512));
    s->crypt_method = qcow2_header_get_crypt_method(h);
    int ret = read_v3_fields(s, h, err);
    ret = ret < 0 ? ret : check_compression_type(s, err);
    if (ret < 0) {
        return ret;
    }
    uint64_t backing = qcow2_header_get_backing_file_offset(h);
    if (backing > s->cluster_size) {
        return error_set(err, EINVAL, "Invalid backing file offset");
    }
    uint64_t end = backing ? backing : s->cluster_size;
    uint8_t *area = mem_try_alloc(s->cluster_size);
    if (!area) {
        return error_set(err, ENOMEM, "Could not allocate memory for the header");
    }
    /* A file may end inside the first cluster: what is not there reads as zeroes. */
    ret = child_pread(s->n->file, 0, area, (int64_t)s->cluster_size, LABEL_EXT_LOAD, NULL);
    if (ret < 0) {
        error_set_errno(err, -ret, "Could not read qcow2 header extensions");
    } else {
        ret = read_extensions(s, area, end, err);
    }
    if (ret == 0) {
        ret = check_features(s, flags, err);
    }
    if (ret == 0) {
        ret = check_tables(s, h, flags, err);
    }
    if (ret == 0) {
        ret = read_backing_name(s, area, backing, qcow2_header_get_backing_file_size(h), err);
    }
    mem_free(area);
    return ret;
}

int qcow2_header_read(struct node *n, unsigned flags, struct error **err)
{
    struct qcow2 *s = qcow2_state(n);
    uint8_t h[QCOW2_HEADER_V3_FULL_SIZE];
    list_init(&s->exts);
    int ret = child_pread(n->file, 0, h, sizeof(h), LABEL_HEADER_LOAD, NULL);
    if (ret < 0) {
        return error_set_errno(err, -ret, "Could not read qcow2 header");
    }
    return parse_header(s, h, flags, err);
}

/* One extension at *pos; false when it does not fit. */
static bool put_ext(uint8_t *buf, size_t size, size_t *pos, uint32_t magic, const void *data,
                    size_t len)
{
    size_t total = QCOW2_HEADER_EXTENSION_SIZE + ROUND_UP(len, 8);
    if (size - *pos < total) {
        return false;
    }
    qcow2_header_extension_set_type(buf + *pos, magic);
    qcow2_header_extension_set_length(buf + *pos, (uint32_t)len);
    if (len) {
        memcpy(buf + *pos + QCOW2_HEADER_EXTENSION_SIZE, data, len);
    }
    *pos += total;
    return true;
}

static bool put_features(const struct qcow2 *s, uint8_t *buf, size_t *pos)
{
    /* Room for other things comes first in small clusters: the table is a convenience. */
    if (s->version < 3 || s->cluster_size <= 4096) {
        return true;
    }
    uint8_t table[ARRAY_SIZE(features) * QCOW2_FEATURE_NAME_SIZE] = {0};
    for (size_t i = 0; i < ARRAY_SIZE(features); i++) {
        uint8_t *f = table + i * QCOW2_FEATURE_NAME_SIZE;
        qcow2_feature_name_set_type(f, features[i].type);
        qcow2_feature_name_set_bit(f, features[i].bit);
        memcpy(f + QCOW2_FEATURE_NAME_NAME_OFF, features[i].name, strlen(features[i].name));
    }
    return put_ext(buf, s->cluster_size, pos, QCOW2_EXT_FEATURE_NAMES, table, sizeof(table));
}

static bool put_extensions(const struct qcow2 *s, uint8_t *buf, size_t *pos)
{
    size_t size = s->cluster_size;
    const char *fmt = s->image_backing_format, *data = s->image_data_file;
    if (fmt && *fmt && !put_ext(buf, size, pos, QCOW2_EXT_BACKING_FORMAT, fmt, strlen(fmt))) {
        return false;
    }
    if (has_data_file(s) && data &&
        !put_ext(buf, size, pos, QCOW2_EXT_DATA_FILE, data, strlen(data))) {
        return false;
    }
    if (s->has_crypto_ext) {
        uint8_t x[QCOW2_CRYPTO_EXT_SIZE];
        qcow2_crypto_ext_set_offset(x, s->crypto_offset);
        qcow2_crypto_ext_set_length(x, s->crypto_length);
        if (!put_ext(buf, size, pos, QCOW2_EXT_CRYPTO, x, sizeof(x))) {
            return false;
        }
    }
    if (!put_features(s, buf, pos)) {
        return false;
    }
    if (s->nb_bitmaps > 0) {
        uint8_t b[QCOW2_BITMAP_EXT_SIZE] = {0};
        qcow2_bitmap_ext_set_nb_bitmaps(b, s->nb_bitmaps);
        qcow2_bitmap_ext_set_bitmap_directory_size(b, s->bitmap_dir_size);
        qcow2_bitmap_ext_set_bitmap_directory_offset(b, s->bitmap_dir_offset);
        if (!put_ext(buf, size, pos, QCOW2_EXT_BITMAPS, b, sizeof(b))) {
            return false;
        }
    }
    const struct qcow2_ext *x;
    LIST_FOREACH (x, &s->exts, link) {
        if (!put_ext(buf, size, pos, x->magic, x->data, x->len)) {
            return false;
        }
    }
    return put_ext(buf, size, pos, QCOW2_EXT_END, NULL, 0);
}

static size_t put_fields(const struct qcow2 *s, uint8_t *h)
{
    qcow2_header_set_magic(h, QCOW2_MAGIC);
    qcow2_header_set_version(h, s->version);
    qcow2_header_set_cluster_bits(h, s->cluster_bits);
    qcow2_header_set_size(h, s->virtual_size);
    qcow2_header_set_crypt_method(h, s->crypt_method);
    qcow2_header_set_l1_size(h, s->l1_size);
    qcow2_header_set_l1_table_offset(h, s->l1_offset);
    qcow2_header_set_refcount_table_offset(h, s->reftable_offset);
    qcow2_header_set_refcount_table_clusters(h, s->reftable_clusters);
    qcow2_header_set_nb_snapshots(h, s->nb_snapshots);
    qcow2_header_set_snapshots_offset(h, s->snapshots_offset);
    if (s->version < 3) {
        return QCOW2_HEADER_V2_SIZE;
    }
    qcow2_header_set_incompatible_features(h, s->incompatible);
    qcow2_header_set_compatible_features(h, s->compatible);
    qcow2_header_set_autoclear_features(h, s->autoclear);
    qcow2_header_set_refcount_order(h, s->refcount_order);
    qcow2_header_set_header_length(h,
                                   (uint32_t)(QCOW2_HEADER_V3_FULL_SIZE + s->unknown_header_size));
    qcow2_header_set_compression_type(h, s->compression_type);
    if (s->unknown_header_size) {
        memcpy(h + QCOW2_HEADER_V3_FULL_SIZE, s->unknown_header, s->unknown_header_size);
    }
    return QCOW2_HEADER_V3_FULL_SIZE + s->unknown_header_size;
}

int qcow2_header_write(struct qcow2 *s)
{
    if (s->version >= 3 && QCOW2_HEADER_V3_FULL_SIZE + s->unknown_header_size > s->cluster_size) {
        return -ENOSPC;
    }
    uint8_t *buf = mem_try_zalloc(s->cluster_size);
    if (!buf) {
        return -ENOMEM;
    }
    size_t pos = put_fields(s, buf);
    int ret = -ENOSPC;
    if (put_extensions(s, buf, &pos)) {
        size_t len = s->image_backing_file ? strlen(s->image_backing_file) : 0;
        if (len <= s->cluster_size - pos) {
            if (len) {
                qcow2_header_set_backing_file_offset(buf, pos);
                qcow2_header_set_backing_file_size(buf, (uint32_t)len);
                memcpy(buf + pos, s->image_backing_file, len);
            }
            ret = child_pwrite(s->n->file, 0, buf, (int64_t)s->cluster_size, LABEL_HEADER_UPDATE,
                               NULL);
            s->header_unsure |= ret < 0;
        }
    }
    mem_free(buf);
    return ret;
}

int qcow2_settle_header(struct qcow2 *s)
{
    if (!s->header_unsure) {
        return 0;
    }
    int ret = qcow2_header_write(s);
    ret = ret < 0 ? ret : child_flush(s->n->file, NULL);
    s->header_unsure = ret < 0;
    return ret;
}

int qcow2_may_change(struct qcow2 *s)
{
    int ret = s->dead ? -ENOMEDIUM : qcow2_settle_header(s);
    return ret < 0 ? ret : qcow2_settle_l1(s);
}

/* Changes the incompatible feature bits on disk, between two flushes. */
static int write_incompatible(struct qcow2 *s, uint64_t value, enum label label)
{
    uint8_t buf[8];
    store_be64(buf, value);
    int ret = child_pwrite(s->n->file, QCOW2_HEADER_INCOMPATIBLE_FEATURES_OFF, buf, sizeof(buf),
                           label, NULL);
    ret = ret < 0 ? ret : child_flush(s->n->file, NULL);
    s->header_unsure |= ret < 0;
    return ret;
}

int qcow2_mark_dirty(struct qcow2 *s)
{
    assert(s->version >= 3);
    if (s->incompatible & QCOW2_INCOMPAT_DIRTY) {
        return 0;
    }
    int ret = write_incompatible(s, s->incompatible | QCOW2_INCOMPAT_DIRTY, LABEL_DIRTY_FLAG_SET);
    if (ret == 0) {
        s->incompatible |= QCOW2_INCOMPAT_DIRTY;
    }
    return ret;
}

int qcow2_mark_clean(struct qcow2 *s)
{
    if (!(s->incompatible & QCOW2_INCOMPAT_DIRTY)) {
        return 0;
    }
    /* From here on refcounts must be right on disk: they go first, while the bit still protects
     * them. */
    s->incompatible &= ~QCOW2_INCOMPAT_DIRTY;
    int ret = qcow2_flush_caches(s, NULL);
    if (ret == 0) {
        ret = write_incompatible(s, s->incompatible, LABEL_DIRTY_FLAG_CLEAR);
    }
    if (ret < 0) {
        s->incompatible |= QCOW2_INCOMPAT_DIRTY;
    }
    return ret;
}

int qcow2_mark_corrupt(struct qcow2 *s)
{
    if (s->version < 3) {
        return -ENOTSUP; /* version 2 has no place for it */
    }
    s->incompatible |= QCOW2_INCOMPAT_CORRUPT;
    return write_incompatible(s, s->incompatible, LABEL_HEADER_UPDATE);
}

int qcow2_mark_consistent(struct qcow2 *s)
{
    if (!(s->incompatible & QCOW2_INCOMPAT_CORRUPT)) {
        return 0;
    }
    int ret = qcow2_flush_caches(s, NULL);
    if (ret == 0) {
        s->incompatible &= ~QCOW2_INCOMPAT_CORRUPT;
        ret = write_incompatible(s, s->incompatible, LABEL_HEADER_UPDATE);
    }
    return ret;
}
