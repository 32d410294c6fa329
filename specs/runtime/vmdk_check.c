/*
 * The spec checker of vmdk: see vmdk_check.h.  Every range of the file that something refers to is
 * noted, and at the end they are sorted: neighbours that overlap are a violation.
 */
#include "specs/runtime/vmdk_check.h"

#include <string.h>

#include "specs/runtime/arith.h"
#include "specs/runtime/walk.h"
#include "specs/vmdk_layout.h"

#define PIECE 4096

enum range_kind { R_HEADER, R_DESCRIPTOR, R_DIRECTORY, R_TABLE, R_GRAIN };
static const char *const range_names[] = {"header", "descriptor", "directory", "table", "grain"};

struct walk {
    struct spec_walk s;
    struct spec_vmdk_info *info;
    struct vmdk_params params;
    uint64_t gd_entries, gt_entries, gd, rgd; /* bytes */
    bool zeroed, markers;
};

static void clash(struct spec_walk *w, const struct spec_range *a, const struct spec_range *b)
{
    bool grains = a->kind == R_GRAIN || b->kind == R_GRAIN;
    spec_walk_tell_overlap(w, grains ? "GT-3" : "GD-3", range_names, a, b);
}

/* ---- grains ---- */

/* STR-1, STR-3: the marker; bytes of the whole grain. */
static uint64_t check_packed(struct walk *w, uint64_t host, uint64_t guest, uint64_t at)
{
    uint8_t m[VMDK_MARKER_SIZE];
    uint64_t grain = w->info->grain_size * VMDK_SECTOR;
    if (!w->markers || !spec_walk_get(&w->s, host, m, sizeof(m))) {
        return VMDK_SECTOR;
    }
    uint64_t size = vmdk_marker_get_size(m), head = VMDK_MARKER_GRAIN_SIZE;
    const uint8_t *z = m + head; /* two bytes of a zlib stream's head */
    if (vmdk_marker_get_value(m) != guest) {
        spec_report_add(w->s.r, "STR-1", SPEC_CORRUPTION, host, vmdk_marker_get_value(m), guest,
                        "the marker of the grain of sector %llu says another one",
                        (unsigned long long)guest);
    }
    if (size == 0 || size > 2 * grain || spec_add(host, head + size) > w->s.image->size) {
        spec_report_add(w->s.r, "STR-3", SPEC_CORRUPTION, host, size, 2 * grain,
                        "a compressed grain of %llu bytes", (unsigned long long)size);
        return VMDK_SECTOR;
    }
    if ((z[0] & 15) != 8 || (z[0] * 256 + z[1]) % 31 != 0) {
        spec_report_add(w->s.r, "STR-1", SPEC_CORRUPTION, host, z[0], 0x78, "no zlib stream");
    }
    (void)at;
    return (head + size + VMDK_SECTOR - 1) / VMDK_SECTOR * VMDK_SECTOR;
}

static void check_grain(struct walk *w, uint32_t sector, uint64_t guest, uint64_t at)
{
    uint64_t host = (uint64_t)sector * VMDK_SECTOR, bytes = w->info->grain_size * VMDK_SECTOR;
    if (sector == 0 || (sector == VMDK_GTE_ZEROED && w->zeroed)) {
        w->info->zeroed_grains += sector != 0;
        return;
    }
    w->info->grains++;
    /* A writer gives what is behind the end to nobody else where it is the rest of a whole grain.
     */
    bool whole = w->info->compressed || host % bytes == 0 || spec_walk_inside(&w->s, host, bytes);
    if (host >= w->s.image->size || !whole) {
        spec_report_add(w->s.r, "GT-2", SPEC_CORRUPTION, at, sector, 0,
                        "the grain of sector %llu is, or ends, behind the end of the file",
                        (unsigned long long)guest);
        return;
    }
    if (guest >= w->info->sectors) {
        return; /* behind the end of the disk: nobody reads it */
    }
    bytes = w->info->compressed ? check_packed(w, host, guest, at) : bytes;
    spec_walk_note(&w->s, host, bytes, R_GRAIN, at);
}

/* The entries of a table against their copy's, and each for itself. */
static void check_table(struct walk *w, uint64_t table, uint64_t copy, uint64_t first)
{
    uint8_t a[PIECE], b[PIECE];
    const uint64_t n = PIECE / VMDK_GT_ENTRY_SIZE;
    for (uint64_t i = 0; i < w->gt_entries; i += n) {
        uint64_t here = w->gt_entries - i < n ? w->gt_entries - i : n;
        size_t bytes = (size_t)here * VMDK_GT_ENTRY_SIZE;
        uint64_t at = table + i * VMDK_GT_ENTRY_SIZE;
        if (!spec_walk_get(&w->s, at, a, bytes) ||
            (copy && !spec_walk_get(&w->s, copy + i * VMDK_GT_ENTRY_SIZE, b, bytes))) {
            return;
        }
        for (uint64_t k = 0; k < here && !w->s.error; k++) {
            const uint8_t *p = a + k * VMDK_GT_ENTRY_SIZE, *q = b + k * VMDK_GT_ENTRY_SIZE;
            uint64_t where = at + k * VMDK_GT_ENTRY_SIZE;
            if (copy && memcmp(p, q, VMDK_GT_ENTRY_SIZE) != 0) {
                spec_report_add(w->s.r, "GT-4", SPEC_CORRUPTION, where, vmdk_gt_entry_get_sector(p),
                                vmdk_gt_entry_get_sector(q), "an entry differs from its copy");
            }
            check_grain(w, vmdk_gt_entry_get_sector(p), (first + i + k) * w->info->grain_size,
                        where);
        }
    }
}

/* ---- directories ---- */

/* Notes the table of an entry; false where there is none that can be read. */
static bool take_table(struct walk *w, uint64_t table, uint64_t at)
{
    uint64_t bytes = w->gt_entries * VMDK_GT_ENTRY_SIZE;
    uint64_t end = (w->s.image->size + VMDK_SECTOR - 1) / VMDK_SECTOR * VMDK_SECTOR;
    if (table == 0) {
        return false;
    }
    if (spec_add(table, bytes) > end) {
        spec_report_add(w->s.r, "GD-2", SPEC_CORRUPTION, at, table / VMDK_SECTOR, 0,
                        "a grain table at 0x%llx is not inside the file",
                        (unsigned long long)table);
        return false;
    }
    spec_walk_note(&w->s, table, bytes, R_TABLE, at);
    return true;
}

static void check_directories(struct walk *w)
{
    for (uint64_t i = 0; i < w->gd_entries && !w->s.error; i++) {
        uint8_t a[VMDK_GD_ENTRY_SIZE], b[VMDK_GD_ENTRY_SIZE] = {0};
        uint64_t at = w->gd + i * sizeof(a), copy_at = w->rgd + i * sizeof(b);
        if (!spec_walk_get(&w->s, at, a, sizeof(a)) ||
            (w->rgd && !spec_walk_get(&w->s, copy_at, b, sizeof(b)))) {
            return;
        }
        uint64_t table = (uint64_t)vmdk_gd_entry_get_sector(a) * VMDK_SECTOR;
        uint64_t copy = (uint64_t)vmdk_gd_entry_get_sector(b) * VMDK_SECTOR;
        if (w->rgd && !table != !copy) {
            spec_report_add(w->s.r, "GD-4", SPEC_CORRUPTION, at, table, copy,
                            "only one directory has table %llu", (unsigned long long)i);
        }
        bool has_table = take_table(w, table, at);
        copy = w->rgd && take_table(w, copy, copy_at) ? copy : 0;
        if (has_table) {
            w->info->tables++;
            check_table(w, table, copy, i * w->gt_entries);
        }
    }
}

/* Whether a directory of all its entries is in the file. */
static bool note_directory(struct walk *w, uint64_t sector, const char *clause, uint64_t *place)
{
    uint64_t bytes = w->gd_entries * VMDK_GD_ENTRY_SIZE;
    *place = spec_mul(sector, VMDK_SECTOR);
    if (spec_add(*place, bytes) > w->s.image->size) {
        spec_report_add(w->s.r, clause, SPEC_CORRUPTION, 0, sector, w->s.image->size,
                        "a grain directory at sector 0x%llx is not inside the file",
                        (unsigned long long)sector);
        return false;
    }
    spec_walk_note(&w->s, *place, bytes, R_DIRECTORY, 0);
    return true;
}

/* ---- headers ---- */

static void check(struct walk *w, const char *structure, const uint8_t *p, uint64_t offset)
{
    w->params.grain_size = w->info->grain_size;
    spec_walk_check(&w->s, structure, p, offset);
}

/* HDR-10: the header that counts is at the end. */
static bool take_footer(struct walk *w, uint8_t *h)
{
    uint8_t last[3 * VMDK_SECTOR];
    const uint8_t *end = last + 2 * VMDK_SECTOR;
    uint64_t at = spec_sub(w->s.image->size / VMDK_SECTOR * VMDK_SECTOR, sizeof(last));
    if (!spec_walk_get(&w->s, at, last, sizeof(last))) {
        return false;
    }
    memcpy(h, last + VMDK_SECTOR, VMDK_HEADER_SIZE);
    if (at < VMDK_SECTOR || vmdk_marker_get_size(last) != 0 ||
        vmdk_marker_get_type(last) != VMDK_MARKER_FOOTER ||
        vmdk_header_get_magic(h) != VMDK_MAGIC || vmdk_marker_get_value(end) != 0 ||
        vmdk_marker_get_size(end) != 0 || vmdk_marker_get_type(end) != VMDK_MARKER_END) {
        spec_report_add(w->s.r, "HDR-10", SPEC_CORRUPTION, at, 0, 0, "there is no footer");
        return false;
    }
    check(w, "header", h, at + VMDK_SECTOR);
    spec_walk_note(&w->s, at, sizeof(last), R_HEADER, at);
    return true;
}

static void take_hosted(struct walk *w, const uint8_t *h)
{
    uint32_t flags = vmdk_header_get_flags(h);
    w->info->sectors = vmdk_header_get_capacity(h);
    w->info->grain_size = vmdk_header_get_grain_size(h);
    w->info->compressed = vmdk_header_get_compress_algorithm(h) == VMDK_DEFLATE;
    w->info->redundant = flags & VMDK_FLAGS_REDUNDANT;
    w->zeroed = flags & VMDK_FLAGS_ZEROED_GRAIN;
    w->markers = flags & VMDK_FLAGS_MARKERS;
    w->gt_entries = vmdk_header_get_gtes_per_gt(h);
}

static void check_hosted(struct walk *w, uint8_t *h)
{
    uint64_t descriptor = vmdk_header_get_descriptor_offset(h);
    uint64_t text = vmdk_header_get_descriptor_size(h);
    check(w, "header", h, 0);
    spec_walk_note(&w->s, 0, VMDK_HEADER_SIZE, R_HEADER, 0);
    if (descriptor && text < 2048) {
        spec_walk_note(&w->s, spec_mul(descriptor, VMDK_SECTOR), text * VMDK_SECTOR, R_DESCRIPTOR,
                       0);
    }
    bool at_end = vmdk_header_get_gd_offset(h) == VMDK_GD_AT_END;
    if (at_end && !take_footer(w, h)) {
        return;
    }
    take_hosted(w, h);
    uint64_t covered = spec_mul(w->info->grain_size, w->gt_entries);
    if (covered == 0 || w->info->grain_size > VMDK_MAX_GRAIN || w->gt_entries > VMDK_MAX_GTES) {
        return;
    }
    w->gd_entries = spec_div(spec_add(w->info->sectors, covered - 1), covered);
    if (w->gd_entries >= VMDK_MAX_GDES) {
        spec_report_add(w->s.r, "HDR-6", SPEC_CORRUPTION, VMDK_HEADER_CAPACITY_OFF, w->gd_entries,
                        VMDK_MAX_GDES, "the grain directory is too large");
        return;
    }
    uint64_t overhead = vmdk_header_get_overhead(h);
    if (spec_mul(overhead, VMDK_SECTOR) >
        spec_add(w->s.image->size, VMDK_SECTOR - 1) / VMDK_SECTOR * VMDK_SECTOR) {
        spec_report_add(w->s.r, "HDR-7", SPEC_CORRUPTION, VMDK_HEADER_OVERHEAD_OFF, overhead,
                        w->s.image->size, "the file is shorter than its metadata");
    }
    bool copy =
        w->info->redundant && note_directory(w, vmdk_header_get_rgd_offset(h), "HDR-6", &w->rgd);
    w->rgd = copy ? w->rgd : 0;
    if (note_directory(w, vmdk_header_get_gd_offset(h), "HDR-6", &w->gd)) {
        check_directories(w);
    }
}

static void check_cowd(struct walk *w)
{
    uint8_t h[VMDK_COWD_SIZE];
    if (!spec_walk_get(&w->s, 0, h, sizeof(h))) {
        return;
    }
    w->info->sectors = vmdk_cowd_get_sectors(h);
    w->info->grain_size = vmdk_cowd_get_grain_size(h);
    check(w, "cowd", h, 0);
    spec_walk_note(&w->s, 0, VMDK_COWD_SIZE, R_HEADER, 0);
    w->gt_entries = VMDK_COWD_GTES;
    w->gd_entries = vmdk_cowd_get_gd_entries(h);
    if (w->info->grain_size == 0 || w->info->grain_size > VMDK_MAX_GRAIN ||
        w->gd_entries >= VMDK_MAX_GDES) {
        return;
    }
    if (note_directory(w, vmdk_cowd_get_gd_offset(h), "COW-3", &w->gd)) {
        check_directories(w);
    }
}

/* The volatile header, where the constant one says it is. */
static void check_sesparse(struct walk *w, const uint8_t *h)
{
    uint8_t v[VMDK_SE_VOLATILE_SIZE];
    uint64_t at = spec_mul(vmdk_se_header_get_volatile_offset(h), VMDK_SECTOR);
    check(w, "se_header", h, 0);
    if (at < UINT64_MAX / 2 && spec_walk_get(&w->s, at, v, sizeof(v))) {
        check(w, "se_volatile", v, at);
    }
}

static void check_all(struct walk *w)
{
    uint8_t h[VMDK_HEADER_SIZE];
    if (!spec_walk_get(&w->s, 0, h, sizeof(h))) {
        return;
    }
    if (vmdk_header_get_magic(h) == VMDK_COWD_MAGIC) {
        check_cowd(w);
    } else if (vmdk_se_header_get_magic(h) == VMDK_SE_MAGIC) {
        check_sesparse(w, h);
    } else if (vmdk_header_get_magic(h) == VMDK_MAGIC) {
        check_hosted(w, h);
    } else {
        check(w, "header", h, 0);
    }
    spec_walk_overlaps(&w->s, clash);
}

int spec_vmdk_check(const struct spec_image *image, const struct spec_limits *limits,
                    struct spec_vmdk_info *info, struct spec_report *r)
{
    struct spec_vmdk_info unused;
    info = info ? info : &unused;
    *info = (struct spec_vmdk_info){0};
    struct walk w = {.info = info};
    spec_walk_init(&w.s, image, spec_vmdk(), limits, r);
    w.s.params = &w.params;
    check_all(&w);
    return spec_walk_end(&w.s);
}

static int read_memory(void *opaque, uint64_t offset, void *buf, size_t len)
{
    memcpy(buf, (const uint8_t *)opaque + offset, len);
    return 0;
}

int spec_vmdk_check_memory(const uint8_t *image, uint64_t size, struct spec_vmdk_info *info,
                           struct spec_report *r)
{
    struct spec_image i = {read_memory, (void *)image, size};
    return spec_vmdk_check(&i, NULL, info, r);
}
