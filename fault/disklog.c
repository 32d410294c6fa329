/*
 * The log: an array of ops, an arena for small payloads and texts, pages for whole-page payloads.
 */
#include "fault/disklog.h"

#include <assert.h>
#include <string.h>
#include "ref/base/mem.h"

#define CHUNK 65536

struct chunk {
    struct chunk *next;
    size_t used, cap;
    _Alignas(8) uint8_t mem[];
};

struct disk_log {
    struct disk_pool *pool;
    struct disk_op *ops;
    size_t n, cap;
    uint64_t clock;
    struct chunk *chunks; /* the first has room */
};

static const char *const kind_names[] = {"write", "zero", "discard", "truncate", "flush", "mark"};

const char *disk_op_kind_name(enum disk_op_kind k)
{
    assert((unsigned)k < ARRAY_SIZE(kind_names));
    return kind_names[k];
}

static void *arena(struct disk_log *l, size_t size)
{
    struct chunk *c = l->chunks;

    size = ROUND_UP(size, (size_t)8);
    if (!c || c->cap - c->used < size) {
        size_t cap = MAX(size, (size_t)CHUNK);
        c = mem_alloc(sizeof(*c) + cap);
        c->cap = cap;
        c->used = 0;
        c->next = l->chunks;
        l->chunks = c;
    }
    c->used += size;
    return c->mem + c->used - size;
}

static void *arena_dup(struct disk_log *l, const void *p, size_t size)
{
    return size ? memcpy(arena(l, size), p, size) : NULL;
}

struct disk_set disk_set_clone(const struct disk_set *from)
{
    struct disk_set to = {.n = from->n};
    for (int i = 0; i < from->n; i++) {
        to.disk[i] = disk_clone(from->disk[i]);
    }
    return to;
}

void disk_set_free(struct disk_set *s)
{
    for (int i = 0; i < s->n; i++) {
        disk_free(s->disk[i]);
    }
    *s = (struct disk_set){.n = 0};
}

struct disk_log *disk_log_new(struct disk_pool *p)
{
    struct disk_log *l = mem_zalloc(sizeof(*l));
    l->pool = p;
    l->clock = 1;
    return l;
}

void disk_log_reset(struct disk_log *l)
{
    for (size_t i = 0; i < l->n; i++) {
        for (uint32_t k = 0; k < l->ops[i].n_pages; k++) {
            disk_page_unref(l->pool, l->ops[i].pages[k]);
        }
    }
    while (l->chunks && l->chunks->next) {
        struct chunk *c = l->chunks;
        l->chunks = c->next;
        mem_free(c);
    }
    if (l->chunks) {
        l->chunks->used = 0;
    }
    l->n = 0;
    l->clock = 1;
}

void disk_log_free(struct disk_log *l)
{
    if (!l) {
        return;
    }
    disk_log_reset(l);
    mem_free(l->chunks);
    mem_free(l->ops);
    mem_free(l);
}

/* Splits a write's bytes at page boundaries.  Where the pool is exhausted, the rest goes to the
 * arena as tail. */
static void take_payload(struct disk_log *l, struct disk_op *op, const uint8_t *data)
{
    int64_t end = op->offset + op->bytes;
    int64_t first = MIN(ROUND_UP(op->offset, DISK_PAGE), end);
    uint32_t want =
        (uint32_t)((ROUND_DOWN(end, DISK_PAGE) - first) > 0 ? (end - first) / DISK_PAGE : 0);
    disk_page *pages = want ? arena(l, want * sizeof(*pages)) : NULL;

    op->head_bytes = (uint32_t)(first - op->offset);
    op->head = arena_dup(l, data, op->head_bytes);
    data += op->head_bytes;
    op->n_pages = 0;
    while (op->n_pages < want) {
        pages[op->n_pages] = disk_page_new(l->pool, data);
        if (!pages[op->n_pages]) {
            break;
        }
        op->n_pages++;
        data += DISK_PAGE;
    }
    op->pages = pages;
    op->tail_bytes = (uint32_t)(op->bytes - op->head_bytes - (int64_t)op->n_pages * DISK_PAGE);
    op->tail = arena_dup(l, data, op->tail_bytes);
}

size_t disk_log_begin(struct disk_log *l, const struct disk_op *from, const void *data)
{
    assert(from->bytes >= 0 && from->bytes <= DISK_MAX);
    assert(from->offset >= 0 && from->offset <= DISK_MAX - from->bytes);
    assert(from->kind != DISK_OP_WRITE || from->bytes <= UINT32_MAX);
    assert(from->disk >= 0 && from->disk < DISK_SET_MAX && (unsigned)from->label < LABEL_COUNT);
    if (l->n == l->cap) {
        l->cap = l->cap ? 2 * l->cap : 64;
        l->ops = mem_realloc(l->ops, l->cap * sizeof(*l->ops));
    }
    struct disk_op *op = &l->ops[l->n];
    *op = (struct disk_op){
        .kind = from->kind,
        .flags = from->flags,
        .disk = from->disk,
        .label = from->label,
        .offset = from->offset,
        .bytes = from->bytes,
        .issued = l->clock++,
        .completed = DISK_OP_IN_FLIGHT,
    };
    if (from->tag && l->n > 0 && l->ops[l->n - 1].tag && !strcmp(l->ops[l->n - 1].tag, from->tag)) {
        op->tag = l->ops[l->n - 1].tag;
    } else if (from->tag) {
        op->tag = arena_dup(l, from->tag, strlen(from->tag) + 1);
    }
    if (op->kind == DISK_OP_WRITE) {
        take_payload(l, op, data);
    }
    return l->n++;
}

void disk_log_end(struct disk_log *l, size_t i)
{
    assert(i < l->n && l->ops[i].completed == DISK_OP_IN_FLIGHT);
    l->ops[i].completed = l->clock++;
}

void disk_log_fail(struct disk_log *l, size_t i)
{
    assert(i < l->n && l->ops[i].completed == DISK_OP_IN_FLIGHT);
    l->ops[i].flags |= DISK_OP_FAILED;
    l->ops[i].completed = l->clock++;
}

size_t disk_log_add(struct disk_log *l, const struct disk_op *op, const void *data)
{
    size_t i = disk_log_begin(l, op, data);
    disk_log_end(l, i);
    return i;
}

size_t disk_log_mark(struct disk_log *l, const char *text)
{
    struct disk_op op = {.kind = DISK_OP_MARK, .label = LABEL_NONE, .tag = text};
    return disk_log_add(l, &op, NULL);
}

size_t disk_log_len(const struct disk_log *l)
{
    return l->n;
}

const struct disk_op *disk_log_op(const struct disk_log *l, size_t i)
{
    assert(i < l->n);
    return &l->ops[i];
}

uint64_t disk_log_clock(const struct disk_log *l)
{
    return l->clock;
}
struct disk_pool *disk_log_pool(const struct disk_log *l)
{
    return l->pool;
}

/* The payload piece at `at`: *n bytes up to its end. */
static const uint8_t *piece(const struct disk_pool *p, const struct disk_op *op, int64_t at,
                            int64_t *n)
{
    int64_t pages_end = op->head_bytes + (int64_t)op->n_pages * DISK_PAGE;

    if (at < op->head_bytes) {
        *n = op->head_bytes - at;
        return op->head + at;
    }
    if (at < pages_end) {
        int64_t in = at - op->head_bytes;
        *n = DISK_PAGE - in % DISK_PAGE;
        return disk_page_data(p, op->pages[in / DISK_PAGE]) + in % DISK_PAGE;
    }
    *n = pages_end + op->tail_bytes - at;
    return op->tail + (at - pages_end);
}

void disk_op_read(const struct disk_pool *p, const struct disk_op *op, int64_t start, void *buf,
                  size_t bytes)
{
    uint8_t *out = buf;

    assert(start >= 0 && start + (int64_t)bytes <= op->bytes);
    if (op->kind != DISK_OP_WRITE) {
        memset(buf, 0, bytes);
        return;
    }
    while (bytes > 0) {
        int64_t n;
        const uint8_t *data = piece(p, op, start, &n);
        n = MIN(n, (int64_t)bytes);
        memcpy(out, data, n);
        out += n;
        start += n;
        bytes -= n;
    }
}

static int write_part(struct disk *d, const struct disk_op *op, int64_t start, int64_t end)
{
    const struct disk_pool *p = disk_pool_of(d);
    int ret = 0;

    while (start < end && ret == 0) {
        int64_t n;
        const uint8_t *data = piece(p, op, start, &n);
        if (n == DISK_PAGE && end - start >= DISK_PAGE && start >= op->head_bytes &&
            start + n <= op->head_bytes + (int64_t)op->n_pages * DISK_PAGE) {
            ret = disk_put_page(d, op->offset + start,
                                op->pages[(start - op->head_bytes) / DISK_PAGE]);
        } else {
            n = MIN(n, end - start);
            ret = disk_write(d, op->offset + start, data, n);
        }
        start += n;
    }
    return ret;
}

int disk_op_apply_part(struct disk *d, const struct disk_op *op, int64_t start, int64_t end)
{
    assert(start >= 0 && start <= end && end <= op->bytes);
    switch (op->kind) {
    case DISK_OP_WRITE:
        return write_part(d, op, start, end);
    case DISK_OP_ZERO:
        return disk_write_zeroes(d, op->offset + start, end - start, op->flags & DISK_OP_ALLOCATE);
    case DISK_OP_DISCARD:
        return disk_discard(d, op->offset + start, end - start);
    case DISK_OP_TRUNCATE:
    case DISK_OP_FLUSH:
    case DISK_OP_MARK:
        break;
    }
    assert(false && "this op has no parts");
    return 0;
}

int disk_op_apply(struct disk *d, const struct disk_op *op)
{
    switch (op->kind) {
    case DISK_OP_WRITE:
    case DISK_OP_ZERO:
    case DISK_OP_DISCARD:
        return disk_op_apply_part(d, op, 0, op->bytes);
    case DISK_OP_TRUNCATE:
        return disk_truncate(d, op->offset);
    case DISK_OP_FLUSH:
    case DISK_OP_MARK:
        break;
    }
    return 0;
}
