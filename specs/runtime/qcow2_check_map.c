/*
 * qcow2 spec checker: L1 and L2 tables, subclusters, snapshots.
 */
#include <string.h>

#include "specs/runtime/qcow2_check_int.h"

static unsigned l2_entry_size(const struct walk *w)
{
    return w->q.extended_l2 ? QCOW2_L2_ENTRY_EXTENDED_SIZE : QCOW2_L2_ENTRY_SIZE;
}

static uint64_t l2_entries(const struct walk *w)
{
    return w->q.cluster_size / l2_entry_size(w);
}

uint64_t l1_needed(const struct walk *w, uint64_t disk_size)
{
    uint64_t covered = l2_entries(w) << w->q.cluster_bits;
    return disk_size / covered + (disk_size % covered != 0);
}

static void check_compressed(struct walk *w, const uint8_t *p, uint64_t at)
{
    unsigned bits = (unsigned)w->q.cluster_bits;
    walk_check(w, "l2_compressed", p, at);
    if (w->q.extended_l2 && load_be64(p + QCOW2_L2_ENTRY_SIZE)) {
        spec_report_add(w->r, "XL2-10", SPEC_CORRUPTION, at + QCOW2_L2_ENTRY_SIZE, load_be64(p + 8),
                        0, "a compressed cluster has a subcluster bitmap");
    }
    uint64_t offset = qcow2_l2_compressed_get_host_offset(p, bits);
    uint64_t sectors = qcow2_l2_compressed_get_additional_sectors(p, bits) + 1;
    offset -= offset % QCOW2_COMPRESSED_SECTOR;
    walk_ref(w, offset, sectors * QCOW2_COMPRESSED_SECTOR, K_COMPRESSED, at);
    w->info->compressed_clusters += w->q.active;
}

/* With an external data file host and guest offsets are the same. */
static void check_external(struct walk *w, const uint8_t *p, uint64_t guest, bool allocated,
                           uint64_t at)
{
    uint64_t offset = qcow2_l2_entry_get_offset(p);
    if (!allocated) {
        return;
    }
    if (offset != guest) {
        spec_report_add(w->r, "FEAT-7", SPEC_CORRUPTION, at, offset, guest,
                        "guest cluster 0x%llx is at 0x%llx of the data file",
                        (unsigned long long)guest, (unsigned long long)offset);
    }
    if (!qcow2_l2_entry_get_copied(p)) {
        spec_report_add(w->r, "L2-4", SPEC_ADVICE, at, 0, 1,
                        "bit 63 is clear with an external data file");
    }
}

static void check_standard(struct walk *w, const uint8_t *p, uint64_t guest, uint64_t at)
{
    uint64_t offset = qcow2_l2_entry_get_offset(p);
    bool allocated = offset || qcow2_l2_entry_get_copied(p);
    walk_check(w, "l2_entry", p, at);
    if (w->q.extended_l2) {
        const uint8_t *bitmap = p + QCOW2_L2_ENTRY_SIZE;
        walk_check(w, "l2_bitmap", bitmap, at + QCOW2_L2_ENTRY_SIZE);
        if (qcow2_l2_bitmap_get_alloc(bitmap) && !allocated) {
            spec_report_add(w->r, "XL2-6", SPEC_CORRUPTION, at, 0, 0,
                            "subclusters without a host offset");
        }
    }
    if (w->q.active) {
        w->info->zero_clusters += qcow2_l2_entry_get_zero(p);
        w->info->data_clusters += allocated && !qcow2_l2_entry_get_zero(p);
    }
    if (w->q.data_file) {
        check_external(w, p, guest, allocated, at);
    } else if (offset) {
        if (offset >= w->image->size) {
            spec_report_add(w->r, "GEN-4", SPEC_ADVICE, at, offset, w->image->size,
                            "data at 0x%llx is behind the end of the file",
                            (unsigned long long)offset);
        }
        walk_ref(w, offset, w->q.cluster_size, K_DATA, at);
    }
}

static void check_l2(struct walk *w, uint64_t offset, uint64_t guest)
{
    unsigned size = l2_entry_size(w);
    const uint64_t n = l2_entries(w);
    const uint8_t *p;
    for (uint64_t i = 0; (i = walk_next_entry(w, w->inner, offset, i, n, size, &p)) < n; i++) {
        uint64_t at = offset + i * size;
        if (qcow2_l2_entry_get_compressed(p)) {
            check_compressed(w, p, at);
        } else {
            check_standard(w, p, spec_add(guest, i << w->q.cluster_bits), at);
        }
    }
}

static uint64_t next_l1_entry(struct walk *w, uint64_t l1, uint64_t i, uint32_t entries,
                              const uint8_t **p)
{
    return walk_next_entry(w, w->outer, l1, i, entries, QCOW2_L1_ENTRY_SIZE, p);
}

void check_l1(struct walk *w, uint64_t offset, uint32_t entries, enum qcow2_kind kind)
{
    w->q.active = kind == K_L1;
    walk_ref(w, offset, (uint64_t)entries * QCOW2_L1_ENTRY_SIZE, kind, 0);
    const uint8_t *p;
    for (uint64_t i = 0; (i = next_l1_entry(w, offset, i, entries, &p)) < entries; i++) {
        uint64_t at = offset + i * QCOW2_L1_ENTRY_SIZE;
        uint64_t l2 = qcow2_l1_entry_get_offset(p);
        unsigned bad = walk_check(w, "l1_entry", p, at);
        if (l2 == 0 || (bad && l2 % w->q.cluster_size)) {
            continue;
        }
        if (l2 >= w->image->size) {
            spec_report_add(w->r, "MAP-2", SPEC_CORRUPTION, at, l2, w->image->size,
                            "L2 table at 0x%llx is behind the end of the file",
                            (unsigned long long)l2);
            continue;
        }
        walk_ref(w, l2, w->q.cluster_size, K_L2, at);
        check_l2(w, l2, spec_mul(i, l2_entries(w) << w->q.cluster_bits));
    }
}

/*
 * Bit 63 against the refcount: the stored one, or with the dirty bit (where stored ones are not to
 * be trusted) the one that was counted.
 */
static void judge_copied(struct walk *w, uint64_t cluster_offset, bool copied, uint64_t at,
                         const char *set, const char *clear)
{
    struct cluster_ref *ref = cluster_map_find(&w->map, cluster_offset >> w->q.cluster_bits);
    uint64_t refcount = !ref ? 0 : w->dirty ? ref->count : ref->stored;
    if (copied != (refcount == 1)) {
        spec_report_add(w->r, copied ? set : clear, SPEC_CORRUPTION, at, copied, refcount == 1,
                        "bit 63 is %s, the refcount of 0x%llx is %llu", copied ? "set" : "clear",
                        (unsigned long long)cluster_offset, (unsigned long long)refcount);
    }
}

static void copied_l2(struct walk *w, uint64_t offset)
{
    unsigned size = l2_entry_size(w);
    const uint64_t n = l2_entries(w);
    const uint8_t *p;
    for (uint64_t i = 0; (i = walk_next_entry(w, w->inner, offset, i, n, size, &p)) < n; i++) {
        uint64_t host = qcow2_l2_entry_get_offset(p);
        if (!qcow2_l2_entry_get_compressed(p) && host && host % w->q.cluster_size == 0) {
            judge_copied(w, host, qcow2_l2_entry_get_copied(p), offset + i * size, "L2-2", "L2-13");
        }
    }
}

void check_copied(struct walk *w)
{
    uint32_t entries = qcow2_header_get_l1_size(w->header);
    uint64_t offset = qcow2_header_get_l1_table_offset(w->header);
    if (!walk_inside(w, offset, (uint64_t)entries * QCOW2_L1_ENTRY_SIZE)) {
        return;
    }
    const uint8_t *p;
    for (uint64_t i = 0; (i = next_l1_entry(w, offset, i, entries, &p)) < entries; i++) {
        uint64_t at = offset + i * QCOW2_L1_ENTRY_SIZE;
        uint64_t l2 = qcow2_l1_entry_get_offset(p);
        if (l2 == 0 || l2 % w->q.cluster_size || l2 >= w->image->size) {
            continue;
        }
        judge_copied(w, l2, qcow2_l1_entry_get_copied(p), at, "L1-5", "L1-6");
        if (!w->q.data_file) {
            copied_l2(w, l2);
        }
    }
}

/* The L1 table of one snapshot; entry has the fixed part and the known extra data. */
static void check_snapshot_l1(struct walk *w, const uint8_t *entry, uint64_t at)
{
    uint64_t l1 = qcow2_snapshot_get_l1_table_offset(entry);
    uint32_t entries = qcow2_snapshot_get_l1_size(entry);
    bool sized = qcow2_snapshot_get_extra_data_size(entry) >= QCOW2_SNAPSHOT_EXTRA_V3_SIZE;
    uint64_t needed = sized ? l1_needed(w, qcow2_snapshot_get_disk_size(entry)) : 0;
    if (entries < needed) {
        spec_report_add(w->r, "SNAP-13", SPEC_CORRUPTION, at, entries, needed,
                        "snapshot's L1 table has %u entries of %llu", entries,
                        (unsigned long long)needed);
    }
    if (entries && !walk_inside(w, l1, (uint64_t)entries * QCOW2_L1_ENTRY_SIZE)) {
        spec_report_add(w->r, "SNAP-14", SPEC_CORRUPTION, at, l1, 0,
                        "snapshot's L1 table at 0x%llx is not inside the file",
                        (unsigned long long)l1);
        return;
    }
    if (l1 % w->q.cluster_size == 0) {
        check_l1(w, l1, entries, K_SNAPSHOT_L1);
    }
}

void check_snapshots(struct walk *w)
{
    enum { KNOWN = QCOW2_SNAPSHOT_SIZE + QCOW2_SNAPSHOT_EXTRA_FULL_SIZE };
    struct cluster_map ids;
    uint8_t entry[KNOWN];
    uint64_t start = qcow2_header_get_snapshots_offset(w->header), pos = start;
    cluster_map_init(&ids, 1 << 20);
    for (uint32_t i = 0; i < w->info->nb_snapshots; i++) {
        const uint8_t *p = walk_read(w, w->outer, pos, KNOWN);
        if (!p) {
            break;
        }
        memcpy(entry, p, KNOWN);
        uint64_t total = qcow2_snapshot_total_size(entry);
        if (!walk_inside(w, pos, total)) {
            spec_report_add(w->r, "SNAP-3", SPEC_CORRUPTION, pos, i, w->info->nb_snapshots,
                            "entry %u of the snapshot table is not inside the file", i);
            break;
        }
        walk_check(w, "snapshot", entry, pos);
        if (walk_seen_name(w, &ids, pos + qcow2_snapshot_id_pos(entry),
                           qcow2_snapshot_get_id_size(entry))) {
            spec_report_add(w->r, "SNAP-11", SPEC_CORRUPTION, pos, i, 0,
                            "a snapshot's ID occurs twice");
        }
        check_snapshot_l1(w, entry, pos);
        pos += total;
    }
    walk_ref(w, start, pos - start, K_SNAPSHOT_TABLE, QCOW2_HEADER_SNAPSHOTS_OFFSET_OFF);
    cluster_map_free(&ids);
}
