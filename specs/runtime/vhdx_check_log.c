/*
 * The log of VHDX files, for the spec checker: which entries are valid, which of them are the
 * active sequence, and what the file reads like behind its replay.
 *
 * Every slot of the log is looked at; the active sequence is then the entry with the largest number
 * from whose tail valid entries lead up to it, one number after the other (LOG-9).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "specs/runtime/arith.h"
#include "specs/runtime/vhdx_check_int.h"

#define SLOT VHDX_LOG_SECTOR

/* A valid entry of the log; sequence 0: none in this slot. */
struct entry {
    uint64_t sequence;
    uint32_t slots, tail;
};

struct log {
    struct vhdx_walk *v;
    struct entry *slot;
    uint32_t slots;
};

void vhdx_crc_init(struct vhdx_walk *v)
{
    for (uint32_t i = 0; i < 16; i++) {
        uint32_t c = i;
        for (int bit = 0; bit < 4; bit++) {
            c = c & 1 ? c >> 1 ^ 0x82f63b78 : c >> 1; /* Castagnoli's polynomial, reflected */
        }
        v->crc_table[i] = c;
    }
}

uint32_t vhdx_crc(const struct vhdx_walk *v, uint32_t crc, const uint8_t *p, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        crc ^= p[i];
        crc = crc >> 4 ^ v->crc_table[crc & 15];
        crc = crc >> 4 ^ v->crc_table[crc & 15];
    }
    return crc;
}

/* A slot's sector; slots count on behind the log's end from its beginning. */
static bool get_slot(struct log *l, uint64_t slot, uint8_t *buf)
{
    return spec_walk_get(&l->v->s, l->v->log + slot % l->slots * SLOT, buf, SLOT);
}

/* LOG-2: over all sectors of the entry; costs eight times the reading. */
static bool sum_matches(struct log *l, uint32_t at, uint32_t slots)
{
    uint8_t buf[SLOT], want[4];
    uint32_t crc = UINT32_MAX;
    for (uint32_t i = 0; i < slots; i++) {
        if (!get_slot(l, (uint64_t)at + i, buf) || !spec_walk_work(&l->v->s, 8 * SLOT)) {
            return false;
        }
        if (i == 0) {
            memcpy(want, buf + VHDX_LOG_ENTRY_CHECKSUM_OFF, 4);
            memset(buf + VHDX_LOG_ENTRY_CHECKSUM_OFF, 0, 4);
        }
        crc = vhdx_crc(l->v, crc, buf, SLOT);
    }
    return load_le32(want) == ~crc;
}

static uint64_t head_bytes(const uint8_t *e)
{
    return VHDX_LOG_ENTRY_SIZE +
           vhdx_log_entry_get_descriptor_count(e) * UINT64_C(1) * VHDX_LOG_DESC_SIZE;
}

static void load_slot(struct log *l, uint32_t at)
{
    uint8_t e[SLOT];
    if (!get_slot(l, at, e)) {
        return;
    }
    uint64_t bytes = vhdx_log_entry_get_entry_length(e), tail = vhdx_log_entry_get_tail(e);
    uint64_t sequence = vhdx_log_entry_get_sequence_number(e);
    bool ours = vhdx_log_entry_get_signature(e) == VHDX_LOG_SIGNATURE &&
                !memcmp(e + VHDX_LOG_ENTRY_LOG_GUID_OFF, l->v->header + VHDX_HEADER_LOG_GUID_OFF,
                        VHDX_HEADER_LOG_GUID_WIDTH);
    bool sane = bytes >= SLOT && bytes % SLOT == 0 && bytes <= l->v->log_bytes &&
                tail % SLOT == 0 && tail < l->v->log_bytes && sequence && head_bytes(e) <= bytes;
    if (ours && sane && sum_matches(l, at, (uint32_t)(bytes / SLOT))) {
        l->slot[at] = (struct entry){sequence, (uint32_t)(bytes / SLOT), (uint32_t)(tail / SLOT)};
    }
}

/* Whether entries lead from this head's tail to it. */
static bool leads_to(struct log *l, uint32_t head)
{
    uint32_t at = l->slot[head].tail;
    uint64_t want = l->slot[at].sequence, taken = 0;
    while (spec_walk_work(&l->v->s, 1)) {
        const struct entry *e = &l->slot[at];
        taken += e->slots;
        if (e->sequence == 0 || e->sequence != want || taken > l->slots) {
            return false;
        }
        if (at == head) {
            return true;
        }
        at = (at + e->slots) % l->slots;
        want++;
    }
    return false;
}

/* The active sequence's head, or -1. */
static int64_t find_head(struct log *l)
{
    uint64_t below = UINT64_MAX;
    while (spec_walk_work(&l->v->s, l->slots)) {
        int64_t best = -1;
        for (uint32_t i = 0; i < l->slots; i++) {
            uint64_t n = l->slot[i].sequence;
            if (n && n < below && (best < 0 || n > l->slot[best].sequence)) {
                best = i;
            }
        }
        if (best < 0 || leads_to(l, (uint32_t)best)) {
            return best;
        }
        below = l->slot[best].sequence;
    }
    return -1;
}

/* ---- what it changes ---- */

static void add_change(struct vhdx_walk *v, struct vhdx_change c)
{
    if (v->n == v->room) {
        size_t room = v->room ? 2 * v->room : 16;
        struct vhdx_change *more =
            v->n < v->s.most ? realloc(v->changes, room * sizeof(*more)) : NULL;
        if (!more) {
            v->s.error = v->n < v->s.most ? -ENOMEM : -EFBIG;
            return;
        }
        v->changes = more;
        v->room = room;
    }
    v->changes[v->n++] = c;
}

/* LOG-15: neither identifier and headers nor the log itself. */
static bool target_sound(const struct vhdx_walk *v, uint64_t offset, uint64_t bytes)
{
    uint64_t end = spec_add(offset, bytes);
    return offset >= VHDX_REGION1_OFFSET && end < UINT64_MAX &&
           (end <= v->log || offset >= v->log + v->log_bytes);
}

/* One descriptor; *data is the slot of the next data sector. */
static void take_desc(struct log *l, const struct entry *e, const uint8_t *d, uint64_t at,
                      uint64_t *data, uint64_t end)
{
    uint8_t sector[SLOT];
    struct vhdx_change c = {.offset = vhdx_log_desc_get_file_offset(d), .bytes = SLOT};
    bool zero = vhdx_log_desc_get_signature(d) == VHDX_ZERO_SIGNATURE;
    spec_walk_check(&l->v->s, "log_desc", d, at);
    if ((!zero && vhdx_log_desc_get_signature(d) != VHDX_DESC_SIGNATURE) ||
        vhdx_log_desc_get_sequence_number(d) != e->sequence || (!zero && *data >= end)) {
        vhdx_complain(l->v, "LOG-13", at, 0, 0, "a descriptor is not of its entry");
        return;
    }
    if (zero) {
        c.bytes = vhdx_log_desc_get_leading(d);
        if (c.bytes % SLOT) {
            vhdx_complain(l->v, "LOG-7", at, 0, 0, "a range of zeroes is not of whole sectors");
        }
    } else {
        c.data = l->v->log + *data % l->slots * SLOT;
        c.leading = vhdx_log_desc_get_leading(d);
        c.trailing = (uint32_t)vhdx_log_desc_get_trailing(d);
        if (!get_slot(l, (*data)++, sector)) {
            return;
        }
        spec_walk_check(&l->v->s, "log_data", sector, c.data);
        if (((uint64_t)vhdx_log_data_get_sequence_high(sector) << 32 |
             vhdx_log_data_get_sequence_low(sector)) != e->sequence) {
            vhdx_complain(l->v, "LOG-8", c.data, 0, 0, "a data sector is not of its entry");
        }
    }
    if (!target_sound(l->v, c.offset, c.bytes)) {
        vhdx_complain(l->v, "LOG-15", at, 0, 0, "a change of the headers or of the log itself");
        return;
    }
    add_change(l->v, c);
}

static void take_entry(struct log *l, uint32_t slot)
{
    uint8_t buf[SLOT];
    const struct entry *e = &l->slot[slot];
    if (!get_slot(l, slot, buf)) {
        return;
    }
    uint64_t n = vhdx_log_entry_get_descriptor_count(buf), at = l->v->log + slot * SLOT;
    uint64_t data = slot + (head_bytes(buf) + SLOT - 1) / SLOT;
    uint64_t flushed = vhdx_log_entry_get_flushed_file_offset(buf);
    uint64_t last = vhdx_log_entry_get_last_file_offset(buf);
    spec_walk_check(&l->v->s, "log_entry", buf, at);
    if (flushed > l->v->file->size) {
        spec_report_add(l->v->s.r, "LOG-14", SPEC_CORRUPTION, at, l->v->file->size, flushed,
                        "the file is shorter than the log relies on");
    }
    if (last > l->v->replayed.size) {
        l->v->replayed.size = last;
    }
    for (uint64_t i = 0, place = VHDX_LOG_ENTRY_SIZE; i < n && !l->v->s.error; i++) {
        take_desc(l, e, buf + place % SLOT, at + place, &data, (uint64_t)slot + e->slots);
        place += VHDX_LOG_DESC_SIZE;
        if (place % SLOT == 0 && i + 1 < n && !get_slot(l, slot + place / SLOT, buf)) {
            return;
        }
    }
}

/* ---- reading behind the replay ---- */

static int patch(const struct vhdx_walk *v, const struct vhdx_change *c, uint64_t offset,
                 uint8_t *buf, size_t len)
{
    uint8_t sector[SLOT] = {0};
    uint64_t start = c->offset > offset ? c->offset : offset;
    uint64_t end = spec_add(c->offset, c->bytes), stop = offset + len < end ? offset + len : end;
    if (start >= stop) {
        return 0;
    }
    if (!c->data) {
        memset(buf + (start - offset), 0, (size_t)(stop - start));
        return 0;
    }
    int ret = v->file->read(v->file->opaque, c->data, sector, SLOT);
    store_le64(sector, c->leading);
    store_le32(sector + SLOT - 4, c->trailing);
    memcpy(buf + (start - offset), sector + (start - c->offset), (size_t)(stop - start));
    return ret;
}

static int read_replayed(void *opaque, uint64_t offset, void *buf, size_t len)
{
    struct vhdx_walk *v = opaque;
    uint64_t there = spec_sub(v->file->size, offset);
    size_t n = there < len ? (size_t)there : len;
    memset((uint8_t *)buf + n, 0, len - n);
    int ret = n ? v->file->read(v->file->opaque, offset, buf, n) : 0;
    if (!spec_walk_work(&v->s, v->n)) {
        return v->s.error;
    }
    for (size_t i = 0; i < v->n && ret == 0; i++) {
        ret = patch(v, &v->changes[i], offset, buf, len);
    }
    return ret;
}

static void take_active(struct log *l, uint32_t head)
{
    struct vhdx_walk *v = l->v;
    uint32_t at = l->slot[head].tail;
    v->pending = true;
    spec_report_add(v->s.r, "LOG-12", SPEC_TOLERATED, v->log + at * SLOT, 0, 0,
                    "the log has changes to replay");
    while (take_entry(l, at), at != head && !v->s.error) {
        at = (at + l->slot[at].slots) % l->slots;
    }
    v->s.image = &v->replayed;
}

void vhdx_take_log(struct vhdx_walk *v)
{
    static const uint8_t none[VHDX_HEADER_LOG_GUID_WIDTH];
    struct log l = {.v = v, .slots = (uint32_t)(v->log_bytes / SLOT)};
    v->replayed = (struct spec_image){read_replayed, v, v->file->size};
    if (!memcmp(v->header + VHDX_HEADER_LOG_GUID_OFF, none, sizeof(none)) || l.slots == 0) {
        return; /* LOG-10: nothing to replay */
    }
    l.slot = calloc(l.slots, sizeof(*l.slot));
    if (!l.slot) {
        v->s.error = -ENOMEM;
        return;
    }
    for (uint32_t i = 0; i < l.slots && !v->s.error; i++) {
        load_slot(&l, i);
    }
    int64_t head = find_head(&l);
    if (head >= 0 && !v->s.error) {
        take_active(&l, (uint32_t)head);
    }
    free(l.slot);
}
