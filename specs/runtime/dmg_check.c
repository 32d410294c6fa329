/*
 * The spec checker of Apple disk images (UDIF): see format_checks.h.
 *
 * Models: the trailer, where forks and property list lie, the chunk tables of the resource fork or
 * of the property list's data elements, each chunk's type and place.  Leaves out: what chunks
 * unpack to, checksums, the property list's XML but for its data elements.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ref/base/base64.h"
#include "ref/base/mem.h"
#include "specs/runtime/arith.h"
#include "specs/runtime/format_checks.h"
#include "specs/runtime/walk.h"
#include "specs/dmg_layout.h"

struct dmg_walk {
    struct spec_walk s;
    struct dmg_params params;
    uint8_t trailer[DMG_TRAILER_SIZE];
    uint64_t end; /* where the trailer begins */
};

/* ---- tables ---- */

static void check_chunk(struct dmg_walk *q, const uint8_t *table, const uint8_t *c, uint64_t at)
{
    uint64_t type = dmg_chunk_get_type(c), bytes = dmg_chunk_get_length(c);
    uint64_t sector = spec_add(dmg_table_get_first_sector(table), dmg_chunk_get_sector(c));
    uint64_t place = spec_add(dmg_trailer_get_data_offset(q->trailer),
                              spec_add(dmg_table_get_data_offset(table), dmg_chunk_get_offset(c)));
    spec_walk_check(&q->s, "chunk", c, at);
    if (type == DMG_CHUNK_COMMENT || type == DMG_CHUNK_END) {
        return;
    }
    if (type != DMG_CHUNK_ZERO && type != DMG_CHUNK_IGNORE && spec_add(place, bytes) > q->end) {
        spec_report_add(q->s.r, "CHK-6", SPEC_CORRUPTION, at, place, q->end,
                        "a chunk at 0x%llx is not inside the file", (unsigned long long)place);
    }
    uint64_t disk = dmg_trailer_get_sectors(q->trailer);
    if (spec_add(sector, dmg_chunk_get_sectors(c)) > disk) {
        spec_report_add(q->s.r, "CHK-7", SPEC_CORRUPTION, at, sector, disk,
                        "a chunk at sector %llu reaches behind the disk",
                        (unsigned long long)sector);
    }
}

/* An item of len bytes in memory; at: where it, or its text, stands in the file. */
static void check_item(struct dmg_walk *q, const uint8_t *p, size_t len, uint64_t at)
{
    if (len < DMG_TABLE_SIZE || dmg_table_get_magic(p) != DMG_MISH) {
        return; /* TAB-1: passed over */
    }
    uint64_t n = dmg_table_get_chunks(p), room = (len - DMG_TABLE_SIZE) / DMG_CHUNK_SIZE;
    spec_walk_check(&q->s, "table", p, at);
    if (n > room) {
        spec_report_add(q->s.r, "TAB-4", SPEC_CORRUPTION, at, n, room,
                        "a table of %llu chunks has no room for them", (unsigned long long)n);
        n = room;
    }
    for (uint64_t i = 0; i < n && spec_walk_work(&q->s, DMG_CHUNK_SIZE); i++) {
        check_chunk(q, p, p + DMG_TABLE_SIZE + i * DMG_CHUNK_SIZE, at);
    }
}

/* ---- where tables are ---- */

/*
 * The bytes [offset, offset + len) in memory, and a zero behind them; NULL on an error, as one
 * longer than a property list may be.
 */
static uint8_t *take_bytes(struct dmg_walk *q, uint64_t offset, uint64_t len)
{
    uint8_t *p = len <= DMG_MAX_PLIST_BYTES ? malloc(len + 1) : NULL;
    if (!p) {
        q->s.error = len <= DMG_MAX_PLIST_BYTES ? -ENOMEM : -EFBIG;
        return NULL;
    }
    p[len] = 0;
    if (spec_walk_get(&q->s, offset, p, len)) {
        return p;
    }
    free(p);
    return NULL;
}

/* Items of the resource fork, each behind its length. */
static void check_resources(struct dmg_walk *q, uint64_t start, uint64_t len)
{
    uint8_t h[DMG_RESOURCE_HEADER_SIZE], size[4];
    if (!spec_walk_get(&q->s, start, h, sizeof(h))) {
        return;
    }
    uint64_t at = dmg_resource_header_get_data_offset(h);
    uint64_t end = spec_add(at, dmg_resource_header_get_data_length(h));
    if (end > len) {
        spec_report_add(q->s.r, "TRL-7", SPEC_CORRUPTION, start, end, len,
                        "the resource fork's items reach behind it");
        return;
    }
    while (at + sizeof(size) <= end && spec_walk_work(&q->s, DMG_SECTOR) &&
           spec_walk_get(&q->s, start + at, size, sizeof(size))) {
        uint64_t bytes = load_be32(size);
        at += sizeof(size);
        if (bytes > end - at) {
            spec_report_add(q->s.r, "TRL-7", SPEC_CORRUPTION, start + at, bytes, end - at,
                            "an item reaches behind the resource fork's items");
            return;
        }
        uint8_t *p = take_bytes(q, start + at, bytes);
        if (!p) {
            return;
        }
        check_item(q, p, bytes, start + at);
        free(p);
        at += bytes;
    }
}

/* One data element's text, decoded; what is no base64 is no table. */
static void check_text(struct dmg_walk *q, const char *text, size_t len, uint64_t at)
{
    char *packed = malloc(len + 1);
    size_t n = 0, got;
    if (!packed) {
        q->s.error = -ENOMEM;
        return;
    }
    for (size_t i = 0; i < len; i++) {
        if (!strchr(" \t\r\n", text[i])) {
            packed[n++] = text[i];
        }
    }
    uint8_t *bytes = base64_decode(packed, n, &got, NULL);
    if (bytes) {
        check_item(q, bytes, got, at);
    }
    mem_free(bytes);
    free(packed);
}

static void check_plist(struct dmg_walk *q, uint64_t start, uint64_t len)
{
    char *all = (char *)take_bytes(q, start, len);
    for (char *at = all; at && (at = strstr(at, "<data>")) && !q->s.error;) {
        char *text = at + strlen("<data>"), *end = strstr(text, "</data>");
        if (!end) {
            break;
        }
        check_text(q, text, (size_t)(end - text), start + (uint64_t)(at - all));
        at = end;
    }
    free(all);
}

/* TRL-3; true when the range is there and sound. */
static bool take_range(struct dmg_walk *q, uint64_t offset, uint64_t len, const char *name)
{
    if (spec_add(offset, len) > q->end) {
        spec_report_add(q->s.r, "TRL-3", SPEC_CORRUPTION, q->end, offset, q->end,
                        "the %s does not lie before the trailer", name);
        return false;
    }
    return len > 0;
}

static void walk_all(struct dmg_walk *q)
{
    const uint8_t *t = q->trailer;
    struct spec_walk *w = &q->s;
    q->end = spec_sub(w->image->size, DMG_TRAILER_SIZE);
    if (!spec_walk_get(w, q->end, q->trailer, sizeof(q->trailer))) {
        return;
    }
    uint64_t fork = dmg_trailer_get_rsrc_offset(t), fork_len = dmg_trailer_get_rsrc_length(t);
    uint64_t list = dmg_trailer_get_plist_offset(t), list_len = dmg_trailer_get_plist_length(t);
    if (spec_walk_check(w, "trailer", t, q->end)) {
        return;
    }
    take_range(q, dmg_trailer_get_data_offset(t), dmg_trailer_get_data_length(t), "data fork");
    if (take_range(q, fork, fork_len, "resource fork")) {
        check_resources(q, fork, fork_len);
    } else if (take_range(q, list, list_len, "property list")) {
        check_plist(q, list, list_len);
    }
}

int spec_dmg_check(const struct spec_image *image, const struct spec_limits *limits,
                   struct spec_state *state, struct spec_report *r)
{
    struct dmg_walk q = {.end = 0};
    spec_walk_init(&q.s, image, spec_dmg(), limits, r);
    q.s.params = &q.params;
    walk_all(&q);
    return spec_walk_end(&q.s);
}
