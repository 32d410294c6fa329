/*
 * The dm-log-writes format, on simulated disks.
 */
#include "fault/dmlog.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include "ref/base/bytes.h"
#include "ref/base/mem.h"

#define SUPER_BYTES 28
#define ENTRY_BYTES 32
#define SECTOR_MIN  32u
#define SECTOR_MAX  (16u << 20)
#define CHUNK       65536
#define LOG_MAX                                                                                    \
    (16 * GiB) /* a log larger than this is refused, its sparse parts cost time and memory */
#define ENTRIES_MAX (1ULL << 24)

static bool sector_size_ok(uint32_t s)
{
    return s >= SECTOR_MIN && s < SECTOR_MAX && IS_POW2(s);
}

void dmlog_super_store(uint8_t buf[28], const struct dmlog_super *s)
{
    store_le64(buf, s->magic);
    store_le64(buf + 8, s->version);
    store_le64(buf + 16, s->entries);
    store_le32(buf + 24, s->sector_size);
}

int dmlog_super_load(const uint8_t buf[28], struct dmlog_super *s, struct error **err)
{
    *s = (struct dmlog_super){
        load_le64(buf),
        load_le64(buf + 8),
        load_le64(buf + 16),
        load_le32(buf + 24),
    };
    if (s->magic != DMLOG_MAGIC) {
        return error_set(err, EINVAL, "not a write log: magic is 0x%016" PRIx64, s->magic);
    }
    if (s->version != DMLOG_VERSION) {
        return error_set(err, EINVAL, "write log: unsupported version %" PRIu64, s->version);
    }
    if (!sector_size_ok(s->sector_size)) {
        return error_set(err, EINVAL, "write log: bad sector size %" PRIu32, s->sector_size);
    }
    return 0;
}

void dmlog_entry_store(uint8_t buf[32], const struct dmlog_entry *e)
{
    store_le64(buf, e->sector);
    store_le64(buf + 8, e->sectors);
    store_le64(buf + 16, e->flags);
    store_le64(buf + 24, e->data_len);
}

int dmlog_entry_load(const uint8_t buf[32], uint64_t known, struct dmlog_entry *e,
                     struct error **err)
{
    *e = (struct dmlog_entry){load_le64(buf), load_le64(buf + 8), load_le64(buf + 16),
                              load_le64(buf + 24)};
    if (e->flags & ~known) {
        return error_set(err, EINVAL, "write log: unknown entry flags 0x%" PRIx64, e->flags);
    }
    return 0;
}

uint64_t dmlog_entry_span(const struct dmlog_entry *e)
{
    uint64_t data = e->flags & DMLOG_DISCARD ? 0 : e->sectors;
    return data == UINT64_MAX ? 0 : data + 1;
}

/* ---- writing ---- */

struct writer {
    const struct disk_log *log;
    struct disk *out;
    uint32_t sector_size;
    uint64_t next; /* free sector of the log */
    uint64_t entries;
    int64_t size; /* of the device, as the ops leave it */
};

static int put_entry(struct writer *w, const struct dmlog_entry *e, const char *text)
{
    uint8_t buf[ENTRY_BYTES];
    int64_t at = (int64_t)(w->next * w->sector_size);

    dmlog_entry_store(buf, e);
    int ret = disk_write(w->out, at, buf, sizeof(buf));
    if (ret == 0 && text) {
        ret = disk_write(w->out, at + ENTRY_BYTES, text, e->data_len);
    }
    w->next += dmlog_entry_span(e);
    w->entries++;
    /* The log ends at a sector boundary, also behind a header. */
    int64_t end = (int64_t)(w->next * w->sector_size);
    return ret == 0 && disk_size(w->out) < end ? disk_truncate(w->out, end) : ret;
}

static int put_payload(struct writer *w, const struct disk_op *op, int64_t at)
{
    uint8_t *buf = mem_alloc(CHUNK);
    int ret = 0;

    for (int64_t done = 0; done < op->bytes && ret == 0; done += CHUNK) {
        size_t n = (size_t)MIN((int64_t)CHUNK, op->bytes - done);
        disk_op_read(disk_log_pool(w->log), op, done, buf, n);
        ret = disk_write(w->out, at + done, buf, n);
    }
    mem_free(buf);
    return ret;
}

static int put_op(struct writer *w, const struct disk_op *op, struct error **err)
{
    struct dmlog_entry e = {0};
    size_t text = op->tag ? strlen(op->tag) : 0;

    switch (op->kind) {
    case DISK_OP_FLUSH:
        e.flags = DMLOG_FLUSH;
        return put_entry(w, &e, NULL);
    case DISK_OP_MARK:
        e.flags = DMLOG_MARK;
        e.data_len = MIN(text, (size_t)(w->sector_size - ENTRY_BYTES));
        return put_entry(w, &e, op->tag);
    case DISK_OP_TRUNCATE:
        if (op->offset < w->size) {
            return error_set(err, ENOTSUP, "write log: cannot express shrinking to %" PRId64,
                             op->offset);
        }
        w->size = op->offset;
        return 0;
    case DISK_OP_WRITE:
    case DISK_OP_ZERO:
    case DISK_OP_DISCARD:
        break;
    }
    if (op->offset % w->sector_size || op->bytes % w->sector_size) {
        return error_set(err, ENOTSUP,
                         "write log: %s of %" PRId64 " bytes at %" PRId64
                         " is not aligned to sectors of %" PRIu32,
                         disk_op_kind_name(op->kind), op->bytes, op->offset, w->sector_size);
    }
    e.sector = (uint64_t)op->offset / w->sector_size;
    e.sectors = (uint64_t)op->bytes / w->sector_size;
    e.flags = (op->flags & DISK_OP_FUA ? DMLOG_FUA : 0) |
              (op->kind == DISK_OP_DISCARD ? DMLOG_DISCARD : 0);
    int64_t data = (int64_t)((w->next + 1) * w->sector_size);
    int ret = put_entry(w, &e, NULL);
    w->size = op->kind == DISK_OP_DISCARD ? w->size : MAX(w->size, op->offset + op->bytes);
    return ret == 0 && op->kind == DISK_OP_WRITE ? put_payload(w, op, data) : ret;
}

static int by_completion(const void *a, const void *b)
{
    const struct disk_op *const *x = a, *const *y = b;
    return (*x)->completed < (*y)->completed ? -1 : (*x)->completed > (*y)->completed;
}

int dmlog_write(const struct disk_log *log, int disk, uint32_t sector_size, struct disk *out,
                struct error **err)
{
    struct writer w = {.log = log, .out = out, .sector_size = sector_size, .next = 1};
    size_t len = disk_log_len(log), n = 0;
    uint8_t super[SUPER_BYTES];
    int ret;

    if (!sector_size_ok(sector_size)) {
        return error_set(err, EINVAL, "write log: bad sector size %" PRIu32, sector_size);
    }
    const struct disk_op **ops = mem_array(len + 1, sizeof(*ops));
    for (size_t i = 0; i < len; i++) {
        const struct disk_op *op = disk_log_op(log, i);
        if (op->completed != DISK_OP_IN_FLIGHT && !(op->flags & DISK_OP_FAILED) &&
            (op->disk == disk || op->kind == DISK_OP_MARK)) {
            ops[n++] = op;
        }
    }
    qsort(ops, n, sizeof(*ops), by_completion);
    ret = disk_truncate(out, 0);
    if (ret == 0) {
        ret = disk_truncate(out, sector_size);
    }
    for (size_t i = 0; i < n && ret == 0; i++) {
        ret = put_op(&w, ops[i], err);
    }
    mem_free(ops);
    if (ret == 0) {
        dmlog_super_store(
            super, &(struct dmlog_super){DMLOG_MAGIC, DMLOG_VERSION, w.entries, sector_size});
        ret = disk_write(out, 0, super, sizeof(super));
    }
    if (ret < 0 && err && !*err) {
        error_set_errno(err, -ret, "write log: cannot write");
    }
    return ret;
}

/* ---- reading ---- */

static int bad_entry(uint64_t i, const char *why, struct error **err)
{
    return error_set(err, EINVAL, "write log: entry %" PRIu64 " %s", i, why);
}

static void add_mark(struct disk_log *log, const struct disk *in, int64_t at, uint64_t len)
{
    char *text = mem_zalloc(len + 1);
    disk_read(in, at, text, len);
    disk_log_mark(log, text);
    mem_free(text);
}

/* One request of any length, in pieces that the log takes. */
static void add_data(struct disk_log *log, const struct disk *in, int64_t at, struct disk_op op)
{
    const int64_t piece = 4 * MiB;
    int64_t total = op.bytes;
    uint8_t *buf = op.kind == DISK_OP_WRITE ? mem_alloc(MIN(piece, total)) : NULL;

    for (int64_t done = 0; done < total; done += piece) {
        op.bytes = MIN(piece, total - done);
        if (buf) {
            disk_read(in, at + done, buf, op.bytes);
        } else {
            op.bytes = total;
        }
        disk_log_add(log, &op, buf);
        if (!buf) {
            break;
        }
        op.offset += op.bytes;
    }
    mem_free(buf);
}

static int read_entry(const struct disk *in, struct disk_log *log, int disk, uint32_t size,
                      uint64_t i, uint64_t *sector, struct error **err)
{
    uint8_t buf[ENTRY_BYTES];
    struct dmlog_entry e;
    uint64_t end = (uint64_t)disk_size(in) / size, limit = (uint64_t)DISK_MAX / size;
    const uint64_t known = DMLOG_FLUSH | DMLOG_FUA | DMLOG_DISCARD | DMLOG_MARK | DMLOG_METADATA;

    if (*sector >= end) {
        return bad_entry(i, "lies behind the end of the log", err);
    }
    int64_t at = (int64_t)(*sector * size);
    disk_read(in, at, buf, sizeof(buf));
    int ret = dmlog_entry_load(buf, known, &e, err);
    if (ret < 0) {
        return ret;
    }
    uint64_t span = dmlog_entry_span(&e);
    if (span == 0 || span > end - *sector) {
        return bad_entry(i, "has data behind the end of the log", err);
    }
    if (e.sector > limit || e.sectors > limit - e.sector) {
        return bad_entry(i, "lies too far out on the device", err);
    }
    *sector += span;
    if (e.flags & DMLOG_MARK) {
        if (e.data_len > size - ENTRY_BYTES) {
            return bad_entry(i, "has a mark longer than its sector", err);
        }
        add_mark(log, in, at + ENTRY_BYTES, e.data_len);
        return 0;
    }
    struct disk_op op = {
        .disk = disk,
        .label = e.flags & DMLOG_METADATA ? LABEL_TABLE_UPDATE : LABEL_NONE,
        .flags = e.flags & DMLOG_FUA ? DISK_OP_FUA : 0,
    };
    if (e.flags & DMLOG_FLUSH) {
        op.kind = DISK_OP_FLUSH;
        disk_log_add(log, &op, NULL);
    }
    op.kind = e.flags & DMLOG_DISCARD ? DISK_OP_DISCARD : DISK_OP_WRITE;
    op.offset = (int64_t)(e.sector * size);
    op.bytes = (int64_t)(e.sectors * size);
    if (op.bytes > 0) {
        add_data(log, in, at + size, op);
    }
    return 0;
}

int dmlog_read(const struct disk *in, struct disk_log *log, int disk, struct error **err)
{
    uint8_t buf[SUPER_BYTES];
    struct dmlog_super s;
    uint64_t sector = 1;

    disk_read(in, 0, buf, sizeof(buf));
    int ret = dmlog_super_load(buf, &s, err);
    if (ret == 0 && (disk_size(in) > LOG_MAX || s.entries > ENTRIES_MAX)) {
        ret = error_set(err, EFBIG, "write log: too large (%" PRId64 " bytes, %" PRIu64 " entries)",
                        disk_size(in), s.entries);
    }
    for (uint64_t i = 0; i < s.entries && ret == 0; i++) {
        ret = read_entry(in, log, disk, s.sector_size, i, &sector, err);
    }
    return ret;
}
