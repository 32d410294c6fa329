/*
 * The tree: what a host directory has, as directories of FAT and clusters.
 *
 * Models: one pass at opening, directory by directory in the order in which they are met, names
 * sorted; each file that is not empty, and each directory, takes the next clusters.  Links are
 * followed; what leads nowhere is left out, what is neither file nor directory is an empty file.
 * The contents of files are not read here.  Leaves out: changes of the tree behind our back.
 *
 * Bounds: entries of a directory (DIR-9), bytes of all directories, files by the clusters that
 * there are; a link to a directory around it is refused.
 */
#include "ref/protocol/vvfat/vvfat.h"

#include <errno.h>
#include "ref/engine/host_dir.h"

#define MAX_DIR_BYTES (64 * MiB)
#define MAX_FILE      INT32_MAX

struct reading {
    struct world *w;
    const struct fat_layout *l;
    const uint8_t *label; /* of the root directory; NULL: none */
    struct fat_tree *t;
    struct error **err;
};

void fat_tree_free(struct fat_tree *t)
{
    for (size_t i = 0; i < t->count; i++) {
        mem_free(t->files[i].name);
        mem_free(t->files[i].entries);
    }
    mem_free(t->files);
    *t = (struct fat_tree){0};
}

char *fat_tree_path(const struct fat_tree *t, const struct fat_file *f)
{
    char *path = str_dup(f->name);
    while (f != t->files) {
        f = &t->files[f->parent];
        char *longer = str_fmt("%s/%s", f->name, path);
        mem_free(path);
        path = longer;
    }
    return path;
}

const struct fat_file *fat_tree_find(const struct fat_tree *t, uint32_t cluster, uint32_t *until)
{
    size_t lo = 0, hi = t->count; /* the last that begins at the cluster or in front of it */
    while (hi - lo > 1) {
        size_t mid = lo + (hi - lo) / 2;
        if (t->files[mid].first <= cluster) {
            lo = mid;
        } else {
            hi = mid;
        }
    }
    const struct fat_file *f = &t->files[lo];
    *until = f->first + f->count;
    return cluster >= f->first && cluster < *until ? f : NULL;
}

void fat_dir_read(const struct fat_file *f, size_t offset, uint8_t *buf, size_t bytes)
{
    size_t there = offset < f->size ? MIN(bytes, f->size - offset) : 0;
    if (there) {
        memcpy(buf, f->entries + offset, there);
    }
    memset(buf + there, 0, bytes - there);
}

/* ---- reading ---- */

static int does_not_fit(struct reading *r)
{
    return error_set(r->err, ENOSPC, "Directory does not fit in FAT%u (capacity %.2f MB)",
                     r->l->bits, r->l->sectors / 2000.0);
}

static int cannot_read(struct reading *r, int error, const char *path)
{
    return error_set(r->err, error, "Could not read directory %s", path);
}

/* A new last file or directory, which waits for its clusters. */
static int add_file(struct reading *r, const char *name, uint32_t parent, size_t entry,
                    const struct stat *st)
{
    struct fat_tree *t = r->t;
    if (t->count > r->l->clusters) {
        return does_not_fit(r); /* each takes a cluster at least */
    }
    if (t->count == t->room) {
        size_t room = t->room ? t->room * 2 : 64;
        struct fat_file *p = mem_try_realloc(t->files, room * sizeof(*p));
        if (!p) {
            return error_set_errno(r->err, ENOMEM, "Could not list the directory");
        }
        t->files = p;
        t->room = room;
    }
    t->files[t->count++] = (struct fat_file){
        .name = str_dup(name),
        .parent = parent,
        .entry = entry,
        .is_dir = S_ISDIR(st->st_mode),
        .size = S_ISDIR(st->st_mode) ? 0 : (uint32_t)st->st_size,
        .dev = st->st_dev,
        .ino = st->st_ino,
    };
    return 0;
}

/* Whether the directory is `at`, or one around it. */
static bool is_around(const struct fat_tree *t, uint32_t at, const struct stat *st)
{
    for (;; at = t->files[at].parent) {
        if (t->files[at].dev == st->st_dev && t->files[at].ino == st->st_ino) {
            return true;
        }
        if (at == 0) {
            return false;
        }
    }
}

/* Whether the name is shown; *ret: 0, or -errno with err for what cannot be. */
static bool admit(struct reading *r, uint32_t at, const char *path, const struct host_name *h,
                  int *ret)
{
    if (h->error) {
        if (h->error != -ENOENT && h->error != -ELOOP) {
            world_warn(r->w, "'%s/%s' is left out: %s", path, h->name, strerror(-h->error));
        }
        return false;
    }
    if (S_ISDIR(h->st.st_mode) && is_around(r->t, at, &h->st)) {
        *ret = error_set(r->err, ELOOP, "Directory %s/%s leads back to a directory around it", path,
                         h->name);
    } else if (S_ISREG(h->st.st_mode) && h->st.st_size > MAX_FILE) {
        world_report(r->w, REPORT_PLAIN, "File %s/%s is larger than 2GB\n", path, h->name);
        *ret = cannot_read(r, EFBIG, path);
    } else if (!fat_name_is_utf8(h->name)) {
        world_report(r->w, REPORT_PLAIN, "vvfat: invalid UTF-8 name: %s\n", h->name);
    }
    return *ret == 0;
}

/* "." and ".."; their clusters are set when they are known. */
static void add_dots(struct strbuf *dir, const struct host_dir *d)
{
    fat_add_entry(dir, (const uint8_t *)".          ", FAT_ATTR_DIRECTORY, &d->self, 0);
    fat_add_entry(dir, (const uint8_t *)"..         ", FAT_ATTR_DIRECTORY, &d->parent, 0);
}

static int add_name(struct reading *r, uint32_t at, struct strbuf *dir, const struct fat_name *name,
                    const struct stat *st)
{
    bool is_dir = S_ISDIR(st->st_mode);
    uint32_t size = S_ISREG(st->st_mode) ? (uint32_t)st->st_size : 0;
    fat_add_long_name(dir, name);
    size_t entry = dir->len;
    fat_add_entry(dir, name->short_name, is_dir ? FAT_ATTR_DIRECTORY : FAT_ATTR_ARCHIVE, st, size);
    return is_dir || size ? add_file(r, name->host, at, entry, st) : 0;
}

/* The entries of the names that are shown; their files are added to the tree. */
static int add_names(struct reading *r, uint32_t at, const char *path, const struct host_dir *d,
                     struct strbuf *dir)
{
    struct fat_name *names = mem_array(d->count + 1, sizeof(*names));
    const struct host_name **from = mem_array(d->count + 1, sizeof(*from));
    size_t shown = 0;
    int ret = 0;
    for (size_t i = 0; i < d->count && ret == 0; i++) {
        if (admit(r, at, path, &d->names[i], &ret)) {
            names[shown].host = d->names[i].name;
            from[shown++] = &d->names[i];
        }
    }
    if (ret == 0) {
        fat_choose_names(names, shown);
    }
    for (size_t i = 0; i < shown && ret == 0; i++) {
        ret = add_name(r, at, dir, &names[i], &from[i]->st);
    }
    mem_free(from);
    mem_free(names);
    return ret;
}

static int check_entries(struct reading *r, uint32_t at, const char *path, size_t bytes)
{
    size_t most = at == 0 && r->l->root_entries ? r->l->root_entries : FAT_DIR_ENTRIES;
    if (bytes <= most * FAT_ENTRY_SIZE && r->t->dir_bytes + bytes <= MAX_DIR_BYTES) {
        return 0;
    }
    if (at == 0) {
        world_report(r->w, REPORT_PLAIN, "Too many entries in root directory\n");
        return cannot_read(r, ENOSPC, path);
    }
    return error_set(r->err, ENOSPC, "Too many entries in directory %s", path);
}

/* Makes the entries of directory `at`. */
static int read_dir(struct reading *r, uint32_t at, const char *path)
{
    struct host_dir *d;
    struct strbuf dir = STRBUF_INIT;
    int ret = host_list_dir(r->w, path, FAT_DIR_ENTRIES, &d);
    if (ret == -EOVERFLOW) {
        return check_entries(r, at, path, SIZE_MAX / 2);
    }
    if (ret < 0) {
        return cannot_read(r, -ret, path);
    }
    if (at > 0) {
        add_dots(&dir, d);
    } else if (r->label) {
        fat_add_label(&dir, r->label);
    }
    if (at == 0) {
        r->t->files[0].dev = d->self.st_dev;
        r->t->files[0].ino = d->self.st_ino;
    }
    ret = add_names(r, at, path, d, &dir);
    host_dir_free(d);
    ret = ret < 0 ? ret : check_entries(r, at, path, dir.len);
    if (ret < 0) {
        strbuf_free(&dir);
        return ret;
    }
    r->t->files[at].size = (uint32_t)dir.len;
    r->t->files[at].entries = (uint8_t *)strbuf_take(&dir);
    r->t->dir_bytes += r->t->files[at].size;
    return 0;
}

/* Gives file `at` the next clusters and tells the entries that lead to it. */
static int place(struct reading *r, uint32_t at)
{
    struct fat_tree *t = r->t;
    struct fat_file *f = &t->files[at], *parent = &t->files[f->parent];
    bool bare = at == 0 && r->l->root_entries;
    f->count = bare ? 0 : MAX(DIV_ROUND_UP(f->size, fat_cluster_bytes(r->l)), 1);
    f->first = FAT_FIRST_CLUSTER + t->used;
    if (f->count > r->l->clusters - t->used) {
        return does_not_fit(r);
    }
    t->used += f->count;
    if (at > 0) {
        fat_set_cluster(parent->entries + f->entry, f->first);
    }
    if (at > 0 && f->is_dir) {
        fat_set_cluster(f->entries, f->first);
        fat_set_cluster(f->entries + FAT_ENTRY_SIZE, f->parent ? parent->first : 0); /* DIR-7 */
    }
    return 0;
}

int fat_tree_read(struct world *w, const struct fat_layout *l, const char *dir,
                  const uint8_t *label, struct fat_tree *t, struct error **err)
{
    struct reading r = {.w = w, .l = l, .label = label, .t = t, .err = err};
    struct stat root = {.st_mode = S_IFDIR};
    *t = (struct fat_tree){0};
    int ret = add_file(&r, dir, 0, 0, &root);
    for (uint32_t i = 0; i < t->count && ret == 0; i++) {
        if (t->files[i].is_dir) {
            char *path = fat_tree_path(t, &t->files[i]);
            ret = read_dir(&r, i, path);
            mem_free(path);
        }
        ret = ret < 0 ? ret : place(&r, i);
    }
    if (ret < 0) {
        fat_tree_free(t);
    }
    return ret;
}

/* ---- the allocation table ---- */

static uint32_t table_entry(const struct fat_layout *l, const struct fat_tree *t, uint32_t cluster)
{
    uint32_t end = l->bits == 12 ? FAT_END_12 : l->bits == 16 ? FAT_END_16 : FAT_END_32, until;
    if (cluster == 0) { /* FAT-2 */
        return (end & ~0xffu) | (l->floppy ? FAT_MEDIA_REMOVABLE : FAT_MEDIA_FIXED);
    }
    if (cluster == 1) {
        return end;
    }
    const struct fat_file *f = fat_tree_find(t, cluster, &until);
    return !f ? 0 : cluster + 1 == until ? end : cluster + 1;
}

void fat_put_table(const struct fat_layout *l, const struct fat_tree *t, uint32_t i, uint8_t *buf)
{
    uint64_t bit = (uint64_t)i * FAT_SECTOR * 8, end = bit + FAT_SECTOR * 8;
    for (uint32_t c = (uint32_t)(bit / l->bits); (uint64_t)c * l->bits < end; c++) {
        uint32_t value = table_entry(l, t, c);
        for (unsigned half = 0; half < l->bits / 4; half++) { /* of bytes: what 12 bits need */
            uint64_t at = (uint64_t)c * l->bits + half * 4;
            if (at >= bit && at < end) {
                buf[(at - bit) / 8] |= (uint8_t)((value >> half * 4 & 0xf) << at % 8);
            }
        }
    }
}
