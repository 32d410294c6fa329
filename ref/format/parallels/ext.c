/*
 * The format extension of parallels images: one cluster with features, of which the dirty bitmap is
 * known (spec: "Format Extension", "Dirty bitmaps feature").
 *
 * The bitmap is loaded, since a damaged one must be told; nobody can ask for it yet.  Leaves out:
 * writing extensions, and keeping those with the TRANSIT flag.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include "ref/base/bitmap.h"
#include "ref/base/mem.h"
#include "ref/format/crypto/hash.h"
#include "ref/format/parallels/parallels.h"

/* Bits that an extension's bitmaps may have, all together: 512 MiB.  One cluster has room for the
 * description of hundreds of times as many. */
#define MAX_BITS (UINT64_C(1) << 32)

static int64_t ext_offset(const struct parallels *s)
{
    uint64_t sectors = parallels_header_get_ext_off(s->meta);
    return sectors > (uint64_t)INT64_MAX / SECTOR / 2 ? -1 : (int64_t)sectors * SECTOR;
}

static int load_cluster(struct parallels *s, uint8_t **out, struct error **err)
{
    int64_t at = ext_offset(s), len = child_length(s->n->file);
    *out = NULL;
    if (at < 0 || len < 0 || at > len - s->cluster) {
        return error_set(err, EINVAL, "Format Extension cluster lies outside of the file");
    }
    uint8_t *buf = mem_try_alloc((size_t)s->cluster);
    int ret = buf ? child_pread(s->n->file, at, buf, s->cluster, LABEL_EXT_LOAD, NULL) : -ENOMEM;
    if (ret < 0) {
        mem_free(buf);
        return error_set_errno(err, -ret, "Failed to read Format Extension cluster");
    }
    *out = buf;
    return 0;
}

/* One cluster of the bitmap: of zeroes, of ones, or read. */
static int load_piece(struct parallels *s, uint64_t entry, uint8_t *to, size_t bytes,
                      struct error **err)
{
    if (entry <= PARALLELS_BITMAP_ONES) {
        memset(to, entry == PARALLELS_BITMAP_ONES ? 0xff : 0, bytes);
        return 0;
    }
    int64_t len = child_length(s->n->file);
    if (len < 0 || entry > (uint64_t)len / SECTOR ||
        (int64_t)entry * SECTOR > len - (int64_t)bytes) {
        return error_set(err, EINVAL,
                         "Bitmaps feature corrupted: cluster at sector %" PRIu64
                         " lies outside of the file",
                         entry);
    }
    int ret = child_pread(s->n->file, (int64_t)entry * SECTOR, to, (int64_t)bytes,
                          LABEL_BITMAP_DATA_LOAD, NULL);
    return ret < 0 ? error_set_errno(err, -ret, "Failed to read bitmap data cluster") : 0;
}

/* Of a bitmap whose granularity is sound. */
static uint64_t bits_of(const uint8_t *data)
{
    return DIV_ROUND_UP(parallels_bitmap_get_size(data),
                        (uint32_t)parallels_bitmap_get_granularity(data));
}

static int check_bitmap(const struct parallels *s, const uint8_t *data, uint32_t bytes,
                        struct error **err)
{
    uint64_t size = parallels_bitmap_get_size(data);
    uint32_t granularity = (uint32_t)parallels_bitmap_get_granularity(data);
    if (size != (uint64_t)s->size / SECTOR) {
        return error_set(err, EINVAL,
                         "Bitmap size (in sectors) %" PRIu64 " differs from disk size in sectors "
                         "%" PRId64,
                         size, s->size / SECTOR);
    }
    if (!IS_POW2(granularity) || granularity > INT32_MAX / SECTOR) {
        return error_set(err, EINVAL, "Bitmap granularity %" PRIu32 " is not a power of two",
                         granularity);
    }
    uint64_t bits = bits_of(data);
    uint64_t want = DIV_ROUND_UP(DIV_ROUND_UP(bits, 8), (uint64_t)s->cluster);
    uint32_t l1 = (uint32_t)parallels_bitmap_get_l1_size(data);
    if (l1 > (bytes - PARALLELS_BITMAP_SIZE) / 8) {
        return error_set(err, EINVAL,
                         "Bitmaps feature corrupted: l1 table exceeds extension data_size");
    }
    if (l1 != want) {
        return error_set(err, EINVAL,
                         "Bitmap table size %" PRIu32
                         " does not correspond to bitmap size and cluster size. Expected %" PRIu64,
                         l1, want);
    }
    return bits > MAX_BITS ? error_set(err, EFBIG, "Bitmap of %" PRIu64 " bits is too large", bits)
                           : 0;
}

/* A bitmap is sound, and with those before it (bitmap_bits) not too much. */
static int admit_bitmap(struct parallels *s, const uint8_t *data, uint32_t bytes,
                        struct error **err)
{
    if (bytes < PARALLELS_BITMAP_SIZE) {
        return error_set(err, EINVAL,
                         "Too small Bitmap Feature area in Parallels Format Extension: %" PRIu32
                         " bytes, expected at least %u bytes",
                         bytes, (unsigned)PARALLELS_BITMAP_SIZE);
    }
    int ret = check_bitmap(s, data, bytes, err);
    if (ret < 0) {
        return ret;
    }
    s->bitmap_bits += bits_of(data);
    return s->bitmap_bits > MAX_BITS
               ? error_set(err, EFBIG, "Bitmaps of %" PRIu64 " bits and more are too large",
                           s->bitmap_bits)
               : 0;
}

/* Of several bitmaps, all admitted, the last one stays. */
static int load_bitmap(struct parallels *s, const uint8_t *data, uint32_t bytes, struct error **err)
{
    int ret = 0;
    uint64_t bits = bits_of(data);
    size_t len = (size_t)DIV_ROUND_UP(bits, 8);
    uint8_t *map = mem_try_array(bitmap_words(bits) + 1, sizeof(uint64_t));
    if (!map) {
        return error_set_errno(err, ENOMEM, "Could not load the bitmap");
    }
    mem_free(s->bitmap);
    s->bitmap = (uint64_t *)map;
    s->bitmap_bits = bits;
    s->bitmap_granularity = parallels_bitmap_get_granularity(data) * SECTOR;
    for (size_t at = 0, i = 0, n; ret == 0 && at < len; at += n, i++) {
        n = MIN(len - at, (size_t)s->cluster);
        ret = load_piece(s, load_le64(data + PARALLELS_BITMAP_SIZE + 8 * i), map + at, n, err);
    }
    return ret;
}

/* Calls for each known feature with its data; stops at the end mark, or with an error. */
static int each_feature(struct parallels *s, const uint8_t *cluster,
                        int (*each)(struct parallels *s, const uint8_t *data, uint32_t bytes,
                                    struct error **err),
                        struct error **err)
{
    size_t at = PARALLELS_EXT_HEADER_SIZE, end = (size_t)s->cluster;
    for (;;) {
        if (end - at < PARALLELS_FEATURE_SIZE) {
            return error_set(err, EINVAL, "Can not read feature header from Format Extension");
        }
        const uint8_t *f = cluster + at;
        uint64_t magic = parallels_feature_get_magic(f);
        uint32_t bytes = (uint32_t)parallels_feature_get_data_size(f);
        if (parallels_feature_get_flags(f)) {
            return error_set(err, EINVAL, "Flags for extension feature are unsupported");
        }
        at += PARALLELS_FEATURE_SIZE;
        if (bytes > end - at) {
            return error_set(err, EINVAL, "Feature data_size exceedes Format Extension cluster");
        }
        if (magic == PARALLELS_FEATURE_END) {
            return 0;
        }
        if (magic != PARALLELS_FEATURE_BITMAP) {
            return error_set(err, EINVAL, "Unknown feature: 0x%" PRIx64, magic);
        }
        int ret = each(s, cluster + at, bytes, err);
        if (ret < 0) {
            return ret;
        }
        at = MIN(ROUND_UP(at + bytes, 8), end);
    }
}

static int check_cluster(const struct parallels *s, const uint8_t *c, struct error **err)
{
    uint8_t digest[16];
    uint64_t magic = parallels_ext_header_get_magic(c);
    if (magic != PARALLELS_EXT_MAGIC) {
        return error_set(err, EINVAL,
                         "Wrong parallels Format Extension magic: 0x%" PRIx64
                         ", expected: 0x%" PRIx64,
                         magic, PARALLELS_EXT_MAGIC);
    }
    crypt_digest(HASH_MD5, c + PARALLELS_EXT_HEADER_SIZE,
                 (size_t)s->cluster - PARALLELS_EXT_HEADER_SIZE, digest);
    if (memcmp(digest, c + PARALLELS_EXT_HEADER_CHECKSUM_OFF, sizeof(digest))) {
        return error_set(err, EINVAL,
                         "Wrong checksum in Format Extension header. Format "
                         "extension is corrupted.");
    }
    return 0;
}

int parallels_read_ext(struct parallels *s, struct error **err)
{
    uint8_t *cluster;
    int ret = load_cluster(s, &cluster, err);
    ret = ret < 0 ? ret : check_cluster(s, cluster, err);
    s->bitmap_bits = 0;
    ret = ret < 0 ? ret : each_feature(s, cluster, admit_bitmap, err);
    ret = ret < 0 ? ret : each_feature(s, cluster, load_bitmap, err);
    mem_free(cluster);
    return ret;
}

/* data_end moves behind the bitmap's clusters. */
static int count_bitmap(struct parallels *s, const uint8_t *data, uint32_t bytes,
                        struct error **err)
{
    int ret = bytes < PARALLELS_BITMAP_SIZE ? -EINVAL : check_bitmap(s, data, bytes, err);
    int64_t len = child_length(s->n->file);
    uint32_t l1 = ret < 0 ? 0 : (uint32_t)parallels_bitmap_get_l1_size(data);
    for (uint32_t i = 0; i < l1 && len >= 0; i++) {
        uint64_t entry = load_le64(data + PARALLELS_BITMAP_SIZE + 8 * (size_t)i);
        if (entry > PARALLELS_BITMAP_ONES && entry <= (uint64_t)len / SECTOR) {
            s->data_end = MAX(s->data_end, (int64_t)entry * SECTOR + s->cluster);
        }
    }
    return ret;
}

int64_t parallels_ext_end(struct parallels *s)
{
    uint8_t *cluster;
    if (load_cluster(s, &cluster, NULL) < 0) {
        return 0;
    }
    if (check_cluster(s, cluster, NULL) == 0) {
        s->data_end = MAX(s->data_end, ext_offset(s) + s->cluster);
        (void)each_feature(s, cluster, count_bitmap, NULL);
    }
    mem_free(cluster);
    return s->data_end;
}
