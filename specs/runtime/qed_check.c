/*
 * The spec checker of QED: see format_checks.h.
 *
 * Models: header, both levels of tables, what is referred to twice or lies behind the end of the
 * file, clusters that nothing refers to.  With the need-check feature offsets behind the end are
 * tolerated, as whoever uses the image next drops them.  Leaves out: the backing file.
 */
#include <errno.h>

#include "specs/runtime/arith.h"
#include "specs/runtime/cluster_map.h"
#include "specs/runtime/format_checks.h"
#include "specs/runtime/walk.h"
#include "specs/qed_layout.h"

enum { R_HEADER, R_L1, R_L2, R_DATA };
static const char *const names[] = {"header", "L1 table", "L2 table", "data cluster"};

struct qed_walk {
    struct spec_walk s;
    struct qed_params params;
    uint64_t cluster, entries, header_bytes; /* of a table; bytes */
    bool dirty;
    struct cluster_map tables; /* L2 tables that were walked, by their first cluster */
};

static void clash(struct spec_walk *w, const struct spec_range *a, const struct spec_range *b)
{
    spec_walk_tell_overlap(w, a->kind == R_HEADER ? "HDR-4" : "CHK-1", names, a, b);
}

/* Notes a table or cluster in whole clusters; false when it does not lie in the file. */
static bool take(struct qed_walk *q, uint64_t offset, uint64_t bytes, unsigned kind, uint64_t at)
{
    bool begins = offset < q->s.image->size, table = kind != R_DATA;
    if (!begins || (table && !spec_walk_inside(&q->s, offset, bytes))) {
        spec_report_add(q->s.r, begins ? "CHK-3" : "CHK-2",
                        q->dirty && kind != R_L1 ? SPEC_TOLERATED : SPEC_CORRUPTION, at, offset,
                        q->s.image->size, "%s at 0x%llx is not inside the file", names[kind],
                        (unsigned long long)offset);
        return false;
    }
    spec_walk_note(&q->s, offset, bytes, kind, at);
    return true;
}

static void visit_l2(struct spec_walk *w, uint64_t index, const uint8_t *p, uint64_t at)
{
    struct qed_walk *q = (struct qed_walk *)w;
    uint64_t offset = qed_l2_entry_get_offset(p);
    if (offset != QED_ENTRY_ZERO && !spec_walk_check(w, "l2_entry", p, at)) {
        take(q, offset, q->cluster, R_DATA, at);
    }
}

static void visit_l1(struct spec_walk *w, uint64_t index, const uint8_t *p, uint64_t at)
{
    struct qed_walk *q = (struct qed_walk *)w;
    uint64_t offset = qed_l1_entry_get_offset(p), cluster = offset / q->cluster;
    if (spec_walk_check(w, "l1_entry", p, at) ||
        !take(q, offset, q->entries * QED_L2_ENTRY_SIZE, R_L2, at) ||
        cluster_map_find(&q->tables, cluster)) {
        return; /* of a table that was walked the overlap tells */
    }
    if (!cluster_map_add(&q->tables, cluster, 1)) {
        w->error = w->error ? w->error : -EFBIG;
        return;
    }
    spec_walk_table(w, offset, q->entries, QED_L2_ENTRY_SIZE, true, visit_l2);
}

static void walk_all(struct qed_walk *q, struct spec_state *state)
{
    uint8_t h[QED_HEADER_SIZE];
    struct spec_walk *w = &q->s;
    if (!spec_walk_get(w, 0, h, sizeof(h))) {
        return;
    }
    uint64_t tables = qed_header_get_table_size(h), l1 = qed_header_get_l1_table_offset(h);
    q->cluster = q->params.cluster_size = qed_header_get_cluster_size(h);
    q->dirty = qed_header_get_features(h) & QED_FEATURE_NEED_CHECK;
    state->condition = q->dirty ? "dirty" : NULL;
    spec_walk_check(w, "header", h, 0);
    if (qed_header_get_magic(h) != QED_MAGIC || q->cluster < QED_MIN_CLUSTER_SIZE ||
        q->cluster > QED_MAX_CLUSTER_SIZE || q->cluster & (q->cluster - 1) || tables == 0 ||
        tables > QED_MAX_TABLE_SIZE || l1 % q->cluster) {
        return;
    }
    q->entries = tables * q->cluster / QED_L1_ENTRY_SIZE;
    q->header_bytes = qed_header_get_header_size(h) * q->cluster;
    spec_walk_note(w, 0, q->header_bytes, R_HEADER, 0);
    if (take(q, l1, tables * q->cluster, R_L1, QED_HEADER_L1_TABLE_OFFSET_OFF)) {
        spec_walk_table(w, l1, q->entries, QED_L1_ENTRY_SIZE, true, visit_l1);
    }
    spec_walk_overlaps(w, clash);
    spec_walk_leaks(w, q->header_bytes, w->image->size / q->cluster * q->cluster, q->cluster,
                    "CHK-4");
}

int spec_qed_check(const struct spec_image *image, const struct spec_limits *limits,
                   struct spec_state *state, struct spec_report *r)
{
    struct qed_walk q = {.cluster = 0};
    spec_walk_init(&q.s, image, spec_qed(), limits, r);
    q.s.params = &q.params;
    cluster_map_init(&q.tables, q.s.most);
    walk_all(&q, state);
    cluster_map_free(&q.tables);
    return spec_walk_end(&q.s);
}
