/*
 * cloop: compressed loop images of version 2.0, read only (specs/cloop.yaml).
 *
 * Models: a table of offsets in memory; blocks are zlib streams, the last one read is kept
 * unpacked.  The table is read as far as the file goes, however long the header says it is.  Leaves
 * out: writing, and the later versions with other compressions.  As QEMU, only probing looks at the
 * script in front.
 */
#include <errno.h>
#include <inttypes.h>

#include "ref/block/io.h"
#include "ref/block/open.h"
#include "ref/engine/host.h"
#include "ref/format/format.h"
#include "ref/format/unpack.h"
#include "specs/cloop_layout.h"

#define ENTRY CLOOP_OFFSET_ENTRY_SIZE
#define NONE  UINT32_MAX

struct cloop {
    uint32_t block_size; /* bytes */
    uint32_t n_blocks;
    uint64_t *offsets; /* host order; [known] is 0 and stands for all behind it */
    uint64_t known;
    struct co_mutex lock; /* of the block at hand */
    uint8_t *block;       /* unpacked, block_size bytes; NULL before the first */
    uint32_t index;       /* which one it is, or NONE */
};

static int cloop_probe(const uint8_t *buf, size_t len, const char *filename)
{
    static const char script[] =
        "#!/bin/sh\n#V2.0 Format\nmodprobe cloop file=$0 && mount -r -t iso9660 "
        "/dev/cloop $1\n";
    return len >= sizeof(script) - 1 && !memcmp(buf, script, sizeof(script) - 1) ? 2 : 0;
}

static int check_header(struct cloop *s, const uint8_t *h, struct error **err)
{
    s->block_size = cloop_header_get_block_size(h);
    s->n_blocks = cloop_header_get_n_blocks(h);
    if (s->block_size % CLOOP_SECTOR) {
        return error_set(err, EINVAL, "block_size %" PRIu32 " must be a multiple of 512",
                         s->block_size);
    }
    if (s->block_size == 0) {
        return error_set(err, EINVAL, "block_size cannot be zero");
    }
    if (s->block_size > CLOOP_MAX_BLOCK_SIZE) {
        return error_set(err, EINVAL, "block_size %" PRIu32 " must be 64 MB or less",
                         s->block_size);
    }
    if (s->n_blocks > CLOOP_MAX_N_BLOCKS) {
        return error_set(err, EINVAL, "n_blocks %" PRIu32 " must be %d or less", s->n_blocks,
                         CLOOP_MAX_N_BLOCKS);
    }
    /* The greatest number lawful up to here is reported as QEMU does, which takes 4 GiB for none.
     */
    if (s->n_blocks == CLOOP_MAX_N_BLOCKS) {
        return error_set(err, ENOMEM, "Could not allocate offsets table");
    }
    if (((uint64_t)s->n_blocks + 1) * ENTRY > CLOOP_MAX_OFFSETS_BYTES) {
        return error_set(err, EINVAL, "image requires too many offsets, try increasing block size");
    }
    return 0;
}

/* Offset of a block, or of the end of the last; what is behind the end of the file is zero. */
static uint64_t offset_of(const struct cloop *s, uint64_t i)
{
    return s->offsets[MIN(i, s->known)];
}

static int read_offsets(struct node *n, struct error **err)
{
    struct cloop *s = n->state;
    int64_t len = child_length(n->file);
    if (len < 0) {
        return error_set_errno(err, (int)-len, "Could not get image size");
    }
    uint64_t in_file = len <= CLOOP_HEADER_SIZE ? 0 : (uint64_t)len - CLOOP_HEADER_SIZE;
    s->known = MIN((uint64_t)s->n_blocks + 1, DIV_ROUND_UP(in_file, ENTRY));
    s->offsets = mem_try_array(s->known + 1, ENTRY);
    if (!s->offsets) {
        return error_set_errno(err, ENOMEM, "Could not allocate offsets table");
    }
    int ret = child_pread(n->file, CLOOP_HEADER_SIZE, s->offsets, (int64_t)(s->known * ENTRY),
                          LABEL_NONE, NULL);
    if (ret < 0) {
        return error_set_errno(err, -ret, "Could not read the offsets table");
    }
    for (uint64_t i = 0; i < s->known; i++) {
        s->offsets[i] = cloop_offset_entry_get_offset((const uint8_t *)&s->offsets[i]);
    }
    return 0;
}

static int check_offsets(const struct cloop *s, struct error **err)
{
    for (uint64_t i = 1; i <= MIN(s->n_blocks, s->known); i++) {
        uint64_t begin = s->offsets[i - 1], end = s->offsets[i];
        if (end < begin) {
            return error_set(err, EINVAL,
                             "offsets not monotonically increasing at index %" PRIu64
                             ", image file is corrupt",
                             i);
        }
        if (end - begin > CLOOP_MAX_COMPRESSED) {
            return error_set(
                err, EINVAL,
                "invalid compressed block size at index %" PRIu64 ", image file is corrupt", i);
        }
    }
    return 0;
}

static int cloop_open(struct node *n, struct value *opts, unsigned flags, struct error **err)
{
    struct cloop *s = n->state;
    uint8_t h[CLOOP_HEADER_SIZE];
    int ret = node_apply_auto_read_only(n, NULL, err);
    if (ret == 0) {
        ret = open_file_child(n, opts, err);
    }
    if (ret < 0) {
        return ret;
    }
    ret = child_pread(n->file, 0, h, sizeof(h), LABEL_NONE, NULL);
    if (ret < 0) {
        return error_set_errno(err, -ret, "Could not read the header");
    }
    s->index = NONE;
    ret = check_header(s, h, err);
    if (ret == 0) {
        ret = read_offsets(n, err);
    }
    if (ret == 0) {
        ret = check_offsets(s, err);
    }
    if (ret < 0) {
        mem_free(s->offsets);
        s->offsets = NULL;
    }
    return ret;
}

static void cloop_close(struct node *n)
{
    struct cloop *s = n->state;
    mem_free(s->offsets);
    mem_free(s->block);
}

/* Makes block `index` the one at hand.  Memory is bounded by the file, not by what the table says.
 */
static int load_block(struct node *n, uint32_t index, const struct request *r)
{
    struct cloop *s = n->state;
    if (s->index == index) {
        return 0;
    }
    uint64_t begin = offset_of(s, index), size = offset_of(s, (uint64_t)index + 1) - begin;
    int64_t len = child_length(n->file);
    if (len < 0 || begin >= (uint64_t)len) {
        return len < 0 ? (int)len : -EIO;
    }
    size = MIN(size, ROUND_UP((uint64_t)len - begin, CLOOP_SECTOR));
    uint8_t *in = mem_try_alloc(MAX(size, 1));
    s->block = s->block ? s->block : mem_try_alloc(s->block_size);
    int ret = in && s->block ? 0 : -ENOMEM;
    if (ret == 0) {
        ret = child_pread(n->file, (int64_t)begin, in, (int64_t)size, LABEL_READ_COMPRESSED, r);
    }
    if (ret >= 0) {
        struct unpack u = {in, size, s->block, s->block_size};
        s->index = NONE;
        ret = host_call(n->w, unpack_zlib, &u);
    }
    if (ret >= 0) {
        s->index = index;
    }
    mem_free(in);
    return ret < 0 ? ret : 0;
}

static int cloop_read(struct node *n, const struct request *r)
{
    struct cloop *s = n->state;
    uint64_t offset = (uint64_t)r->offset, left = (uint64_t)r->bytes;
    size_t q_off = r->iov_off;
    int ret = 0;
    co_lock(n->w, &s->lock);
    while (left > 0) {
        uint64_t in_block = offset % s->block_size, part = MIN(left, s->block_size - in_block);
        ret = load_block(n, (uint32_t)(offset / s->block_size), r);
        if (ret < 0) {
            break;
        }
        iov_from_buf(r->iov, q_off, s->block + in_block, part);
        offset += part;
        left -= part;
        q_off += part;
    }
    co_unlock(n->w, &s->lock);
    return ret;
}

static int64_t cloop_length(struct node *n)
{
    const struct cloop *s = n->state;
    return (int64_t)s->n_blocks * s->block_size;
}

static void cloop_refresh_limits(struct node *n, struct error **err)
{
    n->limits.request_alignment = CLOOP_SECTOR;
}

const struct block_driver driver_cloop = {
    .name = "cloop",
    .kind = DRIVER_FORMAT,
    .state_size = sizeof(struct cloop),
    .probe = cloop_probe,
    .open = cloop_open,
    .close = cloop_close,
    .read = cloop_read,
    .length = cloop_length,
    .refresh_limits = cloop_refresh_limits,
};
