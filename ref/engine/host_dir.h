/*
 * Directories of the host: names and what they lead to.
 */
#ifndef BLKREF_ENGINE_HOST_DIR_H
#define BLKREF_ENGINE_HOST_DIR_H

#include <sys/stat.h>
#include "ref/engine/world.h"

struct host_name {
    char *name;
    int error; /* 0, or -errno: nothing is known of what it leads to */
    struct stat st;
};

struct host_dir {
    struct stat self, parent;
    size_t count;
    struct host_name *names; /* in the order of their bytes; without "." and ".." */
};

/*
 * Lists the directory at `path` as one operation (host_call()).  Symbolic links are followed.
 * Returns 0 with *out, for host_dir_free(), or -errno: -EOVERFLOW when it has more than `most`
 * names.
 */
int host_list_dir(struct world *w, const char *path, size_t most, struct host_dir **out);
void host_dir_free(struct host_dir *d); /* NULL is fine */

#endif
