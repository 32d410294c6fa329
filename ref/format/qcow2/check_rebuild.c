/*
 * New refcount structures from counted references, when those on disk are beyond repair.
 *
 * Everything that has a reference, old structures too, stays where it is.  First all places are
 * found: for each block the first free cluster of what it covers, or behind; then for the table the
 * first free run of the image. Then blocks and table are written and flushed, then the header is
 * switched: a power cut finds one or the other.
 */
#include "ref/format/qcow2/check.h"

#include <errno.h>
#include <inttypes.h>

struct plan {
    struct check *c;
    uint64_t *table;           /* refcount table, host order */
    uint64_t entries, room;    /* used and allocated entries of `table` */
    uint64_t offset, clusters; /* of the table on disk */
};

/* First run of clusters without a reference from `from` on; takes them. */
static int64_t take_run(struct check *c, uint64_t from, uint64_t clusters)
{
    uint64_t run = 0, i = from;
    for (; run < clusters; i++) {
        run = refmap_get(&c->map, i) ? 0 : run + 1;
    }
    if (i > QCOW2_MAX_HOST_OFFSET >> c->s->cluster_bits) {
        return -EFBIG;
    }
    for (uint64_t k = i - clusters; k < i; k++) {
        uint32_t *count = refmap_at(&c->map, k);
        if (!count) {
            return -ENOMEM;
        }
        *count = 1;
    }
    c->nb_clusters = MAX(c->nb_clusters, i);
    return (int64_t)((i - clusters) << c->s->cluster_bits);
}

static int grow_entries(struct plan *p, uint64_t entries)
{
    if (entries > QCOW2_MAX_REFTABLE_ENTRIES) {
        return -EFBIG;
    }
    if (entries > p->room) {
        uint64_t room = MAX(MAX(entries, p->room * 2), 64);
        uint64_t *t = mem_try_realloc(p->table, room * 8);
        if (!t) {
            return -ENOMEM;
        }
        memset(t + p->room, 0, (room - p->room) * 8);
        p->table = t;
        p->room = room;
    }
    p->entries = MAX(p->entries, entries);
    return 0;
}

/* A block for every part of the image that has a reference; *again when new ones were placed. */
static int place_blocks(struct plan *p, bool *again)
{
    struct check *c = p->c;
    struct refmap_page **pages = NULL;
    size_t used = c->map.used;
    int ret = refmap_sorted(&c->map, &pages);
    *again = false;
    for (size_t i = 0; i < used && ret == 0; i++) {
        bool any = false;
        for (unsigned k = 0; k < REFMAP_PAGE; k++) {
            any = any || pages[i]->count[k];
        }
        uint64_t index = pages[i]->first >> c->s->refblock_bits;
        ret = any ? grow_entries(p, index + 1) : 0;
        if (any && ret == 0 && p->table[index] == 0) {
            int64_t offset = take_run(c, index << c->s->refblock_bits, 1);
            ret = offset < 0 ? (int)offset : 0;
            p->table[index] = (uint64_t)offset;
            *again = true;
        }
    }
    mem_free(pages);
    return ret;
}

static void give_table_back(struct plan *p)
{
    uint64_t first = p->offset >> p->c->s->cluster_bits;
    for (uint64_t k = first; k < first + p->clusters; k++) {
        *refmap_at(&p->c->map, k) = 0; /* is there: it was taken */
    }
    p->clusters = 0;
}

static int place_all(struct plan *p)
{
    for (;;) {
        bool again;
        int ret = place_blocks(p, &again);
        if (ret < 0) {
            return ret;
        }
        uint64_t need = size_to_clusters(p->c->s, p->entries * 8);
        if (again) {
            continue;
        }
        if (need == p->clusters) {
            return 0;
        }
        if (p->clusters) {
            give_table_back(p);
        }
        int64_t offset = take_run(p->c, 0, need);
        if (offset < 0) {
            return (int)offset;
        }
        p->offset = (uint64_t)offset;
        p->clusters = need;
    }
}

static int write_at(struct check *c, uint64_t offset, const void *buf, uint64_t bytes)
{
    int ret = qcow2_pre_write_overlap(c->s, 0, offset, bytes, false);
    return ret < 0 ? ret
                   : child_pwrite(c->s->n->file, (int64_t)offset, buf, (int64_t)bytes,
                                  LABEL_REFBLOCK_ALLOC_WRITE_BLOCKS, NULL);
}

static int write_blocks(struct plan *p)
{
    struct check *c = p->c;
    struct qcow2 *s = c->s;
    for (uint64_t i = 0; i < p->entries; i++) {
        if (p->table[i] == 0) {
            continue;
        }
        memset(c->table, 0, s->cluster_size);
        for (uint64_t k = 0; k < s->refblock_size; k += REFMAP_PAGE) {
            const struct refmap_page *page = refmap_page(&c->map, (i << s->refblock_bits) + k);
            for (unsigned j = 0; page && j < REFMAP_PAGE; j++) {
                qcow2_refcount_block_entry_set(c->table, k + j, s->refcount_order, page->count[j]);
            }
        }
        int ret = write_at(c, p->table[i], c->table, s->cluster_size);
        if (ret < 0) {
            world_report(s->w, REPORT_ERROR, "ERROR writing refblock: %s", strerror(-ret));
            return ret;
        }
    }
    return 0;
}

static int write_table(struct plan *p)
{
    struct qcow2 *s = p->c->s;
    uint64_t bytes = p->clusters << s->cluster_bits;
    uint8_t *buf = mem_try_zalloc(bytes);
    if (!buf) {
        return -ENOMEM;
    }
    for (uint64_t i = 0; i < p->entries; i++) {
        store_be64(buf + i * 8, p->table[i]);
    }
    int ret = write_at(p->c, p->offset, buf, bytes);
    mem_free(buf);
    ret = ret < 0 ? ret : child_flush(s->n->file, NULL);
    if (ret < 0) {
        world_report(s->w, REPORT_ERROR, "ERROR writing reftable: %s", strerror(-ret));
        return ret;
    }
    uint8_t head[12];
    store_be64(head, p->offset);
    store_be32(head + 8, (uint32_t)p->clusters);
    ret = child_pwrite_sync(s->n->file, QCOW2_HEADER_REFCOUNT_TABLE_OFFSET_OFF, head, sizeof(head),
                            LABEL_REFBLOCK_ALLOC_SWITCH_TABLE, NULL);
    if (ret < 0) {
        world_report(s->w, REPORT_ERROR, "ERROR setting reftable: %s", strerror(-ret));
    }
    return ret;
}

/* What is in memory becomes what is on disk now. */
static int adopt(struct plan *p)
{
    struct qcow2 *s = p->c->s;
    uint64_t size = (p->clusters << s->cluster_bits) / 8;
    uint64_t *table = mem_try_array(size, 8);
    if (!table) {
        return -ENOMEM;
    }
    memcpy(table, p->table, p->entries * 8);
    mem_free(s->reftable);
    s->reftable = table;
    s->reftable_offset = p->offset;
    s->reftable_clusters = (uint32_t)p->clusters;
    s->reftable_size = (uint32_t)size;
    s->reftable_used = (uint32_t)p->entries;
    s->free_cluster_index = s->free_byte_offset = 0;
    s->virgin_known = false;
    qcow2_cache_discard(s->refblock_cache, 0, UINT64_MAX);
    int64_t len = child_length(s->n->file);
    if (len >= 0) {
        p->c->file_len = (uint64_t)len;
    }
    return 0;
}

int check_rebuild_refcounts(struct check *c)
{
    struct plan p = {.c = c};
    check_put_block(c);
    int ret = qcow2_cache_empty(c->s->refblock_cache, NULL);
    ret = ret < 0 ? ret : place_all(&p);
    ret = ret < 0 ? ret : write_blocks(&p);
    ret = ret < 0 ? ret : write_table(&p);
    ret = ret < 0 ? ret : adopt(&p);
    mem_free(p.table);
    c->res->check_errors += ret < 0;
    return ret;
}
