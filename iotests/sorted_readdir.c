/*
 * For LD_PRELOAD: readdir() of a program built for 64-bit offsets gives names in the order of their
 * bytes.  QEMU's vvfat takes the host's order; with this its disks can be compared with ours.
 * Leaves out: rewinding, seeking, and more than one pass of a directory.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

struct sorted {
    DIR *dir;
    struct dirent *names;
    size_t count, next;
    struct sorted *older;
};

static struct sorted *all;

static int by_bytes(const void *a, const void *b)
{
    return strcmp(((const struct dirent *)a)->d_name, ((const struct dirent *)b)->d_name);
}

static struct sorted *read_all(DIR *dir)
{
    struct dirent *(*real)(DIR *) = dlsym(RTLD_NEXT, "readdir64");
    struct sorted *s = calloc(1, sizeof(*s));
    const struct dirent *e;
    while ((e = real(dir))) {
        s->names = realloc(s->names, (s->count + 1) * sizeof(*s->names));
        memcpy(&s->names[s->count++], e, e->d_reclen);
    }
    qsort(s->names, s->count, sizeof(*s->names), by_bytes);
    s->dir = dir;
    s->older = all;
    return all = s;
}

struct dirent *readdir64_sorted(DIR *dir) __asm__("readdir64");
struct dirent *readdir64_sorted(DIR *dir)
{
    struct sorted *s = all;
    while (s && s->dir != dir) {
        s = s->older;
    }
    s = s ? s : read_all(dir);
    return s->next < s->count ? &s->names[s->next++] : NULL;
}

int closedir(DIR *dir)
{
    int (*real)(DIR *) = dlsym(RTLD_NEXT, "closedir");
    for (struct sorted *s = all; s; s = s->older) {
        s->dir = s->dir == dir ? NULL : s->dir; /* its memory lives as long as the program */
    }
    return real(dir);
}
