/*
 * Time lines: what happened in a run stands in them, once, at the right time.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness/explore/timeline.h"
#include "ref/base/mem.h"
#include "ref/engine/world.h"

static char *drawn(const char *text, struct timeline_run how, enum planted planted)
{
    struct process *process = process_new();
    struct sandbox *sb = sandbox_new(process, &profile_reference, planted);
    struct strbuf out = STRBUF_INIT;
    struct program p;
    assert_int_equal(program_parse(text, &p, NULL), 0);
    timeline_run(sb, &p, &how, &out);
    program_free(&p);
    sandbox_free(sb);
    process_free(process);
    return strbuf_take(&out);
}

static unsigned count(const char *text, const char *what)
{
    unsigned n = 0;
    while ((text = strstr(text, what))) {
        n++;
        text += strlen(what);
    }
    return n;
}

/* The two numbers behind `head` in the first line that begins so. */
static void span(const char *text, const char *head, unsigned long long *from,
                 unsigned long long *to)
{
    const char *at = strstr(text, head);
    assert_non_null(at);
    assert_int_equal(sscanf(at + strlen(head), " %llu %llu", from, to), 2);
}

static const char two_writes[] =
    "image qcow2 1M cluster_size=4k\nwrite 0 8k 17\nflush\nwrite 512 4k 34\n";

static void test_undisturbed(void **state)
{
    unsigned long long from, to, next;
    char *t = drawn(two_writes, (struct timeline_run){0}, PLANT_NONE);
    assert_int_equal(count(t, "# timeline: op "), 3);
    span(t, "# timeline: op", &from, &to);
    assert_true(from == 1 && to > from);
    span(strstr(t, "0 8192 17\n"), "# timeline: op", &from, &next);
    assert_true(from == to);
    assert_true(count(t, "# timeline: host ") > 5);
    assert_int_equal(count(t, "# timeline: host 0 1 2 "), 1);
    assert_int_equal(count(t, " write_aio ok\n"), 2);
    assert_true(count(t, " flush_to_disk done\n") > 1);
    assert_null(strstr(t, "cut"));
    assert_null(strstr(t, "fault"));
    assert_null(strstr(t, "# timeline: ran"));
    assert_string_equal(strstr(t, "# map fresh"),
                        "# map fresh 0 1048576 zero\n# map end 0 8192 data\n"
                        "# map end 8192 1040384 zero\n");
    mem_free(t);
}

static void test_a_fault(void **state)
{
    /* A read that the log of changes knows nothing of, and a write that it does. */
    char *t = drawn("image qcow2 1M\nwrite 0 64k 1\nreopen\nread 0 64k\nflush\n",
                    (struct timeline_run){.fault = "error,label=read_aio"}, PLANT_NONE);
    assert_int_equal(count(t, "# timeline: fault "), 1);
    assert_non_null(strstr(t, " error 5 read 327680 65536 read_aio\n"));
    assert_non_null(strstr(t, "# timeline: ended 2 Input/output error\n"));
    mem_free(t);
    t = drawn(two_writes, (struct timeline_run){.fault = "error,label=l2_update,errno=28,sticky"},
              PLANT_NONE);
    unsigned long long at, began, ended;
    assert_true(count(t, "# timeline: fault ") >= 2);
    assert_int_equal(
        sscanf(strstr(t, "# timeline: fault "), "# timeline: fault %llu error 28", &at), 1);
    span(t, "# timeline: op", &began, &ended);
    assert_true(began <= at && at <= ended);
    assert_non_null(strstr(t, "# timeline: ended 0 No space left on device\n"));
    assert_non_null(strstr(t, "# map whole 0 8192 data\n"));
    assert_non_null(strstr(t, "# map end 0 1048576 zero\n"));
    mem_free(t);
    t = drawn(two_writes, (struct timeline_run){.fault = "nomem"}, PLANT_NONE);
    assert_non_null(strstr(t, " nomem 0 allocation 0 0 none\n"));
    mem_free(t);
}

static void test_a_cut(void **state)
{
    char *t = drawn(two_writes, (struct timeline_run){.state = "c15!"}, PLANT_NONE);
    assert_non_null(strstr(t, "# timeline: cut 15\n"));
    assert_true(count(t, " absent\n") > 0);
    assert_true(count(t, "# timeline: host ") == 7);
    assert_non_null(strstr(t, "# map uncut 0 8192 data\n"));
    assert_non_null(strstr(t, "# map left "));
    mem_free(t);
    /* Of a repair that was cut: the state that was repaired. */
    char *inner = drawn(two_writes, (struct timeline_run){.state = "c15!/c4"}, PLANT_NONE);
    t = drawn(two_writes, (struct timeline_run){.state = "c15!"}, PLANT_NONE);
    assert_string_equal(inner, t);
    mem_free(inner);
    mem_free(t);
    /* Both: the fault, and the cut. */
    t = drawn(two_writes, (struct timeline_run){.state = "c9", .fault = "error,label=l2_update"},
              PLANT_NONE);
    assert_non_null(strstr(t, "# timeline: cut 9\n"));
    assert_non_null(strstr(t, "# timeline: fault "));
    mem_free(t);
}

/* The second one is preferred at its first chance: the first one's turn comes again later. */
static void test_a_schedule(void **state)
{
    static const char text[] = "image qcow2 256k cluster_size=4k\nwrite 0 4k 1\n"
                               "write 8k 4k 2 || write 16k 4k 3\n";
    unsigned long long from[2], to[2], began, ended;
    char *t = drawn(text, (struct timeline_run){.schedule = "-"}, PLANT_NONE);
    assert_int_equal(count(t, "# timeline: ran 0 "), 1);
    assert_true(count(t, "# timeline: ran 1 ") >= 1);
    assert_true(count(t, "# timeline: ran 2 ") >= 1);
    span(t, "# timeline: ran 1", &from[0], &to[0]);
    span(t, "# timeline: ran 2", &from[1], &to[1]);
    assert_true(to[0] <= from[1]);
    span(strstr(t, " 4096 1\n"), "# timeline: op", &began, &ended);
    assert_true(began == from[0] && to[0] <= ended);
    mem_free(t);
    t = drawn(text, (struct timeline_run){.schedule = "2:0"}, PLANT_NONE);
    assert_int_equal(count(t, "# timeline: ran 1 "), 2);
    assert_int_equal(count(t, "# timeline: ran 2 "), 1);
    span(t, "# timeline: ran 2", &from[1], &to[1]);
    span(strstr(t, " 4096 1\n"), "# timeline: op", &began, &ended);
    assert_true(began < from[1] && to[1] < ended);
    mem_free(t);
}

/* In a child: what hangs is never freed.  It ends as another program, so that nobody (valgrind)
 * takes that for leaks. */
static void test_a_deadlock(void **state)
{
    static const char text[] = "image qcow2 256k\nwrite 0 16 1\nwrite 0 8 3 || write 0 16 4\n";
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        char *t = drawn(text, (struct timeline_run){.schedule = "2:0"}, PLANT_DEADLOCK);
        unsigned long long began = 0, ended = 1;
        span(strstr(t, " 0 16 1\n"), "# timeline: op", &began, &ended);
        execlp("sh", "sh", "-c", began > 0 && ended == 0 ? "exit 0" : "exit 1", NULL);
        _exit(1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static void test_start(void **state)
{
    assert_int_equal(timeline_start("image raw 1M\nflush\n# timeline: op 1 2 flush\n"), 19);
    assert_int_equal(timeline_start("image raw 1M\nflush\n"), 19);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_undisturbed), cmocka_unit_test(test_a_fault),
        cmocka_unit_test(test_a_cut),       cmocka_unit_test(test_a_schedule),
        cmocka_unit_test(test_a_deadlock),  cmocka_unit_test(test_start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
