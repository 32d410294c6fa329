/*
 * Fault plans: what matches, when it is due, counters, and the text form.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <string.h>
#include "fault/verdict.h"
#include "ref/base/mem.h"

static struct fault_verdict ask(struct fault_plan *p, enum label label, enum fault_iotype io,
                                int64_t at, int64_t n, const char *tag)
{
    return fault_plan_decide(p, &(struct fault_event){label, {io, at, n, tag}});
}

static enum fault_kind write_kind(struct fault_plan *p, int64_t at)
{
    return ask(p, LABEL_WRITE_AIO, FAULT_IO_WRITE, at, 512, NULL).kind;
}

static void parse(struct fault_plan *p, const char *text)
{
    struct error *err = NULL;
    fault_plan_init(p);
    assert_int_equal(fault_plan_parse(p, text, &err), 0);
}

static void test_nth_and_sticky(void **state)
{
    struct fault_plan p;

    parse(&p, "error,errno=28,label=write_aio,nth=2");
    assert_int_equal(write_kind(&p, 0), FAULT_NONE);
    struct fault_verdict v = ask(&p, LABEL_WRITE_AIO, FAULT_IO_WRITE, 0, 512, NULL);
    assert_int_equal(v.kind, FAULT_ERROR);
    assert_int_equal(v.error, 28);
    assert_int_equal(v.entry, 0);
    assert_int_equal(write_kind(&p, 0), FAULT_NONE);
    assert_int_equal(p.entries[0].seen, 3);
    assert_int_equal(p.entries[0].fired, 1);
    fault_plan_reset(&p);
    assert_int_equal(write_kind(&p, 0), FAULT_NONE);
    assert_int_equal(write_kind(&p, 0), FAULT_ERROR);
    fault_plan_destroy(&p);

    parse(&p, "lost,nth=2,sticky");
    assert_int_equal(write_kind(&p, 0), FAULT_NONE);
    assert_int_equal(write_kind(&p, 0), FAULT_LOST);
    assert_int_equal(write_kind(&p, 0), FAULT_LOST);
    fault_plan_destroy(&p);
}

static void test_range_and_tag(void **state)
{
    struct fault_plan p;

    parse(&p, "error,range=4k-8k,sticky");
    assert_int_equal(write_kind(&p, 4096 - 512), FAULT_NONE);
    assert_int_equal(write_kind(&p, 4096 - 511), FAULT_ERROR);
    assert_int_equal(write_kind(&p, 8191), FAULT_ERROR);
    assert_int_equal(write_kind(&p, 8192), FAULT_NONE);
    assert_int_equal(ask(&p, LABEL_FLUSH_TO_DISK, FAULT_IO_FLUSH, 0, 0, NULL).kind, FAULT_NONE);
    fault_plan_destroy(&p);

    parse(&p, "error,tag=A/*,sticky");
    assert_int_equal(write_kind(&p, 0), FAULT_NONE);
    assert_int_equal(ask(&p, LABEL_NONE, FAULT_IO_READ, 0, 1, "B/x").kind, FAULT_NONE);
    assert_int_equal(ask(&p, LABEL_NONE, FAULT_IO_READ, 0, 1, "A/x").kind, FAULT_ERROR);
    fault_plan_destroy(&p);
}

static void test_kinds_go_with_operations(void **state)
{
    struct fault_plan p;
    struct error *err = NULL;

    parse(&p, "stale,sticky;torn:512,sticky;misdirected:-512,sticky");
    assert_int_equal(ask(&p, LABEL_NONE, FAULT_IO_READ, 0, 1, NULL).kind, FAULT_STALE);
    struct fault_verdict v = ask(&p, LABEL_NONE, FAULT_IO_WRITE, 0, 1, NULL);
    assert_int_equal(v.kind, FAULT_TORN);
    assert_int_equal(v.arg, 512);
    assert_int_equal(p.entries[2].seen, 2); /* counted, though another entry decided */
    assert_int_equal(p.entries[2].fired, 0);
    assert_int_equal(ask(&p, LABEL_NONE, FAULT_IO_FLUSH, 0, 0, NULL).kind, FAULT_NONE);
    fault_plan_destroy(&p);
    assert_int_equal(fault_plan_parse(&p, "stale,io=write", &err), -EINVAL);
    error_clear(&err);
}

static void test_coverage(void **state)
{
    struct fault_plan p;
    struct strbuf b = STRBUF_INIT;

    parse(&p, "error,label=l2_update");
    write_kind(&p, 0);
    write_kind(&p, 0);
    ask(&p, LABEL_L2_UPDATE, FAULT_IO_WRITE, 0, 8, NULL);
    ask(&p, LABEL_HEADER_UPDATE, FAULT_IO_WRITE, 0, 8, NULL);
    fault_plan_coverage(&p, &b);
    assert_string_equal(b.s, "l2_update 1 1\nwrite_aio 2 0\nheader_update 1 0\n");
    strbuf_free(&b);
    fault_plan_destroy(&p);
}

static void test_text_round_trip(void **state)
{
    static const char *const t[] = {
        "error",
        "error,errno=28,label=l2_update,io=read+flush,tag=A*,range=0-512,nth=3,sticky",
        "short:100;torn:512,label=header_update;lost,io=flush;stale;misdirected:-4096;delayed:5;"
        "hung,sticky",
        "error,io=block-status",
    };
    for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
        struct fault_plan p;
        struct strbuf b = STRBUF_INIT;
        parse(&p, t[i]);
        fault_plan_print(&p, &b);
        assert_string_equal(b.s, t[i]);
        strbuf_free(&b);
        fault_plan_destroy(&p);
    }
}

static void test_bad_texts(void **state)
{
    static const char *const t[] = {
        "none",
        "foo",
        "error:x",
        "error,errno=0",
        "error,errno=99999",
        "error,nth=0",
        "error,label=foo",
        "error,io=foo",
        "error,range=5",
        "error,range=8-4",
        "error,range=4-4",
        "error,foo=1",
        "error,foo",
        "error;bad",
        ",",
    };
    for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
        struct fault_plan p;
        struct error *err = NULL;
        fault_plan_init(&p);
        assert_int_equal(fault_plan_parse(&p, t[i], &err), -EINVAL);
        assert_non_null(err);
        error_free(err);
        fault_plan_destroy(&p);
    }
}

static void test_nomem(void **state)
{
    struct fault_plan p;
    struct strbuf text = STRBUF_INIT;
    fault_plan_init(&p);
    assert_int_equal(fault_plan_parse(&p, "nomem,nth=2;nomem,nth=5,sticky", NULL), 0);
    assert_int_equal(p.entries[0].error, ENOMEM);
    static const bool fails[] = {false, true, false, false, true, true};
    for (size_t i = 0; i < ARRAY_SIZE(fails); i++) {
        assert_int_equal(fault_plan_nomem(&p), fails[i]);
    }
    assert_int_equal(p.allocations, 6);
    assert_int_equal(p.fired[LABEL_NONE], 3);
    /* No I/O is touched. */
    struct fault_event ev = {.label = LABEL_NONE, .req = {.iotype = FAULT_IO_READ, .bytes = 512}};
    assert_int_equal(fault_plan_decide(&p, &ev).kind, FAULT_NONE);
    fault_plan_print(&p, &text);
    assert_string_equal(text.s, "nomem,nth=2;nomem,nth=5,sticky");
    strbuf_free(&text);
    fault_plan_destroy(&p);
}

/* Sectors are whole, bytes are bytes. */
static void test_parts(void **state)
{
    assert_int_equal(fault_part(512, 0, 4096), 512);
    assert_int_equal(fault_part(512, 549, 700), 475);
    assert_int_equal(fault_part(512, 511, 4096), 1);
    assert_int_equal(fault_part(100, 549, 700), 100);
    assert_int_equal(fault_part(4096, 0, 4096), 4096);
    assert_int_equal(fault_part(8192, 0, 4096), 4096);
    assert_int_equal(fault_part(0, 0, 4096), 0);
    assert_int_equal(fault_part(-512, 0, 4096), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nth_and_sticky),
        cmocka_unit_test(test_range_and_tag),
        cmocka_unit_test(test_kinds_go_with_operations),
        cmocka_unit_test(test_coverage),
        cmocka_unit_test(test_text_round_trip),
        cmocka_unit_test(test_bad_texts),
        cmocka_unit_test(test_nomem),
        cmocka_unit_test(test_parts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
