/*
 * The snapshot table in check: read anew from where the header says, and written when it had to be
 * repaired.
 */
#include "ref/format/qcow2/check.h"

#include <errno.h>
#include <inttypes.h>

/* A header may name so many that counting them leaves no room for what else is found. */
#define MAX_COUNTED (1u << 30)

static int read_pointer(struct qcow2 *s, struct check_result *res)
{
    uint8_t buf[12];
    _Static_assert(QCOW2_HEADER_SNAPSHOTS_OFFSET_OFF == QCOW2_HEADER_NB_SNAPSHOTS_OFF + 4,
                   "neighbours");
    int ret = child_pread(s->n->file, QCOW2_HEADER_NB_SNAPSHOTS_OFF, buf, sizeof(buf),
                          LABEL_CHECK_READ, NULL);
    if (ret < 0) {
        res->check_errors++;
        world_report(s->w, REPORT_PLAIN,
                     "ERROR failed to read the snapshot table pointer from the image header: %s\n",
                     strerror(-ret));
        return ret;
    }
    s->nb_snapshots = load_be32(buf);
    s->snapshots_offset = load_be64(buf + 4);
    return 0;
}

static int refuse(struct qcow2 *s, struct check_result *res, struct error *err, int ret)
{
    res->check_errors++;
    s->nb_snapshots = 0;
    world_report_error(s->w, err);
    return ret;
}

int check_read_snapshots(struct qcow2 *s, struct check_result *res, unsigned fix, bool *rewrite)
{
    *rewrite = false;
    struct error *err = NULL;
    uint32_t removed, trimmed;
    qcow2_free_snapshots(s);
    int ret = read_pointer(s, res);
    if (ret < 0) {
        return ret;
    }
    if (s->nb_snapshots > QCOW2_MAX_SNAPSHOTS && (fix & FIX_ERRORS)) {
        uint32_t n = s->nb_snapshots - QCOW2_MAX_SNAPSHOTS;
        world_report(s->w, REPORT_PLAIN, "Discarding %" PRIu32 " overhanging snapshots\n", n);
        res->corruptions += (int)MIN(n, MAX_COUNTED);
        s->nb_snapshots = QCOW2_MAX_SNAPSHOTS;
    }
    ret = qcow2_validate_table(s, s->snapshots_offset, s->nb_snapshots, QCOW2_SNAPSHOT_SIZE,
                               QCOW2_MAX_SNAPSHOTS * (int64_t)QCOW2_SNAPSHOT_SIZE, "snapshot table",
                               &err);
    if (ret < 0) {
        error_prepend(&err, "ERROR ");
        if (s->nb_snapshots > QCOW2_MAX_SNAPSHOTS) {
            error_hint(&err,
                       "You can force-remove all %" PRIu32
                       " overhanging snapshots with qemu-img check -r all\n",
                       s->nb_snapshots - QCOW2_MAX_SNAPSHOTS);
        }
        return refuse(s, res, err, ret);
    }
    ret = qcow2_read_snapshot_table(s, fix & FIX_ERRORS, &removed, &trimmed, &err);
    if (ret < 0) {
        error_prepend(&err, "ERROR failed to read the snapshot table: ");
        return refuse(s, res, err, ret);
    }
    res->corruptions += (int)(removed + trimmed);
    *rewrite = trimmed > 0;
    for (uint32_t i = 0; s->version >= 3 && i < s->nb_snapshots; i++) {
        if (s->snapshots[i].extra_size < QCOW2_SNAPSHOT_EXTRA_V3_SIZE) {
            res->corruptions++;
            *rewrite = true;
            world_report(s->w, REPORT_PLAIN, "%s snapshot table entry %" PRIu32 " is incomplete\n",
                         check_verb(fix), i);
        }
    }
    return 0;
}

/* Fewer entries than the header says, and these as they should be: only their number is written. */
static int write_count(struct qcow2 *s)
{
    uint8_t buf[4];
    store_be32(buf, s->nb_snapshots);
    int ret = child_pwrite_sync(s->n->file, QCOW2_HEADER_NB_SNAPSHOTS_OFF, buf, sizeof(buf),
                                LABEL_HEADER_UPDATE, NULL);
    s->header_unsure |= ret < 0;
    return ret;
}

int check_fix_snapshots(struct qcow2 *s, struct check_result *res, unsigned fix, bool rewrite)
{
    if (res->corruptions == 0 || !(fix & FIX_ERRORS)) {
        return 0;
    }
    int ret = rewrite ? qcow2_write_snapshots(s) : write_count(s);
    if (ret < 0) {
        res->check_errors++;
        world_report(s->w, REPORT_PLAIN, "ERROR failed to update snapshot table: %s\n",
                     strerror(-ret));
        return ret;
    }
    res->corruptions_fixed += res->corruptions;
    res->corruptions = 0;
    return 0;
}
