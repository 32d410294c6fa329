/*
 * Data that is used once: what the host's page cache holds of a file before and behind reads and
 * writes of it, with and without the advice.  Skipped where the file system does not drop pages
 * (files in memory).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>
#include "ref/base/mem.h"
#include "ref/block/backend.h"
#include "ref/engine/world.h"
#include "ref/protocol/protocol.h"

#define SIZE  (24 * MiB)
#define PIECE (2 * MiB)

static const struct driver_entry entries[] = {{.drv = &driver_file}, {.drv = NULL}};

struct fixture {
    char path[64];
    int fd;
    bool advise, write;
    const struct profile *profile;
    struct world *w;
};

static size_t resident(const struct fixture *f)
{
    size_t pages = SIZE / 4096, count = 0;
    unsigned char *in = mem_zalloc(pages);
    void *p = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, f->fd, 0);
    assert_true(p != MAP_FAILED && mincore(p, SIZE, in) == 0);
    for (size_t i = 0; i < pages; i++) {
        count += in[i] & 1;
    }
    munmap(p, SIZE);
    mem_free(in);
    return count * 4096;
}

static void drop(const struct fixture *f)
{
    assert_int_equal(fdatasync(f->fd), 0);
    assert_int_equal(posix_fadvise(f->fd, 0, 0, POSIX_FADV_DONTNEED), 0);
}

static int setup(void **state)
{
    struct fixture *f = mem_zalloc(sizeof(*f));
    static const char *const dirs[] = {".", "/var/tmp"};
    uint8_t *buf = mem_alloc(PIECE);
    memset(buf, 0x5a, PIECE);
    for (size_t i = 0; i < ARRAY_SIZE(dirs); i++) {
        snprintf(f->path, sizeof(f->path), "%s/blkref-once-XXXXXX", dirs[i]);
        f->fd = mkstemp(f->path);
        if (f->fd >= 0) {
            break;
        }
    }
    assert_true(f->fd >= 0);
    for (int64_t at = 0; at < SIZE; at += PIECE) {
        assert_int_equal(pwrite(f->fd, buf, PIECE, at), PIECE);
    }
    mem_free(buf);
    drop(f);
    f->profile = &profile_optimized;
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    close(f->fd);
    unlink(f->path);
    mem_free(f);
    return 0;
}

static void body(void *arg)
{
    struct fixture *f = arg;
    struct value *o = value_dict();
    dict_put_str(o, "driver", "file");
    struct blk *b = blk_open(f->w, f->path, NULL, o, f->write ? OPEN_RDWR : 0, NULL);
    assert_non_null(b);
    if (f->advise) {
        node_use_once(blk_node(b));
    }
    uint8_t *buf = mem_zalloc(PIECE);
    for (int64_t at = 0; at < SIZE; at += PIECE) {
        if (f->write) {
            memset(buf, (int)(at / PIECE), PIECE);
            assert_int_equal(blk_pwrite(b, at, buf, PIECE, 0), 0);
        } else {
            assert_int_equal(blk_pread(b, at, buf, PIECE), 0);
            assert_int_equal(buf[PIECE - 1], 0x5a);
        }
    }
    mem_free(buf);
    if (f->write) {
        assert_int_equal(blk_flush(b, NULL), 0);
    }
    blk_unref(b);
}

static void run(struct fixture *f)
{
    struct process *p = process_new();
    struct world_config cfg = {.profile = f->profile, .io = IO_THREADS, .io_set = true};
    struct driver_list list = {entries};
    f->w = world_new(p, &cfg);
    block_set_drivers(f->w, &list);
    assert_int_equal(world_exec(f->w, body, f), 0);
    world_free(f->w);
    process_free(p);
}

static void skip_in_memory(const struct fixture *f)
{
    if (resident(f) > 0) {
        skip();
    }
}

static void test_read(void **state)
{
    struct fixture *f = *state;
    skip_in_memory(f);
    f->advise = true;
    run(f);
    assert_true(resident(f) <= SIZE / 8);
    f->advise = false;
    run(f);
    assert_true(resident(f) >= SIZE / 2);
}

/* What somebody else had in the cache stays there. */
static void test_others(void **state)
{
    struct fixture *f = *state;
    skip_in_memory(f);
    run(f);
    size_t before = resident(f);
    f->advise = true;
    run(f);
    assert_true(resident(f) >= before - SIZE / 8);
}

static void test_write(void **state)
{
    struct fixture *f = *state;
    skip_in_memory(f);
    f->advise = f->write = true;
    run(f);
    assert_true(resident(f) <= SIZE / 8);
    uint8_t byte;
    for (int64_t at = 0; at < SIZE; at += PIECE) {
        assert_int_equal(pread(f->fd, &byte, 1, at + 5), 1);
        assert_int_equal(byte, at / PIECE);
    }
}

/* The reference profile asks for nothing. */
static void test_reference(void **state)
{
    struct fixture *f = *state;
    skip_in_memory(f);
    f->advise = true;
    f->profile = &profile_reference;
    run(f);
    assert_true(resident(f) >= SIZE / 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_read, setup, teardown),
        cmocka_unit_test_setup_teardown(test_others, setup, teardown),
        cmocka_unit_test_setup_teardown(test_write, setup, teardown),
        cmocka_unit_test_setup_teardown(test_reference, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
