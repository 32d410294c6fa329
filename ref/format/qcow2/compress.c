/*
 * Compressed qcow2 clusters (spec: "Compressed Clusters Descriptor"): zlib as raw deflate with a 4
 * KiB window, or zstd.
 *
 * A stream is written to its place before L2 refers to it.  Data that does not get smaller is
 * written as it is. Leaves out: overwriting what is allocated (refused, as a compressed cluster
 * cannot be changed in place).
 */
#include <zlib.h>
#include <zstd.h>

#include "ref/base/compressible.h"
#include "ref/engine/host.h"
#include "ref/format/qcow2/qcow2.h"

#include <assert.h>
#include <errno.h>

struct job {
    bool zstd;
    const uint8_t *in;
    size_t in_size;
    uint8_t *out;
    size_t out_size; /* in: room; out: used */
};

static int inflate_raw(struct job *j)
{
    z_stream z = {.next_in = (uint8_t *)(uintptr_t)j->in,
                  .avail_in = (uInt)j->in_size,
                  .next_out = j->out,
                  .avail_out = (uInt)j->out_size};
    if (inflateInit2(&z, -12) != Z_OK) {
        return -EIO;
    }
    int ret = inflate(&z, Z_FINISH);
    /* What follows the stream in its last sector is not ours: all output is there, that counts. */
    bool ok = (ret == Z_STREAM_END || ret == Z_BUF_ERROR) && z.avail_out == 0;
    inflateEnd(&z);
    return ok ? 0 : -EIO;
}

static int unzstd(struct job *j)
{
    ZSTD_inBuffer in = {j->in, j->in_size, 0};
    ZSTD_outBuffer out = {j->out, j->out_size, 0};
    ZSTD_DCtx *d = ZSTD_createDCtx();
    if (!d) {
        return -EIO;
    }
    int ret = 0;
    while (out.pos < out.size) {
        size_t before = in.pos + out.pos, r = ZSTD_decompressStream(d, &out, &in);
        if (ZSTD_isError(r) || (in.pos + out.pos == before && out.pos < out.size)) {
            ret = -EIO; /* damaged, or ends too early */
            break;
        }
    }
    ZSTD_freeDCtx(d);
    return ret;
}

static int decompress(void *arg)
{
    struct job *j = arg;
    return j->zstd ? unzstd(j) : inflate_raw(j);
}

static int deflate_raw(struct job *j)
{
    z_stream z = {.next_in = (uint8_t *)(uintptr_t)j->in,
                  .avail_in = (uInt)j->in_size,
                  .next_out = j->out,
                  .avail_out = (uInt)j->out_size};
    if (deflateInit2(&z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, -12, 9, Z_DEFAULT_STRATEGY) != Z_OK) {
        return -EIO;
    }
    int ret = deflate(&z, Z_FINISH);
    j->out_size -= z.avail_out;
    deflateEnd(&z);
    return ret == Z_STREAM_END ? 0 : ret == Z_OK || ret == Z_BUF_ERROR ? -ENOSPC : -EIO;
}

/* -ENOSPC: it does not get smaller, or so little that trying is not worth its time. */
static int compress_job(void *arg)
{
    struct job *j = arg;
    if (!buf_compressible(j->in, j->in_size)) {
        return -ENOSPC;
    }
    if (!j->zstd) {
        return deflate_raw(j);
    }
    ZSTD_CCtx *c = ZSTD_createCCtx();
    if (!c) {
        return -EIO;
    }
    ZSTD_inBuffer in = {j->in, j->in_size, 0};
    ZSTD_outBuffer out = {j->out, j->out_size, 0};
    size_t left = ZSTD_compressStream2(c, &out, &in, ZSTD_e_end);
    ZSTD_freeCCtx(c);
    j->out_size = out.pos;
    return ZSTD_isError(left) ? -EIO : left ? -ENOSPC : 0;
}

int qcow2_read_compressed(struct qcow2 *s, uint64_t l2_entry, uint64_t in_cluster, uint64_t bytes,
                          const struct iov *q, size_t q_off, const struct request *r)
{
    uint64_t offset;
    unsigned size;
    qcow2_compressed_extent(s, l2_entry, &offset, &size);
    uint8_t *in = mem_try_alloc(size), *out = mem_try_alloc(s->cluster_size);
    int ret = in && out ? 0 : -ENOMEM;
    if (ret == 0) {
        ret = child_pread(s->n->file, (int64_t)offset, in, size, LABEL_READ_COMPRESSED, r);
    }
    if (ret == 0) {
        struct job j = {s->compression_type == QCOW2_COMPRESSION_ZSTD, in, size, out,
                        s->cluster_size};
        ret = host_call(s->w, decompress, &j);
    }
    if (ret == 0) {
        iov_from_buf(q, q_off, out + in_cluster, bytes);
    }
    mem_free(in);
    mem_free(out);
    return ret;
}

/* Compressed bytes to the host and into L2; the guest cluster is registered as being allocated
 * meanwhile. */
static int store(struct qcow2 *s, uint64_t guest, const uint8_t *data, unsigned bytes,
                 const struct request *r)
{
    struct qcow2_io io;
    struct qcow2_alloc *a = mem_zalloc(sizeof(*a));
    a->guest_offset = guest;
    a->nb_clusters = 1;
    a->keep_old = true; /* nothing of a whole cluster to free */
    co_lock(s->w, &s->lock);
    qcow2_wait_allocs(s, guest, s->cluster_size);
    qcow2_alloc_register(s, a);
    int ret = qcow2_may_change(s);
    ret = ret < 0 ? ret : qcow2_check_compressible(s, guest, r);
    int64_t host = ret < 0 ? ret : qcow2_alloc_bytes(s, bytes);
    ret = host < 0 ? (int)host : qcow2_pre_write_overlap(s, 0, (uint64_t)host, bytes, true);
    if (ret == 0 && ((uint64_t)host & ~s->cluster_offset_mask ||
                     (uint64_t)host + bytes > QCOW2_MAX_HOST_OFFSET)) {
        ret = -EFBIG; /* the descriptor has no room for such an offset */
    }
    if (ret == 0) {
        qcow2_io_begin(s, &io, (uint64_t)host, bytes);
        co_unlock(s->w, &s->lock);
        ret = child_pwrite(s->data_file, host, data, bytes, LABEL_WRITE_COMPRESSED, r);
        co_lock(s->w, &s->lock);
        qcow2_io_end(s, &io);
        if (ret == 0) {
            ret = s->dead ? -ENOMEDIUM : qcow2_link_compressed(s, guest, (uint64_t)host, bytes, r);
        }
    }
    if (ret < 0 && host >= 0 && !s->dead) {
        qcow2_free_clusters(s, (uint64_t)host, bytes, DISCARD_NEVER);
    }
    qcow2_alloc_finish(s, a);
    if (ret == 0) {
        ret = qcow2_writethrough(s, r);
    }
    co_unlock(s->w, &s->lock);
    return ret;
}

/* One guest cluster; the last of the disk may be short and is filled up with zeroes. */
static int write_cluster(struct qcow2 *s, uint64_t offset, uint64_t bytes, size_t q_off,
                         const struct request *r)
{
    uint8_t *in = mem_try_alloc(s->cluster_size), *out = mem_try_alloc(s->cluster_size);
    int ret = -ENOMEM;
    if (in && out) {
        iov_to_buf(r->iov, q_off, in, bytes);
        memset(in + bytes, 0, s->cluster_size - bytes);
        struct job j = {s->compression_type == QCOW2_COMPRESSION_ZSTD, in, s->cluster_size, out,
                        s->cluster_size - 1};
        while (s->compress_workers >= QCOW2_MAX_WORKERS) {
            waitq_wait(s->w, &s->compress_q);
        }
        s->compress_workers++;
        ret = host_call(s->w, compress_job, &j);
        s->compress_workers--;
        waitq_wake_one(s->w, &s->compress_q);
        if (ret == 0) {
            ret = store(s, offset, out, (unsigned)j.out_size, r);
        } else if (ret == -ENOSPC) {
            ret = qcow2_write_range(s, offset, bytes, r->iov, q_off, r);
        }
    }
    mem_free(in);
    mem_free(out);
    return ret;
}

int qcow2_write_compressed(struct node *n, const struct request *r)
{
    struct qcow2 *s = qcow2_state(n);
    if (has_data_file(s)) {
        return -ENOTSUP;
    }
    uint64_t offset = (uint64_t)r->offset, bytes = (uint64_t)r->bytes;
    size_t q_off = r->iov_off;
    if (bytes == 0) {
        /* End of the stream: the file ends at a sector, for readers that go by sectors.  Lengths
         * are whole sectors already, the file's own need not be. */
        int64_t len = child_length(n->file);
        return len < 0 ? (int)len : child_truncate(n->file, len, false, PREALLOC_OFF, 0, NULL);
    }
    if (offset_into_cluster(s, offset)) {
        return -EINVAL;
    }
    if (offset_into_cluster(s, bytes) && offset + bytes != (uint64_t)n->length) {
        return -EINVAL;
    }
    /* One cluster that fails does not keep the others from being written. */
    int ret = 0;
    while (bytes > 0) {
        uint64_t part = MIN(bytes, s->cluster_size);
        int one = write_cluster(s, offset, part, q_off, r);
        ret = ret < 0 ? ret : one;
        offset += part;
        bytes -= part;
        q_off += part;
    }
    return ret;
}
