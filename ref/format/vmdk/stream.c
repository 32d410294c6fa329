/*
 * Compressed grains (specs/vmdk.yaml, STR): a marker, a zlib stream, filled up to a sector.
 *
 * Packing runs on workers, linking under the allocation lock.  A compressor is large, so those not
 * in use are kept.  Leaves out: overwriting a grain, which the format forbids (STR-4); markers of
 * tables and directory, which readers do not need; writing a footer (the directory is in front).
 */
#include "ref/engine/host.h"
#include "ref/format/vmdk/vmdk.h"

#include <assert.h>
#include <errno.h>
#include <libdeflate.h>

#define LEVEL     6
#define MOST_GAIN 1040 /* bytes out of one byte of a deflate stream, at most */

struct vmdk_packer {
    struct vmdk_packer *next;
    struct libdeflate_compressor *compressor;
    uint64_t grain;
    size_t room;   /* bytes of out */
    size_t bytes;  /* used of it */
    uint8_t *in;   /* a grain */
    uint8_t out[]; /* marker, stream, filling */
};

static void free_packer(struct vmdk_packer *p)
{
    libdeflate_free_compressor(p->compressor);
    mem_free(p->in);
    mem_free(p);
}

void vmdk_free_packers(struct vmdk *s)
{
    struct vmdk_packer *p;
    while ((p = s->packers)) {
        s->packers = p->next;
        free_packer(p);
    }
}

static struct vmdk_packer *take_packer(struct vmdk *s, uint64_t grain)
{
    struct vmdk_packer *p = s->packers;
    if (p && p->grain == grain) {
        s->packers = p->next;
        return p;
    }
    size_t room = VMDK_MARKER_GRAIN_SIZE + libdeflate_zlib_compress_bound(NULL, grain);
    room = ROUND_UP(room, VMDK_SECTOR);
    p = mem_try_zalloc(sizeof(*p) + room);
    if (!p) {
        return NULL;
    }
    p->grain = grain;
    p->room = room;
    p->in = mem_try_alloc(grain);
    p->compressor = p->in ? libdeflate_alloc_compressor(LEVEL) : NULL;
    if (!p->compressor) {
        mem_free(p->in);
        mem_free(p);
        return NULL;
    }
    return p;
}

static void give_packer(struct vmdk *s, struct vmdk_packer *p)
{
    p->next = s->packers;
    s->packers = p;
}

static int pack(void *arg)
{
    struct vmdk_packer *p = arg;
    size_t head = VMDK_MARKER_GRAIN_SIZE;
    size_t n =
        libdeflate_zlib_compress(p->compressor, p->in, p->grain, p->out + head, p->room - head);
    if (n == 0) {
        return -EIO;
    }
    vmdk_marker_set_size(p->out, (uint32_t)n);
    p->bytes = ROUND_UP(head + n, VMDK_SECTOR);
    memset(p->out + head + n, 0, p->bytes - head - n);
    return 0;
}

int vmdk_refuse_rewrite(struct vmdk *s)
{
    world_report(s->w, REPORT_ERROR, "Could not write to allocated cluster for streamOptimized");
    return -EIO;
}

/* To the end of the file, stable, then into the tables. (alloc held) */
static int store(struct vmdk *s, const struct vmdk_piece *piece, const struct vmdk_packer *p,
                 const struct request *r)
{
    struct vmdk_extent *e = piece->e;
    struct vmdk_map m;
    uint64_t host = e->next;
    int ret = vmdk_find(s, e, piece->offset, piece->bytes, &m, r);
    if (ret == 0 && m.type == VMDK_DATA) {
        ret = vmdk_refuse_rewrite(s);
    }
    if (ret < 0) {
        return ret;
    }
    ret = (host + p->bytes) / VMDK_SECTOR > UINT32_MAX ? -EFBIG : vmdk_settle(e, r);
    if (ret < 0) {
        return ret;
    }
    e->next = host + p->bytes;
    ret =
        child_pwrite(e->file, (int64_t)host, p->out, (int64_t)p->bytes, LABEL_WRITE_COMPRESSED, r);
    ret = ret < 0 ? ret : child_flush(e->file, r);
    if (ret < 0) {
        e->next = host;
        return ret;
    }
    return vmdk_link(s, e, piece->offset, 1, (uint32_t)(host / VMDK_SECTOR), 0, &m, r);
}

/* A part of a grain cannot be packed, and says so where it would not overwrite one. */
static int refuse_part(struct vmdk *s, const struct vmdk_piece *piece, const struct request *r)
{
    struct vmdk_map m;
    co_lock(s->w, &s->alloc);
    int ret = vmdk_find(s, piece->e, piece->offset, piece->bytes, &m, r);
    co_unlock(s->w, &s->alloc);
    if (ret < 0) {
        return ret;
    }
    return m.type == VMDK_DATA ? vmdk_refuse_rewrite(s) : -EINVAL;
}

int vmdk_write_packed(struct vmdk *s, const struct vmdk_piece *piece, const struct iov *q,
                      size_t q_off, const struct request *r)
{
    const struct vmdk_extent *e = piece->e;
    bool last = piece->offset + piece->bytes == e->sectors * VMDK_SECTOR;
    if (!e->markers) {
        return -EINVAL;
    }
    if (piece->offset % e->grain != 0 || (piece->bytes != e->grain && !last)) {
        return refuse_part(s, piece, r);
    }
    struct vmdk_packer *p = take_packer(s, e->grain);
    if (!p) {
        return -ENOMEM;
    }
    iov_to_buf(q, q_off, p->in, piece->bytes);
    memset(p->in + piece->bytes, 0, e->grain - piece->bytes);
    int ret = host_call(s->w, pack, p);
    if (ret == 0) {
        vmdk_marker_set_value(p->out, piece->offset / VMDK_SECTOR);
        co_lock(s->w, &s->alloc);
        ret = store(s, piece, p, r);
        co_unlock(s->w, &s->alloc);
    }
    give_packer(s, p);
    return ret;
}

/* ---- reading ---- */

struct job {
    const uint8_t *in;
    size_t in_size;
    uint8_t *out;
    size_t out_size, used;
};

/* Bytes behind the end of the stream are not looked at; a short grain is one. */
static int unpack(void *arg)
{
    struct job *j = arg;
    size_t taken;
    struct libdeflate_decompressor *d = libdeflate_alloc_decompressor();
    if (!d) {
        return -ENOMEM;
    }
    enum libdeflate_result res =
        libdeflate_zlib_decompress_ex(d, j->in, j->in_size, j->out, j->out_size, &taken, &j->used);
    libdeflate_free_decompressor(d);
    return res == LIBDEFLATE_SUCCESS ? 0 : -EINVAL;
}

/* The stream of the grain at host into *buf (by mem_free()); STR-3 bounds it. */
static int load(struct vmdk_extent *e, uint64_t host, uint8_t **buf, struct job *j,
                const struct request *r)
{
    int64_t len = child_length(e->file);
    uint64_t first = e->grain + VMDK_SECTOR, head = e->markers ? VMDK_MARKER_GRAIN_SIZE : 0;
    if (len < 0 || host >= (uint64_t)len || (uint64_t)len - host < head) {
        return len < 0 ? (int)len : -EINVAL;
    }
    uint64_t most = MIN(head + 2 * e->grain, (uint64_t)len - host);
    first = MIN(e->markers ? first : 2 * e->grain, most);
    *buf = mem_try_alloc(most); /* not more than the file has */
    int ret =
        *buf ? child_pread(e->file, (int64_t)host, *buf, (int64_t)first, LABEL_READ_COMPRESSED, r)
             : -ENOMEM;
    if (ret < 0) {
        return ret;
    }
    uint64_t size = e->markers ? vmdk_marker_get_size(*buf) : first;
    if (size == 0 || size > 2 * e->grain) {
        return -EINVAL;
    }
    size = MIN(size, (uint64_t)len - host - head); /* the stream may end earlier */
    if (head + size > first) {
        ret = child_pread(e->file, (int64_t)(host + first), *buf + first,
                          (int64_t)(head + size - first), LABEL_READ_COMPRESSED, r);
    }
    j->in = *buf + head;
    j->in_size = size;
    return ret;
}

int vmdk_read_packed(struct vmdk *s, struct vmdk_extent *e, uint64_t host, uint64_t in_grain,
                     uint64_t bytes, const struct iov *q, size_t q_off, const struct request *r)
{
    uint8_t *packed = NULL;
    struct job j = {0};
    assert(in_grain + bytes <= e->grain);
    int ret = load(e, host, &packed, &j, r);
    j.out_size = MIN(e->grain, j.in_size * MOST_GAIN);
    j.out = ret == 0 ? mem_try_alloc(j.out_size) : NULL;
    ret = ret < 0 || j.out ? ret : -ENOMEM;
    ret = ret < 0 ? ret : host_call(s->w, unpack, &j);
    if (ret == 0 && in_grain + bytes > j.used) {
        ret = -EINVAL;
    }
    if (ret == 0) {
        iov_from_buf(q, q_off, j.out + in_grain, bytes);
    }
    mem_free(packed);
    mem_free(j.out);
    return ret;
}
