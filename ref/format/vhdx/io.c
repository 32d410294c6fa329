/*
 * VHDX requests: the BAT, reads, writes in place, writes that allocate a block.
 *
 * A new block is put behind the end of the file, which reads as zeroes there, so only the data is
 * written; then its BAT entry changes by way of the log.  One allocation runs at a time.  Leaves
 * out: zero writes and discards (zeroes are written as data, as QEMU does).
 */
#include <assert.h>
#include <errno.h>
#include <string.h>
#include "ref/base/bytes.h"
#include "ref/base/mem.h"
#include "ref/format/grow.h"
#include "ref/format/vhdx/vhdx.h"

uint64_t vhdx_bat_index(const struct vhdx *s, uint64_t block)
{
    return block + block / s->chunk_ratio;
}

uint64_t vhdx_bat_entries(const struct vhdx *s)
{
    return s->blocks ? vhdx_bat_index(s, s->blocks - 1) + 1 : 0;
}

int vhdx_entry(struct vhdx *s, uint64_t index, uint64_t *entry, const struct request *r)
{
    const uint8_t *e;
    unsigned n;
    int ret = table_load(&s->tables, &s->bat, index, &e, &n, r);
    *entry = ret < 0 ? 0 : load_le64(e);
    return ret;
}

/* A part of a request inside one block. */
struct piece {
    uint64_t block, entry;
    int64_t in_block, bytes;
};

/* (lock held) */
static int piece_at(struct vhdx *s, int64_t offset, int64_t bytes, struct piece *p,
                    const struct request *r)
{
    p->block = (uint64_t)offset / s->block_size;
    p->in_block = offset % s->block_size;
    p->bytes = MIN(bytes, (int64_t)s->block_size - p->in_block);
    return vhdx_entry(s, vhdx_bat_index(s, p->block), &p->entry, r);
}

/* The tables' pages are the lock's: who sets an entry gives them up. */
static int look_up(struct vhdx *s, int64_t offset, int64_t bytes, struct piece *p,
                   const struct request *r)
{
    co_lock(s->n->w, &s->lock);
    int ret = piece_at(s, offset, bytes, p, r);
    co_unlock(s->n->w, &s->lock);
    return ret;
}

static unsigned state_of(uint64_t entry)
{
    return (unsigned)vhdx_bat_entry_state_of(entry);
}

static int64_t host_of(const struct piece *p)
{
    return (int64_t)vhdx_bat_entry_offset_of(p->entry) + p->in_block;
}

/* 1 present, 0 zeroes, -EIO what must not be. */
static int kind_of(const struct piece *p)
{
    switch (state_of(p->entry)) {
    case VHDX_STATE_FULLY_PRESENT:
        return 1;
    case VHDX_STATE_NOT_PRESENT:
    case VHDX_STATE_UNDEFINED:
    case VHDX_STATE_ZERO:
    case VHDX_STATE_UNMAPPED:
    case VHDX_STATE_UNMAPPED_OLD:
        return 0;
    default:
        return -EIO; /* without a parent nothing is partially present */
    }
}

int vhdx_read(struct node *n, const struct request *r)
{
    struct vhdx *s = vhdx_state(n);
    struct piece p;
    for (int64_t done = 0; done < r->bytes; done += p.bytes) {
        size_t q_off = r->iov_off + (size_t)done;
        int ret = look_up(s, r->offset + done, r->bytes - done, &p, r);
        ret = ret < 0 ? ret : kind_of(&p);
        if (ret == 0) {
            iov_fill(r->iov, q_off, 0, (size_t)p.bytes);
        } else if (ret > 0) {
            ret = child_preadv(n->file, host_of(&p), p.bytes, r->iov, q_off, r->flags,
                               LABEL_READ_AIO, r);
        }
        if (ret < 0) {
            return ret;
        }
    }
    return 0;
}

/* Entry `index` becomes `entry`, on disk and in the cache. */
static int set_entry(struct vhdx *s, uint64_t index, uint64_t entry, const struct request *r)
{
    uint8_t sector[VHDX_LOG_SECTOR];
    uint64_t at = s->bat.offset + index * VHDX_BAT_ENTRY_SIZE, start = ROUND_DOWN(at, TABLE_PAGE);
    _Static_assert(TABLE_PAGE == VHDX_LOG_SECTOR, "a page of the cache is a sector of the log");
    int ret = child_pread(s->n->file, (int64_t)start, sector, sizeof(sector), LABEL_TABLE_LOAD, r);
    if (ret < 0) {
        return ret;
    }
    store_le64(sector + (at - start), entry);
    ret = vhdx_log_write(s, start, sector, r);
    table_cache_forget(&s->tables);
    return ret;
}

/* (lock held) */
static int allocate(struct vhdx *s, const struct piece *p, size_t q_off, const struct request *r)
{
    int64_t len = child_length(s->n->file);
    if (len < 0) {
        return (int)len;
    }
    int64_t host = ROUND_UP(len, (int64_t)VHDX_ALIGN);
    if (host > INT64_MAX - s->block_size) {
        return -EFBIG;
    }
    int ret = format_grow_zeroed(s->n->file, host, host + s->block_size, r);
    if (ret == 0) {
        ret = child_pwritev(s->n->file, host + p->in_block, p->bytes, r->iov, q_off, 0,
                            LABEL_WRITE_AIO, r);
    }
    return ret < 0 ? ret
                   : set_entry(s, vhdx_bat_index(s, p->block),
                               (uint64_t)host | VHDX_STATE_FULLY_PRESENT, r);
}

static int write_piece(struct vhdx *s, struct piece *p, size_t q_off, const struct request *r)
{
    int ret = kind_of(p);
    if (ret == 0) {
        int64_t offset = (int64_t)p->block * s->block_size + p->in_block;
        co_lock(s->n->w, &s->lock);
        /* Another request may have been faster. */
        ret = piece_at(s, offset, p->bytes, p, r);
        ret = ret < 0 ? ret : kind_of(p);
        if (ret == 0) {
            ret = allocate(s, p, q_off, r);
        }
        co_unlock(s->n->w, &s->lock);
    }
    return ret <= 0 ? ret
                    : child_pwritev(s->n->file, host_of(p), p->bytes, r->iov, q_off, r->flags,
                                    LABEL_WRITE_AIO, r);
}

int vhdx_write(struct node *n, const struct request *r)
{
    struct vhdx *s = vhdx_state(n);
    struct piece p;
    co_lock(n->w, &s->lock);
    int ret = vhdx_begin_writing(s, r);
    co_unlock(n->w, &s->lock);
    for (int64_t done = 0; done < r->bytes && ret == 0; done += p.bytes) {
        ret = look_up(s, r->offset + done, r->bytes - done, &p, r);
        ret = ret < 0 ? ret : write_piece(s, &p, r->iov_off + (size_t)done, r);
    }
    return ret;
}

int vhdx_block_status(struct node *n, bool precise, int64_t offset, int64_t bytes,
                      struct status *out)
{
    struct vhdx *s = vhdx_state(n);
    struct piece p;
    int ret = look_up(s, offset, bytes, &p, NULL);
    int kind = ret < 0 ? ret : kind_of(&p);
    if (kind < 0) {
        return kind;
    }
    *out = (struct status){.flags = STATUS_ALLOCATED | STATUS_ZERO, .bytes = p.bytes};
    if (kind > 0) {
        out->flags = STATUS_ALLOCATED | STATUS_DATA | STATUS_OFFSET_VALID;
        out->map = host_of(&p);
        out->file = n->file->node;
    }
    for (struct piece next; kind == 0 && out->bytes < bytes; out->bytes += next.bytes) {
        ret = look_up(s, offset + out->bytes, bytes - out->bytes, &next, NULL);
        if (ret < 0 || kind_of(&next) != 0) {
            break;
        }
    }
    return 0;
}
