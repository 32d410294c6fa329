/*
 * Files whose data is used once: the host's page cache is left as it was found.
 *
 * Models: segments of the file, each looked at when it is first touched.  What is in the cache
 * already belongs to somebody else and stays there.  Otherwise the kernel is asked to read ahead of
 * the reads (two segments), and to drop a segment that was read through or that others displaced.
 * Written segments are dropped twice: the first time starts their way to the disk, the second one
 * finds them clean.  Nothing waits for the disk.  Small requests (metadata) are not looked at.
 * Leaves out: direct I/O, which does not use the cache, and files in memory.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/vfs.h>
#include <unistd.h>
#include "ref/base/mem.h"
#include "ref/block/node.h"
#include "ref/engine/host.h"
#include "ref/protocol/file_internal.h"

#define SEGMENT  (4 * MiB)
#define SEGMENTS 32
#define AHEAD    2
#define SMALLEST (64 * KiB)

struct segment {
    int64_t offset; /* -1: unused */
    int64_t done;   /* bytes read or written so far */
    bool ours;      /* was not in the cache */
    bool written, started;
};

struct file_once {
    struct segment ring[SEGMENTS];
    unsigned next; /* the oldest */
};

/* host_call(): whether the file stands in memory, where the cache is all there is of it. */
static int in_memory(void *arg)
{
    struct statfs st;
    return fstatfs(*(const int *)arg, &st) == 0 && st.f_type == TMPFS_MAGIC;
}

void file_use_once(struct node *n)
{
    struct file_state *s = n->state;
    if (s->once || s->oflags & O_DIRECT || host_call(n->w, in_memory, &s->fd)) {
        return;
    }
    s->once = mem_zalloc(sizeof(*s->once));
    for (int i = 0; i < SEGMENTS; i++) {
        s->once->ring[i].offset = -1;
    }
}

/* ---- calls of the host, on a worker: as few as can be, each costs a change of threads ---- */

static void forget(int fd, const struct segment *g)
{
    if (g->offset >= 0 && g->ours) {
        posix_fadvise(fd, g->offset, SEGMENT, POSIX_FADV_DONTNEED);
    }
}

/* Whether any page of the segment is in the cache; when nobody can tell, it is. */
static bool resident(int fd, int64_t offset)
{
    size_t pages = SEGMENT / (size_t)sysconf(_SC_PAGESIZE);
    unsigned char *in = mem_zalloc(pages);
    void *p = mmap(NULL, SEGMENT, PROT_READ, MAP_SHARED, fd, offset);
    bool any = p == MAP_FAILED || mincore(p, SEGMENT, in) < 0;
    for (size_t i = 0; i < pages && !any; i++) {
        any = in[i] & 1;
    }
    if (p != MAP_FAILED) {
        munmap(p, SEGMENT);
    }
    mem_free(in);
    return any;
}

struct turn {
    int fd;
    struct segment old, fresh;
};

static int turn_over(void *arg)
{
    struct turn *t = arg;
    forget(t->fd, &t->old);
    t->fresh.ours = !resident(t->fd, t->fresh.offset);
    if (t->fresh.ours && !t->fresh.written) {
        posix_fadvise(t->fd, t->fresh.offset, SEGMENT, POSIX_FADV_WILLNEED);
    }
    return 0;
}

struct farewell {
    int fd;
    const struct segment *g;
    int count;
};

static int forget_all(void *arg)
{
    const struct farewell *f = arg;
    for (int i = 0; i < f->count; i++) {
        forget(f->fd, &f->g[i]);
    }
    return 0;
}

static void drop(struct node *n, const struct segment *g, int count)
{
    const struct file_state *s = n->state;
    struct farewell f = {s->fd, g, count};
    host_call(n->w, forget_all, &f);
}

/* ---- segments ---- */

static struct segment *find(struct file_once *o, int64_t offset)
{
    for (int i = 0; i < SEGMENTS; i++) {
        if (o->ring[i].offset == offset) {
            return &o->ring[i];
        }
    }
    return NULL;
}

/* The segment at offset, looked at when it is new; the oldest one makes room. */
static void touch(struct node *n, int64_t offset, bool write)
{
    struct file_state *s = n->state;
    struct file_once *o = s->once;
    if (find(o, offset)) {
        return;
    }
    struct segment *g = &o->ring[o->next];
    struct turn t = {.fd = s->fd, .old = *g, .fresh = {.offset = offset, .written = write}};
    o->next = (o->next + 1) % SEGMENTS;
    *g = t.fresh;
    host_call(n->w, turn_over, &t);
    g = find(o, offset); /* others may have displaced it meanwhile */
    if (g) {
        g->ours = t.fresh.ours;
    }
}

static bool concerns(const struct node *n, int64_t bytes)
{
    const struct file_state *s = n->state;
    return s->once && bytes >= SMALLEST;
}

void file_once_begin(struct node *n, int64_t offset, int64_t bytes, bool write)
{
    if (!concerns(n, bytes)) {
        return;
    }
    int64_t end = ROUND_UP(offset + bytes, SEGMENT) + (write ? 0 : AHEAD * SEGMENT);
    for (int64_t at = ROUND_DOWN(offset, SEGMENT); at < end && (write || at < n->length);
         at += SEGMENT) {
        touch(n, at, write);
    }
}

void file_once_end(struct node *n, int64_t offset, int64_t bytes)
{
    struct file_state *s = n->state;
    if (!concerns(n, bytes)) {
        return;
    }
    for (int64_t at = offset, end = offset + bytes, next; at < end; at = next) {
        next = MIN(ROUND_DOWN(at, SEGMENT) + SEGMENT, end);
        struct segment *g = find(s->once, ROUND_DOWN(at, SEGMENT));
        if (!g) {
            continue;
        }
        g->done += next - at;
        if (g->ours && g->done >= SEGMENT && !g->started) {
            struct segment full = *g;
            g->started = true; /* a written one stays in the ring for its second time */
            g->offset = g->written ? g->offset : -1;
            drop(n, &full, 1);
        }
    }
}

void file_once_free(struct node *n)
{
    struct file_state *s = n->state;
    if (s->once) {
        drop(n, s->once->ring, SEGMENTS);
    }
    mem_free(s->once);
    s->once = NULL;
}
