/*
 * The spec checker of qcow2: the order of the walk, reading, and counting references.
 */
#include "specs/runtime/qcow2_check.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "specs/runtime/qcow2_check_int.h"

bool walk_work(struct walk *w, uint64_t n)
{
    if (w->error) {
        return false;
    }
    if (n > w->work) {
        w->error = -EFBIG;
        return false;
    }
    w->work -= n;
    return true;
}

static int window_fill(struct walk *w, struct window *win, uint64_t offset)
{
    win->offset = offset & ~UINT64_C(511);
    win->len = WINDOW;
    uint64_t inside = spec_sub(w->image->size, win->offset);
    size_t n = inside < WINDOW ? (size_t)inside : WINDOW;
    memset(win->data + n, 0, WINDOW - n);
    if (!walk_work(w, WINDOW)) {
        return w->error;
    }
    return n ? w->image->read(w->image->opaque, win->offset, win->data, n) : 0;
}

const uint8_t *walk_read_on(struct walk *w, struct window *win, uint64_t offset)
{
    if (w->error) {
        return NULL;
    }
    int ret = offset > UINT64_MAX - 2 * WINDOW ? -EFBIG : window_fill(w, win, offset);
    if (ret < 0) {
        win->len = 0;
        w->error = ret;
        return NULL;
    }
    return win->data + (offset - win->offset);
}

uint64_t walk_next_entry(struct walk *w, struct window *win, uint64_t table, uint64_t i, uint64_t n,
                         unsigned size, const uint8_t **p)
{
    while (i < n) {
        uint64_t at = table + i * size;
        if (!(*p = walk_read(w, win, at, size))) {
            break;
        }
        uint64_t here = (win->len - (at - win->offset)) / size, words = size / 8;
        here = here < n - i ? here : n - i;
        uint64_t skip = words_skip_zero(*p, 0, here * words) / words;
        if (!walk_work(w, skip + 1)) {
            break;
        }
        if (skip < here) {
            *p += skip * size;
            return i + skip;
        }
        i += here;
    }
    return n;
}

unsigned walk_check(struct walk *w, const char *structure, const uint8_t *p, uint64_t offset)
{
    return spec_structure_check(spec_structure_find(w->format, structure), p, &w->q, offset, w->r);
}

bool walk_inside(const struct walk *w, uint64_t offset, uint64_t len)
{
    uint64_t cs = w->q.cluster_size;
    uint64_t end = spec_mul(spec_div(spec_add(w->image->size, cs - 1), cs), cs);
    return offset < w->image->size && len <= spec_sub(end, offset);
}

/* Guest data may be shared, and so may L2 tables; everything else has its cluster for itself. */
static bool clash(uint32_t before, enum qcow2_kind kind)
{
    const uint32_t guest = K_DATA | K_COMPRESSED;
    if (!before || (!(before & ~guest) && !(kind & ~guest))) {
        return false;
    }
    return before != K_L2 || kind != K_L2;
}

void walk_ref(struct walk *w, uint64_t offset, uint64_t len, enum qcow2_kind kind, uint64_t at)
{
    enum { CLASH_TOLD = 1 };
    if (len == 0) {
        return;
    }
    uint64_t last = (spec_add(offset, len) - 1) >> w->q.cluster_bits;
    for (uint64_t c = offset >> w->q.cluster_bits; c <= last && walk_work(w, 1); c++) {
        struct cluster_ref *ref = cluster_map_find(&w->map, c);
        uint32_t before = ref ? ref->kinds : 0;
        ref = cluster_map_add(&w->map, c, kind);
        if (!ref) {
            w->error = -EFBIG;
            return;
        }
        ref->count += ref->count < UINT32_MAX;
        if (clash(before, kind) && !(ref->flags & CLASH_TOLD)) {
            ref->flags |= CLASH_TOLD;
            spec_report_add(w->r, "RC-10", SPEC_CORRUPTION, at, c << w->q.cluster_bits, 0,
                            "cluster 0x%llx holds kinds 0x%x and 0x%x",
                            (unsigned long long)(c << w->q.cluster_bits), before, (unsigned)kind);
        }
    }
}

bool walk_seen_name(struct walk *w, struct cluster_map *names, uint64_t offset, uint64_t len)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325) ^ len;
    for (uint64_t i = 0; i < len; i++) {
        const uint8_t *p = walk_read(w, w->inner, offset + i, 1);
        if (!p) {
            return false;
        }
        hash = (hash ^ *p) * UINT64_C(0x100000001b3);
    }
    if (cluster_map_find(names, hash)) {
        return true;
    }
    if (!cluster_map_add(names, hash, 1)) {
        w->error = -EFBIG;
    }
    return false;
}

bool walk_zero(struct walk *w, uint64_t offset, uint64_t len)
{
    for (uint64_t i = 0; i < len; i++) {
        const uint8_t *p = walk_read(w, w->inner, offset + i, 1);
        if (p && *p) {
            return false;
        }
    }
    return true;
}

/* What the rules of other structures need to know of the header. */
static void take_header(struct walk *w)
{
    const uint8_t *h = w->header;
    bool v3 = qcow2_header_get_version(h) >= 3;
    uint64_t incompat = v3 ? qcow2_header_get_incompatible_features(h) : 0;
    w->q.version = qcow2_header_get_version(h);
    w->q.cluster_bits = qcow2_header_get_cluster_bits(h);
    w->q.cluster_size = UINT64_C(1) << w->q.cluster_bits;
    w->q.extended_l2 = !!(incompat & QCOW2_INCOMPAT_EXTENDED_L2);
    w->q.data_file = !!(incompat & QCOW2_INCOMPAT_DATA_FILE);
    w->q.crypt_method = qcow2_header_get_crypt_method(h);
    w->dirty = incompat & QCOW2_INCOMPAT_DIRTY;
    w->header_length = v3 ? qcow2_header_get_header_length(h) : QCOW2_HEADER_V2_SIZE;
    struct spec_qcow2_info *i = w->info;
    i->version = (uint32_t)w->q.version;
    i->cluster_bits = (uint32_t)w->q.cluster_bits;
    i->refcount_order = v3 ? qcow2_header_get_refcount_order(h) : QCOW2_V2_REFCOUNT_ORDER;
    i->nb_snapshots = qcow2_header_get_nb_snapshots(h);
    i->size = qcow2_header_get_size(h);
    i->incompatible = incompat;
    i->compatible = v3 ? qcow2_header_get_compatible_features(h) : 0;
    i->autoclear = v3 ? qcow2_header_get_autoclear_features(h) : 0;
}

static void advise_limits(struct walk *w)
{
    const uint8_t *h = w->header;
    uint32_t bits = qcow2_header_get_cluster_bits(h);
    uint64_t l1 = (uint64_t)qcow2_header_get_l1_size(h) * QCOW2_L1_ENTRY_SIZE;
    uint64_t table = (uint64_t)qcow2_header_get_refcount_table_clusters(h) << bits;
    if (bits > QCOW2_MAX_CLUSTER_BITS) {
        spec_report_add(w->r, "HDR-9", SPEC_ADVICE, QCOW2_HEADER_CLUSTER_BITS_OFF, bits,
                        QCOW2_MAX_CLUSTER_BITS, "clusters of 2^%u bytes", bits);
    }
    if (l1 > QCOW2_MAX_L1_BYTES) {
        spec_report_add(w->r, "HDR-20", SPEC_ADVICE, QCOW2_HEADER_L1_SIZE_OFF, l1,
                        QCOW2_MAX_L1_BYTES, "L1 table of %llu bytes", (unsigned long long)l1);
    }
    if (table > QCOW2_MAX_REFCOUNT_TABLE_BYTES) {
        spec_report_add(w->r, "RC-11", SPEC_ADVICE, QCOW2_HEADER_REFCOUNT_TABLE_CLUSTERS_OFF, table,
                        QCOW2_MAX_REFCOUNT_TABLE_BYTES, "refcount table of %llu bytes",
                        (unsigned long long)table);
    }
}

/* True when the rest of the image can be interpreted. */
static bool check_header(struct walk *w)
{
    const uint8_t *p = walk_read(w, w->outer, 0, sizeof(w->header));
    if (!p) {
        return false;
    }
    memcpy(w->header, p, sizeof(w->header));
    if (w->image->size < QCOW2_HEADER_V2_SIZE) {
        spec_report_add(w->r, "HDR-1", SPEC_CORRUPTION, 0, w->image->size, QCOW2_HEADER_V2_SIZE,
                        "the file is shorter than a header");
        return false;
    }
    const uint8_t *h = w->header;
    walk_check(w, "header", h, 0);
    uint32_t bits = qcow2_header_get_cluster_bits(h);
    uint32_t version = qcow2_header_get_version(h);
    if (qcow2_header_get_magic(h) != QCOW2_MAGIC || version < 2 || version > 3 || bits < 9 ||
        bits > 30) {
        return false;
    }
    take_header(w);
    advise_limits(w);
    return !(w->info->incompatible & ~QCOW2_INCOMPAT_KNOWN) &&
           w->info->refcount_order <= QCOW2_MAX_REFCOUNT_ORDER &&
           w->header_length <= w->q.cluster_size;
}

static void check_active(struct walk *w)
{
    uint32_t entries = qcow2_header_get_l1_size(w->header);
    uint64_t offset = qcow2_header_get_l1_table_offset(w->header);
    uint64_t needed = l1_needed(w, w->info->size);
    if (entries < needed) {
        spec_report_add(w->r, "MAP-5", SPEC_CORRUPTION, QCOW2_HEADER_L1_SIZE_OFF, entries, needed,
                        "L1 table has %u entries of %llu", entries, (unsigned long long)needed);
    }
    if (entries && !walk_inside(w, offset, (uint64_t)entries * QCOW2_L1_ENTRY_SIZE)) {
        spec_report_add(w->r, "MAP-1", SPEC_CORRUPTION, QCOW2_HEADER_L1_TABLE_OFFSET_OFF, offset, 0,
                        "L1 table at 0x%llx is not inside the file", (unsigned long long)offset);
        return;
    }
    check_l1(w, offset, entries, K_L1);
}

static void check_all(struct walk *w)
{
    if (!check_header(w)) {
        return;
    }
    walk_ref(w, 0, w->q.cluster_size, K_HEADER, 0);
    check_extensions(w);
    check_refcount_tables(w);
    check_active(w);
    check_snapshots(w);
    check_bitmaps(w);
    walk_check_refcounts(w);
    check_copied(w);
}

int spec_qcow2_check(const struct spec_image *image, const struct spec_limits *limits,
                     struct spec_qcow2_info *info, struct spec_report *r)
{
    static const struct spec_limits defaults = {UINT64_C(4) << 20, UINT64_C(4) << 30};
    struct spec_qcow2_info unused;
    limits = limits ? limits : &defaults;
    struct window *windows = malloc(2 * sizeof(*windows));
    if (!windows) {
        return -ENOMEM;
    }
    windows[0].len = windows[1].len = 0;
    windows[0].offset = windows[1].offset = 0;
    struct walk w = {.image = image,
                     .r = r,
                     .info = info ? info : &unused,
                     .format = spec_qcow2(),
                     .work = limits->work,
                     .outer = &windows[0],
                     .inner = &windows[1]};
    *w.info = (struct spec_qcow2_info){0};
    cluster_map_init(&w.map, (size_t)limits->clusters);
    check_all(&w);
    cluster_map_free(&w.map);
    free(windows);
    return w.error;
}

static int read_memory(void *opaque, uint64_t offset, void *buf, size_t len)
{
    memcpy(buf, (const uint8_t *)opaque + offset, len);
    return 0;
}

int spec_qcow2_check_memory(const uint8_t *image, uint64_t size, struct spec_qcow2_info *info,
                            struct spec_report *r)
{
    struct spec_image i = {read_memory, (void *)image, size};
    return spec_qcow2_check(&i, NULL, info, r);
}

bool spec_qcow2_holds(void *opaque, const char *when)
{
    const struct spec_qcow2_info *i = opaque;
    if (!strcmp(when, "dirty")) {
        return i->incompatible & QCOW2_INCOMPAT_DIRTY;
    }
    if (!strcmp(when, "autoclear_bitmaps_clear")) {
        return i->has_bitmaps_extension && !(i->autoclear & QCOW2_AUTOCLEAR_BITMAPS);
    }
    return false;
}
