/*
 * raw: the guest's bytes as they are, optionally a window (offset, size) of the file.
 *
 * Models: everything passed through to the file child, shifted by offset; the check that a guest
 * whose format was guessed cannot make block 0 look like another format; measuring.  Without a
 * window raw is a filter of its file: it asks for and shares what its parents do.  Leaves out: a
 * size that is no multiple of 512.
 */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include "ref/block/graph.h"
#include "ref/block/io.h"
#include "ref/block/open.h"
#include "ref/format/format.h"

#define SECTOR 512

struct raw_state {
    int64_t offset; /* of the guest's byte 0 in the file */
    int64_t size;   /* bytes, when has_size */
    bool has_size;
};

static const struct opt_desc raw_options[] = {
    {.name = "offset",
     .type = OPT_SIZE,
     .def = "0",
     .help = "offset in the disk where the image starts",
     .runtime = true},
    {.name = "size", .type = OPT_SIZE, .help = "virtual disk size", .runtime = true},
    {.name = NULL},
};

static const struct opt_desc raw_create_options[] = {
    {.name = "size", .type = OPT_SIZE, .help = "Virtual disk size"},
    {.name = NULL},
};

static const char *const raw_strong_options[] = {"offset", "size", NULL};

/* Window options as given; has_size is false when there is none. */
struct raw_window {
    uint64_t offset, size;
    bool has_size;
};

static int raw_take_window(struct value *opts, struct raw_window *win, struct error **err)
{
    struct value *mine = opts_take(raw_options, opts);
    *win = (struct raw_window){.has_size = dict_has(mine, "size")};
    int ret = opts_get_size(raw_options, mine, "offset", &win->offset, err);
    if (ret == 0 && win->has_size) {
        ret = opts_get_size(raw_options, mine, "size", &win->size, err);
    }
    value_free(mine);
    return ret;
}

/* Checks the window against the file as it is now, and takes it. */
static int raw_apply_window(struct node *n, const struct raw_window *win, struct error **err)
{
    struct raw_state *s = n->state;
    int64_t file_len = child_length(n->file);

    if (file_len < 0) {
        return error_set_errno(err, (int)-file_len, "Could not get image size");
    }
    if (win->offset > (uint64_t)file_len) {
        return error_set(err, EINVAL,
                         "Offset (%" PRIu64
                         ") cannot be greater than size of the containing file (%" PRId64 ")",
                         win->offset, file_len);
    }
    if (win->has_size && (uint64_t)file_len - win->offset < win->size) {
        return error_set(err, EINVAL,
                         "The sum of offset (%" PRIu64 ") and size (%" PRIu64
                         ") has to be smaller or "
                         "equal to the  actual size of the containing file (%" PRId64 ")",
                         win->offset, win->size, file_len);
    }
    if (win->has_size && !IS_ALIGNED(win->size, SECTOR)) {
        return error_set(err, EINVAL, "Specified size is not multiple of %d", SECTOR);
    }
    s->offset = (int64_t)win->offset;
    s->has_size = win->has_size;
    s->size = (int64_t)win->size;
    return 0;
}

static int raw_open(struct node *n, struct value *opts, unsigned flags, struct error **err)
{
    struct raw_window win;
    int ret = raw_take_window(opts, &win, err);
    if (ret < 0) {
        return ret;
    }
    bool windowed = win.has_size || win.offset;
    unsigned role = ROLE_PRIMARY | (windowed ? ROLE_DATA : ROLE_FILTERED);
    if (!open_child(n, NULL, opts, "file", role, false, err)) {
        return -EINVAL;
    }

    const struct node *file = n->file->node;
    n->sg = file->sg;
    n->write_flags = REQ_UNCHANGED | (REQ_FUA & file->write_flags);
    n->zero_flags =
        REQ_UNCHANGED | ((REQ_FUA | REQ_MAY_UNMAP | REQ_NO_FALLBACK) & file->zero_flags);
    n->truncate_flags = REQ_ZERO_GROWN & file->truncate_flags;
    if (n->probed && !n->read_only) {
        world_report(n->w, REPORT_PLAIN,
                     "WARNING: Image format was not specified for '%s' and probing guessed raw.\n"
                     "         Automatically detecting the format is dangerous for raw images, "
                     "write operations "
                     "on block 0 will be restricted.\n"
                     "         Specify the 'raw' format explicitly to remove the restrictions.\n",
                     file->filename);
    }
    return raw_apply_window(n, &win, err);
}

static int raw_reopen_prepare(struct reopen *r, struct error **err)
{
    struct raw_window *win = mem_zalloc(sizeof(*win));
    struct raw_state *s = r->node->state;
    struct raw_state old = *s;
    int ret = raw_take_window(r->options, win, err);
    if (ret == 0) {
        ret = raw_apply_window(r->node, win, err); /* only its checks */
        *s = old;
    }
    if (ret < 0) {
        mem_free(win);
        return ret;
    }
    r->opaque = win;
    return 0;
}

static void raw_reopen_commit(struct reopen *r)
{
    struct raw_state *s = r->node->state;
    struct raw_window *win = r->opaque;
    s->offset = (int64_t)win->offset;
    s->size = (int64_t)win->size;
    s->has_size = win->has_size;
    mem_free(win);
    r->opaque = NULL;
}

static void raw_reopen_abort(struct reopen *r)
{
    mem_free(r->opaque);
    r->opaque = NULL;
}

/*
 * Moves *offset into the file.  A request must lie inside a fixed window: reads and discards report
 * -EINVAL, writes -ENOSPC.
 */
static int raw_adjust(const struct node *n, int64_t *offset, int64_t bytes, bool is_write)
{
    const struct raw_state *s = n->state;
    if (s->has_size && (*offset > s->size || bytes > s->size - *offset)) {
        return is_write ? -ENOSPC : -EINVAL;
    }
    if (*offset > INT64_MAX - s->offset) {
        return -EINVAL;
    }
    *offset += s->offset;
    return 0;
}

/* The event is this driver's; what the request is for, where somebody above said so, stays. */
static enum label announce(struct node *n, enum label event, const struct request *r)
{
    child_event(n->file, event, r);
    return r->label == LABEL_NONE ? event : r->label;
}

static int raw_read(struct node *n, const struct request *r)
{
    int64_t offset = r->offset;
    int ret = raw_adjust(n, &offset, r->bytes, false);
    if (ret < 0) {
        return ret;
    }
    enum label label = announce(n, LABEL_READ_AIO, r);
    return child_preadv(n->file, offset, r->bytes, r->iov, r->iov_off, r->flags | REQ_ANNOUNCED,
                        label, r);
}

/* -EPERM when a guessed raw image's first sector would become some format's header. */
static int raw_protect_block0(struct node *n, const struct request *r)
{
    if (!n->probed || r->offset >= SECTOR || r->bytes == 0) {
        return 0;
    }
    uint8_t sector[SECTOR];
    assert(r->offset == 0 && r->bytes >= SECTOR); /* request_alignment */
    iov_to_buf(r->iov, r->iov_off, sector, sizeof(sector));
    const struct block_driver *drv = driver_probe(n->w, sector, sizeof(sector), NULL);
    return drv && drv != n->drv ? -EPERM : 0;
}

static int raw_write(struct node *n, const struct request *r)
{
    int ret = raw_protect_block0(n, r);
    int64_t offset = r->offset;
    if (ret == 0) {
        ret = raw_adjust(n, &offset, r->bytes, true);
    }
    if (ret < 0) {
        return ret;
    }
    enum label label = announce(n, LABEL_WRITE_AIO, r);
    return child_pwritev(n->file, offset, r->bytes, r->iov, r->iov_off, r->flags | REQ_ANNOUNCED,
                         label, r);
}

static int raw_write_zeroes(struct node *n, const struct request *r)
{
    int64_t offset = r->offset;
    int ret = raw_adjust(n, &offset, r->bytes, true);
    return ret < 0 ? ret : child_pwrite_zeroes(n->file, offset, r->bytes, r->flags, LABEL_NONE, r);
}

static int raw_discard(struct node *n, const struct request *r)
{
    int64_t offset = r->offset;
    int ret = raw_adjust(n, &offset, r->bytes, true);
    return ret < 0 ? ret : child_discard(n->file, offset, r->bytes, LABEL_NONE, r);
}

static int raw_copy_range_from(struct node *n, struct child *src, int64_t src_off,
                               struct child *dst, int64_t dst_off, int64_t bytes,
                               unsigned read_flags, unsigned write_flags)
{
    int ret = raw_adjust(n, &src_off, bytes, false);
    return ret < 0
               ? ret
               : child_copy_range(n->file, src_off, dst, dst_off, bytes, read_flags, write_flags);
}

static int raw_copy_range_to(struct node *n, struct child *src, int64_t src_off, struct child *dst,
                             int64_t dst_off, int64_t bytes, unsigned read_flags,
                             unsigned write_flags)
{
    int ret = raw_adjust(n, &dst_off, bytes, true);
    return ret < 0 ? ret
                   : child_copy_range_to(src, src_off, n->file, dst_off, bytes, read_flags,
                                         write_flags);
}

static int raw_block_status(struct node *n, bool precise, int64_t offset, int64_t bytes,
                            struct status *out)
{
    const struct raw_state *s = n->state;
    *out = (struct status){.flags = STATUS_OFFSET_VALID | STATUS_RAW,
                           .bytes = bytes,
                           .map = offset + s->offset,
                           .file = n->file->node};
    return 0;
}

static int64_t raw_length(struct node *n)
{
    struct raw_state *s = n->state;
    if (s->has_size) {
        return s->size;
    }
    int64_t len = child_length(n->file);
    if (len < 0) {
        return len;
    }
    return len < s->offset ? 0 : len - s->offset;
}

static int raw_truncate(struct node *n, int64_t size, bool exact, enum prealloc prealloc,
                        unsigned flags, struct error **err)
{
    const struct raw_state *s = n->state;
    if (s->has_size) {
        return error_set(err, ENOTSUP, "Cannot resize fixed-size raw disks");
    }
    if (size > INT64_MAX - s->offset) {
        return error_set(err, EINVAL, "Disk size too large for the chosen offset");
    }
    return child_truncate(n->file, size + s->offset, exact, prealloc, flags, err);
}

/* A guessed image is written in whole sectors, so that raw_protect_block0() sees all of block 0. */
static void raw_refresh_limits(struct node *n, struct error **err)
{
    if (n->probed) {
        n->limits.request_alignment = MAX(n->limits.request_alignment, SECTOR);
    }
}

/* A window is fixed data of the file: raw never grows it for its own sake. */
static void raw_child_perm(struct node *n, struct child *c, unsigned role, struct reopen *r,
                           unsigned perm, unsigned shared, unsigned *nperm, unsigned *nshared)
{
    child_perm_default(n, c, role, r, perm, shared, nperm, nshared);
    *nperm &= perm | ~(unsigned)(PERM_WRITE | PERM_RESIZE);
}

static bool raw_has_zero_init(struct node *n)
{
    return node_has_zero_init(n->file->node);
}

static int raw_info(struct node *n, struct image_info *out)
{
    return node_info(n->file->node, out);
}

static struct value *raw_measure(struct world *w, struct value *opts, struct node *in,
                                 struct error **err)
{
    uint64_t required = 0;
    if (in) {
        int64_t len = node_length(in);
        if (len < 0) {
            error_set_errno(err, (int)-len, "Unable to get image size");
            return NULL;
        }
        required = (uint64_t)len;
    } else {
        if (opts_get_size(raw_create_options, opts, "size", &required, err) < 0) {
            return NULL;
        }
        if (required > INT64_MAX - SECTOR) {
            error_set(err, EFBIG, "Image size is too large");
            return NULL;
        }
        required = ROUND_UP(required, SECTOR);
    }
    struct value *v = value_dict();
    dict_put_uint(v, "required", required);
    dict_put_uint(v, "fully-allocated", required);
    return v;
}

static int raw_create(struct world *w, const char *filename, struct value *opts, struct error **err)
{
    return image_create_file(w, filename, opts, err);
}

static int raw_probe(const uint8_t *buf, size_t len, const char *filename)
{
    return 1; /* any other format wins */
}

static void raw_lock_medium(struct node *n, bool locked)
{
    struct node *file = n->file->node;
    if (file->drv && file->drv->lock_medium) {
        file->drv->lock_medium(file, locked);
    }
}

static void raw_eject(struct node *n, bool eject)
{
    struct node *file = n->file->node;
    if (file->drv && file->drv->eject) {
        file->drv->eject(file, eject);
    }
}

static const enum label labels[] = {LABEL_READ_AIO, LABEL_WRITE_AIO, LABEL_COUNT};

const struct block_driver driver_raw = {
    .name = "raw",
    .labels = labels,
    .kind = DRIVER_FORMAT,
    .state_size = sizeof(struct raw_state),
    .variable_length = true,
    .snapshots_in_fallback = true,
    .open_options = raw_options,
    .create_options = raw_create_options,
    .strong_options = raw_strong_options,
    .probe = raw_probe,
    .open = raw_open,
    .reopen_prepare = raw_reopen_prepare,
    .reopen_commit = raw_reopen_commit,
    .reopen_abort = raw_reopen_abort,
    .create = raw_create,
    .read = raw_read,
    .write = raw_write,
    .write_zeroes = raw_write_zeroes,
    .discard = raw_discard,
    .copy_range_from = raw_copy_range_from,
    .copy_range_to = raw_copy_range_to,
    .block_status = raw_block_status,
    .truncate = raw_truncate,
    .length = raw_length,
    .refresh_limits = raw_refresh_limits,
    .child_perm = raw_child_perm,
    .has_zero_init = raw_has_zero_init,
    .info = raw_info,
    .measure = raw_measure,
    .lock_medium = raw_lock_medium,
    .eject = raw_eject,
};
