/*
 * The spec checker of VHDX: see format_checks.h.
 *
 * Models: identifier, both headers with their checksums and sequence numbers, the log (see
 * vhdx_check_log.c; what it holds is judged as if it had been replayed), both region tables, the
 * metadata (vhdx_check_metadata.c), the block allocation table with what overlaps and what was
 * lost.
 * Leaves out: parent locators' text, the content of sector bitmaps, user metadata.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "specs/runtime/arith.h"
#include "specs/runtime/format_checks.h"
#include "specs/runtime/vhdx_check_int.h"

enum { R_HEAD, R_LOG, R_REGION, R_BLOCK };
static const char *const names[] = {"header area", "log", "region", "block"};

static const struct vhdx_guid guid_bat = {
    0x2dc27766, 0xf623, 0x4200, {0x9d, 0x64, 0x11, 0x5e, 0x9b, 0xfd, 0x4a, 0x08}};
static const struct vhdx_guid guid_metadata = {
    0x8b7ca206, 0x4790, 0x4b9a, {0xb8, 0xfe, 0x57, 0x5f, 0x05, 0x0f, 0x88, 0x6e}};

static void clash(struct spec_walk *w, const struct spec_range *a, const struct spec_range *b)
{
    bool block = a->kind == R_BLOCK || b->kind == R_BLOCK;
    spec_walk_tell_overlap(w, block ? "BAT-4" : "GEN-1", names, a, b);
}

/* Whether len bytes have the CRC-32C that stands at byte 4 of them. */
static bool sum_matches(const struct vhdx_walk *v, const uint8_t *p, size_t len)
{
    static const uint8_t none[4];
    uint32_t crc = vhdx_crc(v, UINT32_MAX, p, 4);
    crc = vhdx_crc(v, crc, none, 4);
    return load_le32(p + 4) == ~vhdx_crc(v, crc, p + 8, len - 8);
}

bool vhdx_is_guid(const uint8_t *p, const struct vhdx_guid *g)
{
    return load_le32(p) == g->a && load_le16(p + 4) == g->b && load_le16(p + 6) == g->c &&
           !memcmp(p + 8, g->d, sizeof(g->d));
}

void vhdx_complain(struct vhdx_walk *v, const char *clause, uint64_t at, uint64_t found,
                   uint64_t expected, const char *what)
{
    spec_report_add(v->s.r, clause, SPEC_CORRUPTION, at, found, expected, "%s", what);
}

/* ---- headers ---- */

static bool header_valid(const struct vhdx_walk *v, const uint8_t *h)
{
    return vhdx_header_get_signature(h) == VHDX_HEADER_SIGNATURE &&
           vhdx_header_get_version(h) == 1 && sum_matches(v, h, VHDX_HEADER_BYTES);
}

/* One that is not valid is what a cut leaves of an update, as long as the other one is. */
static void judge_header(struct vhdx_walk *v, const uint8_t *h, uint64_t at, bool other)
{
    if (other) {
        spec_report_add(v->s.r, "HDR-11", SPEC_TOLERATED, at, 0, 0,
                        "the header at 0x%llx is not valid; the other one is",
                        (unsigned long long)at);
        return;
    }
    spec_walk_check(&v->s, "header", h, at);
    if (!sum_matches(v, h, VHDX_HEADER_BYTES)) {
        vhdx_complain(v, "HDR-2", at, load_le32(h + VHDX_HEADER_CHECKSUM_OFF), 0,
                      "the header's checksum does not match");
    }
}

/* The current header into v->header; false when there is none. */
static bool take_headers(struct vhdx_walk *v)
{
    static const uint64_t places[2] = {VHDX_HEADER1_OFFSET, VHDX_HEADER2_OFFSET};
    uint8_t h[2][VHDX_HEADER_BYTES];
    bool valid[2];
    uint64_t n[2];
    for (int i = 0; i < 2; i++) {
        if (!spec_walk_get(&v->s, places[i], h[i], VHDX_HEADER_BYTES)) {
            return false;
        }
        valid[i] = header_valid(v, h[i]);
        n[i] = vhdx_header_get_sequence_number(h[i]);
    }
    for (int i = 0; i < 2; i++) {
        if (!valid[i]) {
            judge_header(v, h[i], places[i], valid[!i]);
        }
    }
    if (!valid[0] && !valid[1]) {
        return false;
    }
    int current = !valid[0] || (valid[1] && n[1] > n[0]);
    if (valid[0] && valid[1] && n[0] == n[1] && memcmp(h[0], h[1], VHDX_HEADER_BYTES) != 0) {
        vhdx_complain(v, "HDR-12", places[1], n[1], n[0], "two headers claim to be current");
    }
    spec_walk_check(&v->s, "header", h[current], places[current]);
    memcpy(v->header, h[current], sizeof(v->header));
    return true;
}

static void take_log_place(struct vhdx_walk *v)
{
    uint64_t at = vhdx_header_get_log_offset(v->header);
    uint64_t bytes = vhdx_header_get_log_length(v->header);
    if (!spec_walk_inside(&v->s, at, bytes)) {
        vhdx_complain(v, "LOG-11", VHDX_HEADER1_OFFSET, at, bytes,
                      "the log is not inside the file");
        return;
    }
    v->log = at;
    v->log_bytes = bytes;
    spec_walk_note(&v->s, at, bytes, R_LOG, VHDX_HEADER1_OFFSET);
}

/* ---- regions ---- */

static void take_region(struct vhdx_walk *v, const uint8_t *e, uint64_t at)
{
    uint64_t offset = vhdx_region_entry_get_file_offset(e);
    uint64_t bytes = vhdx_region_entry_get_length(e);
    bool is_bat = vhdx_is_guid(e, &guid_bat), known = is_bat || vhdx_is_guid(e, &guid_metadata);
    if (spec_walk_check(&v->s, "region_entry", e, at)) {
        return;
    }
    if (!spec_walk_inside(&v->s, offset, bytes)) {
        vhdx_complain(v, "REG-9", at, offset, bytes, "a region is not inside the file");
        return;
    }
    spec_walk_note(&v->s, offset, bytes, R_REGION, at);
    uint64_t *place = is_bat ? &v->bat : &v->metadata;
    if (!known) {
        if (vhdx_region_entry_get_flags(e)) {
            vhdx_complain(v, "REG-7", at, 0, 0, "a required region is not known");
        }
        return;
    }
    if (*place) {
        vhdx_complain(v, "REG-7", at, offset, *place, "a region is there twice");
        return;
    }
    *place = offset;
    *(is_bat ? &v->bat_bytes : &v->metadata_bytes) = bytes;
}

static bool judge_table(struct vhdx_walk *v, const uint8_t *t, uint64_t at)
{
    unsigned bad = spec_walk_check(&v->s, "region_table", t, at);
    if (!sum_matches(v, t, VHDX_TABLE_BYTES)) {
        vhdx_complain(v, "REG-2", at, load_le32(t + VHDX_REGION_TABLE_CHECKSUM_OFF), 0,
                      "the region table's checksum does not match");
        bad++;
    }
    return bad == 0;
}

/* Both tables; t has room for them. */
static void take_regions(struct vhdx_walk *v, uint8_t *t)
{
    uint8_t *second = t + VHDX_TABLE_BYTES;
    if (!spec_walk_get(&v->s, VHDX_REGION1_OFFSET, t, VHDX_TABLE_BYTES) ||
        !spec_walk_get(&v->s, VHDX_REGION2_OFFSET, second, VHDX_TABLE_BYTES)) {
        return;
    }
    bool first_ok = judge_table(v, t, VHDX_REGION1_OFFSET);
    bool second_ok = judge_table(v, second, VHDX_REGION2_OFFSET);
    if (first_ok && second_ok && memcmp(t, second, VHDX_TABLE_BYTES) != 0) {
        vhdx_complain(v, "REG-8", VHDX_REGION2_OFFSET, 0, 0, "the two region tables differ");
    }
    if (!first_ok && !second_ok) {
        return;
    }
    uint64_t place = first_ok ? VHDX_REGION1_OFFSET : VHDX_REGION2_OFFSET;
    t = first_ok ? t : second;
    for (uint64_t i = 0, n = vhdx_region_table_get_entry_count(t); i < n; i++) {
        uint64_t at = VHDX_REGION_TABLE_SIZE + i * VHDX_REGION_ENTRY_SIZE;
        take_region(v, t + at, place + at);
    }
    if (!v->bat || !v->metadata) {
        vhdx_complain(v, "REG-7", place, 0, 0, "the BAT or the metadata region is missing");
    }
}

/* ---- blocks ---- */

static bool state_known(const struct vhdx_walk *v, uint64_t state, bool bitmap)
{
    if (bitmap) {
        return state == VHDX_STATE_NOT_PRESENT || state == VHDX_STATE_FULLY_PRESENT;
    }
    return state != 4 && (state != VHDX_STATE_PARTIALLY_PRESENT || v->has_parent);
}

static void visit_entry(struct spec_walk *w, uint64_t index, const uint8_t *p, uint64_t at)
{
    struct vhdx_walk *v = (struct vhdx_walk *)w;
    uint64_t state = vhdx_bat_entry_get_state(p), offset = vhdx_bat_entry_get_offset(p);
    bool bitmap = index % (v->ratio + 1) == v->ratio;
    uint64_t bytes = bitmap ? VHDX_ALIGN : v->block;
    if (!state_known(v, state, bitmap)) {
        spec_report_add(w->r, "BAT-7", SPEC_CORRUPTION, at, state, 0,
                        "a block of unknown state %llu", (unsigned long long)state);
    }
    if (spec_walk_check(w, "bat_entry", p, at) ||
        (state != VHDX_STATE_FULLY_PRESENT && state != VHDX_STATE_PARTIALLY_PRESENT)) {
        return;
    }
    if (!spec_walk_inside(w, offset, bytes)) {
        spec_report_add(w->r, "BAT-4", SPEC_CORRUPTION, at, offset, w->image->size,
                        "a block at 0x%llx is not inside the file", (unsigned long long)offset);
        return;
    }
    spec_walk_note(w, offset, bytes, R_BLOCK, at);
    v->first_block = v->first_block && v->first_block < offset ? v->first_block : offset;
}

/* The entries of all blocks; the last chunk's bitmap block has one only with a parent. */
static void walk_bat(struct vhdx_walk *v)
{
    uint64_t blocks = spec_add(v->disk, v->block - 1) / v->block;
    uint64_t chunks = (blocks + v->ratio - 1) / v->ratio;
    uint64_t n = v->has_parent ? chunks * (v->ratio + 1) : blocks + spec_sub(chunks, 1);
    if (n > v->bat_bytes / VHDX_BAT_ENTRY_SIZE) {
        vhdx_complain(v, "BAT-6", v->bat, v->bat_bytes, n,
                      "the BAT region is too short for the disk");
        return;
    }
    spec_walk_table(&v->s, v->bat, n, VHDX_BAT_ENTRY_SIZE, true, visit_entry);
}

static void walk_all(struct vhdx_walk *v, uint8_t *tables)
{
    uint8_t id[VHDX_FILE_IDENTIFIER_SIZE];
    struct spec_walk *w = &v->s;
    if (!spec_walk_get(w, 0, id, sizeof(id)) || spec_walk_check(w, "file_identifier", id, 0) ||
        !take_headers(v)) {
        return;
    }
    spec_walk_note(w, 0, VHDX_ALIGN, R_HEAD, 0);
    take_log_place(v);
    vhdx_take_log(v);
    take_regions(v, tables);
    if (v->metadata) {
        vhdx_take_metadata(v, tables);
    }
    if (v->bat && v->block) {
        walk_bat(v);
    }
    spec_walk_overlaps(w, clash);
    if (v->first_block) {
        spec_walk_leaks(w, v->first_block, w->image->size, v->block, "BAT-8");
    }
}

int spec_vhdx_check(const struct spec_image *image, const struct spec_limits *limits,
                    struct spec_state *state, struct spec_report *r)
{
    struct vhdx_walk v = {.file = image};
    uint8_t *tables = malloc(2 * VHDX_TABLE_BYTES);
    spec_walk_init(&v.s, image, spec_vhdx(), limits, r);
    v.s.params = &v.params;
    vhdx_crc_init(&v);
    if (tables) {
        walk_all(&v, tables);
    } else {
        v.s.error = -ENOMEM;
    }
    state->condition = v.pending ? "log" : NULL;
    free(tables);
    free(v.changes);
    return spec_walk_end(&v.s);
}
