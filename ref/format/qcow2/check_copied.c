/*
 * COPIED flags of the active L1 and L2 tables (spec: bit 63 is set exactly when the refcount is
 * one), checked against the refcounts on disk, so behind their repair.
 */
#include "ref/format/qcow2/check.h"

#include <errno.h>
#include <inttypes.h>

static int refcount_of(struct check *c, uint64_t offset, uint64_t *refcount)
{
    struct qcow2 *s = c->s;
    uint8_t *block;
    uint64_t i = offset >> s->cluster_bits;
    int ret = check_get_block(c, i, &block);
    *refcount =
        block ? qcow2_refcount_block_entry_get(block, i & (s->refblock_size - 1), s->refcount_order)
              : 0;
    return ret;
}

/* A flag that says "refcount one" must not reach the disk before a refcount that was repaired. */
static int settle_refcounts(struct check *c)
{
    int ret = c->refs_stable ? 0 : qcow2_flush_caches(c->s, NULL);
    c->refs_stable = ret == 0;
    return ret;
}

static int write_table(struct check *c, uint64_t l2_offset)
{
    struct qcow2 *s = c->s;
    int ret = settle_refcounts(c);
    if (ret < 0) {
        check_say(c, "ERROR: Could not write L2 table: %s\n", strerror(-ret));
        c->res->check_errors++;
        return ret;
    }
    ret = qcow2_pre_write_overlap(s, OL_ACTIVE_L2, l2_offset, s->cluster_size, false);
    if (ret < 0) {
        check_say(c, "ERROR: Could not write L2 table; metadata overlap check failed: %s\n",
                  strerror(-ret));
    } else {
        ret = child_pwrite_sync(s->n->file, (int64_t)l2_offset, c->table, (int64_t)s->cluster_size,
                                LABEL_L2_UPDATE, NULL);
        if (ret < 0) {
            check_say(c, "ERROR: Could not write L2 table: %s\n", strerror(-ret));
        }
    }
    qcow2_cache_discard(s->l2_cache, l2_offset, s->cluster_size);
    c->res->check_errors += ret < 0;
    return ret;
}

static int l2_flags(struct check *c, uint64_t l2_offset)
{
    struct qcow2 *s = c->s;
    int fixed = 0;
    int ret = child_pread(s->n->file, (int64_t)l2_offset, c->table, (int64_t)s->cluster_size,
                          LABEL_CHECK_READ, NULL);
    if (ret < 0) {
        check_say(c, "ERROR: I/O error in check_oflag_copied: %s\n", strerror(-ret));
        c->res->check_errors++;
        return ret;
    }
    for (unsigned i = 0; (i = l2_skip_zero(s, c->table, i, s->l2_size)) < s->l2_size; i++) {
        uint64_t entry = l2_get_entry(s, c->table, i), refcount = 1;
        enum cluster_type t = qcow2_cluster_type(s, entry);
        if (t != CLUSTER_NORMAL && t != CLUSTER_ZERO_ALLOC) {
            continue;
        }
        if (!has_data_file(s) && refcount_of(c, entry & L2_OFFSET_MASK, &refcount) < 0) {
            continue;
        }
        if ((refcount == 1) == !!(entry & OFLAG_COPIED)) {
            continue;
        }
        bool fix = c->fix_copied;
        check_say(c, "%s OFLAG_COPIED data cluster: l2_entry=%" PRIx64 " refcount=%" PRIu64 "\n",
                  fix ? "Repairing" : "ERROR", entry, refcount);
        if (fix) {
            l2_set_entry(s, c->table, i,
                         refcount == 1 ? entry | OFLAG_COPIED : entry & ~OFLAG_COPIED);
            fixed++;
        } else {
            c->res->corruptions++;
        }
    }
    if (fixed) {
        ret = write_table(c, l2_offset);
        c->res->corruptions_fixed += ret == 0 ? fixed : 0;
    }
    return ret;
}

static int l1_flag(struct check *c, uint32_t i, uint64_t refcount)
{
    struct qcow2 *s = c->s;
    uint64_t entry = s->l1[i];
    if ((refcount == 1) == !!(entry & OFLAG_COPIED)) {
        return 0;
    }
    bool fix = c->fix_copied;
    check_say(c,
              "%s OFLAG_COPIED L2 cluster: l1_index=%" PRIu32 " l1_entry=%" PRIx64
              " refcount=%" PRIu64 "\n",
              fix ? "Repairing" : "ERROR", i, entry, refcount);
    if (!fix) {
        c->res->corruptions++;
        return 0;
    }
    s->l1[i] = refcount == 1 ? entry | OFLAG_COPIED : entry & ~OFLAG_COPIED;
    int ret = settle_refcounts(c);
    ret = ret < 0 ? ret : qcow2_write_l1_entry(s, i, NULL);
    if (ret < 0) {
        s->l1[i] = entry;
        c->res->check_errors++;
        return ret;
    }
    c->res->corruptions_fixed++;
    return 0;
}

int check_copied_flags(struct check *c)
{
    struct qcow2 *s = c->s;
    const struct check_result *res = c->res;
    int ret = 0;
    /* Repairing leaks alone: the refcounts are right when nothing is wrong behind it. */
    c->fix_copied = (c->fix & FIX_ERRORS) || ((c->fix & FIX_LEAKS) && !res->check_errors &&
                                              !res->corruptions && !res->leaks);
    for (uint32_t i = 0; i < s->l1_size && ret == 0; i++) {
        uint64_t l2_offset = s->l1[i] & L1_OFFSET_MASK, refcount;
        if (l2_offset == 0 || refcount_of(c, l2_offset, &refcount) < 0) {
            continue;
        }
        ret = l1_flag(c, i, refcount);
        ret = ret < 0 ? ret : l2_flags(c, l2_offset);
    }
    check_put_block(c);
    return ret;
}
