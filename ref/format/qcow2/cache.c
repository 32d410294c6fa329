/*
 * qcow2's metadata cache: tables of one fixed size (L2 slices, refcount blocks), found by host
 * offset.
 *
 * Write-back with two kinds of order: tables of this cache after a flush of the other cache, and
 * tables after a flush of the guest data written so far.  At most one other cache is depended on at
 * a time; a second one makes the first be flushed.  Memory is taken table by table and reused least
 * recently used first.  The write-through profile uses the same cache and writes it after every
 * change (qcow2_writethrough). Leaves out: what is in the tables.
 */
#include "ref/format/qcow2/qcow2.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>

struct entry {
    struct list lru; /* cache.lru, most recently used first */
    struct list
        dirty_link;     /* cache.dirty, in the order they became dirty; self-linked when clean */
    struct entry *next; /* hash chain */
    uint64_t offset;
    unsigned pins;
    unsigned age; /* cache.age when last used */
    bool dirty;
    _Alignas(8) uint8_t data[]; /* no stricter: list heads are looked at as entries */
};

struct qcow2_cache {
    struct qcow2 *s;
    enum qcow2_cache_kind kind;
    unsigned entry_size, entry_bits;
    uint64_t max_entries, count;
    struct entry **bucket;
    unsigned nb_buckets; /* power of two, 0 before first use */
    struct list lru, dirty;
    struct qcow2_cache *depends;
    bool depends_on_data;
    unsigned age;
};

struct qcow2_cache *qcow2_cache_new(struct qcow2 *s, enum qcow2_cache_kind kind,
                                    uint64_t max_entries, unsigned entry_size)
{
    assert(IS_POW2(entry_size) && max_entries > 0);
    struct qcow2_cache *c = mem_zalloc(sizeof(*c));
    c->s = s;
    c->kind = kind;
    c->entry_size = entry_size;
    c->entry_bits = (unsigned)__builtin_ctz(entry_size);
    c->max_entries = max_entries;
    list_init(&c->lru);
    list_init(&c->dirty);
    return c;
}

static struct entry *entry_of(uint8_t *table)
{
    return container_of(table, struct entry, data);
}

static struct entry **bucket_of(struct qcow2_cache *c, uint64_t offset)
{
    uint64_t h = (offset >> c->entry_bits) * UINT64_C(0x9e3779b97f4a7c15);
    return &c->bucket[(h >> 32) & (c->nb_buckets - 1)];
}

static struct entry *find(struct qcow2_cache *c, uint64_t offset)
{
    struct entry *e = c->nb_buckets ? *bucket_of(c, offset) : NULL;
    while (e && e->offset != offset) {
        e = e->next;
    }
    return e;
}

static void unhash(struct qcow2_cache *c, struct entry *e)
{
    struct entry **p = bucket_of(c, e->offset);
    while (*p != e) {
        p = &(*p)->next;
    }
    *p = e->next;
}

static void rehash(struct qcow2_cache *c)
{
    unsigned n = c->nb_buckets ? c->nb_buckets * 4 : 16;
    mem_free(c->bucket);
    c->bucket = mem_array(n, sizeof(*c->bucket));
    c->nb_buckets = n;
    struct entry *e;
    LIST_FOREACH (e, &c->lru, lru) {
        struct entry **b = bucket_of(c, e->offset);
        e->next = *b;
        *b = e;
    }
}

static void set_clean(struct entry *e)
{
    e->dirty = false;
    list_remove(&e->dirty_link);
}

static void drop(struct qcow2_cache *c, struct entry *e)
{
    assert(e->pins == 0);
    unhash(c, e);
    list_remove(&e->lru);
    list_remove(&e->dirty_link);
    c->count--;
    mem_free(e);
}

static void drop_all(struct qcow2_cache *c)
{
    struct entry *e, *tmp;
    LIST_FOREACH_SAFE (e, tmp, &c->lru, lru) {
        drop(c, e);
    }
}

void qcow2_cache_free(struct qcow2_cache *c)
{
    if (c) {
        drop_all(c);
        mem_free(c->bucket);
        mem_free(c);
    }
}

unsigned qcow2_cache_entry_size(const struct qcow2_cache *c)
{
    return c->entry_size;
}

bool qcow2_cache_is_dirty(const struct qcow2_cache *c)
{
    return !list_empty(&c->dirty);
}

/* What must be on stable storage before a table of this cache is. */
static int settle_dependencies(struct qcow2_cache *c, const struct request *r)
{
    int ret = 0;
    if (c->depends) {
        ret = qcow2_cache_flush(c->depends, r);
    } else if (c->depends_on_data) {
        ret = child_flush(c->s->data_file, r);
    }
    if (ret < 0) {
        return ret;
    }
    if (c->depends) {
        /* Flushing the other cache flushed the file; an external data file is flushed apart. */
        c->depends = NULL;
        if (c->depends_on_data && c->s->data_file != c->s->n->file) {
            ret = child_flush(c->s->data_file, r);
            if (ret < 0) {
                return ret;
            }
        }
    }
    c->depends_on_data = false;
    return 0;
}

static int write_entry(struct qcow2_cache *c, struct entry *e, const struct request *r)
{
    struct qcow2 *s = c->s;
    if (!e->dirty) {
        return 0;
    }
    int ret = settle_dependencies(c, r);
    if (ret < 0) {
        return ret;
    }
    unsigned own = c->kind == CACHE_L2 ? OL_ACTIVE_L2 : OL_REFCOUNT_BLOCK;
    ret = qcow2_pre_write_overlap(s, own, e->offset, c->entry_size, false);
    if (ret < 0) {
        return ret;
    }
    enum label label = c->kind == CACHE_L2 ? LABEL_L2_UPDATE : LABEL_REFBLOCK_UPDATE_PART;
    ret = child_pwrite(s->n->file, (int64_t)e->offset, e->data, c->entry_size, label, r);
    if (ret < 0) {
        return ret;
    }
    set_clean(e);
    return 0;
}

/* As `a`, unless b is the more telling error. */
static int worse(int a, int b)
{
    return b < 0 && a != -ENOSPC ? b : a;
}

int qcow2_cache_write(struct qcow2_cache *c, const struct request *r)
{
    int ret = 0;
    struct entry *e, *tmp;
    LIST_FOREACH_SAFE (e, tmp, &c->dirty, dirty_link) {
        ret = worse(ret, write_entry(c, e, r));
    }
    return ret;
}

int qcow2_cache_flush(struct qcow2_cache *c, const struct request *r)
{
    int ret = qcow2_cache_write(c, r);
    if (ret == 0) {
        ret = child_flush(c->s->n->file, r);
    }
    if (ret == 0 && c->kind == CACHE_L2) {
        /* Every reference to what was freed is gone from stable storage. */
        c->s->freed_lo = UINT64_MAX;
        c->s->freed_hi = 0;
    }
    return ret;
}

int qcow2_cache_empty(struct qcow2_cache *c, const struct request *r)
{
    int ret = qcow2_cache_flush(c, r);
    if (ret < 0) {
        return ret;
    }
    drop_all(c);
    return 0;
}

int qcow2_cache_set_dependency(struct qcow2_cache *c, struct qcow2_cache *dep,
                               const struct request *r)
{
    assert(c != dep);
    if (c->depends == dep) {
        return 0;
    }
    int ret = 0;
    if (dep->depends) {
        /* No circles: what dep waits for is settled first. */
        ret = settle_dependencies(dep, r);
    }
    if (ret == 0 && c->depends) {
        ret = settle_dependencies(c, r);
    }
    if (ret == 0) {
        c->depends = dep;
    }
    return ret;
}

void qcow2_cache_depends_on_data(struct qcow2_cache *c)
{
    c->depends_on_data = true;
}

/* Room for one more table: the least recently used one that nobody holds goes. */
static int make_room(struct qcow2_cache *c, const struct request *r)
{
    if (c->count < c->max_entries) {
        return 0;
    }
    for (struct list *l = c->lru.prev; l != &c->lru; l = l->prev) {
        struct entry *e = LIST_ENTRY(l, struct entry, lru);
        if (e->pins == 0) {
            int ret = write_entry(c, e, r);
            if (ret < 0) {
                return ret;
            }
            drop(c, e);
            return 0;
        }
    }
    return 0; /* all are held: one more than the limit for a while */
}

/* cache-clean-interval: looked at when a table is loaded, so that an idle image needs no timer. */
static void clean_in_time(struct qcow2_cache *c)
{
    struct qcow2 *s = c->s;
    if (s->cache_clean_interval == 0) {
        return;
    }
    int64_t now = clock_now(s->w, CLOCK_REAL);
    if ((uint64_t)(now - s->cache_cleaned) / 1000000000u >= s->cache_clean_interval) {
        s->cache_cleaned = now;
        qcow2_cache_clean_unused(s->l2_cache);
        qcow2_cache_clean_unused(s->refblock_cache);
    }
}

/* refblock_load is announced where a block is about to be changed, cached or not. */
static int load_table(struct qcow2_cache *c, uint64_t offset, void *data, const struct request *r)
{
    bool l2 = c->kind == CACHE_L2;
    struct iov q;
    iov_single(&q, data, c->entry_size);
    return child_preadv(c->s->n->file, (int64_t)offset, c->entry_size, &q, 0,
                        l2 ? 0 : REQ_ANNOUNCED, l2 ? LABEL_L2_LOAD : LABEL_REFBLOCK_LOAD, r);
}

static int get(struct qcow2_cache *c, uint64_t offset, uint8_t **table, bool read,
               const struct request *r)
{
    struct qcow2 *s = c->s;
    assert(offset != 0);
    *table = NULL;
    if (!IS_ALIGNED(offset, c->entry_size)) {
        qcow2_signal_corruption(s, true, -1, -1,
                                "Cannot get entry from %s cache: Offset %#" PRIx64 " is unaligned",
                                c->kind == CACHE_L2 ? "L2" : "refcount block", offset);
        return -EIO;
    }
    struct entry *e = find(c, offset);
    if (!e) {
        clean_in_time(c);
        int ret = make_room(c, r);
        if (ret < 0) {
            return ret;
        }
        e = mem_try_alloc(sizeof(*e) + c->entry_size);
        if (!e) {
            return -ENOMEM;
        }
        if (read) {
            ret = load_table(c, offset, e->data, r);
            if (ret < 0) {
                mem_free(e);
                return ret;
            }
        }
        if (c->count >= c->nb_buckets) {
            rehash(c);
        }
        e->offset = offset;
        e->pins = 0;
        e->dirty = false;
        list_init(&e->dirty_link);
        list_push_front(&c->lru, &e->lru);
        struct entry **b = bucket_of(c, offset);
        e->next = *b;
        *b = e;
        c->count++;
    } else if (c->lru.next != &e->lru) {
        list_remove(&e->lru);
        list_push_front(&c->lru, &e->lru);
    }
    e->age = c->age;
    e->pins++;
    *table = e->data;
    return 0;
}

int qcow2_cache_get(struct qcow2_cache *c, uint64_t offset, uint8_t **table,
                    const struct request *r)
{
    return get(c, offset, table, true, r);
}

int qcow2_cache_get_empty(struct qcow2_cache *c, uint64_t offset, uint8_t **table,
                          const struct request *r)
{
    return get(c, offset, table, false, r);
}

void qcow2_cache_put(struct qcow2_cache *c, uint8_t **table)
{
    struct entry *e = entry_of(*table);
    assert(e->pins > 0);
    e->pins--;
    *table = NULL;
}

void qcow2_cache_dirty(struct qcow2_cache *c, uint8_t *table)
{
    struct entry *e = entry_of(table);
    assert(e->pins > 0);
    if (!e->dirty) {
        e->dirty = true;
        list_push(&c->dirty, &e->dirty_link);
    }
}

uint8_t *qcow2_cache_lookup(struct qcow2_cache *c, uint64_t offset)
{
    struct entry *e = find(c, offset);
    return e ? e->data : NULL;
}

/* A table that somebody works on stays: only a damaged image frees what it is just using. */
void qcow2_cache_discard(struct qcow2_cache *c, uint64_t offset, uint64_t bytes)
{
    if (c->count == 0) {
        return;
    }
    if (bytes / c->entry_size <= c->count) {
        for (uint64_t o = ROUND_UP(offset, c->entry_size); o < offset + bytes; o += c->entry_size) {
            struct entry *e = find(c, o);
            if (e && !e->pins) {
                drop(c, e);
            }
        }
        return;
    }
    struct entry *e, *tmp;
    LIST_FOREACH_SAFE (e, tmp, &c->lru, lru) {
        if (e->offset >= offset && e->offset - offset < bytes && !e->pins) {
            drop(c, e);
        }
    }
}

void qcow2_cache_clean_unused(struct qcow2_cache *c)
{
    struct entry *e, *tmp;
    LIST_FOREACH_SAFE (e, tmp, &c->lru, lru) {
        if (e->pins == 0 && !e->dirty && e->age != c->age) {
            drop(c, e);
        }
    }
    c->age++;
}
