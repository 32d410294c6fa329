/*
 * Run-time options of an open qcow2 image: what may be given at open and changed by reopen.
 *
 * Parsed into a struct first, so that a wrong one changes nothing.
 */
#include "ref/format/qcow2/options.h"
#include "ref/format/qcow2/crypt.h"

#include <errno.h>
#include <inttypes.h>

#define OVERLAP_HELP "Check for unintended writes into "

static const char *const overlap_modes[] = {"none", "constant", "cached", "all", NULL};

/* In the order of the bits of enum qcow2_overlap. */
static const char *const overlap_switches[] = {
    "overlap-check.main-header",      "overlap-check.active-l1",
    "overlap-check.active-l2",        "overlap-check.refcount-block",
    "overlap-check.refcount-table",   "overlap-check.snapshot-table",
    "overlap-check.inactive-l1",      "overlap-check.inactive-l2",
    "overlap-check.bitmap-directory",
};

const struct opt_desc qcow2_open_options[] = {
    {.name = "lazy-refcounts",
     .type = OPT_BOOL,
     .help = "Postpone refcount updates",
     .runtime = true},
    {.name = "pass-discard-request",
     .type = OPT_BOOL,
     .help = "Pass guest discard requests to the layer below",
     .runtime = true},
    {.name = "pass-discard-snapshot",
     .type = OPT_BOOL,
     .runtime = true,
     .help = "Generate discard requests when snapshot related space is freed"},
    {.name = "pass-discard-other",
     .type = OPT_BOOL,
     .help = "Generate discard requests when other clusters are freed",
     .runtime = true},
    {.name = "overlap-check",
     .type = OPT_STRING,
     .runtime = true,
     .help = "Selects which overlap checks to perform from a range of templates (none, constant, "
             "cached, all)"},
    {.name = "overlap-check.template",
     .type = OPT_STRING,
     .runtime = true,
     .help = "Selects which overlap checks to perform from a range of templates (none, constant, "
             "cached, all)"},
    {.name = "overlap-check.main-header",
     .type = OPT_BOOL,
     .help = OVERLAP_HELP "the main qcow2 header",
     .runtime = true},
    {.name = "overlap-check.active-l1",
     .type = OPT_BOOL,
     .help = OVERLAP_HELP "the active L1 table",
     .runtime = true},
    {.name = "overlap-check.active-l2",
     .type = OPT_BOOL,
     .help = OVERLAP_HELP "an active L2 table",
     .runtime = true},
    {.name = "overlap-check.refcount-table",
     .type = OPT_BOOL,
     .help = OVERLAP_HELP "the refcount table",
     .runtime = true},
    {.name = "overlap-check.refcount-block",
     .type = OPT_BOOL,
     .help = OVERLAP_HELP "a refcount block",
     .runtime = true},
    {.name = "overlap-check.snapshot-table",
     .type = OPT_BOOL,
     .help = OVERLAP_HELP "the snapshot table",
     .runtime = true},
    {.name = "overlap-check.inactive-l1",
     .type = OPT_BOOL,
     .help = OVERLAP_HELP "an inactive L1 table",
     .runtime = true},
    {.name = "overlap-check.inactive-l2",
     .type = OPT_BOOL,
     .help = OVERLAP_HELP "an inactive L2 table",
     .runtime = true},
    {.name = "overlap-check.bitmap-directory",
     .type = OPT_BOOL,
     .help = OVERLAP_HELP "the bitmap directory",
     .runtime = true},
    {.name = "cache-size",
     .type = OPT_SIZE,
     .help = "Maximum combined metadata (L2 tables and refcount blocks) cache size",
     .runtime = true},
    {.name = "l2-cache-size",
     .type = OPT_SIZE,
     .help = "Maximum L2 table cache size",
     .runtime = true},
    {.name = "l2-cache-entry-size",
     .type = OPT_SIZE,
     .help = "Size of each entry in the L2 cache",
     .runtime = true},
    {.name = "refcount-cache-size",
     .type = OPT_SIZE,
     .help = "Maximum refcount block cache size",
     .runtime = true},
    {.name = "cache-clean-interval",
     .type = OPT_NUMBER,
     .help = "Clean unused cache entries after this time (in seconds)",
     .runtime = true},
    {.name = "encrypt", .type = OPT_DICT, .help = "Encryption: format and key-secret"},
    {.name = "data-file",
     .type = OPT_DICT,
     .help = "External data file: a node's name, or options to open it"},
    {.name = NULL},
};

static const struct opt_desc *const T = qcow2_open_options;

static int parse_overlap(struct value *d, struct qcow2_options *o, struct error **err)
{
    static const unsigned sets[] = {0, OL_CONSTANT, OL_CACHED, OL_ALL};
    const char *mode = dict_get_str(d, "overlap-check"),
               *template = dict_get_str(d, "overlap-check.template");
    if (mode && template && strcmp(mode, template) != 0) {
        return error_set(err, EINVAL,
                         "Conflicting values for qcow2 options 'overlap-check' ('%s') and "
                         "'overlap-check.template' ('%s')",
                         mode, template);
    }
    mode = mode ? mode : template ? template : "cached";
    size_t i = 0;
    while (overlap_modes[i] && strcmp(overlap_modes[i], mode) != 0) {
        i++;
    }
    if (!overlap_modes[i]) {
        return error_set(
            err, EINVAL,
            "Unsupported value '%s' for qcow2 option 'overlap-check'. Allowed are any of the "
            "following: none, constant, cached, all",
            mode);
    }
    o->overlap_check = sets[i];
    if (dict_len(d) == 0) {
        return 0;
    }
    for (size_t k = 0; k < ARRAY_SIZE(overlap_switches); k++) {
        bool on = o->overlap_check >> k & 1;
        int ret = opts_get_bool(T, d, overlap_switches[k], &on, err);
        if (ret < 0) {
            return ret;
        }
        o->overlap_check = (o->overlap_check & ~(1u << k)) | (unsigned)on << k;
    }
    return 0;
}

struct sizes {
    bool l2_set, ref_set, both_set, entry_set;
    uint64_t l2, ref, both, entry;
};

static int get_sizes(const struct qcow2 *s, struct value *d, struct sizes *z, struct error **err)
{
    z->both_set = dict_has(d, "cache-size");
    z->l2_set = dict_has(d, "l2-cache-size");
    z->ref_set = dict_has(d, "refcount-cache-size");
    z->entry_set = dict_has(d, "l2-cache-entry-size");
    z->entry = s->cluster_size;
    int ret = opts_get_size(T, d, "cache-size", &z->both, err);
    ret = ret < 0 ? ret : opts_get_size(T, d, "l2-cache-size", &z->l2, err);
    ret = ret < 0 ? ret : opts_get_size(T, d, "refcount-cache-size", &z->ref, err);
    ret = ret < 0 ? ret : opts_get_size(T, d, "l2-cache-entry-size", &z->entry, err);
    if (ret < 0) {
        return ret;
    }
    if (z->both_set && z->l2_set && z->ref_set) {
        return error_set(
            err, EINVAL,
            "cache-size, l2-cache-size and refcount-cache-size may not be set at the same time");
    }
    if (z->both_set && z->l2_set && z->l2 > z->both) {
        return error_set(err, EINVAL, "l2-cache-size may not exceed cache-size");
    }
    if (z->both_set && z->ref_set && z->ref > z->both) {
        return error_set(err, EINVAL, "refcount-cache-size may not exceed cache-size");
    }
    return 0;
}

/* What is given, the rest filled in: as much as the whole disk's L2 tables need, within the limit.
 */
static void fill_sizes(const struct qcow2 *s, struct sizes *z)
{
    uint64_t min_ref = QCOW2_MIN_REFCOUNT_CACHE_CLUSTERS * s->cluster_size;
    uint64_t need =
        ROUND_UP(size_to_clusters(s, s->virtual_size) * s->l2_entry_size, s->cluster_size);
    if (!z->l2_set) {
        z->l2 = QCOW2_MAX_CACHE;
    }
    if (!z->ref_set) {
        z->ref = min_ref;
    }
    if (z->both_set && z->l2_set) {
        z->ref = z->both - z->l2;
    } else if (z->both_set && z->ref_set) {
        z->l2 = z->both - z->ref;
    } else if (z->both_set) {
        z->l2 = z->both >= need + min_ref ? need : z->both - MIN(z->both, min_ref);
        z->ref = z->both - z->l2;
    }
    z->l2 = MIN(z->l2, need);
    /* Whole tables when all of them fit, else pieces. */
    if (!z->entry_set) {
        z->entry = z->l2 < need ? MIN(s->cluster_size, 4096) : s->cluster_size;
    }
}

static int parse_caches(const struct qcow2 *s, struct value *d, struct qcow2_options *o,
                        struct error **err)
{
    struct sizes z = {0};
    int ret = get_sizes(s, d, &z, err);
    if (ret < 0) {
        return ret;
    }
    fill_sizes(s, &z);
    if (z.entry < 512 || z.entry > s->cluster_size || !IS_POW2(z.entry)) {
        return error_set(
            err, EINVAL,
            "L2 cache entry size must be a power of two between 512 and the cluster size (%" PRIu64
            ")",
            s->cluster_size);
    }
    o->l2_entry_size = (unsigned)z.entry;
    o->l2_entries = MAX(z.l2 / z.entry, (uint64_t)QCOW2_MIN_L2_CACHE_ENTRIES);
    if (o->l2_entries > INT32_MAX) {
        return error_set(err, EINVAL, "L2 cache size too big");
    }
    o->refblock_entries = MAX(z.ref / s->cluster_size, (uint64_t)QCOW2_MIN_REFCOUNT_CACHE_CLUSTERS);
    if (o->refblock_entries > INT32_MAX) {
        return error_set(err, EINVAL, "Refcount cache size too big");
    }
    o->cache_clean_interval = 600;
    ret = opts_get_number(T, d, "cache-clean-interval", &o->cache_clean_interval, err);
    if (ret == 0 && o->cache_clean_interval > UINT32_MAX) {
        ret = error_set(err, EINVAL, "Cache clean interval too big");
    }
    return ret;
}

/* Without tables of their own there is nothing to parse but switches. */
static int parse_switches(const struct qcow2 *s, struct value *d, unsigned flags,
                          struct qcow2_options *o, struct error **err)
{
    o->use_lazy_refcounts = s->compatible & QCOW2_COMPAT_LAZY_REFCOUNTS;
    int ret = opts_get_bool(T, d, "lazy-refcounts", &o->use_lazy_refcounts, err);
    if (ret == 0 && o->use_lazy_refcounts && s->version < 3) {
        return error_set(
            err, EINVAL,
            "Lazy refcounts require a qcow2 image with at least qemu 1.1 compatibility level");
    }
    o->discard_passthrough[DISCARD_NEVER] = false;
    o->discard_passthrough[DISCARD_ALWAYS] = true;
    o->discard_passthrough[DISCARD_REQUEST] = flags & OPEN_UNMAP;
    o->discard_passthrough[DISCARD_SNAPSHOT] = true;
    o->discard_passthrough[DISCARD_OTHER] = false;
    ret = ret < 0 ? ret
                  : opts_get_bool(T, d, "pass-discard-request",
                                  &o->discard_passthrough[DISCARD_REQUEST], err);
    ret = ret < 0 ? ret
                  : opts_get_bool(T, d, "pass-discard-snapshot",
                                  &o->discard_passthrough[DISCARD_SNAPSHOT], err);
    return ret < 0 ? ret
                   : opts_get_bool(T, d, "pass-discard-other",
                                   &o->discard_passthrough[DISCARD_OTHER], err);
}

int qcow2_parse_options(const struct qcow2 *s, struct value *d, unsigned flags,
                        struct qcow2_options *o, struct error **err)
{
    opts_settle(T, d);
    int ret = opts_check_types(T, d, err);
    ret = ret < 0 ? ret : parse_switches(s, d, flags, o, err);
    ret = ret < 0 ? ret : parse_caches(s, d, o, err);
    ret = ret < 0 ? ret : parse_overlap(d, o, err);
    o->secret = NULL;
    ret = ret < 0 ? ret : crypt_open_options(d, qcow2_crypt_name(s), &o->secret, err);
    for (const struct opt_desc *t = T; t->name && ret == 0 && dict_len(d) > 0; t++) {
        if (t->type != OPT_DICT) {
            dict_del(d, t->name);
        }
    }
    return ret;
}

void qcow2_join_options(struct value *options, struct value *old)
{
    if (dict_has(options, "overlap-check") || dict_has(options, "overlap-check.template")) {
        dict_del(old, "overlap-check");
        dict_del(old, "overlap-check.template");
        for (size_t k = 0; k < ARRAY_SIZE(overlap_switches); k++) {
            dict_del(old, overlap_switches[k]);
        }
    }
    if (dict_has(options, "cache-size")) {
        dict_del(old, "l2-cache-size");
        dict_del(old, "refcount-cache-size");
    }
    /* A part that is new does not have to fit into an old total. */
    if (dict_has(options, "l2-cache-size") || dict_has(options, "refcount-cache-size")) {
        dict_del(old, "cache-size");
    }
}

void qcow2_apply_options(struct qcow2 *s, const struct qcow2_options *o)
{
    s->use_lazy_refcounts = o->use_lazy_refcounts;
    memcpy(s->discard_passthrough, o->discard_passthrough, sizeof(s->discard_passthrough));
    s->overlap_check = o->overlap_check;
    s->cache_clean_interval = o->cache_clean_interval;
    qcow2_cache_free(s->l2_cache);
    qcow2_cache_free(s->refblock_cache);
    s->l2_cache = qcow2_cache_new(s, CACHE_L2, o->l2_entries, o->l2_entry_size);
    s->refblock_cache =
        qcow2_cache_new(s, CACHE_REFBLOCK, o->refblock_entries, (unsigned)s->cluster_size);
    s->l2_slice_size = o->l2_entry_size / s->l2_entry_size;
}
