/*
 * Files of the host: data, holes, allocation, resizing, creation, access modes, locks.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include "ref/block/open.h"
#include "ref/protocol/protocol.h"
#include "ref/protocol/tests/rig.h"

static const struct block_driver *const drivers[] = {&driver_file, &driver_host_device, NULL};
#define RW (OPEN_RDWR | OPEN_RESIZE | OPEN_UNMAP | OPEN_PROTOCOL)

/* A directory of its own for each test, entered and left again. */
static char dir[] = "/tmp/blkref-file-XXXXXX";

static int enter_dir(void **state)
{
    strcpy(dir + strlen(dir) - 6, "XXXXXX");
    return mkdtemp(dir) && chdir(dir) == 0 ? 0 : -1;
}

static int leave_dir(void **state)
{
    static const char *const names[] = {"a", "b"};
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        unlink(names[i]);
    }
    return chdir("/") == 0 && rmdir(dir) == 0 ? 0 : -1;
}

static void make(struct rig *r, const char *name, const char *text)
{
    struct error *err = NULL;
    struct value *opts = opts_parse(text, NULL, &err);
    assert_int_equal(image_create(r->w, &driver_file, name, opts, &err), 0);
    assert_null(err);
    value_free(opts);
}

static void make_fails(struct rig *r, const char *name, const char *text, int code, const char *msg)
{
    struct error *err = NULL;
    struct value *opts = opts_parse(text, NULL, &err);
    assert_int_equal(image_create(r->w, &driver_file, name, opts, &err), -code);
    value_free(opts);
    rig_expect(&err, msg);
}

static struct stat stat_of(const char *name)
{
    struct stat st;
    assert_int_equal(stat(name, &st), 0);
    return st;
}

static unsigned status(struct blk *b, int64_t offset, int64_t bytes, int64_t *n)
{
    struct status st;
    assert_int_equal(node_block_status(blk_node(b), true, offset, bytes, &st), 0);
    *n = st.bytes;
    return st.flags & (STATUS_DATA | STATUS_ZERO);
}

static void data(struct rig *r)
{
    make(r, "file:a", "size=1M");
    struct blk *b = rig_open(r, "file:a", NULL, RW);
    assert_string_equal(blk_node(b)->filename, "a");
    assert_int_equal(blk_length(b), 1 * MiB);
    assert_int_equal(rig_fill(b, 100, 70000, 0x42), 0);
    rig_check(b, 100, 70000, 0x42);
    rig_check(b, 0, 100, 0);
    assert_int_equal(blk_flush(b, NULL), 0);
    blk_unref(b);
}

static void unaligned_end(struct rig *r)
{
    make(r, "a", "size=0");
    assert_int_equal(truncate("a", 100), 0);
    struct blk *b = rig_open(r, "a", NULL, RW);
    int64_t n;
    assert_int_equal(blk_length(b), 512);
    rig_check(b, 0, 512, 0); /* behind the end of the file there are zeroes */
    assert_int_equal(rig_fill(b, 256, 256, 3), 0);
    assert_int_equal(stat_of("a").st_size, 512);
    assert_int_equal(status(b, 0, 512, &n), STATUS_DATA);
    blk_unref(b);
}

static void holes(struct rig *r)
{
    int64_t n;
    make(r, "a", "size=1M");
    struct blk *b = rig_open(r, "a", NULL, RW);
    assert_int_equal(rig_fill(b, 65536, 65536, 1), 0);
    assert_int_equal(status(b, 4096, 1 * MiB - 4096, &n), STATUS_ZERO);
    assert_int_equal(n, 65536 - 4096);
    assert_int_equal(status(b, 65536, 512 * KiB, &n), STATUS_DATA);
    assert_int_equal(n, 65536);
    assert_int_equal(status(b, 131072, 1 * MiB - 131072, &n), STATUS_ZERO);
    assert_int_equal(n, 1 * MiB - 131072);

    assert_int_equal(blk_discard(b, 65536, 32768, NULL), 0);
    assert_int_equal(status(b, 65536, 32768, &n), STATUS_ZERO);
    rig_check(b, 65536, 32768, 0);
    rig_check(b, 65536 + 32768, 32768, 1);
    blk_unref(b);
}

static void zeroes(struct rig *r)
{
    make(r, "a", "size=1M");
    struct blk *b = rig_open(r, "a", NULL, RW);
    assert_int_equal(rig_fill(b, 0, 65536, 1), 0);
    blkcnt_t before = stat_of("a").st_blocks;
    assert_int_equal(blk_pwrite_zeroes(b, 0, 32768, 0, NULL), 0);
    assert_int_equal(stat_of("a").st_blocks, before); /* stays allocated */
    rig_check(b, 0, 32768, 0);
    assert_int_equal(blk_pwrite_zeroes(b, 32768, 32768, REQ_MAY_UNMAP, NULL), 0);
    assert_true(stat_of("a").st_blocks < before);
    rig_check(b, 0, 65536, 0);
    blk_unref(b);
}

static void resizing(struct rig *r)
{
    struct error *err = NULL;
    make(r, "a", "size=0");
    struct blk *b = rig_open(r, "a", NULL, RW);
    assert_int_equal(blk_truncate(b, 1 * MiB, true, PREALLOC_OFF, 0, &err), 0);
    assert_true(stat_of("a").st_blocks > 0); /* the first block is there */
    assert_true(stat_of("a").st_blocks * 512 < 1 * MiB);
    assert_int_equal(blk_truncate(b, 2 * MiB, true, PREALLOC_FALLOC, 0, &err), 0);
    assert_true(stat_of("a").st_blocks * 512 >= 1 * MiB);
    assert_int_equal(blk_truncate(b, 3 * MiB, true, PREALLOC_FULL, 0, &err), 0);
    assert_int_equal(blk_length(b), 3 * MiB);
    assert_int_equal(blk_truncate(b, 4 * MiB, true, PREALLOC_METADATA, 0, &err), -ENOTSUP);
    rig_expect(&err, "Unsupported preallocation mode: metadata");
    assert_true(blk_truncate(b, 1LL << 61, true, PREALLOC_FALLOC, 0, &err) < 0);
    rig_expect(&err, "Could not preallocate new data: File too large");
    assert_int_equal(stat_of("a").st_size, 3 * MiB);
    assert_int_equal(blk_truncate(b, 512, true, PREALLOC_OFF, 0, &err), 0);
    assert_int_equal(stat_of("a").st_size, 512);
    blk_unref(b);
}

static void creation(struct rig *r)
{
    make(r, "a", "size=1000");
    assert_int_equal(stat_of("a").st_size, 1024);
    make(r, "a", "size=1M,preallocation=full");
    assert_true(stat_of("a").st_blocks * 512 >= 1 * MiB);
    make(r, "a", "size=64k,nocow=on,extent_size_hint=0");
    assert_int_equal(stat_of("a").st_size, 65536);
    make_fails(r, "a", "size=1M,preallocation=bogus", EINVAL, "invalid parameter value: bogus");
    make_fails(r, "a", "size=1M,preallocation=metadata", ENOTSUP,
               "Unsupported preallocation mode: metadata");
    make_fails(r, "a", "size=1M,extent_size_hint=8G", EINVAL, "Extent size hint is too large");
    make_fails(r, "nowhere/a", "size=1M", ENOENT,
               "Could not create 'nowhere/a': No such file or directory");
}

static void refusals(struct rig *r)
{
    make(r, "a", "size=64k");
    rig_open_fails(r, "b", NULL, RW, "Could not open 'b': No such file or directory");
    rig_open_fails(r, NULL, "driver=file", RW, "The 'file' block driver requires a file name");
    rig_open_fails(r, NULL, "driver=file,filename=a,aio=foo", RW, "invalid parameter value: foo");
    rig_open_fails(
        r, NULL, "driver=file,filename=a,aio=native", RW,
        "aio=native was specified, but it requires cache.direct=on, which was not specified.");
    rig_open_fails(r, NULL, "driver=file,filename=a,locking=x", RW, "invalid parameter value: x");
    rig_open_fails(r, NULL, "driver=file,filename=a,pr-manager=p", RW,
                   "No persistent reservation manager with id 'p'");
    rig_open_fails(r, NULL, "driver=file,filename=a,x-check-cache-dropped=on", RW,
                   "x-check-cache-dropped=on is not supported");
    rig_open_fails(r, NULL, "driver=file,filename=.", 0,
                   "'file' driver requires '.' to be a regular file");
    rig_open_fails(r, NULL, "driver=host_device,filename=a", 0,
                   "'host_device' driver requires 'a' to be either a character or block device");
    rig_open_fails(r, NULL, "driver=file,filename=/dev/fdset/1", RW,
                   "Could not dup FD for /dev/fdset/1 flags 2: Function not implemented");
}

/* The access mode of the one descriptor that this process has on `name`; -1 when there are none or
 * two. */
static int access_of(const char *name)
{
    struct stat want = stat_of(name), st;
    int mode = -1, found = 0;
    for (int fd = 0; fd < 256; fd++) {
        if (fstat(fd, &st) == 0 && st.st_ino == want.st_ino && st.st_dev == want.st_dev) {
            mode = fcntl(fd, F_GETFL) & O_ACCMODE;
            found++;
        }
    }
    return found == 1 ? mode : -1;
}

/* With auto-read-only the file is open for writing only while somebody may write. */
static void access_follows_permissions(struct rig *r)
{
    struct error *err = NULL;
    make(r, "a", "size=64k");
    struct value *opts = opts_parse("driver=file,filename=a,auto-read-only=on", NULL, &err);
    struct node *n = node_open(r->w, NULL, NULL, opts, OPEN_RDWR | OPEN_PROTOCOL, &err);
    assert_non_null(n);
    assert_int_equal(access_of("a"), O_RDONLY);
    struct blk *b = blk_new(r->w, PERM_CONSISTENT_READ, PERM_ALL);
    assert_int_equal(blk_insert(b, n, &err), 0);
    assert_int_equal(access_of("a"), O_RDONLY);
    assert_int_equal(blk_set_perm(b, PERM_CONSISTENT_READ | PERM_WRITE, PERM_ALL, &err), 0);
    assert_int_equal(access_of("a"), O_RDWR);
    assert_int_equal(rig_fill(b, 0, 512, 1), 0);
    assert_int_equal(blk_set_perm(b, PERM_CONSISTENT_READ, PERM_ALL, &err), 0);
    assert_int_equal(access_of("a"), O_RDONLY);
    rig_check(b, 0, 512, 1);
    blk_unref(b);
    node_unref(n);
    assert_int_equal(access_of("a"), -1);
}

static void reopening(struct rig *r)
{
    struct error *err = NULL;
    make(r, "a", "size=64k");
    struct blk *b = rig_open(r, "a", NULL, OPEN_PROTOCOL);
    assert_int_equal(access_of("a"), O_RDONLY);
    assert_int_equal(node_set_read_only(blk_node(b), false, &err), 0);
    assert_int_equal(access_of("a"), O_RDWR);
    assert_int_equal(node_set_read_only(blk_node(b), true, &err), 0);
    assert_int_equal(access_of("a"), O_RDONLY);
    assert_int_equal(rename("a", "b"), 0);
    assert_true(node_set_read_only(blk_node(b), false, &err) < 0);
    rig_expect(&err, "Could not open 'a': No such file or directory");
    assert_int_equal(access_of("b"), O_RDONLY);
    rig_check(b, 0, 512, 0);
    blk_unref(b);
}

/* ---- locks: what another open file sees ---- */

/* Is the byte locked by somebody else than fd? */
static bool locked(int fd, off_t byte)
{
    struct flock fl = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
    assert_int_equal(fcntl(fd, F_OFD_GETLK, &fl), 0);
    return fl.l_type != F_UNLCK;
}

static void set_lock(int fd, off_t byte, short type)
{
    struct flock fl = {.l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
    assert_int_equal(fcntl(fd, F_OFD_SETLK, &fl), 0);
}

/* 1 for each of the bytes 100 to 103 (used) and 200 to 203 (not shared), as a number of eight bits.
 */
static unsigned locked_bytes(int fd)
{
    unsigned bits = 0;
    for (int i = 0; i < 4; i++) {
        bits |= (unsigned)locked(fd, 100 + i) << i | (unsigned)locked(fd, 200 + i) << (4 + i);
    }
    return bits;
}

static void lock_bytes(struct rig *r)
{
    struct error *err = NULL;
    make(r, "a", "size=64k");
    int fd = open("a", O_RDWR);
    struct blk *b = rig_open(r, "a", NULL, OPEN_RDWR | OPEN_PROTOCOL);
    assert_int_equal(locked_bytes(fd), 0x03);
    assert_int_equal(blk_set_perm(b, PERM_WRITE | PERM_RESIZE, PERM_CONSISTENT_READ, &err), 0);
    assert_int_equal(locked_bytes(fd), 0xea);
    assert_int_equal(blk_set_perm(b, PERM_CONSISTENT_READ, PERM_ALL, &err), 0);
    assert_int_equal(locked_bytes(fd), 0x01);

    /* Somebody writes: who does not share that is refused, and keeps what it had. */
    set_lock(fd, 101, F_RDLCK);
    assert_int_equal(blk_set_perm(b, PERM_CONSISTENT_READ, PERM_ALL & ~PERM_WRITE, &err), -EAGAIN);
    assert_string_equal(err->hint, "Is another process using the image [a]?\n");
    rig_expect(&err, "Failed to get shared \"write\" lock");
    assert_int_equal(locked_bytes(fd), 0x01);
    blk_unref(b);
    assert_int_equal(locked_bytes(fd), 0);

    /* Somebody shares no writing. */
    set_lock(fd, 101, F_UNLCK);
    set_lock(fd, 201, F_RDLCK);
    rig_open_fails(r, "a", NULL, OPEN_RDWR | OPEN_PROTOCOL, "Failed to get \"write\" lock");
    assert_int_equal(locked_bytes(fd), 0);
    make_fails(r, "a", "size=1M", EAGAIN, "Failed to get \"write\" lock");
    assert_int_equal(stat_of("a").st_size, 65536);
    b = rig_open(r, NULL, "driver=file,filename=a,locking=off", OPEN_RDWR);
    assert_int_equal(locked_bytes(fd), 0);
    blk_unref(b);
    close(fd);
}

static void locks_survive_reopen(struct rig *r)
{
    struct error *err = NULL;
    make(r, "a", "size=64k");
    int fd = open("a", O_RDWR);
    struct blk *b = rig_open(r, "a", NULL, OPEN_PROTOCOL);
    assert_int_equal(blk_set_perm(b, PERM_CONSISTENT_READ, PERM_ALL & ~PERM_RESIZE, &err), 0);
    assert_int_equal(locked_bytes(fd), 0x81);
    assert_int_equal(node_set_read_only(blk_node(b), false, &err), 0);
    assert_int_equal(locked_bytes(fd), 0x81);
    blk_unref(b);
    close(fd);
}

#define TEST(name)                                                                                 \
    static void test_##name(void **state)                                                          \
    {                                                                                              \
        rig_run(drivers, name);                                                                    \
    }
TEST(data)
TEST(unaligned_end)
TEST(holes)
TEST(zeroes)
TEST(resizing)
TEST(creation)
TEST(refusals)
TEST(access_follows_permissions)
TEST(reopening)
TEST(lock_bytes)
TEST(locks_survive_reopen)
#define UNIT(name) cmocka_unit_test_setup_teardown(test_##name, enter_dir, leave_dir)

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT(data),
        UNIT(unaligned_end),
        UNIT(holes),
        UNIT(zeroes),
        UNIT(resizing),
        UNIT(creation),
        UNIT(refusals),
        UNIT(access_follows_permissions),
        UNIT(reopening),
        UNIT(lock_bytes),
        UNIT(locks_survive_reopen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
