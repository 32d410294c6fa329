/*
 * Listing a directory of the host.
 *
 * Models: names sorted by their bytes, so that a run does not depend on the order in which the host
 * keeps them, and stat() of each.  Memory is bounded by the number of names that the caller takes.
 */
#include "ref/engine/host_dir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>
#include "ref/base/mem.h"
#include "ref/engine/host.h"

struct list_call {
    const char *path;
    size_t most, room;
    struct host_dir *dir;
};

static int by_bytes(const void *a, const void *b)
{
    return strcmp(((const struct host_name *)a)->name, ((const struct host_name *)b)->name);
}

static int add_name(struct list_call *c, int fd, const char *name)
{
    struct host_dir *d = c->dir;
    if (d->count == c->most) {
        return -EOVERFLOW;
    }
    if (d->count == c->room) {
        size_t room = c->room ? c->room * 2 : 16;
        struct host_name *p = mem_try_realloc(d->names, room * sizeof(*p));
        if (!p) {
            return -ENOMEM;
        }
        d->names = p;
        c->room = room;
    }
    struct host_name *n = &d->names[d->count++];
    *n = (struct host_name){.name = str_dup(name)};
    n->error = fstatat(fd, name, &n->st, 0) < 0 ? -errno : 0;
    return 0;
}

static int read_names(struct list_call *c, DIR *dir)
{
    for (;;) {
        errno = 0;
        const struct dirent *e = readdir(dir);
        if (!e) {
            return -errno;
        }
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..")) {
            continue;
        }
        int ret = add_name(c, dirfd(dir), e->d_name);
        if (ret < 0) {
            return ret;
        }
    }
}

static int list_call(void *arg)
{
    struct list_call *c = arg;
    int fd = open(c->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (!dir) {
        int error = errno;
        if (fd >= 0) {
            close(fd);
        }
        return -error;
    }
    int ret =
        fstat(fd, &c->dir->self) < 0 || fstatat(fd, "..", &c->dir->parent, 0) < 0 ? -errno : 0;
    ret = ret < 0 ? ret : read_names(c, dir);
    closedir(dir);
    if (ret == 0 && c->dir->count) {
        qsort(c->dir->names, c->dir->count, sizeof(*c->dir->names), by_bytes);
    }
    return ret;
}

int host_list_dir(struct world *w, const char *path, size_t most, struct host_dir **out)
{
    struct list_call c = {.path = path, .most = most, .dir = mem_zalloc(sizeof(*c.dir))};
    int ret = host_call(w, list_call, &c);
    if (ret < 0) {
        host_dir_free(c.dir);
        return ret;
    }
    *out = c.dir;
    return 0;
}

void host_dir_free(struct host_dir *d)
{
    for (size_t i = 0; d && i < d->count; i++) {
        mem_free(d->names[i].name);
    }
    if (d) {
        mem_free(d->names);
    }
    mem_free(d);
}
