/*
 * Counting references for check: header, L1 and L2 tables (active and of snapshots), snapshot
 * table, bitmaps, refcount table and blocks (spec: "Host cluster management").
 *
 * Every structure is looked at in one fixed order, and what breaks the format's rules is said on
 * the way. Leaves out: contents of bitmaps and of guest clusters.
 */
#include "ref/format/qcow2/check.h"

#include <errno.h>
#include <inttypes.h>

#define REACH_MAX (1ull << 30) /* bytes that a repair lets the file grow */

/* The tables of one L1 table; statistics are of the active one. */
struct walk {
    struct check *c;
    bool active;
    uint64_t l2_offset;
    uint64_t next_contiguous;
};

static bool beyond_end(const struct check *c, uint64_t end)
{
    return end > c->file_len && end - c->file_len >= c->s->cluster_size;
}

/*
 * After a power cut the file may be shorter than its last allocations (spec, promise:
 * behind_the_end).  Where a dirty image's refcounts are made anew these clusters must be counted,
 * or new structures would be placed on them: the file grows to have them.
 */
static void reach(struct check *c, uint64_t end)
{
    struct qcow2 *s = c->s;
    if (!(c->fix & FIX_ERRORS) || qcow2_need_accurate_refcounts(s) ||
        end - c->file_len > REACH_MAX) {
        return;
    }
    int ret = child_truncate(s->n->file, (int64_t)ROUND_UP(end, s->cluster_size), false,
                             PREALLOC_OFF, 0, NULL);
    int64_t len = ret < 0 ? ret : child_length(s->n->file);
    if (len >= 0) {
        c->file_len = (uint64_t)len;
        c->nb_clusters = MAX(c->nb_clusters, size_to_clusters(s, c->file_len));
    }
}

int check_count_range(struct check *c, uint64_t offset, uint64_t bytes)
{
    const struct qcow2 *s = c->s;
    if (bytes == 0) {
        return 0;
    }
    if (beyond_end(c, offset + bytes)) {
        reach(c, offset + bytes);
    }
    if (beyond_end(c, offset + bytes)) {
        check_say(c,
                  "ERROR: counting reference for region exceeding the end of the file by one "
                  "cluster or more: offset "
                  "0x%" PRIx64 " size 0x%" PRIx64 "\n",
                  offset, bytes);
        c->res->corruptions++;
        return 0;
    }
    uint64_t last = (offset + bytes - 1) >> s->cluster_bits;
    for (uint64_t i = offset >> s->cluster_bits; i <= last; i++) {
        uint32_t *count = refmap_at(&c->map, i);
        if (!count) {
            c->res->check_errors++;
            return -ENOMEM;
        }
        c->nb_clusters = MAX(c->nb_clusters, i + 1);
        if (*count == s->refcount_max || *count == UINT32_MAX) {
            check_say(c,
                      "ERROR: overflow cluster offset=0x%" PRIx64 "\n"
                      "Use qemu-img amend to increase the refcount entry width or qemu-img convert "
                      "to create a clean "
                      "copy if the image cannot be opened for writing\n",
                      i << s->cluster_bits);
            c->res->corruptions++;
            continue;
        }
        (*count)++;
    }
    return 0;
}

int check_write_l2_entry(struct check *c, uint64_t l2_offset, unsigned index, uint64_t entry,
                         uint64_t bitmap, bool active)
{
    struct qcow2 *s = c->s;
    uint8_t buf[16];
    store_be64(buf, entry);
    store_be64(buf + 8, bitmap);
    uint64_t offset = l2_offset + (uint64_t)index * s->l2_entry_size;
    int ret = qcow2_pre_write_overlap(s, active ? OL_ACTIVE_L2 : OL_INACTIVE_L2, offset,
                                      s->l2_entry_size, false);
    if (ret < 0) {
        check_say(c, "ERROR: Overlap check failed\n");
    } else {
        ret = child_pwrite_sync(s->n->file, (int64_t)offset, buf, s->l2_entry_size, LABEL_L2_UPDATE,
                                NULL);
        if (ret < 0) {
            check_say(c, "ERROR: Failed to overwrite L2 table entry: %s\n", strerror(-ret));
        }
    }
    qcow2_cache_discard(s->l2_cache, start_of_cluster(s, offset), s->cluster_size);
    c->res->check_errors += ret < 0;
    return ret;
}

static int compressed_entry(struct walk *w, unsigned index, uint64_t entry, uint64_t bitmap)
{
    struct check *c = w->c;
    const struct qcow2 *s = c->s;
    if (entry & OFLAG_COPIED) {
        check_say(c,
                  "ERROR: coffset=0x%" PRIx64
                  ": copied flag must never be set for compressed clusters\n",
                  entry & s->cluster_offset_mask);
        entry &= ~OFLAG_COPIED;
        c->res->corruptions++;
    }
    if (has_data_file(s)) {
        check_say(c, "ERROR compressed cluster %u with data file, entry=0x%" PRIx64 "\n", index,
                  entry);
        c->res->corruptions++;
        return 0;
    }
    if (bitmap) {
        check_say(c,
                  "ERROR compressed cluster %u with non-zero subcluster allocation bitmap, "
                  "entry=0x%" PRIx64 "\n",
                  index, entry);
        c->res->corruptions++;
        return 0;
    }
    uint64_t offset;
    unsigned bytes;
    qcow2_compressed_extent(s, entry, &offset, &bytes);
    int ret = check_count_range(c, offset, bytes);
    if (w->active) {
        c->res->allocated_clusters++;
        c->res->compressed_clusters++;
        c->res->fragmented_clusters++; /* by their nature */
    }
    return ret;
}

/* Guest data is in it: it cannot just be dropped. */
static bool has_data(const struct qcow2 *s, uint64_t entry, uint64_t bitmap)
{
    return s->extended_l2 ? (uint32_t)bitmap != 0 : qcow2_cluster_type(s, entry) == CLUSTER_NORMAL;
}

/* A host cluster that is not at a cluster's start; *gone: the entry lost its host cluster. */
static int unaligned_entry(struct walk *w, unsigned index, uint64_t entry, uint64_t bitmap,
                           bool *gone)
{
    struct check *c = w->c;
    const struct qcow2 *s = c->s;
    uint64_t offset = entry & L2_OFFSET_MASK;
    if (has_data(s, entry, bitmap)) {
        check_say(c,
                  "ERROR offset=%" PRIx64
                  ": Data cluster is not properly aligned; L2 entry corrupted.\n",
                  offset);
        c->res->corruptions++;
        return 0;
    }
    check_say(c,
              "%s offset=%" PRIx64
              ": Preallocated cluster is not properly aligned; L2 entry corrupted.\n",
              check_verb(c->fix), offset);
    if (!(c->fix & FIX_ERRORS)) {
        c->res->corruptions++;
        return 0;
    }
    /* Subclusters keep what they read as: with no host cluster that is the backing file, or zeroes.
     */
    int ret = check_write_l2_entry(c, w->l2_offset, index, s->extended_l2 ? 0 : OFLAG_ZERO, bitmap,
                                   w->active);
    *gone = ret == 0;
    c->res->corruptions_fixed += ret == 0;
    return ret;
}

static int host_entry(struct walk *w, unsigned index, uint64_t entry, uint64_t bitmap)
{
    struct check *c = w->c;
    const struct qcow2 *s = c->s;
    uint64_t offset = entry & L2_OFFSET_MASK;
    if (s->extended_l2 && ((uint32_t)bitmap & (uint32_t)(bitmap >> 32))) {
        check_say(c,
                  "ERROR offset=%" PRIx64
                  ": Allocated cluster has corrupted subcluster allocation bitmap\n",
                  offset);
        c->res->corruptions++;
    }
    if (w->active) {
        c->res->allocated_clusters++;
        if (w->next_contiguous && offset != w->next_contiguous) {
            c->res->fragmented_clusters++;
        }
        w->next_contiguous = offset + s->cluster_size;
    }
    bool gone = false;
    int ret = 0;
    if (offset_into_cluster(s, offset)) {
        ret = unaligned_entry(w, index, entry, bitmap, &gone);
    }
    return ret < 0 || gone || has_data_file(s) ? ret
                                               : check_count_range(c, offset, s->cluster_size);
}

static int one_entry(struct walk *w, unsigned index, uint64_t entry, uint64_t bitmap)
{
    struct check *c = w->c;
    enum cluster_type type = qcow2_cluster_type(c->s, entry);
    if (type != CLUSTER_COMPRESSED && (entry & QCOW2_L2_ENTRY_RESERVED_MASK)) {
        check_say(c, "ERROR found l2 entry with reserved bits set: %" PRIx64 "\n", entry);
        c->res->corruptions++;
    }
    switch (type) {
    case CLUSTER_COMPRESSED:
        return compressed_entry(w, index, entry, bitmap);
    case CLUSTER_NORMAL:
    case CLUSTER_ZERO_ALLOC:
        return host_entry(w, index, entry, bitmap);
    default:
        if ((uint32_t)bitmap) {
            check_say(c, "ERROR: Unallocated cluster has non-zero subcluster allocation map\n");
            c->res->corruptions++;
        }
        return 0;
    }
}

static int one_l2_table(struct check *c, uint64_t l2_offset, bool active)
{
    const struct qcow2 *s = c->s;
    struct walk w = {.c = c, .active = active, .l2_offset = l2_offset};
    int ret = child_pread(s->n->file, (int64_t)l2_offset, c->table, (int64_t)s->cluster_size,
                          LABEL_CHECK_READ, NULL);
    if (ret < 0) {
        check_say(c, "ERROR: I/O error in check_refcounts_l2\n");
        c->res->check_errors++;
        return ret;
    }
    for (unsigned i = 0; ret == 0 && (i = l2_skip_zero(s, c->table, i, s->l2_size)) < s->l2_size;
         i++) {
        uint64_t entry = l2_get_entry(s, c->table, i), bitmap = l2_get_bitmap(s, c->table, i);
        ret = one_entry(&w, i, entry, bitmap);
    }
    return ret;
}

static int one_l1_entry(struct check *c, uint64_t entry, bool active)
{
    const struct qcow2 *s = c->s;
    uint64_t l2_offset = entry & L1_OFFSET_MASK;
    if (entry & QCOW2_L1_ENTRY_RESERVED_MASK) {
        check_say(c, "ERROR found L1 entry with reserved bits set: %" PRIx64 "\n", entry);
        c->res->corruptions++;
    }
    int ret = check_count_range(c, l2_offset, s->cluster_size);
    if (ret == 0 && offset_into_cluster(s, l2_offset)) {
        check_say(c,
                  "ERROR l2_offset=%" PRIx64 ": Table is not cluster aligned; L1 entry corrupted\n",
                  l2_offset);
        c->res->corruptions++;
    }
    return ret < 0 ? ret : one_l2_table(c, l2_offset, active);
}

/* The table's size and place have passed their limits. */
static int one_l1_table(struct check *c, uint64_t offset, uint32_t entries, bool active)
{
    int ret = check_count_range(c, offset, (uint64_t)entries * 8);
    if (ret < 0 || entries == 0) {
        return ret;
    }
    uint8_t *l1 = mem_try_alloc((size_t)entries * 8);
    if (!l1) {
        c->res->check_errors++;
        return -ENOMEM;
    }
    ret = child_pread(c->s->n->file, (int64_t)offset, l1, (int64_t)entries * 8, LABEL_CHECK_READ,
                      NULL);
    if (ret < 0) {
        check_say(c, "ERROR: I/O error in check_refcounts_l1\n");
        c->res->check_errors++;
    }
    for (uint32_t i = 0; i < entries && ret == 0; i++) {
        uint64_t entry = load_be64(l1 + (size_t)i * 8);
        if (entry) {
            ret = one_l1_entry(c, entry, active);
        }
    }
    mem_free(l1);
    return ret;
}

static int snapshot_tables(struct check *c)
{
    struct qcow2 *s = c->s;
    int ret = 0;
    for (uint32_t i = 0; s->snapshots && i < s->nb_snapshots && ret == 0; i++) {
        const struct qcow2_snapshot *sn = &s->snapshots[i];
        if (offset_into_cluster(s, sn->l1_offset)) {
            check_say(c,
                      "ERROR snapshot %s (%s) l1_offset=0x%" PRIx64
                      ": L1 table is not cluster aligned; snapshot table "
                      "entry corrupted\n",
                      sn->id, sn->name, sn->l1_offset);
            c->res->corruptions++;
        } else if (sn->l1_size > QCOW2_MAX_L1_ENTRIES) {
            check_say(c,
                      "ERROR snapshot %s (%s) l1_size=0x%" PRIx32
                      ": L1 table is too large; snapshot table entry "
                      "corrupted\n",
                      sn->id, sn->name, sn->l1_size);
            c->res->corruptions++;
        } else if (sn->l1_offset > INT64_MAX - (uint64_t)sn->l1_size * 8) {
            ret = check_count_range(c, sn->l1_offset, (uint64_t)sn->l1_size * 8);
        } else {
            ret = one_l1_table(c, sn->l1_offset, sn->l1_size, false);
        }
    }
    return ret < 0 ? ret : check_count_range(c, s->snapshots_offset, s->snapshots_size);
}

static int bitmap_entry(struct check *c, uint64_t entry)
{
    uint64_t place = entry & QCOW2_BITMAP_TABLE_ENTRY_OFFSET_MASK;
    if ((entry & QCOW2_BITMAP_TABLE_ENTRY_RESERVED_MASK) ||
        (place && (entry & QCOW2_BITMAP_TABLE_ENTRY_ALL_ONES_MASK)) ||
        offset_into_cluster(c->s, place)) {
        c->res->corruptions++;
        return 0;
    }
    return place ? check_count_range(c, place, c->s->cluster_size) : 0;
}

/* One bitmap's table and the clusters that hold its bits (spec: "Bitmap table"). */
static int bitmap_table(struct check *c, uint64_t offset, uint32_t entries)
{
    const struct qcow2 *s = c->s;
    uint64_t bytes = (uint64_t)entries * QCOW2_BITMAP_TABLE_ENTRY_SIZE;
    int ret = offset > INT64_MAX - bytes ? -EINVAL : check_count_range(c, offset, bytes);
    if (ret < 0) {
        return ret;
    }
    if (offset + bytes > c->file_len && offset + bytes - c->file_len >= s->cluster_size) {
        return 0; /* has been said */
    }
    for (uint64_t pos = 0; pos < bytes && ret == 0; pos += s->cluster_size) {
        uint64_t n = MIN(s->cluster_size, bytes - pos);
        ret = child_pread(s->n->file, (int64_t)(offset + pos), c->table, (int64_t)n,
                          LABEL_CHECK_READ, NULL);
        c->res->check_errors += ret < 0;
        for (uint64_t i = 0; i < n && ret == 0; i += QCOW2_BITMAP_TABLE_ENTRY_SIZE) {
            ret = bitmap_entry(c, load_be64(c->table + i));
        }
    }
    return ret;
}

static int bitmaps(struct check *c)
{
    const struct qcow2 *s = c->s;
    if (s->nb_bitmaps == 0) {
        return 0;
    }
    int ret = check_count_range(c, s->bitmap_dir_offset, s->bitmap_dir_size);
    uint8_t *dir = ret == 0 ? mem_try_alloc(s->bitmap_dir_size + 1) : NULL;
    if (!dir) {
        c->res->check_errors += ret == 0;
        return ret < 0 ? ret : -ENOMEM;
    }
    ret = child_pread(s->n->file, (int64_t)s->bitmap_dir_offset, dir, (int64_t)s->bitmap_dir_size,
                      LABEL_CHECK_READ, NULL);
    c->res->check_errors += ret < 0;
    for (uint64_t pos = 0; pos < s->bitmap_dir_size && ret == 0;) {
        const uint8_t *e = dir + pos;
        if (s->bitmap_dir_size - pos < QCOW2_BITMAP_DIR_ENTRY_SIZE ||
            ROUND_UP(qcow2_bitmap_dir_entry_total_size(e), 8) > s->bitmap_dir_size - pos) {
            c->res->corruptions++;
            ret = -EINVAL;
            break;
        }
        ret = bitmap_table(c, qcow2_bitmap_dir_entry_get_bitmap_table_offset(e),
                           qcow2_bitmap_dir_entry_get_bitmap_table_size(e));
        pos += ROUND_UP(qcow2_bitmap_dir_entry_total_size(e), 8);
    }
    mem_free(dir);
    return ret;
}

/* Clusters that the refcount table can count. */
static uint64_t counted_clusters(const struct qcow2 *s)
{
    return (uint64_t)s->reftable_size << s->refblock_bits;
}

/* A refcount block behind the end of the file: the file grows to have it, or all is rebuilt.  It
 * does not grow beyond what the table can count: nothing that belongs to the image lies there. */
static int block_outside(struct check *c, uint32_t i, uint64_t offset)
{
    struct qcow2 *s = c->s;
    struct error *local = NULL;
    check_say(c, "%s refcount block %" PRIu32 " is outside image\n", check_verb(c->fix), i);
    c->res->corruptions++;
    if (!(c->fix & FIX_ERRORS)) {
        return 0;
    }
    int ret = offset > (uint64_t)INT64_MAX - s->cluster_size ? -EINVAL : -EFBIG;
    if (ret == -EFBIG && offset >> s->cluster_bits < counted_clusters(s)) {
        ret = child_truncate(s->n->file, (int64_t)(offset + s->cluster_size), false, PREALLOC_OFF,
                             0, &local);
    }
    int64_t len = ret < 0 ? ret : child_length(s->n->file);
    if (len >= 0 && size_to_clusters(s, (uint64_t)len) > offset >> s->cluster_bits) {
        c->file_len = (uint64_t)len;
        c->nb_clusters = MAX(c->nb_clusters, size_to_clusters(s, c->file_len));
        c->res->corruptions--;
        c->res->corruptions_fixed++;
        /* A block that nobody else counts: what it says of itself is compared like all else. */
        return check_count_range(c, offset, s->cluster_size);
    }
    if (local) {
        world_report_error(s->w, local);
    }
    c->rebuild = true;
    check_say(c, "ERROR could not resize image: %s\n", strerror(len < 0 ? (int)-len : EINVAL));
    return 0;
}

static int one_refblock(struct check *c, uint32_t i)
{
    struct qcow2 *s = c->s;
    uint64_t entry = s->reftable[i], offset = entry & REFT_OFFSET_MASK;
    if (entry & QCOW2_REFCOUNT_TABLE_ENTRY_RESERVED_MASK) {
        check_say(c, "ERROR refcount table entry %" PRIu32 " has reserved bits set\n", i);
        c->res->corruptions++;
        c->rebuild = true;
        return 0;
    }
    if (offset_into_cluster(s, offset)) {
        check_say(c,
                  "ERROR refcount block %" PRIu32
                  " is not cluster aligned; refcount table entry corrupted\n",
                  i);
        c->res->corruptions++;
        c->rebuild = true;
        return 0;
    }
    if (offset >> s->cluster_bits >= c->nb_clusters) {
        return block_outside(c, i, offset);
    }
    if (offset == 0) {
        return 0;
    }
    int ret = check_count_range(c, offset, s->cluster_size);
    uint32_t count = refmap_get(&c->map, offset >> s->cluster_bits);
    if (ret == 0 && count != 1) {
        check_say(c, "ERROR refcount block %" PRIu32 " refcount=%" PRIu32 "\n", i, count);
        c->res->corruptions++;
        c->rebuild = true;
    }
    return ret;
}

int check_count_references(struct check *c)
{
    struct qcow2 *s = c->s;
    struct check_result *res = c->res;
    res->allocated_clusters = res->fragmented_clusters = res->compressed_clusters = 0;
    int ret = check_count_range(c, 0, s->cluster_size);
    ret = ret < 0 ? ret : one_l1_table(c, s->l1_offset, s->l1_size, true);
    ret = ret < 0 ? ret : snapshot_tables(c);
    if (ret == 0 && s->has_crypto_ext) {
        ret = check_count_range(c, s->crypto_offset, s->crypto_length);
    }
    ret = ret < 0 ? ret : bitmaps(c);
    ret = ret < 0 ? ret
                  : check_count_range(c, s->reftable_offset,
                                      (uint64_t)s->reftable_clusters << s->cluster_bits);
    for (size_t i = 0;
         ret == 0 && (i = words_skip_zero(s->reftable, i, s->reftable_size)) < s->reftable_size;
         i++) {
        ret = one_refblock(c, (uint32_t)i);
    }
    return ret;
}
