/*
 * dm-log-writes files.  See write_log.h; the format itself is fault/dmlog.h.
 */
#include "harness/sim/write_log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "fault/dmlog.h"
#include "ref/base/bytes.h"
#include "ref/base/mem.h"

#define SECTOR 512
#define PIECE  (1 << 20)

bool write_log_is(const char *file)
{
    uint8_t magic[8] = {0};
    FILE *f = fopen(file, "rb");
    bool is =
        f && fread(magic, 1, sizeof(magic), f) == sizeof(magic) && load_le64(magic) == DMLOG_MAGIC;
    if (f) {
        fclose(f);
    }
    return is;
}

/* ---- files and disks ---- */

static int read_file(struct disk *d, const char *file, struct error **err)
{
    FILE *f = fopen(file, "rb");
    uint8_t *buf = mem_alloc(PIECE);
    int64_t at = 0;
    int ret = f ? 0 : -errno;
    for (size_t n = 1; ret == 0 && n > 0;) {
        n = fread(buf, 1, PIECE, f);
        ret = n ? disk_write(d, at, buf, n) : ferror(f) ? -EIO : 0;
        at += (int64_t)n;
    }
    if (f) {
        fclose(f);
    }
    mem_free(buf);
    return ret < 0 ? error_set_errno(err, -ret, "%s", file) : 0;
}

static int write_file(const struct disk *d, const char *file, struct error **err)
{
    FILE *f = fopen(file, "wb");
    uint8_t *buf = mem_alloc(PIECE);
    int ret = f ? 0 : -errno;
    for (int64_t at = 0; ret == 0 && at < disk_size(d);) {
        size_t n = (size_t)MIN(disk_size(d) - at, (int64_t)PIECE);
        disk_read(d, at, buf, n);
        ret = fwrite(buf, 1, n, f) == n ? 0 : -EIO;
        at += (int64_t)n;
    }
    if (f && fclose(f) && ret == 0) {
        ret = -EIO;
    }
    mem_free(buf);
    return ret < 0 ? error_set_errno(err, -ret, "%s", file) : 0;
}

/* ---- saving ---- */

/* Whole sectors around the range, with what the disk holds. */
static void add_sectors(struct disk_log *out, const struct disk *now, unsigned flags,
                        enum label label, int64_t offset, int64_t bytes)
{
    int64_t end = ROUND_UP(offset + bytes, SECTOR);
    uint8_t *buf = mem_alloc(PIECE);
    for (int64_t at = ROUND_DOWN(offset, SECTOR); at < end;) {
        size_t n = (size_t)MIN(end - at, (int64_t)PIECE);
        struct disk_op op = {.kind = DISK_OP_WRITE,
                             .flags = flags,
                             .label = label,
                             .offset = at,
                             .bytes = (int64_t)n};
        disk_read(now, at, buf, n);
        disk_log_add(out, &op, buf);
        at += (int64_t)n;
    }
    mem_free(buf);
}

static void add_start(struct disk_log *out, const struct disk *base)
{
    struct disk_op flush = {.kind = DISK_OP_FLUSH, .label = LABEL_NONE};
    int64_t n;
    for (int64_t at = 0; at < disk_size(base); at += n) {
        if (disk_block_status(base, at, disk_size(base) - at, &n) == DISK_DATA) {
            add_sectors(out, base, 0, LABEL_NONE, at, n);
        }
    }
    disk_log_add(out, &flush, NULL);
    disk_log_mark(out, WRITE_LOG_START);
}

static bool whole(const struct disk_op *op)
{
    return op->offset % SECTOR == 0 && op->bytes % SECTOR == 0;
}

/* One operation, after it was done to `now`. */
static void add_op(struct disk_log *out, const struct disk *now, const struct disk_op *op)
{
    struct disk_op copy = *op;
    copy.disk = 0;
    if (op->kind == DISK_OP_MARK) {
        disk_log_mark(out, op->tag);
    } else if (op->kind == DISK_OP_WRITE || (op->kind <= DISK_OP_DISCARD && !whole(op))) {
        add_sectors(out, now, op->flags & DISK_OP_FUA, op->label, op->offset, op->bytes);
    } else {
        disk_log_add(out, &copy, NULL);
    }
}

static int by_completion(const void *a, const void *b)
{
    const struct disk_op *const *x = a, *const *y = b;
    return (*x)->completed < (*y)->completed ? -1 : (*x)->completed > (*y)->completed;
}

static void copy_ops(struct disk_log *out, const struct disk_log *log, int disk, struct disk *now)
{
    size_t len = disk_log_len(log), n = 0;
    const struct disk_op **ops = mem_array(len + 1, sizeof(*ops));
    for (size_t i = 0; i < len; i++) {
        const struct disk_op *op = disk_log_op(log, i);
        if (op->completed != DISK_OP_IN_FLIGHT && !(op->flags & DISK_OP_FAILED) &&
            (op->disk == disk || op->kind == DISK_OP_MARK)) {
            ops[n++] = op;
        }
    }
    qsort(ops, n, sizeof(*ops), by_completion);
    for (size_t i = 0; i < n; i++) {
        disk_op_apply(now, ops[i]);
        add_op(out, now, ops[i]);
    }
    mem_free(ops);
}

int write_log_save(const struct disk_set *base, const struct disk_log *log, int disk,
                   const char *file, struct error **err)
{
    struct disk_pool *pool = disk_log_pool(log);
    struct disk_log *out = disk_log_new(pool);
    struct disk *now = disk_clone(base->disk[disk]), *image = disk_new(pool, 0);
    add_start(out, now);
    copy_ops(out, log, disk, now);
    int ret = dmlog_write(out, 0, SECTOR, image, err);
    if (ret == 0) {
        ret = write_file(image, file, err);
    }
    disk_free(image);
    disk_free(now);
    disk_log_free(out);
    return ret;
}

/* ---- loading ---- */

static bool is_mark(const struct disk_op *op, const char *text)
{
    return op->kind == DISK_OP_MARK && op->tag && !strcmp(op->tag, text);
}

/* Number of the first operation behind the mark; 0 when there is none. */
static size_t behind_mark(const struct disk_log *log, const char *text)
{
    for (size_t i = 0; i < disk_log_len(log); i++) {
        if (is_mark(disk_log_op(log, i), text)) {
            return i + 1;
        }
    }
    return 0;
}

static void copy_one(struct disk_log *out, const struct disk_log *log, const struct disk_op *op)
{
    uint8_t *buf = NULL;
    if (op->kind == DISK_OP_MARK) {
        disk_log_mark(out, op->tag);
        return;
    }
    if (op->kind == DISK_OP_WRITE) {
        buf = mem_alloc((size_t)MAX(op->bytes, 1));
        disk_op_read(disk_log_pool(log), op, 0, buf, (size_t)op->bytes);
    }
    disk_log_add(out, op, buf);
    mem_free(buf);
}

int write_log_load(const char *file, const char *base_file, const char *from, struct disk_set *base,
                   struct disk_log *log, struct error **err)
{
    struct disk_pool *pool = disk_log_pool(log);
    struct disk_log *all = disk_log_new(pool);
    struct disk *image = disk_new(pool, 0);
    base->n = 1;
    base->disk[0] = disk_new(pool, 0);
    int ret = read_file(image, file, err);
    if (ret == 0) {
        ret = dmlog_read(image, all, 0, err);
    }
    if (ret == 0 && base_file) {
        ret = read_file(base->disk[0], base_file, err);
    }
    size_t start = ret == 0 ? behind_mark(all, from ? from : WRITE_LOG_START) : 0;
    if (ret == 0 && from && !start) {
        ret = error_set(err, ENOENT, "%s: no mark '%s'", file, from);
    }
    for (size_t i = 0; ret == 0 && i < disk_log_len(all); i++) {
        const struct disk_op *op = disk_log_op(all, i);
        if (i < start) {
            ret = disk_op_apply(base->disk[0], op);
        } else {
            copy_one(log, all, op);
        }
    }
    disk_free(image);
    disk_log_free(all);
    return ret;
}
