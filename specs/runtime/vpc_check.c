/*
 * The spec checker of VHD (vpc): see format_checks.h.
 *
 * Models: the footer and its copy, the dynamic header, their checksums, the block allocation table,
 * blocks that overlap or reach behind the footer, room that was lost, the places of a differencing
 * image's parent locators.  Leaves out: sector bitmaps, the geometry, the parent.
 */
#include <string.h>

#include "specs/runtime/arith.h"
#include "specs/runtime/format_checks.h"
#include "specs/runtime/walk.h"
#include "specs/vpc_layout.h"

enum { R_FOOTER, R_HEADER, R_TABLE, R_LOCATOR, R_BLOCK };
static const char *const names[] = {"footer", "dynamic header", "allocation table",
                                    "parent locator", "block"};

struct vpc_walk {
    struct spec_walk s;
    struct vpc_params params;
    uint64_t whole; /* bytes of a block with its bitmap */
    uint64_t end;   /* of blocks: where the footer is, or should be */
    bool allocated;
};

static void clash(struct spec_walk *w, const struct spec_range *a, const struct spec_range *b)
{
    bool block = a->kind == R_BLOCK || b->kind == R_BLOCK;
    spec_walk_tell_overlap(w, block ? "BAT-4" : "DYN-5", names, a, b);
}

/* The complement of the sum of the bytes but those of the checksum itself. */
static void check_sum(struct spec_walk *w, const uint8_t *p, size_t len, size_t at,
                      const char *clause, uint64_t offset)
{
    uint32_t sum = 0;
    for (size_t i = 0; i < len; i++) {
        sum += p[i];
    }
    for (size_t i = at; i < at + 4; i++) {
        sum -= p[i];
    }
    if (load_be32(p + at) != (uint32_t)~sum) {
        spec_report_add(w->r, clause, SPEC_CORRUPTION, offset + at, load_be32(p + at),
                        (uint32_t)~sum, "the checksum does not match");
    }
}

static void check_footer(struct spec_walk *w, const uint8_t *f, uint64_t offset)
{
    spec_walk_check(w, "footer", f, offset);
    check_sum(w, f, VPC_FOOTER_SIZE, VPC_FOOTER_CHECKSUM_OFF, "FTR-4", offset);
    spec_walk_note(w, offset, VPC_FOOTER_SIZE, R_FOOTER, offset);
}

/* ---- dynamic and differencing ---- */

static void visit_entry(struct spec_walk *w, uint64_t index, const uint8_t *p, uint64_t at)
{
    struct vpc_walk *q = (struct vpc_walk *)w;
    uint64_t sector = vpc_bat_entry_get_sector(p), offset = sector * VPC_SECTOR;
    if (sector == VPC_UNUSED) {
        return;
    }
    if (spec_add(offset, q->whole) > q->end) {
        spec_report_add(w->r, "BAT-3", SPEC_CORRUPTION, at, offset, q->end,
                        "block %llu at 0x%llx reaches behind the end of the file's blocks",
                        (unsigned long long)index, (unsigned long long)offset);
        return;
    }
    spec_walk_note(w, offset, q->whole, R_BLOCK, at);
}

static void check_locators(struct spec_walk *w, const uint8_t *d, uint64_t offset)
{
    for (unsigned i = 0; i < VPC_LOCATORS; i++) {
        uint64_t place = VPC_DYNAMIC_PARENT_LOCATORS_OFF + i * VPC_LOCATOR_SIZE;
        const uint8_t *l = d + place;
        uint64_t at = vpc_locator_get_data_offset(l), bytes = vpc_locator_get_data_length(l);
        if (vpc_locator_get_code(l) == 0) {
            continue;
        }
        if (!spec_walk_inside(w, at, bytes)) {
            spec_report_add(w->r, "DYN-8", SPEC_CORRUPTION, offset + place, at, bytes,
                            "parent locator %u is not inside the file", i);
            continue;
        }
        spec_walk_note(w, at, bytes, R_LOCATOR, offset + place);
    }
}

static void check_dynamic(struct vpc_walk *q, const uint8_t *f)
{
    struct spec_walk *w = &q->s;
    uint8_t d[VPC_DYNAMIC_SIZE];
    uint64_t at = vpc_footer_get_data_offset(f);
    if (!spec_walk_inside(w, at, sizeof(d))) {
        spec_report_add(w->r, "DYN-5", SPEC_CORRUPTION, VPC_FOOTER_DATA_OFFSET_OFF, at,
                        w->image->size, "the dynamic header is not inside the file");
        return;
    }
    if (!spec_walk_get(w, at, d, sizeof(d))) {
        return;
    }
    spec_walk_check(w, "dynamic", d, at);
    check_sum(w, d, sizeof(d), VPC_DYNAMIC_CHECKSUM_OFF, "DYN-4", at);
    spec_walk_note(w, at, sizeof(d), R_HEADER, VPC_FOOTER_DATA_OFFSET_OFF);
    if (vpc_footer_get_disk_type(f) == VPC_TYPE_DIFFERENCING) {
        check_locators(w, d, at);
    }
    uint64_t table = vpc_dynamic_get_table_offset(d), n = vpc_dynamic_get_max_table_entries(d);
    uint64_t block = vpc_dynamic_get_block_size(d), disk = vpc_footer_get_current_size(f);
    if (!spec_walk_inside(w, table, n * VPC_BAT_ENTRY_SIZE)) {
        spec_report_add(w->r, "DYN-6", SPEC_CORRUPTION, at + VPC_DYNAMIC_TABLE_OFFSET_OFF, table,
                        w->image->size, "the allocation table is not inside the file");
        return;
    }
    if (spec_mul(n, block) < disk) {
        spec_report_add(w->r, "DYN-7", SPEC_CORRUPTION, at + VPC_DYNAMIC_MAX_TABLE_ENTRIES_OFF, n,
                        disk, "the allocation table does not cover the disk");
    }
    spec_walk_note(w, table, n * VPC_BAT_ENTRY_SIZE, R_TABLE, at);
    uint64_t sectors = block / VPC_SECTOR, bitmap = spec_add(sectors, 4095) / 4096 * VPC_SECTOR;
    q->whole = bitmap + block;
    q->allocated = block >= VPC_SECTOR;
    if (q->allocated) {
        spec_walk_table(w, table, n, VPC_BAT_ENTRY_SIZE, false, visit_entry);
    }
}

/* FTR-8: the last sector (a last one that is not whole does not count). */
static bool take_end(struct vpc_walk *q, uint8_t *last)
{
    q->end = spec_sub(q->s.image->size / VPC_SECTOR * VPC_SECTOR, VPC_FOOTER_SIZE);
    return spec_walk_get(&q->s, q->end, last, VPC_FOOTER_SIZE);
}

static void walk_all(struct vpc_walk *q)
{
    uint8_t f[VPC_FOOTER_SIZE], last[VPC_FOOTER_SIZE];
    struct spec_walk *w = &q->s;
    if (!spec_walk_get(w, 0, f, sizeof(f)) || !take_end(q, last)) {
        return;
    }
    if (vpc_footer_get_cookie(f) != VPC_COOKIE) { /* fixed: its only footer is at the end */
        uint64_t disk = vpc_footer_get_current_size(last);
        check_footer(w, last, q->end);
        if (vpc_footer_get_cookie(last) == VPC_COOKIE && disk > q->end) {
            spec_report_add(w->r, "FTR-9", SPEC_CORRUPTION, q->end, disk, q->end,
                            "a fixed disk is longer than its file");
        }
        if (vpc_footer_get_disk_type(last) != VPC_TYPE_FIXED) {
            spec_report_add(w->r, "FTR-8", SPEC_CORRUPTION, 0, 0, 0,
                            "the first sector has no copy of the footer");
        }
        return;
    }
    check_footer(w, f, 0);
    if (memcmp(f, last, sizeof(f)) != 0) {
        spec_report_add(w->r, "FTR-8", SPEC_CORRUPTION, q->end, 0, 0,
                        "the last sector is not the footer that is in the first one");
        q->end = w->image->size;
    } else {
        spec_walk_note(w, q->end, sizeof(last), R_FOOTER, q->end);
    }
    if (vpc_footer_get_disk_type(f) != VPC_TYPE_FIXED) {
        check_dynamic(q, f);
    }
    spec_walk_overlaps(w, clash);
    if (q->allocated) {
        spec_walk_leaks(w, 0, w->image->size, q->whole, "BAT-5");
    }
}

int spec_vpc_check(const struct spec_image *image, const struct spec_limits *limits,
                   struct spec_state *state, struct spec_report *r)
{
    struct vpc_walk q = {.end = 0};
    spec_walk_init(&q.s, image, spec_vpc(), limits, r);
    q.s.params = &q.params;
    walk_all(&q);
    return spec_walk_end(&q.s);
}
