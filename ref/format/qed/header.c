/*
 * The QED header (spec: "Header"): reading with every check, writing, the need-check bit, the
 * backing file's name.
 */
#include "ref/format/qed/qed.h"

#include <errno.h>
#include <inttypes.h>

bool qed_cluster_size_valid(uint64_t cluster_size)
{
    return cluster_size >= QED_MIN_CLUSTER_SIZE && cluster_size <= QED_MAX_CLUSTER_SIZE &&
           IS_POW2(cluster_size);
}

bool qed_table_size_valid(uint64_t table_size)
{
    return table_size >= QED_MIN_TABLE_SIZE && table_size <= QED_MAX_TABLE_SIZE &&
           IS_POW2(table_size);
}

uint64_t qed_max_image_size(uint64_t cluster_size, uint64_t table_size)
{
    uint64_t entries = cluster_size * table_size / 8, max;
    return __builtin_mul_overflow(entries * entries, cluster_size, &max) ? 0 : max;
}

static bool image_size_valid(const struct qed *s, uint64_t size, uint64_t table_size)
{
    uint64_t max = qed_max_image_size(s->cluster_size, table_size);
    return IS_ALIGNED(size, 512) && size <= INT64_MAX && (max == 0 || size <= max);
}

/* Fields against their ranges (specs/qed.yaml, HDR). */
static int parse(struct qed *s, uint64_t file_len, struct error **err)
{
    const uint8_t *h = s->header;
    if (qed_header_get_magic(h) != QED_MAGIC) {
        return error_set(err, EINVAL, "Image not in QED format");
    }
    s->features = qed_header_get_features(h);
    if (s->features & ~QED_FEATURE_KNOWN) {
        return error_set(err, ENOTSUP, "Unsupported QED features: %" PRIx64,
                         s->features & ~QED_FEATURE_KNOWN);
    }
    s->cluster_size = qed_header_get_cluster_size(h);
    if (!qed_cluster_size_valid(s->cluster_size)) {
        return error_set(err, EINVAL, "QED cluster size is invalid");
    }
    s->valid_end = ROUND_UP(file_len, s->cluster_size);
    s->file_end = ROUND_UP(file_len, s->cluster_size);
    uint64_t table_size = qed_header_get_table_size(h);
    if (!qed_table_size_valid(table_size)) {
        return error_set(err, EINVAL, "QED table size is invalid");
    }
    s->table_bytes = table_size * s->cluster_size;
    s->entries = s->table_bytes / 8;
    s->image_size = qed_header_get_image_size(h);
    if (!image_size_valid(s, s->image_size, table_size)) {
        return error_set(err, EINVAL, "QED image size is invalid");
    }
    s->l1_offset = qed_header_get_l1_table_offset(h);
    if (s->l1_offset == 0 || !qed_table_offset_valid(s, s->l1_offset) ||
        s->l1_offset + s->table_bytes > file_len) {
        return error_set(err, EINVAL, "QED table offset is invalid");
    }
    return 0;
}

static void set_str(char **dst, const char *src)
{
    char *copy = str_dup(src ? src : "");
    mem_free(*dst);
    *dst = copy;
}

/* The name in the header's clusters; no longer one than names get. */
static int read_backing_name(struct qed *s, struct error **err)
{
    struct node *n = s->n;
    if (!(s->features & QED_FEATURE_BACKING_FILE)) {
        return 0;
    }
    uint64_t offset = qed_header_get_backing_filename_offset(s->header);
    uint64_t size = qed_header_get_backing_filename_size(s->header);
    uint64_t area = qed_header_get_header_size(s->header) * s->cluster_size;
    if (offset + size > area) {
        return error_set(err, EINVAL, "QED backing filename offset is invalid");
    }
    if (size > QED_MAX_BACKING_NAME) {
        return error_set(err, EINVAL,
                         "QED backing filename is too long (%" PRIu64 " bytes, at most %u)", size,
                         QED_MAX_BACKING_NAME);
    }
    char name[QED_MAX_BACKING_NAME + 1] = {0};
    int ret =
        size ? child_pread(n->file, (int64_t)offset, name, (int64_t)size, LABEL_HEADER_LOAD, NULL)
             : 0;
    if (ret < 0) {
        return error_set_errno(err, -ret, "Failed to read backing filename");
    }
    set_str(&n->backing_file, name);
    set_str(&n->auto_backing_file, name);
    set_str(&n->backing_format, s->features & QED_FEATURE_BACKING_FORMAT_NO_PROBE ? "raw" : "");
    return 0;
}

int qed_header_read(struct qed *s, unsigned flags, struct error **err)
{
    int ret = child_pread(s->n->file, 0, s->header, QED_HEADER_SIZE, LABEL_HEADER_LOAD, NULL);
    if (ret < 0) {
        return error_set(err, -ret, "Failed to read QED header");
    }
    int64_t len = child_length(s->n->file);
    if (len < 0) {
        return error_set_errno(err, (int)-len, "Failed to get the length of the image file");
    }
    ret = parse(s, (uint64_t)len, err);
    return ret < 0 ? ret : read_backing_name(s, err);
}

int qed_header_write(struct qed *s, enum label label, const struct request *r)
{
    qed_header_set_features(s->header, s->features);
    qed_header_set_image_size(s->header, s->image_size);
    return child_pwrite(s->n->file, 0, s->header, QED_HEADER_SIZE, label, r);
}

int qed_mark_dirty(struct qed *s, const struct request *r)
{
    timer_disarm(&s->clean_timer);
    if (s->features & QED_FEATURE_NEED_CHECK) {
        return 0;
    }
    s->features |= QED_FEATURE_NEED_CHECK;
    int ret = qed_header_write(s, LABEL_DIRTY_FLAG_SET, r);
    ret = ret < 0 ? ret : child_flush(s->n->file, r);
    if (ret < 0) {
        s->features &= ~QED_FEATURE_NEED_CHECK;
    }
    return ret;
}

int qed_mark_clean(struct qed *s)
{
    timer_disarm(&s->clean_timer);
    if (!(s->features & QED_FEATURE_NEED_CHECK) || s->unchecked) {
        return 0;
    }
    int ret = child_flush(s->n->file, NULL);
    if (ret < 0) {
        return ret;
    }
    s->features &= ~QED_FEATURE_NEED_CHECK;
    ret = qed_header_write(s, LABEL_DIRTY_FLAG_CLEAR, NULL);
    if (ret < 0) {
        s->features |= QED_FEATURE_NEED_CHECK;
        return ret;
    }
    return child_flush(s->n->file, NULL);
}

int qed_change_backing(struct node *n, const char *file, const char *format)
{
    struct qed *s = qed_state(n);
    size_t len = file ? strlen(file) : 0;
    uint64_t area = qed_header_get_header_size(s->header) * s->cluster_size;
    if (len > QED_MAX_BACKING_NAME || QED_HEADER_SIZE + len > area) {
        return -EINVAL;
    }
    uint64_t features =
        s->features & ~(QED_FEATURE_BACKING_FILE | QED_FEATURE_BACKING_FORMAT_NO_PROBE);
    if (len) {
        features |= QED_FEATURE_BACKING_FILE;
        features |= format && strcmp(format, "raw") == 0 ? QED_FEATURE_BACKING_FORMAT_NO_PROBE : 0;
    }
    co_lock(s->w, &s->alloc);
    uint8_t buf[QED_HEADER_SIZE + QED_MAX_BACKING_NAME];
    memcpy(buf, s->header, QED_HEADER_SIZE);
    qed_header_set_features(buf, features);
    qed_header_set_backing_filename_offset(buf, len ? QED_HEADER_SIZE : 0);
    qed_header_set_backing_filename_size(buf, (uint32_t)len);
    memcpy(buf + QED_HEADER_SIZE, file ? file : "", len);
    int ret = child_pwrite_sync(n->file, 0, buf, (int64_t)(QED_HEADER_SIZE + len),
                                LABEL_HEADER_UPDATE, NULL);
    if (ret == 0) {
        memcpy(s->header, buf, QED_HEADER_SIZE);
        s->features = features;
        set_str(&n->backing_file, file);
        set_str(&n->auto_backing_file, file);
        set_str(&n->backing_format, features & QED_FEATURE_BACKING_FORMAT_NO_PROBE ? "raw" : "");
    }
    co_unlock(s->w, &s->alloc);
    return ret;
}
