/*
 * Child processes behind pipes: answers, ends, and what counts as hung; children of a fork server.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness/subject/forkserver.h"
#include "harness/subject/pipe.h"
#include "ref/base/mem.h"

static void start(struct pipe *p, const char *script)
{
    char *argv[] = {"sh", "-c", (char *)script, NULL};
    assert_int_equal(pipe_start(p, NULL, argv, NULL), 0);
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
    assert_int_equal(pipe_run(NULL, argv, env, &out), 0);
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
    assert_int_equal(pipe_run(NULL, argv, NULL, NULL), -ENOENT);
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

/* $PPID of a run: the server's for all of them, never ours. */
static void test_forked_runs(void **state)
{
    struct forkserver *s = forkserver_new("sh", NULL);
    struct strbuf out = STRBUF_INIT;
    char *text = NULL;
    for (int i = 0; i < 3; i++) {
        char *argv[] = {"sh", "-c", "echo said $0 >&2; exit 5", i ? "it" : "this", NULL};
        strbuf_reset(&out);
        assert_int_equal(pipe_run(s, argv, NULL, &out), 5);
        assert_string_equal(out.s, i ? "said it\n" : "said this\n");
    }
    char *killed[] = {"sh", "-c", "kill -9 $$", NULL};
    assert_true(pipe_run(s, killed, NULL, NULL) < 0);
    for (int i = 0; i < 2; i++) {
        char *argv[] = {"sh", "-c", "ps -o ppid= $$ || grep PPid /proc/$$/status", NULL};
        strbuf_reset(&out);
        assert_int_equal(pipe_run(s, argv, NULL, &out), 0);
        assert_true(!text || !strcmp(text, out.s));
        text = text ? text : str_dup(out.s);
    }
    char *ours = str_fmt("%d\n", (int)getpid());
    assert_true(forkserver_fast(s));
    assert_null(strstr(text, ours));
    mem_free(ours);
    mem_free(text);
    strbuf_free(&out);
    forkserver_free(s);
}

static void test_forked_sessions(void **state)
{
    char *argv[] = {"sh", "-c", "printf '> '; while read a; do printf \"$a!> \"; done; exit 3",
                    NULL};
    struct forkserver *s = forkserver_new("sh", NULL);
    struct pipe p;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(pipe_start(&p, s, argv, NULL), 0);
        assert_ptr_equal(p.server, s);
        assert_int_equal(pipe_answer(&p, "> "), 0);
        assert_int_equal(pipe_send(&p, "one\n"), 0);
        p.limit_ms = 50;
        if (i == 1) { /* hangs, is killed */
            assert_int_equal(pipe_answer(&p, "never"), -ETIMEDOUT);
            pipe_kill(&p);
        } else {
            p.limit_ms = PIPE_LIMIT_MS;
            assert_int_equal(pipe_answer(&p, "> "), 0);
            assert_string_equal(p.answer.s, "one!");
            assert_int_equal(pipe_finish(&p), 3);
        }
        strbuf_free(&p.answer);
    }
    forkserver_free(s);
}

/* A fork of its owner, and one whose server is gone, start the program themselves. */
static void test_without_a_server(void **state)
{
    char *argv[] = {"sh", "-c", "echo here", NULL}, *end[] = {"sh", "-c", "kill -9 $PPID", NULL};
    struct forkserver *s = forkserver_new("sh", NULL), *none = forkserver_new("/no/such", NULL);
    struct strbuf out = STRBUF_INIT;
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        bool ok =
            !forkserver_fast(s) && pipe_run(s, argv, NULL, &out) == 0 && !strcmp(out.s, "here\n");
        forkserver_free(s);
        _exit(ok ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_true(forkserver_fast(s));
    assert_false(forkserver_fast(none));
    assert_true(pipe_run(s, end, NULL, NULL) < 0);
    for (int i = 0; i < 2; i++) {
        strbuf_reset(&out);
        assert_int_equal(pipe_run(i ? none : s, argv, NULL, &out), 0);
        assert_string_equal(out.s, "here\n");
    }
    assert_false(forkserver_fast(s));
    strbuf_free(&out);
    forkserver_free(s);
    forkserver_free(none);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sessions),
        cmocka_unit_test(test_environment),
        cmocka_unit_test(test_ends),
        cmocka_unit_test(test_hung),
        cmocka_unit_test(test_endless),
        cmocka_unit_test(test_slow_is_not_hung),
        cmocka_unit_test(test_forked_runs),
        cmocka_unit_test(test_forked_sessions),
        cmocka_unit_test(test_without_a_server),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
