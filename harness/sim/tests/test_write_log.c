/*
 * dm-log-writes files: what is saved loads to the same disk; a mark parts base and log.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fault/crash.h"
#include "harness/sim/write_log.h"
#include "ref/base/mem.h"

struct fixture {
    struct disk_pool *pool;
    struct disk_set base;
    struct disk_log *log;
    char file[32];
};

static void begin(struct fixture *f)
{
    uint8_t buf[1000];
    memset(f, 0, sizeof(*f));
    memcpy(f->file, "/tmp/writelog.XXXXXX", 21);
    close(mkstemp(f->file));
    f->pool = disk_pool_new(0);
    f->log = disk_log_new(f->pool);
    f->base.n = 1;
    f->base.disk[0] = disk_new(f->pool, 0);
    memset(buf, 'b', sizeof(buf));
    disk_write(f->base.disk[0], 100, buf, sizeof(buf));
}

static void end(struct fixture *f)
{
    disk_set_free(&f->base);
    disk_log_free(f->log);
    disk_pool_free(f->pool);
    unlink(f->file);
}

static void add(struct fixture *f, enum disk_op_kind kind, unsigned flags, int64_t offset,
                int64_t bytes, char value)
{
    struct disk_op op = {
        .kind = kind, .flags = flags, .offset = offset, .bytes = bytes, .label = LABEL_NONE};
    char buf[8192];
    memset(buf, value, sizeof(buf));
    disk_log_add(f->log, &op, buf);
}

static struct disk *replay(const struct fixture *f, const struct disk_set *base,
                           const struct disk_log *log)
{
    struct disk *d = disk_clone(base->disk[0]);
    for (size_t i = 0; i < disk_log_len(log); i++) {
        assert_int_equal(disk_op_apply(d, disk_log_op(log, i)), 0);
    }
    return d;
}

static void test_saved_and_loaded(void **state)
{
    struct fixture f;
    begin(&f);
    add(&f, DISK_OP_WRITE, DISK_OP_FUA, 512, 4096, 'x');
    add(&f, DISK_OP_WRITE, 0, 700, 8, 'y'); /* inside a sector */
    add(&f, DISK_OP_FLUSH, 0, 0, 0, 0);
    add(&f, DISK_OP_DISCARD, 0, 1024, 512, 0);
    add(&f, DISK_OP_ZERO, 0, 3000, 100, 0);
    disk_log_mark(f.log, "done");
    struct disk_log *log = disk_log_new(f.pool);
    struct disk_set base;
    assert_int_equal(write_log_save(&f.base, f.log, 0, f.file, NULL), 0);
    assert_true(write_log_is(f.file));
    assert_int_equal(write_log_load(f.file, NULL, NULL, &base, log, NULL), 0);
    struct disk *want = replay(&f, &f.base, f.log), *got = replay(&f, &base, log);
    disk_truncate(want, ROUND_UP(disk_size(want), 512));
    disk_truncate(got, ROUND_UP(disk_size(got), 512));
    assert_true(disk_equal(want, got));
    assert_int_equal(disk_log_len(log), disk_log_len(f.log));
    assert_int_equal(disk_log_op(log, 0)->flags, DISK_OP_FUA);
    disk_free(want);
    disk_free(got);
    disk_set_free(&base);
    disk_log_free(log);
    /* From a mark of one's own on, nothing is left. */
    log = disk_log_new(f.pool);
    assert_int_equal(write_log_load(f.file, NULL, "done", &base, log, NULL), 0);
    assert_int_equal(disk_log_len(log), 0);
    disk_set_free(&base);
    disk_log_free(log);
    end(&f);
}

static void test_refused(void **state)
{
    struct fixture f;
    struct disk_set base;
    struct error *err = NULL;
    begin(&f);
    assert_false(write_log_is(f.file));
    assert_false(write_log_is("/nowhere"));
    struct disk_log *log = disk_log_new(f.pool);
    assert_true(write_log_load(f.file, NULL, NULL, &base, log, &err) < 0);
    assert_non_null(err);
    error_clear(&err);
    disk_set_free(&base);
    add(&f, DISK_OP_TRUNCATE, 0, 512, 0, 0);
    assert_true(write_log_save(&f.base, f.log, 0, f.file, &err) < 0); /* it cannot say this */
    assert_non_null(err);
    error_clear(&err);
    disk_log_reset(f.log);
    assert_int_equal(write_log_save(&f.base, f.log, 0, f.file, NULL), 0);
    assert_true(write_log_load(f.file, NULL, "no such mark", &base, log, &err) < 0);
    error_clear(&err);
    disk_set_free(&base);
    disk_log_free(log);
    end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_saved_and_loaded),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
