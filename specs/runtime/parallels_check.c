/*
 * The spec checker of Parallels images: see format_checks.h.
 *
 * Models: header, BAT, clusters that overlap, lie below the data area, beside its grid or behind
 * the end of the file, or that nothing refers to; the format extension with its digest, features,
 * and the place and shape of dirty bitmaps.  Leaves out: what bitmaps say; unknown features.
 */
#include <nettle/md5.h>
#include <string.h>

#include "specs/runtime/arith.h"
#include "specs/runtime/format_checks.h"
#include "specs/runtime/walk.h"
#include "specs/parallels_layout.h"

#define SECTOR 512

enum { R_META, R_EXT, R_BITMAP, R_DATA };
static const char *const names[] = {"header and BAT", "format extension", "bitmap cluster",
                                    "cluster"};

struct parallels_walk {
    struct spec_walk s;
    struct parallels_params params;
    uint64_t cluster, unit; /* bytes; of a BAT entry */
    uint64_t data, sectors; /* where the data area begins, bytes; of the disk */
};

static void clash(struct spec_walk *w, const struct spec_range *a, const struct spec_range *b)
{
    spec_walk_tell_overlap(w, "BAT-4", names, a, b);
}

/* A cluster that anything refers to: on the grid of the data area. */
static void take(struct parallels_walk *q, uint64_t offset, unsigned kind, uint64_t at)
{
    if (offset < q->data) {
        spec_report_add(q->s.r, "BAT-2", SPEC_CORRUPTION, at, offset, q->data,
                        "%s at 0x%llx is below the data area", names[kind],
                        (unsigned long long)offset);
        return;
    }
    if ((offset - q->data) % q->cluster) {
        spec_report_add(q->s.r, "BAT-5", SPEC_CORRUPTION, at, offset, q->data,
                        "%s at 0x%llx is not at a cluster of the data area", names[kind],
                        (unsigned long long)offset);
    }
    spec_walk_note(&q->s, offset, q->cluster, kind, at);
}

static void visit_entry(struct spec_walk *w, uint64_t index, const uint8_t *p, uint64_t at)
{
    struct parallels_walk *q = (struct parallels_walk *)w;
    if (!spec_walk_check(w, "bat_entry", p, at)) {
        take(q, parallels_bat_entry_get_offset(p) * q->unit, R_DATA, at);
    }
}

/* ---- the format extension ---- */

static void check_digest(struct parallels_walk *q, const uint8_t *head, uint64_t at)
{
    uint8_t buf[4096], digest[MD5_DIGEST_SIZE];
    struct md5_ctx md5;
    md5_init(&md5);
    for (uint64_t done = PARALLELS_EXT_HEADER_SIZE; done < q->cluster;) {
        uint64_t left = q->cluster - done;
        size_t n = left < sizeof(buf) ? (size_t)left : sizeof(buf);
        if (!spec_walk_get(&q->s, at + done, buf, n)) {
            return;
        }
        md5_update(&md5, n, buf);
        done += n;
    }
    md5_digest(&md5, sizeof(digest), digest);
    if (memcmp(digest, head + PARALLELS_EXT_HEADER_CHECKSUM_OFF, sizeof(digest)) != 0) {
        spec_report_add(q->s.r, "EXT-2", SPEC_CORRUPTION, at, 0, 0,
                        "the format extension does not have its digest");
    }
}

static void visit_bitmap(struct spec_walk *w, uint64_t index, const uint8_t *p, uint64_t at)
{
    struct parallels_walk *q = (struct parallels_walk *)w;
    uint64_t offset = spec_mul(load_le64(p), SECTOR);
    if (load_le64(p) == PARALLELS_BITMAP_ONES) {
        return;
    }
    if (!spec_walk_inside(w, offset, 1)) {
        spec_report_add(w->r, "BM-4", SPEC_CORRUPTION, at, offset, w->image->size,
                        "a bitmap's cluster is behind the end of the file");
        return;
    }
    take(q, offset, R_BITMAP, at);
}

static void check_bitmap(struct parallels_walk *q, uint64_t at, uint64_t bytes)
{
    uint8_t b[PARALLELS_BITMAP_SIZE];
    if (bytes < sizeof(b) || !spec_walk_get(&q->s, at, b, sizeof(b))) {
        spec_report_add(q->s.r, "BM-3", SPEC_CORRUPTION, at, bytes, sizeof(b),
                        "a bitmap of %llu bytes", (unsigned long long)bytes);
        return;
    }
    uint64_t size = parallels_bitmap_get_size(b), n = parallels_bitmap_get_l1_size(b);
    uint64_t bits = spec_div(spec_add(size, parallels_bitmap_get_granularity(b) - 1),
                             parallels_bitmap_get_granularity(b));
    uint64_t need = spec_add(spec_add(bits, 7) / 8, q->cluster - 1) / q->cluster;
    spec_walk_check(&q->s, "bitmap", b, at);
    if (size != q->sectors) {
        spec_report_add(q->s.r, "BM-1", SPEC_CORRUPTION, at, size, q->sectors,
                        "a bitmap of %llu sectors", (unsigned long long)size);
    }
    if (n != need || n * 8 > bytes - sizeof(b)) {
        spec_report_add(q->s.r, "BM-3", SPEC_CORRUPTION, at, n, need,
                        "a bitmap's table has %llu entries", (unsigned long long)n);
        return;
    }
    spec_walk_table(&q->s, at + sizeof(b), n, 8, true, visit_bitmap);
}

/* Feature by feature, up to the end mark; each takes at least its head. */
static void check_features(struct parallels_walk *q, uint64_t ext)
{
    uint8_t f[PARALLELS_FEATURE_SIZE];
    uint64_t at = PARALLELS_EXT_HEADER_SIZE;
    while (at + sizeof(f) <= q->cluster && spec_walk_work(&q->s, SECTOR) &&
           spec_walk_get(&q->s, ext + at, f, sizeof(f))) {
        uint64_t bytes = parallels_feature_get_data_size(f);
        if (parallels_feature_get_magic(f) == PARALLELS_FEATURE_END) {
            if (bytes || parallels_feature_get_flags(f)) {
                spec_report_add(q->s.r, "EXT-3", SPEC_CORRUPTION, ext + at, bytes, 0,
                                "the end mark of the features is not zero");
            }
            return;
        }
        at += sizeof(f);
        if (bytes > q->cluster - at) {
            break;
        }
        if (parallels_feature_get_magic(f) == PARALLELS_FEATURE_BITMAP) {
            check_bitmap(q, ext + at, bytes);
        }
        at += (bytes + 7) / 8 * 8;
    }
    spec_report_add(q->s.r, "EXT-3", SPEC_CORRUPTION, ext + at, 0, 0, "the features do not end");
}

static void check_extension(struct parallels_walk *q, uint64_t at)
{
    uint8_t head[PARALLELS_EXT_HEADER_SIZE];
    if (!spec_walk_inside(&q->s, at, q->cluster) || q->cluster < sizeof(head)) {
        spec_report_add(q->s.r, "EXT-5", SPEC_CORRUPTION, PARALLELS_HEADER_EXT_OFF_OFF, at,
                        q->s.image->size, "the format extension is not inside the file");
        return;
    }
    take(q, at, R_EXT, PARALLELS_HEADER_EXT_OFF_OFF);
    if (!spec_walk_get(&q->s, at, head, sizeof(head)) ||
        spec_walk_check(&q->s, "ext_header", head, at)) {
        return;
    }
    check_digest(q, head, at);
    check_features(q, at);
}

/* ---- the header ---- */

/* HDR-1; whether BAT entries count clusters. */
static bool take_magic(struct parallels_walk *q, const uint8_t *h, bool *extended)
{
    *extended = memcmp(h, "WithouFreSpacExt", 16) == 0;
    if (!*extended && memcmp(h, "WithoutFreeSpace", 16) != 0) {
        spec_report_add(q->s.r, "HDR-1", SPEC_CORRUPTION, 0, 0, 0, "the magic is not known");
        return false;
    }
    return true;
}

static void walk_all(struct parallels_walk *q, struct spec_state *state)
{
    uint8_t h[PARALLELS_HEADER_SIZE];
    struct spec_walk *w = &q->s;
    bool extended;
    if (!spec_walk_get(w, 0, h, sizeof(h)) || !take_magic(q, h, &extended)) {
        return;
    }
    uint64_t n = parallels_header_get_nb_bat_entries(h), data = parallels_header_get_data_off(h);
    uint64_t meta = PARALLELS_HEADER_SIZE + n * PARALLELS_BAT_ENTRY_SIZE;
    q->cluster = parallels_header_get_tracks(h) * (uint64_t)SECTOR;
    q->unit = extended ? q->cluster : SECTOR;
    q->sectors = parallels_header_get_nb_sectors(h) & (extended ? UINT64_MAX : UINT32_MAX);
    q->data = data ? data * SECTOR : (meta + SECTOR - 1) / SECTOR * SECTOR;
    spec_walk_check(w, "header", h, 0);
    if (parallels_header_get_version(h) != PARALLELS_VERSION || q->cluster == 0) {
        return;
    }
    if (parallels_header_get_in_use(h) == PARALLELS_IN_USE) {
        state->condition = "in_use";
        spec_report_add(w->r, "HDR-9", SPEC_TOLERATED, PARALLELS_HEADER_IN_USE_OFF, 0, 0,
                        "the image was not closed");
    }
    if (!spec_walk_inside(w, 0, meta) || meta > q->data) {
        spec_report_add(w->r, "BAT-7", SPEC_CORRUPTION, PARALLELS_HEADER_NB_BAT_ENTRIES_OFF, meta,
                        q->data, "the BAT reaches into the data area or is not inside the file");
        return;
    }
    spec_walk_note(w, 0, meta, R_META, 0);
    q->params.clusters_in_file = spec_add(w->image->size, q->unit - 1) / q->unit;
    if (parallels_header_get_flags(h) & PARALLELS_FLAG_EMPTY) {
        return;
    }
    spec_walk_table(w, PARALLELS_HEADER_SIZE, n, PARALLELS_BAT_ENTRY_SIZE, true, visit_entry);
    if (parallels_header_get_ext_off(h)) {
        check_extension(q, spec_mul(parallels_header_get_ext_off(h), SECTOR));
    }
    spec_walk_overlaps(w, clash);
    spec_walk_leaks(w, q->data, w->image->size, q->cluster, "BAT-6");
}

int spec_parallels_check(const struct spec_image *image, const struct spec_limits *limits,
                         struct spec_state *state, struct spec_report *r)
{
    struct parallels_walk q = {.cluster = 0};
    spec_walk_init(&q.s, image, spec_parallels(), limits, r);
    q.s.params = &q.params;
    walk_all(&q, state);
    return spec_walk_end(&q.s);
}
