/*
 * Requests: reads, writes in place, writes that allocate, zeroed grains.
 *
 * Order of an allocating write: the CID (stable, once an opening), the grain with what surrounds
 * the data (stable), then the entry (specs/vmdk.yaml, DSC-4 and GT-5).  One allocation runs at a
 * time.  Leaves out: discard, which the format cannot.
 */
#include "ref/format/backing.h"
#include "ref/format/vmdk/vmdk.h"

#include <errno.h>

/* What the parent has, if it is still the one that the child was made on. */
static int read_parent(struct vmdk *s, uint64_t offset, uint64_t bytes, const struct iov *q,
                       size_t q_off, const struct request *r)
{
    int ret = vmdk_check_parent(s);
    return ret < 0 ? ret : format_read_backing(s->n, offset, bytes, q, q_off, r);
}

static uint64_t disk_offset(const struct vmdk_extent *e, uint64_t offset)
{
    return e->first * VMDK_SECTOR + offset;
}

static int read_piece(struct vmdk *s, struct vmdk_piece *p, const struct request *r, size_t q_off)
{
    struct vmdk_map m;
    int ret = vmdk_find(s, p->e, p->offset, p->bytes, &m, r);
    if (ret < 0) {
        return ret;
    }
    p->bytes = m.bytes;
    if (m.type == VMDK_ZEROED) {
        iov_fill(r->iov, q_off, 0, m.bytes);
        return 0;
    }
    if (m.type == VMDK_UNALLOCATED) {
        return read_parent(s, disk_offset(p->e, p->offset), m.bytes, r->iov, q_off, r);
    }
    if (p->e->compressed) {
        return vmdk_read_packed(s, p->e, m.host, p->offset % p->e->grain, m.bytes, r->iov, q_off,
                                r);
    }
    return child_preadv(p->e->file, (int64_t)m.host, (int64_t)m.bytes, r->iov, q_off, 0,
                        LABEL_READ_AIO, r);
}

int vmdk_read(struct node *n, const struct request *r)
{
    struct vmdk *s = vmdk_state(n);
    uint64_t done = 0, bytes = (uint64_t)r->bytes;
    int ret = 0;
    while (done < bytes && ret == 0) {
        struct vmdk_piece p = vmdk_piece_at(s, (uint64_t)r->offset + done, bytes - done);
        ret = read_piece(s, &p, r, r->iov_off + done);
        done += p.bytes;
    }
    return ret;
}

/* ---- allocating ---- */

/* The part of new grains that the write does not touch; `offset` in the extent. */
static int fill(struct vmdk *s, struct vmdk_extent *e, uint64_t offset, uint64_t bytes,
                uint64_t host, enum vmdk_type type, const struct request *r)
{
    if (bytes == 0) {
        return 0;
    }
    if (type == VMDK_ZEROED || !s->n->backing) {
        return child_pwrite_zeroes(e->file, (int64_t)host, (int64_t)bytes, 0, LABEL_COW_WRITE, r);
    }
    int ret = vmdk_check_parent(s);
    return ret < 0 ? ret
                   : format_copy_backing(s->n, disk_offset(e, offset), bytes, e->file, host, r);
}

/* Tells a server's writer where free space begins (COW-5). */
static int claim(struct vmdk_extent *e, const struct vmdk_map *m, const struct request *r)
{
    uint8_t sector[VMDK_COWD_FREE_SECTOR_WIDTH];
    uint64_t end = e->next;
    if (e->kind != VMDK_COWD) {
        return 0;
    }
    end += m->gt ? 0 : ROUND_UP((uint64_t)e->gt_entries * VMDK_GT_ENTRY_SIZE, e->grain);
    store_le32(sector, (uint32_t)MIN(end / VMDK_SECTOR, (uint64_t)UINT32_MAX));
    return child_pwrite(e->file, VMDK_COWD_FREE_SECTOR_OFF, sector, sizeof(sector),
                        LABEL_HEADER_UPDATE, r);
}

/* Sectors are numbers of 32 bits. */
static bool fits(uint64_t host, uint64_t bytes)
{
    return host / VMDK_SECTOR <= UINT32_MAX && (host + bytes) / VMDK_SECTOR <= UINT32_MAX;
}

/* New grains with data for the piece, of one kind; shortens it to what one page of a table maps.
 * (alloc held) */
static int allocate(struct vmdk *s, const struct vmdk_map *m, struct vmdk_piece *p, size_t q_off,
                    const struct request *r)
{
    struct vmdk_extent *e = p->e;
    const uint64_t page_entries = TABLE_PAGE / VMDK_GT_ENTRY_SIZE;
    uint64_t head = p->offset % e->grain, start = p->offset - head;
    uint64_t index = start / e->grain % e->gt_entries;
    uint64_t room = MIN(page_entries - index % page_entries, e->gt_entries - index);
    p->bytes = MIN(p->bytes, room * e->grain - head);
    uint64_t end = DIV_ROUND_UP(head + p->bytes, e->grain) * e->grain; /* of the new grains */
    uint64_t tail = end - head - p->bytes, host = e->next;
    int ret = vmdk_check_parent(s);
    ret = ret < 0 || fits(host, end) ? ret : -EFBIG;
    ret = ret < 0 ? ret : vmdk_settle(e, r);
    if (ret < 0) {
        return ret;
    }
    e->next = host + end;
    ret = fill(s, e, start, head, host, m->type, r);
    if (ret == 0) {
        ret = child_pwritev(e->file, (int64_t)(host + head), (int64_t)p->bytes, r->iov, q_off, 0,
                            LABEL_WRITE_AIO, r);
    }
    ret =
        ret < 0 ? ret : fill(s, e, p->offset + p->bytes, tail, host + head + p->bytes, m->type, r);
    ret = ret < 0 ? ret : claim(e, m, r);
    ret = ret < 0 ? ret : child_flush(e->file, r);
    if (ret < 0) {
        e->next = host; /* nothing refers to it: the next one takes it */
        return ret;
    }
    return vmdk_link(s, e, start, (unsigned)(end / e->grain), (uint32_t)(host / VMDK_SECTOR),
                     (uint32_t)(e->grain / VMDK_SECTOR), m, r);
}

static int write_piece(struct vmdk *s, struct vmdk_piece *p, const struct request *r, size_t q_off)
{
    struct vmdk_map m;
    int ret = vmdk_find(s, p->e, p->offset, p->bytes, &m, r);
    if (ret == 0 && m.type != VMDK_DATA) {
        co_lock(s->w, &s->alloc);
        /* Somebody may have allocated it meanwhile. */
        ret = vmdk_find(s, p->e, p->offset, p->bytes, &m, r);
        if (ret == 0 && m.type != VMDK_DATA) {
            p->bytes = m.bytes;
            ret = allocate(s, &m, p, q_off, r);
        }
        co_unlock(s->w, &s->alloc);
    }
    if (ret == 0 && m.type == VMDK_DATA) {
        p->bytes = m.bytes;
        ret = child_pwritev(p->e->file, (int64_t)m.host, (int64_t)m.bytes, r->iov, q_off, 0,
                            LABEL_WRITE_AIO, r);
    }
    return ret;
}

int vmdk_write(struct node *n, const struct request *r)
{
    struct vmdk *s = vmdk_state(n);
    uint64_t done = 0, bytes = (uint64_t)r->bytes;
    int ret = vmdk_touch(s, r);
    while (done < bytes && ret == 0) {
        struct vmdk_piece p = vmdk_piece_at(s, (uint64_t)r->offset + done, bytes - done);
        if (p.e->compressed) {
            p.bytes = MIN(p.bytes, p.e->grain - p.offset % p.e->grain);
            ret = vmdk_write_packed(s, &p, r->iov, r->iov_off + done, r);
        } else {
            ret = write_piece(s, &p, r, r->iov_off + done);
        }
        done += p.bytes;
    }
    return ret;
}

int vmdk_write_compressed(struct node *n, const struct request *r)
{
    /* The end of the stream needs nothing: grains end at sectors. */
    return r->bytes == 0 ? 0 : vmdk_write(n, r);
}

/* ---- zeroes ---- */

/* Whole grains that say so themselves; content they had is left behind, as by QEMU. */
static int zero_piece(struct vmdk *s, struct vmdk_piece *p, const struct request *r)
{
    const uint64_t page_entries = TABLE_PAGE / VMDK_GT_ENTRY_SIZE;
    struct vmdk_extent *e = p->e;
    struct vmdk_map m;
    co_lock(s->w, &s->alloc);
    int ret = vmdk_find(s, e, p->offset, p->bytes, &m, r);
    if (ret == 0) {
        uint64_t index = p->offset / e->grain % e->gt_entries;
        uint64_t room = MIN(page_entries - index % page_entries, e->gt_entries - index);
        p->bytes = MIN(m.bytes, room * e->grain);
        unsigned n = (unsigned)DIV_ROUND_UP(p->bytes, e->grain);
        ret = e->compressed && m.type == VMDK_DATA ? vmdk_refuse_rewrite(s) : vmdk_settle(e, r);
        ret = ret < 0 || m.type == VMDK_ZEROED
                  ? ret
                  : vmdk_link(s, e, p->offset, n, VMDK_GTE_ZEROED, 0, &m, r);
    }
    co_unlock(s->w, &s->alloc);
    return ret;
}

static bool can_zero(const struct vmdk_piece *p)
{
    const struct vmdk_extent *e = p->e;
    return e->kind == VMDK_SPARSE && e->zeroed_grains && p->offset % e->grain == 0 &&
           p->bytes % e->grain == 0;
}

int vmdk_write_zeroes(struct node *n, const struct request *r)
{
    struct vmdk *s = vmdk_state(n);
    uint64_t done = 0, bytes = (uint64_t)r->bytes;
    struct vmdk_piece p;
    for (; done < bytes; done += p.bytes) {
        p = vmdk_piece_at(s, (uint64_t)r->offset + done, bytes - done);
        if (!can_zero(&p)) {
            return -ENOTSUP; /* written as data */
        }
    }
    int ret = vmdk_touch(s, r);
    for (done = 0; done < bytes && ret == 0; done += p.bytes) {
        p = vmdk_piece_at(s, (uint64_t)r->offset + done, bytes - done);
        ret = zero_piece(s, &p, r);
    }
    return ret;
}
