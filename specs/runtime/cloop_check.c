/*
 * The spec checker of compressed loop images: see format_checks.h.
 *
 * Models: the geometry, the table of offsets, that blocks lie behind it and inside the file. Leaves
 * out: the shell script's text, and what blocks unpack to.
 */
#include "specs/runtime/arith.h"
#include "specs/runtime/format_checks.h"
#include "specs/runtime/walk.h"
#include "specs/cloop_layout.h"

struct cloop_walk {
    struct spec_walk s;
    struct cloop_params params;
    uint64_t last; /* the offset before, at first the table's end */
};

static void visit_offset(struct spec_walk *w, uint64_t index, const uint8_t *p, uint64_t at)
{
    struct cloop_walk *q = (struct cloop_walk *)w;
    uint64_t offset = cloop_offset_entry_get_offset(p);
    if (offset < q->last) {
        spec_report_add(w->r, index ? "BLK-1" : "BLK-4", SPEC_CORRUPTION, at, offset, q->last,
                        "block %llu begins below what stands before it", (unsigned long long)index);
    } else if (offset > w->image->size) {
        spec_report_add(w->r, "BLK-4", SPEC_CORRUPTION, at, offset, w->image->size,
                        "block %llu is behind the end of the file", (unsigned long long)index);
    } else if (index && offset - q->last > CLOOP_MAX_COMPRESSED) {
        spec_report_add(w->r, "BLK-3", SPEC_ADVICE, at, offset - q->last, CLOOP_MAX_COMPRESSED,
                        "a compressed block that QEMU does not open");
    }
    q->last = offset > q->last ? offset : q->last;
}

static void walk_all(struct cloop_walk *q)
{
    uint8_t h[CLOOP_HEADER_SIZE];
    struct spec_walk *w = &q->s;
    if (!spec_walk_get(w, 0, h, sizeof(h)) || spec_walk_check(w, "header", h, 0)) {
        return;
    }
    uint64_t entries = cloop_header_get_n_blocks(h) + UINT64_C(1);
    q->last = CLOOP_HEADER_SIZE + entries * CLOOP_OFFSET_ENTRY_SIZE;
    if (q->last > w->image->size) {
        spec_report_add(w->r, "BLK-5", SPEC_CORRUPTION, CLOOP_HEADER_N_BLOCKS_OFF, q->last,
                        w->image->size, "the table of offsets is not inside the file");
        return;
    }
    spec_walk_table(w, CLOOP_HEADER_SIZE, entries, CLOOP_OFFSET_ENTRY_SIZE, false, visit_offset);
}

int spec_cloop_check(const struct spec_image *image, const struct spec_limits *limits,
                     struct spec_state *state, struct spec_report *r)
{
    struct cloop_walk q = {.last = 0};
    spec_walk_init(&q.s, image, spec_cloop(), limits, r);
    q.s.params = &q.params;
    walk_all(&q);
    return spec_walk_end(&q.s);
}
