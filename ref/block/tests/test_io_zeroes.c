/*
 * Write zeroes, discard and flush: which pieces reach the driver.
 *
 * The pieces are those of qemu-io 7.2 over blkdebug with opt-write-zero, max-write-zero,
 * opt-discard, max-discard.
 */
#include "ref/block/tests/io_fixture.h"

static int wz(struct fixture *f, int64_t offset, int64_t bytes, unsigned flags)
{
    return child_pwrite_zeroes(f->c, offset, bytes, flags, LABEL_NONE, NULL);
}

static int dc(struct fixture *f, int64_t offset, int64_t bytes)
{
    return child_discard(f->c, offset, bytes, LABEL_NONE, NULL);
}

TEST(test_zero_pieces)
{
    struct fixture *f = arg;
    with_disk(f);
    f->d->limits = (struct limits){
        .request_alignment = 512, .zeroes_alignment = 4 * K, .max_zeroes = 8 * K + 512};
    mem_refresh_limits(f->n);
    assert_int_equal(wz(f, 512, 30000 / 512 * 512, 0), 0);
    expect_log(f, "Z 512+3584 Z 4096+8192 Z 12288+8192 Z 20480+8192 Z 28672+1536");
    assert_int_equal(wz(f, 4096, 512, 0), 0);
    assert_int_equal(wz(f, 3584, 1024, 0), 0);
    assert_int_equal(wz(f, 8192, 5120, 0), 0);
    expect_log(f, "Z 4096+512 Z 3584+512 Z 4096+512 Z 8192+4096 Z 12288+1024");
    mem_root_drop(f->c);
}

TEST(test_zero_fallback)
{
    struct fixture *f = arg;
    with_disk(f);
    f->d->no_zeroes = true;
    f->d->limits = (struct limits){.request_alignment = 512, .max_transfer = 4 * K};
    mem_refresh_limits(f->n);
    assert_int_equal(wz(f, 512, 10 * K, REQ_FUA), 0);
    expect_log(f, "Z 512+10240 W 512+4096 Z 4608+6144 W 4608+4096 Z 8704+2048 W 8704+2048 F");
    expect_bytes(f, 0, 512, -1);
    expect_bytes(f, 512, 512 + 10 * K, 0);
    expect_bytes(f, 512 + 10 * K, 64 * K, -1);
    assert_int_equal(wz(f, 0, 512, REQ_NO_FALLBACK), -ENOTSUP);
    expect_log(f, "Z 0+512");
    expect_bytes(f, 0, 512, -1);
    f->n->zero_flags = 0;
    assert_int_equal(wz(f, 0, 512, REQ_NO_FALLBACK), -ENOTSUP);
    assert_int_equal(wz(f, 1, 511, REQ_NO_FALLBACK), -ENOTSUP);
    expect_log(f, "");
    mem_root_drop(f->c);
}

TEST(test_zero_flags)
{
    struct fixture *f = arg;
    with_disk(f);
    assert_int_equal(wz(f, 0, 512, REQ_MAY_UNMAP), 0);
    f->n->open_flags &= ~(unsigned)OPEN_UNMAP;
    assert_int_equal(wz(f, 0, 512, REQ_MAY_UNMAP), 0);
    assert_int_equal(wz(f, 0, 512, REQ_FUA), 0);
    f->n->zero_flags |= REQ_FUA;
    assert_int_equal(wz(f, 0, 512, REQ_FUA), 0);
    expect_log(f, "Z 0+512:unmap Z 0+512 Z 0+512 F Z 0+512:fua");
    f->d->fail = -EIO;
    f->d->fail_op = REQ_WRITE_ZEROES;
    assert_int_equal(wz(f, 0, 512, 0), -EIO);
    mem_root_drop(f->c);
}

TEST(test_zero_unaligned)
{
    struct fixture *f = arg;
    with_disk(f);
    align(f, 4096);
    assert_int_equal(wz(f, 100, 20000, REQ_MAY_UNMAP), 0);
    expect_log(f, "R 0+4096 R 16384+4096 W 0+4096 Z 4096+12288:unmap W 16384+4096");
    expect_bytes(f, 0, 100, -1);
    expect_bytes(f, 100, 20100, 0);
    expect_bytes(f, 20100, 64 * K, -1);
    assert_int_equal(wz(f, 32768 + 100, 100, 0), 0);
    assert_int_equal(wz(f, 40960 + 100, 5000, 0), 0);
    expect_log(f, "R 32768+4096 W 32768+4096 R 40960+8192 W 40960+8192");
    expect_bytes(f, 20100, 32868, -1);
    expect_bytes(f, 32868, 32968, 0);
    expect_bytes(f, 32968, 41060, -1);
    expect_bytes(f, 41060, 46060, 0);
    expect_bytes(f, 46060, 64 * K, -1);
    mem_root_drop(f->c);
}

TEST(test_discard_pieces)
{
    struct fixture *f = arg;
    with_disk(f);
    f->d->limits = (struct limits){.request_alignment = 512, .discard_alignment = 8 * K};
    mem_refresh_limits(f->n);
    assert_int_equal(dc(f, 100, 37500), 0);
    expect_log(f, "D 512+7680 D 8192+24576 D 32768+4608");
    assert_int_equal(dc(f, 600, 100), 0);
    assert_int_equal(dc(f, 0, 500), 0);
    expect_log(f, "");
    assert_int_equal(dc(f, 600, 8900), 0);
    expect_log(f, "D 1024+7168 D 8192+1024");
    /* Where 7.2's blkdebug meets an assertion. */
    assert_int_equal(dc(f, 512, 1500), 0);
    assert_int_equal(dc(f, 700, 1024), 0);
    expect_log(f, "D 512+1024 D 1024+512");
    f->d->limits.max_discard = 8 * K;
    mem_refresh_limits(f->n);
    assert_int_equal(dc(f, 512, 25600), 0);
    expect_log(f, "D 512+7680 D 8192+8192 D 16384+8192 D 24576+1536");
    f->d->limits = (struct limits){.request_alignment = 512};
    mem_refresh_limits(f->n);
    assert_int_equal(dc(f, 0, 5000), 0);
    assert_int_equal(dc(f, 100, 812), 0);
    expect_log(f, "D 0+4608");
    mem_root_drop(f->c);
}

TEST(test_discard_refusals)
{
    struct fixture *f = arg;
    with_disk(f);
    f->d->fail = -ENOTSUP;
    f->d->fail_op = REQ_DISCARD;
    assert_int_equal(dc(f, 0, 512), 0);
    f->d->fail = -EIO;
    assert_int_equal(dc(f, 0, 512), -EIO);
    strbuf_reset(&f->log);
    f->n->open_flags &= ~(unsigned)OPEN_UNMAP;
    assert_int_equal(dc(f, 0, 512), 0);
    expect_log(f, "");
    mem_root_drop(f->c);
}

TEST(test_flush_generations)
{
    struct fixture *f = arg;
    with_disk(f);
    assert_int_equal(child_flush(f->c, NULL), 0); /* the first one: others may have written */
    assert_int_equal(child_flush(f->c, NULL), 0);
    assert_int_equal(wr(f, 0, 512, 1, 0), 0);
    assert_int_equal(child_flush(f->c, NULL), 0);
    assert_int_equal(child_flush(f->c, NULL), 0);
    expect_log(f, "F W 0+512 F");
    assert_int_equal(dc(f, 0, 512), 0);
    f->d->fail = -EIO;
    f->d->fail_op = REQ_FLUSH;
    assert_int_equal(child_flush(f->c, NULL), -EIO);
    assert_int_equal(child_flush(f->c, NULL), 0);
    expect_log(f, "D 0+512 F F");
    f->n->open_flags |= OPEN_NO_FLUSH;
    assert_int_equal(wr(f, 0, 512, 1, 0), 0);
    assert_int_equal(child_flush(f->c, NULL), 0);
    expect_log(f, "W 0+512");
    f->n->open_flags &= ~(unsigned)OPEN_NO_FLUSH;
    mem_root_drop(f->c);
}

static void flush_in_co(void *arg)
{
    struct fixture *f = arg;
    assert_int_equal(child_flush(f->c, NULL), 0);
    strbuf_puts(&f->log, " .");
}

/* Flushes that arrive while one runs wait, and find nothing left to do. */
TEST(test_flush_coalescing)
{
    struct fixture *f = arg;
    with_disk(f);
    assert_int_equal(wr(f, 0, 512, 1, 0), 0);
    f->d->async = true;
    co_spawn(f->m.w, "f1", flush_in_co, f);
    co_spawn(f->m.w, "f2", flush_in_co, f);
    co_spawn(f->m.w, "f3", flush_in_co, f);
    for (int i = 0; i < 20; i++) {
        co_yield (f->m.w);
    }
    expect_log(f, "W 0+512 F . . .");
    f->d->async = false;
    mem_root_drop(f->c);
}

TEST(test_flush_order)
{
    struct fixture *f = arg;
    with_disk(f);
    f->d->log_events = true;
    node_ref(f->n);
    mem_root_drop(f->c);
    struct node *base = memdisk_new(f->m.w, "base", 64 * K);
    memdisk_of(base)->log = &f->log;
    struct node *top = memcow_new(f->m.w, "top", 4096, f->n, base);
    f->c = mem_root(top);
    assert_int_equal(child_pwrite(f->c, 0, f->buf, 4096, LABEL_NONE, NULL), 0);
    strbuf_reset(&f->log);
    assert_int_equal(child_flush(f->c, NULL), 0);
    expect_log(f, "flush_to_os flush_to_disk F");
    assert_int_equal(child_flush(f->c, NULL), 0);
    expect_log(f, "flush_to_os");
    /* A failure below is ours, and the next flush asks again. */
    assert_int_equal(child_pwrite(f->c, 0, f->buf, 4096, LABEL_NONE, NULL), 0);
    strbuf_reset(&f->log);
    f->d->fail = -EIO;
    f->d->fail_op = REQ_FLUSH;
    assert_int_equal(child_flush(f->c, NULL), -EIO);
    assert_int_equal(child_flush(f->c, NULL), 0);
    expect_log(f, "flush_to_os flush_to_disk F flush_to_os flush_to_disk F");
    mem_root_drop(f->c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_zero_pieces),       T(test_zero_fallback),    T(test_zero_flags),
        T(test_zero_unaligned),    T(test_discard_pieces),   T(test_discard_refusals),
        T(test_flush_generations), T(test_flush_coalescing), T(test_flush_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
