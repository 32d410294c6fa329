/*
 * Block status: what a layer, and the layers below it, know about a range.
 *
 * A layer answers for itself (STATUS_ALLOCATED or not); a RAW answer is replaced by that of the
 * node it points at, and RECURSE lets a lower layer add that data are zeroes.  What a backing chain
 * leaves undefined, and what lies beyond the end of a shorter backing file, is zero.
 */
#include <assert.h>
#include <errno.h>
#include "ref/block/io_impl.h"

/* The driver's own answer for an aligned range, or the default for drivers that cannot tell. */
static int ask_driver(struct node *n, bool precise, int64_t offset, int64_t bytes,
                      struct status *out)
{
    *out = (struct status){.bytes = bytes};
    if (n->drv->block_status) {
        int ret = n->drv->block_status(n, precise, offset, bytes, out);
        if (ret < 0) {
            return ret;
        }
        assert(out->bytes > 0);
        return 0;
    }
    struct child *c = node_filtered(n);
    if (c) {
        out->flags = STATUS_RAW | STATUS_OFFSET_VALID;
        out->map = offset;
        out->file = c->node;
        return 0;
    }
    out->flags = STATUS_DATA | STATUS_ALLOCATED;
    if (n->drv->kind == DRIVER_PROTOCOL) {
        out->flags |= STATUS_OFFSET_VALID;
        out->map = offset;
        out->file = n;
    }
    return 0;
}

/* Cuts the answer for the aligned range around offset to the range that was asked for. */
static void cut(struct status *s, int64_t skipped, int64_t bytes)
{
    s->bytes = MIN(s->bytes - skipped, bytes);
    if (s->flags & STATUS_OFFSET_VALID) {
        s->map += skipped;
    }
}

/* What no layer defines reads as zeroes. */
static int add_allocation(struct node *n, bool precise, int64_t offset, struct status *s)
{
    struct child *cow = node_cow_child(n);
    if (s->flags & (STATUS_DATA | STATUS_ZERO)) {
        s->flags |= STATUS_ALLOCATED;
    } else if (n->drv->supports_backing && !cow) {
        s->flags |= STATUS_ZERO;
    } else if (n->drv->supports_backing && precise) {
        int64_t length = node_length(cow->node);
        if (length >= 0 && offset >= length) {
            s->flags |= STATUS_ZERO;
        }
    }
    return 0;
}

static int recurse_for_zeroes(struct node *n, bool precise, struct status *s)
{
    struct status below;
    int64_t map = s->map;
    if (!precise || !(s->flags & STATUS_RECURSE) || !(s->flags & STATUS_DATA) ||
        !(s->flags & STATUS_OFFSET_VALID) || !s->file || s->file == n) {
        return 0;
    }
    if (node_block_status(s->file, precise, map, s->bytes, &below) < 0) {
        return 0; /* no more is known, that is all */
    }
    if ((below.flags & STATUS_EOF) && (!below.bytes || (below.flags & STATUS_ZERO))) {
        s->flags |= STATUS_ZERO; /* beyond the end of the file below */
        return 0;
    }
    s->bytes = MIN(s->bytes, below.bytes);
    s->flags |= below.flags & STATUS_ZERO;
    return 0;
}

/* A RAW answer becomes that of the node it points at.  Behind that node's end are zeroes: where raw
 * has a window that begins at no sector, its last sector ends there. */
static int status_of_file(bool precise, struct status *s)
{
    assert((s->flags & STATUS_OFFSET_VALID) && s->file);
    int64_t bytes = s->bytes;
    int ret = node_block_status(s->file, precise, s->map, bytes, s);
    if (ret == 0 && s->bytes == 0) {
        *s = (struct status){.flags = STATUS_ZERO | STATUS_ALLOCATED, .bytes = bytes};
    }
    return ret;
}

static int status_within(struct node *n, bool precise, int64_t offset, int64_t bytes,
                         struct status *out)
{
    int64_t align = n->limits.request_alignment;
    int64_t start = ROUND_DOWN(offset, align);
    int ret = ask_driver(n, precise, start, ROUND_UP(offset + bytes, align) - start, out);
    if (ret < 0) {
        return ret;
    }
    cut(out, offset - start, bytes);
    if (out->flags & STATUS_RAW) {
        return status_of_file(precise, out);
    }
    ret = add_allocation(n, precise, offset, out);
    return ret < 0 ? ret : recurse_for_zeroes(n, precise, out);
}

int node_block_status(struct node *n, bool precise, int64_t offset, int64_t bytes,
                      struct status *out)
{
    *out = (struct status){0};
    if (!n->drv) {
        return -ENOMEDIUM;
    }
    assert(offset >= 0 && bytes >= 0);
    int64_t length = node_length(n);
    if (length < 0) {
        return (int)length;
    }
    if (offset >= length) {
        out->flags = STATUS_EOF;
        return 0;
    }
    if (bytes == 0) {
        return 0;
    }
    bytes = MIN(bytes, length - offset);
    node_inc_in_flight(n);
    int ret = status_within(n, precise, offset, bytes, out);
    node_dec_in_flight(n);
    if (ret < 0) {
        *out = (struct status){0};
        return ret;
    }
    out->flags &= ~(unsigned)STATUS_EOF;
    if (offset + out->bytes == length) {
        out->flags |= STATUS_EOF;
    }
    return 0;
}

static struct node *next_below(struct node *n)
{
    struct child *c = node_filtered(n);
    c = c ? c : node_cow_child(n);
    return c ? c->node : NULL;
}

/* Walks down to `base`, which is looked at only if include_base. */
static int status_above(struct node *n, struct node *base, bool include_base, bool precise,
                        int64_t offset, int64_t bytes, struct status *out, int *depth)
{
    int layers = 0;
    int *d = depth ? depth : &layers;
    *d = 0;
    *out = (struct status){0};
    if (!include_base && n == base) {
        out->bytes = bytes;
        return 0;
    }
    *d = 1;
    int ret = node_block_status(n, precise, offset, bytes, out);
    if (ret < 0 || out->bytes == 0 || (out->flags & STATUS_ALLOCATED) || n == base) {
        return ret;
    }
    int64_t eof = out->flags & STATUS_EOF ? offset + out->bytes : -1;
    bytes = out->bytes;
    for (n = next_below(n); n && (include_base || n != base); n = next_below(n)) {
        ret = node_block_status(n, precise, offset, bytes, out);
        ++*d;
        if (ret < 0) {
            return ret;
        }
        if (out->bytes == 0) {
            /* This layer is shorter, so it is the one that supplies the zeroes. */
            *out =
                (struct status){.flags = STATUS_ZERO | STATUS_ALLOCATED, .bytes = bytes, .file = n};
            break;
        }
        bytes = out->bytes;
        out->flags &= ~(unsigned)STATUS_EOF;
        if ((out->flags & STATUS_ALLOCATED) || n == base) {
            break;
        }
    }
    out->bytes = bytes;
    if (offset + bytes == eof) {
        out->flags |= STATUS_EOF;
    }
    return 0;
}

int node_block_status_above(struct node *n, struct node *base, bool precise, int64_t offset,
                            int64_t bytes, struct status *out, int *depth)
{
    return status_above(n, base, false, precise, offset, bytes, out, depth);
}

int node_is_allocated(struct node *n, int64_t offset, int64_t bytes, int64_t *pnum)
{
    struct status s;
    int ret = status_above(n, n, true, false, offset, bytes, &s, NULL);
    *pnum = s.bytes;
    return ret < 0 ? ret : (s.flags & STATUS_ALLOCATED) != 0;
}

int node_is_allocated_above(struct node *n, struct node *base, bool include_base, int64_t offset,
                            int64_t bytes, int64_t *pnum)
{
    struct status s;
    int depth;
    int ret = status_above(n, base, include_base, false, offset, bytes, &s, &depth);
    *pnum = s.bytes;
    return ret < 0 ? ret : (s.flags & STATUS_ALLOCATED) ? depth : 0;
}

int node_map_status(struct node *n, int64_t offset, int64_t bytes, struct status *out, int *depth)
{
    *depth = 0;
    for (;;) {
        int ret = node_block_status(n, true, offset, bytes, out);
        if (ret < 0 || (out->flags & (STATUS_DATA | STATUS_ZERO)) || out->bytes == 0) {
            return ret;
        }
        struct node *below = next_below(n);
        if (!below) {
            out->flags &= ~(unsigned)STATUS_OFFSET_VALID; /* nobody knows anything of it */
            return 0;
        }
        *depth += !node_filtered(n); /* a filter is no layer */
        n = below;
        bytes = out->bytes;
    }
}
