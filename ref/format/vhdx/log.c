/*
 * The log of VHDX files: replaying what a writer left ([MS-VHDX], "Log Replay"), and writing the
 * BAT by way of it.
 *
 * A writer of ours has one change in the log at a time: the change is made, and stable, before the
 * next entry is written, so each entry is its own tail.  Memory for replaying is some sectors,
 * whatever the log's length; work is bounded by a multiple of it, since a hostile log may name each
 * byte in many entries.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include "ref/base/bytes.h"
#include "ref/base/mem.h"
#include "ref/format/grow.h"
#include "ref/format/vhdx/vhdx.h"

#define LS ((uint32_t)VHDX_LOG_SECTOR)

struct entry {
    uint32_t at, length, tail, descs, desc_sectors;
    uint64_t sequence, flushed, last;
};

struct replay {
    struct vhdx *s;
    uint64_t length; /* of the log */
    uint64_t work;   /* bytes that may still be read */
};

/* One sector; places run round the log's end. */
static int read_sector(struct replay *p, uint64_t at, uint8_t *buf)
{
    if (p->work < LS) {
        return -EFBIG;
    }
    p->work -= LS;
    return child_pread(p->s->n->file, (int64_t)(p->s->log.start + at % p->length), buf, LS,
                       LABEL_JOURNAL_LOAD, NULL);
}

/* ---- finding the active sequence ---- */

/* 1: a sound entry, 0: none, -errno. */
static int load_entry(struct replay *p, uint32_t at, struct entry *e)
{
    uint8_t sector[VHDX_LOG_SECTOR];
    static const uint8_t none[4];
    int ret = read_sector(p, at, sector);
    if (ret < 0 || vhdx_log_entry_get_signature(sector) != VHDX_LOG_SIGNATURE) {
        return ret;
    }
    uint64_t descs = vhdx_log_entry_get_descriptor_count(sector);
    uint64_t desc_bytes = VHDX_LOG_ENTRY_SIZE + descs * VHDX_LOG_DESC_SIZE;
    *e = (struct entry){
        .at = at,
        .length = (uint32_t)vhdx_log_entry_get_entry_length(sector),
        .tail = (uint32_t)vhdx_log_entry_get_tail(sector),
        .descs = (uint32_t)descs,
        .desc_sectors = (uint32_t)DIV_ROUND_UP(desc_bytes, LS),
        .sequence = vhdx_log_entry_get_sequence_number(sector),
        .flushed = vhdx_log_entry_get_flushed_file_offset(sector),
        .last = vhdx_log_entry_get_last_file_offset(sector),
    };
    if (memcmp(sector + VHDX_LOG_ENTRY_LOG_GUID_OFF, p->s->header + VHDX_HEADER_LOG_GUID_OFF,
               GUID_BYTES) ||
        e->length < LS || !IS_ALIGNED(e->length | e->tail, LS) || e->length > p->length ||
        e->tail >= p->length || e->sequence == 0 || desc_bytes > e->length) {
        return 0;
    }
    uint32_t want = load_le32(sector + VHDX_LOG_ENTRY_CHECKSUM_OFF), crc;
    memcpy(sector + VHDX_LOG_ENTRY_CHECKSUM_OFF, none, sizeof(none));
    crc = vhdx_crc32c(0, sector, LS);
    for (uint32_t done = LS; done < e->length; done += LS) {
        ret = read_sector(p, (uint64_t)at + done, sector);
        if (ret < 0) {
            return ret;
        }
        crc = vhdx_crc32c(crc, sector, LS);
    }
    return crc == want;
}

/* A run of entries that follow each other, numbers going up by one. */
struct sequence {
    uint32_t first, count, bytes;
    struct entry head; /* the last one */
    bool sound;        /* the head's tail is one of its entries */
};

static int load_sequence(struct replay *p, uint32_t from, struct sequence *q)
{
    struct entry e;
    int ret;
    *q = (struct sequence){.first = from};
    while (q->bytes < p->length) {
        uint32_t at = (uint32_t)((from + (uint64_t)q->bytes) % p->length);
        ret = load_entry(p, at, &e);
        if (ret < 0) {
            return ret;
        }
        if (ret == 0 || (q->count && e.sequence != q->head.sequence + 1) ||
            e.length > p->length - q->bytes) {
            break;
        }
        q->head = e;
        q->count++;
        q->bytes += e.length;
    }
    uint64_t back = (q->head.tail + p->length - from) % p->length;
    q->sound = q->count && back < q->bytes; /* checked again when it is replayed */
    return 0;
}

/* 1 with the active sequence, 0 when there is none (LOG-9). */
static int find_active(struct replay *p, struct sequence *best)
{
    uint64_t at = 0;
    *best = (struct sequence){.count = 0};
    while (at < p->length) {
        struct sequence q;
        int ret = load_sequence(p, (uint32_t)at, &q);
        if (ret < 0) {
            return ret;
        }
        if (q.sound && (!best->count || q.head.sequence > best->head.sequence)) {
            *best = q;
        }
        at += q.sound ? q.bytes : LS;
    }
    return best->count > 0;
}

/* ---- replaying ---- */

static int check_target(const struct vhdx *s, uint64_t offset, uint64_t bytes)
{
    bool sane = offset >= VHDX_REGION1_OFFSET && IS_ALIGNED(offset | bytes, LS) &&
                bytes <= INT64_MAX && offset <= INT64_MAX - bytes;
    bool in_log = offset < s->log.end && s->log.start < offset + bytes;
    return sane && !in_log ? 0 : -EINVAL;
}

/* The sector as it was: descriptor's ends around the data sector's middle. */
static int replay_data(struct replay *p, const uint8_t *d, const uint8_t *data,
                       const struct entry *e)
{
    uint8_t sector[VHDX_LOG_SECTOR];
    uint64_t sequence = (uint64_t)vhdx_log_data_get_sequence_high(data) << 32 |
                        vhdx_log_data_get_sequence_low(data);
    uint64_t offset = vhdx_log_desc_get_file_offset(d);
    if (vhdx_log_data_get_signature(data) != VHDX_DATA_SIGNATURE || sequence != e->sequence ||
        check_target(p->s, offset, LS) < 0) {
        return -EINVAL;
    }
    store_le64(sector, vhdx_log_desc_get_leading(d));
    memcpy(sector + 8, data + VHDX_LOG_DATA_DATA_OFF, VHDX_LOG_DATA_DATA_WIDTH);
    store_le32(sector + LS - 4, (uint32_t)vhdx_log_desc_get_trailing(d));
    return child_pwrite(p->s->n->file, (int64_t)offset, sector, LS, LABEL_JOURNAL_REPLAY, NULL);
}

static int replay_zeroes(struct replay *p, const uint8_t *d)
{
    uint64_t bytes = vhdx_log_desc_get_leading(d), offset = vhdx_log_desc_get_file_offset(d);
    int ret = check_target(p->s, offset, bytes);
    return ret < 0 ? ret
                   : child_pwrite_zeroes(p->s->n->file, (int64_t)offset, (int64_t)bytes, 0,
                                         LABEL_JOURNAL_REPLAY, NULL);
}

/* One descriptor; *data_sector is the next data sector of the entry. */
static int replay_desc(struct replay *p, const struct entry *e, const uint8_t *d,
                       uint32_t *data_sector)
{
    uint8_t data[VHDX_LOG_SECTOR];
    uint32_t signature = (uint32_t)vhdx_log_desc_get_signature(d);
    if (vhdx_log_desc_get_sequence_number(d) != e->sequence) {
        return -EINVAL;
    }
    if (signature == VHDX_ZERO_SIGNATURE) {
        return replay_zeroes(p, d);
    }
    if (signature != VHDX_DESC_SIGNATURE || *data_sector >= e->length / LS) {
        return -EINVAL;
    }
    int ret = read_sector(p, e->at + (uint64_t)(*data_sector)++ * LS, data);
    return ret < 0 ? ret : replay_data(p, d, data, e);
}

static int replay_entry(struct replay *p, const struct entry *e)
{
    uint8_t sector[VHDX_LOG_SECTOR];
    uint32_t data_sector = e->desc_sectors, done = 0;
    int ret = 0;
    for (uint32_t k = 0; k < e->desc_sectors && ret == 0; k++) {
        ret = read_sector(p, e->at + (uint64_t)k * LS, sector);
        uint32_t at = k ? 0 : VHDX_LOG_ENTRY_SIZE;
        for (; at < LS && done < e->descs && ret == 0; at += VHDX_LOG_DESC_SIZE, done++) {
            ret = replay_desc(p, e, sector + at, &data_sector);
        }
    }
    return ret;
}

/* From the head's tail to the head. */
static int replay_sequence(struct replay *p, const struct sequence *q)
{
    struct entry e = {0};
    uint64_t at = q->head.tail;
    do {
        int ret = load_entry(p, (uint32_t)(at % p->length), &e);
        ret = ret == 0 ? -EINVAL : ret < 0 ? ret : replay_entry(p, &e);
        if (ret < 0) {
            return ret;
        }
        at += e.length;
    } while (e.sequence < q->head.sequence);
    return e.at == q->head.at ? 0 : -EINVAL;
}

static int grow_file(struct vhdx *s, uint64_t flushed, uint64_t last, struct error **err)
{
    int64_t len = child_length(s->n->file);
    if (len < 0 || flushed > (uint64_t)len) {
        return error_set(err, EINVAL, "VHDX file is shorter than its log says (%" PRIu64 " bytes)",
                         flushed);
    }
    if (last > INT64_MAX) {
        return error_set(err, EINVAL, "VHDX log names a file of %" PRIu64 " bytes", last);
    }
    int ret = format_grow_zeroed(s->n->file, len, (int64_t)last, NULL);
    return ret < 0 ? error_set_errno(err, -ret, "Could not grow the VHDX file") : 0;
}

static int replay_found(struct replay *p, const struct sequence *q, struct error **err)
{
    struct vhdx *s = p->s;
    int ret = grow_file(s, q->head.flushed, q->head.last, err);
    if (ret < 0) {
        return ret;
    }
    ret = replay_sequence(p, q);
    ret = ret < 0 ? ret : child_flush(s->n->file, NULL);
    return ret < 0 ? error_set_errno(err, -ret, "Could not replay the VHDX log") : 0;
}

int vhdx_replay(struct vhdx *s, bool writable, struct error **err)
{
    uint64_t length = s->log.end - s->log.start;
    struct replay p = {.s = s, .length = length, .work = 8 * length + 64 * MiB};
    struct sequence q = {.count = 0};
    if (!vhdx_has_log(s)) {
        return 0;
    }
    if (length == 0 || !IS_ALIGNED(length, VHDX_ALIGN)) {
        return error_set(err, EINVAL, "VHDX log length %" PRIu64 " is not valid", length);
    }
    int ret = find_active(&p, &q);
    if (ret < 0) {
        return error_set_errno(err, -ret, "Could not read the VHDX log");
    }
    if (ret > 0 && !writable) {
        const char *name = s->n->file->node->filename;
        error_set(err, EPERM,
                  "VHDX image file '%s' opened read-only, but contains a log that needs to be "
                  "replayed",
                  name);
        error_hint(err, "To replay the log, run:\nqemu-img check -r all '%s'\n", name);
        return -EPERM;
    }
    if (ret > 0) {
        ret = replay_found(&p, &q, err);
        s->replayed = ret == 0;
        if (ret < 0) {
            return ret;
        }
    }
    if (writable) {
        ret = vhdx_close_log(s, NULL);
        return ret < 0 ? error_set_errno(err, -ret, "Could not close the VHDX log") : 0;
    }
    return 0;
}

/* ---- writing ---- */

static int begin_log(struct vhdx *s, const struct request *r)
{
    uint8_t guid[GUID_BYTES];
    uint64_t length = s->log.end - s->log.start;
    if (length == 0 || !IS_ALIGNED(length, VHDX_ALIGN)) {
        return -EINVAL;
    }
    world_uuid(s->n->w, guid);
    s->log_at = 0;
    s->log_sequence = 1;
    return vhdx_update_headers(s, guid, false, r);
}

/* Head and data sector of an entry with one change. */
static void build_entry(const struct vhdx *s, uint8_t *e, uint64_t offset, const uint8_t *sector,
                        uint64_t file_bytes)
{
    uint8_t *d = e + VHDX_LOG_ENTRY_SIZE, *data = e + LS;
    memset(e, 0, 2 * LS);
    vhdx_log_entry_set_signature(e, VHDX_LOG_SIGNATURE);
    vhdx_log_entry_set_entry_length(e, 2 * LS);
    vhdx_log_entry_set_tail(e, s->log_at);
    vhdx_log_entry_set_sequence_number(e, s->log_sequence);
    vhdx_log_entry_set_descriptor_count(e, 1);
    memcpy(e + VHDX_LOG_ENTRY_LOG_GUID_OFF, s->header + VHDX_HEADER_LOG_GUID_OFF, GUID_BYTES);
    vhdx_log_entry_set_flushed_file_offset(e, file_bytes);
    vhdx_log_entry_set_last_file_offset(e, file_bytes);
    vhdx_log_desc_set_signature(d, VHDX_DESC_SIGNATURE);
    vhdx_log_desc_set_leading(d, load_le64(sector));
    vhdx_log_desc_set_trailing(d, load_le32(sector + LS - 4));
    vhdx_log_desc_set_file_offset(d, offset);
    vhdx_log_desc_set_sequence_number(d, s->log_sequence);
    vhdx_log_data_set_signature(data, VHDX_DATA_SIGNATURE);
    vhdx_log_data_set_sequence_high(data, (uint32_t)(s->log_sequence >> 32));
    memcpy(data + VHDX_LOG_DATA_DATA_OFF, sector + 8, VHDX_LOG_DATA_DATA_WIDTH);
    vhdx_log_data_set_sequence_low(data, (uint32_t)s->log_sequence);
    vhdx_seal(e, 2 * LS);
}

int vhdx_log_write(struct vhdx *s, uint64_t offset, const uint8_t *sector, const struct request *r)
{
    uint8_t e[2 * VHDX_LOG_SECTOR];
    int ret = vhdx_has_log(s) ? 0 : begin_log(s, r);
    /* The file's length is stable before an entry relies on it. */
    ret = ret < 0 ? ret : child_flush(s->n->file, r);
    int64_t len = child_length(s->n->file);
    if (ret < 0 || len < 0) {
        return ret < 0 ? ret : (int)len;
    }
    build_entry(s, e, offset, sector, (uint64_t)len);
    /* Two sectors never run round the end: the log has an even number of them. */
    ret = child_pwrite_sync(s->n->file, (int64_t)(s->log.start + s->log_at), e, sizeof(e),
                            LABEL_JOURNAL_WRITE, r);
    if (ret < 0) {
        return ret;
    }
    s->log_at = (uint32_t)((s->log_at + sizeof(e)) % (s->log.end - s->log.start));
    s->log_sequence++;
    /* Before the next entry, which will be its own tail, this change is stable. */
    return child_pwrite_sync(s->n->file, (int64_t)offset, sector, LS, LABEL_TABLE_UPDATE, r);
}

int vhdx_close_log(struct vhdx *s, const struct request *r)
{
    static const uint8_t none[GUID_BYTES];
    return vhdx_has_log(s) ? vhdx_update_headers(s, none, false, r) : 0;
}
