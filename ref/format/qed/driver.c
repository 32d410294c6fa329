/*
 * The QED driver: its table, opening, closing, reopening (docs/interop/qed_spec.txt).
 *
 * Leaves out: the extensions that were planned and never shipped (free list, table dirty bits).
 */
#include "ref/format/qed/qed.h"

#include <errno.h>
#include <inttypes.h>

static const struct opt_desc qed_options[] = {
    {.name = NULL},
};

static int probe(const uint8_t *buf, size_t len, const char *filename)
{
    return len >= QED_HEADER_SIZE && qed_header_get_magic(buf) == QED_MAGIC ? 100 : 0;
}

static bool writable(const struct node *n, unsigned flags)
{
    return (flags & OPEN_RDWR) && !(flags & OPEN_INACTIVE) && !n->read_only;
}

/* A writer takes away what it does not keep up to date (spec: "autoclear_features"). */
static int clear_autoclear(struct qed *s, struct error **err)
{
    if (qed_header_get_autoclear_features(s->header) == 0) {
        return 0;
    }
    qed_header_set_autoclear_features(s->header, 0);
    int ret = qed_header_write(s, LABEL_HEADER_UPDATE, NULL);
    ret = ret < 0 ? ret : child_flush(s->n->file, NULL);
    return ret < 0 ? error_set_errno(err, -ret, "Failed to update header") : 0;
}

static int open_metadata(struct qed *s, unsigned flags, struct error **err)
{
    int ret = qed_header_read(s, flags, err);
    if (ret < 0) {
        return ret;
    }
    s->n->length = (int64_t)s->image_size;
    s->unchecked = s->features & QED_FEATURE_NEED_CHECK;
    if (!writable(s->n, flags)) {
        return 0;
    }
    ret = clear_autoclear(s, err);
    if (ret == 0 && s->unchecked && !(flags & OPEN_CHECK)) {
        ret = qed_repair(s, err);
    }
    return ret;
}

static int open_qed(struct node *n, struct value *opts, unsigned flags, struct error **err)
{
    struct qed *s = qed_state(n);
    s->n = n;
    s->w = n->w;
    int ret = open_file_child(n, opts, err);
    if (ret < 0) {
        return ret;
    }
    table_cache_init(&s->tables, n->file);
    timer_init(&s->clean_timer, s->w, CLOCK_VIRTUAL, qed_clean_later, s);
    ret = open_metadata(s, flags, err);
    if (ret < 0) {
        timer_disarm(&s->clean_timer);
        table_cache_free(&s->tables);
    }
    return ret;
}

static int inactivate(struct node *n)
{
    struct qed *s = qed_state(n);
    co_lock(s->w, &s->alloc);
    int ret = s->dead ? 0 : qed_mark_clean(s);
    co_unlock(s->w, &s->alloc);
    return ret;
}

static void close_qed(struct node *n)
{
    struct qed *s = qed_state(n);
    timer_disarm(&s->clean_timer);
    if (!n->read_only && !(n->open_flags & OPEN_INACTIVE)) {
        (void)inactivate(n); /* the bit stays: the next open checks */
    }
    table_cache_free(&s->tables);
}

/* Somebody else had the image: everything is read again. */
static void activate(struct node *n, struct error **err)
{
    struct qed *s = qed_state(n);
    struct error *local = NULL;
    table_cache_forget(&s->tables);
    s->dead = open_metadata(s, n->open_flags & ~(unsigned)OPEN_INACTIVE, &local) < 0;
    if (s->dead) {
        error_prepend(&local, "Could not reopen qed layer: ");
        error_propagate(err, local);
    }
}

static int reopen_prepare(struct reopen *r, struct error **err)
{
    struct qed *s = qed_state(r->node);
    if (r->node->read_only || (r->flags & OPEN_RDWR)) {
        return 0;
    }
    int ret = inactivate(s->n); /* nothing can be written later */
    return ret < 0 ? error_set_errno(err, -ret, "Could not update the QED header") : 0;
}

static int64_t length(struct node *n)
{
    struct qed *s = qed_state(n);
    return s->dead ? -ENOMEDIUM : (int64_t)s->image_size;
}

static void refresh_limits(struct node *n, struct error **err)
{
    n->limits.request_alignment = MAX(n->limits.request_alignment, 512u);
    n->limits.zeroes_alignment = (int64_t)qed_state(n)->cluster_size;
    n->limits.max_zeroes = INT32_MAX;
}

static bool has_zero_init(struct node *n)
{
    return true;
}

/* The need-check bit does not show here: opening has checked the image, or nobody may write it. */
static int info(struct node *n, struct image_info *out)
{
    out->cluster_size = (int)qed_state(n)->cluster_size;
    return 0;
}

static const enum label labels[] = {
    LABEL_HEADER_LOAD, LABEL_HEADER_UPDATE, LABEL_DIRTY_FLAG_SET, LABEL_DIRTY_FLAG_CLEAR,
    LABEL_TABLE_LOAD,  LABEL_L1_UPDATE,     LABEL_L2_LOAD,        LABEL_L2_UPDATE,
    LABEL_CHECK_READ,  LABEL_CHECK_WRITE,   LABEL_READ_AIO,       LABEL_READ_BACKING_AIO,
    LABEL_WRITE_AIO,   LABEL_COW_WRITE,     LABEL_COUNT};

const struct block_driver driver_qed = {
    .name = "qed",
    .labels = labels,
    .kind = DRIVER_FORMAT,
    .state_size = sizeof(struct qed),
    .supports_backing = true,
    .open_options = qed_options,
    .create_options = qed_create_options,
    .probe = probe,
    .open = open_qed,
    .close = close_qed,
    .reopen_prepare = reopen_prepare,
    .create = qed_create,
    .create_json = qed_create_json,
    .read = qed_read,
    .write = qed_write,
    .drain_end = qed_drain_end,
    .write_zeroes = qed_write_zeroes,
    .block_status = qed_block_status,
    .truncate = qed_truncate,
    .length = length,
    .refresh_limits = refresh_limits,
    .has_zero_init = has_zero_init,
    .info = info,
    .check = qed_check,
    .change_backing = qed_change_backing,
    .inactivate = inactivate,
    .activate = activate,
};
