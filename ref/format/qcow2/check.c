/*
 * qcow2 check and repair: the snapshot table, then refcounts and COPIED flags of everything, then
 * the header's bits.
 *
 * What was found and repaired is added up in the result; a repaired image that has no corruption
 * left is marked clean and consistent.  Leaves out: guest data, and contents of bitmaps.
 */
#include "ref/format/qcow2/check.h"

#include <errno.h>

static void add(struct check_result *sum, const struct check_result *part)
{
    sum->corruptions += part->corruptions;
    sum->leaks += part->leaks;
    sum->check_errors += part->check_errors;
    sum->corruptions_fixed += part->corruptions_fixed;
    sum->leaks_fixed += part->leaks_fixed;
}

static int check_refs(struct qcow2 *s, struct check_result *res, unsigned fix)
{
    struct check c = {.s = s, .res = res, .fix = fix};
    c.table = mem_try_alloc(s->cluster_size);
    int ret = -ENOMEM;
    if (c.table) {
        ret = check_refcounts(&c);
    } else {
        res->check_errors++;
    }
    check_put_block(&c);
    refmap_free(&c.map);
    mem_free(c.table);
    return ret;
}

/* Tables on disk are what is looked at: nothing newer may be in memory, nor anything older. */
static int settle(struct qcow2 *s)
{
    int ret = qcow2_cache_is_dirty(s->l2_cache) ? qcow2_cache_flush(s->l2_cache, NULL) : 0;
    ret = ret < 0 ? ret : qcow2_settle_l1(s);
    if (ret == 0 && !s->n->read_only && qcow2_need_accurate_refcounts(s) &&
        qcow2_cache_is_dirty(s->refblock_cache)) {
        ret = qcow2_cache_flush(s->refblock_cache, NULL);
    }
    return ret;
}

static int check_locked(struct qcow2 *s, struct check_result *res, unsigned fix)
{
    struct check_result snapshots = {0};
    bool rewrite;
    int ret = settle(s);
    if (ret < 0) {
        res->check_errors++;
        return ret;
    }
    ret = check_read_snapshots(s, &snapshots, fix, &rewrite);
    if (ret < 0) {
        add(res, &snapshots);
        return ret;
    }
    ret = check_refs(s, res, fix);
    if (ret == 0) {
        ret = check_fix_snapshots(s, &snapshots, fix, rewrite);
    }
    add(res, &snapshots);
    if (ret < 0 || s->dead) {
        /* Corruption that was signalled on the way: the image takes nothing more before it is
         * opened again. */
        return ret < 0 ? ret : -ENOMEDIUM;
    }
    if (fix && res->check_errors == 0 && res->corruptions == 0) {
        ret = qcow2_mark_clean(s);
        ret = ret < 0 ? ret : qcow2_mark_consistent(s);
    }
    return ret < 0 || s->n->read_only || !fix ? ret : qcow2_flush_caches(s, NULL);
}

int qcow2_check(struct node *n, struct check_result *res, unsigned fix)
{
    struct qcow2 *s = qcow2_state(n);
    co_lock(s->w, &s->lock);
    int ret = s->dead ? -ENOMEDIUM : check_locked(s, res, fix);
    co_unlock(s->w, &s->lock);
    return ret;
}
