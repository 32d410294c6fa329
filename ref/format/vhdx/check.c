/*
 * Check of VHDX images: BAT entries against the file's end, the regions and each other; a log that
 * was replayed counts as repaired.
 *
 * Leaves out: repairing the BAT.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include "ref/base/bytes.h"
#include "ref/base/mem.h"
#include "ref/format/vhdx/vhdx.h"

struct check {
    struct vhdx *s;
    struct check_result *res;
    uint64_t *places; /* of blocks that are present */
    size_t n, cap;
    int64_t len;
};

static int remember(struct check *c, uint64_t host)
{
    if (c->n == c->cap) {
        size_t cap = c->cap ? 2 * c->cap : 256;
        uint64_t *more = mem_try_array(cap, sizeof(*more));
        if (!more) {
            return -ENOMEM;
        }
        if (c->n) {
            memcpy(more, c->places, c->n * sizeof(*more));
        }
        mem_free(c->places);
        c->places = more;
        c->cap = cap;
    }
    c->places[c->n++] = host;
    return 0;
}

static void check_entry(struct check *c, uint64_t index, uint64_t block, uint64_t entry)
{
    struct vhdx *s = c->s;
    uint64_t host = vhdx_bat_entry_offset_of(entry);
    /* The last block may end where the disk does. */
    uint64_t used = MIN((uint64_t)s->block_size, s->size - block * s->block_size);
    if (host >= (uint64_t)c->len) {
        world_report(s->n->w, REPORT_ERROR,
                     "VHDX BAT entry %" PRIu64 " start offset %" PRIu64
                     " points after end of file (%" PRId64 "). Image has probably been truncated.",
                     index, host, c->len);
        c->res->corruptions++;
    } else if (used > (uint64_t)c->len - host) {
        world_report(s->n->w, REPORT_ERROR,
                     "VHDX BAT entry %" PRIu64 " end offset %" PRIu64
                     " points after end of file (%" PRId64 "). Image has probably been truncated.",
                     index, host + s->block_size - 1, c->len);
        c->res->corruptions++;
    }
    if (host <= (uint64_t)INT64_MAX - s->block_size &&
        vhdx_overlaps(s, (struct vhdx_range){host, host + s->block_size})) {
        c->res->corruptions++;
    }
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void check_shared(struct check *c)
{
    if (c->n) {
        qsort(c->places, c->n, sizeof(*c->places), by_value);
    }
    for (size_t i = 1; i < c->n; i++) {
        if (c->places[i] - c->places[i - 1] < c->s->block_size) {
            world_report(c->s->n->w, REPORT_ERROR,
                         "VHDX blocks at offsets %" PRIu64 " and %" PRIu64 " overlap",
                         c->places[i - 1], c->places[i]);
            c->res->corruptions++;
        }
    }
}

/* Entries behind the end of the file are none: the walk ends there. */
static int walk(struct check *c)
{
    struct vhdx *s = c->s;
    uint64_t entries = vhdx_bat_entries(s);
    uint64_t there = (uint64_t)MAX(c->len - (int64_t)s->bat.offset, 0) / VHDX_BAT_ENTRY_SIZE;
    const uint8_t *e;
    unsigned n;
    for (uint64_t i = 0; i < MIN(entries, there); i += n) {
        int ret = table_load(&s->tables, &s->bat, i, &e, &n, NULL);
        for (unsigned k = 0; k < n && ret == 0 && i + k < entries; k++) {
            uint64_t entry = load_le64(e + 8 * (size_t)k), index = i + k,
                     chunk = index / (s->chunk_ratio + 1);
            bool bitmap = index % (s->chunk_ratio + 1) == s->chunk_ratio;
            if (!bitmap && vhdx_bat_entry_state_of(entry) == VHDX_STATE_FULLY_PRESENT) {
                check_entry(c, index, index - chunk, entry);
                ret = remember(c, vhdx_bat_entry_offset_of(entry));
            }
        }
        if (ret < 0) {
            return ret;
        }
    }
    return 0;
}

int vhdx_check_bat(struct vhdx *s, struct check_result *res)
{
    struct check c = {.s = s, .res = res, .len = child_length(s->n->file)};
    int ret = c.len < 0 ? (int)c.len : walk(&c);
    if (ret == 0) {
        check_shared(&c);
    }
    mem_free(c.places);
    return ret;
}

int vhdx_check(struct node *n, struct check_result *res, unsigned fix)
{
    struct vhdx *s = vhdx_state(n);
    if (s->replayed) {
        res->corruptions_fixed++;
    }
    int ret = vhdx_check_bat(s, res);
    if (ret < 0) {
        res->check_errors++;
    }
    s->replayed = false;
    return ret;
}
