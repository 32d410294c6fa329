/*
 * Scratch folders.  See scratch.h.
 */
#include "harness/outside/scratch.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "ref/base/mem.h"

char *scratch_new(const char *otherwise)
{
    const char *places[] = {"/dev/shm", otherwise};
    for (int i = 0; i < 2; i++) {
        char *dir = str_fmt("%s/blkref.XXXXXX", places[i]);
        if (mkdtemp(dir)) {
            return dir;
        }
        mem_free(dir);
    }
    return NULL;
}

static void remove_folder(const char *dir)
{
    DIR *d = opendir(dir);
    struct dirent *e;
    while (d && (e = readdir(d))) {
        char *name = str_fmt("%s/%s", dir, e->d_name);
        if (strcmp(e->d_name, ".") && strcmp(e->d_name, "..") && unlink(name) < 0) {
            remove_folder(name);
        }
        mem_free(name);
    }
    if (d) {
        closedir(d);
    }
    rmdir(dir);
}

void scratch_remove(char *dir)
{
    if (dir) {
        remove_folder(dir);
    }
    mem_free(dir);
}
