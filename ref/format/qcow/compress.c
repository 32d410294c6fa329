/*
 * Compressed qcow clusters: raw deflate with a 4 KiB window (specs/qcow.yaml, TAB-3 and TAB-4).
 *
 * Unlike QEMU 7.2, compressed data over a cluster that has data goes to a place of its own (TAB-6).
 */
#include <zlib.h>

#include "ref/engine/host.h"
#include "ref/format/qcow/qcow.h"

#include <errno.h>

struct job {
    const uint8_t *in;
    size_t in_size;
    uint8_t *out;
    size_t out_size; /* in: room; out: used */
};

static int unpack_job(void *arg)
{
    struct job *j = arg;
    z_stream z = {.next_in = (uint8_t *)(uintptr_t)j->in,
                  .avail_in = (uInt)j->in_size,
                  .next_out = j->out,
                  .avail_out = (uInt)j->out_size};
    if (inflateInit2(&z, -12) != Z_OK) {
        return -EIO;
    }
    int ret = inflate(&z, Z_FINISH);
    bool ok = (ret == Z_STREAM_END || ret == Z_BUF_ERROR) && z.avail_out == 0;
    inflateEnd(&z);
    return ok ? 0 : -EIO;
}

static int pack_job(void *arg)
{
    struct job *j = arg;
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

int qcow_unpack(struct qcow *s, uint64_t entry, uint8_t *buf, const struct request *r)
{
    uint64_t offset = qcow_compressed_cluster_offset_of(entry, s->cluster_bits);
    uint64_t bytes = qcow_compressed_cluster_bytes_of(entry, s->cluster_bits);
    if (bytes == 0) {
        return -EIO;
    }
    uint8_t *in = mem_try_alloc(bytes); /* less than a cluster */
    int ret =
        in ? child_pread(s->n->file, (int64_t)offset, in, (int64_t)bytes, LABEL_READ_COMPRESSED, r)
           : -ENOMEM;
    if (ret == 0) {
        struct job j = {in, bytes, buf, s->cluster_size};
        ret = host_call(s->w, unpack_job, &j);
    }
    mem_free(in);
    return ret;
}

/* Compressed bytes to the end of the file, stable, then into L2. */
static int store(struct qcow *s, uint64_t guest, const uint8_t *data, uint64_t bytes,
                 const struct request *r)
{
    co_lock(s->w, &s->alloc);
    uint64_t old_end = s->file_end, host = ROUND_UP(old_end, (uint64_t)QCOW_COMPRESSED_ALIGN),
             entry = 0;
    int ret = host >> (63 - s->cluster_bits) ? -EFBIG : 0;
    if (ret == 0) {
        child_event(s->n->file, LABEL_CLUSTER_ALLOC, r);
        s->file_end = host + bytes;
        ret = child_pwrite(s->n->file, (int64_t)host, data, (int64_t)bytes, LABEL_WRITE_COMPRESSED,
                           r);
        ret = ret < 0 ? ret : child_flush(s->n->file, r);
        s->file_end = ret < 0 ? old_end : s->file_end;
    }
    if (ret == 0) {
        qcow_compressed_cluster_set_compressed(&entry, 1);
        qcow_compressed_cluster_set_offset(&entry, s->cluster_bits, host);
        qcow_compressed_cluster_set_bytes(&entry, s->cluster_bits, bytes);
        ret = qcow_link(s, guest, 1, load_be64(&entry), 0, LABEL_L2_UPDATE_COMPRESSED, r);
    }
    co_unlock(s->w, &s->alloc);
    return ret;
}

int qcow_write_compressed(struct node *n, const struct request *r)
{
    struct qcow *s = qcow_state(n);
    uint64_t bytes = (uint64_t)r->bytes;
    bool last = r->offset + r->bytes == n->length;
    if (bytes == 0) {
        return 0;
    }
    if ((uint64_t)r->offset & (s->cluster_size - 1) ||
        (bytes != s->cluster_size && (bytes > s->cluster_size || !last))) {
        return -EINVAL; /* one cluster, or what the disk's last one has */
    }
    uint8_t *in = mem_try_zalloc(s->cluster_size), *out = mem_try_alloc(s->cluster_size);
    int ret = -ENOMEM;
    if (in && out) {
        iov_to_buf(r->iov, r->iov_off, in, bytes);
        struct job j = {in, s->cluster_size, out, s->cluster_size - 1};
        ret = host_call(s->w, pack_job, &j);
        if (ret == 0) {
            ret = store(s, (uint64_t)r->offset, out, j.out_size, r);
        } else if (ret == -ENOSPC) {
            ret = qcow_write(n, r);
        }
    }
    mem_free(in);
    mem_free(out);
    return ret;
}
