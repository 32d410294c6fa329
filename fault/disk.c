/*
 * The page store: pages and radix nodes with reference counts, shared by clones, copied on write.
 *
 * A tree of height h covers 64^h pages.  Pages and nodes are numbers into the pool, so that
 * reference counts stand side by side in memory and copying a node touches few cache lines.
 *
 * Hashing: a page contributes mix(hash of its bytes, its index), a page of zeroes nothing.  A node
 * keeps the sum over those children whose bit in `dirty` is clear; writing below a child takes its
 * part out of the sum and sets the bit, hashing puts it back.  So hashing costs what was written
 * since the last time.
 */
#include "fault/disk.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include "ref/base/iov.h"
#include "ref/base/mem.h"
#include "ref/base/rng.h"

#define FAN        64
#define FAN_BITS   6
#define MAX_HEIGHT 9 /* 64^9 pages of 4 KiB: more than 2^63 bytes */
#define SLAB_PAGES 256
#define SLAB_NODES 256

#define HASH_NONE 0 /* not computed */
#define HASH_ZERO 1 /* all bytes are zero */

typedef uint32_t node_id; /* 0: none */

struct dnode {
    uint64_t dirty; /* children not in sum */
    uint64_t sum;
    uint32_t slot[FAN]; /* height 1: pages, else nodes */
};

/* Numbers 1 to `made` exist; the free ones are chained through `next`. */
struct store {
    void **slabs;
    uint32_t made, cap, first_free, used;
    uint32_t *refs, *next;
};

struct disk_pool {
    struct store pages, nodes;
    uint64_t *page_hash;
    uint32_t max_pages;
    uint32_t disks;
    disk_page zero; /* stands for an allocated page of zeroes */
    struct disk *free_disks;
};

struct disk {
    struct disk_pool *pool;
    int height; /* 0: no root */
    node_id root;
    int64_t size;
    struct disk *next_free;
};

/* ---- the pool ---- */

static uint32_t store_get(struct store *s, uint32_t per_slab, size_t item, size_t align)
{
    uint32_t id = s->first_free;

    if (id) {
        s->first_free = s->next[id];
    } else {
        id = ++s->made;
        assert(id != UINT32_MAX);
        if (id >= s->cap) {
            uint32_t cap = s->cap + per_slab;
            s->refs = mem_realloc(s->refs, cap * sizeof(*s->refs));
            s->next = mem_realloc(s->next, cap * sizeof(*s->next));
            s->slabs = mem_realloc(s->slabs, cap / per_slab * sizeof(*s->slabs));
            s->slabs[cap / per_slab - 1] = mem_try_aligned(align, per_slab * item);
            assert(s->slabs[cap / per_slab - 1] && "out of memory");
            s->cap = cap;
        }
    }
    s->refs[id] = 1;
    s->used++;
    return id;
}

static void store_put(struct store *s, uint32_t id)
{
    s->next[id] = s->first_free;
    s->first_free = id;
    s->used--;
}

static void store_free(struct store *s, uint32_t per_slab)
{
    for (uint32_t i = 0; i < s->cap / per_slab; i++) {
        mem_free(s->slabs[i]);
    }
    mem_free(s->slabs);
    mem_free(s->refs);
    mem_free(s->next);
}

static struct dnode *node_at(const struct disk_pool *p, node_id id)
{
    return (struct dnode *)p->nodes.slabs[id / SLAB_NODES] + id % SLAB_NODES;
}

static uint8_t *page_at(const struct disk_pool *p, disk_page id)
{
    return (uint8_t *)p->pages.slabs[id / SLAB_PAGES] + (size_t)(id % SLAB_PAGES) * DISK_PAGE;
}

static node_id node_new(struct disk_pool *p)
{
    node_id id = store_get(&p->nodes, SLAB_NODES, sizeof(struct dnode), 64);
    memset(node_at(p, id), 0, sizeof(struct dnode));
    return id;
}

/* Uninitialised; 0 when the pool is exhausted. */
static disk_page page_new(struct disk_pool *p)
{
    if (p->max_pages && p->pages.used >= p->max_pages) {
        return 0;
    }
    uint32_t cap = p->pages.cap;
    disk_page id = store_get(&p->pages, SLAB_PAGES, DISK_PAGE, DISK_PAGE);
    if (p->pages.cap != cap) {
        p->page_hash = mem_realloc(p->page_hash, p->pages.cap * sizeof(*p->page_hash));
    }
    p->page_hash[id] = HASH_NONE;
    return id;
}

static void page_ref(struct disk_pool *p, disk_page id)
{
    p->pages.refs[id]++;
    assert(p->pages.refs[id] != 0);
}

void disk_page_unref(struct disk_pool *p, disk_page id)
{
    assert(id && p->pages.refs[id] > 0);
    if (--p->pages.refs[id] == 0) {
        store_put(&p->pages, id);
    }
}

static void node_unref(struct disk_pool *p, node_id id, int height)
{
    assert(p->nodes.refs[id] > 0);
    if (--p->nodes.refs[id] > 0) {
        return;
    }
    struct dnode *n = node_at(p, id);
    for (int i = 0; i < FAN; i++) {
        if (n->slot[i] && height == 1) {
            disk_page_unref(p, n->slot[i]);
        } else if (n->slot[i]) {
            node_unref(p, n->slot[i], height - 1);
        }
    }
    store_put(&p->nodes, id);
}

struct disk_pool *disk_pool_new(uint32_t max_pages)
{
    struct disk_pool *p = mem_zalloc(sizeof(*p));
    p->zero = page_new(p);
    memset(page_at(p, p->zero), 0, DISK_PAGE);
    p->page_hash[p->zero] = HASH_ZERO;
    p->max_pages = max_pages ? max_pages + 1 : 0; /* the page of zeroes is ours */
    return p;
}

void disk_pool_free(struct disk_pool *p)
{
    if (!p) {
        return;
    }
    assert(p->disks == 0 && p->pages.used == 1 && p->nodes.used == 0);
    while (p->free_disks) {
        struct disk *d = p->free_disks;
        p->free_disks = d->next_free;
        mem_free(d);
    }
    store_free(&p->pages, SLAB_PAGES);
    store_free(&p->nodes, SLAB_NODES);
    mem_free(p->page_hash);
    mem_free(p);
}

uint32_t disk_pool_used(const struct disk_pool *p)
{
    return p->pages.used - 1;
}

/* ---- disks ---- */

struct disk *disk_new(struct disk_pool *p, int64_t size)
{
    struct disk *d = p->free_disks;

    assert(size >= 0 && size <= DISK_MAX);
    if (d) {
        p->free_disks = d->next_free;
    } else {
        d = mem_alloc(sizeof(*d));
    }
    *d = (struct disk){.pool = p, .size = size};
    p->disks++;
    return d;
}

static void drop_root(struct disk *d)
{
    if (d->root) {
        node_unref(d->pool, d->root, d->height);
    }
    d->root = 0;
    d->height = 0;
}

void disk_assign(struct disk *dst, const struct disk *src)
{
    assert(dst->pool == src->pool);
    if (dst == src) {
        return;
    }
    if (src->root) {
        src->pool->nodes.refs[src->root]++;
    }
    drop_root(dst);
    dst->root = src->root;
    dst->height = src->height;
    dst->size = src->size;
}

struct disk *disk_clone(const struct disk *d)
{
    struct disk *c = disk_new(d->pool, 0);
    disk_assign(c, d);
    return c;
}

void disk_free(struct disk *d)
{
    if (!d) {
        return;
    }
    drop_root(d);
    d->next_free = d->pool->free_disks;
    d->pool->free_disks = d;
    assert(d->pool->disks > 0);
    d->pool->disks--;
}

struct disk_pool *disk_pool_of(const struct disk *d)
{
    return d->pool;
}

int64_t disk_size(const struct disk *d)
{
    return d->size;
}

/* ---- hashing ---- */

static uint64_t page_part(struct disk_pool *p, disk_page id, uint64_t index)
{
    uint64_t h = p->page_hash[id];

    if (h == HASH_NONE) {
        const uint8_t *data = page_at(p, id);
        h = buf_is_zero(data, DISK_PAGE) ? HASH_ZERO : hash_bytes(data, DISK_PAGE, 0);
        h = h == HASH_NONE ? 2 : h;
        p->page_hash[id] = h;
    }
    return h == HASH_ZERO ? 0 : hash_u64(h + (index + 1) * 0x9e3779b97f4a7c15ULL);
}

/* The node's sum with every child in it; `index` counts nodes of this height. */
static uint64_t node_sum(struct disk_pool *p, node_id id, int height, uint64_t index)
{
    struct dnode *n = node_at(p, id);

    while (n->dirty) {
        int i = __builtin_ctzll(n->dirty);
        uint64_t child = index << FAN_BITS | i;
        n->dirty &= n->dirty - 1;
        if (n->slot[i]) {
            n->sum += height == 1 ? page_part(p, n->slot[i], child)
                                  : node_sum(p, n->slot[i], height - 1, child);
        }
    }
    return n->sum;
}

uint64_t disk_hash(struct disk *d)
{
    uint64_t sum = d->root ? node_sum(d->pool, d->root, d->height, 0) : 0;
    return hash_u64(sum ^ hash_u64((uint64_t)d->size + 1));
}

/* Child i of n (a node of that height and index) is about to change: out of the sum with it. */
static void mark_dirty(struct disk_pool *p, struct dnode *n, int height, uint64_t index, int i)
{
    if (n->dirty >> i & 1) {
        return;
    }
    n->dirty |= 1ULL << i;
    if (n->slot[i]) {
        uint64_t child = index << FAN_BITS | i;
        n->sum -= height == 1 ? page_part(p, n->slot[i], child)
                              : node_sum(p, n->slot[i], height - 1, child);
    }
}

/* ---- the tree ---- */

static int64_t last_page(const struct disk *d)
{
    return d->height >= MAX_HEIGHT ? INT64_MAX : (1LL << (FAN_BITS * d->height)) - 1;
}

static disk_page find_page(const struct disk *d, int64_t index)
{
    uint32_t id = d->root;

    if (!id || index > last_page(d)) {
        return 0;
    }
    for (int h = d->height; h > 0 && id; h--) {
        id = node_at(d->pool, id)->slot[index >> (FAN_BITS * (h - 1)) & (FAN - 1)];
    }
    return id;
}

/* Makes the node in *slot the disk's own, so that it may change. */
static struct dnode *own_node(struct disk_pool *p, uint32_t *slot, int height)
{
    node_id old = *slot;

    if (p->nodes.refs[old] == 1) {
        return node_at(p, old);
    }
    node_id id = store_get(&p->nodes, SLAB_NODES, sizeof(struct dnode), 64);
    struct dnode *n = node_at(p, id);
    *n = *node_at(p, old);
    uint32_t *refs = height == 1 ? p->pages.refs : p->nodes.refs;
    for (int i = 0; i < FAN; i++) {
        refs[n->slot[i]] += n->slot[i] != 0;
    }
    p->nodes.refs[old]--;
    *slot = id;
    return n;
}

static void grow_tree(struct disk *d, int64_t index)
{
    if (!d->root) {
        d->root = node_new(d->pool);
        d->height = 1;
    }
    while (index > last_page(d)) {
        node_id id = node_new(d->pool);
        struct dnode *n = node_at(d->pool, id);
        n->slot[0] = d->root;
        n->dirty = 1;
        d->root = id;
        d->height++;
    }
}

/* The slot of page `index`, owned by the disk and out of all sums. */
static uint32_t *page_slot(struct disk *d, int64_t index)
{
    grow_tree(d, index);
    uint32_t *slot = &d->root;
    for (int h = d->height; h > 0; h--) {
        struct dnode *n = own_node(d->pool, slot, h);
        int i = index >> (FAN_BITS * (h - 1)) & (FAN - 1);
        if (h > 1 && !n->slot[i]) {
            node_id child = node_new(d->pool);
            n->slot[i] = child;
            n->dirty |= 1ULL << i;
        } else {
            mark_dirty(d->pool, n, h, h == MAX_HEIGHT ? 0 : index >> (FAN_BITS * h), i);
        }
        slot = &n->slot[i];
    }
    return slot;
}

/* The page's bytes for changing; whole: the caller overwrites all of them.  NULL: pool exhausted.
 */
static uint8_t *page_for_write(struct disk *d, int64_t index, bool whole)
{
    struct disk_pool *p = d->pool;
    uint32_t *slot = page_slot(d, index);
    disk_page old = *slot;

    if (old && p->pages.refs[old] == 1) {
        p->page_hash[old] = HASH_NONE;
        return page_at(p, old);
    }
    disk_page id = page_new(p);
    if (!id) {
        return NULL;
    }
    uint8_t *data = page_at(p, id);
    if (!whole && old) {
        memcpy(data, page_at(p, old), DISK_PAGE);
    } else if (!whole) {
        memset(data, 0, DISK_PAGE);
    }
    if (old) {
        disk_page_unref(p, old);
    }
    *slot = id;
    return data;
}

static void set_page(struct disk *d, int64_t index, disk_page page)
{
    page_ref(d->pool, page);
    uint32_t *slot = page_slot(d, index);
    if (*slot) {
        disk_page_unref(d->pool, *slot);
    }
    *slot = page;
}

/* Makes pages [from, to] below the node in *slot (of that height and index) holes. */
static void clear_pages(struct disk_pool *p, uint32_t *slot, int height, uint64_t index,
                        uint64_t from, uint64_t to)
{
    unsigned shift = FAN_BITS * (height - 1);
    struct dnode *n = own_node(p, slot, height);

    for (int i = 0; i < FAN; i++) {
        uint64_t child = index << FAN_BITS | i, first = child << shift,
                 last = first + ((1ULL << shift) - 1);
        if (!n->slot[i] || last < from || first > to) {
            continue;
        }
        mark_dirty(p, n, height, index, i);
        if (first < from || last > to) {
            clear_pages(p, &n->slot[i], height - 1, child, from, to);
            continue;
        }
        if (height == 1) {
            disk_page_unref(p, n->slot[i]);
        } else {
            node_unref(p, n->slot[i], height - 1);
        }
        n->slot[i] = 0;
    }
}

static void make_holes(struct disk *d, int64_t from, int64_t to)
{
    if (from <= to && d->root && from <= last_page(d)) {
        clear_pages(d->pool, &d->root, d->height, 0, (uint64_t)from,
                    (uint64_t)MIN(to, last_page(d)));
    }
}

/* ---- content ---- */

static bool too_far(int64_t offset, int64_t bytes)
{
    assert(offset >= 0 && bytes >= 0);
    return bytes > DISK_MAX || offset > DISK_MAX - bytes;
}

void disk_read(const struct disk *d, int64_t offset, void *buf, size_t bytes)
{
    uint8_t *out = buf;

    assert(offset >= 0);
    while (bytes > 0) {
        size_t in = offset % DISK_PAGE, n = MIN(bytes, DISK_PAGE - in);
        disk_page id = find_page(d, offset / DISK_PAGE);
        if (id) {
            memcpy(out, page_at(d->pool, id) + in, n);
        } else {
            memset(out, 0, n);
        }
        out += n;
        bytes -= n;
        if (__builtin_add_overflow(offset, (int64_t)n, &offset)) {
            memset(out, 0, bytes);
            return;
        }
    }
}

int disk_write(struct disk *d, int64_t offset, const void *buf, size_t bytes)
{
    const uint8_t *in = buf;

    if (bytes > INT64_MAX || too_far(offset, (int64_t)bytes)) {
        return -EFBIG;
    }
    while (bytes > 0) {
        size_t at = offset % DISK_PAGE, n = MIN(bytes, DISK_PAGE - at);
        uint8_t *data = page_for_write(d, offset / DISK_PAGE, n == DISK_PAGE);
        if (!data) {
            return -ENOSPC;
        }
        memcpy(data + at, in, n);
        in += n;
        bytes -= n;
        offset += n;
        d->size = MAX(d->size, offset);
    }
    return 0;
}

/* Zeroes a part of one page; a hole stays one unless it must be allocated. */
static int zero_part(struct disk *d, int64_t offset, int64_t bytes, bool allocate)
{
    if (bytes == 0 || (!allocate && !find_page(d, offset / DISK_PAGE))) {
        return 0;
    }
    uint8_t *data = page_for_write(d, offset / DISK_PAGE, false);
    if (!data) {
        return -ENOSPC;
    }
    memset(data + offset % DISK_PAGE, 0, bytes);
    return 0;
}

/* Zeroes [offset, offset + bytes), whatever the size of the disk. */
static int zero_range(struct disk *d, int64_t offset, int64_t bytes, bool allocate)
{
    int64_t end = offset + bytes, first = ROUND_UP(offset, DISK_PAGE),
            last = ROUND_DOWN(end, DISK_PAGE);
    int ret;

    if (first > last) {
        return zero_part(d, offset, bytes, allocate);
    }
    ret = zero_part(d, offset, first - offset, allocate);
    if (ret == 0) {
        ret = zero_part(d, last, end - last, allocate);
    }
    if (ret < 0) {
        return ret;
    }
    if (!allocate) {
        make_holes(d, first / DISK_PAGE, last / DISK_PAGE - 1);
        return 0;
    }
    /* The shared page costs no memory, its slots do: the limit counts it as if it did. */
    if (d->pool->max_pages && (last - first) / DISK_PAGE > d->pool->max_pages) {
        return -ENOSPC;
    }
    for (int64_t i = first / DISK_PAGE; i < last / DISK_PAGE; i++) {
        set_page(d, i, d->pool->zero);
    }
    return 0;
}

int disk_write_zeroes(struct disk *d, int64_t offset, int64_t bytes, bool allocate)
{
    if (too_far(offset, bytes)) {
        return -EFBIG;
    }
    int ret = zero_range(d, offset, bytes, allocate);
    if (ret == 0 && bytes > 0) {
        d->size = MAX(d->size, offset + bytes);
    }
    return ret;
}

int disk_discard(struct disk *d, int64_t offset, int64_t bytes)
{
    if (too_far(offset, bytes)) {
        return -EFBIG;
    }
    if (offset >= d->size) {
        return 0;
    }
    /* What lies behind the end is zero anyway: the last page can go whole. */
    int64_t end = bytes >= d->size - offset ? ROUND_UP(d->size, DISK_PAGE) : offset + bytes;
    return zero_range(d, offset, end - offset, false);
}

int disk_truncate(struct disk *d, int64_t size)
{
    if (too_far(size, 0)) {
        return -EFBIG;
    }
    /* Bytes behind the end are zero at all times, so growing shows zeroes. */
    int ret = size < d->size ? zero_range(d, size, ROUND_UP(d->size, DISK_PAGE) - size, false) : 0;
    if (ret == 0) {
        d->size = size;
    }
    return ret;
}

/* The page at index, or 0 and in *run how many pages from there are holes for sure. */
static disk_page find_run(const struct disk *d, int64_t index, int64_t *run)
{
    uint32_t id = d->root;

    *run = 1;
    if (!id || index > last_page(d)) {
        *run = INT64_MAX - index;
        return 0;
    }
    for (int h = d->height; h > 0; h--) {
        int shift = FAN_BITS * (h - 1);
        id = node_at(d->pool, id)->slot[index >> shift & (FAN - 1)];
        if (!id) {
            *run = (1LL << shift) - (index & ((1LL << shift) - 1));
            return 0;
        }
    }
    return id;
}

enum disk_status disk_block_status(const struct disk *d, int64_t offset, int64_t bytes, int64_t *n)
{
    int64_t index = offset / DISK_PAGE, end = DIV_ROUND_UP(MIN(d->size, DISK_MAX), DISK_PAGE), run,
            next;

    assert(offset >= 0 && bytes > 0);
    if (offset >= d->size) {
        *n = bytes;
        return DISK_HOLE;
    }
    bool data = find_run(d, index, &run) != 0;
    next = index + run;
    while (next < end && next * DISK_PAGE - offset < bytes &&
           (find_run(d, next, &run) != 0) == data) {
        next += run;
    }
    *n = MIN(MIN(bytes, d->size - offset), MIN(next, end) * DISK_PAGE - offset);
    return data ? DISK_DATA : DISK_HOLE;
}

int64_t disk_allocated(const struct disk *d)
{
    int64_t sum = 0, at = 0, n;

    while (at < d->size) {
        if (disk_block_status(d, at, d->size - at, &n) == DISK_DATA) {
            sum += ROUND_UP(n, DISK_PAGE);
        }
        at += n;
    }
    return sum;
}

bool disk_equal(const struct disk *a, const struct disk *b)
{
    int64_t index = 0, end = DIV_ROUND_UP(a->size, DISK_PAGE), ra, rb;

    if (a->size != b->size) {
        return false;
    }
    while (index < end) {
        disk_page pa = find_run(a, index, &ra), pb = find_run(b, index, &rb);
        if (pa && pb && pa != pb && memcmp(page_at(a->pool, pa), page_at(b->pool, pb), DISK_PAGE)) {
            return false;
        }
        if (!pa != !pb &&
            !buf_is_zero(pa ? page_at(a->pool, pa) : page_at(b->pool, pb), DISK_PAGE)) {
            return false;
        }
        index += pa || pb ? 1 : MIN(ra, rb);
    }
    return true;
}

/* ---- pages by number ---- */

disk_page disk_page_new(struct disk_pool *p, const void *buf)
{
    disk_page id = page_new(p);
    if (id) {
        memcpy(page_at(p, id), buf, DISK_PAGE);
    }
    return id;
}

const uint8_t *disk_page_data(const struct disk_pool *p, disk_page page)
{
    return page_at(p, page);
}

int disk_put_page(struct disk *d, int64_t offset, disk_page page)
{
    assert(offset % DISK_PAGE == 0);
    if (too_far(offset, DISK_PAGE)) {
        return -EFBIG;
    }
    set_page(d, offset / DISK_PAGE, page);
    d->size = MAX(d->size, offset + DISK_PAGE);
    return 0;
}
