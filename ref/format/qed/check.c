/*
 * QED check and repair (spec: "Consistency checking").
 *
 * Every table offset must be valid and every cluster referred to at most once.  Repair drops
 * entries that are not valid; a cluster with two references stays as it is, for nobody knows whose
 * it is.  Leaks are counted, not repaired, as a cluster can only be taken from the end of the file.
 */
#include "ref/base/bitmap.h"
#include "ref/format/qed/qed.h"

#include <errno.h>

/* Sparse bitmap of clusters that are referred to: memory goes with the references, not with the
 * file. */
#define LEAF_BITS 32768
struct used {
    uint64_t **leaf;
    uint64_t nb_leaves;
    uint64_t clusters; /* in the file; those behind are never asked for */
    uint64_t count;    /* clusters marked */
};

struct check {
    struct qed *s;
    struct check_result *res;
    bool fix;
    struct used used;
    uint64_t last; /* host offset of the data cluster before, 0: none */
    uint64_t end;  /* of the last cluster marked */
};

static int used_init(struct used *u, uint64_t clusters)
{
    *u = (struct used){.clusters = clusters, .nb_leaves = DIV_ROUND_UP(clusters, LEAF_BITS)};
    u->leaf = mem_try_array(u->nb_leaves + 1, sizeof(*u->leaf));
    return u->leaf ? 0 : -ENOMEM;
}

static void used_free(struct used *u)
{
    for (uint64_t i = 0; u->leaf && i < u->nb_leaves; i++) {
        mem_free(u->leaf[i]);
    }
    mem_free(u->leaf);
}

/* 1 newly marked, 0 it was marked before, -ENOMEM. */
static int used_mark(struct used *u, uint64_t cluster)
{
    uint64_t **leaf = &u->leaf[cluster / LEAF_BITS];
    if (!*leaf) {
        *leaf = mem_try_zalloc(LEAF_BITS / 8);
        if (!*leaf) {
            return -ENOMEM;
        }
    }
    if (bitmap_test(*leaf, cluster % LEAF_BITS)) {
        return 0;
    }
    bitmap_set1(*leaf, cluster % LEAF_BITS);
    u->count++;
    return 1;
}

/* Marks n clusters from offset on; every one that was marked before is a corruption. Returns how
 * many those are. */
static int mark(struct check *c, uint64_t offset, uint64_t n)
{
    int twice = 0;
    for (uint64_t i = 0; i < n; i++) {
        int ret = used_mark(&c->used, offset / c->s->cluster_size + i);
        if (ret < 0) {
            return ret;
        }
        twice += ret == 0;
    }
    c->end = MAX(c->end, offset + n * c->s->cluster_size);
    c->res->corruptions += twice;
    return twice;
}

/* An entry that is not valid goes, when it may. */
static int drop(struct check *c, const struct table_ref *t, uint64_t index)
{
    static const uint8_t none[8];
    if (!c->fix) {
        c->res->corruptions++;
        return 0;
    }
    c->res->corruptions_fixed++;
    struct table_ref writable = *t;
    writable.update = LABEL_CHECK_WRITE;
    return table_store(&c->s->tables, &writable, index, none, 1, NULL);
}

static int check_data(struct check *c, const struct table_ref *l2, uint64_t index, uint64_t offset)
{
    c->res->allocated_clusters++;
    if (c->last && offset != c->last + c->s->cluster_size) {
        c->res->fragmented_clusters++;
    }
    c->last = offset;
    if (!qed_cluster_offset_valid(c->s, offset)) {
        return drop(c, l2, index);
    }
    int ret = mark(c, offset, 1);
    return ret < 0 ? ret : 0;
}

/* Entries of one page at a time; `each` may change the page. */
static int walk(struct check *c, const struct table_ref *t, uint64_t min,
                int (*each)(struct check *c, const struct table_ref *t, uint64_t index,
                            uint64_t entry))
{
    uint8_t page[TABLE_PAGE];
    const uint8_t *e;
    unsigned n;
    for (uint64_t i = 0; i < c->s->entries; i += n) {
        int ret = table_load(&c->s->tables, t, i, &e, &n, NULL);
        if (ret < 0) {
            c->res->check_errors++;
            return ret;
        }
        memcpy(page, e, 8 * (size_t)n);
        for (unsigned k = 0; k < n && ret == 0; k++) {
            uint64_t entry = load_le64(page + 8 * (size_t)k);
            ret = entry >= min ? each(c, t, i + k, entry) : 0;
        }
        if (ret < 0) {
            return ret;
        }
    }
    return 0;
}

static int check_l2(struct check *c, const struct table_ref *l1, uint64_t index, uint64_t offset)
{
    if (!qed_table_offset_valid(c->s, offset)) {
        return drop(c, l1, index);
    }
    int ret = mark(c, offset, c->s->table_bytes / c->s->cluster_size);
    if (ret != 0) {
        return ret < 0 ? ret : 0; /* seen already: its entries, too */
    }
    struct table_ref l2 = {offset, c->s->table_bytes, LABEL_CHECK_READ, LABEL_CHECK_WRITE};
    return walk(c, &l2, QED_ENTRY_ZERO + 1, check_data);
}

/* (lock held) */
static int check_tables(struct check *c)
{
    struct qed *s = c->s;
    struct table_ref l1 = {s->l1_offset, s->table_bytes, LABEL_CHECK_READ, LABEL_CHECK_WRITE};
    int ret = used_init(&c->used, s->valid_end / s->cluster_size);
    uint64_t header = MIN(qed_header_get_header_size(s->header), c->used.clusters);
    c->res->total_clusters = (int64_t)DIV_ROUND_UP(s->image_size, s->cluster_size);
    if (ret == 0) {
        ret = mark(c, 0, MAX(header, 1));
    }
    ret = ret < 0 ? ret : mark(c, s->l1_offset, s->table_bytes / s->cluster_size);
    ret = ret < 0 ? ret : walk(c, &l1, 1, check_l2);
    if (ret == 0) {
        uint64_t leaks = c->used.clusters - c->used.count;
        c->res->leaks += (int)MIN(leaks, (uint64_t)INT32_MAX);
    }
    used_free(&c->used);
    return ret;
}

int qed_used_end(struct qed *s, uint64_t *end)
{
    struct check_result res = {0};
    struct check c = {.s = s, .res = &res};
    co_lock(s->w, &s->lock);
    int ret = check_tables(&c);
    co_unlock(s->w, &s->lock);
    *end = res.corruptions || res.check_errors ? s->file_end : c.end;
    return ret;
}

/* (alloc held) */
static int check_image(struct qed *s, struct check_result *res, unsigned fix)
{
    struct check c = {.s = s, .res = res, .fix = fix != 0};
    int64_t len = child_length(s->n->file);
    if (len < 0) {
        res->check_errors++;
        return (int)len;
    }
    co_lock(s->w, &s->lock);
    s->valid_end = ROUND_UP((uint64_t)len, s->cluster_size);
    int ret = check_tables(&c);
    co_unlock(s->w, &s->lock);
    if (ret == 0 && fix && res->corruptions == 0 && res->check_errors == 0) {
        s->unchecked = false;
        ret = qed_mark_clean(s);
    }
    return ret;
}

int qed_check(struct node *n, struct check_result *res, unsigned fix)
{
    struct qed *s = qed_state(n);
    co_lock(s->w, &s->alloc);
    int ret = s->dead ? -ENOMEDIUM : check_image(s, res, fix);
    co_unlock(s->w, &s->alloc);
    return ret;
}

int qed_repair(struct qed *s, struct error **err)
{
    struct check_result res = {0};
    int ret = check_image(s, &res, FIX_ERRORS | FIX_LEAKS);
    if (ret < 0 || res.check_errors) {
        return error_set_errno(err, ret < 0 ? -ret : EIO, "Could not repair dirty image");
    }
    return 0;
}
