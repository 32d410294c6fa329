/*
 * vpc requests: reads, writes in place, writes that allocate.
 *
 * A new block takes the footer's place; the footer is stable behind it before the BAT names it.  As
 * QEMU, reading a dynamic image does not look at bitmaps, writing sets them whole; in differencing
 * images they tell the image's sectors from the parent's.  Leaves out: freeing blocks.
 */
#include "ref/format/vpc/vpc.h"

#include <errno.h>
#include "ref/format/backing.h"

/* A part of a request that one place serves. */
struct piece {
    uint64_t block;
    int64_t in_block, bytes;
    int64_t host; /* of its first byte; 0: the image does not have it */
};

static struct piece piece_at(const struct vpc *s, int64_t offset, int64_t bytes)
{
    struct piece p = {(uint64_t)(offset / s->block_size), offset % s->block_size, 0, 0};
    p.bytes = MIN(bytes, s->block_size - p.in_block);
    return p;
}

static int64_t data_offset(const struct vpc *s, uint32_t e)
{
    return e * SECTOR + s->bitmap_size;
}

/* BAT-6 */
static bool bit(const uint8_t *bits, uint64_t i)
{
    return bits[i / 8] >> (7 - i % 8) & 1;
}

/* Cuts p to sectors whose bits are alike; *own when they are set (DIF-1). */
static int bitmap_run(struct node *n, uint32_t e, struct piece *p, bool *own,
                      const struct request *r)
{
    struct vpc *s = vpc_state(n);
    struct table_ref t = {(uint64_t)e * VPC_SECTOR, (uint64_t)s->bitmap_size,
                          LABEL_ALLOC_BITMAP_LOAD, LABEL_ALLOC_BITMAP_UPDATE};
    uint64_t first = (uint64_t)p->in_block / VPC_SECTOR, at = first, have = first;
    uint64_t end = (uint64_t)(p->in_block + p->bytes) / VPC_SECTOR;
    int ret = 0;
    co_lock(n->w, &s->lock);
    while (at < end && at == have && ret == 0) {
        const uint8_t *words;
        unsigned count;
        uint64_t base = at / 64 * 64;
        ret = table_load(&s->bitmaps, &t, at / 64, &words, &count, r);
        have = ret < 0 ? at : MIN(end, base + 64ull * count);
        *own = at == first && at < have ? bit(words, at - base) : *own;
        while (at < have && bit(words, at - base) == *own) {
            at++;
        }
    }
    co_unlock(n->w, &s->lock);
    p->bytes = (int64_t)(at - first) * SECTOR;
    return ret;
}

static int find(struct node *n, int64_t offset, int64_t bytes, struct piece *p,
                const struct request *r)
{
    struct vpc *s = vpc_state(n);
    *p = piece_at(s, offset, bytes);
    uint32_t e = vpc_entry(s, p->block);
    bool own = e != VPC_UNUSED;
    int ret = own && s->differencing ? bitmap_run(n, e, p, &own, r) : 0;
    p->host = own ? data_offset(s, e) + p->in_block : 0;
    return ret;
}

int vpc_read(struct node *n, const struct request *r)
{
    struct vpc *s = n->state;
    if (s->fixed) {
        return child_preadv(n->file, r->offset, r->bytes, r->iov, r->iov_off, r->flags,
                            LABEL_READ_AIO, r);
    }
    struct piece p;
    int ret = 0;
    for (int64_t done = 0; done < r->bytes && ret == 0; done += p.bytes) {
        size_t at = r->iov_off + (size_t)done;
        ret = find(n, r->offset + done, r->bytes - done, &p, r);
        if (ret < 0) {
            break;
        }
        ret = p.host
                  ? child_preadv(n->file, p.host, p.bytes, r->iov, at, r->flags, LABEL_READ_AIO, r)
                  : format_read_backing(n, (uint64_t)(r->offset + done), (uint64_t)p.bytes, r->iov,
                                        at, r);
    }
    return ret;
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
        p = piece_at(s, r->offset + done, r->bytes - done);
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
    struct piece p;
    int ret = find(n, offset, bytes, &p, NULL);
    if (ret < 0) {
        return ret;
    }
    if (p.host) {
        out->map = p.host;
    } else {
        int64_t end = p.in_block + p.bytes; /* of blocks that are not there either */
        while (IS_ALIGNED(end, s->block_size) && p.bytes < bytes &&
               vpc_entry(s, ++p.block) == VPC_UNUSED) {
            int64_t more = MIN(bytes - p.bytes, s->block_size);
            end += more;
            p.bytes += more;
        }
        *out = (struct status){.flags = s->differencing ? 0 : STATUS_ZERO | STATUS_ALLOCATED};
    }
    out->bytes = p.bytes;
    return 0;
}
