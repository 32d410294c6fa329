/*
 * The spec checker of VDI: see format_checks.h.
 *
 * Models: header, block map, blocks that two entries name, that lie behind the end of the file or
 * that nothing names, and the count of allocated blocks.  Leaves out: parents of differencing
 * images, the geometry, UUIDs.
 */
#include <errno.h>

#include "specs/runtime/arith.h"
#include "specs/runtime/cluster_map.h"
#include "specs/runtime/format_checks.h"
#include "specs/runtime/walk.h"
#include "specs/vdi_layout.h"

struct vdi_walk {
    struct spec_walk s;
    struct vdi_params params;
    uint64_t data, named; /* offset of the blocks; entries that name one */
    struct cluster_map blocks;
};

static void visit_entry(struct spec_walk *w, uint64_t index, const uint8_t *p, uint64_t at)
{
    struct vdi_walk *q = (struct vdi_walk *)w;
    uint64_t block = vdi_map_entry_get_block(p);
    if (block >= VDI_DISCARDED) {
        return;
    }
    q->named++;
    if (spec_walk_check(w, "map_entry", p, at)) {
        return;
    }
    uint64_t offset = q->data + block * VDI_BLOCK;
    if (offset >= w->image->size) {
        spec_report_add(w->r, "MAP-9", SPEC_CORRUPTION, at, block, w->image->size,
                        "block %llu is behind the end of the file", (unsigned long long)block);
    }
    struct cluster_ref *ref = cluster_map_add(&q->blocks, block, 1);
    if (!ref) {
        w->error = -EFBIG;
    } else if (ref->count++) {
        spec_report_add(w->r, "MAP-3", SPEC_CORRUPTION, at, block, 0, "block %llu is named twice",
                        (unsigned long long)block);
    }
}

/* Whole blocks of the file that no entry names; there may be many more than entries. */
static void check_leaks(struct vdi_walk *q)
{
    uint64_t there = spec_sub(q->s.image->size, q->data) / VDI_BLOCK, inside = 0;
    for (size_t i = 0; i < q->blocks.nr_slots; i++) {
        inside += q->blocks.slots[i].kinds && q->blocks.slots[i].cluster < there;
    }
    if (there > inside && !q->s.error) {
        spec_report_add(q->s.r, "MAP-10", SPEC_LEAK, q->data, there - inside, 0,
                        "no entry names %llu of the file's blocks",
                        (unsigned long long)(there - inside));
    }
}

static void check_count(struct vdi_walk *q, const uint8_t *h)
{
    uint64_t count = vdi_header_get_blocks_allocated(h);
    if (count != q->named) {
        spec_report_add(q->s.r, "MAP-4", SPEC_CORRUPTION, VDI_HEADER_BLOCKS_ALLOCATED_OFF, count,
                        q->named, "%llu blocks are allocated, %llu entries name one",
                        (unsigned long long)count, (unsigned long long)q->named);
    }
    if (vdi_header_get_image_type(h) == VDI_TYPE_STATIC && q->named < q->params.blocks_in_image) {
        spec_report_add(q->s.r, "MAP-11", SPEC_CORRUPTION, VDI_HEADER_IMAGE_TYPE_OFF, q->named,
                        q->params.blocks_in_image, "a static image lacks blocks");
    }
}

static void walk_all(struct vdi_walk *q)
{
    uint8_t h[VDI_HEADER_SIZE];
    struct spec_walk *w = &q->s;
    if (!spec_walk_get(w, 0, h, sizeof(h))) {
        return;
    }
    uint64_t map = vdi_header_get_offset_bmap(h), blocks = vdi_header_get_blocks_in_image(h);
    q->params.blocks_in_image = blocks;
    q->data = vdi_header_get_offset_data(h);
    spec_walk_check(w, "header", h, 0);
    if (vdi_header_get_signature(h) != VDI_SIGNATURE ||
        vdi_header_get_version(h) != VDI_VERSION_1_1 || blocks > VDI_MAX_BLOCKS) {
        return;
    }
    if (!spec_walk_inside(w, map, blocks * VDI_MAP_ENTRY_SIZE)) {
        spec_report_add(w->r, "MAP-8", SPEC_CORRUPTION, VDI_HEADER_OFFSET_BMAP_OFF, map,
                        w->image->size, "the block map is not inside the file");
        return;
    }
    spec_walk_table(w, map, blocks, VDI_MAP_ENTRY_SIZE, false, visit_entry);
    if (!w->error) {
        check_count(q, h);
        check_leaks(q);
    }
}

int spec_vdi_check(const struct spec_image *image, const struct spec_limits *limits,
                   struct spec_state *state, struct spec_report *r)
{
    struct vdi_walk q = {.data = 0};
    spec_walk_init(&q.s, image, spec_vdi(), limits, r);
    q.s.params = &q.params;
    cluster_map_init(&q.blocks, q.s.most);
    walk_all(&q);
    cluster_map_free(&q.blocks);
    return spec_walk_end(&q.s);
}
