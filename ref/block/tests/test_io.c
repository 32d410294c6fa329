/*
 * Reads and writes through an edge: checks, alignment, splitting, flags, zero detection.
 *
 * Which requests reach the driver was compared with qemu-io 7.2 over blkdebug (its trace of
 * requests).
 */
#include "ref/block/tests/io_fixture.h"

TEST(test_aligned)
{
    struct fixture *f = arg;
    with_disk(f);
    assert_int_equal(rd(f, 512, 1024), 0);
    assert_int_equal(f->buf[0], 2);
    assert_int_equal(f->buf[1023], 3);
    assert_int_equal(wr(f, 1, 1000, 0xaa, 0), 0);
    expect_bytes(f, 0, 1, -1);
    expect_bytes(f, 1, 1001, 0xaa);
    expect_bytes(f, 1001, 2048, -1);
    expect_log(f, "R 512+1024 W 1+1000");
    mem_root_drop(f->c);
}

TEST(test_bounds)
{
    struct fixture *f = arg;
    with_disk(f);
    assert_int_equal(rd(f, -1, 512), -EIO);
    assert_int_equal(rd(f, 0, -1), -EIO);
    assert_int_equal(rd(f, INT64_MAX - 511, 512), -EIO);
    struct iov q;
    iov_single(&q, f->buf, (size_t)2147483137);
    assert_int_equal(child_preadv(f->c, 0, 2147483137, &q, 0, 0, LABEL_NONE, NULL), -EIO);
    assert_int_equal(child_pwritev(f->c, -512, 512, &q, 0, 0, LABEL_NONE, NULL), -EIO);
    assert_int_equal(child_pwrite_zeroes(f->c, INT64_MAX - 511, 512, 0, LABEL_NONE, NULL), -EIO);
    assert_int_equal(child_discard(f->c, 0, INT64_MAX, LABEL_NONE, NULL), -EIO);
    assert_int_equal(rd(f, 77, 0), 0);
    assert_int_equal(wr(f, 77, 0, 1, 0), 0);
    expect_log(f, "");
    const struct block_driver *drv = f->n->drv;
    f->n->drv = NULL;
    assert_int_equal(rd(f, 0, 512), -ENOMEDIUM);
    assert_int_equal(wr(f, 0, 512, 1, 0), -ENOMEDIUM);
    assert_int_equal(child_pwrite_zeroes(f->c, 0, 512, 0, LABEL_NONE, NULL), -ENOMEDIUM);
    assert_int_equal(child_discard(f->c, 0, 512, LABEL_NONE, NULL), -ENOMEDIUM);
    assert_int_equal(child_flush(f->c, NULL), -ENOMEDIUM);
    f->n->drv = drv;
    mem_root_drop(f->c);
}

TEST(test_request_check_texts)
{
    struct error *err = NULL;
    assert_int_equal(request_check(INT64_MAX, 0, &err), -EIO);
    assert_string_equal(err->msg,
                        "offset(9223372036854775807) exceeds maximum(9223372035781033984)");
    error_clear(&err);
    assert_int_equal(request_check(9223372035781033984, 0, &err), 0);
    assert_int_equal(request_check(9223372035781033984, 1, &err), -EIO);
    error_clear(&err);
    assert_int_equal(request_check(-1, 1, &err), -EIO);
    assert_string_equal(err->msg, "offset is negative: -1");
    error_clear(&err);
}

/* The file may be shorter than the format on it expects. */
TEST(test_read_beyond_end)
{
    struct fixture *f = arg;
    with_disk(f);
    memset(f->buf, 0x55, sizeof(f->buf));
    assert_int_equal(rd(f, 64 * K - 512, 1024), 0);
    assert_int_equal(f->buf[511], 128);
    assert_int_equal(f->buf[512], 0);
    assert_int_equal(f->buf[1023], 0);
    assert_int_equal(rd(f, 1 * MiB, 512), 0);
    assert_int_equal(f->buf[511], 0);
    align(f, 4096);
    f->d->size = 64 * K - 1000;
    assert_int_equal(rd(f, 60 * K + 5, 8 * K), 0);
    assert_int_equal(f->buf[0], 121);
    assert_int_equal(f->buf[4096 - 1000 - 5], 0);
    assert_int_equal(f->buf[8 * K - 1], 0);
    expect_log(f, "R 65024+512 R 61440+4096");
    mem_root_drop(f->c);
}

TEST(test_unaligned_read)
{
    struct fixture *f = arg;
    with_disk(f);
    align(f, 4096);
    assert_int_equal(rd(f, 100, 100), 0);
    assert_int_equal(rd(f, 1000, 9000), 0);
    assert_int_equal(f->buf[0], 2);
    assert_int_equal(f->buf[24], 3);
    assert_int_equal(f->buf[8999], 20);
    expect_log(f, "R 0+4096 R 0+12288");
    mem_root_drop(f->c);
}

TEST(test_unaligned_write)
{
    struct fixture *f = arg;
    with_disk(f);
    align(f, 4096);
    assert_int_equal(wr(f, 100, 200, 0xa1, 0), 0);         /* one block */
    assert_int_equal(wr(f, 8192 + 100, 5000, 0xa2, 0), 0); /* two blocks that touch: one read */
    assert_int_equal(wr(f, 16384, 5000, 0xa3, 0), 0);      /* a tail only */
    assert_int_equal(wr(f, 28672 - 96, 5000, 0xa4, 0), 0); /* head, whole block, tail */
    expect_log(f, "R 0+4096 W 0+4096 R 8192+8192 W 8192+8192 R 20480+4096 W 16384+8192 "
                  "R 24576+4096 R 32768+4096 W 24576+12288");
    expect_bytes(f, 0, 100, -1);
    expect_bytes(f, 100, 300, 0xa1);
    expect_bytes(f, 300, 8292, -1);
    expect_bytes(f, 8292, 13292, 0xa2);
    expect_bytes(f, 13292, 16384, -1);
    expect_bytes(f, 16384, 21384, 0xa3);
    expect_bytes(f, 21384, 28576, -1);
    expect_bytes(f, 28576, 33576, 0xa4);
    expect_bytes(f, 33576, 64 * K, -1);
    mem_root_drop(f->c);
}

TEST(test_rmw_events)
{
    struct fixture *f = arg;
    with_disk(f);
    align(f, 4096);
    f->d->log_events = true;
    assert_int_equal(wr(f, 0, 4096, 1, 0), 0);
    expect_log(f, "pwritev W 0+4096 pwritev_done");
    assert_int_equal(wr(f, 100, 200, 1, 0), 0);
    expect_log(
        f,
        "pwritev_rmw_head pwritev_rmw_tail R 0+4096 pwritev_rmw_after_head pwritev_rmw_after_tail "
        "pwritev W 0+4096 pwritev_done");
    assert_int_equal(wr(f, 100, 12000, 1, 0), 0);
    expect_log(f, "pwritev_rmw_head R 0+4096 pwritev_rmw_after_head pwritev_rmw_tail R 8192+4096 "
                  "pwritev_rmw_after_tail pwritev W 0+12288 pwritev_done");
    assert_int_equal(child_pwrite_zeroes(f->c, 0, 4096, 0, LABEL_NONE, NULL), 0);
    expect_log(f, "pwritev_zero Z 0+4096 pwritev_done");
    f->d->fail = -ENOSPC;
    f->d->fail_op = REQ_READ;
    assert_int_equal(wr(f, 100, 200, 1, 0), -ENOSPC);
    expect_log(f, "pwritev_rmw_head pwritev_rmw_tail R 0+4096");
    mem_root_drop(f->c);
}

/* Labels are announced on the node that the request goes to, and not handed down. */
TEST(test_label_announced)
{
    struct fixture *f = arg;
    with_disk(f);
    mem_root_drop(f->c);
    f->n = memdisk_new(f->m.w, "d2", 4096);
    f->d = memdisk_of(f->n);
    f->d->log = &f->log;
    f->d->log_events = true;
    f->c = mem_root(memfilter_new(f->m.w, "filter", f->n));
    assert_int_equal(child_pwrite(f->c, 0, f->buf, 512, LABEL_L2_UPDATE, NULL), 0);
    expect_log(f, "pwritev W 0+512 pwritev_done");
    child_event(f->c, LABEL_CLUSTER_FREE, NULL);
    expect_log(f, "");
    mem_root_drop(f->c);
    f->n = memdisk_new(f->m.w, "d3", 4096);
    strbuf_reset(&f->log); /* closing d2 flushed it */
    f->d = memdisk_of(f->n);
    f->d->log = &f->log;
    f->d->log_events = true;
    f->c = mem_root(f->n);
    assert_int_equal(child_pwrite(f->c, 0, f->buf, 512, LABEL_L2_UPDATE, NULL), 0);
    expect_log(f, "l2_update pwritev W 0+512 pwritev_done");
    child_event(f->c, LABEL_CLUSTER_FREE, NULL);
    expect_log(f, "cluster_free");
    mem_root_drop(f->c);
}

TEST(test_max_transfer)
{
    struct fixture *f = arg;
    with_disk(f);
    f->d->limits.max_transfer = 1536;
    align(f, 512);
    assert_int_equal(wr(f, 100, 4096, 0x99, 0), 0);
    expect_log(f, "R 0+512 R 4096+512 W 0+1536 W 1536+1536 W 3072+1536");
    assert_int_equal(rd(f, 0, 4096), 0);
    expect_log(f, "R 0+1536 R 1536+1536 R 3072+1024");
    assert_int_equal(f->buf[100], 0x99);
    assert_int_equal(f->buf[99], 1);
    mem_root_drop(f->c);
}

TEST(test_max_iov)
{
    struct fixture *f = arg;
    with_disk(f);
    struct iovec v[6];
    struct iov q;
    for (int i = 0; i < 6; i++) {
        v[i] = (struct iovec){f->buf + i * 1000, i < 4 ? 512 : 256};
        memset(v[i].iov_base, 0x10 + i, v[i].iov_len);
    }
    iov_borrow(&q, v, 6);
    f->d->limits.max_iov = 2;
    align(f, 512);
    assert_int_equal(child_pwritev(f->c, 0, 2560, &q, 0, 0, LABEL_NONE, NULL), 0);
    expect_log(f, "W 0+1024 W 1024+1024 W 2048+512");
    expect_bytes(f, 512, 1024, 0x11);
    expect_bytes(f, 2304, 2560, 0x15);
    /* Pieces finer than a block go through one buffer. */
    f->d->limits.max_iov = 1;
    mem_refresh_limits(f->n);
    memset(f->buf, 0, 6000);
    assert_int_equal(child_preadv(f->c, 1536, 1024, &q, 1536, 0, LABEL_NONE, NULL), 0);
    expect_log(f, "R 1536+512 R 2048+512");
    assert_int_equal(f->buf[3000], 0x13);
    assert_int_equal(f->buf[4000], 0x14);
    assert_int_equal(f->buf[5255], 0x15);
    mem_root_drop(f->c);
}

TEST(test_fua)
{
    struct fixture *f = arg;
    with_disk(f);
    assert_int_equal(wr(f, 0, 512, 1, REQ_FUA), 0);
    expect_log(f, "W 0+512 F");
    f->n->write_flags = REQ_FUA;
    assert_int_equal(wr(f, 0, 512, 1, REQ_FUA), 0);
    expect_log(f, "W 0+512:fua");
    f->n->write_flags = 0;
    f->d->limits.max_transfer = 512;
    align(f, 512);
    assert_int_equal(wr(f, 0, 1024, 1, REQ_FUA), 0);
    expect_log(f, "W 0+512 W 512+512 F");
    f->d->fail = -EIO;
    f->d->fail_op = REQ_FLUSH;
    assert_int_equal(wr(f, 0, 512, 1, REQ_FUA), -EIO);
    strbuf_reset(&f->log);
    assert_int_equal(child_pwrite_sync(f->c, 0, f->buf, 512, LABEL_NONE, NULL), 0);
    expect_log(f, "W 0+512 F");
    mem_root_drop(f->c);
}

/* The driver sees only flags that it declared. */
TEST(test_flags_masked)
{
    struct fixture *f = arg;
    with_disk(f);
    assert_int_equal(wr(f, 0, 512, 1, REQ_UNCHANGED), 0);
    f->n->write_flags = REQ_UNCHANGED;
    assert_int_equal(wr(f, 0, 512, 1, REQ_UNCHANGED), 0);
    expect_log(f, "W 0+512 W 0+512:unchanged");
    assert_int_equal(wr(f, 0, 512, 1, REQ_COMPRESSED), -ENOTSUP);
    expect_log(f, "");
    mem_root_drop(f->c);
}

TEST(test_read_only)
{
    struct fixture *f = arg;
    with_disk(f);
    f->n->read_only = true;
    assert_int_equal(wr(f, 0, 512, 1, 0), -EPERM);
    assert_int_equal(child_pwrite_zeroes(f->c, 0, 512, 0, LABEL_NONE, NULL), -EPERM);
    assert_int_equal(child_discard(f->c, 0, 512, LABEL_NONE, NULL), -EPERM);
    assert_int_equal(child_flush(f->c, NULL), 0);
    f->n->read_only = false;
    expect_log(f, "");
    mem_root_drop(f->c);
}

TEST(test_detect_zeroes)
{
    struct fixture *f = arg;
    with_disk(f);
    f->n->detect_zeroes = DETECT_ZEROES_ON;
    assert_int_equal(wr(f, 0, 512, 0, 0), 0);
    assert_int_equal(wr(f, 0, 512, 1, 0), 0);
    f->n->detect_zeroes = DETECT_ZEROES_UNMAP;
    assert_int_equal(wr(f, 0, 512, 0, 0), 0);
    assert_int_equal(wr(f, 0, 512, 0, REQ_COMPRESSED), -ENOTSUP);
    expect_log(f, "Z 0+512 W 0+512 Z 0+512:unmap");
    f->n->detect_zeroes = DETECT_ZEROES_OFF;
    assert_int_equal(wr(f, 0, 512, 0, 0), 0);
    expect_log(f, "W 0+512");
    mem_root_drop(f->c);
}

struct watch {
    struct write_watch ww;
    int calls;
    int64_t offset, bytes;
};

static void on_write(struct write_watch *ww, int64_t offset, int64_t bytes)
{
    struct watch *w = container_of(ww, struct watch, ww);
    w->calls++;
    w->offset = offset;
    w->bytes = bytes;
}

TEST(test_growth_and_watch)
{
    struct fixture *f = arg;
    with_disk(f);
    struct watch w = {.ww = {.written = on_write}};
    node_watch_writes(f->n, &w.ww);
    align(f, 512);
    assert_int_equal(wr(f, 1000, 100, 1, 0), 0);
    assert_int_equal(w.calls, 1);
    assert_int_equal(w.offset, 512);
    assert_int_equal(w.bytes, 1024);
    assert_int_equal(mem_root_state(f->c)->resized, 0);
    assert_int_equal(wr(f, 64 * K, 512, 1, 0), 0);
    assert_int_equal(mem_root_state(f->c)->resized, 1);
    assert_int_equal(node_length(f->n), 64 * K + 512);
    assert_int_equal(f->n->wr_highest_offset, 64 * K + 512);
    assert_int_equal(child_discard(f->c, 0, 512, LABEL_NONE, NULL), 0);
    assert_int_equal(w.calls, 3);
    f->d->fail = -EIO;
    f->d->fail_op = REQ_WRITE;
    assert_int_equal(wr(f, 0, 512, 1, 0), -EIO);
    assert_int_equal(w.calls, 4);
    node_unwatch_writes(&w.ww);
    mem_root_drop(f->c);
}

TEST(test_cancelled)
{
    struct fixture *f = arg;
    bool cancelled = true;
    struct request guest = {
        .op = REQ_READ, .label = LABEL_NONE, .tag = "A", .cancelled = &cancelled};
    with_disk(f);
    assert_int_equal(child_pread(f->c, 0, f->buf, 512, LABEL_NONE, &guest), -ECANCELED);
    expect_log(f, "");
    cancelled = false;
    assert_int_equal(child_pread(f->c, 0, f->buf, 512, LABEL_NONE, &guest), 0);
    mem_root_drop(f->c);
}

TEST(test_limits)
{
    struct fixture *f = arg;
    with_disk(f);
    f->d->limits.max_transfer = 64 * K;
    f->d->limits.opt_transfer = 4096;
    align(f, 4096);
    node_ref(f->n);
    struct node *other = memdisk_new(f->m.w, "other", 64 * K);
    memdisk_of(other)->limits =
        (struct limits){.max_transfer = 32 * K, .request_alignment = 512, .max_iov = 7};
    mem_refresh_limits(other);
    mem_root_drop(f->c);
    struct node *top = memcow_new(f->m.w, "top", 8192, f->n, other);
    assert_int_equal(top->limits.request_alignment, 1);
    assert_int_equal(top->limits.max_transfer, 32 * K);
    assert_int_equal(top->limits.opt_transfer, 4096);
    assert_int_equal(top->limits.max_iov, 7);
    assert_int_equal(top->limits.zeroes_alignment, 8192);
    node_unref(top);
}

/* blkdebug asks for such alignments. */
TEST(test_bad_alignment_refused)
{
    struct fixture *f = arg;
    struct error *err = NULL;
    with_disk(f);
    f->d->limits.request_alignment = 3;
    assert_int_equal(node_refresh_limits(f->n, &err), -EINVAL);
    assert_non_null(err);
    error_clear(&err);
    f->d->limits.request_alignment = 0;
    mem_refresh_limits(f->n);
    mem_root_drop(f->c);
}

/* ---- copy offload ---- */

struct pair {
    struct fixture *f;
    struct node *src, *dst;
    struct child *from, *to;
};

static void with_pair(struct fixture *f, struct pair *p)
{
    *p = (struct pair){f, memdisk_new(f->m.w, "src", 64 * K), memdisk_new(f->m.w, "dst", 64 * K),
                       NULL, NULL};
    p->from = mem_root(p->src);
    p->to = mem_root(p->dst);
    memdisk_of(p->dst)->log = &f->log;
    memset(memdisk_of(p->src)->data, 0x44, 64 * K);
}

static void drop_pair(struct pair *p)
{
    mem_root_drop(p->from);
    mem_root_drop(p->to);
}

TEST(test_copy_range_refused)
{
    struct fixture *f = arg;
    struct pair p;
    with_pair(f, &p);
    /* The reference profile has no offload. */
    assert_int_equal(child_copy_range(p.from, 0, p.to, 0, 512, 0, 0), -ENOTSUP);
    drop_pair(&p);
}

static void copy_range_body(void *arg)
{
    struct fixture *f = arg;
    struct pair p;
    struct watch w = {.ww = {.written = on_write}};
    with_pair(f, &p);
    node_watch_writes(p.dst, &w.ww);
    assert_int_equal(child_copy_range(p.from, 512, p.to, 1024, 2048, 0, REQ_FUA), 0);
    expect_log(f, "C 1024+2048 F");
    assert_int_equal(memdisk_of(p.dst)->data[1024], 0x44);
    assert_int_equal(memdisk_of(p.dst)->data[3072], 0);
    assert_int_equal(w.offset, 1024);
    assert_int_equal(w.bytes, 2048);
    assert_int_equal(child_copy_range(p.from, -1, p.to, 0, 512, 0, 0), -EIO);
    assert_int_equal(child_copy_range(p.from, 0, p.to, -1, 512, 0, 0), -EIO);
    assert_int_equal(child_copy_range(p.from, 0, p.to, 0, 0, 0, 0), 0);
    p.dst->read_only = true;
    assert_int_equal(child_copy_range(p.from, 0, p.to, 0, 512, 0, 0), -EPERM);
    p.dst->read_only = false;
    p.src->encrypted = true;
    assert_int_equal(child_copy_range(p.from, 0, p.to, 0, 512, 0, 0), -ENOTSUP);
    memdisk_of(p.dst)->limits.request_alignment = 512;
    mem_refresh_limits(p.dst);
    p.src->encrypted = false;
    assert_int_equal(child_copy_range(p.from, 0, p.to, 1, 512, 0, 0), -ENOTSUP);
    node_unwatch_writes(&w.ww);
    drop_pair(&p);
}

static void test_copy_range(void **state)
{
    struct fixture f = {.n = NULL};
    mem_world_init_profile(&f.m, 0, &profile_optimized);
    mem_world_exec(&f.m, copy_range_body, &f);
    mem_world_destroy(&f.m);
    strbuf_free(&f.log);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_aligned),
        T(test_bounds),
        T(test_request_check_texts),
        T(test_read_beyond_end),
        T(test_unaligned_read),
        T(test_unaligned_write),
        T(test_rmw_events),
        T(test_label_announced),
        T(test_max_transfer),
        T(test_max_iov),
        T(test_fua),
        T(test_flags_masked),
        T(test_read_only),
        T(test_detect_zeroes),
        T(test_growth_and_watch),
        T(test_cancelled),
        T(test_limits),
        T(test_bad_alignment_refused),
        T(test_copy_range_refused),
        cmocka_unit_test(test_copy_range),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
