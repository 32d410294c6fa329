/*
 * QED tables (spec: "Tables"): from guest offsets to host offsets, and linking new clusters.
 */
#include "ref/format/qed/qed.h"

#include <assert.h>
#include <errno.h>

#define MAX_PAGES 32 /* of an L2 table, in one answer */

struct table_ref qed_l1(const struct qed *s)
{
    return (struct table_ref){s->l1_offset, s->table_bytes, LABEL_TABLE_LOAD, LABEL_L1_UPDATE};
}

struct table_ref qed_l2(const struct qed *s, uint64_t offset)
{
    return (struct table_ref){offset, s->table_bytes, LABEL_L2_LOAD, LABEL_L2_UPDATE};
}

static bool extent_valid(const struct qed *s, uint64_t offset, uint64_t bytes)
{
    uint64_t header = qed_header_get_header_size(s->header) * s->cluster_size;
    return IS_ALIGNED(offset, s->cluster_size) && offset >= MAX(header, s->cluster_size) &&
           offset < s->valid_end && bytes <= s->valid_end - offset;
}

bool qed_table_offset_valid(const struct qed *s, uint64_t offset)
{
    return extent_valid(s, offset, s->table_bytes);
}

bool qed_cluster_offset_valid(const struct qed *s, uint64_t offset)
{
    return extent_valid(s, offset, s->cluster_size);
}

/* The entry at index and, in *n, how many (at most max) go on as it began; a few pages are looked
 * at. */
static int same_kind(struct qed *s, const struct table_ref *l2, uint64_t index, uint64_t max,
                     uint64_t *first, uint64_t *n, const struct request *r)
{
    const uint8_t *e;
    unsigned have;
    uint64_t step = 0;
    *n = 0;
    for (unsigned pages = 0; pages < MAX_PAGES && *n < max && index + *n < s->entries; pages++) {
        int ret = table_load(&s->tables, l2, index + *n, &e, &have, r);
        if (ret < 0) {
            return ret;
        }
        if (*n == 0) {
            *first = load_le64(e);
            step = *first > QED_ENTRY_ZERO ? s->cluster_size : 0;
        }
        for (unsigned i = 0; i < have; i++, (*n)++) {
            if (load_le64(e + 8 * (size_t)i) != *first + *n * step) {
                return 0;
            }
        }
    }
    return 0;
}

static int find_locked(struct qed *s, uint64_t offset, uint64_t bytes, struct qed_map *m,
                       const struct request *r)
{
    const uint8_t *e;
    unsigned n;
    uint64_t cluster = offset / s->cluster_size, in_cluster = offset % s->cluster_size;
    struct table_ref l1 = qed_l1(s);
    int ret = table_load(&s->tables, &l1, cluster / s->entries, &e, &n, r);
    if (ret < 0) {
        return ret;
    }
    uint64_t first = 0, clusters;
    m->l2_offset = load_le64(e);
    if (m->l2_offset == 0) {
        clusters = s->entries - cluster % s->entries;
    } else {
        if (!qed_table_offset_valid(s, m->l2_offset)) {
            return -EINVAL;
        }
        struct table_ref l2 = qed_l2(s, m->l2_offset);
        ret = same_kind(s, &l2, cluster % s->entries,
                        (in_cluster + bytes - 1) / s->cluster_size + 1, &first, &clusters, r);
        if (ret < 0) {
            return ret;
        }
    }
    m->bytes = MIN(bytes, clusters * s->cluster_size - in_cluster);
    m->type = first == 0 ? QED_UNALLOCATED : first == QED_ENTRY_ZERO ? QED_ZERO : QED_DATA;
    m->host = 0;
    if (m->type == QED_DATA) {
        uint64_t last = first + (in_cluster + m->bytes - 1) / s->cluster_size * s->cluster_size;
        if (!qed_cluster_offset_valid(s, first)) {
            return -EINVAL;
        }
        if (!qed_cluster_offset_valid(s, last)) {
            m->bytes = s->valid_end - first - in_cluster; /* the first cluster is whole */
        }
        m->host = first + in_cluster;
    }
    return 0;
}

int qed_find(struct qed *s, uint64_t offset, uint64_t bytes, struct qed_map *m,
             const struct request *r)
{
    assert(bytes > 0);
    co_lock(s->w, &s->lock);
    int ret = s->dead ? -ENOMEDIUM : find_locked(s, offset, bytes, m, r);
    co_unlock(s->w, &s->lock);
    return ret;
}

/* A new, empty L2 table at the end of the file; with a backing file it is stable before L1 names
 * it. */
static int new_l2(struct qed *s, uint64_t l2_offset, const struct request *r)
{
    struct table_ref l2 = qed_l2(s, l2_offset);
    return table_clear(&s->tables, &l2, r);
}

static int link_locked(struct qed *s, uint64_t cluster, unsigned n, uint64_t entry, uint64_t step,
                       uint64_t l2_offset, const struct request *r)
{
    uint8_t e[TABLE_PAGE] = {0};
    struct table_ref l1 = qed_l1(s);
    bool fresh = l2_offset == 0;
    int ret = 0;
    if (fresh) {
        l2_offset = s->file_end;
        s->file_end += s->table_bytes;
        s->valid_end = s->file_end;
        ret = new_l2(s, l2_offset, r);
    }
    struct table_ref l2 = qed_l2(s, l2_offset);
    for (unsigned i = 0; i < n; i++) {
        store_le64(e + 8 * (size_t)i, entry + i * step);
    }
    ret = ret < 0 ? ret : table_store(&s->tables, &l2, cluster % s->entries, e, n, r);
    if (ret == 0 && fresh && s->n->backing) {
        ret = child_flush(s->n->file, r);
    }
    if (ret == 0 && fresh) {
        store_le64(e, l2_offset);
        ret = table_store(&s->tables, &l1, cluster / s->entries, e, 1, r);
    }
    return ret;
}

int qed_link(struct qed *s, uint64_t offset, unsigned n, uint64_t entry, uint64_t step,
             uint64_t l2_offset, const struct request *r)
{
    if (s->file_end > (uint64_t)INT64_MAX - s->table_bytes) {
        return -EFBIG;
    }
    co_lock(s->w, &s->lock);
    s->valid_end = s->file_end;
    int ret = link_locked(s, offset / s->cluster_size, n, entry, step, l2_offset, r);
    co_unlock(s->w, &s->lock);
    return ret;
}

int qed_block_status(struct node *n, bool precise, int64_t offset, int64_t bytes,
                     struct status *out)
{
    struct qed *s = qed_state(n);
    struct qed_map m;
    int ret = qed_find(s, (uint64_t)offset, (uint64_t)bytes, &m, NULL);
    if (ret < 0) {
        return ret;
    }
    *out = (struct status){.bytes = (int64_t)m.bytes};
    if (m.type == QED_ZERO) {
        out->flags = STATUS_ZERO | STATUS_ALLOCATED;
    } else if (m.type == QED_DATA) {
        out->flags = STATUS_DATA | STATUS_ALLOCATED | STATUS_OFFSET_VALID;
        out->map = (int64_t)m.host;
        out->file = n->file->node;
    }
    return 0;
}
