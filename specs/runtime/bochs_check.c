/*
 * The spec checker of Bochs redologs: see format_checks.h.
 *
 * Models: the header's texts and numbers, the catalog, extents that two entries name or that lie
 * behind the end of the file.  Leaves out: the extents' bitmaps, of which any content is lawful.
 */
#include <string.h>

#include "specs/runtime/arith.h"
#include "specs/runtime/format_checks.h"
#include "specs/runtime/walk.h"
#include "specs/bochs_layout.h"

enum { R_HEADER, R_CATALOG, R_EXTENT };
static const char *const names[] = {"header", "catalog", "extent"};

struct bochs_walk {
    struct spec_walk s;
    struct bochs_params params;
    uint64_t first, whole; /* where the extents begin; of one with its bitmap; bytes */
};

static void clash(struct spec_walk *w, const struct spec_range *a, const struct spec_range *b)
{
    spec_walk_tell_overlap(w, b->kind == R_EXTENT ? "EXT-5" : "HDR-11", names, a, b);
}

static void visit_entry(struct spec_walk *w, uint64_t index, const uint8_t *p, uint64_t at)
{
    const struct bochs_walk *q = (const struct bochs_walk *)w;
    uint64_t extent = bochs_catalog_entry_get_extent(p);
    if (extent == BOCHS_UNALLOCATED) {
        return;
    }
    uint64_t offset = spec_add(q->first, spec_mul(extent, q->whole));
    if (!spec_walk_inside(w, offset, q->whole)) {
        spec_report_add(w->r, "EXT-4", SPEC_CORRUPTION, at, extent, w->image->size,
                        "extent %llu is not inside the file", (unsigned long long)extent);
        return;
    }
    spec_walk_note(w, offset, q->whole, R_EXTENT, at);
}

static bool check_texts(struct spec_walk *w, const uint8_t *h)
{
    static const struct {
        const char *text, *clause;
        unsigned at;
    } texts[] = {{"Bochs Virtual HD Image", "HDR-1", BOCHS_HEADER_MAGIC_OFF},
                 {"Redolog", "HDR-2", BOCHS_HEADER_TYPE_OFF},
                 {"Growing", "HDR-3", BOCHS_HEADER_SUBTYPE_OFF}};
    bool right = true;
    for (unsigned i = 0; i < 3; i++) {
        if (memcmp(h + texts[i].at, texts[i].text, strlen(texts[i].text) + 1) != 0) {
            spec_report_add(w->r, texts[i].clause, SPEC_CORRUPTION, texts[i].at, 0, 0,
                            "the header does not say \"%s\"", texts[i].text);
            right = false;
        }
    }
    return right;
}

static void walk_all(struct bochs_walk *q)
{
    uint8_t h[BOCHS_HEADER_SIZE];
    struct spec_walk *w = &q->s;
    if (!spec_walk_get(w, 0, h, sizeof(h)) || !check_texts(w, h)) {
        return;
    }
    uint64_t catalog = bochs_header_get_header_bytes(h), n = bochs_header_get_catalog(h);
    uint64_t extent = bochs_header_get_extent(h), bitmap = bochs_header_get_bitmap(h);
    uint64_t disk = bochs_header_get_version(h) == BOCHS_VERSION_1 ? bochs_header_v1_get_disk(h)
                                                                   : bochs_header_get_disk(h);
    spec_walk_check(w, "header", h, 0);
    if (extent & (extent - 1)) {
        spec_report_add(w->r, "HDR-8", SPEC_CORRUPTION, BOCHS_HEADER_EXTENT_OFF, extent, 0,
                        "an extent of %llu bytes", (unsigned long long)extent);
        return;
    }
    if (spec_mul(n, extent) < disk / BOCHS_SECTOR * BOCHS_SECTOR) {
        spec_report_add(w->r, "HDR-9", SPEC_CORRUPTION, BOCHS_HEADER_CATALOG_OFF, n, disk,
                        "the catalog does not cover the disk");
    }
    if (!spec_walk_inside(w, catalog, n * BOCHS_CATALOG_ENTRY_SIZE)) {
        spec_report_add(w->r, "HDR-11", SPEC_CORRUPTION, BOCHS_HEADER_CATALOG_OFF, catalog, n,
                        "the catalog is not inside the file");
        return;
    }
    q->first = catalog + n * BOCHS_CATALOG_ENTRY_SIZE;
    q->whole = (bitmap + BOCHS_SECTOR - 1) / BOCHS_SECTOR * BOCHS_SECTOR + extent;
    spec_walk_note(w, 0, sizeof(h), R_HEADER, 0);
    spec_walk_note(w, catalog, n * BOCHS_CATALOG_ENTRY_SIZE, R_CATALOG, 0);
    spec_walk_table(w, catalog, n, BOCHS_CATALOG_ENTRY_SIZE, false, visit_entry);
    spec_walk_overlaps(w, clash);
}

int spec_bochs_check(const struct spec_image *image, const struct spec_limits *limits,
                     struct spec_state *state, struct spec_report *r)
{
    struct bochs_walk q = {.first = 0};
    spec_walk_init(&q.s, image, spec_bochs(), limits, r);
    q.s.params = &q.params;
    walk_all(&q);
    return spec_walk_end(&q.s);
}
