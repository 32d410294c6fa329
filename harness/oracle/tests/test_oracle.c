/*
 * The crash oracle: what is lawful before, during and after operations.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "harness/oracle/oracle.h"

static struct oracle start(const char *text)
{
    struct program p;
    struct oracle o;
    assert_int_equal(program_parse(text, &p, NULL), 0);
    oracle_init(&o, &p);
    program_free(&p);
    return o;
}

static struct op parse(const char *line)
{
    struct op op;
    assert_int_equal(op_parse(line, &op, NULL), 0);
    return op;
}

static void done(struct oracle *o, const char *line, int status)
{
    struct op op = parse(line);
    oracle_begin(o, &op);
    oracle_end(o, &op, status);
}

static bool lawful(const struct oracle *o, enum oracle_view view, int64_t offset, int64_t bytes,
                   uint8_t value)
{
    uint8_t buf[8192];
    memset(buf, value, sizeof(buf));
    return oracle_judge(o, view, offset, bytes, buf, false, NULL) < 0;
}

static void test_write_is_old_or_new_until_flushed(void **state)
{
    struct oracle o = start("image raw 1M");
    struct op w = parse("write 0 4096 5");
    oracle_begin(&o, &w);
    assert_true(lawful(&o, ORACLE_CRASH, 0, 4096, 0));
    assert_true(lawful(&o, ORACLE_CRASH, 0, 4096, 5));
    assert_false(lawful(&o, ORACLE_CRASH, 0, 4096, 6));
    oracle_end(&o, &w, 0);
    assert_false(lawful(&o, ORACLE_LIVE, 0, 4096, 0));
    assert_true(lawful(&o, ORACLE_LIVE, 0, 4096, 5));
    assert_true(lawful(&o, ORACLE_LIVE, 4096, 512, 0));
    done(&o, "flush", -EIO);
    assert_true(lawful(&o, ORACLE_CRASH, 0, 4096, 0));
    done(&o, "flush", 0);
    assert_false(lawful(&o, ORACLE_CRASH, 0, 4096, 0));
    oracle_free(&o);
}

static void test_fua_is_durable_alone(void **state)
{
    struct oracle o = start("image raw 1M");
    done(&o, "write 0 512 5", 0);
    done(&o, "write 512 512 6 fua", 0);
    assert_true(lawful(&o, ORACLE_CRASH, 0, 512, 0));
    assert_false(lawful(&o, ORACLE_CRASH, 512, 512, 0));
    oracle_free(&o);
}

static void test_a_sector_is_atomic(void **state)
{
    struct oracle o = start("image raw 1M");
    uint8_t buf[1024];
    done(&o, "write 0 1024 5", 0);
    memset(buf, 5, sizeof(buf));
    memset(buf, 0, 512);
    assert_true(oracle_judge(&o, ORACLE_CRASH, 0, 1024, buf, false, NULL) < 0);
    buf[256] = 5;
    assert_int_equal(oracle_judge(&o, ORACLE_CRASH, 0, 1024, buf, false, NULL), 0);
    oracle_free(&o);
}

static void test_failed_write_stays_open(void **state)
{
    struct oracle o = start("image qcow2 1M cluster_size=4k");
    done(&o, "write 0 4096 5", -EIO);
    done(&o, "flush", 0);
    assert_true(lawful(&o, ORACLE_LIVE, 0, 4096, 0));
    assert_true(lawful(&o, ORACLE_CRASH, 0, 4096, 5));
    assert_false(lawful(&o, ORACLE_CRASH, 0, 4096, 7));
    done(&o, "write 0 4096 7", 0);
    assert_false(lawful(&o, ORACLE_LIVE, 0, 4096, 5));
    oracle_free(&o);
}

/* A cut may leave a descriptor without its data; a failure that the guest was told of may not. */
static void test_failed_compressed_write_is_readable(void **state)
{
    struct oracle o = start("image qcow2 1M cluster_size=4k");
    done(&o, "write 0 4096 5", 0);
    done(&o, "flush", 0);
    done(&o, "writec 0 4096 6", -EIO);
    assert_true(oracle_unreadable_lawful(&o, ORACLE_CRASH, 0, 4096));
    assert_false(oracle_unreadable_lawful(&o, ORACLE_LIVE, 0, 4096));
    assert_true(lawful(&o, ORACLE_LIVE, 0, 4096, 5));
    assert_true(lawful(&o, ORACLE_LIVE, 0, 4096, 6));
    assert_false(lawful(&o, ORACLE_LIVE, 0, 4096, 7));
    done(&o, "flush", 0);
    assert_false(oracle_unreadable_lawful(&o, ORACLE_CRASH, 0, 4096));
    oracle_free(&o);
}

static void test_allocating_write_may_show_zeroes(void **state)
{
    struct oracle o = start("image qcow2 1M backing cluster_size=4k");
    uint8_t pattern[4096];
    oracle_backing_fill(pattern, 0, sizeof(pattern));
    assert_true(oracle_judge(&o, ORACLE_LIVE, 0, 4096, pattern, false, NULL) < 0);
    assert_false(lawful(&o, ORACLE_LIVE, 0, 512, 0));
    done(&o, "write 0 512 5", 0);
    assert_true(lawful(&o, ORACLE_CRASH, 0, 512, 0));
    /* What it did not touch never changes. */
    assert_false(lawful(&o, ORACLE_CRASH, 512, 512, 0));
    done(&o, "flush", 0);
    /* In place now: old or new. */
    done(&o, "write 512 512 6", 0);
    assert_false(lawful(&o, ORACLE_CRASH, 512, 512, 0));
    oracle_free(&o);
}

static void test_discard_keeps_or_clears(void **state)
{
    struct oracle o = start("image qcow2 1M cluster_size=4k");
    done(&o, "write 0 8192 5", 0);
    done(&o, "flush", 0);
    done(&o, "discard 0 4096", 0);
    assert_true(lawful(&o, ORACLE_LIVE, 0, 4096, 0));
    assert_true(lawful(&o, ORACLE_LIVE, 0, 4096, 5));
    assert_false(lawful(&o, ORACLE_LIVE, 4096, 4096, 0));
    /* A freed cluster may be another write's: what that shows after a cut may be stale. */
    done(&o, "write 64k 4096 6", 0);
    assert_true(lawful(&o, ORACLE_CRASH, 65536, 4096, 99));
    done(&o, "flush", 0);
    assert_false(lawful(&o, ORACLE_CRASH, 65536, 4096, 99));
    oracle_free(&o);
}

static void test_sizes(void **state)
{
    struct oracle o = start("image qcow2 1M");
    done(&o, "resize 2M", 0);
    assert_true(oracle_size_lawful(&o, ORACLE_CRASH, 1 << 20));
    assert_true(oracle_size_lawful(&o, ORACLE_CRASH, 2 << 20));
    assert_false(oracle_size_lawful(&o, ORACLE_LIVE, 1 << 20));
    done(&o, "flush", 0);
    assert_false(oracle_size_lawful(&o, ORACLE_CRASH, 1 << 20));
    done(&o, "resize 1M", -EIO);
    done(&o, "flush", 0);
    assert_true(oracle_size_lawful(&o, ORACLE_CRASH, 1 << 20));
    assert_true(oracle_size_lawful(&o, ORACLE_CRASH, 2 << 20));
    oracle_free(&o);
}

/* The guest sees whole sectors; a write may come without the growth that made room for it. */
static void test_sizes_of_files(void **state)
{
    struct oracle o = start("image raw 1M");
    done(&o, "resize 1", 0);
    done(&o, "flush", 0);
    assert_true(oracle_size_lawful(&o, ORACLE_LIVE, 512));
    assert_true(oracle_size_lawful(&o, ORACLE_CRASH, 512));
    assert_false(oracle_size_lawful(&o, ORACLE_LIVE, 1));
    assert_false(oracle_size_lawful(&o, ORACLE_CRASH, 1024));
    done(&o, "resize 64k", 0);
    done(&o, "write 4k 100 1", 0);
    assert_true(oracle_size_lawful(&o, ORACLE_CRASH, 512));
    assert_true(oracle_size_lawful(&o, ORACLE_CRASH, 64 << 10));
    assert_true(oracle_size_lawful(&o, ORACLE_CRASH, 4096 + 512));
    assert_false(oracle_size_lawful(&o, ORACLE_CRASH, 4096));
    assert_false(oracle_size_lawful(&o, ORACLE_LIVE, 4096 + 512));
    oracle_free(&o);
    o = start("image qcow2 1M");
    done(&o, "resize 2M", 0);
    done(&o, "write 1536k 64k 1", 0);
    assert_false(oracle_size_lawful(&o, ORACLE_CRASH, 1600 << 10)); /* the header says it */
    oracle_free(&o);
}

static void test_snapshots(void **state)
{
    struct oracle o = start("image qcow2 1M cluster_size=4k");
    done(&o, "write 0 4096 5", 0);
    done(&o, "snapshot a", 0);
    done(&o, "write 0 4096 6", 0);
    done(&o, "flush", 0);
    done(&o, "apply b", -ENOENT);
    assert_false(lawful(&o, ORACLE_LIVE, 0, 4096, 5));
    done(&o, "apply a", 0);
    assert_true(lawful(&o, ORACLE_LIVE, 0, 4096, 5));
    assert_false(lawful(&o, ORACLE_LIVE, 0, 4096, 6));
    assert_true(lawful(&o, ORACLE_CRASH, 0, 4096, 6));
    done(&o, "delsnap a", 0);
    assert_int_equal(o.n_snapshots, 0);
    oracle_free(&o);
}

/* A snapshot of an emptied image shows what is committed below it later; one with data of its own
 * keeps them. */
static void test_committed_below_a_snapshot(void **state)
{
    struct oracle o = start("image qcow2 1M backing cluster_size=4k");
    done(&o, "write 0 4096 5", 0);
    done(&o, "write 4096 4096 5", 0);
    done(&o, "commit", 0);
    done(&o, "write 4096 4096 7", 0);
    done(&o, "snapshot s", 0);
    done(&o, "write 0 8192 6", 0);
    done(&o, "commit", 0);
    done(&o, "apply s", 0);
    assert_true(lawful(&o, ORACLE_LIVE, 0, 4096, 6));
    assert_false(lawful(&o, ORACLE_LIVE, 0, 4096, 7));
    assert_true(lawful(&o, ORACLE_LIVE, 4096, 4096, 7));
    assert_false(lawful(&o, ORACLE_LIVE, 4096, 4096, 6));
    oracle_free(&o);
}

/* Of two snapshots of one name the older is meant, until it is deleted. */
static void test_snapshots_of_one_name(void **state)
{
    struct oracle o = start("image qcow2 1M cluster_size=4k");
    for (uint32_t seed = 1; seed <= 3; seed++) {
        char write[32];
        snprintf(write, sizeof(write), "write 0 4096 %u", seed);
        done(&o, write, 0);
        done(&o, "snapshot s", 0);
    }
    done(&o, "apply s", 0);
    assert_true(lawful(&o, ORACLE_LIVE, 0, 4096, 1));
    done(&o, "delsnap s", 0);
    done(&o, "apply s", 0);
    assert_true(lawful(&o, ORACLE_LIVE, 0, 4096, 2));
    assert_false(lawful(&o, ORACLE_LIVE, 0, 4096, 3));
    oracle_free(&o);
}

static void test_says_why(void **state)
{
    struct oracle o = start("image raw 1M");
    struct strbuf why = STRBUF_INIT;
    uint8_t buf[512] = {9};
    assert_int_equal(oracle_judge(&o, ORACLE_LIVE, 1024, 512, buf, false, &why), 1024);
    assert_string_equal(why.s, "offset 1024: found 0x09, lawful: 0x00");
    strbuf_free(&why);
    oracle_free(&o);
}

/* What was flushed stays; what could not be, may be gone, and is not expected to come back. */
static void test_closed_without_a_flush(void **state)
{
    struct oracle o = start("image qcow2 1M cluster_size=4k");
    done(&o, "write 0 4096 5", 0);
    done(&o, "flush", 0);
    done(&o, "write 4096 4096 6", 0);
    done(&o, "flush", -EIO);
    assert_false(lawful(&o, ORACLE_LIVE, 4096, 4096, 0));
    oracle_close_unflushed(&o);
    assert_false(lawful(&o, ORACLE_LIVE, 0, 4096, 0));
    assert_true(lawful(&o, ORACLE_LIVE, 4096, 4096, 0));
    assert_true(lawful(&o, ORACLE_LIVE, 4096, 4096, 6));
    done(&o, "flush", 0);
    assert_false(lawful(&o, ORACLE_CRASH, 0, 4096, 0));
    assert_true(lawful(&o, ORACLE_CRASH, 4096, 4096, 0));
    assert_true(oracle_size_lawful(&o, ORACLE_LIVE, 1 << 20));
    assert_false(oracle_size_lawful(&o, ORACLE_LIVE, 2 << 20));
    done(&o, "resize 2M", 0);
    oracle_close_unflushed(&o);
    assert_true(oracle_size_lawful(&o, ORACLE_LIVE, 1 << 20));
    oracle_free(&o);
}

/* Where nothing was ever encrypted there may be anything; what was written is judged. */
static void test_luks_is_noise_at_first(void **state)
{
    struct oracle o = start("image luks 1M");
    assert_true(lawful(&o, ORACLE_LIVE, 0, 4096, 9));
    done(&o, "write 0 4096 5", 0);
    assert_false(lawful(&o, ORACLE_LIVE, 0, 4096, 9));
    assert_true(lawful(&o, ORACLE_LIVE, 0, 4096, 5));
    done(&o, "resize 2M", 0);
    assert_true(lawful(&o, ORACLE_LIVE, 1 << 20, 4096, 9));
    oracle_free(&o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_write_is_old_or_new_until_flushed),
        cmocka_unit_test(test_fua_is_durable_alone),
        cmocka_unit_test(test_a_sector_is_atomic),
        cmocka_unit_test(test_failed_write_stays_open),
        cmocka_unit_test(test_failed_compressed_write_is_readable),
        cmocka_unit_test(test_allocating_write_may_show_zeroes),
        cmocka_unit_test(test_discard_keeps_or_clears),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_sizes_of_files),
        cmocka_unit_test(test_snapshots),
        cmocka_unit_test(test_closed_without_a_flush),
        cmocka_unit_test(test_luks_is_noise_at_first),
        cmocka_unit_test(test_committed_below_a_snapshot),
        cmocka_unit_test(test_snapshots_of_one_name),
        cmocka_unit_test(test_says_why),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
