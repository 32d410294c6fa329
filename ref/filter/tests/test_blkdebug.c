/*
 * blkdebug on simulated disks: rules from file and options, limits, permissions, breakpoints,
 * names.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include "ref/block/breakpoint.h"
#include "ref/filter/filter.h"
#include "ref/protocol/protocol.h"
#include "ref/protocol/tests/rig.h"

static const struct block_driver *const drivers[] = {&driver_sim, &driver_blkdebug, NULL};
#define RW    (OPEN_RDWR | OPEN_RESIZE | OPEN_UNMAP | OPEN_PROTOCOL)
#define ON_D0 "driver=blkdebug,image.driver=sim,image.disk=d0"

/* A rule file in the working directory's place; the caller frees and removes. */
static char *config(const char *text)
{
    char *path = str_dup("/tmp/blkref-rules-XXXXXX");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
    return path;
}

static void drop(char *path)
{
    unlink(path);
    mem_free(path);
}

static void announce(struct blk *b, enum label label)
{
    node_event(blk_node(b), label, NULL);
}

static void passes(struct rig *r)
{
    rig_disk(r, 0, 64 * KiB);
    struct blk *b = rig_open(r, "blkdebug::sim:d0", NULL, RW);
    struct error *err = NULL;
    struct status st;
    assert_int_equal(rig_fill(b, 100, 5000, 1), 0);
    rig_check(b, 100, 5000, 1);
    assert_int_equal(blk_pwrite_zeroes(b, 0, 4096, REQ_MAY_UNMAP, NULL), 0);
    assert_int_equal(blk_discard(b, 4096, 4096, NULL), 0);
    rig_check(b, 0, 8192, 0);
    assert_int_equal(node_block_status(blk_node(b), true, 0, 64 * KiB, &st), 0);
    assert_true(st.flags & STATUS_ZERO);
    assert_int_equal(blk_flush(b, NULL), 0);
    assert_int_equal(rig_count(r, DISK_OP_FLUSH), 1);
    assert_int_equal(blk_truncate(b, 1 * MiB, true, PREALLOC_OFF, 0, &err), 0);
    assert_int_equal(disk_size(r->disk[0]), 1 * MiB);
    blk_unref(b);
}

static void rules_of_a_file(struct rig *r)
{
    char *path =
        config("[inject-error]\nevent = \"write_aio\"\nerrno = \"28\"\niotype = \"write\"\n");
    char *name = str_fmt("blkdebug:%s:sim:d0", path);
    rig_disk(r, 0, 64 * KiB);
    struct blk *b = rig_open(r, name, NULL, RW);
    assert_int_equal(rig_fill(b, 0, 512, 1), 0);
    announce(b, LABEL_WRITE_AIO);
    assert_int_equal(rig_fill(b, 0, 512, 2), -ENOSPC);
    rig_check(b, 0, 512, 1);
    assert_int_equal(blk_pwrite_zeroes(b, 0, 512, 0, NULL), 0);
    node_refresh_filename(blk_node(b));
    assert_string_equal(blk_node(b)->filename, name);
    blk_unref(b);
    mem_free(name);
    drop(path);
}

static void rules_of_options(struct rig *r)
{
    rig_disk(r, 0, 64 * KiB);
    struct blk *b = rig_open(r, NULL,
                             ON_D0 ",inject-error.0.event=none,inject-error.0.iotype=read,"
                                   "inject-error.0.sector=3,inject-error.0.once=on",
                             RW);
    uint8_t buf[1024];
    rig_check(b, 0, 1536, 0);
    assert_int_equal(blk_pread(b, 1024, buf, 1024), -EIO);
    assert_int_equal(blk_pread(b, 1024, buf, 1024), 0);
    node_refresh_filename(blk_node(b));
    assert_string_equal(blk_node(b)->filename,
                        "json:{\"inject-error.0.once\": \"on\", \"image\": {\"driver\": \"sim\", "
                        "\"disk\": \"d0\"}, "
                        "\"driver\": \"blkdebug\", \"inject-error.0.iotype\": \"read\", "
                        "\"inject-error.0.event\": \"none\", \"inject-error.0.sector\": \"3\"}");
    blk_unref(b);
}

static void flush_and_status(struct rig *r)
{
    rig_disk(r, 0, 64 * KiB);
    struct status st;
    struct blk *b = rig_open(
        r, NULL,
        ON_D0
        ",inject-error.0.event=none,inject-error.0.iotype=flush,"
        "inject-error.1.event=none,inject-error.1.iotype=block-status,inject-error.1.errno=12,"
        "inject-error.2.event=none,inject-error.2.iotype=discard,"
        "inject-error.2.immediately=on",
        RW);
    assert_int_equal(rig_fill(b, 0, 512, 1), 0);
    assert_int_equal(blk_flush(b, NULL), -EIO);
    assert_int_equal(node_block_status(blk_node(b), true, 0, 4096, &st), -ENOMEM);
    assert_int_equal(blk_discard(b, 0, 4096, NULL), -EIO);
    assert_int_equal(rig_count(r, DISK_OP_FLUSH) + rig_count(r, DISK_OP_DISCARD), 0);
    blk_unref(b);
}

static void limits(struct rig *r)
{
    rig_disk(r, 0, 64 * KiB);
    struct blk *b =
        rig_open(r, NULL,
                 ON_D0 ",align=512,max-transfer=4096,opt-write-zero=4k,max-write-zero=8k,"
                       "opt-discard=4k,max-discard=8k",
                 RW);
    assert_int_equal(blk_node(b)->limits.request_alignment, 512);
    assert_int_equal(rig_fill(b, 512, 16384, 1), 0);
    for (size_t i = 0; i < disk_log_len(r->log); i++) {
        assert_true(disk_log_op(r->log, i)->bytes <= 4096);
    }
    assert_int_equal(blk_pwrite_zeroes(b, 512, 20480, REQ_MAY_UNMAP, NULL), 0);
    for (size_t i = 0; i < disk_log_len(r->log); i++) {
        const struct disk_op *op = disk_log_op(r->log, i);
        if (op->kind == DISK_OP_ZERO) {
            assert_true(op->bytes <= 8192 && op->offset % 4096 == 0);
        }
    }
    rig_check(b, 0, 64 * KiB, 0);
    blk_unref(b);
}

static void bad_limits(struct rig *r)
{
    rig_disk(r, 0, 64 * KiB);
    rig_open_fails(r, NULL, ON_D0 ",align=3", RW, "Cannot meet constraints with align 3");
    rig_open_fails(r, NULL, ON_D0 ",align=2G", RW, "Cannot meet constraints with align 2147483648");
    rig_open_fails(r, NULL, ON_D0 ",align=512,max-transfer=1000", RW,
                   "Cannot meet constraints with max-transfer 1000");
    rig_open_fails(r, NULL, ON_D0 ",opt-write-zero=512,align=1k", RW,
                   "Cannot meet constraints with opt-write-zero 512");
    rig_open_fails(r, NULL, ON_D0 ",opt-write-zero=512,max-write-zero=700", RW,
                   "Cannot meet constraints with max-write-zero 700");
    rig_open_fails(r, NULL, ON_D0 ",opt-discard=1000,align=512", RW,
                   "Cannot meet constraints with opt-discard 1000");
    rig_open_fails(r, NULL, ON_D0 ",max-discard=4G", RW,
                   "Cannot meet constraints with max-discard 4294967296");
}

static void refusals(struct rig *r)
{
    rig_disk(r, 0, 64 * KiB);
    rig_open_fails(r, "blkdebug:", NULL, RW, "blkdebug requires both config file and image path");
    rig_open_fails(r, "blkdebug:x", NULL, RW, "blkdebug requires both config file and image path");
    rig_open_fails(r, NULL, "driver=blkdebug", RW,
                   "A block device must be specified for \"image\"");
    rig_open_fails(r, "blkdebug:/nonexistent/config:sim:d0", NULL, RW,
                   "Could not read blkdebug config file: No such file or directory");
    rig_open_fails(r, NULL, ON_D0 ",inject-error.0.event=foo", RW, "invalid parameter value: foo");
    rig_open_fails(r, NULL, ON_D0 ",foo=bar", RW,
                   "Block protocol 'blkdebug' doesn't support the option 'foo'");
    rig_open_fails(r, NULL, ON_D0 ",unshare-child-perms.0=foo", RW,
                   "Parameter 'null' does not accept value 'foo'");
}

static void permissions(struct rig *r)
{
    rig_disk(r, 0, 64 * KiB);
    struct blk *b = rig_open(r, NULL,
                             ON_D0 ",take-child-perms.0=resize,unshare-child-perms.0=write,"
                                   "unshare-child-perms.1=write-unchanged",
                             OPEN_RDWR);
    const struct child *c = blk_node(b)->file;
    assert_string_equal(c->name, "image");
    assert_int_equal(c->perm, PERM_CONSISTENT_READ | PERM_WRITE | PERM_RESIZE);
    assert_int_equal(c->shared & (PERM_WRITE | PERM_WRITE_UNCHANGED), 0);
    blk_unref(b);
}

/* ---- breakpoints ---- */

struct writer {
    struct blk *b;
    enum label label;
    const char *tag;
    bool done;
};

static void announced_write(void *arg)
{
    struct writer *w = arg;
    uint8_t byte[512] = {1};
    struct iov q;
    struct request parent = {.op = REQ_WRITE, .label = LABEL_NONE, .bytes = 512, .tag = w->tag};
    iov_single(&q, byte, sizeof(byte));
    node_event(blk_node(w->b), w->label, &parent);
    assert_int_equal(blk_pwritev(w->b, 0, 512, &q, 0, w->tag), 0);
    w->done = true;
}

static void settle(struct rig *r)
{
    for (int i = 0; i < 8; i++) {
        co_yield (r->w);
    }
}

static void breakpoints(struct rig *r)
{
    rig_disk(r, 0, 64 * KiB);
    struct blk *b = rig_open(r, "blkdebug::sim:d0", NULL, RW);
    struct node *n = blk_node(b);
    struct writer w = {.b = b, .label = LABEL_WRITE_AIO};
    assert_int_equal(node_break_set(n, "nonsense", "A"), -ENOENT);
    assert_int_equal(node_break_resume(n, "A"), -ENOENT);
    assert_int_equal(node_break_set(n, "write_aio", "A"), 0);
    co_spawn(r->w, "writer", announced_write, &w);
    assert_int_equal(node_break_wait(n, "A"), 0);
    settle(r);
    assert_false(w.done);
    assert_string_equal(r->out.s, "blkdebug: Suspended request 'A'\n");
    assert_int_equal(node_break_resume(n, "A"), 0);
    settle(r);
    assert_true(w.done);
    assert_string_equal(r->out.s,
                        "blkdebug: Suspended request 'A'\nblkdebug: Resuming request 'A'\n");
    assert_int_equal(node_break_remove(n, "A"), -ENOENT);
    blk_unref(b);
}

/* Ours: filters behind the event's name. */
static void break_filters(struct rig *r)
{
    rig_disk(r, 0, 64 * KiB);
    struct blk *b = rig_open(r, "blkdebug::sim:d0", NULL, RW);
    struct node *n = blk_node(b);
    struct writer a = {.b = b, .label = LABEL_WRITE_AIO, .tag = "alpha"};
    struct writer z = {.b = b, .label = LABEL_WRITE_AIO, .tag = "zeta"};
    assert_int_equal(node_break_set(n, "write_aio,label", "A"), -EINVAL);
    assert_int_equal(node_break_set(n, "write_aio,nth=x", "A"), -EINVAL);
    assert_int_equal(node_break_set(n, "write_aio,label=ze*,nth=1,sector=0", "A"), 0);
    co_spawn(r->w, "alpha", announced_write, &a);
    co_spawn(r->w, "zeta", announced_write, &z);
    settle(r);
    assert_true(a.done);
    assert_false(z.done);
    assert_int_equal(node_break_resume(n, "A"), 0);
    settle(r);
    assert_true(z.done);

    /* A label alone stops the request where it arrives. */
    z.done = false;
    assert_int_equal(node_break_set(n, "-,label=zeta", "B"), 0);
    co_spawn(r->w, "zeta", announced_write, &z);
    assert_int_equal(node_break_wait(n, "B"), 0);
    assert_false(z.done);
    assert_int_equal(node_break_resume(n, "B"), 0);
    settle(r);
    assert_true(z.done);
    blk_unref(b);
}

#define TEST(name)                                                                                 \
    static void test_##name(void **state)                                                          \
    {                                                                                              \
        rig_run(drivers, name);                                                                    \
    }
TEST(passes)
TEST(rules_of_a_file)
TEST(rules_of_options)
TEST(flush_and_status)
TEST(limits)
TEST(bad_limits)
TEST(refusals)
TEST(permissions)
TEST(breakpoints)
TEST(break_filters)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_passes),           cmocka_unit_test(test_rules_of_a_file),
        cmocka_unit_test(test_rules_of_options), cmocka_unit_test(test_flush_and_status),
        cmocka_unit_test(test_limits),           cmocka_unit_test(test_bad_limits),
        cmocka_unit_test(test_refusals),         cmocka_unit_test(test_permissions),
        cmocka_unit_test(test_breakpoints),      cmocka_unit_test(test_break_filters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
