/*
 * `blkref iotests` and `blkref mutants`: hand over to scripts, iotests/runner.py and
 * harness/mutants.py.
 *
 * A script is looked for beside the program: in the tree it was built in, or where `make install`
 * put it.
 */
#include "harness/cli/cli.h"

#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Relative to the program's folder: build/bin, build/CONFIG/bin, PREFIX/bin. */
static const char *const places[] = {
    "../..",
    "../../..",
    "../share/blkref",
};

static bool find_script(const char *name, char *script, size_t size, char *build, size_t build_size)
{
    char self[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    if (n < 0) {
        return false;
    }
    self[n] = '\0';
    char *slash = strrchr(self, '/');
    *slash = '\0';
    snprintf(build, build_size, "%s/..", self);
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        int length = snprintf(script, size, "%s/%s/%s", self, places[i], name);
        if (length > 0 && (size_t)length < size && access(script, R_OK) == 0) {
            return true;
        }
    }
    return false;
}

static int run_script(const char *name, int argc, char **argv)
{
    char script[2 * PATH_MAX], build[2 * PATH_MAX];
    if (!find_script(name, script, sizeof(script), build, sizeof(build))) {
        fprintf(stderr, "blkref: %s is not where it was built or installed\n", name);
        return 1;
    }
    char **args = calloc((size_t)argc + 2, sizeof(*args));
    if (!args) {
        fprintf(stderr, "blkref: out of memory\n");
        return 1;
    }
    args[0] = (char *)"/usr/bin/python3";
    args[1] = script;
    for (int i = 1; i < argc; i++) {
        args[i + 1] = argv[i];
    }
    setenv("BLKREF_BUILD", build, 0);
    fflush(NULL);
    execv(args[0], args);
    perror("blkref: /usr/bin/python3");
    free(args);
    return 1;
}

int iotests_main(int argc, char **argv)
{
    return run_script("iotests/runner.py", argc, argv);
}

/* Needs the tree it was built in: patches, sources and objects. */
int mutants_main(int argc, char **argv)
{
    return run_script("harness/mutants.py", argc, argv);
}
