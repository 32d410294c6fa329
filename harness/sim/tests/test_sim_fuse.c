/*
 * Simulated disks as files: what the kernel asks for arrives, is logged with its stamps, and faults
 * hit it.  Skipped where the machine has no FUSE.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "harness/sim/sim_fuse.h"
#include "ref/base/mem.h"

struct mounted {
    struct sim_store *store;
    struct sim_fuse *fuse;
    struct disk_log *log;
    char dir[40];
    int fd;
};

static bool begin(struct mounted *m)
{
    struct error *err = NULL;
    memset(m, 0, sizeof(*m));
    memcpy(m->dir, "/tmp/simfuse.XXXXXX", 20);
    assert_non_null(mkdtemp(m->dir));
    m->store = sim_store_new();
    m->fuse = sim_fuse_new(m->store, m->dir, &err);
    if (!m->fuse) {
        print_message("skipped: %s\n", err->msg);
        error_free(err);
        sim_store_free(m->store);
        rmdir(m->dir);
        return false;
    }
    char *name = str_fmt("%s/image", m->dir);
    m->fd = open(name, O_RDWR | O_CREAT, 0600);
    assert_true(m->fd >= 0);
    mem_free(name);
    m->log = disk_log_new(sim_store_pool(m->store));
    sim_store_log(m->store, m->log);
    return true;
}

static void end(struct mounted *m)
{
    close(m->fd);
    sim_fuse_free(m->fuse);
    disk_log_free(m->log);
    sim_store_free(m->store);
    assert_int_equal(rmdir(m->dir), 0);
    m->fuse = NULL;
}

/* Of the test at hand.  Were it left mounted by a test that fails, this process would wait for its
 * own server for ever when it ends. */
static struct mounted m;

static int clean_up(void **state)
{
    if (m.fuse) {
        umount2(m.dir, MNT_FORCE); /* whatever is open there fails from now on */
        end(&m);
    }
    return 0;
}

#define BEGIN(m)                                                                                   \
    if (!begin(m)) {                                                                               \
        skip();                                                                                    \
    }

static void test_changes_are_logged(void **state)
{
    char buf[600];
    BEGIN(&m);
    memset(buf, 7, sizeof(buf));
    assert_int_equal(pwrite(m.fd, buf, 600, 100), 600);
    assert_int_equal(fdatasync(m.fd), 0);
    assert_int_equal(ftruncate(m.fd, 65536), 0);
    assert_int_equal(fallocate(m.fd, FALLOC_FL_ZERO_RANGE, 0, 200), 0);
    assert_int_equal(fallocate(m.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 512, 512), 0);
    assert_int_equal(fallocate(m.fd, 0, 65536, 4096), 0);
    assert_int_equal(fallocate(m.fd, FALLOC_FL_KEEP_SIZE, 1 << 20, 4096), 0);
    static const struct {
        enum disk_op_kind kind;
        int64_t offset, bytes;
    } want[] = {
        {DISK_OP_WRITE, 100, 600}, {DISK_OP_FLUSH, 0, 0},       {DISK_OP_TRUNCATE, 65536, 0},
        {DISK_OP_ZERO, 0, 200},    {DISK_OP_DISCARD, 512, 512}, {DISK_OP_TRUNCATE, 69632, 0},
    };
    assert_int_equal(disk_log_len(m.log), ARRAY_SIZE(want));
    for (size_t i = 0; i < ARRAY_SIZE(want); i++) {
        const struct disk_op *op = disk_log_op(m.log, i);
        assert_int_equal(op->kind, want[i].kind);
        assert_int_equal(op->offset, want[i].offset);
        assert_int_equal(op->bytes, want[i].bytes);
        assert_true(op->issued < op->completed && op->completed != DISK_OP_IN_FLIGHT);
    }
    struct stat st;
    assert_int_equal(fstat(m.fd, &st), 0);
    assert_int_equal(st.st_size, 69632);
    assert_int_equal(pread(m.fd, buf, 600, 100), 600);
    assert_int_equal(buf[0], 0);
    assert_int_equal(buf[100], 7);
    assert_int_equal(buf[450], 0);
    end(&m);
}

static void test_holes_and_locks(void **state)
{
    char page[4096] = {1};
    BEGIN(&m);
    assert_int_equal(ftruncate(m.fd, 1 << 20), 0);
    assert_int_equal(pwrite(m.fd, page, 4096, 65536), 4096);
    assert_int_equal(lseek(m.fd, 0, SEEK_DATA), 65536);
    assert_int_equal(lseek(m.fd, 65536, SEEK_HOLE), 65536 + 4096);
    assert_int_equal(lseek(m.fd, 0, SEEK_HOLE), 0);
    assert_int_equal(lseek(m.fd, 100000, SEEK_DATA), -1);
    assert_int_equal(errno, ENXIO);
    assert_int_equal(lseek(m.fd, 0, SEEK_END), 1 << 20);
    char *name = str_fmt("%s/image", m.dir);
    int other = open(name, O_RDWR);
    struct flock lock = {.l_type = F_WRLCK, .l_start = 100, .l_len = 1};
    assert_int_equal(fcntl(m.fd, F_OFD_SETLK, &lock), 0);
    assert_int_equal(fcntl(other, F_OFD_SETLK, &lock), -1);
    close(other);
    mem_free(name);
    end(&m);
}

static void plan(struct mounted *m, struct fault_plan *p, const char *text)
{
    fault_plan_init(p);
    assert_int_equal(fault_plan_parse(p, text, NULL), 0);
    sim_store_lock(m->store);
    sim_store_plan(m->store, p);
    sim_store_unlock(m->store);
}

static void test_faults(void **state)
{
    struct fault_plan p;
    char buf[4096], got[4096];
    BEGIN(&m);
    memset(buf, 9, sizeof(buf));
    plan(&m, &p, "error,errno=28,io=write,nth=2");
    assert_int_equal(pwrite(m.fd, buf, 512, 0), 512);
    assert_int_equal(pwrite(m.fd, buf, 512, 512), -1);
    assert_int_equal(errno, ENOSPC);
    fault_plan_destroy(&p);
    /* What a short write leaves is there, to its sector's end, and the log says so. */
    plan(&m, &p, "short:512,io=write");
    assert_int_equal(pwrite(m.fd, buf, 700, 549), -1);
    const struct disk_op *op = disk_log_op(m.log, disk_log_len(m.log) - 1);
    assert_int_equal(op->bytes, 475);
    assert_false(op->flags & DISK_OP_FAILED);
    assert_int_equal(sim_store_size(m.store, 0), 1024);
    fault_plan_destroy(&p);
    plan(&m, &p, "torn:100,io=write;lost,io=flush;short:10,io=read");
    assert_int_equal(pwrite(m.fd, buf, 4096, 4096), 4096);
    assert_int_equal(fsync(m.fd), 0);
    assert_int_equal(pread(m.fd, got, 4096, 0), -1);
    assert_int_equal(sim_store_size(m.store, 0), 4196);
    assert_int_equal(disk_log_op(m.log, disk_log_len(m.log) - 1)->kind, DISK_OP_WRITE);
    fault_plan_destroy(&p);
    plan(&m, &p, "stale,io=read,nth=2;misdirected:8192,io=write,nth=2");
    memset(buf, 5, sizeof(buf));
    assert_int_equal(pwrite(m.fd, buf, 512, 0), 512);
    assert_int_equal(pread(m.fd, got, 512, 0), 512);
    assert_int_equal(got[0], 5);
    assert_int_equal(pread(m.fd, got, 512, 0), 512);
    assert_int_equal(got[0], 9);
    assert_int_equal(pwrite(m.fd, buf, 512, 0), 512);
    assert_int_equal(sim_store_size(m.store, 0), 8704);
    fault_plan_destroy(&p);
    /* Nothing else comes, so the delayed one is answered after a while. */
    plan(&m, &p, "delayed:5,io=write");
    assert_int_equal(pwrite(m.fd, buf, 512, 0), 512);
    sim_store_lock(m.store);
    sim_store_plan(m.store, NULL);
    sim_store_unlock(m.store);
    fault_plan_destroy(&p);
    end(&m);
}

/* The kernel cuts at pages of the writer's memory. */
static void test_long_writes_are_cut_at_sectors(void **state)
{
    BEGIN(&m);
    size_t len = 3 << 20;
    char *mem = mem_try_aligned(4096, len + 4096);
    memset(mem, 3, len + 4096);
    assert_int_equal(pwrite(m.fd, mem + 100, len, 0), (ssize_t)len);
    int64_t at = 0;
    for (size_t i = 0; i < disk_log_len(m.log); i++) {
        const struct disk_op *op = disk_log_op(m.log, i);
        assert_int_equal(op->offset, at);
        at += op->bytes;
        assert_int_equal(at % 512, 0);
    }
    assert_int_equal(at, len);
    assert_int_equal(sim_store_size(m.store, 0), len);
    /* A write that ends inside a sector by itself is there whole, too. */
    assert_int_equal(pwrite(m.fd, mem + 100, (1 << 20) - 100, len), (1 << 20) - 100);
    assert_int_equal(lseek(m.fd, 0, SEEK_END), len + (1 << 20) - 100);
    assert_int_equal(sim_store_size(m.store, 0), len + (1 << 20) - 100);
    mem_free(mem);
    end(&m);
}

/* The kernel tells the writer of what came before the request that failed; the sector that both
 * share is written when the writer tries the rest again, and not at all when it doesn't. */
static void test_a_cut_write_fails(void **state)
{
    enum { LEN = 1 << 20, CUT = LEN - 100 };
    for (int again = 0; again < 2; again++) {
        struct fault_plan p;
        BEGIN(&m);
        char *mem = mem_try_aligned(4096, LEN + 4096), *got = mem_try_alloc(LEN);
        memset(mem, 3, LEN + 4096);
        plan(&m, &p, "error,io=write,nth=2");
        assert_int_equal(pwrite(m.fd, mem + 100, LEN, 0), CUT);
        if (again) {
            assert_int_equal(pwrite(m.fd, mem + 100, LEN - CUT, CUT), LEN - CUT);
        }
        assert_int_equal(fsync(m.fd), 0);
        size_t there = again ? LEN : LEN - 512;
        assert_int_equal(sim_store_size(m.store, 0), there);
        assert_int_equal(pread(m.fd, got, there, 0), there);
        assert_memory_equal(got, mem, there);
        sim_store_lock(m.store);
        sim_store_plan(m.store, NULL);
        sim_store_unlock(m.store);
        fault_plan_destroy(&p);
        mem_free(mem);
        mem_free(got);
        end(&m);
    }
}

static void test_files_come_and_go(void **state)
{
    struct stat st;
    BEGIN(&m);
    char *name = str_fmt("%s/other", m.dir);
    assert_int_equal(stat(name, &st), -1);
    assert_int_equal(errno, ENOENT);
    int fd = open(name, O_RDWR | O_CREAT, 0600);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, name, 5, 0), 5);
    close(fd);
    assert_int_equal(disk_log_op(m.log, 0)->disk, 1);
    assert_int_equal(stat(name, &st), 0);
    assert_int_equal(st.st_size, 5);
    assert_int_equal(unlink(name), 0);
    assert_int_equal(stat(name, &st), -1);
    mem_free(name);
    end(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_changes_are_logged, clean_up),
        cmocka_unit_test_teardown(test_holes_and_locks, clean_up),
        cmocka_unit_test_teardown(test_faults, clean_up),
        cmocka_unit_test_teardown(test_long_writes_are_cut_at_sectors, clean_up),
        cmocka_unit_test_teardown(test_a_cut_write_fails, clean_up),
        cmocka_unit_test_teardown(test_files_come_and_go, clean_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
