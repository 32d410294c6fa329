/*
 * The qcow2 driver: its table, opening, closing, reopening.
 *
 * Bitmaps are kept while the image is read; a writer makes them inconsistent and says so.
 */
#include "ref/format/qcow2/crypt.h"
#include "ref/format/qcow2/options.h"

#include <assert.h>
#include <errno.h>

static int probe(const uint8_t *buf, size_t len, const char *filename)
{
    return len >= 8 && qcow2_header_get_magic(buf) == QCOW2_MAGIC &&
                   qcow2_header_get_version(buf) >= 2
               ? 100
               : 0;
}

static int read_l1(struct qcow2 *s, struct error **err)
{
    if (s->l1_size == 0) {
        return 0;
    }
    int64_t bytes = (int64_t)s->l1_size * 8;
    s->l1 = mem_try_alloc((size_t)bytes);
    if (!s->l1) {
        return error_set(err, ENOMEM, "Could not allocate L1 table");
    }
    int ret = child_pread(s->n->file, (int64_t)s->l1_offset, s->l1, bytes, LABEL_TABLE_LOAD, NULL);
    if (ret < 0) {
        return error_set_errno(err, -ret, "Could not read L1 table");
    }
    for (uint32_t i = 0; i < s->l1_size; i++) {
        s->l1[i] = load_be64(&s->l1[i]);
    }
    return 0;
}

static void set_str(char **dst, const char *src)
{
    char *copy = str_dup(src ? src : "");
    mem_free(*dst);
    *dst = copy;
}

static void publish_names(struct qcow2 *s)
{
    struct node *n = s->n;
    set_str(&n->backing_file, s->image_backing_file);
    set_str(&n->auto_backing_file, s->image_backing_file);
    set_str(&n->backing_format, s->image_backing_format);
}

/* The external data file: given by the user, or named in the image (spec: "External data file name
 * string"). */
static int open_data_file(struct qcow2 *s, struct value *opts, unsigned flags, struct error **err)
{
    struct error *local = NULL;
    bool has = has_data_file(s);
    struct child *c = open_child(s->n, NULL, opts, "data-file", ROLE_DATA, true, &local);
    if (local) {
        error_propagate(err, local);
        return -EINVAL;
    }
    s->data_file = s->n->file;
    if (!has) {
        if (c) {
            return error_set(err, EINVAL,
                             "'data-file' can only be set for images with an external data file");
        }
        s->autoclear &= ~QCOW2_AUTOCLEAR_DATA_FILE_RAW; /* means nothing without one */
        return 0;
    }
    if (!c && (flags & OPEN_NO_DATA_FILE)) {
        return 0; /* nothing will be read, so the data file may stay closed */
    }
    if (!c && s->image_data_file) {
        if (world_denies_names(s->w) && strncmp(s->image_data_file, "sim:", 4) != 0) {
            return error_set(
                err, EPERM,
                "Data file '%s' named by image '%s' is not opened: names in images are denied",
                s->image_data_file, s->n->file->node->filename ? s->n->file->node->filename : "");
        }
        bool plain = world_plain_data_files(s->w);
        if (plain) {
            dict_put_str(opts, "data-file.driver", "file");
            dict_put_str(opts, "data-file.filename", s->image_data_file);
        }
        c = open_child(s->n, plain ? NULL : s->image_data_file, opts, "data-file", ROLE_DATA, false,
                       err);
        if (!c) {
            return -EINVAL;
        }
    }
    if (!c) {
        return error_set(err, EINVAL, "'data-file' is required for this image");
    }
    s->data_file = c;
    /* What is not in the data file is all metadata. */
    s->n->file->role &= ~(unsigned)ROLE_DATA;
    return 0;
}

/* A writer takes away what it does not keep up to date (spec: "autoclear_features"). */
static int clear_autoclear(struct qcow2 *s, unsigned flags, struct error **err)
{
    uint64_t keep = QCOW2_AUTOCLEAR_DATA_FILE_RAW;
    if (s->autoclear & QCOW2_AUTOCLEAR_BITMAPS) {
        if (s->nb_bitmaps && !qcow2_bitmaps_kept && !(flags & OPEN_CHECK)) {
            world_warn(s->w, "bitmaps in '%s' are not kept up to date and become inconsistent",
                       s->n->file->node->filename ? s->n->file->node->filename : "");
        } else {
            keep |= QCOW2_AUTOCLEAR_BITMAPS;
        }
    }
    if (!(s->autoclear & ~keep) && !s->lost_bitmaps) {
        return 0;
    }
    s->autoclear &= keep;
    int ret = qcow2_header_write(s);
    if (ret == 0) {
        s->lost_bitmaps = false;
        ret = child_flush(s->n->file, NULL);
        s->header_unsure |= ret < 0;
    }
    return ret < 0 ? error_set_errno(err, -ret, "Could not update qcow2 header") : 0;
}

static int repair(struct qcow2 *s, struct error **err)
{
    struct check_result res = {0};
    int ret =
        driver_qcow2.check ? driver_qcow2.check(s->n, &res, FIX_ERRORS | FIX_LEAKS) : -ENOTSUP;
    if (ret < 0 || res.check_errors) {
        ret = ret < 0 && !res.check_errors ? ret : -EIO;
        return error_set_errno(err, -ret, "Could not repair dirty image");
    }
    return 0;
}

static void free_state(struct qcow2 *s)
{
    qcow2_cache_free(s->l2_cache);
    qcow2_cache_free(s->refblock_cache);
    s->l2_cache = s->refblock_cache = NULL;
    qcow2_free_snapshots(s);
    qcow2_refcount_close(s);
    qcow2_header_free(s);
}

static int open_metadata(struct qcow2 *s, struct value *opts, unsigned flags, struct error **err)
{
    struct node *n = s->n;
    struct qcow2_options o;
    int ret = qcow2_header_read(n, flags, err);
    ret = ret < 0 ? ret : qcow2_parse_options(s, opts, flags, &o, err);
    if (ret < 0) {
        return ret;
    }
    qcow2_apply_options(s, &o);
    ret = qcow2_crypt_open(s, o.secret, flags, err);
    mem_free(o.secret);
    ret = ret < 0 ? ret : open_data_file(s, opts, flags, err);
    ret = ret < 0 ? ret : read_l1(s, err);
    ret = ret < 0 ? ret : qcow2_refcount_open(s, err);
    if (ret < 0) {
        return ret;
    }
    n->length = (int64_t)s->virtual_size;
    publish_names(s);
    /* A checker looks at the snapshot table itself. */
    ret = flags & OPEN_CHECK ? 0 : qcow2_read_snapshots(s, err);
    bool writable = (flags & OPEN_RDWR) && !(flags & OPEN_INACTIVE) && !n->read_only;
    if (ret == 0 && writable) {
        ret = clear_autoclear(s, flags, err);
    }
    if (ret == 0 && writable && !(flags & OPEN_CHECK) && (s->incompatible & QCOW2_INCOMPAT_DIRTY)) {
        ret = repair(s, err);
    }
    return ret;
}

void qcow2_set_version_flags(struct qcow2 *s)
{
    /* Version 2 has no zero clusters. */
    s->n->zero_flags = s->version >= 3 ? REQ_MAY_UNMAP | REQ_NO_FALLBACK : 0;
}

static int open_qcow2(struct node *n, struct value *opts, unsigned flags, struct error **err)
{
    struct qcow2 *s = qcow2_state(n);
    s->n = n;
    s->w = n->w;
    const struct profile *p = world_profile(n->w);
    s->writeback = p->metadata_cache;
    s->merge = p->merge_requests;
    list_init(&s->allocs);
    list_init(&s->ios);
    list_init(&s->discards);
    list_init(&s->exts);
    int ret = open_file_child(n, opts, err);
    if (ret == 0) {
        ret = open_metadata(s, opts, flags, err);
        if (ret < 0) {
            free_state(s);
            crypt_block_free(s->crypt);
        }
    }
    qcow2_set_version_flags(s);
    n->truncate_flags = REQ_ZERO_GROWN;
    return ret;
}

/* The file reaches to the end of its last cluster, though nothing was written there. */
static void extend_file(struct qcow2 *s)
{
    int64_t len = s->data_end ? child_length(s->n->file) : -1;
    if (len >= 0 && (uint64_t)len < s->data_end) {
        (void)child_truncate(s->n->file, (int64_t)s->data_end, false, PREALLOC_OFF, 0, NULL);
    }
}

/* Asks the disk for nothing where nothing was written. */
static int settle_cache(struct qcow2 *s, struct qcow2_cache *c)
{
    int ret = qcow2_cache_write(c, NULL);
    return ret < 0 ? ret : node_flush_closing(s->n->file->node);
}

static int inactivate(struct node *n)
{
    struct qcow2 *s = qcow2_state(n);
    int result = 0;
    co_lock(s->w, &s->lock);
    if (!s->dead) {
        int ret = settle_cache(s, s->l2_cache);
        if (ret < 0) {
            result = ret;
            world_report(s->w, REPORT_ERROR, "Failed to flush the L2 table cache: %s",
                         strerror(-ret));
        }
        ret = settle_cache(s, s->refblock_cache);
        if (ret < 0) {
            result = ret;
            world_report(s->w, REPORT_ERROR, "Failed to flush the refcount block cache: %s",
                         strerror(-ret));
        }
        if (result == 0) {
            qcow2_mark_clean(s);
            extend_file(s);
        }
    }
    co_unlock(s->w, &s->lock);
    return result;
}

static void close_qcow2(struct node *n)
{
    struct qcow2 *s = qcow2_state(n);
    assert(list_empty(&s->allocs) && list_empty(&s->ios));
    if (!n->read_only && !(n->open_flags & OPEN_INACTIVE)) {
        inactivate(n);
    }
    free_state(s);
    crypt_block_free(s->crypt);
}

static void activate(struct node *n, struct error **err)
{
    struct qcow2 *s = qcow2_state(n);
    /* Somebody else had the image: everything is read again. */
    struct child *data = s->data_file;
    free_state(s);
    s->dead = s->signaled_corruption = s->virgin_known = false;
    s->incompatible = s->compatible = s->autoclear = 0;
    struct value *none = value_dict();
    struct qcow2_options o;
    int ret = qcow2_header_read(n, n->open_flags, err);
    ret = ret < 0 ? ret : qcow2_parse_options(s, none, n->open_flags, &o, err);
    if (ret == 0) {
        qcow2_apply_options(s, &o);
        mem_free(o.secret); /* the key we have stays */
        s->data_file = data;
        ret = read_l1(s, err);
    }
    ret = ret < 0 ? ret : qcow2_refcount_open(s, err);
    ret = ret < 0 ? ret : qcow2_read_snapshots(s, err);
    if (ret < 0) {
        error_prepend(err, "Could not reopen qcow2 layer: ");
        s->dead = true;
    }
    value_free(none);
}

static void free_options(struct qcow2_options *o)
{
    mem_free(o->secret);
    mem_free(o);
}

static int reopen_prepare(struct reopen *r, struct error **err)
{
    struct qcow2 *s = qcow2_state(r->node);
    if (s->dead) {
        return error_set(err, ENOMEDIUM, "Image is corrupt");
    }
    if ((r->flags & OPEN_RDWR) && r->node->read_only &&
        (s->incompatible & QCOW2_INCOMPAT_CORRUPT)) {
        return error_set(err, EACCES, "qcow2: Image is corrupt; cannot be opened read/write");
    }
    struct qcow2_options *o = mem_zalloc(sizeof(*o));
    int ret = qcow2_parse_options(s, r->options, r->flags, o, err);
    co_lock(s->w, &s->lock);
    if (ret == 0 && !r->node->read_only) {
        ret = qcow2_flush_caches(s, NULL);
        if (ret == 0) {
            ret = qcow2_cache_flush(s->refblock_cache, NULL);
        }
        if (ret == 0 && (!(r->flags & OPEN_RDWR) || !o->use_lazy_refcounts)) {
            ret = qcow2_mark_clean(s);
        }
        if (ret < 0) {
            error_set_errno(err, -ret, "Could not flush the metadata caches");
        }
    }
    co_unlock(s->w, &s->lock);
    if (ret < 0) {
        free_options(o);
        return ret;
    }
    r->opaque = o;
    return 0;
}

static void reopen_commit(struct reopen *r)
{
    qcow2_apply_options(qcow2_state(r->node), r->opaque);
    free_options(r->opaque);
}

static void reopen_abort(struct reopen *r)
{
    free_options(r->opaque);
}

static int64_t length(struct node *n)
{
    struct qcow2 *s = qcow2_state(n);
    return s->dead ? -ENOMEDIUM : (int64_t)s->virtual_size;
}

static void refresh_limits(struct node *n, struct error **err)
{
    struct qcow2 *s = qcow2_state(n);
    if (s->cluster_size) {
        n->limits.zeroes_alignment = (int64_t)s->subcluster_size;
        n->limits.discard_alignment = (int64_t)s->cluster_size;
    }
    if (n->encrypted) {
        n->limits.request_alignment = MAX(n->limits.request_alignment, (uint32_t)CRYPT_SECTOR);
    }
}

/* With its metadata preallocated, zeroes come from the data's place. */
static bool has_zero_init(struct node *n)
{
    struct qcow2 *s = qcow2_state(n);
    co_lock(s->w, &s->lock);
    bool prealloc = s->l1_size > 0 && s->l1[0] != 0;
    co_unlock(s->w, &s->lock);
    if (prealloc && n->encrypted) {
        return false; /* holes are no encrypted zeroes */
    }
    return !prealloc || node_has_zero_init(s->data_file->node);
}

int qcow2_change_backing(struct node *n, const char *file, const char *format)
{
    struct qcow2 *s = qcow2_state(n);
    if (file && strlen(file) > QCOW2_MAX_BACKING_NAME) {
        return -EINVAL;
    }
    if (file && has_data_file(s) && data_file_is_raw(s)) {
        return -EINVAL;
    }
    char *old_file = s->image_backing_file, *old_format = s->image_backing_format;
    co_lock(s->w, &s->lock);
    s->image_backing_file = str_dup(file && *file ? file : NULL);
    s->image_backing_format = str_dup(format && *format ? format : NULL);
    int ret = s->dead ? -ENOMEDIUM : qcow2_header_write(s); /* settles it, too */
    if (ret < 0) {
        mem_free(s->image_backing_file);
        mem_free(s->image_backing_format);
        s->image_backing_file = old_file;
        s->image_backing_format = old_format;
    } else {
        mem_free(old_file);
        mem_free(old_format);
        publish_names(s);
    }
    co_unlock(s->w, &s->lock);
    return ret;
}

static const char *const strong_options[] = {"encrypt.key-secret", NULL};

static const enum label labels[] = {LABEL_L1_UPDATE,
                                    LABEL_L1_GROW_ALLOC_TABLE,
                                    LABEL_L1_GROW_WRITE_TABLE,
                                    LABEL_L1_GROW_ACTIVATE_TABLE,
                                    LABEL_L2_LOAD,
                                    LABEL_L2_UPDATE,
                                    LABEL_L2_UPDATE_COMPRESSED,
                                    LABEL_L2_ALLOC_COW_READ,
                                    LABEL_L2_ALLOC_WRITE,
                                    LABEL_READ_AIO,
                                    LABEL_READ_BACKING_AIO,
                                    LABEL_READ_COMPRESSED,
                                    LABEL_WRITE_AIO,
                                    LABEL_WRITE_COMPRESSED,
                                    LABEL_COW_READ,
                                    LABEL_COW_WRITE,
                                    LABEL_REFTABLE_LOAD,
                                    LABEL_REFTABLE_GROW,
                                    LABEL_REFTABLE_UPDATE,
                                    LABEL_REFBLOCK_LOAD,
                                    LABEL_REFBLOCK_UPDATE_PART,
                                    LABEL_REFBLOCK_ALLOC,
                                    LABEL_REFBLOCK_ALLOC_HOOKUP,
                                    LABEL_REFBLOCK_ALLOC_WRITE,
                                    LABEL_REFBLOCK_ALLOC_WRITE_BLOCKS,
                                    LABEL_REFBLOCK_ALLOC_WRITE_TABLE,
                                    LABEL_REFBLOCK_ALLOC_SWITCH_TABLE,
                                    LABEL_CLUSTER_ALLOC,
                                    LABEL_CLUSTER_ALLOC_BYTES,
                                    LABEL_CLUSTER_FREE,
                                    LABEL_L1_SHRINK_WRITE_TABLE,
                                    LABEL_L1_SHRINK_FREE_L2_CLUSTERS,
                                    LABEL_HEADER_LOAD,
                                    LABEL_HEADER_UPDATE,
                                    LABEL_EXT_LOAD,
                                    LABEL_SNAPSHOT_TABLE_LOAD,
                                    LABEL_SNAPSHOT_L1_LOAD,
                                    LABEL_DIRTY_FLAG_SET,
                                    LABEL_DIRTY_FLAG_CLEAR,
                                    LABEL_DISCARD,
                                    LABEL_VMSTATE_LOAD,
                                    LABEL_VMSTATE_SAVE,
                                    LABEL_CLUSTER_ALLOC_SPACE,
                                    LABEL_EMPTY_IMAGE_PREPARE,
                                    LABEL_SNAPSHOT_TABLE_WRITE,
                                    LABEL_TABLE_LOAD,
                                    LABEL_CHECK_READ,
                                    LABEL_PREALLOCATE,
                                    LABEL_CRYPTO_HEADER_LOAD,
                                    LABEL_CRYPTO_HEADER_WRITE,
                                    LABEL_COUNT};

const struct block_driver driver_qcow2 = {
    .name = "qcow2",
    .labels = labels,
    .kind = DRIVER_FORMAT,
    .state_size = sizeof(struct qcow2),
    .supports_backing = true,
    .open_options = qcow2_open_options,
    .create_options = qcow2_create_options,
    .amend_options = qcow2_amend_options,
    .strong_options = strong_options,
    .probe = probe,
    .open = open_qcow2,
    .close = close_qcow2,
    .join_options = qcow2_join_options,
    .reopen_prepare = reopen_prepare,
    .reopen_commit = reopen_commit,
    .reopen_abort = reopen_abort,
    .create = qcow2_create,
    .create_json = qcow2_create_json,
    .copy_range_from = qcow2_copy_range_from,
    .copy_range_to = qcow2_copy_range_to,
    .read = qcow2_read,
    .write = qcow2_write,
    .write_zeroes = qcow2_write_zeroes,
    .discard = qcow2_discard,
    .flush_to_os = qcow2_flush_to_os,
    .write_compressed = qcow2_write_compressed,
    .block_status = qcow2_block_status,
    .truncate = qcow2_truncate,
    .length = length,
    .variable_length = true, /* a corrupt image loses its own */
    .refresh_limits = refresh_limits,
    .has_zero_init = has_zero_init,
    .info = qcow2_info,
    .specific_info = qcow2_specific_info,
    .measure = qcow2_measure,
    .change_backing = qcow2_change_backing,
    .make_empty = qcow2_make_empty,
    .check = qcow2_check,
    .amend = qcow2_amend,
    .amend_json = qcow2_amend_json,
    .inactivate = inactivate,
    .activate = activate,
    .snapshot_create = qcow2_snapshot_create,
    .snapshot_goto = qcow2_snapshot_goto,
    .snapshot_delete = qcow2_snapshot_delete,
    .snapshot_list = qcow2_snapshot_list,
    .snapshot_load = qcow2_snapshot_load,
    .save_vmstate = qcow2_save_vmstate,
    .load_vmstate = qcow2_load_vmstate,
};
