/*
 * Table pages: see table_cache.h.
 */
#include "ref/format/table_cache.h"

#include <assert.h>
#include <errno.h>

void table_cache_init(struct table_cache *c, struct child *file)
{
    *c = (struct table_cache){.file = file, .width = 8};
}

void table_cache_free(struct table_cache *c)
{
    for (unsigned i = 0; i < TABLE_PAGES; i++) {
        mem_free(c->page[i]);
        c->page[i] = NULL;
    }
}

void table_cache_forget(struct table_cache *c)
{
    table_cache_free(c);
}

static struct table_page **slot_of(struct table_cache *c, uint64_t offset)
{
    return &c->page[(offset / 512 * UINT64_C(0x9e3779b97f4a7c15)) >> 56];
}

static uint64_t page_bytes(const struct table_ref *t, uint64_t in_table)
{
    return MIN((uint64_t)TABLE_PAGE, t->bytes - in_table);
}

/* The page that has byte in_table (a multiple of the page size), read when it is not there. */
static int get_page(struct table_cache *c, const struct table_ref *t, uint64_t in_table,
                    struct table_page **out, const struct request *r)
{
    uint64_t offset = t->offset + in_table;
    struct table_page **slot = slot_of(c, offset);
    if (!*slot) {
        *slot = mem_try_zalloc(sizeof(**slot));
        if (!*slot) {
            return -ENOMEM;
        }
    }
    struct table_page *p = *slot;
    if (!p->valid || p->offset != offset || p->bytes < page_bytes(t, in_table)) {
        p->valid = false;
        p->bytes = page_bytes(t, in_table);
        int ret = child_pread(c->file, (int64_t)offset, p->data, (int64_t)p->bytes, t->load, r);
        if (ret < 0) {
            return ret;
        }
        p->offset = offset;
        p->valid = true;
    }
    *out = p;
    return 0;
}

int table_load(struct table_cache *c, const struct table_ref *t, uint64_t index,
               const uint8_t **entries, unsigned *n, const struct request *r)
{
    struct table_page *p;
    unsigned width = c->width;
    uint64_t in_table = ROUND_DOWN(index * width, (uint64_t)TABLE_PAGE);
    assert(index < t->bytes / width && IS_ALIGNED(t->bytes, width));
    if (t->offset > (uint64_t)INT64_MAX - t->bytes) {
        return -EIO;
    }
    int ret = get_page(c, t, in_table, &p, r);
    if (ret < 0) {
        return ret;
    }
    uint64_t in_page = index * width - in_table;
    *entries = p->data + in_page;
    *n = (unsigned)((page_bytes(t, in_table) - in_page) / width);
    return 0;
}

int table_store(struct table_cache *c, const struct table_ref *t, uint64_t index,
                const uint8_t *entries, unsigned n, const struct request *r)
{
    struct table_page *p;
    unsigned width = c->width;
    uint64_t in_table = ROUND_DOWN(index * width, (uint64_t)TABLE_PAGE);
    uint64_t first = index * width - in_table, end = first + width * (uint64_t)n;
    assert(n > 0 && end <= page_bytes(t, in_table));
    int ret = get_page(c, t, in_table, &p, r);
    if (ret < 0) {
        return ret;
    }
    memcpy(p->data + first, entries, width * (size_t)n);
    if (IS_ALIGNED(t->offset, 512) && IS_ALIGNED(t->bytes, 512)) {
        first = ROUND_DOWN(first, 512);
        end = ROUND_UP(end, 512);
    }
    ret = child_pwrite(c->file, (int64_t)(p->offset + first), p->data + first,
                       (int64_t)(end - first), t->update, r);
    if (ret < 0) {
        p->valid = false;
    }
    return ret;
}

int table_clear(struct table_cache *c, const struct table_ref *t, const struct request *r)
{
    for (uint64_t done = 0; done < t->bytes; done += TABLE_PAGE) {
        struct table_page *p = *slot_of(c, t->offset + done);
        if (p && p->offset == t->offset + done) {
            p->valid = false;
        }
    }
    return child_pwrite_zeroes(c->file, (int64_t)t->offset, (int64_t)t->bytes, 0, t->update, r);
}
