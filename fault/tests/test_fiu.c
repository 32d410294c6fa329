/*
 * libfiu as a source: off without it, switched by fiu-run before and by fiu-ctrl while a program
 * runs. The program under fiu-run is this one, started again with an argument: it answers each line
 * "LABEL" on standard input with a line "ERRNO".
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "fault/fiu.h"

/* -x puts libfiu's own malloc and read before the program's, which AddressSanitizer cannot live
 * with. */
#ifdef __SANITIZE_ADDRESS__
#define POSIX_PRELOAD
#else
#define POSIX_PRELOAD "-x",
#endif

static int child_main(void)
{
    struct fault_fiu f = {0};
    char line[128];

    printf("%d %d\n", (int)getpid(), fault_fiu_install(&f, false));
    fflush(stdout);
    while (fgets(line, sizeof(line), stdin)) {
        line[strcspn(line, "\n")] = '\0';
        printf("%d\n", fault_fiu_decide(&f, label_parse(line)));
        fflush(stdout);
    }
    fault_fiu_uninstall(&f);
    return 0;
}

struct child {
    pid_t pid;
    FILE *to, *from;
    int under; /* pid of the program, as it says */
    int active;
};

static char self[4096], prefix[64];

static void start(struct child *c, const char *command)
{
    int in[2], out[2];

    assert_int_equal(pipe(in) | pipe(out), 0);
    c->pid = fork();
    if (c->pid == 0) {
        dup2(in[0], 0);
        dup2(out[1], 1);
        close(in[1]);
        close(out[0]);
#ifdef __SANITIZE_ADDRESS__
        setenv("ASAN_OPTIONS", "verify_asan_link_order=0:detect_leaks=0", 1);
#endif
        if (command) {
            execlp("fiu-run", "fiu-run", POSIX_PRELOAD "-f", prefix, "-c", command, self, "child",
                   NULL);
        } else {
            execl(self, self, "child", NULL);
        }
        _exit(127);
    }
    close(in[0]);
    close(out[1]);
    c->to = fdopen(in[1], "w");
    c->from = fdopen(out[0], "r");
    assert_int_equal(fscanf(c->from, "%d %d", &c->under, &c->active), 2);
}

static int ask(struct child *c, const char *label)
{
    int error = -1;
    fprintf(c->to, "%s\n", label);
    fflush(c->to);
    assert_int_equal(fscanf(c->from, "%d", &error), 1);
    return error;
}

static void finish(struct child *c)
{
    int status;
    fclose(c->to);
    fclose(c->from);
    waitpid(c->pid, &status, 0);
    assert_int_equal(status, 0);
}

static void control(struct child *c, const char *command)
{
    char text[512];
    snprintf(text, sizeof(text), "fiu-ctrl -f %s -c '%s' %d", prefix, command, c->under);
    assert_int_equal(system(text), 0);
}

static void need_tools(void)
{
    if (system("command -v fiu-run >/dev/null && command -v fiu-ctrl >/dev/null") != 0) {
        skip();
    }
}

static void test_off_without_libfiu(void **state)
{
    struct child c;
    start(&c, NULL);
    assert_int_equal(c.active, 0);
    assert_int_equal(ask(&c, "write_aio"), 0);
    finish(&c);
}

static void test_fiu_run(void **state)
{
    struct child c;

    need_tools();
    start(&c, "enable name=blkref/io/write_aio,failinfo=28");
    assert_int_equal(c.active, 1);
    assert_int_equal(ask(&c, "write_aio"), ENOSPC);
    assert_int_equal(ask(&c, "read_aio"), 0);
    finish(&c);
    start(&c, "enable name=blkref/io/l2_*");
    assert_int_equal(ask(&c, "l2_update"), EIO);
    assert_int_equal(ask(&c, "l1_update"), 0);
    finish(&c);
}

static void test_fiu_ctrl_in_a_running_program(void **state)
{
    struct child c;

    need_tools();
    start(&c, "enable name=blkref/io/cow_read");
    assert_int_equal(ask(&c, "read_aio"), 0);
    control(&c, "enable name=blkref/io/read_aio,failinfo=5");
    assert_int_equal(ask(&c, "read_aio"), EIO);
    control(&c, "disable name=blkref/io/read_aio");
    assert_int_equal(ask(&c, "read_aio"), 0);
    finish(&c);
}

static void test_load(void **state)
{
    struct fault_fiu f = {0};
    if (!fault_fiu_install(&f, true)) {
        skip();
    }
    assert_int_equal(fault_fiu_decide(&f, LABEL_READ_AIO), 0);
    fault_fiu_uninstall(&f);
    assert_int_equal(fault_fiu_decide(&f, LABEL_READ_AIO), 0);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_off_without_libfiu),
        cmocka_unit_test(test_fiu_run),
        cmocka_unit_test(test_fiu_ctrl_in_a_running_program),
        cmocka_unit_test(test_load),
    };
    if (argc > 1) {
        return child_main();
    }
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    self[n > 0 ? n : 0] = '\0';
    const char *tmp = getenv("TMPDIR");
    snprintf(prefix, sizeof(prefix), "%.30s/blkref-fiu-%d", tmp ? tmp : "/tmp", (int)getpid());
    return cmocka_run_group_tests(tests, NULL, NULL);
}
