/*
 * Comparing the refcounts on disk with the references that were counted; leaks and wrong counts are
 * repaired here.
 *
 * Work goes with refcount blocks and references that are there, not with the length of the file.
 */
#include "ref/format/qcow2/check.h"

#include <errno.h>
#include <inttypes.h>

void check_put_block(struct check *c)
{
    if (c->block) {
        qcow2_cache_put(c->s->refblock_cache, &c->block);
    }
}

int check_get_block(struct check *c, uint64_t cluster, uint8_t **block)
{
    struct qcow2 *s = c->s;
    uint64_t index = cluster >> s->refblock_bits, ignored;
    *block = NULL;
    if (c->block && c->block_index == index) {
        *block = c->block;
        return 0;
    }
    check_put_block(c);
    uint64_t offset = index < s->reftable_size ? s->reftable[index] & REFT_OFFSET_MASK : 0;
    if (offset == 0) {
        return 0;
    }
    int ret = offset_into_cluster(s, offset)
                  ? qcow2_get_refcount(s, cluster, &ignored)
                  : qcow2_cache_get(s->refblock_cache, offset, &c->block, NULL);
    c->block_index = index;
    *block = c->block;
    return ret;
}

/* A cluster whose refcount is not what refers to it. */
static void mismatch(struct check *c, uint64_t i, uint64_t refcount, uint64_t references,
                     unsigned fix)
{
    struct qcow2 *s = c->s;
    struct check_result *res = c->res;
    bool leak = refcount > references;
    int *fixed = NULL;
    if (refcount == 0) {
        c->rebuild = true;
    } else if (leak && (fix & FIX_LEAKS)) {
        fixed = &res->leaks_fixed;
    } else if (!leak && (fix & FIX_ERRORS)) {
        fixed = &res->corruptions_fixed;
    }
    check_say(c, "%s cluster %" PRIu64 " refcount=%" PRIu64 " reference=%" PRIu64 "\n",
              fixed  ? "Repairing"
              : leak ? "Leaked"
                     : "ERROR",
              i, refcount, references);
    if (fixed) {
        check_put_block(c);
        int ret = qcow2_update_refcount(s, i << s->cluster_bits, 1,
                                        leak ? refcount - references : references - refcount, leak,
                                        DISCARD_ALWAYS);
        if (ret == 0) {
            (*fixed)++;
            return;
        }
    }
    *(leak ? &res->leaks : &res->corruptions) += 1;
}

static inline uint64_t stored(const struct check *c, const uint8_t *block, uint64_t i)
{
    uint64_t k = i & (c->s->refblock_size - 1);
    return c->s->refcount_order == 4
               ? load_be16(block + k * 2)
               : qcow2_refcount_block_entry_get(block, k, c->s->refcount_order);
}

/* Clusters [first, end) of one page of counters, all in one refcount block. */
static void compare_page(struct check *c, uint64_t first, uint64_t end, const struct refmap_page *p,
                         unsigned fix)
{
    uint8_t *block;
    for (uint64_t i = first; i < end; i++) {
        int ret = check_get_block(c, i, &block);
        if (ret < 0) {
            check_say(c, "Can't get refcount for cluster %" PRIu64 ": %s\n", i, strerror(-ret));
            c->res->check_errors++;
            continue;
        }
        uint64_t refcount = block ? stored(c, block, i) : 0,
                 references = p ? p->count[i - first] : 0;
        if (refcount | references) {
            c->highest = i;
        }
        if (refcount != references) {
            mismatch(c, i, refcount, references, fix);
        }
    }
}

/* First cluster at or behind i that a refcount block covers; UINT64_MAX when there is none. */
static uint64_t next_covered(const struct qcow2 *s, uint64_t i)
{
    uint64_t index = i >> s->refblock_bits;
    while (index < s->reftable_size && !(s->reftable[index] & REFT_OFFSET_MASK)) {
        index++;
    }
    return index < s->reftable_size ? MAX(i, index << s->refblock_bits) : UINT64_MAX;
}

/* Once over everything that has a refcount or a reference. */
static int compare(struct check *c, unsigned fix)
{
    struct refmap_page **pages;
    int ret = refmap_sorted(&c->map, &pages);
    if (ret < 0) {
        c->res->check_errors++;
        return ret;
    }
    size_t k = 0;
    c->highest = 0;
    for (uint64_t i = 0; i < c->nb_clusters; i += REFMAP_PAGE) {
        while (k < c->map.used && pages[k]->first < i) {
            k++;
        }
        uint64_t page = k < c->map.used ? pages[k]->first : UINT64_MAX;
        if (page != i) {
            i = ROUND_DOWN(MIN(page, next_covered(c->s, i)), (uint64_t)REFMAP_PAGE);
            if (i >= c->nb_clusters) {
                break;
            }
        }
        compare_page(c, i, MIN(i + REFMAP_PAGE, c->nb_clusters), page == i ? pages[k] : NULL, fix);
    }
    check_put_block(c);
    mem_free(pages);
    return 0;
}

/* New structures were written: what was theirs before is found again as leaks. */
static int rebuild(struct check *c)
{
    struct check_result *res = c->res;
    int corruptions = res->corruptions, leaks = res->leaks, fresh = 0;
    check_say(c, "Rebuilding refcount structure\n");
    int ret = check_rebuild_refcounts(c);
    if (ret < 0) {
        return ret;
    }
    res->corruptions = res->leaks = 0;
    c->rebuild = false;
    refmap_free(&c->map);
    unsigned fix = c->fix;
    c->fix = 0;
    ret = check_count_references(c);
    c->fix = fix;
    if (ret == 0 && (fix & FIX_LEAKS)) {
        struct check_result saved = *res;
        res->leaks = 0;
        ret = compare(c, FIX_LEAKS);
        fresh = res->leaks;
        /* Of this pass only the clusters that stay leaked count. */
        *res = saved;
    }
    if (ret < 0) {
        return ret;
    }
    res->corruptions_fixed += MAX(corruptions - res->corruptions, 0);
    res->leaks_fixed += MAX(leaks - res->leaks, 0);
    res->leaks += fresh;
    return 0;
}

static int repair(struct check *c, const struct check_result *before)
{
    struct check_result *res = c->res;
    if (c->rebuild && (c->fix & FIX_ERRORS)) {
        return rebuild(c);
    }
    if (c->rebuild) {
        check_say(c, "ERROR need to rebuild refcount structures\n");
        return -EIO;
    }
    if (res->leaks == before->leaks && res->corruptions == before->corruptions) {
        return 0;
    }
    *res = *before;
    return compare(c, c->fix);
}

int check_refcounts(struct check *c)
{
    struct qcow2 *s = c->s;
    struct check_result *res = c->res;
    int64_t len = child_length(s->n->file);
    if (len < 0) {
        res->check_errors++;
        return (int)len;
    }
    c->file_len = (uint64_t)len;
    c->nb_clusters = size_to_clusters(s, c->file_len);
    if (c->nb_clusters > INT32_MAX) {
        res->check_errors++;
        return -EFBIG;
    }
    res->total_clusters = (int64_t)size_to_clusters(s, s->virtual_size);
    int ret = check_count_references(c);
    struct check_result before = *res;
    ret = ret < 0 ? ret : compare(c, 0);
    if (ret == 0 && c->fix) {
        ret = repair(c, &before);
    }
    ret = ret < 0 ? ret : check_copied_flags(c);
    if (ret == 0) {
        res->image_end_offset = (int64_t)((c->highest + 1) << s->cluster_bits);
    }
    return ret;
}
