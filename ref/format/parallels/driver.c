/*
 * parallels: expandable images of Parallels, "WithoutFreeSpace" and "WithouFreSpacExt"
 * (docs/interop/parallels.txt): the driver's table, opening and closing.
 *
 * Models: the in-use mark is set while the image is open for writing.  The format extension is read
 * and judged in images that are opened read-only; a writer drops it with the first change of the
 * BAT, since its bitmap would be wrong from then on (spec: "Flags", neither NECESSARY nor TRANSIT).
 * Leaves out: freeing clusters, resizing, keeping the extension's bitmap up to date.
 */
#include "ref/format/parallels/parallels.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include "ref/base/mem.h"
#include "ref/base/options.h"

#define MAX_ENTRIES (INT32_MAX / 4)
#define MAX_TRACKS  (INT32_MAX / 513)
#define PIECE       (64u << 20) /* the BAT is read in pieces of this size */

static const char *const modes[] = {"falloc", "truncate", NULL};

static const struct opt_desc parallels_options[] = {
    {.name = "prealloc-size",
     .type = OPT_SIZE,
     .def = "128M",
     .help = "Preallocation size on image expansion"},
    {.name = "prealloc-mode",
     .type = OPT_ENUM,
     .values = modes,
     .def = "falloc",
     .help = "Preallocation mode on image expansion (allowed values: falloc, truncate)"},
    {.name = NULL},
};

static bool is_ext_magic(const uint8_t *h)
{
    return !memcmp(h, "WithouFreSpacExt", PARALLELS_HEADER_MAGIC_WIDTH);
}

static int parallels_probe(const uint8_t *buf, size_t len, const char *filename)
{
    return len >= PARALLELS_HEADER_SIZE &&
                   (is_ext_magic(buf) ||
                    !memcmp(buf, "WithoutFreeSpace", PARALLELS_HEADER_MAGIC_WIDTH)) &&
                   parallels_header_get_version(buf) == PARALLELS_VERSION
               ? 100
               : 0;
}

int parallels_write_header(struct parallels *s, enum label label, const struct request *r)
{
    int ret = child_pwrite(s->n->file, 0, s->meta, SECTOR, label, r);
    return ret < 0 ? ret : child_flush(s->n->file, r);
}

/* ---- opening ---- */

static int check_header(struct parallels *s, const uint8_t *h, struct error **err)
{
    uint32_t tracks = (uint32_t)parallels_header_get_tracks(h);
    uint64_t sectors = parallels_header_get_nb_sectors(h);
    bool ext = is_ext_magic(h);
    if (!parallels_probe(h, PARALLELS_HEADER_SIZE, NULL)) {
        return error_set(err, EINVAL, "Image not in Parallels format");
    }
    if (tracks == 0) {
        return error_set(err, EFBIG, "Invalid image: Zero sectors per track");
    }
    if (tracks > MAX_TRACKS) {
        return error_set(err, EFBIG, "Invalid image: Too big cluster");
    }
    s->entries = (uint32_t)parallels_header_get_nb_bat_entries(h);
    if (s->entries > MAX_ENTRIES) {
        return error_set(err, EFBIG, "Catalog too large");
    }
    sectors = ext ? sectors : (uint32_t)sectors;
    if (sectors > INT64_MAX / SECTOR) {
        return error_set(err, EFBIG, "Could not refresh total sector count: File too large");
    }
    s->cluster = (int64_t)tracks * SECTOR;
    s->unit = ext ? (uint32_t)s->cluster : SECTOR;
    s->size = (int64_t)sectors * SECTOR;
    int64_t tables = ROUND_UP(PARALLELS_HEADER_SIZE + (int64_t)s->entries * 4, SECTOR);
    s->data_start = MAX((int64_t)parallels_header_get_data_off(h) * SECTOR, tables);
    s->data_start = ROUND_UP(s->data_start, s->unit); /* an entry counts whole units */
    s->has_ext = parallels_header_get_ext_off(h) != 0;
    s->unclean = parallels_header_get_in_use(h) == PARALLELS_IN_USE;
    return 0;
}

static bool is_empty(const struct parallels *s)
{
    return parallels_header_get_flags(s->meta) & PARALLELS_FLAG_EMPTY;
}

/* Loads header and BAT, as far as the file has them: memory is bounded by the file. */
static int load_meta(struct parallels *s, int64_t len, struct error **err)
{
    int64_t want = PARALLELS_HEADER_SIZE + (int64_t)s->entries * PARALLELS_BAT_ENTRY_SIZE;
    int64_t bytes = ROUND_UP(MIN(want, len), SECTOR);
    s->loaded = (uint32_t)MAX(
        MIN((int64_t)s->entries, (len - PARALLELS_HEADER_SIZE) / PARALLELS_BAT_ENTRY_SIZE), 0);
    s->meta = mem_try_zalloc((size_t)bytes);
    if (!s->meta || !parallels_init_dirty(s)) {
        return error_set_errno(err, ENOMEM, "Could not load the BAT");
    }
    for (int64_t at = 0; at < bytes; at += PIECE) {
        int64_t n = MIN(MIN(bytes, len) - at, (int64_t)PIECE);
        int ret = child_pread(s->n->file, at, s->meta + at, n, LABEL_TABLE_LOAD, NULL);
        if (ret < 0) {
            return error_set_errno(err, -ret, "Could not read the BAT");
        }
    }
    if (bytes > PARALLELS_HEADER_SIZE && is_empty(s)) {
        memset(s->meta + PARALLELS_HEADER_SIZE, 0, (size_t)bytes - PARALLELS_HEADER_SIZE);
    }
    return 0;
}

static bool writable(const struct node *n, unsigned flags)
{
    return (flags & OPEN_RDWR) && !(flags & OPEN_INACTIVE) && !n->read_only;
}

/* What the flag stands for, before it goes: nobody would find what is written beside it. */
static int clear_bat(struct parallels *s)
{
    int64_t bytes =
        ROUND_UP(PARALLELS_HEADER_SIZE + (int64_t)s->loaded * PARALLELS_BAT_ENTRY_SIZE, SECTOR);
    int ret = bytes <= SECTOR ? 0
                              : child_pwrite_zeroes(s->n->file, SECTOR, bytes - SECTOR, 0,
                                                    LABEL_TABLE_UPDATE, NULL);
    return ret < 0 ? ret : child_flush(s->n->file, NULL);
}

/* Sets the in-use mark (spec: "in_use"). */
static int begin_writing(struct parallels *s, const struct request *r, struct error **err)
{
    int ret = is_empty(s) ? clear_bat(s) : 0;
    if (ret == 0) {
        uint32_t flags = (uint32_t)parallels_header_get_flags(s->meta);
        parallels_header_set_flags(s->meta, flags & ~PARALLELS_FLAG_EMPTY);
        parallels_header_set_in_use(s->meta, PARALLELS_IN_USE);
        ret = parallels_write_header(s, LABEL_DIRTY_FLAG_SET, r);
    }
    s->marked = ret == 0;
    return ret < 0 ? error_set_errno(err, -ret, "Could not mark the image as in use") : 0;
}

int parallels_ensure_mark(struct parallels *s, const struct request *r)
{
    if (s->marked) {
        return 0;
    }
    co_lock(s->n->w, &s->lock);
    int ret = s->marked ? 0 : s->unclean ? -EACCES : begin_writing(s, r, NULL);
    co_unlock(s->n->w, &s->lock);
    return ret;
}

/* May the image be opened for writing? */
static int check_writable(const struct parallels *s, unsigned flags, struct error **err)
{
    if (s->unclean && !(flags & OPEN_CHECK)) {
        return error_set(err, EACCES,
                         "parallels: Image was not closed correctly; cannot be opened read/write");
    }
    if (s->loaded < s->entries) {
        return error_set(err, EINVAL,
                         "The file ends inside the BAT (%" PRIu32 " of %" PRIu32
                         " entries are there); it cannot be opened read/write",
                         s->loaded, s->entries);
    }
    if (s->has_ext && !(flags & OPEN_CHECK)) {
        world_report(s->n->w, REPORT_WARNING, "Format Extension ignored in RW mode");
    }
    return 0;
}

static int open_writable(struct parallels *s, unsigned flags, struct error **err)
{
    int ret = check_writable(s, flags, err);
    return ret < 0 || (flags & OPEN_CHECK) ? ret : begin_writing(s, NULL, err);
}

static void forget(struct parallels *s)
{
    mem_free(s->meta);
    mem_free(s->bitmap);
    mem_free(s->dirty);
    s->meta = NULL;
    s->bitmap = s->dirty = NULL;
}

static int load(struct node *n, unsigned flags, struct error **err)
{
    struct parallels *s = parallels_state(n);
    uint8_t head[PARALLELS_HEADER_SIZE] = {0};
    int64_t len = child_length(n->file);
    int ret = len < 0 ? (int)len
                      : child_pread(n->file, 0, head, MIN(len, (int64_t)sizeof(head)),
                                    LABEL_HEADER_LOAD, NULL);
    if (ret < 0) {
        return error_set_errno(err, -ret, "Could not read the Parallels header");
    }
    ret = check_header(s, head, err);
    ret = ret < 0 ? ret : load_meta(s, len, err);
    if (ret == 0) {
        n->length = s->size;
        s->marked = false;
        s->stale_end = len;
        bool write = writable(n, flags);
        ret = s->has_ext && !write && !(flags & OPEN_CHECK) ? parallels_read_ext(s, err) : 0;
        if (ret == 0) {
            parallels_find_end(s);
            ret = write ? open_writable(s, flags, err) : 0;
        }
    }
    if (ret < 0) {
        forget(s);
    }
    return ret;
}

static int parallels_open(struct node *n, struct value *opts, unsigned flags, struct error **err)
{
    struct parallels *s = parallels_state(n);
    uint64_t prealloc = 0;
    s->n = n;
    int ret = open_file_child(n, opts, err);
    if (ret < 0) {
        return ret;
    }
    struct value *mine = opts_take(parallels_options, opts);
    int mode = 0;
    ret = opts_get_size(parallels_options, mine, "prealloc-size", &prealloc, err);
    ret = ret < 0 ? ret : opts_get_enum(parallels_options, mine, "prealloc-mode", &mode, err);
    value_free(mine);
    s->prealloc = (int64_t)MIN(prealloc, (uint64_t)INT64_MAX / 4);
    s->prealloc_falloc = mode == 0;
    s->merge = world_profile(n->w)->merge_requests;
    return ret < 0 ? ret : load(n, flags, err);
}

/* The BAT becomes what it is in memory; what was preallocated goes, then the mark. */
static int end_writing(struct parallels *s)
{
    if (!s->marked) {
        return 0;
    }
    int ret = parallels_write_back(s, NULL);
    if (ret < 0) {
        world_report(s->n->w, REPORT_ERROR, "Failed to flush the BAT: %s", strerror(-ret));
        return ret;
    }
    int64_t len = child_length(s->n->file);
    ret = len < 0 ? (int)len : 0;
    if (ret == 0 && len > MAX(s->data_end, s->data_start)) {
        ret = child_truncate(s->n->file, MAX(s->data_end, s->data_start), true, PREALLOC_OFF, 0,
                             NULL);
    }
    ret = ret < 0 ? ret : child_flush(s->n->file, NULL);
    if (ret == 0) {
        parallels_header_set_in_use(s->meta, 0);
        ret = parallels_write_header(s, LABEL_DIRTY_FLAG_CLEAR, NULL);
        s->marked = ret < 0;
    }
    return ret;
}

static int flush_to_os(struct node *n, const struct request *r)
{
    struct parallels *s = parallels_state(n);
    co_lock(n->w, &s->lock);
    int ret = parallels_write_back(s, r);
    co_unlock(n->w, &s->lock);
    return ret;
}

static int inactivate(struct node *n)
{
    struct parallels *s = parallels_state(n);
    co_lock(n->w, &s->lock);
    int ret = end_writing(s);
    co_unlock(n->w, &s->lock);
    return ret;
}

static void parallels_close(struct node *n)
{
    struct parallels *s = parallels_state(n);
    if (s->meta && !n->read_only && !(n->open_flags & OPEN_INACTIVE)) {
        (void)inactivate(n); /* the mark stays: the next open tells */
    }
    forget(s);
}

static void activate(struct node *n, struct error **err)
{
    forget(parallels_state(n));
    load(n, n->open_flags & ~(unsigned)OPEN_INACTIVE, err);
}

static int reopen_prepare(struct reopen *r, struct error **err)
{
    struct parallels *s = parallels_state(r->node);
    if (r->node->read_only || (r->flags & OPEN_RDWR)) {
        return r->node->read_only && (r->flags & OPEN_RDWR) ? check_writable(s, r->flags, err) : 0;
    }
    /* Nothing can be written later; taken back: parallels_ensure_mark(). */
    int ret = inactivate(s->n);
    return ret < 0 ? error_set_errno(err, -ret, "Could not update the Parallels header") : 0;
}

static void reopen_commit(struct reopen *r)
{
    struct parallels *s = parallels_state(r->node);
    if ((r->flags & OPEN_RDWR) && !s->marked) {
        (void)begin_writing(s, NULL, NULL); /* a failure shows with the first write */
    }
}

static int64_t length(struct node *n)
{
    return parallels_state(n)->size;
}

static void refresh_limits(struct node *n, struct error **err)
{
    n->limits.request_alignment = MAX(n->limits.request_alignment, SECTOR);
}

static bool has_zero_init(struct node *n)
{
    return true;
}

static const enum label labels[] = {
    LABEL_HEADER_LOAD,      LABEL_EXT_LOAD,     LABEL_EXT_UPDATE,     LABEL_BITMAP_DATA_LOAD,
    LABEL_TABLE_LOAD,       LABEL_TABLE_UPDATE, LABEL_DIRTY_FLAG_SET, LABEL_DIRTY_FLAG_CLEAR,
    LABEL_CHECK_READ,       LABEL_CHECK_WRITE,  LABEL_PREALLOCATE,    LABEL_READ_AIO,
    LABEL_READ_BACKING_AIO, LABEL_WRITE_AIO,    LABEL_COW_WRITE,      LABEL_COUNT};

const struct block_driver driver_parallels = {
    .name = "parallels",
    .labels = labels,
    .kind = DRIVER_FORMAT,
    .state_size = sizeof(struct parallels),
    .supports_backing = true,
    .open_options = parallels_options,
    .create_options = parallels_create_options,
    .probe = parallels_probe,
    .open = parallels_open,
    .close = parallels_close,
    .reopen_prepare = reopen_prepare,
    .reopen_commit = reopen_commit,
    .create = parallels_create,
    .create_json = parallels_create_json,
    .read = parallels_read,
    .write = parallels_write,
    .flush_to_os = flush_to_os,
    .block_status = parallels_block_status,
    .length = length,
    .refresh_limits = refresh_limits,
    .has_zero_init = has_zero_init,
    .check = parallels_check,
    .inactivate = inactivate,
    .activate = activate,
};
