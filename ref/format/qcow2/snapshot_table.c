/*
 * Reading qcow2's snapshot table (spec: "Snapshots") into memory.
 *
 * Sizes of the variable parts are checked before anything is allocated for them.  Writing the table and all that
 * uses it is in snapshot.c.
 */
#include "ref/format/qcow2/qcow2.h"

#include <errno.h>
#include <inttypes.h>

enum { FIXED = 40, KNOWN_EXTRA = 24 };     /* fixed part of an entry; extra data that has a meaning */

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
    return len ? child_pread(s->n->file, (int64_t)offset, buf, (int64_t)len, LABEL_SNAPSHOT_TABLE_LOAD, NULL) : 0;
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
    if (sn->extra_size > KNOWN_EXTRA) {
        sn->unknown_extra_size = sn->extra_size - KNOWN_EXTRA;
        sn->unknown_extra = mem_alloc(sn->unknown_extra_size);
        ret = read_at(s, offset + KNOWN_EXTRA, sn->unknown_extra, sn->unknown_extra_size);
    }
    return ret;
}

/* One entry at *offset, which moves behind it. */
static int read_entry(struct qcow2 *s, struct qcow2_snapshot *sn, uint32_t i, uint64_t *offset, struct error **err)
{
    uint8_t h[FIXED];
    *offset = ROUND_UP(*offset, 8);
    int ret = read_at(s, *offset, h, FIXED);
    if (ret < 0) {
        return error_set_errno(err, -ret, "Failed to read snapshot table");
    }
    *offset += FIXED;
    sn->l1_offset = load_be64(h);
    sn->l1_size = load_be32(h + 8);
    unsigned id_len = load_be16(h + 12), name_len = load_be16(h + 14);
    sn->date_sec = load_be32(h + 16);
    sn->date_nsec = load_be32(h + 20);
    sn->vm_clock_nsec = load_be64(h + 24);
    sn->vm_state_size = load_be32(h + 32);
    sn->extra_size = load_be32(h + 36);
    sn->disk_size = s->virtual_size;
    sn->icount = UINT64_MAX;
    if (sn->extra_size > QCOW2_MAX_SNAPSHOT_EXTRA) {
        return error_set(err, EFBIG, "Too much extra metadata in snapshot table entry %" PRIu32, i);
    }
    ret = read_extra(s, sn, *offset);
    *offset += sn->extra_size;
    sn->id = mem_zalloc(id_len + 1);
    sn->name = mem_zalloc(name_len + 1);
    if (ret == 0) {
        ret = read_at(s, *offset, sn->id, id_len);
    }
    if (ret == 0) {
        ret = read_at(s, *offset + id_len, sn->name, name_len);
    }
    if (ret < 0) {
        return error_set_errno(err, -ret, "Failed to read snapshot table");
    }
    *offset += id_len + name_len;
    if (*offset - s->snapshots_offset > QCOW2_MAX_SNAPSHOT_TABLE || *offset > INT64_MAX / 2) {
        return error_set(err, EFBIG, "Snapshot table is too big");
    }
    return 0;
}

int qcow2_read_snapshots(struct qcow2 *s, struct error **err)
{
    uint32_t nb = s->nb_snapshots;
    s->snapshots_size = 0;
    if (nb == 0) {
        s->snapshots_offset = 0;
        return 0;
    }
    s->snapshots = mem_try_array(nb, sizeof(*s->snapshots));
    if (!s->snapshots) {
        return error_set(err, ENOMEM, "Could not allocate memory for the snapshot table");
    }
    uint64_t offset = s->snapshots_offset;
    for (uint32_t i = 0; i < nb; i++) {
        int ret = read_entry(s, &s->snapshots[i], i, &offset, err);
        if (ret < 0) {
            qcow2_free_snapshots(s);
            return ret;
        }
    }
    s->snapshots_size = offset - s->snapshots_offset;
    return 0;
}
