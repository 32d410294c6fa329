/*
 * Writing qcow2's snapshot table (spec: "Snapshots"): a new table in new clusters, then the header
 * in one write, then the old table's clusters are freed.  A power cut finds the old table or the
 * new one.
 */
#include "ref/format/qcow2/qcow2.h"

#include <errno.h>

/* Bytes of an entry; extra data is written with all fields that have a meaning, whatever the
 * version. */
static uint64_t entry_bytes(const struct qcow2_snapshot *sn)
{
    return QCOW2_SNAPSHOT_SIZE + QCOW2_SNAPSHOT_EXTRA_FULL_SIZE + (uint64_t)sn->unknown_extra_size +
           strlen(sn->id) + strlen(sn->name);
}

static uint64_t put_entry(uint8_t *p, const struct qcow2_snapshot *sn)
{
    size_t id = strlen(sn->id), name = strlen(sn->name);
    qcow2_snapshot_set_l1_table_offset(p, sn->l1_offset);
    qcow2_snapshot_set_l1_size(p, sn->l1_size);
    qcow2_snapshot_set_id_size(p, (uint16_t)id);
    qcow2_snapshot_set_name_size(p, (uint16_t)name);
    qcow2_snapshot_set_date_sec(p, sn->date_sec);
    qcow2_snapshot_set_date_nsec(p, sn->date_nsec);
    qcow2_snapshot_set_vm_clock_nsec(p, sn->vm_clock_nsec);
    /* A size that does not fit stands in the extra data alone. */
    qcow2_snapshot_set_vm_state_size(
        p, sn->vm_state_size <= UINT32_MAX ? (uint32_t)sn->vm_state_size : 0);
    qcow2_snapshot_set_extra_data_size(p, QCOW2_SNAPSHOT_EXTRA_FULL_SIZE + sn->unknown_extra_size);
    qcow2_snapshot_set_vm_state_size_large(p, sn->vm_state_size);
    qcow2_snapshot_set_disk_size(p, sn->disk_size);
    qcow2_snapshot_set_icount(p, sn->icount);
    uint8_t *q = p + QCOW2_SNAPSHOT_SIZE + QCOW2_SNAPSHOT_EXTRA_FULL_SIZE;
    if (sn->unknown_extra_size) {
        memcpy(q, sn->unknown_extra, sn->unknown_extra_size);
    }
    q += sn->unknown_extra_size;
    memcpy(q, sn->id, id);
    memcpy(q + id, sn->name, name);
    return entry_bytes(sn);
}

static int table_bytes(const struct qcow2 *s, uint64_t *bytes)
{
    *bytes = 0;
    for (uint32_t i = 0; i < s->nb_snapshots; i++) {
        *bytes = ROUND_UP(*bytes, 8) + entry_bytes(&s->snapshots[i]);
        if (*bytes > QCOW2_MAX_SNAPSHOT_TABLE) {
            return -EFBIG;
        }
    }
    return s->nb_snapshots > QCOW2_MAX_SNAPSHOTS ? -EFBIG : 0;
}

static int write_table(struct qcow2 *s, uint64_t offset, uint64_t bytes)
{
    int ret = qcow2_cache_flush(s->refblock_cache, NULL);
    ret = ret < 0 ? ret : qcow2_pre_write_overlap(s, 0, offset, bytes, false);
    uint8_t *buf = ret == 0 ? mem_try_zalloc(bytes) : NULL;
    if (!buf) {
        return ret < 0 ? ret : -ENOMEM;
    }
    uint64_t pos = 0;
    for (uint32_t i = 0; i < s->nb_snapshots; i++) {
        pos = ROUND_UP(pos, 8);
        pos += put_entry(buf + pos, &s->snapshots[i]);
    }
    ret = child_pwrite_sync(s->n->file, (int64_t)offset, buf, (int64_t)bytes,
                            LABEL_SNAPSHOT_TABLE_WRITE, NULL);
    mem_free(buf);
    return ret;
}

int qcow2_write_snapshots(struct qcow2 *s)
{
    uint64_t bytes;
    int64_t offset = 0;
    int ret = table_bytes(s, &bytes);
    if (ret == 0 && bytes) {
        offset = qcow2_alloc_clusters(s, bytes);
        ret = offset < 0 ? (int)offset : write_table(s, (uint64_t)offset, bytes);
        if (ret < 0 && offset > 0) {
            qcow2_free_clusters(s, (uint64_t)offset, bytes, DISCARD_ALWAYS);
        }
    }
    ret = ret < 0 ? ret : qcow2_flush_caches(s, NULL);
    if (ret < 0) {
        return ret;
    }
    uint8_t head[12];
    store_be32(head, s->nb_snapshots);
    store_be64(head + 4, (uint64_t)offset);
    ret = child_pwrite_sync(s->n->file, QCOW2_HEADER_NB_SNAPSHOTS_OFF, head, sizeof(head),
                            LABEL_HEADER_UPDATE, NULL);
    s->header_unsure |= ret < 0;
    if (ret < 0) {
        return ret; /* not known which table the header names: both stay allocated */
    }
    uint64_t old_offset = s->snapshots_offset, old_bytes = s->snapshots_size;
    s->snapshots_offset = (uint64_t)offset;
    s->snapshots_size = bytes;
    qcow2_free_clusters(s, old_offset, old_bytes, DISCARD_SNAPSHOT);
    return 0;
}
