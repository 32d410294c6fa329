/*
 * Tests of the operation vocabulary and of fio's iolog.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <string.h>
#include <cmocka.h>
#include "ref/base/mem.h"
#include "trace/fio.h"
#include "trace/op.h"

static const char whole_program[] = "image qcow2 1048576 backing cluster_size=4096,compat=1.1\n"
                                    "write 512 4096 7 fua\n"
                                    "writec 8192 4096 9\n"
                                    "zero 0 1024 unmap nofallback\n"
                                    "discard 4096 4096\n"
                                    "read 0 1048576\n"
                                    "flush\n"
                                    "snapshot one\n"
                                    "apply one\n"
                                    "delsnap one\n"
                                    "resize 2097152 metadata\n"
                                    "amend compat=0.10\n"
                                    "overlay\n"
                                    "commit\n"
                                    "reopen\n"
                                    "reopen lazy-refcounts=on,file.locking=off\n"
                                    "extend 4194304\n";

static void test_program_round_trip(void **state)
{
    struct program p;
    struct strbuf text = STRBUF_INIT;
    assert_int_equal(program_parse(whole_program, &p, NULL), 0);
    assert_int_equal(p.n_ops, 16);
    assert_int_equal(p.ops[0].flags, OP_FUA);
    assert_int_equal(p.ops[0].seed, 7);
    assert_int_equal(p.ops[9].prealloc, PREALLOC_METADATA);
    assert_true(p.backing);
    struct program copy = program_clone(&p);
    program_print(&text, &copy);
    assert_string_equal(text.s, whole_program);
    strbuf_free(&text);
    program_free(&copy);
    program_free(&p);
}

static void test_bad_operations(void **state)
{
    static const char *const bad[] = {
        "",
        "jump 1 2",
        "write",
        "write 1",
        "write 0 512",
        "write 0 512 0",
        "write 0 512 256",
        "write 0 512 1 unmap",
        "read 0 512 1",
        "extend",
        "extend 1M falloc",
        "reopen a=b c=d",
        "flush now",
        "snapshot",
        "resize",
        "resize 1M maybe",
        "write -1 512 1",
        "zero 9223372036854775807 1",
        "write 0 512 1 fua x",
        "snapshot a-name-that-is-much-too-long-for-the-field-of-an-operation",
    };
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct op op;
        struct error *err = NULL;
        assert_int_equal(op_parse(bad[i], &op, &err), -EINVAL);
        assert_non_null(err);
        error_free(err);
    }
    struct program p;
    assert_int_equal(program_parse("", &p, NULL), -EINVAL);
    assert_int_equal(program_parse("write 0 512 1\n", &p, NULL), -EINVAL);
    assert_int_equal(program_parse("image raw 1M a=b c=d\n", &p, NULL), -EINVAL);
    assert_int_equal(program_parse("image raw 1M\nflush\nnonsense\n", &p, NULL), -EINVAL);
}

static void test_sizes_and_comments(void **state)
{
    struct program p;
    assert_int_equal(
        program_parse("# a comment\n\nimage raw 1M # here too\nwrite 4k 1k 3\n", &p, NULL), 0);
    assert_int_equal(p.size, 1 << 20);
    assert_int_equal(p.n_ops, 1);
    assert_int_equal(p.ops[0].offset, 4096);
    program_free(&p);
}

static const char fio2[] =
    "fio version 2 iolog\n/dev/vda add\n/dev/vda open\n/dev/vda write 4096 8192\n"
    "/dev/vda read 0 512\n/dev/vda trim 4096 4096\n/dev/vda sync 0 0\n"
    "/dev/vda write 0 512\n/dev/vda close\n";

static void test_fio_version_2(void **state)
{
    struct fio_log log;
    struct strbuf text = STRBUF_INIT;
    assert_int_equal(fio_parse(fio2, &log, NULL), 0);
    assert_int_equal(log.n_entries, 5);
    assert_int_equal(log.end, 12288);
    fio_print(&text, &log);
    assert_string_equal(text.s, fio2);
    struct program p = {.n_ops = 0};
    fio_program(&log, 0, &p);
    assert_int_equal(p.n_ops, 5);
    assert_int_equal(p.ops[0].kind, OP_WRITE);
    assert_int_equal(p.ops[0].seed, 1);
    assert_int_equal(p.ops[2].kind, OP_DISCARD);
    assert_int_equal(p.ops[3].kind, OP_FLUSH);
    assert_int_equal(p.ops[4].seed, 2);
    program_free(&p);
    strbuf_free(&text);
    fio_free(&log);
}

static void test_fio_version_3(void **state)
{
    struct fio_log log;
    const char *text =
        "fio version 3 iolog\n0 a add\n0 b add\n0 a open\n5 a write 0 4096\n9 b write 512 512\n";
    assert_int_equal(fio_parse(text, &log, NULL), 0);
    assert_int_equal(log.n_files, 2);
    assert_int_equal(log.entries[1].file, 1);
    assert_int_equal(log.entries[1].msec, 9);
    struct program p = {.n_ops = 0};
    fio_program(&log, 1, &p);
    assert_int_equal(p.n_ops, 1);
    program_free(&p);
    fio_free(&log);
}

static void test_fio_bad(void **state)
{
    static const char *const bad[] = {
        "",
        "fio version 1 iolog\n",
        "fio version 4 iolog\n",
        "fio version 2 iolog\na write 0 512\n",
        "fio version 2 iolog\na add\na write 0\n",
        "fio version 2 iolog\na add\na write -1 512\n",
        "fio version 2 iolog\na add\na jump 0 512\n",
        "fio version 3 iolog\nx a add\n",
        "fio version 2 iolog\na add\na write 9223372036854775807 512\n",
    };
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct fio_log log;
        struct error *err = NULL;
        assert_int_equal(fio_parse(bad[i], &log, &err), -EINVAL);
        assert_non_null(err);
        error_free(err);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_program_round_trip), cmocka_unit_test(test_bad_operations),
        cmocka_unit_test(test_sizes_and_comments), cmocka_unit_test(test_fio_version_2),
        cmocka_unit_test(test_fio_version_3),      cmocka_unit_test(test_fio_bad),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
