/*
 * vpc requests: reads, writes in place, writes that allocate.
 *
 * A new block takes the footer's place; the footer is stable behind it before the BAT names it.  As
 * QEMU, reading does not look at bitmaps, writing sets them whole.  Leaves out: freeing blocks.
 */
#include "ref/format/vpc/vpc.h"

#include <errno.h>

struct piece {
    uint64_t block;
    int64_t in_block, bytes;
};

static struct piece piece_at(const struct vpc *s, const struct request *r, int64_t done)
{
    int64_t offset = r->offset + done;
    struct piece p = {(uint64_t)(offset / s->block_size), offset % s->block_size, 0};
    p.bytes = MIN(r->bytes - done, s->block_size - p.in_block);
    return p;
}

static int64_t data_offset(const struct vpc *s, uint32_t e)
{
    return e * SECTOR + s->bitmap_size;
}

int vpc_read(struct node *n, const struct request *r)
{
    struct vpc *s = n->state;
    if (s->fixed) {
        return child_preadv(n->file, r->offset, r->bytes, r->iov, r->iov_off, r->flags,
                            LABEL_READ_AIO, r);
    }
    struct piece p;
    for (int64_t done = 0; done < r->bytes; done += p.bytes) {
        p = piece_at(s, r, done);
        uint32_t e = vpc_entry(s, p.block);
        size_t at = r->iov_off + (size_t)done;
        if (e == VPC_UNUSED) {
            iov_fill(r->iov, at, 0, (size_t)p.bytes);
            continue;
        }
        int ret = child_preadv(n->file, data_offset(s, e) + p.in_block, p.bytes, r->iov, at,
                               r->flags, LABEL_READ_AIO, r);
        if (ret < 0) {
            return ret;
        }
    }
    return 0;
}

static int mark_block(struct node *n, uint64_t block, int64_t offset, const struct request *r)
{
    struct vpc *s = n->state;
    if (s->marked == block) {
        return 0;
    }
    uint8_t *ones = mem_alloc((size_t)s->bitmap_size);
    memset(ones, 0xff, (size_t)s->bitmap_size);
    int ret = child_pwrite(n->file, offset, ones, s->bitmap_size, LABEL_ALLOC_BITMAP_UPDATE, r);
    mem_free(ones);
    s->marked = ret < 0 ? NO_BLOCK : (uint32_t)block;
    return ret;
}

/* Gives a block the place where the footer is (BAT-2). */
static int allocate(struct node *n, uint64_t block, const struct request *r)
{
    struct vpc *s = n->state;
    int64_t at = s->free_offset, end = at + s->bitmap_size + s->block_size;
    if (at / SECTOR >= VPC_UNUSED) {
        return -ENOSPC;
    }
    int64_t len = child_length(n->file);
    int ret = len < 0 ? (int)len : 0;
    if (ret == 0 && len > at + VPC_FOOTER_SIZE) {
        /* Something is there that no entry names: an allocation that was cut short. */
        ret = child_pwrite_zeroes(n->file, at + s->bitmap_size, s->block_size, 0, LABEL_TABLE_GROW,
                                  r);
    }
    if (ret == 0) {
        ret = child_pwrite(n->file, end, s->footer, sizeof(s->footer), LABEL_FOOTER_UPDATE, r);
    }
    ret = ret < 0 ? ret : mark_block(n, block, at, r);
    ret = ret < 0 ? ret : child_flush(n->file, r);
    if (ret < 0) {
        s->marked = NO_BLOCK;
        return ret;
    }
    uint8_t raw[VPC_BAT_ENTRY_SIZE];
    vpc_bat_entry_set_sector(raw, (uint32_t)(at / SECTOR));
    ret = child_pwrite(n->file, s->bat_offset + (int64_t)block * VPC_BAT_ENTRY_SIZE, raw,
                       sizeof(raw), LABEL_TABLE_UPDATE, r);
    s->free_offset = end; /* also on failure: the entry may be there */
    if (ret == 0) {
        memcpy(s->bat + block * VPC_BAT_ENTRY_SIZE, raw, sizeof(raw));
    }
    return ret;
}

static int prepare_block(struct node *n, uint64_t block, const struct request *r)
{
    struct vpc *s = n->state;
    co_lock(n->w, &s->lock);
    uint32_t e = vpc_entry(s, block);
    int ret = e == VPC_UNUSED ? allocate(n, block, r) : mark_block(n, block, e * SECTOR, r);
    co_unlock(n->w, &s->lock);
    return ret;
}

int vpc_write(struct node *n, const struct request *r)
{
    struct vpc *s = n->state;
    if (s->fixed) {
        return child_pwritev(n->file, r->offset, r->bytes, r->iov, r->iov_off, r->flags,
                             LABEL_WRITE_AIO, r);
    }
    struct piece p;
    for (int64_t done = 0; done < r->bytes; done += p.bytes) {
        p = piece_at(s, r, done);
        int ret = prepare_block(n, p.block, r);
        if (ret == 0) {
            int64_t at = data_offset(s, vpc_entry(s, p.block)) + p.in_block;
            ret = child_pwritev(n->file, at, p.bytes, r->iov, r->iov_off + (size_t)done, r->flags,
                                LABEL_WRITE_AIO, r);
        }
        if (ret < 0) {
            return ret;
        }
    }
    return 0;
}

int vpc_block_status(struct node *n, bool precise, int64_t offset, int64_t bytes,
                     struct status *out)
{
    const struct vpc *s = n->state;
    *out = (struct status){.flags = STATUS_DATA | STATUS_ALLOCATED | STATUS_OFFSET_VALID,
                           .bytes = bytes,
                           .map = offset,
                           .file = n->file->node};
    if (s->fixed) {
        out->flags |= STATUS_RECURSE;
        return 0;
    }
    uint64_t block = (uint64_t)(offset / s->block_size);
    int64_t len = s->block_size - offset % s->block_size;
    uint32_t e = vpc_entry(s, block);
    if (e != VPC_UNUSED) {
        out->map = data_offset(s, e) + offset % s->block_size;
    } else {
        while (len < bytes && vpc_entry(s, ++block) == VPC_UNUSED) {
            len += s->block_size;
        }
        *out = (struct status){.flags = STATUS_ZERO | STATUS_ALLOCATED};
    }
    out->bytes = MIN(len, bytes);
    return 0;
}
