/*
 * Finding the preloaded libraries, and the environment that loads them.  See preload.h.
 */
#include "harness/subject/preload.h"

#include <string.h>
#include <unistd.h>
#include "ref/base/mem.h"

#define UP       5 /* folders above the program in which lib/ is looked for */
#define VARIABLE "LD_PRELOAD="

char *preload_library(const char *name)
{
    char self[4096];
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    self[MAX(n, 0)] = 0;
    for (int i = 0; i < UP; i++) {
        char *slash = strrchr(self, '/');
        if (!slash) {
            break;
        }
        *slash = 0;
        char *lib = str_fmt("%s/lib/blkref-%s.so", self, name);
        if (access(lib, R_OK) == 0) {
            return lib;
        }
        mem_free(lib);
    }
    return NULL;
}

char **preload_environment(const char *lib, const char *more)
{
    const char *loaded = "";
    size_t n = 0, count = 0;
    while (environ[n]) {
        n++;
    }
    char **env = mem_array(n + 3, sizeof(*env));
    for (size_t i = 0; i < n; i++) {
        if (lib && !strncmp(environ[i], VARIABLE, strlen(VARIABLE))) {
            loaded = environ[i] + strlen(VARIABLE);
        } else {
            env[count++] = str_dup(environ[i]);
        }
    }
    if (lib) {
        env[count++] = str_fmt(VARIABLE "%s%s%s", lib, *loaded ? ":" : "", loaded);
    }
    if (more) {
        env[count++] = str_dup(more);
    }
    env[count] = NULL;
    return env;
}

void preload_environment_free(char **env)
{
    for (size_t i = 0; env && env[i]; i++) {
        mem_free(env[i]);
    }
    mem_free(env);
}
