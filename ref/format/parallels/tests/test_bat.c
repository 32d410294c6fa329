/*
 * When changed entries of the BAT reach the file: at once (profile reference), or with the next
 * flush, close, reopen or check (profile optimized); what must be stable before them, the in-use
 * mark among it; what a failed write-back leaves; clusters allocated together, and beside each
 * other.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include "ref/base/bytes.h"
#include "ref/block/open.h"
#include "ref/format/format.h"
#include "ref/protocol/protocol.h"
#include "ref/protocol/tests/rig.h"
#include "specs/parallels_layout.h"

static const struct block_driver *const drivers[] = {&driver_sim, &driver_parallels, NULL};
#define RW    (OPEN_RDWR | OPEN_RESIZE)
#define IMAGE "driver=parallels,prealloc-size=0"
#define C     ((int64_t)4096) /* bytes of a cluster */

/* Entry i; the header's sector has 112 of them, others 128. */
static uint32_t entry_of(struct disk *d, int64_t i)
{
    uint8_t le[4];
    disk_read(d, PARALLELS_HEADER_SIZE + 4 * i, le, 4);
    return load_le32(le);
}

static uint32_t entry(struct rig *r, int64_t i)
{
    return entry_of(r->disk[0], i);
}

static void set_entry(struct rig *r, int64_t i, uint32_t value)
{
    uint8_t le[4];
    store_le32(le, value);
    disk_write(r->disk[0], PARALLELS_HEADER_SIZE + 4 * i, le, 4);
}

static void disk_fill(struct disk *d, int64_t at, int64_t bytes, uint8_t value)
{
    uint8_t *buf = mem_alloc((size_t)bytes);
    memset(buf, value, (size_t)bytes);
    disk_write(d, at, buf, (size_t)bytes);
    mem_free(buf);
}

/* A fresh image of 4 MiB; "sim:d1" is as large, and all fives. */
static struct blk *fresh(struct rig *r, const char *options)
{
    struct error *err = NULL;
    struct value *opts = opts_parse("size=4M,cluster_size=4k", NULL, &err);
    rig_disk(r, 0, 0);
    rig_disk(r, 1, 4 * MiB);
    disk_fill(r->disk[1], 0, 4 * MiB, 5);
    assert_int_equal(image_create(r->w, &driver_parallels, "sim:d0", opts, &err), 0);
    value_free(opts);
    return rig_open(r, "sim:d0", options, RW);
}

/* From op `from` of the log on: how many ops of a kind have that label. */
static int count(const struct rig *r, size_t from, enum disk_op_kind kind, enum label label)
{
    int n = 0;
    for (size_t i = from; i < disk_log_len(r->log); i++) {
        const struct disk_op *op = disk_log_op(r->log, i);
        n += op->kind == kind && op->label == label;
    }
    return n;
}

static int table_writes(const struct rig *r, size_t from)
{
    return count(r, from, DISK_OP_WRITE, LABEL_TABLE_UPDATE);
}

static bool cached(const struct rig *r)
{
    return world_profile(r->w)->metadata_cache;
}

static void fault(struct rig *r, const char *plan)
{
    assert_int_equal(fault_plan_parse(&r->plan, plan, NULL), 0);
}

static void no_fault(struct rig *r)
{
    fault_plan_destroy(&r->plan);
    fault_plan_init(&r->plan);
}

/* Entries of neighbouring sectors go in one write, at the flush and not before. */
static void at_flush(struct rig *r)
{
    struct blk *b = fresh(r, IMAGE);
    size_t from = disk_log_len(r->log);
    for (int64_t i = 0; i < 5; i++) {
        static const int64_t clusters[] = {111, 112, 240, 1000, 999};
        assert_int_equal(rig_fill(b, clusters[i] * C, C, (uint8_t)(i + 1)), 0);
    }
    assert_int_equal(table_writes(r, from), cached(r) ? 0 : 5);
    assert_int_equal(entry(r, 112), cached(r) ? 0 : 3);
    rig_check(b, 112 * C, C, 2);
    struct status st;
    assert_int_equal(node_block_status(blk_node(b), true, 1000 * C, C, &st), 0);
    assert_true(st.flags & STATUS_ALLOCATED);
    assert_int_equal(blk_flush(b, NULL), 0);
    assert_int_equal(table_writes(r, from), cached(r) ? 2 : 5);
    assert_int_equal(entry(r, 111), 2);
    assert_int_equal(entry(r, 112), 3);
    assert_int_equal(entry(r, 240), 4);
    assert_int_equal(entry(r, 1000), 5);
    assert_int_equal(entry(r, 999), 6);
    /* Only what changed since. */
    from = disk_log_len(r->log);
    assert_int_equal(blk_flush(b, NULL), 0);
    assert_int_equal(rig_fill(b, 112 * C, C, 9), 0); /* in place */
    assert_int_equal(blk_flush(b, NULL), 0);
    assert_int_equal(table_writes(r, from), 0);
    blk_unref(b);
    assert_int_equal(table_writes(r, from), 0);
}

static void with_fua(struct rig *r)
{
    uint8_t buf[512] = {1};
    struct blk *b = fresh(r, IMAGE);
    assert_int_equal(blk_pwrite(b, 0, buf, 512, REQ_FUA), 0);
    assert_int_equal(entry(r, 0), 2);
    blk_unref(b);
}

/* Who wants no flushes of the disk has the entries in the file all the same. */
static void without_flushes(struct rig *r)
{
    struct blk *b = fresh(r, IMAGE ",cache.no-flush=on");
    assert_int_equal(rig_fill(b, 0, C, 1), 0);
    assert_int_equal(blk_flush(b, NULL), 0);
    assert_int_equal(entry(r, 0), 2);
    blk_unref(b);
}

/* A cut between flushes: the cluster is lost, not more; behind the flush nothing is. */
static void cut(struct rig *r)
{
    struct check_result res = {0};
    struct blk *b = fresh(r, IMAGE);
    assert_int_equal(rig_fill(b, 0, C, 1), 0);
    assert_int_equal(blk_flush(b, NULL), 0);
    assert_int_equal(rig_fill(b, 200 * C, C, 2), 0);
    struct disk *left = disk_clone(r->disk[0]);
    assert_int_equal(blk_flush(b, NULL), 0);
    blk_unref(b);
    disk_assign(r->disk[0], left);
    disk_free(left);
    b = rig_open(r, "sim:d0", IMAGE, RW | OPEN_CHECK);
    assert_int_equal(node_check(blk_node(b), &res, FIX_ERRORS | FIX_LEAKS), 0);
    assert_int_equal(res.corruptions_fixed, 1); /* the mark */
    assert_int_equal(res.leaks_fixed, cached(r) ? 1 : 0);
    blk_unref(b);
    b = rig_open(r, "sim:d0", IMAGE, RW);
    rig_check(b, 0, C, 1);
    rig_check(b, 200 * C, C, cached(r) ? 0 : 2);
    blk_unref(b);
}

/* The first sector is written, the second is not: it stays dirty, and a later flush writes it. */
static void failing(struct rig *r)
{
    struct blk *b = fresh(r, IMAGE);
    assert_int_equal(rig_fill(b, 0, C, 1), 0);
    assert_int_equal(rig_fill(b, 500 * C, C, 2), 0);
    fault(r, "error,label=table_update,nth=2,sticky");
    for (int i = 0; i < 2; i++) {
        assert_int_equal(blk_flush(b, NULL), -EIO);
        assert_int_equal(entry(r, 0), 2);
        assert_int_equal(entry(r, 500), 0);
    }
    rig_check(b, 500 * C, C, 2); /* as written, in the meantime */
    no_fault(r);
    size_t from = disk_log_len(r->log);
    assert_int_equal(blk_flush(b, NULL), 0);
    assert_int_equal(entry(r, 500), 3);
    assert_int_equal(table_writes(r, from), 1);
    blk_unref(b);
    b = rig_open(r, "sim:d0", IMAGE, RW);
    rig_check(b, 0, C, 1);
    rig_check(b, 500 * C, C, 2);
    blk_unref(b);
}

/* Told when the image is closed; the mark stays. */
static void failing_close(struct rig *r)
{
    struct blk *b = fresh(r, IMAGE);
    assert_int_equal(rig_fill(b, 0, C, 1), 0);
    fault(r, "error,label=table_update,sticky");
    blk_unref(b);
    assert_string_equal(r->out.s, "Failed to flush the BAT: Input/output error");
    no_fault(r);
    rig_open_fails(r, "sim:d0", IMAGE, RW,
                   "parallels: Image was not closed correctly; cannot be opened read/write");
}

/* A write through fails itself, and its entry names nothing. */
static void failing_through(struct rig *r)
{
    struct blk *b = fresh(r, IMAGE);
    fault(r, "error,label=table_update");
    assert_int_equal(rig_fill(b, 0, C, 1), -EIO);
    rig_check(b, 0, C, 0);
    assert_int_equal(rig_fill(b, C, C, 2), 0);
    assert_int_equal(entry(r, 1), 3);
    blk_unref(b);
}

static int set_read_only(struct blk *b, bool read_only, struct error **err)
{
    unsigned perm = PERM_CONSISTENT_READ | PERM_WRITE;
    assert_int_equal(blk_set_perm(b, PERM_CONSISTENT_READ, PERM_ALL, NULL), 0);
    int ret = node_set_read_only(blk_node(b), read_only, err);
    assert_int_equal(ret == 0 && read_only ? 0 : blk_set_perm(b, perm, PERM_ALL, NULL), 0);
    return ret;
}

static void reopened(struct rig *r)
{
    struct error *err = NULL;
    struct blk *b = fresh(r, IMAGE);
    assert_int_equal(rig_fill(b, 0, C, 1), 0);
    assert_int_equal(set_read_only(b, true, &err), 0);
    assert_int_equal(entry(r, 0), 2);
    rig_check(b, 0, C, 1);
    assert_int_equal(set_read_only(b, false, &err), 0);
    assert_int_equal(rig_fill(b, 200 * C, C, 2), 0);
    blk_unref(b);
    assert_int_equal(entry(r, 200), 3);
}

/* Refused as long as the entries cannot be written: nobody could later. */
static void failing_reopen(struct rig *r)
{
    struct error *err = NULL;
    struct blk *b = fresh(r, IMAGE);
    assert_int_equal(rig_fill(b, 0, C, 1), 0);
    fault(r, "error,label=table_update");
    assert_true(set_read_only(b, true, &err) < 0);
    rig_expect(&err, "Error flushing drive: Input/output error");
    rig_check(b, 0, C, 1);
    assert_int_equal(rig_fill(b, C, C, 2), 0);
    assert_int_equal(set_read_only(b, true, &err), 0);
    assert_int_equal(entry(r, 0), 2);
    assert_int_equal(entry(r, 1), 3);
    blk_unref(b);
}

static uint32_t in_use(struct rig *r)
{
    uint8_t le[4];
    disk_read(r->disk[0], PARALLELS_HEADER_IN_USE_OFF, le, 4);
    return load_le32(le);
}

/* The mark goes with a reopen that is refused afterwards, and comes back with the next write. */
static void reopen_taken_back(struct rig *r)
{
    struct error *err = NULL;
    struct blk *b = fresh(r, IMAGE);
    assert_int_equal(rig_fill(b, 0, C, 1), 0);
    assert_int_equal(blk_set_perm(b, PERM_CONSISTENT_READ, PERM_ALL, NULL), 0);
    struct value *opts = opts_parse("read-only=on,nosuch=1", NULL, NULL);
    assert_true(node_reopen(blk_node(b), opts, true, &err) < 0);
    rig_expect(&err, "Cannot change the option 'nosuch'");
    assert_int_equal(blk_set_perm(b, PERM_CONSISTENT_READ | PERM_WRITE, PERM_ALL, NULL), 0);
    assert_int_equal(in_use(r), 0);
    fault(r, "error,label=dirty_flag_set");
    assert_int_equal(rig_fill(b, 0, C, 2), -EIO); /* nothing without it, not even in place */
    rig_check(b, 0, C, 1);
    assert_int_equal(rig_fill(b, 0, C, 2), 0);
    assert_int_equal(in_use(r), PARALLELS_IN_USE);
    assert_int_equal(rig_fill(b, C, C, 3), 0);
    blk_unref(b);
    assert_int_equal(in_use(r), 0);
    assert_int_equal(entry(r, 1), 3);
}

/* An image that is to be taken as empty: a mark that is set late clears its old entries, too. */
static void empty_marked_late(struct rig *r)
{
    struct error *err = NULL;
    uint8_t flags[4] = {PARALLELS_FLAG_EMPTY};
    struct blk *b = fresh(r, IMAGE);
    assert_int_equal(rig_fill(b, 200 * C, C, 1), 0);
    blk_unref(b);
    disk_write(r->disk[0], PARALLELS_HEADER_FLAGS_OFF, flags, 4);
    b = rig_open(r, "sim:d0", IMAGE, 0);
    fault(r, "error,label=table_update");
    assert_int_equal(set_read_only(b, false, &err), 0);
    assert_int_equal(in_use(r), 0);
    assert_int_equal(rig_fill(b, 0, C, 2), 0);
    assert_int_equal(in_use(r), PARALLELS_IN_USE);
    assert_int_equal(entry(r, 200), 0);
    blk_unref(b);
}

/* What cannot be opened for writing cannot be reopened for it: closing it would take the mark away.
 */
static void reopen_unclean(struct rig *r)
{
    struct error *err = NULL;
    struct blk *b = fresh(r, IMAGE);
    struct disk *left = disk_clone(r->disk[0]);
    blk_unref(b);
    disk_assign(r->disk[0], left);
    disk_free(left);
    b = rig_open(r, "sim:d0", IMAGE, 0);
    assert_true(node_set_read_only(blk_node(b), false, &err) < 0);
    rig_expect(&err, "parallels: Image was not closed correctly; cannot be opened read/write");
    blk_unref(b);
    b = rig_open(r, "sim:d0", IMAGE, RW | OPEN_CHECK);
    assert_int_equal(rig_fill(b, 0, C, 1), -EACCES);
    blk_unref(b);
    assert_int_equal(in_use(r), PARALLELS_IN_USE);
}

/* Somebody else may have the image in the meantime. */
static void inactive(struct rig *r)
{
    struct error *err = NULL;
    struct blk *b = fresh(r, IMAGE);
    assert_int_equal(blk_set_perm(b, PERM_CONSISTENT_READ | PERM_WRITE, PERM_ALL, &err), 0);
    assert_int_equal(rig_fill(b, 0, C, 1), 0);
    assert_int_equal(blk_set_perm(b, PERM_CONSISTENT_READ, PERM_ALL, &err), 0);
    assert_int_equal(node_inactivate_all(r->w), 0);
    assert_int_equal(entry(r, 0), 2);
    node_activate_all(r->w, &err);
    assert_null(err);
    rig_check(b, 0, C, 1);
    blk_unref(b);
}

/* The index of the first op from `from` on with that kind and offset. */
static size_t find_op(const struct rig *r, size_t from, enum disk_op_kind kind, int64_t offset)
{
    for (size_t i = from; i < disk_log_len(r->log); i++) {
        const struct disk_op *op = disk_log_op(r->log, i);
        if (op->kind == kind && op->offset == offset) {
            return i;
        }
    }
    fail();
    return 0;
}

/*
 * A repair of an image that is in use writes sectors with entries that are dirty for another
 * reason: what those need goes first.
 */
static void checked(struct rig *r)
{
    struct check_result res = {0};
    blk_unref(fresh(r, IMAGE));
    set_entry(r, 5, 1); /* before the data area */
    struct blk *b = rig_open(r, "sim:d0", IMAGE ",backing.driver=sim,backing.disk=d1", RW);
    assert_int_equal(rig_fill(b, 0, 512, 1), 0);
    assert_int_equal(rig_fill(b, 200 * C, 512, 2), 0);
    size_t from = disk_log_len(r->log);
    assert_int_equal(node_check(blk_node(b), &res, FIX_ERRORS | FIX_LEAKS), 0);
    assert_int_equal(res.corruptions_fixed, 1);
    assert_int_equal(entry(r, 5), 0);
    assert_true(entry(r, 0) && entry(r, 200));
    if (cached(r)) {
        assert_int_equal(disk_log_op(r->log, from)->kind, DISK_OP_FLUSH);
        assert_true(find_op(r, from, DISK_OP_WRITE, 0) > from);
        fault(r, "error,label=table_update");
        assert_int_equal(rig_fill(b, C, 512, 1), 0);
        assert_int_equal(node_check(blk_node(b), &res, FIX_ERRORS), -EIO);
        assert_int_equal(res.check_errors, 1);
    }
    blk_unref(b);
    b = rig_open(r, "sim:d0", IMAGE, RW);
    rig_check(b, 512, C - 512, 5);
    rig_check(b, 200 * C, 512, 2);
    blk_unref(b);
}

/* One flush, behind all data and before all entries, and none where data and entry have no order.
 */
static void ordered(struct rig *r)
{
    struct blk *b = fresh(r, IMAGE);
    size_t from = disk_log_len(r->log);
    assert_int_equal(rig_fill(b, 0, 512, 1), 0);
    assert_int_equal(blk_flush(b, NULL), 0);
    assert_int_equal(count(r, from, DISK_OP_FLUSH, LABEL_FLUSH_TO_DISK), 1);
    blk_unref(b);
    b = rig_open(r, "sim:d0", IMAGE ",backing.driver=sim,backing.disk=d1", RW);
    from = disk_log_len(r->log);
    assert_int_equal(rig_fill(b, 200 * C, 512, 1), 0);
    assert_int_equal(rig_fill(b, 400 * C, 512, 2), 0);
    size_t filled = disk_log_len(r->log);
    assert_int_equal(count(r, from, DISK_OP_FLUSH, LABEL_FLUSH_TO_DISK), cached(r) ? 0 : 2);
    assert_int_equal(blk_flush(b, NULL), 0);
    if (cached(r)) {
        assert_int_equal(disk_log_op(r->log, filled)->kind, DISK_OP_FLUSH);
        assert_int_equal(disk_log_op(r->log, filled + 1)->label, LABEL_TABLE_UPDATE);
        assert_int_equal(disk_log_op(r->log, filled + 2)->label, LABEL_TABLE_UPDATE);
        assert_int_equal(disk_log_op(r->log, filled + 3)->kind, DISK_OP_FLUSH);
    }
    blk_unref(b);
}

/* Without that flush nothing is written, and the next one tries again. */
static void failing_order(struct rig *r)
{
    blk_unref(fresh(r, IMAGE));
    struct blk *b = rig_open(r, "sim:d0", IMAGE ",backing.driver=sim,backing.disk=d1", RW);
    assert_int_equal(rig_fill(b, 200 * C, 512, 1), 0);
    fault(r, "error,label=flush_to_disk");
    assert_int_equal(blk_flush(b, NULL), -EIO);
    assert_int_equal(entry(r, 200), 0);
    size_t from = disk_log_len(r->log);
    assert_int_equal(blk_flush(b, NULL), 0);
    assert_int_equal(disk_log_op(r->log, from)->kind, DISK_OP_FLUSH);
    assert_int_equal(entry(r, 200), 2);
    blk_unref(b);
}

/* Old bytes behind the last cluster: the zeroes over them go before the entry. */
static void stale(struct rig *r)
{
    blk_unref(fresh(r, IMAGE));
    int64_t end = disk_size(r->disk[0]);
    disk_truncate(r->disk[0], end + C);
    disk_fill(r->disk[0], end, C, 0x77);
    struct blk *b = rig_open(r, "sim:d0", IMAGE, RW);
    assert_int_equal(rig_fill(b, 512, 512, 1), 0);
    size_t filled = disk_log_len(r->log);
    assert_int_equal(blk_flush(b, NULL), 0);
    if (cached(r)) {
        assert_int_equal(disk_log_op(r->log, filled)->kind, DISK_OP_FLUSH);
    }
    rig_check(b, 0, 512, 0);
    rig_check(b, 1024, C - 1024, 0);
    /* Behind the old bytes nothing has an order again. */
    assert_int_equal(rig_fill(b, C + 512, 512, 1), 0);
    filled = disk_log_len(r->log);
    assert_int_equal(blk_flush(b, NULL), 0);
    assert_int_equal(disk_log_len(r->log) - filled, cached(r) ? 2 : 1);
    blk_unref(b);
}

/* Closing writes the entries and makes them stable; then the mark goes. */
static void closed(struct rig *r)
{
    struct blk *b = fresh(r, IMAGE);
    assert_int_equal(rig_fill(b, 0, C, 1), 0);
    assert_int_equal(rig_fill(b, 400 * C, C, 2), 0);
    node_hold_flush(blk_node(b)); /* as while an image is made: its close does it all */
    size_t from = disk_log_len(r->log);
    blk_unref(b);
    assert_int_equal(entry(r, 0), 2);
    assert_int_equal(entry(r, 400), 3);
    if (cached(r)) {
        size_t last = find_op(r, from, DISK_OP_WRITE, 3 * 512);
        while (disk_log_op(r->log, last)->kind != DISK_OP_FLUSH) {
            last++;
        }
        assert_int_equal(disk_log_op(r->log, last + 1)->label, LABEL_DIRTY_FLAG_CLEAR);
    }
    rig_check(b = rig_open(r, "sim:d0", IMAGE, 0), 400 * C, C, 2);
    blk_unref(b);
}

/* ---- clusters allocated together ---- */

static void together(struct rig *r)
{
    struct blk *b = fresh(r, IMAGE ",backing.driver=sim,backing.disk=d1");
    size_t from = disk_log_len(r->log);
    assert_int_equal(rig_fill(b, 100 * C + 512, 20 * C, 1), 0); /* parts of two, 19 whole ones */
    assert_int_equal(blk_flush(b, NULL), 0);
    assert_int_equal(count(r, from, DISK_OP_WRITE, LABEL_WRITE_AIO), cached(r) ? 1 : 21);
    assert_int_equal(table_writes(r, from), cached(r) ? 1 : 21);
    for (int64_t i = 100; i <= 120; i++) {
        assert_int_equal(entry(r, i), i - 98);
    }
    blk_unref(b);
    b = rig_open(r, "sim:d0", IMAGE, RW);
    rig_check(b, 100 * C, 512, 5);
    rig_check(b, 100 * C + 512, 20 * C, 1);
    rig_check(b, 120 * C + 512, C - 512, 5);
    rig_check(b, 121 * C, C, 0);
    blk_unref(b);
    assert_int_equal(disk_size(r->disk[0]), (2 + 21) * C);
}

/* Clusters that have a place already divide what is allocated. */
static void around(struct rig *r)
{
    struct blk *b = fresh(r, IMAGE);
    assert_int_equal(rig_fill(b, 3 * C, C, 1), 0);
    assert_int_equal(rig_fill(b, C / 2, 5 * C, 2), 0);
    blk_unref(b);
    static const uint32_t want[] = {3, 4, 5, 2, 6, 7};
    for (int64_t i = 0; i < 6; i++) {
        assert_int_equal(entry(r, i), want[i]);
    }
    b = rig_open(r, "sim:d0", IMAGE, 0);
    rig_check(b, 0, C / 2, 0);
    rig_check(b, C / 2, 5 * C, 2);
    rig_check(b, 5 * C + C / 2, C / 2, 0);
    blk_unref(b);
}

/* ---- requests beside each other ---- */

struct writer {
    struct blk *b;
    int64_t at, bytes;
    uint8_t value;
    bool done;
    int ret;
};

static void write_beside(void *arg)
{
    struct writer *k = arg;
    k->ret = rig_fill(k->b, k->at, k->bytes, k->value);
    k->done = true;
}

/* Both writers start, one after the other, and come as far as they can. */
static void start(struct rig *r, struct writer *first, struct writer *second)
{
    co_spawn(r->w, "first", write_beside, first);
    co_yield (r->w);
    co_spawn(r->w, "second", write_beside, second);
    for (int i = 0; i < 10; i++) {
        co_yield (r->w);
    }
}

static void finish(struct rig *r, struct writer *first, struct writer *second)
{
    while (!first->done || !second->done) {
        co_yield (r->w);
    }
}

/* What has got a cluster while a request waited for the lock is written in place. */
static void taken_meanwhile(struct rig *r)
{
    struct blk *b = fresh(r, IMAGE);
    struct writer one = {b, C, C, 1, false, 0}, three = {b, 0, 3 * C, 3, false, 0};
    fault(r, "delayed:20,label=write_aio");
    start(r, &one, &three);
    assert_false(one.done || three.done);
    finish(r, &one, &three);
    assert_int_equal(one.ret, 0);
    assert_int_equal(three.ret, 0);
    blk_unref(b);
    static const uint32_t want[] = {3, 2, 4};
    for (int64_t i = 0; i < 3; i++) {
        assert_int_equal(entry(r, i), want[i]);
    }
    b = rig_open(r, "sim:d0", IMAGE, 0);
    rig_check(b, 0, 3 * C, 3);
    blk_unref(b);
}

/* Nobody relies on an entry whose write may yet fail. */
static void fails_meanwhile(struct rig *r)
{
    struct blk *b = fresh(r, IMAGE);
    struct writer one = {b, 0, C, 1, false, 0}, two = {b, 0, C, 2, false, 0};
    fault(r, "hung,label=table_update");
    start(r, &one, &two);
    assert_false(one.done);
    sim_release_hung(r->w);
    finish(r, &one, &two);
    assert_int_equal(one.ret, -ECANCELED);
    assert_int_equal(two.ret, 0);
    rig_check(b, 0, C, 2);
    blk_unref(b);
}

/* Of a request that runs into the end of the BAT, or of what an entry can name, the first clusters
 * are written. */
static void limits(struct rig *r)
{
    uint8_t entries[4] = {5};
    blk_unref(fresh(r, IMAGE));
    disk_write(r->disk[0], PARALLELS_HEADER_NB_BAT_ENTRIES_OFF, entries, 4);
    struct blk *b = rig_open(r, "sim:d0", IMAGE, RW);
    assert_int_equal(rig_fill(b, 3 * C, 4 * C, 1), -EIO);
    rig_check(b, 3 * C, 2 * C, 1);
    blk_unref(b);
    assert_int_equal(entry(r, 4), 3);
    assert_int_equal(entry(r, 5), 0);

    /* Entries that count sectors: places for two clusters are left. */
    disk_write(r->disk[0], 0, "WithoutFreeSpace", 16);
    set_entry(r, 0, UINT32_MAX - 23);
    set_entry(r, 3, 0);
    set_entry(r, 4, 0);
    disk_truncate(r->disk[0], (UINT32_MAX - INT64_C(15)) * 512);
    b = rig_open(r, "sim:d0", IMAGE, RW);
    assert_int_equal(rig_fill(b, C, 4 * C, 2), -EFBIG);
    rig_check(b, C, 2 * C, 2);
    rig_check(b, 3 * C, 2 * C, 0);
    blk_unref(b);
    assert_int_equal(entry(r, 2), UINT32_MAX - 7);
    assert_int_equal(entry(r, 3), 0);
}

#define TEST(name)                                                                                 \
    static void test_##name(void **state)                                                          \
    {                                                                                              \
        rig_run_profile(drivers, &profile_reference, name);                                        \
        rig_run_profile(drivers, &profile_optimized, name);                                        \
    }
#define TEST_OF(profile, name)                                                                     \
    static void test_##name(void **state)                                                          \
    {                                                                                              \
        rig_run_profile(drivers, &profile_##profile, name);                                        \
    }
TEST(at_flush)
TEST(with_fua)
TEST(without_flushes)
TEST(cut)
TEST_OF(optimized, failing)
TEST_OF(optimized, failing_close)
TEST_OF(reference, failing_through)
TEST(reopened)
TEST_OF(optimized, failing_reopen)
TEST(reopen_taken_back)
TEST(empty_marked_late)
TEST(reopen_unclean)
TEST(inactive)
TEST(checked)
TEST(ordered)
TEST_OF(optimized, failing_order)
TEST(stale)
TEST(closed)
TEST(together)
TEST(around)
TEST(taken_meanwhile)
TEST_OF(reference, fails_meanwhile)
TEST(limits)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_at_flush),        cmocka_unit_test(test_with_fua),
        cmocka_unit_test(test_without_flushes), cmocka_unit_test(test_cut),
        cmocka_unit_test(test_failing),         cmocka_unit_test(test_failing_close),
        cmocka_unit_test(test_failing_through), cmocka_unit_test(test_reopened),
        cmocka_unit_test(test_failing_reopen),  cmocka_unit_test(test_reopen_taken_back),
        cmocka_unit_test(test_reopen_unclean),  cmocka_unit_test(test_inactive),
        cmocka_unit_test(test_checked),         cmocka_unit_test(test_ordered),
        cmocka_unit_test(test_failing_order),   cmocka_unit_test(test_stale),
        cmocka_unit_test(test_closed),          cmocka_unit_test(test_together),
        cmocka_unit_test(test_around),          cmocka_unit_test(test_taken_meanwhile),
        cmocka_unit_test(test_fails_meanwhile), cmocka_unit_test(test_empty_marked_late),
        cmocka_unit_test(test_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
