/*
 * qcow2 spec checker: bitmap directory, tables and the tail of bitmap data.  Without the auto-clear
 * bit the extension is void and nothing is looked at (FEAT-17).
 */
#include <string.h>

#include "specs/runtime/qcow2_check_int.h"

/* Bytes of the bitmap's data, from the virtual size. */
static uint64_t data_bytes(const struct walk *w, const uint8_t *entry)
{
    unsigned g = qcow2_bitmap_dir_entry_get_granularity_bits(entry);
    uint64_t bits = spec_shr(w->info->size, g);
    bits += g < 64 ? (bits << g) != w->info->size : w->info->size != 0;
    return bits / 8 + (bits % 8 != 0);
}

/* The bits behind the bitmap's end in its last cluster. */
static void check_tail(struct walk *w, const uint8_t *entry, uint64_t cluster)
{
    unsigned g = qcow2_bitmap_dir_entry_get_granularity_bits(entry);
    uint64_t bytes = data_bytes(w, entry);
    uint64_t bits =
        spec_shr(w->info->size, g) + ((w->info->size & spec_sub(spec_shl(1, g), 1)) != 0);
    uint64_t used = bytes % w->q.cluster_size;
    if (bytes == 0 || (used == 0 && bits % 8 == 0)) {
        return;
    }
    used = used ? used : w->q.cluster_size;
    const uint8_t *p = walk_read(w, w->inner, cluster + used - 1, 1);
    bool clean = p && (bits % 8 == 0 || *p >> (bits % 8) == 0);
    if (!clean || !walk_zero(w, cluster + used, w->q.cluster_size - used)) {
        spec_report_add(w->r, "BMV-2", SPEC_CORRUPTION, cluster + used - 1, bits, 0,
                        "bits behind a bitmap's end are set");
    }
}

static void check_table(struct walk *w, const uint8_t *entry, bool current)
{
    uint64_t table = qcow2_bitmap_dir_entry_get_bitmap_table_offset(entry);
    uint32_t entries = qcow2_bitmap_dir_entry_get_bitmap_table_size(entry);
    walk_ref(w, table, (uint64_t)entries * QCOW2_BITMAP_TABLE_ENTRY_SIZE, K_BITMAP_TABLE, 0);
    for (uint32_t i = 0; i < entries && walk_work(w, 1); i++) {
        uint64_t at = table + (uint64_t)i * QCOW2_BITMAP_TABLE_ENTRY_SIZE;
        const uint8_t *p = walk_read(w, w->inner, at, QCOW2_BITMAP_TABLE_ENTRY_SIZE);
        if (!p) {
            return;
        }
        uint64_t cluster = qcow2_bitmap_table_entry_get_offset(p);
        if (walk_check(w, "bitmap_table_entry", p, at) || cluster == 0) {
            continue;
        }
        walk_ref(w, cluster, w->q.cluster_size, K_BITMAP_DATA, at);
        if (current && i == entries - 1) {
            check_tail(w, entry, cluster);
        }
    }
}

static void advise(struct walk *w, const uint8_t *entry, uint64_t at)
{
    unsigned g = qcow2_bitmap_dir_entry_get_granularity_bits(entry);
    unsigned name = qcow2_bitmap_dir_entry_get_name_size(entry);
    if (g < QCOW2_MIN_BITMAP_GRANULARITY_BITS || g > QCOW2_MAX_BITMAP_GRANULARITY_BITS) {
        spec_report_add(w->r, "BMD-11", SPEC_ADVICE, at, g, 0, "granularity of 2^%u bytes", g);
    }
    if (name > QCOW2_MAX_BITMAP_NAME) {
        spec_report_add(w->r, "BMD-13", SPEC_ADVICE, at, name, 0, "bitmap name of %u bytes", name);
    }
    if (qcow2_bitmap_dir_entry_get_extra_data_size(entry)) {
        spec_report_add(w->r, "BMD-14", SPEC_ADVICE, at, 0, 0, "a bitmap has extra data");
    }
}

/* One bitmap, its entry lying inside the directory. */
static void check_bitmap(struct walk *w, const uint8_t *entry, uint64_t at,
                         struct cluster_map *names)
{
    uint64_t name = at + qcow2_bitmap_dir_entry_name_pos(entry);
    uint64_t name_size = qcow2_bitmap_dir_entry_get_name_size(entry);
    uint64_t table = qcow2_bitmap_dir_entry_get_bitmap_table_offset(entry);
    uint64_t bytes = (uint64_t)qcow2_bitmap_dir_entry_get_bitmap_table_size(entry) * 8;
    unsigned bad = walk_check(w, "bitmap_dir_entry", entry, at);
    advise(w, entry, at);
    if (walk_seen_name(w, names, name, name_size)) {
        spec_report_add(w->r, "BMD-16", SPEC_CORRUPTION, at, 0, 0, "a bitmap's name occurs twice");
    }
    if (!walk_zero(w, name + name_size,
                   at + qcow2_bitmap_dir_entry_total_size(entry) - name - name_size)) {
        spec_report_add(w->r, "BMD-17", SPEC_CORRUPTION, at, 0, 0,
                        "a directory entry's padding is not zero");
    }
    bool current = !(qcow2_bitmap_dir_entry_get_flags(entry) & QCOW2_BITMAP_FLAG_IN_USE);
    uint64_t data = data_bytes(w, entry);
    uint64_t want = (data >> w->q.cluster_bits) + ((data & (w->q.cluster_size - 1)) != 0);
    if (current && bytes / 8 != want) {
        spec_report_add(w->r, "BM-1", SPEC_CORRUPTION, at, bytes / 8, want,
                        "bitmap table of %llu entries instead of %llu",
                        (unsigned long long)bytes / 8, (unsigned long long)want);
    }
    if (bytes && !walk_inside(w, table, bytes)) {
        spec_report_add(w->r, "BMT-1", SPEC_CORRUPTION, at, table, bytes,
                        "bitmap table at 0x%llx is not inside the file", (unsigned long long)table);
    } else if (!bad) {
        check_table(w, entry, current && bytes / 8 == want);
    }
}

static void check_directory(struct walk *w, uint64_t start, uint64_t size, uint32_t nr)
{
    struct cluster_map names;
    uint8_t entry[QCOW2_BITMAP_DIR_ENTRY_SIZE];
    uint64_t pos = 0;
    uint32_t i;
    cluster_map_init(&names, 1 << 20);
    for (i = 0; i < nr && size - pos >= sizeof(entry); i++) {
        const uint8_t *p = walk_read(w, w->outer, start + pos, sizeof(entry));
        if (!p) {
            break;
        }
        memcpy(entry, p, sizeof(entry));
        uint64_t total = qcow2_bitmap_dir_entry_total_size(entry);
        if (total > size - pos) {
            spec_report_add(w->r, "BMD-2", SPEC_CORRUPTION, start + pos, total, size - pos,
                            "entry %u leaves the bitmap directory", i);
            break;
        }
        check_bitmap(w, entry, start + pos, &names);
        pos += total;
    }
    if (!w->error && (i < nr || pos != size)) {
        spec_report_add(w->r, "BMX-5", SPEC_CORRUPTION, start, pos, size,
                        "%u of %u entries fill %llu of the directory's %llu bytes", i, nr,
                        (unsigned long long)pos, (unsigned long long)size);
    }
    cluster_map_free(&names);
}

void check_bitmaps(struct walk *w)
{
    if (!(w->info->autoclear & QCOW2_AUTOCLEAR_BITMAPS)) {
        return;
    }
    if (!w->info->has_bitmaps_extension) {
        spec_report_add(w->r, "FEAT-16", SPEC_CORRUPTION, QCOW2_HEADER_AUTOCLEAR_FEATURES_OFF, 1, 0,
                        "bitmaps bit without a bitmaps extension");
    }
    if (!w->has_bitmaps) {
        return;
    }
    unsigned bad = walk_check(w, "bitmap_ext", w->bitmaps, 0);
    uint32_t nr = qcow2_bitmap_ext_get_nb_bitmaps(w->bitmaps);
    uint64_t size = qcow2_bitmap_ext_get_bitmap_directory_size(w->bitmaps);
    uint64_t start = qcow2_bitmap_ext_get_bitmap_directory_offset(w->bitmaps);
    if (nr > QCOW2_MAX_BITMAPS) {
        spec_report_add(w->r, "BMX-3", SPEC_ADVICE, 0, nr, QCOW2_MAX_BITMAPS, "%u bitmaps", nr);
    }
    if (!walk_inside(w, start, size)) {
        spec_report_add(w->r, "BMD-1", SPEC_CORRUPTION, 0, start, size,
                        "bitmap directory at 0x%llx is not inside the file",
                        (unsigned long long)start);
        return;
    }
    if (!bad) {
        walk_ref(w, start, size, K_BITMAP_DIRECTORY, 0);
        check_directory(w, start, size, nr);
    }
}
