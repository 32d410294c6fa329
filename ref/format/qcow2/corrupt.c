/*
 * qcow2 against damage: overlap checks before writes, the corrupt bit, and what is said about it.
 *
 * A write must not hit the image's own metadata; which sections are looked at is the option
 * overlap-check. A fatal finding sets the corrupt bit on disk and the image takes no more requests;
 * others are said once.
 */
#include "ref/format/qcow2/qcow2.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>

static const char *const section_names[] = {
    "qcow2_header",      "active L1 table",   "active L2 table",
    "refcount block",    "refcount table",    "snapshot table",
    "inactive L1 table", "inactive L2 table", "bitmap directory",
};

void qcow2_signal_corruption(struct qcow2 *s, bool fatal, int64_t offset, int64_t size,
                             const char *fmt, ...)
{
    /* An image that nobody may write to cannot be marked. */
    fatal = fatal && !s->n->read_only && !(s->n->open_flags & OPEN_INACTIVE);
    if (s->dead || (s->signaled_corruption && !fatal)) {
        return;
    }
    va_list ap;
    va_start(ap, fmt);
    char *msg = str_vfmt(fmt, ap);
    va_end(ap);
    if (fatal) {
        world_report(
            s->w, REPORT_PLAIN,
            "qcow2: Marking image as corrupt: %s; further corruption events will be suppressed\n",
            msg);
    } else {
        world_report(
            s->w, REPORT_PLAIN,
            "qcow2: Image is corrupt: %s; further non-fatal corruption events will be suppressed\n",
            msg);
    }
    mem_free(msg);
    if (fatal) {
        qcow2_mark_corrupt(s);
        s->dead = true;
    }
    s->signaled_corruption = true;
}

struct range {
    uint64_t offset, end;
};

static bool hits(struct range w, uint64_t offset, uint64_t bytes)
{
    return bytes && offset < w.end && w.offset < offset + bytes;
}

/* Any entry of a table (host order) that points at a cluster inside the range. */
static bool table_hits(const struct qcow2 *s, struct range w, const uint64_t *table, uint64_t n,
                       uint64_t mask)
{
    for (uint64_t i = 0; i < n; i++) {
        uint64_t offset = table[i] & mask;
        if (offset && hits(w, offset, s->cluster_size)) {
            return true;
        }
    }
    return false;
}

/* L2 tables of the snapshots, read from their L1 tables on disk: 1, 0 or -errno. */
static int inactive_l2_hit(struct qcow2 *s, struct range w)
{
    for (uint32_t i = 0; s->snapshots && i < s->nb_snapshots; i++) {
        struct qcow2_snapshot *sn = &s->snapshots[i];
        int ret =
            qcow2_validate_table(s, sn->l1_offset, sn->l1_size, 8, QCOW2_MAX_L1_BYTES, "", NULL);
        if (ret < 0) {
            return ret;
        }
        uint64_t *l1 = mem_try_array(sn->l1_size ? sn->l1_size : 1, 8);
        if (!l1) {
            return -ENOMEM;
        }
        ret = child_pread(s->n->file, (int64_t)sn->l1_offset, l1, (int64_t)sn->l1_size * 8,
                          LABEL_SNAPSHOT_L1_LOAD, NULL);
        for (uint32_t k = 0; k < sn->l1_size; k++) {
            l1[k] = load_be64(&l1[k]);
        }
        bool hit = ret == 0 && table_hits(s, w, l1, sn->l1_size, L1_OFFSET_MASK);
        mem_free(l1);
        if (ret < 0 || hit) {
            return ret < 0 ? ret : 1;
        }
    }
    return 0;
}

int qcow2_check_overlap(struct qcow2 *s, unsigned ignore, uint64_t offset, uint64_t bytes)
{
    unsigned chk = s->overlap_check & ~ignore;
    if (bytes == 0 || chk == 0) {
        return 0;
    }
    struct range w = {start_of_cluster(s, offset), ROUND_UP(offset + bytes, s->cluster_size)};
    if ((chk & OL_MAIN_HEADER) && w.offset < s->cluster_size) {
        return OL_MAIN_HEADER;
    }
    if ((chk & OL_ACTIVE_L1) && hits(w, s->l1_offset, (uint64_t)s->l1_size * 8)) {
        return OL_ACTIVE_L1;
    }
    if ((chk & OL_ACTIVE_L2) && table_hits(s, w, s->l1, s->l1_size, L1_OFFSET_MASK)) {
        return OL_ACTIVE_L2;
    }
    if ((chk & OL_REFCOUNT_BLOCK) &&
        table_hits(s, w, s->reftable, s->reftable_used, REFT_OFFSET_MASK)) {
        return OL_REFCOUNT_BLOCK;
    }
    if ((chk & OL_REFCOUNT_TABLE) && hits(w, s->reftable_offset, (uint64_t)s->reftable_size * 8)) {
        return OL_REFCOUNT_TABLE;
    }
    if ((chk & OL_SNAPSHOT_TABLE) && hits(w, s->snapshots_offset, s->snapshots_size)) {
        return OL_SNAPSHOT_TABLE;
    }
    for (uint32_t i = 0; (chk & OL_INACTIVE_L1) && s->snapshots && i < s->nb_snapshots; i++) {
        if (hits(w, s->snapshots[i].l1_offset, (uint64_t)s->snapshots[i].l1_size * 8)) {
            return OL_INACTIVE_L1;
        }
    }
    if ((chk & OL_INACTIVE_L2) && s->nb_snapshots) {
        int ret = inactive_l2_hit(s, w);
        if (ret) {
            return ret < 0 ? ret : OL_INACTIVE_L2;
        }
    }
    if ((chk & OL_BITMAP_DIRECTORY) && (s->autoclear & QCOW2_AUTOCLEAR_BITMAPS) &&
        hits(w, s->bitmap_dir_offset, s->bitmap_dir_size)) {
        return OL_BITMAP_DIRECTORY;
    }
    return 0;
}

int qcow2_pre_write_overlap(struct qcow2 *s, unsigned ignore, uint64_t offset, uint64_t bytes,
                            bool data_file)
{
    if (data_file && has_data_file(s)) {
        return 0;
    }
    int hit = qcow2_check_overlap(s, ignore, offset, bytes);
    if (hit <= 0) {
        return hit;
    }
    const char *name = section_names[__builtin_ctz((unsigned)hit)];
    qcow2_signal_corruption(s, true, (int64_t)offset, (int64_t)bytes,
                            "Preventing invalid write on metadata (overlaps with %s)", name);
    return -EIO;
}
