/*
 * What is preloaded into programs under test: the environment that does it, and the CPU clock.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "harness/subject/pipe.h"
#include "harness/subject/preload.h"
#include "harness/subject/subject.h"
#include "ref/base/mem.h"

static const char *variable(char **env, const char *name)
{
    for (size_t i = 0; env[i]; i++) {
        size_t len = strlen(name);
        if (!strncmp(env[i], name, len) && env[i][len] == '=') {
            return env[i] + len + 1;
        }
    }
    return NULL;
}

static void test_environment(void **state)
{
    const char *mine = getenv("LD_PRELOAD");
    char *old = mine ? str_dup(mine) : NULL;
    unsetenv("LD_PRELOAD");
    setenv("BLKREF_TEST_KEPT", "1", 1);
    char **env = preload_environment("/a.so", "BLKREF_TEST_MORE=2");
    assert_string_equal(variable(env, "LD_PRELOAD"), "/a.so");
    assert_string_equal(variable(env, "BLKREF_TEST_KEPT"), "1");
    assert_string_equal(variable(env, "BLKREF_TEST_MORE"), "2");
    preload_environment_free(env);

    setenv("LD_PRELOAD", "/b.so", 1);
    env = preload_environment("/a.so", NULL);
    assert_string_equal(variable(env, "LD_PRELOAD"), "/a.so:/b.so");
    preload_environment_free(env);
    env = preload_environment(NULL, NULL);
    assert_string_equal(variable(env, "LD_PRELOAD"), "/b.so");
    preload_environment_free(env);
    preload_environment_free(NULL);
    unsetenv("LD_PRELOAD");
    if (old) {
        setenv("LD_PRELOAD", old, 1);
    }
    mem_free(old);
}

static void test_libraries_are_found(void **state)
{
    char *clock = preload_library("clock"), *forks = preload_library("forkserver");
    assert_non_null(clock);
    assert_non_null(forks);
    assert_null(preload_library("no-such"));
    mem_free(clock);
    mem_free(forks);
}

/* A second of CPU time with each question of a thread; the process's is the host's. */
static void test_clock(void **state)
{
    struct rusage a, b, host;
    char *name = preload_library("clock");
    void *lib = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    assert_non_null(lib);
    int (*clock)(int who, struct rusage *usage) =
        (int (*)(int, struct rusage *))dlsym(lib, "getrusage");
    assert_non_null(clock);
    assert_int_equal(clock(RUSAGE_THREAD, &a), 0);
    assert_int_equal(clock(RUSAGE_THREAD, &b), 0);
    assert_int_equal(b.ru_utime.tv_sec - a.ru_utime.tv_sec, 1);
    assert_int_equal(a.ru_utime.tv_usec + a.ru_stime.tv_sec + a.ru_stime.tv_usec, 0);
    assert_int_equal(clock(RUSAGE_SELF, &a), 0);
    assert_int_equal(getrusage(RUSAGE_SELF, &host), 0);
    assert_true(a.ru_maxrss > 0 && a.ru_maxrss <= host.ru_maxrss);
    dlclose(lib);
    mem_free(name);
}

/* "ITERS MASTER-ITERS" of a volume that the subject makes. */
static char *iterations(struct subject *s)
{
    struct program p;
    struct strbuf text = STRBUF_INIT;
    char *file = str_fmt("%s/layer0.img", s->dir), numbers[2][32] = {"", ""};
    char *argv[] = {"qemu-img", "info", "-f", "luks", file, NULL};
    assert_int_equal(program_parse("image luks 1M\n", &p, NULL), 0);
    assert_int_equal(s->ops->create(s, &p, NULL), 0);
    s->ops->close(s);
    assert_int_equal(pipe_run(NULL, argv, NULL, &text), 0);
    const char *slot = strstr(text.s, " iters: "), *master = strstr(text.s, "master key iters: ");
    assert_non_null(slot);
    assert_non_null(master);
    snprintf(numbers[0], 32, "%s", slot + 8);
    snprintf(numbers[1], 32, "%s", master + 18);
    numbers[0][strcspn(numbers[0], "\n")] = numbers[1][strcspn(numbers[1], "\n")] = 0;
    strbuf_free(&text);
    mem_free(file);
    program_free(&p);
    return str_fmt("%s %s", numbers[0], numbers[1]);
}

/* Few rounds fit into the hundredth of a second asked for: the least that LUKS allows. */
static void test_derivations_are_cheap(void **state)
{
    char dir[] = "/tmp/preload.XXXXXX";
    assert_non_null(mkdtemp(dir));
    struct subject *s = subject_qemu_new("qemu", NULL, dir, NULL);
    if (s) {
        char *got = iterations(s);
        assert_string_equal(got, "1000 1000");
        mem_free(got);
        subject_free(s);
    }
    char *command = str_fmt("rm -rf %s", dir);
    assert_int_equal(system(command), 0);
    mem_free(command);
    if (!s) {
        skip();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_environment),
        cmocka_unit_test(test_libraries_are_found),
        cmocka_unit_test(test_clock),
        cmocka_unit_test(test_derivations_are_cheap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
