/*
 * What the tests of the request path share: a world, a logged disk of 64 KiB with a root edge, and
 * TEST(), whose body runs in a coroutine.
 */
#ifndef BLKREF_BLOCK_TESTS_IO_FIXTURE_H
#define BLKREF_BLOCK_TESTS_IO_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include "ref/block/tests/memdrv.h"

#define K 1024

struct fixture {
    struct mem_world m;
    struct strbuf log;
    struct node *n;
    struct child *c;
    struct memdisk *d;
    uint8_t buf[64 * K];
};

static inline int setup(void **state)
{
    struct fixture *f = mem_zalloc(sizeof(*f));
    mem_world_init(&f->m, 0);
    *state = f;
    return 0;
}

static inline int teardown(void **state)
{
    struct fixture *f = *state;
    mem_world_destroy(&f->m);
    strbuf_free(&f->log);
    mem_free(f);
    return 0;
}

/* Sector i of the disk holds bytes i + 1. */
static inline void with_disk(struct fixture *f)
{
    f->n = memdisk_new(f->m.w, "disk", 64 * K);
    f->d = memdisk_of(f->n);
    f->d->log = &f->log;
    f->c = mem_root(f->n);
    for (size_t i = 0; i < sizeof(f->buf); i++) {
        f->d->data[i] = (uint8_t)(i / 512 + 1);
    }
}

static inline void expect_log(struct fixture *f, const char *log)
{
    assert_string_equal(f->log.s ? f->log.s : "", log);
    strbuf_reset(&f->log);
}

static inline void align(struct fixture *f, uint32_t a)
{
    f->d->limits.request_alignment = a;
    mem_refresh_limits(f->n);
}

static inline int rd(struct fixture *f, int64_t offset, int64_t bytes)
{
    return child_pread(f->c, offset, f->buf, bytes, LABEL_NONE, NULL);
}

static inline int wr(struct fixture *f, int64_t offset, int64_t bytes, int byte, unsigned flags)
{
    struct iov q;
    memset(f->buf, byte, (size_t)bytes);
    iov_single(&q, f->buf, (size_t)bytes);
    return child_pwritev(f->c, offset, bytes, &q, 0, flags, LABEL_NONE, NULL);
}

static inline void expect_bytes(struct fixture *f, int64_t from, int64_t to, int byte)
{
    for (int64_t i = from; i < to; i++) {
        assert_int_equal(f->d->data[i], byte < 0 ? (uint8_t)(i / 512 + 1) : byte);
    }
}

#define TEST(name)                                                                                 \
    static void name##_body(void *arg);                                                            \
    static void name(void **state)                                                                 \
    {                                                                                              \
        struct fixture *f = *state;                                                                \
        mem_world_exec(&f->m, name##_body, f);                                                     \
    }                                                                                              \
    static void name##_body(void *arg)

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
