/*
 * vhdx: Hyper-V's virtual hard disks, version 2 ([MS-VHDX]): the driver's table, opening, closing.
 *
 * Models: both headers, region tables, metadata, dynamic and fixed files, replay of the log, BAT
 * changes by way of it.  Leaves out: differencing files (refused); resizing and trimming, as QEMU.
 */
#include "ref/format/vhdx/vhdx.h"

#include <errno.h>
#include <string.h>
#include "ref/base/mem.h"

static int vhdx_probe(const uint8_t *buf, size_t len, const char *filename)
{
    return len >= 8 && vhdx_file_identifier_get_signature(buf) == VHDX_SIGNATURE ? 100 : 0;
}

static bool writable(const struct node *n, unsigned flags)
{
    return (flags & OPEN_RDWR) && !(flags & OPEN_INACTIVE) && !n->read_only;
}

static int check_identifier(struct node *n, struct error **err)
{
    uint8_t id[8] = {0};
    int ret = child_pread(n->file, 0, id, sizeof(id), LABEL_HEADER_LOAD, NULL);
    if (ret < 0) {
        return error_set_errno(err, -ret, "Could not read the VHDX file identifier");
    }
    return vhdx_probe(id, sizeof(id), NULL) ? 0
                                            : error_set(err, EINVAL, "Image not in VHDX format");
}

static int load(struct node *n, unsigned flags, struct error **err)
{
    struct vhdx *s = vhdx_state(n);
    struct check_result res = {0};
    s->begun = s->dead = false;
    int ret = check_identifier(n, err);
    ret = ret < 0 ? ret : vhdx_read_headers(s, err);
    ret = ret < 0 ? ret : vhdx_replay(s, writable(n, flags), err);
    ret = ret < 0 ? ret : vhdx_read_regions(s, err);
    ret = ret < 0 ? ret : vhdx_read_metadata(s, err);
    if (ret == 0 && !(flags & OPEN_CHECK)) {
        ret = vhdx_check_bat(s, &res);
        if (ret < 0) {
            error_set_errno(err, -ret, "Could not read the VHDX BAT");
        } else if (res.corruptions) {
            ret = error_set(err, EINVAL, "VHDX BAT is corrupt");
        }
    }
    return ret;
}

static int vhdx_open(struct node *n, struct value *opts, unsigned flags, struct error **err)
{
    struct vhdx *s = vhdx_state(n);
    s->n = n;
    int ret = open_file_child(n, opts, err);
    if (ret < 0) {
        return ret;
    }
    table_cache_init(&s->tables, n->file);
    ret = load(n, flags, err);
    if (ret < 0) {
        table_cache_free(&s->tables);
    }
    return ret;
}

/* What the log described is stable: it is empty for who comes next. */
static int inactivate(struct node *n)
{
    struct vhdx *s = vhdx_state(n);
    co_lock(n->w, &s->lock);
    int ret = s->dead ? 0 : vhdx_close_log(s, NULL);
    co_unlock(n->w, &s->lock);
    return ret;
}

static void vhdx_close(struct node *n)
{
    struct vhdx *s = vhdx_state(n);
    if (!n->read_only && !(n->open_flags & OPEN_INACTIVE)) {
        (void)inactivate(n); /* the log stays: the next open replays it */
    }
    table_cache_free(&s->tables);
}

static void activate(struct node *n, struct error **err)
{
    table_cache_forget(&vhdx_state(n)->tables);
    load(n, n->open_flags & ~(unsigned)OPEN_INACTIVE, err);
}

static int reopen_prepare(struct reopen *r, struct error **err)
{
    if (r->node->read_only || (r->flags & OPEN_RDWR)) {
        return 0;
    }
    int ret = inactivate(r->node); /* nothing can be written later */
    return ret < 0 ? error_set_errno(err, -ret, "Could not close the VHDX log") : 0;
}

static int64_t length(struct node *n)
{
    return (int64_t)vhdx_state(n)->size;
}

static void refresh_limits(struct node *n, struct error **err)
{
    n->limits.request_alignment =
        MAX(n->limits.request_alignment, MAX(vhdx_state(n)->logical_sector, 512u));
}

static bool has_zero_init(struct node *n)
{
    return true;
}

static int info(struct node *n, struct image_info *out)
{
    out->cluster_size = (int)vhdx_state(n)->block_size;
    return 0;
}

static const enum label labels[] = {LABEL_HEADER_LOAD,    LABEL_HEADER_UPDATE, LABEL_TABLE_LOAD,
                                    LABEL_TABLE_UPDATE,   LABEL_JOURNAL_LOAD,  LABEL_JOURNAL_WRITE,
                                    LABEL_JOURNAL_REPLAY, LABEL_READ_AIO,      LABEL_WRITE_AIO,
                                    LABEL_COUNT};

const struct block_driver driver_vhdx = {
    .name = "vhdx",
    .labels = labels,
    .kind = DRIVER_FORMAT,
    .state_size = sizeof(struct vhdx),
    .create_options = vhdx_create_options,
    .probe = vhdx_probe,
    .open = vhdx_open,
    .close = vhdx_close,
    .reopen_prepare = reopen_prepare,
    .create = vhdx_create,
    .create_json = vhdx_create_json,
    .read = vhdx_read,
    .write = vhdx_write,
    .block_status = vhdx_block_status,
    .length = length,
    .refresh_limits = refresh_limits,
    .has_zero_init = has_zero_init,
    .info = info,
    .check = vhdx_check,
    .inactivate = inactivate,
    .activate = activate,
};
