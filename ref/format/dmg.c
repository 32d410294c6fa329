/*
 * dmg: Apple disk images, read only (specs/dmg.yaml).
 *
 * Models: the trailer, chunks of zeroes, raw, zlib and bzip2 (UDRO, UDZO, UDBZ); the last unpacked
 * chunk is kept.  Sectors that no chunk has, or one that cannot be unpacked (ADC, LZFSE), fail with
 * -EIO.  Leaves out: writing, images in several segments, encryption, checksums.
 */
#include "ref/format/dmg.h"

#include <errno.h>

#include "ref/block/io.h"
#include "ref/block/open.h"
#include "ref/engine/host.h"
#include "ref/format/format.h"
#include "ref/format/unpack.h"

#define SECTOR DMG_SECTOR
#define TAIL   (2 * SECTOR - 1) /* how far from the end the trailer is looked for ... */
#define STARTS (SECTOR + 4 - 1) /* ... and how many bytes: its first four are among them */

static int dmg_probe(const uint8_t *buf, size_t len, const char *filename)
{
    size_t name = filename ? strlen(filename) : 0;
    return name > 4 && !strcmp(filename + name - 4, ".dmg") ? 2 : 0;
}

static int find_trailer(struct node *n, struct error **err)
{
    struct dmg *s = n->state;
    uint8_t buf[STARTS];
    int64_t len = child_length(n->file);
    if (len < 0) {
        return error_set_errno(err, (int)-len,
                               "Failed to get file size while reading UDIF trailer");
    }
    if (len < SECTOR) {
        return error_set(err, EINVAL, "dmg file must be at least 512 bytes long");
    }
    int64_t from = len > TAIL ? len - TAIL : 0, bytes = MIN(len, STARTS);
    int ret = child_pread(n->file, from, buf, bytes, LABEL_NONE, NULL);
    if (ret < 0) {
        return error_set_errno(err, -ret, "Failed while reading UDIF trailer");
    }
    for (int64_t i = 0; i + 4 <= bytes; i++) {
        if (dmg_trailer_get_magic(buf + i) == DMG_MAGIC) {
            s->trailer = from + i;
            return 0;
        }
    }
    return error_set(err, EINVAL, "Could not locate UDIF trailer in dmg file");
}

/* Does [offset, offset + length) lie before the trailer? */
static bool before_trailer(const struct dmg *s, uint64_t offset, uint64_t length)
{
    uint64_t end = (uint64_t)s->trailer;
    return offset <= end && length <= end - offset;
}

/* The opener words what fails here without a message. */
static int read_chunks(struct node *n, struct error **err)
{
    struct dmg *s = n->state;
    uint8_t t[DMG_TRAILER_SIZE];
    int ret = child_pread(n->file, s->trailer, t, sizeof(t), LABEL_NONE, NULL);
    if (ret < 0) {
        return ret;
    }
    uint64_t rsrc = dmg_trailer_get_rsrc_offset(t), rsrc_length = dmg_trailer_get_rsrc_length(t);
    uint64_t plist = dmg_trailer_get_plist_offset(t),
             plist_length = dmg_trailer_get_plist_length(t);
    s->data_offset = dmg_trailer_get_data_offset(t);
    if (!before_trailer(s, s->data_offset, 0) || !before_trailer(s, rsrc, rsrc_length) ||
        !before_trailer(s, plist, plist_length) || dmg_trailer_get_sectors(t) > INT64_MAX) {
        return -EINVAL;
    }
    s->sectors = (int64_t)dmg_trailer_get_sectors(t);
    if (rsrc_length) {
        return dmg_read_resource_fork(n, rsrc, rsrc_length, err);
    }
    return plist_length ? dmg_read_plist(n, plist, plist_length, err) : -EINVAL;
}

static int dmg_open(struct node *n, struct value *opts, unsigned flags, struct error **err)
{
    struct dmg *s = n->state;
    int ret = node_apply_auto_read_only(n, NULL, err);
    if (ret == 0) {
        ret = open_file_child(n, opts, err);
    }
    if (ret == 0) {
        ret = find_trailer(n, err);
    }
    if (ret == 0) {
        ret = read_chunks(n, err);
    }
    if (ret < 0) {
        mem_free(s->chunks);
        s->chunks = NULL;
    }
    return ret;
}

static void dmg_close(struct node *n)
{
    struct dmg *s = n->state;
    mem_free(s->chunks);
    mem_free(s->block);
}

/*
 * The chunk that has a sector; NULL: none.  By halving a list that should be in order; where it is
 * not, the answer is QEMU's, whose first steps count one chunk more than there is.
 */
static const struct dmg_chunk *find_chunk(const struct dmg *s, uint64_t sector)
{
    size_t low = 0, end = s->n_chunks + 1;
    while (low < end) {
        size_t mid = (low + end - 1) / 2;
        if (mid == s->n_chunks) {
            return NULL;
        }
        const struct dmg_chunk *c = &s->chunks[mid];
        if (c->sector > sector) {
            end = mid;
        } else if (sector - c->sector < c->sectors) {
            return c;
        } else {
            low = mid + 1;
        }
    }
    return NULL;
}

/* Unpacks chunk c, which becomes the one at hand.  Reads no more than the file has. */
static int load_chunk(struct node *n, const struct dmg_chunk *c, const struct request *r)
{
    struct dmg *s = n->state;
    if (s->block && s->index == (size_t)(c - s->chunks)) {
        return 0;
    }
    int64_t len = child_length(n->file);
    if (len < 0 || c->offset >= (uint64_t)len) {
        return len < 0 ? (int)len : -EIO;
    }
    size_t in_size = MIN(c->length, ROUND_UP((uint64_t)len - c->offset, SECTOR));
    struct unpack u = {.in_size = in_size, .out_size = c->sectors * SECTOR};
    uint8_t *in = mem_try_alloc(MAX(in_size, 1));
    u.in = in;
    u.out = mem_try_alloc(u.out_size);
    int ret = in && u.out ? 0 : -ENOMEM;
    if (ret == 0) {
        ret = child_pread(n->file, (int64_t)c->offset, in, (int64_t)in_size, LABEL_READ_COMPRESSED,
                          r);
    }
    if (ret >= 0) {
        ret = host_call(n->w, c->type == DMG_CHUNK_BZIP2 ? unpack_bzip2 : unpack_zlib, &u);
    }
    mem_free(in);
    if (ret < 0) {
        mem_free(u.out);
        return ret;
    }
    mem_free(s->block);
    s->block = u.out;
    s->index = (size_t)(c - s->chunks);
    return 0;
}

/* [at, at + bytes) of a raw chunk; what its length leaves out of its sectors is zero. */
static int read_raw(struct node *n, const struct dmg_chunk *c, uint64_t at, uint64_t bytes,
                    size_t q_off, const struct request *r)
{
    uint64_t there = at < c->length ? MIN(bytes, c->length - at) : 0;
    if (c->offset > (uint64_t)INT64_MAX - DMG_MAX_CHUNK_BYTES) {
        return -EIO;
    }
    iov_fill(r->iov, q_off + there, 0, bytes - there);
    return there == 0 ? 0
                      : child_preadv(n->file, (int64_t)(c->offset + at), (int64_t)there, r->iov,
                                     q_off, 0, LABEL_READ_AIO, r);
}

static int read_chunk(struct node *n, const struct dmg_chunk *c, uint64_t at, uint64_t bytes,
                      size_t q_off, const struct request *r)
{
    struct dmg *s = n->state;
    if (c->type == DMG_CHUNK_ZERO || c->type == DMG_CHUNK_IGNORE) {
        iov_fill(r->iov, q_off, 0, bytes);
        return 0;
    }
    if (c->type == DMG_CHUNK_RAW) {
        return read_raw(n, c, at, bytes, q_off, r);
    }
    co_lock(n->w, &s->lock);
    int ret = load_chunk(n, c, r);
    if (ret == 0) {
        iov_from_buf(r->iov, q_off, s->block + at, bytes);
    }
    co_unlock(n->w, &s->lock);
    return ret;
}

static int dmg_read(struct node *n, const struct request *r)
{
    const struct dmg *s = n->state;
    uint64_t sector = (uint64_t)r->offset / SECTOR, left = (uint64_t)r->bytes / SECTOR;
    size_t q_off = r->iov_off;
    while (left > 0) {
        const struct dmg_chunk *c = find_chunk(s, sector);
        if (!c) {
            return -EIO;
        }
        uint64_t in_chunk = sector - c->sector, part = MIN(left, c->sectors - in_chunk);
        int ret = read_chunk(n, c, in_chunk * SECTOR, part * SECTOR, q_off, r);
        if (ret < 0) {
            return ret;
        }
        sector += part;
        left -= part;
        q_off += part * SECTOR;
    }
    return 0;
}

static int64_t dmg_length(struct node *n)
{
    const struct dmg *s = n->state;
    return s->sectors > INT64_MAX / SECTOR ? -EFBIG : s->sectors * SECTOR;
}

static void dmg_refresh_limits(struct node *n, struct error **err)
{
    n->limits.request_alignment = SECTOR;
}

const struct block_driver driver_dmg = {
    .name = "dmg",
    .kind = DRIVER_FORMAT,
    .state_size = sizeof(struct dmg),
    .probe = dmg_probe,
    .open = dmg_open,
    .close = dmg_close,
    .read = dmg_read,
    .length = dmg_length,
    .refresh_limits = dmg_refresh_limits,
};
