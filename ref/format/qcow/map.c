/*
 * qcow tables: from guest offsets to host offsets, and linking new clusters (specs/qcow.yaml, TAB).
 */
#include "ref/format/qcow/qcow.h"

#include <assert.h>
#include <errno.h>

static struct table_ref l1_table(const struct qcow *s)
{
    return (struct table_ref){s->l1_offset, s->l1_size * 8, LABEL_TABLE_LOAD, LABEL_L1_UPDATE};
}

static struct table_ref l2_table(const struct qcow *s, uint64_t offset)
{
    return (struct table_ref){offset, s->l2_entries * 8, LABEL_L2_LOAD, LABEL_L2_UPDATE};
}

static enum qcow_type type_of(uint64_t entry)
{
    return entry == 0                           ? QCOW_UNALLOCATED
           : qcow_l2_entry_compressed_of(entry) ? QCOW_COMPRESSED
                                                : QCOW_DATA;
}

/* The entry at index and, in *n, how many (at most max) go on as it began. */
static int same_kind(struct qcow *s, const struct table_ref *l2, uint64_t index, uint64_t max,
                     uint64_t *first, uint64_t *n, const struct request *r)
{
    const uint8_t *e;
    unsigned have;
    uint64_t step = 0;
    *n = 0;
    while (*n < max && index + *n < s->l2_entries) {
        int ret = table_load(&s->tables, l2, index + *n, &e, &have, r);
        if (ret < 0) {
            return ret;
        }
        if (*n == 0) {
            *first = load_be64(e);
            step = type_of(*first) == QCOW_DATA ? s->cluster_size : 0;
        }
        for (unsigned i = 0; i < have; i++, (*n)++) {
            if (load_be64(e + 8 * (size_t)i) != *first + *n * step ||
                (*n && type_of(*first) == QCOW_COMPRESSED)) {
                return 0;
            }
        }
    }
    return 0;
}

static int find_locked(struct qcow *s, uint64_t offset, uint64_t bytes, struct qcow_map *m,
                       const struct request *r)
{
    const uint8_t *e;
    unsigned n;
    uint64_t cluster = offset >> s->cluster_bits, in_cluster = offset & (s->cluster_size - 1);
    struct table_ref l1 = l1_table(s);
    int ret = table_load(&s->tables, &l1, cluster >> s->l2_bits, &e, &n, r);
    if (ret < 0) {
        return ret;
    }
    uint64_t clusters = s->l2_entries - (cluster & (s->l2_entries - 1));
    m->l2_offset = load_be64(e);
    m->entry = 0;
    if (m->l2_offset) {
        struct table_ref l2 = l2_table(s, m->l2_offset);
        ret = same_kind(s, &l2, cluster & (s->l2_entries - 1),
                        ((in_cluster + bytes - 1) >> s->cluster_bits) + 1, &m->entry, &clusters, r);
        if (ret < 0) {
            return ret;
        }
    }
    m->type = type_of(m->entry);
    m->bytes = MIN(bytes, (clusters << s->cluster_bits) - in_cluster);
    m->host = 0;
    if (m->type == QCOW_DATA) {
        if (m->entry > (uint64_t)INT64_MAX - in_cluster - m->bytes) {
            return -EIO;
        }
        m->host = m->entry + in_cluster;
    }
    return 0;
}

int qcow_find(struct qcow *s, uint64_t offset, uint64_t bytes, struct qcow_map *m,
              const struct request *r)
{
    assert(bytes > 0);
    co_lock(s->w, &s->lock);
    int ret = find_locked(s, offset, bytes, m, r);
    co_unlock(s->w, &s->lock);
    return ret;
}

/* A new L2 table at the end of the file, all zeroes. */
static int new_l2(struct qcow *s, uint64_t *offset, const struct request *r)
{
    *offset = ROUND_UP(s->file_end, s->cluster_size);
    if (*offset > (uint64_t)INT64_MAX - s->l2_entries * 8) {
        return -EFBIG;
    }
    s->file_end = *offset + s->l2_entries * 8;
    struct table_ref l2 = l2_table(s, *offset);
    return table_clear(&s->tables, &l2, r);
}

static int link_locked(struct qcow *s, uint64_t cluster, unsigned n, uint64_t entry, uint64_t step,
                       enum label label, const struct request *r)
{
    uint8_t e[TABLE_PAGE] = {0};
    const uint8_t *old;
    unsigned have;
    struct table_ref l1 = l1_table(s);
    int ret = table_load(&s->tables, &l1, cluster >> s->l2_bits, &old, &have, r);
    if (ret < 0) {
        return ret;
    }
    uint64_t l2_offset = load_be64(old);
    bool fresh = l2_offset == 0;
    ret = fresh ? new_l2(s, &l2_offset, r) : 0;
    struct table_ref l2 = l2_table(s, l2_offset);
    l2.update = label;
    for (unsigned i = 0; i < n; i++) {
        store_be64(e + 8 * (size_t)i, entry + i * step);
    }
    ret = ret < 0 ? ret : table_store(&s->tables, &l2, cluster & (s->l2_entries - 1), e, n, r);
    if (ret == 0 && fresh) {
        ret = child_flush(s->n->file, r);
    }
    if (ret == 0 && fresh) {
        store_be64(e, l2_offset);
        ret = table_store(&s->tables, &l1, cluster >> s->l2_bits, e, 1, r);
    }
    return ret;
}

int qcow_link(struct qcow *s, uint64_t offset, unsigned n, uint64_t entry, uint64_t step,
              enum label label, const struct request *r)
{
    co_lock(s->w, &s->lock);
    int ret = link_locked(s, offset >> s->cluster_bits, n, entry, step, label, r);
    co_unlock(s->w, &s->lock);
    return ret;
}

int qcow_block_status(struct node *n, bool precise, int64_t offset, int64_t bytes,
                      struct status *out)
{
    struct qcow_map m;
    int ret = qcow_find(qcow_state(n), (uint64_t)offset, (uint64_t)bytes, &m, NULL);
    if (ret < 0) {
        return ret;
    }
    *out = (struct status){.bytes = (int64_t)m.bytes};
    if (m.type == QCOW_COMPRESSED) {
        out->flags = STATUS_DATA | STATUS_ALLOCATED | STATUS_COMPRESSED;
    } else if (m.type == QCOW_DATA && n->encrypted) {
        out->flags = STATUS_DATA | STATUS_ALLOCATED; /* what the host has says nothing */
    } else if (m.type == QCOW_DATA) {
        out->flags = STATUS_DATA | STATUS_ALLOCATED | STATUS_OFFSET_VALID;
        out->map = (int64_t)m.host;
        out->file = n->file->node;
    }
    return 0;
}
