/*
 * Internal snapshots of qcow2 (spec: "Snapshots"): create, apply, delete, list, and looking at one
 * read-only.
 *
 * Creating takes references first and names the snapshot last; deleting takes the name away first.
 * Applying takes the snapshot's references, switches the active L1 table in place, and gives the
 * old ones up.  So a power cut leaks clusters at worst.  Leaves out: snapshots of images with an
 * external data file (refused: shared data).
 */
#include "ref/format/qcow2/qcow2.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* Index of a snapshot; id and name must match when given; -1: none. */
static int64_t find(const struct qcow2 *s, const char *id, const char *name)
{
    for (uint32_t i = 0; (id || name) && i < s->nb_snapshots; i++) {
        const struct qcow2_snapshot *sn = &s->snapshots[i];
        if ((!id || strcmp(sn->id, id) == 0) && (!name || strcmp(sn->name, name) == 0)) {
            return i;
        }
    }
    return -1;
}

static int64_t find_id_or_name(const struct qcow2 *s, const char *text)
{
    int64_t i = find(s, text, NULL);
    return i >= 0 ? i : find(s, NULL, text);
}

static int validate_l1(struct qcow2 *s, const struct qcow2_snapshot *sn, struct error **err)
{
    return qcow2_validate_table(s, sn->l1_offset, sn->l1_size, QCOW2_L1_ENTRY_SIZE,
                                QCOW2_MAX_L1_BYTES, "Snapshot L1 table", err);
}

/* One more than the largest number that is an id. */
static void new_id(const struct qcow2 *s, char *id, size_t size)
{
    uint64_t max = 0;
    for (uint32_t i = 0; i < s->nb_snapshots; i++) {
        uint64_t v = strtoul(s->snapshots[i].id, NULL, 10);
        max = MAX(max, v);
    }
    snprintf(id, size, "%" PRIu64, max + 1);
}

/* A copy of the active L1 table in clusters of its own. */
static int copy_l1(struct qcow2 *s, uint64_t *offset)
{
    uint64_t bytes = (uint64_t)s->l1_size * 8;
    int64_t o = qcow2_alloc_clusters(s, bytes);
    if (o < 0) {
        return (int)o;
    }
    int ret = qcow2_cache_flush(s->refblock_cache, NULL);
    ret = ret < 0 ? ret : qcow2_write_l1_table(s, (uint64_t)o, s->l1, s->l1_size, 0);
    if (ret < 0) {
        qcow2_free_clusters(s, (uint64_t)o, bytes, DISCARD_ALWAYS);
    }
    *offset = ret < 0 ? 0 : (uint64_t)o;
    return ret;
}

static void fill(struct qcow2 *s, struct qcow2_snapshot *n, const struct snapshot_info *sn,
                 uint64_t l1_offset)
{
    *n = (struct qcow2_snapshot){
        .l1_offset = l1_offset,
        .l1_size = s->l1_size,
        .id = str_dup(sn->id),
        .name = str_dup(sn->name),
        .date_sec = (uint32_t)sn->date_sec,
        .date_nsec = sn->date_nsec,
        .vm_clock_nsec = sn->vm_clock_nsec,
        .vm_state_size = sn->vm_state_size,
        .disk_size = s->virtual_size,
        .icount = sn->icount,
        .extra_size = QCOW2_SNAPSHOT_EXTRA_FULL_SIZE,
    };
}

static void forget(struct qcow2_snapshot *sn)
{
    mem_free(sn->id);
    mem_free(sn->name);
    mem_free(sn->unknown_extra);
}

/* The new list, written; on failure the old one stays. */
static int append(struct qcow2 *s, const struct snapshot_info *sn, uint64_t l1_offset)
{
    struct qcow2_snapshot *old = s->snapshots;
    s->snapshots = mem_try_array(s->nb_snapshots + 1, sizeof(*old));
    if (!s->snapshots) {
        s->snapshots = old;
        return -ENOMEM;
    }
    if (s->nb_snapshots) {
        memcpy(s->snapshots, old, s->nb_snapshots * sizeof(*old));
    }
    fill(s, &s->snapshots[s->nb_snapshots++], sn, l1_offset);
    int ret = qcow2_write_snapshots(s);
    if (ret < 0) {
        forget(&s->snapshots[--s->nb_snapshots]);
        mem_free(s->snapshots);
        s->snapshots = old;
        return ret;
    }
    mem_free(old);
    return 0;
}

static int create(struct qcow2 *s, struct snapshot_info *sn)
{
    uint64_t l1_offset = 0;
    if (s->dead) {
        return -ENOMEDIUM;
    }
    if (s->nb_snapshots >= QCOW2_MAX_SNAPSHOTS) {
        return -EFBIG;
    }
    if (has_data_file(s)) {
        return -ENOTSUP;
    }
    if (!sn->id[0]) {
        new_id(s, sn->id, sizeof(sn->id));
    }
    if (find(s, sn->id, NULL) >= 0) {
        return -EEXIST;
    }
    int ret = copy_l1(s, &l1_offset);
    ret = ret < 0 ? ret : qcow2_update_snapshot_refcount(s, s->l1_offset, s->l1_size, 1);
    if (ret < 0 && l1_offset && !s->dead && !world_leaks_as_qemu(s->w)) {
        qcow2_free_clusters(s, l1_offset, s->l1_size * 8ull, DISCARD_NEVER);
        qcow2_writethrough(s, NULL);
    }
    /* From here on the header may name the table even when it fails: then it is leaked, not freed.
     */
    ret = ret < 0 ? ret : append(s, sn, l1_offset);
    if (ret < 0) {
        return ret;
    }
    /* The VM state belongs to the snapshot now; left in the active table it would only cost copies.
     */
    uint64_t bytes = ROUND_UP(sn->vm_state_size, s->cluster_size);
    if (bytes) {
        ret =
            qcow2_discard_range(s, (uint64_t)s->l1_vm_state_index << (s->l2_bits + s->cluster_bits),
                                bytes, DISCARD_NEVER, false, NULL);
    }
    return MIN(ret, qcow2_writethrough(s, NULL));
}

int qcow2_snapshot_create(struct node *n, struct snapshot_info *sn)
{
    struct qcow2 *s = qcow2_state(n);
    co_lock(s->w, &s->lock);
    int ret = qcow2_may_change(s);
    ret = ret < 0 ? ret : create(s, sn);
    co_unlock(s->w, &s->lock);
    return ret;
}

/* The snapshot's L1 table on top of the active one; the old one's references are given up. */
static int switch_l1(struct qcow2 *s, const struct qcow2_snapshot *sn)
{
    uint64_t *l1 = mem_try_array(s->l1_size ? s->l1_size : 1, 8), *theirs = NULL;
    int ret = l1 ? qcow2_read_l1_table(s, sn->l1_offset, sn->l1_size, &theirs) : -ENOMEM;
    for (uint32_t i = 0; i < sn->l1_size && ret == 0; i++) {
        l1[i] = theirs[i] & ~OFLAG_COPIED; /* two tables refer to it */
    }
    mem_free(theirs);
    ret = ret < 0 ? ret : qcow2_write_l1_table(s, s->l1_offset, l1, s->l1_size, OL_ACTIVE_L1);
    if (ret < 0) {
        mem_free(l1);
        return ret;
    }
    uint64_t *old = s->l1;
    s->l1 = l1;
    ret = qcow2_update_l1_references(s, old, s->l1_size, -1);
    mem_free(old);
    return ret < 0 ? ret : qcow2_update_snapshot_refcount(s, s->l1_offset, s->l1_size, 0);
}

/* The snapshot of that id or name, whose L1 table is within the format's limits. */
static int lookup(struct qcow2 *s, const char *id, const struct qcow2_snapshot **sn,
                  struct error **err)
{
    int64_t i = find_id_or_name(s, id);
    if (i < 0) {
        return -ENOENT;
    }
    *sn = &s->snapshots[i];
    return validate_l1(s, *sn, err);
}

/* Gives the disk the size that it had in the snapshot. */
static int resize_to(struct node *n, const struct qcow2_snapshot *sn, struct error **err)
{
    struct qcow2 *s = qcow2_state(n);
    if (sn->disk_size == s->virtual_size) {
        return 0;
    }
    return sn->disk_size > INT64_MAX
               ? -EFBIG
               : qcow2_truncate(n, (int64_t)sn->disk_size, true, PREALLOC_OFF, 0, err);
}

static int apply(struct qcow2 *s, const struct qcow2_snapshot *sn)
{
    int ret = qcow2_may_change(s);
    ret = ret < 0 ? ret : qcow2_grow_l1(s, sn->l1_size, true);
    ret = ret < 0 ? ret : qcow2_update_snapshot_refcount(s, sn->l1_offset, sn->l1_size, 1);
    ret = ret < 0 ? ret : switch_l1(s, sn);
    return MIN(ret, qcow2_writethrough(s, NULL));
}

/* Truncating drops the lock.  The node is drained, yet who drained it as well may delete the
 * snapshot: it is looked up anew. */
int qcow2_snapshot_goto(struct node *n, const char *id)
{
    struct qcow2 *s = qcow2_state(n);
    const struct qcow2_snapshot *sn;
    struct error *local = NULL;
    if (s->dead) {
        return -ENOMEDIUM;
    }
    if (has_data_file(s)) {
        return -ENOTSUP;
    }
    int ret = lookup(s, id, &sn, &local);
    ret = ret < 0 ? ret : resize_to(n, sn, &local);
    if (local) {
        world_report_error(s->w, local);
    }
    if (ret < 0) {
        return ret;
    }
    co_lock(s->w, &s->lock);
    ret = lookup(s, id, &sn, NULL);
    ret = ret < 0 ? ret : apply(s, sn);
    co_unlock(s->w, &s->lock);
    return ret;
}

static int remove_from_list(struct qcow2 *s, uint32_t i, struct qcow2_snapshot *out)
{
    struct qcow2_snapshot *list = s->snapshots;
    *out = list[i];
    memmove(&list[i], &list[i + 1], (s->nb_snapshots - i - 1) * sizeof(*list));
    s->nb_snapshots--;
    int ret = qcow2_write_snapshots(s);
    if (ret < 0) {
        memmove(&list[i + 1], &list[i], (s->nb_snapshots - i) * sizeof(*list));
        list[i] = *out;
        s->nb_snapshots++;
    }
    return ret;
}

static int delete (struct qcow2 *s, const char *id, const char *name, struct error **err)
{
    struct qcow2_snapshot sn;
    if (s->dead) {
        return error_set(err, ENOMEDIUM, "No medium inserted");
    }
    if (has_data_file(s)) {
        return -ENOTSUP;
    }
    int64_t i = find(s, id, name);
    if (i < 0) {
        return error_set(err, ENOENT, "Can't find the snapshot");
    }
    int ret = validate_l1(s, &s->snapshots[i], err);
    if (ret < 0) {
        return ret;
    }
    ret = remove_from_list(s, (uint32_t)i, &sn);
    if (ret < 0) {
        return error_set_errno(err, -ret, "Failed to remove snapshot from snapshot list");
    }
    ret = qcow2_update_snapshot_refcount(s, sn.l1_offset, sn.l1_size, -1);
    if (ret < 0) {
        error_set_errno(err, -ret, "Failed to free the cluster and L1 table");
    } else {
        qcow2_free_clusters(s, sn.l1_offset, (uint64_t)sn.l1_size * 8, DISCARD_SNAPSHOT);
        ret = qcow2_update_snapshot_refcount(s, s->l1_offset, s->l1_size, 0);
        if (ret < 0) {
            error_set_errno(err, -ret, "Failed to update snapshot status in disk");
        }
    }
    forget(&sn);
    qcow2_process_discards(s, ret);
    return MIN(ret, qcow2_writethrough(s, NULL));
}

int qcow2_snapshot_delete(struct node *n, const char *id, const char *name, struct error **err)
{
    struct qcow2 *s = qcow2_state(n);
    co_lock(s->w, &s->lock);
    int ret = qcow2_may_change(s);
    ret = ret < 0 ? error_set_errno(err, -ret, "Failed to delete the snapshot")
                  : delete (s, id, name, err);
    co_unlock(s->w, &s->lock);
    return ret;
}

static void copy_text(char *to, size_t size, const char *from)
{
    snprintf(to, size, "%s", from);
}

int qcow2_snapshot_list(struct node *n, struct snapshot_info **out)
{
    struct qcow2 *s = qcow2_state(n);
    *out = NULL;
    if (has_data_file(s)) {
        return -ENOTSUP;
    }
    if (s->nb_snapshots == 0) {
        return 0;
    }
    struct snapshot_info *list = mem_try_array(s->nb_snapshots, sizeof(*list));
    if (!list) {
        return -ENOMEM;
    }
    for (uint32_t i = 0; i < s->nb_snapshots; i++) {
        const struct qcow2_snapshot *sn = &s->snapshots[i];
        copy_text(list[i].id, sizeof(list[i].id), sn->id);
        copy_text(list[i].name, sizeof(list[i].name), sn->name);
        list[i].vm_state_size = sn->vm_state_size;
        list[i].date_sec = sn->date_sec;
        list[i].date_nsec = sn->date_nsec;
        list[i].vm_clock_nsec = sn->vm_clock_nsec;
        list[i].icount = sn->icount;
        list[i].disk_size = (int64_t)sn->disk_size;
    }
    *out = list;
    return (int)s->nb_snapshots;
}

int qcow2_snapshot_load(struct node *n, const char *id, const char *name, struct error **err)
{
    struct qcow2 *s = qcow2_state(n);
    if (!n->read_only) {
        return error_set(err, EINVAL, "Only a read-only image can show a snapshot");
    }
    int64_t i = find(s, id, name);
    if (i < 0) {
        return error_set(err, ENOENT, "Can't find snapshot");
    }
    const struct qcow2_snapshot *sn = &s->snapshots[i];
    int ret = validate_l1(s, sn, err);
    if (ret < 0) {
        return ret;
    }
    uint64_t *l1;
    ret = qcow2_read_l1_table(s, sn->l1_offset, sn->l1_size, &l1);
    if (ret < 0) {
        return error_set_errno(err, -ret, "Failed to read l1 table for snapshot");
    }
    co_lock(s->w, &s->lock);
    mem_free(s->l1);
    s->l1 = l1;
    s->l1_size = sn->l1_size;
    co_unlock(s->w, &s->lock);
    return 0;
}
