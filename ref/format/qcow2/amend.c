/*
 * Amending a qcow2 image in place: version, refcount width, lazy refcounts, size, name of the data
 * file, its rawness, key slots.
 *
 * First up, then everything that needs version 3, the size, at last down.  Each step leaves a valid
 * image.
 */
#include "ref/format/qcow2/amend.h"
#include "ref/format/qcow2/crypt.h"

#include <errno.h>
#include <inttypes.h>

const struct opt_desc qcow2_amend_options[] = {
    {.name = "encrypt.state",
     .type = OPT_STRING,
     .help = "Select new state of affected keyslots (active/inactive)"},
    {.name = "encrypt.keyslot",
     .type = OPT_NUMBER,
     .help = "Select a single keyslot to modify explicitly"},
    {.name = "encrypt.old-secret",
     .type = OPT_STRING,
     .help = "Select all keyslots that match this password"},
    {.name = "encrypt.new-secret",
     .type = OPT_STRING,
     .help = "New secret to set in the matching keyslots. Empty string to erase"},
    {.name = "encrypt.iter-time",
     .type = OPT_NUMBER,
     .help = "Time to spend in PBKDF in milliseconds"},
    QCOW2_COMMON_OPTIONS,
    {.name = "lazy_refcounts", .type = OPT_BOOL, .help = "Postpone refcount updates"},
    {.name = "refcount_bits",
     .type = OPT_NUMBER,
     .help = "Width of a reference count entry in bits"},
    {.name = NULL},
};

static const struct opt_desc *const T = qcow2_amend_options;

struct wanted {
    unsigned version;
    uint64_t size, refcount_bits; /* size 0: as it is */
    bool lazy, raw, encrypt;
    const char *data_file; /* NULL: as it is; "": none */
};

void amend_report(struct amend_progress *p, int64_t done, int64_t total)
{
    if (!p->fn) {
        return;
    }
    if (p->current != p->last) {
        if (p->last) {
            p->completed += p->last_total;
            p->processed++;
        }
        p->last = p->current;
    }
    p->last_total = total;
    /* What is to come is taken to be as much as what runs. */
    int64_t to_come = total * (p->total - p->processed - 1);
    p->fn(p->n, p->completed + done, p->completed + total + to_come, p->opaque);
}

static void report_step(struct node *n, int64_t done, int64_t total, void *opaque)
{
    amend_report(opaque, done, total);
}

static int parse_version(const char *text, unsigned *version, struct error **err)
{
    if (strcmp(text, "0.10") == 0 || strcmp(text, "v2") == 0) {
        *version = 2;
    } else if (strcmp(text, "1.1") == 0 || strcmp(text, "v3") == 0) {
        *version = 3;
    } else {
        return error_set(err, EINVAL, "Unknown compatibility level %s", text);
    }
    return 0;
}

static bool same(const char *a, const char *b)
{
    return strcmp(a ? a : "", b ? b : "") == 0 && !a == !b;
}

static int refuse_backing(const struct qcow2 *s, const struct value *d, struct error **err)
{
    const char *file = dict_get_str(d, "backing_file"), *fmt = dict_get_str(d, "backing_fmt");
    if ((!file && !fmt) ||
        (same(file, s->image_backing_file) && same(fmt, s->image_backing_format))) {
        return 0;
    }
    int ret = error_set(err, EINVAL, "Cannot amend the backing file");
    error_hint(err, "You can use 'qemu-img rebase' instead.\n");
    return ret;
}

static int parse_data_file(const struct qcow2 *s, const struct value *d, struct wanted *w,
                           struct error **err)
{
    w->data_file = dict_get_str(d, "data_file");
    if (w->data_file && !has_data_file(s)) {
        return error_set(err, EINVAL,
                         "data-file can only be set for images that use an external data file");
    }
    int ret = opts_get_bool(T, d, "data_file_raw", &w->raw, err);
    if (ret == 0 && w->raw && !data_file_is_raw(s)) {
        return error_set(err, EINVAL, "data-file-raw cannot be set on existing images");
    }
    return ret;
}

static int parse(const struct qcow2 *s, const struct value *d, struct wanted *w, struct error **err)
{
    const char *compat = dict_get_str(d, "compat");
    *w = (struct wanted){.version = s->version,
                         .refcount_bits = s->refcount_bits,
                         .raw = data_file_is_raw(s),
                         .lazy = s->compatible & QCOW2_COMPAT_LAZY_REFCOUNTS};
    int ret = compat ? parse_version(compat, &w->version, err) : 0;
    ret = ret < 0 ? ret : opts_get_size(T, d, "size", &w->size, err);
    for (const struct opt_desc *t = T; t->name; t++) {
        w->encrypt = w->encrypt || (strncmp(t->name, "encrypt.", 8) == 0 && dict_has(d, t->name));
    }
    if (ret == 0 && w->encrypt && s->crypt_method != QCOW2_CRYPT_LUKS) {
        ret =
            s->crypt_method == QCOW2_CRYPT_NONE
                ? error_set(err, EINVAL, "Can't amend encryption options - encryption not present")
                : error_set(err, ENOTSUP, "Only LUKS encryption options can be amended");
    }
    ret = ret < 0 ? ret : opts_get_bool(T, d, "lazy_refcounts", &w->lazy, err);
    ret = ret < 0 ? ret : opts_get_number(T, d, "refcount_bits", &w->refcount_bits, err);
    if (ret == 0 && (w->refcount_bits > 64 || !IS_POW2(w->refcount_bits))) {
        ret = error_set(err, EINVAL,
                        "Refcount width must be a power of two and may not exceed 64 bits");
    }
    ret = ret < 0 ? ret : parse_data_file(s, d, w, err);
    return ret < 0 ? ret : refuse_backing(s, d, err);
}

static int write_header(struct qcow2 *s, struct error **err)
{
    int ret = qcow2_header_write(s);
    ret = ret < 0 ? ret : child_flush(s->n->file, NULL);
    s->header_unsure |= ret < 0;
    return ret < 0 ? error_set_errno(err, -ret, "Failed to update the image header") : 0;
}

static int upgrade(struct qcow2 *s, struct amend_progress *p, struct error **err)
{
    bool short_extra = false;
    amend_report(p, 0, 2);
    for (uint32_t i = 0; i < s->nb_snapshots; i++) {
        short_extra = short_extra || s->snapshots[i].extra_size < QCOW2_SNAPSHOT_EXTRA_V3_SIZE;
    }
    if (short_extra) {
        int ret = qcow2_write_snapshots(s);
        if (ret < 0) {
            return error_set_errno(err, -ret, "Failed to update the snapshot table");
        }
    }
    amend_report(p, 1, 2);
    s->version = 3;
    int ret = write_header(s, err);
    if (ret < 0) {
        s->version = 2;
        return ret;
    }
    qcow2_set_version_flags(s);
    amend_report(p, 2, 2);
    return 0;
}

/* What version 2 cannot say. */
static int check_downgrade(struct qcow2 *s, struct error **err)
{
    if (s->refcount_order != QCOW2_V2_REFCOUNT_ORDER) {
        return error_set(err, ENOTSUP, "compat=0.10 requires refcount_bits=16");
    }
    if (has_data_file(s)) {
        return error_set(err, ENOTSUP, "Cannot downgrade an image with a data file");
    }
    for (uint32_t i = 0; i < s->nb_snapshots; i++) {
        if (s->snapshots[i].vm_state_size > UINT32_MAX ||
            s->snapshots[i].disk_size != s->virtual_size) {
            return error_set(err, ENOTSUP, "Internal snapshots prevent downgrade of image");
        }
    }
    if (s->incompatible & QCOW2_INCOMPAT_DIRTY) {
        int ret = qcow2_mark_clean(s);
        if (ret < 0) {
            return error_set_errno(err, -ret, "Failed to make the image clean");
        }
    }
    uint64_t left = s->incompatible & ~(QCOW2_INCOMPAT_DIRTY | QCOW2_INCOMPAT_COMPRESSION_TYPE);
    if (left) {
        return error_set(err, ENOTSUP,
                         "Cannot downgrade an image with incompatible features 0x%" PRIx64 " set",
                         left);
    }
    int compressed = s->compression_type != QCOW2_COMPRESSION_ZLIB ? amend_has_compressed(s) : 0;
    if (compressed) {
        return compressed < 0
                   ? error_set_errno(err, -compressed,
                                     "Failed to check the image for compressed clusters")
                   : error_set(err, ENOTSUP,
                               "Cannot downgrade an image with zstd compression type and existing "
                               "compressed clusters");
    }
    return 0;
}

static int downgrade(struct qcow2 *s, struct amend_progress *p, struct error **err)
{
    int ret = check_downgrade(s, err);
    if (ret < 0) {
        return ret;
    }
    ret = qcow2_expand_zero_clusters(s, report_step, p);
    ret = ret < 0 ? ret : qcow2_cache_flush(s->refblock_cache, NULL);
    if (ret < 0) {
        return error_set_errno(err, -ret, "Failed to turn zero into data clusters");
    }
    uint64_t compatible = s->compatible, autoclear = s->autoclear, incompatible = s->incompatible;
    uint8_t type = s->compression_type;
    s->incompatible = s->compatible = s->autoclear = 0;
    s->compression_type = QCOW2_COMPRESSION_ZLIB;
    s->version = 2;
    ret = write_header(s, err);
    if (ret < 0) {
        s->version = 3;
        s->compatible = compatible;
        s->autoclear = autoclear;
        s->incompatible = incompatible;
        s->compression_type = type;
        return ret;
    }
    qcow2_set_version_flags(s);
    s->use_lazy_refcounts = false;
    return 0;
}

static int set_refcount_bits(struct qcow2 *s, const struct wanted *w, struct amend_progress *p,
                             struct error **err)
{
    if (w->refcount_bits == s->refcount_bits) {
        return 0;
    }
    if (w->version < 3 && w->refcount_bits != 16) {
        return error_set(
            err, EINVAL,
            "Refcount widths other than 16 bits require compatibility level 1.1 or above (use "
            "compat=1.1 or greater)");
    }
    p->current++;
    return amend_refcount_width(s, (unsigned)__builtin_ctzll(w->refcount_bits), p, err);
}

static int set_data_file(struct qcow2 *s, const struct wanted *w, struct error **err)
{
    bool raw = data_file_is_raw(s);
    if (!w->data_file && w->raw == raw) {
        return 0;
    }
    uint64_t autoclear = s->autoclear;
    char *name = s->image_data_file;
    s->autoclear =
        (autoclear & ~QCOW2_AUTOCLEAR_DATA_FILE_RAW) | (w->raw ? QCOW2_AUTOCLEAR_DATA_FILE_RAW : 0);
    if (w->data_file) {
        s->image_data_file = str_dup(*w->data_file ? w->data_file : NULL);
    }
    int ret = write_header(s, err);
    if (ret < 0) {
        s->autoclear = autoclear;
    }
    if (w->data_file) {
        mem_free(ret < 0 ? s->image_data_file : name);
        s->image_data_file = ret < 0 ? name : s->image_data_file;
    }
    return ret;
}

static int set_lazy(struct qcow2 *s, const struct wanted *w, struct error **err)
{
    bool lazy = s->compatible & QCOW2_COMPAT_LAZY_REFCOUNTS;
    if (w->lazy == lazy) {
        return 0;
    }
    if (w->lazy && w->version < 3) {
        return error_set(err, EINVAL,
                         "Lazy refcounts only supported with compatibility level 1.1 and above "
                         "(use compat=1.1 or "
                         "greater)");
    }
    int ret = w->lazy ? 0 : qcow2_mark_clean(s);
    if (ret < 0) {
        return error_set_errno(err, -ret, "Failed to make the image clean");
    }
    uint64_t old = s->compatible;
    s->compatible =
        w->lazy ? old | QCOW2_COMPAT_LAZY_REFCOUNTS : old & ~QCOW2_COMPAT_LAZY_REFCOUNTS;
    ret = write_header(s, err);
    if (ret < 0) {
        s->compatible = old;
        return ret;
    }
    s->use_lazy_refcounts = w->lazy;
    return 0;
}

static int up(struct qcow2 *s, const struct wanted *w, struct amend_progress *p, struct error **err)
{
    int ret = 0;
    if (w->version > s->version) {
        p->current++;
        ret = upgrade(s, p, err);
    }
    ret = ret < 0 ? ret : set_refcount_bits(s, w, p, err);
    ret = ret < 0 ? ret : set_data_file(s, w, err);
    return ret < 0 ? ret : set_lazy(s, w, err);
}

static int set_keys(struct qcow2 *s, const struct value *opts, const struct wanted *w, bool force,
                    struct error **err)
{
    if (!w->encrypt) {
        return 0;
    }
    struct value *all = value_clone(opts), *keys = dict_extract(all, "encrypt.");
    int ret = qcow2_crypt_amend(s, keys, force, err);
    value_free(keys);
    value_free(all);
    return ret;
}

static int down(struct qcow2 *s, const struct wanted *w, struct amend_progress *p,
                struct error **err)
{
    if (w->version >= s->version) {
        return 0;
    }
    p->current++;
    return downgrade(s, p, err);
}

int qcow2_amend(struct node *n, struct value *opts, amend_progress_fn *progress, void *opaque,
                bool force, struct error **err)
{
    struct qcow2 *s = qcow2_state(n);
    struct wanted w;
    if (s->dead) {
        return error_set(err, ENOMEDIUM, "No medium inserted");
    }
    int ret = parse(s, opts, &w, err);
    if (ret < 0) {
        return ret;
    }
    struct amend_progress p = {
        .n = n,
        .fn = progress,
        .opaque = opaque,
        .total = (w.version != s->version) + (w.refcount_bits != s->refcount_bits),
    };
    co_lock(s->w, &s->lock);
    ret = qcow2_may_change(s);
    ret = ret < 0 ? error_set_errno(err, -ret, "Could not update the header") : up(s, &w, &p, err);
    ret = ret < 0 ? ret : set_keys(s, opts, &w, force, err);
    co_unlock(s->w, &s->lock);
    if (ret == 0 && w.size) {
        ret = w.size > INT64_MAX ? error_set(err, EINVAL, "Image size cannot be negative")
                                 : qcow2_truncate(n, (int64_t)w.size, false, PREALLOC_OFF, 0, err);
        ret = ret < 0 ? ret : node_refresh_length(n);
    }
    co_lock(s->w, &s->lock);
    ret = ret < 0 ? ret : down(s, &w, &p, err);
    int flush = s->dead ? 0 : qcow2_writethrough(s, NULL);
    co_unlock(s->w, &s->lock);
    return ret < 0 || flush == 0 ? ret
                                 : error_set_errno(err, -flush, "Failed to write the metadata");
}

int qcow2_amend_json(struct node *n, struct value *opts, bool force, struct error **err)
{
    struct qcow2 *s = qcow2_state(n);
    struct value *keys = dict_get(opts, "encrypt");
    if (!keys) {
        return 0;
    }
    const char *format = dict_get_str(keys, "format");
    if (s->crypt_method == QCOW2_CRYPT_NONE) {
        return error_set(err, EOPNOTSUPP, "image is not encrypted, can't amend");
    }
    if (!format || strcmp(format, "luks") != 0) {
        return error_set(err, EOPNOTSUPP,
                         "Amend can't be used to change the qcow2 encryption format");
    }
    if (s->crypt_method != QCOW2_CRYPT_LUKS) {
        return error_set(err, EOPNOTSUPP,
                         "Only LUKS encryption options can be amended for qcow2 "
                         "with blockdev-amend");
    }
    co_lock(s->w, &s->lock);
    int ret = s->dead ? error_set(err, ENOMEDIUM, "No medium inserted")
                      : qcow2_crypt_amend(s, keys, force, err);
    co_unlock(s->w, &s->lock);
    return ret;
}
