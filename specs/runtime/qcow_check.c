/*
 * The spec checker of qcow (version 1): see format_checks.h.
 *
 * Models: header, backing file name's place, both levels of tables, standard and compressed
 * clusters that overlap or lie behind the end of the file.  Leaves out: what compressed data
 * unpacks to, keys, and leaks: the format never gives space back (GEN-2), so that unused space is
 * no defect.
 */
#include <errno.h>

#include "specs/runtime/arith.h"
#include "specs/runtime/cluster_map.h"
#include "specs/runtime/format_checks.h"
#include "specs/runtime/walk.h"
#include "specs/qcow_layout.h"

enum { R_HEADER, R_NAME, R_L1, R_L2, R_DATA, R_PACKED };
static const char *const names[] = {"header",   "backing file name", "L1 table",
                                    "L2 table", "cluster",           "compressed cluster"};

struct qcow_walk {
    struct spec_walk s;
    struct qcow_params params;
    uint64_t cluster, l2_entries;
    struct cluster_map tables; /* L2 tables that were walked, by offset */
};

static void clash(struct spec_walk *w, const struct spec_range *a, const struct spec_range *b)
{
    spec_walk_tell_overlap(w, "TAB-8", names, a, b);
}

/*
 * Notes what an entry refers to, which begins in the file and ends there, but for a cluster at a
 * multiple of its size: writers give what is behind the end to nobody else.
 */
static bool take(struct spec_walk *w, uint64_t offset, uint64_t bytes, unsigned kind, uint64_t at,
                 const char *clause)
{
    if (!spec_walk_inside(w, offset, kind == R_DATA && offset % bytes == 0 ? 1 : bytes)) {
        spec_report_add(w->r, clause, SPEC_CORRUPTION, at, offset, w->image->size,
                        "%s at 0x%llx is not inside the file", names[kind],
                        (unsigned long long)offset);
        return false;
    }
    spec_walk_note(w, offset, bytes, kind, at);
    return true;
}

static void visit_l2(struct spec_walk *w, uint64_t index, const uint8_t *p, uint64_t at)
{
    const struct qcow_walk *q = (const struct qcow_walk *)w;
    if (qcow_l2_entry_get_compressed(p)) {
        uint64_t bits = q->params.cluster_bits;
        take(w, qcow_compressed_cluster_get_offset(p, bits),
             qcow_compressed_cluster_get_bytes(p, bits), R_PACKED, at, "TAB-7");
    } else {
        take(w, qcow_l2_entry_get_offset(p), q->cluster, R_DATA, at, "TAB-7");
    }
}

static void visit_l1(struct spec_walk *w, uint64_t index, const uint8_t *p, uint64_t at)
{
    struct qcow_walk *q = (struct qcow_walk *)w;
    uint64_t offset = qcow_l1_entry_get_offset(p);
    if (!take(w, offset, q->l2_entries * QCOW_L2_ENTRY_SIZE, R_L2, at, "TAB-7") ||
        cluster_map_find(&q->tables, offset)) {
        return; /* of a table that was walked the overlap tells */
    }
    if (!cluster_map_add(&q->tables, offset, 1)) {
        w->error = w->error ? w->error : -EFBIG;
        return;
    }
    spec_walk_table(w, offset, q->l2_entries, QCOW_L2_ENTRY_SIZE, true, visit_l2);
}

static void walk_all(struct qcow_walk *q)
{
    uint8_t h[QCOW_HEADER_SIZE];
    struct spec_walk *w = &q->s;
    if (!spec_walk_get(w, 0, h, sizeof(h))) {
        return;
    }
    uint64_t bits = qcow_header_get_cluster_bits(h), l2_bits = qcow_header_get_l2_bits(h);
    uint64_t name = qcow_header_get_backing_file_offset(h);
    spec_walk_check(w, "header", h, 0);
    if (qcow_header_get_magic(h) != QCOW_MAGIC || qcow_header_get_version(h) != QCOW_VERSION ||
        bits < QCOW_MIN_CLUSTER_BITS || bits > QCOW_MAX_CLUSTER_BITS ||
        l2_bits < QCOW_MIN_L2_BITS || l2_bits > QCOW_MAX_L2_BITS) {
        return;
    }
    q->params.cluster_bits = bits;
    q->cluster = UINT64_C(1) << bits;
    q->l2_entries = UINT64_C(1) << l2_bits;
    spec_walk_note(w, 0, QCOW_HEADER_SIZE, R_HEADER, 0);
    if (name) {
        take(w, name, qcow_header_get_backing_file_size(h), R_NAME,
             QCOW_HEADER_BACKING_FILE_OFFSET_OFF, "HDR-11");
    }
    uint64_t l1 = qcow_header_get_l1_table_offset(h), covered = q->cluster << l2_bits;
    uint64_t entries = spec_add(qcow_header_get_size(h), covered - 1) / covered;
    if (take(w, l1, spec_mul(entries, QCOW_L1_ENTRY_SIZE), R_L1, QCOW_HEADER_L1_TABLE_OFFSET_OFF,
             "HDR-12")) {
        spec_walk_table(w, l1, entries, QCOW_L1_ENTRY_SIZE, true, visit_l1);
    }
    spec_walk_overlaps(w, clash);
}

int spec_qcow_check(const struct spec_image *image, const struct spec_limits *limits,
                    struct spec_state *state, struct spec_report *r)
{
    struct qcow_walk q = {.cluster = 0};
    spec_walk_init(&q.s, image, spec_qcow(), limits, r);
    q.s.params = &q.params;
    cluster_map_init(&q.tables, q.s.most);
    walk_all(&q);
    cluster_map_free(&q.tables);
    return spec_walk_end(&q.s);
}
