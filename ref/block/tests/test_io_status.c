/*
 * Block status through chains, copy-on-read, truncate, drain.
 */
#include "ref/block/tests/io_fixture.h"

#define C 4096 /* cluster */

/* base (disk, short) <- mid (memcow) <- filter <- top (memcow); f->d is base's. */
struct chain {
    struct node *base, *mid, *filter, *top, *mid_file, *top_file;
    struct child *c;
};

static void with_chain(struct fixture *f, struct chain *ch, int64_t base_size)
{
    struct world *w = f->m.w;
    ch->base = memdisk_new(w, "base", base_size);
    ch->mid_file = memdisk_new(w, "mid-file", 64 * K);
    ch->top_file = memdisk_new(w, "top-file", 64 * K);
    ch->mid = memcow_new(w, "mid", C, ch->mid_file, ch->base);
    ch->filter = memfilter_new(w, "filter", ch->mid);
    ch->top = memcow_new(w, "top", C, ch->top_file, ch->filter);
    ch->c = mem_root(ch->top);
    f->d = memdisk_of(ch->base);
    memset(f->d->data, 0xb0, (size_t)base_size);
}

static void set_map(struct node *n, int from, int to, uint8_t kind)
{
    memset(((struct memcow *)n->state)->map + from, kind, (size_t)(to - from));
}

static void expect_status(struct node *n, int64_t offset, int64_t bytes, unsigned flags,
                          int64_t len)
{
    struct status s;
    assert_int_equal(node_block_status(n, true, offset, bytes, &s), 0);
    assert_int_equal(s.flags, flags);
    assert_int_equal(s.bytes, len);
}

TEST(test_status_of_a_layer)
{
    struct fixture *f = arg;
    struct chain ch;
    with_chain(f, &ch, 32 * K);
    set_map(ch.mid, 1, 2, 1);
    set_map(ch.mid, 2, 4, 2);
    expect_status(ch.mid, 0, 64 * K, 0, C);
    expect_status(ch.mid, C, 64 * K,
                  STATUS_DATA | STATUS_OFFSET_VALID | STATUS_RECURSE | STATUS_ALLOCATED, C);
    expect_status(ch.mid, 2 * C + 5, 64 * K, STATUS_ZERO | STATUS_ALLOCATED, 2 * C - 5);
    /* Beyond the shorter backing file all is zero, but not this layer's. */
    expect_status(ch.mid, 32 * K, 64 * K, STATUS_ZERO | STATUS_EOF, 32 * K);
    expect_status(ch.mid, 64 * K, 1, STATUS_EOF, 0);
    expect_status(ch.mid, 80 * K, 1, STATUS_EOF, 0);
    expect_status(ch.mid, 0, 0, 0, 0);
    /* A filter answers what its child does, and shows whose file it is. */
    struct status s;
    assert_int_equal(node_block_status(ch.filter, true, C + 7, 64 * K, &s), 0);
    assert_ptr_equal(s.file, ch.mid_file);
    assert_int_equal(s.map, C + 7);
    assert_int_equal(s.bytes, C - 7);
    /* A protocol without block_status has data everywhere. */
    expect_status(ch.base, 1000, 1000, STATUS_DATA | STATUS_ALLOCATED | STATUS_OFFSET_VALID, 1000);
    expect_status(ch.base, 0, 1 * MiB,
                  STATUS_DATA | STATUS_ALLOCATED | STATUS_OFFSET_VALID | STATUS_EOF, 32 * K);
    mem_root_drop(ch.c);
}

TEST(test_status_zero_of_file_below)
{
    struct fixture *f = arg;
    struct chain ch;
    struct status s;
    with_chain(f, &ch, 32 * K);
    set_map(ch.top, 0, 16, 1);
    memdisk_of(ch.top_file)->size = 3 * C;
    /* What the format says is data lies beyond the end of its file. */
    expect_status(
        ch.top, 3 * C, C,
        STATUS_DATA | STATUS_ZERO | STATUS_OFFSET_VALID | STATUS_RECURSE | STATUS_ALLOCATED, C);
    expect_status(ch.top, 0, 64 * K,
                  STATUS_DATA | STATUS_OFFSET_VALID | STATUS_RECURSE | STATUS_ALLOCATED, 3 * C);
    assert_int_equal(node_block_status(ch.top, false, 3 * C, C, &s), 0);
    assert_false(s.flags & STATUS_ZERO);
    mem_root_drop(ch.c);
}

TEST(test_status_above)
{
    struct fixture *f = arg;
    struct chain ch;
    struct status s;
    int depth;
    int64_t n;
    with_chain(f, &ch, 8 * C);
    set_map(ch.top, 0, 1, 1);
    set_map(ch.mid, 1, 2, 1);
    set_map(ch.mid, 2, 3, 2);
    assert_int_equal(node_block_status_above(ch.top, NULL, true, 0, 64 * K, &s, &depth), 0);
    assert_int_equal(depth, 1);
    assert_int_equal(s.bytes, C);
    assert_ptr_equal(s.file, ch.top_file);
    assert_int_equal(node_block_status_above(ch.top, NULL, true, C, 64 * K, &s, &depth), 0);
    assert_int_equal(depth, 2);
    assert_int_equal(s.bytes, C);
    assert_int_equal(node_block_status_above(ch.top, NULL, true, 3 * C, 64 * K, &s, &depth), 0);
    assert_ptr_equal(s.file, ch.base);
    assert_int_equal(depth, 4);
    assert_int_equal(s.bytes, 5 * C);
    assert_true(s.flags & STATUS_DATA);
    /* The zeroes behind the end of base belong to base. */
    assert_int_equal(node_block_status_above(ch.top, NULL, false, 8 * C, 64 * K, &s, &depth), 0);
    assert_int_equal(s.flags, STATUS_ZERO | STATUS_ALLOCATED | STATUS_EOF);
    assert_int_equal(s.bytes, 8 * C);
    assert_ptr_equal(s.file, ch.base);

    assert_int_equal(node_is_allocated(ch.top, 0, 64 * K, &n), 1);
    assert_int_equal(n, C);
    assert_int_equal(node_is_allocated(ch.top, C, 64 * K, &n), 0);
    assert_int_equal(n, 15 * C);
    assert_int_equal(node_is_allocated_above(ch.top, ch.base, false, 2 * C, 64 * K, &n), 2);
    assert_int_equal(n, C);
    assert_int_equal(node_is_allocated_above(ch.top, ch.base, false, 3 * C, 64 * K, &n), 0);
    assert_int_equal(n, 13 * C);
    assert_int_equal(node_is_allocated_above(ch.top, ch.base, true, 3 * C, 64 * K, &n), 4);
    assert_int_equal(n, 5 * C);
    assert_int_equal(node_is_allocated_above(ch.top, ch.top, false, 0, C, &n), 0);
    assert_int_equal(n, C);
    mem_root_drop(ch.c);
}

/* ---- copy-on-read ---- */

static int cor_read(struct chain *ch, int64_t offset, int64_t bytes, void *buf, unsigned flags)
{
    struct iov q;
    iov_single(&q, buf, (size_t)bytes);
    return child_preadv(ch->c, offset, bytes, buf ? &q : NULL, 0, flags, LABEL_NONE, NULL);
}

static int map_at(struct node *n, int cluster)
{
    return ((struct memcow *)n->state)->map[cluster];
}

TEST(test_copy_on_read)
{
    struct fixture *f = arg;
    struct chain ch;
    with_chain(f, &ch, 32 * K);
    memdisk_of(ch.top_file)->log = &f->log;
    memdisk_of(ch.top_file)->log_events = true;
    set_map(ch.top, 2, 3, 1);
    uint64_t gen = ch.top->write_gen;
    assert_int_equal(cor_read(&ch, C + 100, 50, f->buf, REQ_COPY_ON_READ), 0);
    assert_int_not_equal(ch.top->write_gen, gen); /* there is something to flush */
    assert_int_equal(f->buf[49], 0xb0);
    assert_int_equal(map_at(ch.top, 0), 0);
    assert_int_equal(map_at(ch.top, 1), 1);
    expect_log(f, "write_aio pwritev W 4096+4096 pwritev_done");
    /* Copied: now just a read. */
    assert_int_equal(cor_read(&ch, C + 100, 50, f->buf, REQ_COPY_ON_READ), 0);
    expect_log(f, "read_aio R 4196+50");
    /* Through what is there and what is not; zeroes stay zeroes. */
    memset(f->d->data + 3 * C, 0, C);
    memset(f->buf, 1, 4 * C);
    assert_int_equal(cor_read(&ch, 10, 4 * C - 10, f->buf, REQ_COPY_ON_READ), 0);
    assert_int_equal(map_at(ch.top, 0), 1);
    assert_int_equal(f->buf[0], 0xb0);
    assert_int_equal(f->buf[2 * C], 0);
    assert_int_equal(f->buf[4 * C - 11], 0);
    assert_int_equal(f->buf[4 * C - 10], 1);
    strbuf_reset(&f->log);
    assert_int_equal(cor_read(&ch, 6 * C, C, NULL, REQ_COPY_ON_READ | REQ_PREFETCH), 0);
    assert_int_equal(map_at(ch.top, 6), 1);
    expect_log(f, "write_aio pwritev W 24576+4096 pwritev_done");
    assert_int_equal(cor_read(&ch, 6 * C, C, NULL, REQ_COPY_ON_READ | REQ_PREFETCH), 0);
    expect_log(f, "");
    assert_int_equal(cor_read(&ch, 60 * K, 8 * K, f->buf, REQ_COPY_ON_READ), 0);
    mem_root_drop(ch.c);
}

/* A range of zeroes alone becomes a zero cluster. */
TEST(test_copy_on_read_zeroes)
{
    struct fixture *f = arg;
    struct chain ch;
    with_chain(f, &ch, 32 * K);
    memset(f->d->data, 0, C);
    ch.top->open_flags |= OPEN_COPY_ON_READ;
    assert_int_equal(cor_read(&ch, 5, 5, f->buf, 0), 0);
    assert_int_equal(map_at(ch.top, 0), 2);
    assert_int_equal(cor_read(&ch, C, C, f->buf, 0), 0);
    assert_int_equal(map_at(ch.top, 1), 1);
    ch.top->open_flags |= OPEN_INACTIVE;
    assert_int_equal(cor_read(&ch, 2 * C, C, f->buf, 0), 0);
    assert_int_equal(map_at(ch.top, 2), 0);
    ch.top->open_flags &= ~(unsigned)(OPEN_INACTIVE | OPEN_COPY_ON_READ);
    memdisk_of(ch.top_file)->fail = -ENOSPC;
    memdisk_of(ch.top_file)->fail_op = REQ_WRITE;
    assert_int_equal(cor_read(&ch, 2 * C, C, f->buf, REQ_COPY_ON_READ), -ENOSPC);
    assert_int_equal(ch.top->serialising, 0);
    mem_root_drop(ch.c);
}

/* ---- truncate ---- */

TEST(test_truncate)
{
    struct fixture *f = arg;
    struct error *err = NULL;
    with_disk(f);
    assert_int_equal(child_truncate(f->c, 80 * K, false, PREALLOC_OFF, 0, &err), 0);
    assert_int_equal(node_length(f->n), 80 * K);
    assert_int_equal(mem_root_state(f->c)->resized, 1);
    assert_int_equal(child_truncate(f->c, 1000, false, PREALLOC_OFF, 0, &err), 0);
    assert_int_equal(node_length(f->n), 1024);
    assert_int_equal(child_truncate(f->c, -1, false, PREALLOC_OFF, 0, &err), -EINVAL);
    assert_string_equal(err->msg, "Image size cannot be negative");
    error_clear(&err);
    assert_int_equal(child_truncate(f->c, INT64_MAX, false, PREALLOC_OFF, 0, &err), -EIO);
    error_clear(&err);
    f->n->truncate_flags = 0;
    assert_int_equal(child_truncate(f->c, 1 * MiB, false, PREALLOC_OFF, REQ_ZERO_GROWN, &err),
                     -ENOTSUP);
    assert_string_equal(err->msg, "Block driver does not support requested flags");
    error_clear(&err);
    f->n->read_only = true;
    assert_int_equal(child_truncate(f->c, 1 * MiB, false, PREALLOC_OFF, 0, &err), -EACCES);
    assert_string_equal(err->msg, "Image is read-only");
    error_clear(&err);
    f->n->read_only = false;
    mem_root_drop(f->c);
}

/* Growth over a longer backing file must not show what that holds; filters pass it down. */
TEST(test_truncate_backing)
{
    struct fixture *f = arg;
    struct chain ch;
    with_chain(f, &ch, 64 * K);
    assert_int_equal(child_truncate(ch.c, 32 * K, false, PREALLOC_OFF, 0, NULL), 0);
    assert_int_equal(child_truncate(ch.c, 48 * K, false, PREALLOC_OFF, 0, NULL), 0);
    assert_int_equal(map_at(ch.top, 7), 0);
    assert_int_equal(map_at(ch.top, 8), 2);
    assert_int_equal(child_truncate(ch.c, 80 * K, false, PREALLOC_OFF, 0, NULL), 0);
    assert_int_equal(child_truncate(ch.c, 96 * K, false, PREALLOC_OFF, 0, NULL), 0);
    assert_int_equal(map_at(ch.top, 23), 0);
    mem_root_drop(ch.c);
    struct node *n = memdisk_new(f->m.w, "d", 4096);
    struct child *c = mem_root(memfilter_new(f->m.w, "f", n));
    assert_int_equal(child_truncate(c, 8192, false, PREALLOC_OFF, 0, NULL), 0);
    assert_int_equal(child_length(c), 8192);
    mem_root_drop(c);
}

/* ---- drain ---- */

static void one_write(void *arg)
{
    struct fixture *f = arg;
    uint8_t b[512] = {0};
    assert_int_equal(child_pwrite(f->c, 0, b, 512, LABEL_NONE, NULL), 0);
    strbuf_puts(&f->log, " written");
}

static void drain_it(void *arg)
{
    struct fixture *f = arg;
    node_drain_begin(f->n);
    strbuf_puts(&f->log, " drained");
}

static void turns(struct fixture *f, int n)
{
    while (n--) {
        co_yield (f->m.w);
    }
}

TEST(test_drain)
{
    struct fixture *f = arg;
    with_disk(f);
    f->d->stopped = true;
    co_spawn(f->m.w, "w", one_write, f);
    turns(f, 2);
    co_spawn(f->m.w, "d", drain_it, f);
    turns(f, 5);
    assert_int_equal(mem_root_state(f->c)->drained, 1);
    assert_int_equal(f->d->drained, 1);
    expect_log(f, "W 0+512");
    f->d->stopped = false;
    waitq_wake_all(f->m.w, &f->d->gate);
    turns(f, 5);
    expect_log(f, " written drained");
    /* Nests: the parents hear of the first and the last. */
    node_drain_begin(f->n);
    assert_int_equal(mem_root_state(f->c)->drained, 1);
    node_drain_end(f->n);
    assert_int_equal(mem_root_state(f->c)->drained, 1);
    node_drain_end(f->n);
    assert_int_equal(mem_root_state(f->c)->drained, 0);
    assert_int_equal(f->d->drained, 0);
    mem_root_drop(f->c);
}

/* Draining a node waits for requests of the nodes above, and for what their parents have under way.
 */
TEST(test_drain_below)
{
    struct fixture *f = arg;
    with_disk(f);
    node_ref(f->n);
    mem_root_drop(f->c);
    struct node *top = memcow_new(f->m.w, "top", 4096, f->n, NULL);
    f->c = mem_root(memfilter_new(f->m.w, "filter", top));
    node_inc_in_flight(top);
    mem_root_state(f->c)->in_flight = 1;
    co_spawn(f->m.w, "d", drain_it, f);
    turns(f, 5);
    assert_int_equal(mem_root_state(f->c)->drained, 1);
    expect_log(f, "");
    node_dec_in_flight(top);
    turns(f, 5);
    expect_log(f, "");
    mem_root_state(f->c)->in_flight = 0;
    node_drain_kick(f->c->node);
    turns(f, 5);
    expect_log(f, " drained");
    node_drain_end(f->n);
    assert_int_equal(mem_root_state(f->c)->drained, 0);
    world_drain_all_begin(f->m.w);
    assert_int_equal(f->n->quiesce, 1);
    world_drain_all_end(f->m.w);
    assert_int_equal(f->n->quiesce, 0);
    mem_root_drop(f->c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_status_of_a_layer),   T(test_status_zero_of_file_below),
        T(test_status_above),        T(test_copy_on_read),
        T(test_copy_on_read_zeroes), T(test_truncate),
        T(test_truncate_backing),    T(test_drain),
        T(test_drain_below),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
