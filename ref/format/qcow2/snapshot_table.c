/*
 * Reading qcow2's snapshot table (spec: "Snapshots") into memory.
 *
 * Sizes of the variable parts are checked before anything is allocated for them.  A repair takes
 * what is too much away: extra data of an entry, and entries behind the limit of the table's size.
 * Writing the table and all that uses it is in snapshot.c.
 */
#include "ref/format/qcow2/qcow2.h"

#include <errno.h>
#include <inttypes.h>

enum { FIXED = 40, KNOWN_EXTRA = 24 }; /* fixed part of an entry; extra data that has a meaning */

void qcow2_free_snapshots(struct qcow2 *s)
{
    for (uint32_t i = 0; s->snapshots && i < s->nb_snapshots; i++) {
        mem_free(s->snapshots[i].id);
        mem_free(s->snapshots[i].name);
        mem_free(s->snapshots[i].unknown_extra);
    }
    mem_free(s->snapshots);
    s->snapshots = NULL;
    s->nb_snapshots = 0;
}

static int read_at(struct qcow2 *s, uint64_t offset, void *buf, size_t len)
{
    return len ? child_pread(s->n->file, (int64_t)offset, buf, (int64_t)len,
                             LABEL_SNAPSHOT_TABLE_LOAD, NULL)
               : 0;
}

static int read_extra(struct qcow2 *s, struct qcow2_snapshot *sn, uint64_t offset)
{
    uint8_t x[KNOWN_EXTRA];
    uint32_t known = MIN(sn->extra_size, (uint32_t)KNOWN_EXTRA);
    int ret = read_at(s, offset, x, known);
    if (ret < 0) {
        return ret;
    }
    if (known >= 8) {
        sn->vm_state_size = load_be64(x);
    }
    if (known >= 16) {
        sn->disk_size = load_be64(x + 8);
    }
    if (known >= 24) {
        sn->icount = load_be64(x + 16);
    }
    if (ret == 0 && sn->extra_size > KNOWN_EXTRA) {
        sn->unknown_extra_size = sn->extra_size - KNOWN_EXTRA;
        sn->unknown_extra = mem_alloc(sn->unknown_extra_size);
        ret = read_at(s, offset + KNOWN_EXTRA, sn->unknown_extra, sn->unknown_extra_size);
    }
    return ret;
}

/* What reading goes on with. */
struct reader {
    struct qcow2 *s;
    bool repair;
    uint64_t offset;  /* on disk */
    uint64_t length;  /* of the table without what a repair trims */
    uint32_t trimmed; /* entries that lost extra data */
};

static void parse_fixed(const struct qcow2 *s, struct qcow2_snapshot *sn, const uint8_t *h)
{
    sn->l1_offset = qcow2_snapshot_get_l1_table_offset(h);
    sn->l1_size = qcow2_snapshot_get_l1_size(h);
    sn->date_sec = qcow2_snapshot_get_date_sec(h);
    sn->date_nsec = qcow2_snapshot_get_date_nsec(h);
    sn->vm_clock_nsec = qcow2_snapshot_get_vm_clock_nsec(h);
    sn->vm_state_size = qcow2_snapshot_get_vm_state_size(h);
    sn->extra_size = qcow2_snapshot_get_extra_data_size(h);
    sn->disk_size = s->virtual_size;
    sn->icount = UINT64_MAX;
}

static int limit_extra(struct reader *r, struct qcow2_snapshot *sn, uint32_t i, struct error **err)
{
    if (sn->extra_size <= QCOW2_MAX_SNAPSHOT_EXTRA) {
        return 0;
    }
    if (!r->repair) {
        int ret =
            error_set(err, EFBIG, "Too much extra metadata in snapshot table entry %" PRIu32, i);
        error_hint(err, "You can force-remove this extra metadata with qemu-img check -r all\n");
        return ret;
    }
    world_report(r->s->w, REPORT_PLAIN,
                 "Discarding too much extra metadata in snapshot table entry %" PRIu32 " (%" PRIu32
                 " > %d)\n",
                 i, sn->extra_size, QCOW2_MAX_SNAPSHOT_EXTRA);
    sn->extra_size = QCOW2_MAX_SNAPSHOT_EXTRA;
    r->trimmed++;
    return 0;
}

/* One entry; 1 when it does not fit into the table any more. */
static int read_entry(struct reader *r, struct qcow2_snapshot *sn, uint32_t i, struct error **err)
{
    struct qcow2 *s = r->s;
    uint8_t h[FIXED];
    uint64_t offset = ROUND_UP(r->offset, 8);
    r->length = ROUND_UP(r->length, 8);
    int ret = read_at(s, offset, h, FIXED);
    if (ret < 0) {
        return error_set_errno(err, -ret, "Failed to read snapshot table");
    }
    parse_fixed(s, sn, h);
    unsigned id_len = qcow2_snapshot_get_id_size(h), name_len = qcow2_snapshot_get_name_size(h);
    uint32_t extra = sn->extra_size;
    ret = limit_extra(r, sn, i, err);
    if (ret < 0) {
        return ret;
    }
    offset += FIXED;
    ret = read_extra(s, sn, offset);
    offset += extra;
    sn->id = mem_zalloc(id_len + 1);
    sn->name = mem_zalloc(name_len + 1);
    ret = ret < 0 ? ret : read_at(s, offset, sn->id, id_len);
    ret = ret < 0 ? ret : read_at(s, offset + id_len, sn->name, name_len);
    if (ret < 0) {
        return error_set_errno(err, -ret, "Failed to read snapshot table");
    }
    r->offset = offset + id_len + name_len;
    r->length += FIXED + sn->extra_size + id_len + name_len;
    return r->length > QCOW2_MAX_SNAPSHOT_TABLE || r->offset - s->snapshots_offset > INT32_MAX;
}

static void forget_entry(struct qcow2_snapshot *sn)
{
    mem_free(sn->id);
    mem_free(sn->name);
    mem_free(sn->unknown_extra);
    *sn = (struct qcow2_snapshot){0};
}

/* Entries from i on are too many: an error, or they go. */
static int overhang(struct reader *r, uint32_t i, struct error **err)
{
    struct qcow2 *s = r->s;
    uint32_t n = s->nb_snapshots - i;
    if (!r->repair) {
        error_set(err, EFBIG, "Snapshot table is too big");
        error_hint(err,
                   "You can force-remove all %" PRIu32
                   " overhanging snapshots with qemu-img check -r all\n",
                   n);
        return -EFBIG;
    }
    world_report(s->w, REPORT_PLAIN,
                 "Discarding %" PRIu32 " overhanging snapshots (snapshot table is too big)\n", n);
    forget_entry(&s->snapshots[i]);
    s->nb_snapshots = i;
    return 0;
}

int qcow2_read_snapshot_table(struct qcow2 *s, bool repair, uint32_t *removed, uint32_t *trimmed,
                              struct error **err)
{
    uint32_t nb = s->nb_snapshots;
    struct reader r = {.s = s, .repair = repair, .offset = s->snapshots_offset};
    s->snapshots_size = 0;
    *removed = *trimmed = 0;
    if (nb == 0) {
        s->snapshots_offset = 0;
        return 0;
    }
    s->snapshots = mem_try_array(nb, sizeof(*s->snapshots));
    if (!s->snapshots) {
        return error_set(err, ENOMEM, "Could not allocate memory for the snapshot table");
    }
    for (uint32_t i = 0; i < s->nb_snapshots; i++) {
        uint64_t before = r.offset;
        int ret = read_entry(&r, &s->snapshots[i], i, err);
        if (ret > 0) {
            ret = overhang(&r, i, err);
            r.offset = before;
        }
        if (ret < 0) {
            s->nb_snapshots = nb;
            qcow2_free_snapshots(s);
            return ret;
        }
    }
    s->snapshots_size = r.offset - s->snapshots_offset;
    *removed = nb - s->nb_snapshots;
    *trimmed = r.trimmed;
    return 0;
}

int qcow2_read_snapshots(struct qcow2 *s, struct error **err)
{
    uint32_t removed, trimmed;
    return qcow2_read_snapshot_table(s, false, &removed, &trimmed, err);
}
