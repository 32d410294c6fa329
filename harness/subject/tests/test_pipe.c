/*
 * Child processes behind pipes: answers, ends, and what counts as hung.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <signal.h>

#include "harness/subject/pipe.h"
#include "ref/base/mem.h"

static void start(struct pipe *p, const char *script)
{
    char *argv[] = {"sh", "-c", (char *)script, NULL};
    assert_int_equal(pipe_start(p, argv, NULL), 0);
}

static void test_sessions(void **state)
{
    struct pipe p;
    start(&p, "printf '> '; while read a; do printf \"$a!> \"; done; exit 3");
    assert_int_equal(pipe_answer(&p, "> "), 0);
    assert_string_equal(p.answer.s, "");
    assert_int_equal(pipe_send(&p, "one\n"), 0);
    assert_int_equal(pipe_answer(&p, "> "), 0);
    assert_string_equal(p.answer.s, "one!");
    assert_int_equal(pipe_finish(&p), 3);
    strbuf_free(&p.answer);
}

static void test_environment(void **state)
{
    char *argv[] = {"sh", "-c", "echo $A", NULL}, *env[] = {"A=b", NULL};
    struct strbuf out = STRBUF_INIT;
    assert_int_equal(pipe_run(argv, env, &out), 0);
    assert_string_equal(out.s, "b\n");
    strbuf_free(&out);
}

static void test_ends(void **state)
{
    struct pipe p;
    start(&p, "echo no prompt");
    assert_int_equal(pipe_answer(&p, "> "), -EPIPE);
    assert_string_equal(p.answer.s, "no prompt\n");
    pipe_kill(&p);
    char *argv[] = {"/no/such/program", NULL};
    assert_int_equal(pipe_run(argv, NULL, NULL), -ENOENT);
}

/* Waits for input that never comes. */
static void test_hung(void **state)
{
    struct pipe p;
    start(&p, "read a");
    p.limit_ms = 50;
    assert_int_equal(pipe_answer(&p, "> "), -ETIMEDOUT);
    pipe_kill(&p);
}

/* Says nothing for several times the limit, but computes. */
static void test_slow_is_not_hung(void **state)
{
    struct pipe p;
    start(&p, "i=0; while [ $i -lt 600000 ]; do i=$((i + 1)); done; printf 'done> '");
    p.limit_ms = 250;
    assert_int_equal(pipe_answer(&p, "> "), 0);
    assert_string_equal(p.answer.s, "done");
    pipe_kill(&p);
}

static void test_endless(void **state)
{
    struct pipe p;
    start(&p, "while :; do :; done");
    p.limit_ms = 50;
    p.limit_cpu_ms = 100;
    assert_int_equal(pipe_answer(&p, "> "), -ETIMEDOUT);
    pipe_kill(&p);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sessions), cmocka_unit_test(test_environment),
        cmocka_unit_test(test_ends),     cmocka_unit_test(test_hung),
        cmocka_unit_test(test_endless),  cmocka_unit_test(test_slow_is_not_hung),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
