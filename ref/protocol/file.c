/*
 * file and host_device: a file or block device of the host.
 *
 * Models: opening (read-only or not, as the permissions of the moment need it where auto-read-only
 * allows), locks, direct I/O with probed alignment, holes found by lseek(), resizing, reopening,
 * copying inside the host.  Allocation is in file_alloc.c, locks in file_lock.c, creation in
 * file_create.c. Leaves out: host_cdrom, persistent reservations, zoned devices, descriptors passed
 * by a monitor (/dev/fdset).
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include "ref/block/graph.h"
#include "ref/block/io.h"
#include "ref/block/open.h"
#include "ref/protocol/file_internal.h"
#include "ref/protocol/protocol.h"

#define DEVICE_SECTOR 512
#define MAX_ALIGNMENT 4096 /* direct I/O, when nothing can be found out */

static const char *const aio_names[] = {"threads", "native", "io_uring", NULL};
static const char *const locking_names[] = {"auto", "on", "off", NULL};

static const struct opt_desc file_options[] = {
    {.name = "filename", .type = OPT_STRING, .help = "File name of the image"},
    {.name = "aio",
     .type = OPT_ENUM,
     .values = aio_names,
     .help = "host AIO implementation (threads, native, io_uring)"},
    {.name = "aio-max-batch",
     .type = OPT_NUMBER,
     .help = "AIO max batch size (0 = auto handled by AIO backend, default: 0)"},
    {.name = "locking",
     .type = OPT_ENUM,
     .values = locking_names,
     .def = "auto",
     .help = "file locking mode (on/off/auto, default: auto)"},
    {.name = "pr-manager",
     .type = OPT_STRING,
     .help = "id of persistent reservation manager object (default: none)"},
    {.name = "drop-cache",
     .type = OPT_BOOL,
     .def = "on",
     .help = "invalidate page cache during live migration (default: on)",
     .runtime = true},
    {.name = "x-check-cache-dropped",
     .type = OPT_BOOL,
     .def = "off",
     .help = "check that page cache was dropped on live migration (default: off)",
     .runtime = true},
    {.name = NULL},
};

static const char *const file_strong_options[] = {"filename", NULL};

/* ---- opening ---- */

/* What is left must not look like a name with a prefix of its own: "file:a:b" is "./a:b". */
static int parse_after(const char *filename, const char *prefix, struct value *opts)
{
    size_t n = strlen(prefix);
    bool stripped = !strncmp(filename, prefix, n);
    const char *rest = stripped ? filename + n : filename;
    dict_put(opts, "filename",
             value_strf("%s%s", stripped && path_has_protocol(rest) ? "./" : "", rest));
    return 0;
}

static int file_parse_filename(const char *filename, struct value *opts, struct error **err)
{
    return parse_after(filename, "file:", opts);
}

static int device_parse_filename(const char *filename, struct value *opts, struct error **err)
{
    return parse_after(filename, "host_device:", opts);
}

/* Read-only until a permission needs more. */
static bool dynamic_access(unsigned flags)
{
    return (flags & OPEN_RDWR) && (flags & OPEN_AUTO_RDONLY);
}

/* Flags for host_open() by node flags and the permissions that are used. */
static int open_mode(unsigned flags, unsigned perm)
{
    bool write = dynamic_access(flags)
                     ? (perm & (PERM_WRITE | PERM_WRITE_UNCHANGED | PERM_RESIZE)) != 0
                     : (flags & OPEN_RDWR) != 0;
    return O_CLOEXEC | (write ? O_RDWR : O_RDONLY) | (flags & OPEN_NO_CACHE ? O_DIRECT : 0);
}

/* fd or -errno; the name of a descriptor set is refused, only monitors have them. */
static int open_host(struct world *w, const char *filename, int oflags, struct error **err)
{
    if (!strncmp(filename, "/dev/fdset/", 11)) {
        return error_set_errno(err, ENOSYS, "Could not dup FD for %s flags %x", filename,
                               oflags & O_ACCMODE);
    }
    int fd = host_open(w, filename, oflags, 0);
    if (fd == -EINVAL && oflags & O_DIRECT) {
        return error_set(err, EINVAL, "Could not open '%s': filesystem does not support O_DIRECT",
                         filename);
    }
    return fd < 0 ? error_set_errno(err, -fd, "Could not open '%s'", filename) : fd;
}

/* The number of a word, if it was given; QEMU's message. */
static int take_word(const struct value *o, const char *key, const char *const *words, int *out,
                     struct error **err)
{
    const char *given = dict_get_str(o, key);
    if (!given) {
        return 0;
    }
    for (int i = 0; words[i]; i++) {
        if (!strcmp(words[i], given)) {
            *out = i;
            return 0;
        }
    }
    return error_set(err, EINVAL, "invalid parameter value: %s", given);
}

/* Everything but the name; what is not there is refused. */
static int take_options(struct node *n, const struct value *o, unsigned flags, bool *lock,
                        bool *native_aio, struct error **err)
{
    struct file_state *s = n->state;
    int aio = flags & OPEN_NATIVE_AIO ? 1 : flags & OPEN_IO_URING ? 2 : 0, locking = 0;
    bool check_dropped = false;
    uint64_t batch = 0;
    const char *pr = dict_get_str(o, "pr-manager");

    int ret = opts_get_number(file_options, o, "aio-max-batch", &batch, err);
    if (ret == 0) {
        ret = take_word(o, "aio", aio_names, &aio, err);
    }
    if (ret == 0) {
        ret = take_word(o, "locking", locking_names, &locking, err);
    }
    if (ret == 0) {
        ret = opts_get_bool(file_options, o, "drop-cache", &s->drop_cache, err);
    }
    if (ret == 0) {
        ret = opts_get_bool(file_options, o, "x-check-cache-dropped", &check_dropped, err);
    }
    if (ret < 0) {
        return ret;
    }
    if (pr) {
        return error_set(err, EINVAL, "No persistent reservation manager with id '%s'", pr);
    }
    if (check_dropped) {
        return error_set(err, ENOTSUP, "x-check-cache-dropped=on is not supported");
    }
    host_limit_batch(n->w, batch);
    *native_aio = aio == 1;
    *lock = locking != 2;
    return 0;
}

static int check_file_type(struct node *n, struct error **err)
{
    struct file_state *s = n->state;
    struct stat st;
    int ret = host_fstat(n->w, s->fd, &st);
    if (ret < 0) {
        return error_set_errno(err, -ret, "Could not stat file");
    }
    if (!s->is_device && !S_ISREG(st.st_mode)) {
        return error_set(err, EINVAL, "'%s' driver requires '%s' to be a regular file",
                         n->drv->name, s->filename);
    }
    if (s->is_device && !S_ISBLK(st.st_mode) && !S_ISCHR(st.st_mode)) {
        return error_set(err, EINVAL,
                         "'%s' driver requires '%s' to be either a character or block device",
                         n->drv->name, s->filename);
    }
    return 0;
}

static int open_common(struct node *n, struct value *opts, unsigned flags, bool is_device,
                       struct error **err)
{
    struct file_state *s = n->state;
    struct value *mine = opts_take(file_options, opts);
    bool lock = false, native_aio = false;

    *s = (struct file_state){.fd = -1, .perm_fd = -1, .is_device = is_device};
    s->filename = str_dup(dict_get_str(mine, "filename"));
    int ret = s->filename ? take_options(n, mine, flags, &lock, &native_aio, err)
                          : error_set(err, EINVAL, "The '%s' block driver requires a file name",
                                      n->drv->name);
    value_free(mine);
    if (ret == 0) {
        s->oflags = open_mode(flags, 0);
        ret = s->fd = open_host(n->w, s->filename, s->oflags, err);
    }
    if (ret >= 0 && native_aio && !(flags & OPEN_NO_CACHE)) {
        ret = error_set(err, EINVAL,
                        "aio=native was specified, but it requires cache.direct=on, "
                        "which was not specified.");
    }
    if (ret >= 0) {
        ret = check_file_type(n, err);
    }
    if (ret < 0) {
        if (s->fd >= 0) {
            host_close(n->w, s->fd);
        }
        mem_free(s->filename);
        return ret;
    }
    s->use_locks = lock && file_locks_work(s->fd);
    n->zero_flags = REQ_MAY_UNMAP | REQ_NO_FALLBACK;
    n->truncate_flags = s->is_device ? 0 : REQ_ZERO_GROWN;
    return 0;
}

static int file_open(struct node *n, struct value *opts, unsigned flags, struct error **err)
{
    return open_common(n, opts, flags, false, err);
}

static int device_open(struct node *n, struct value *opts, unsigned flags, struct error **err)
{
    return open_common(n, opts, flags, true, err);
}

static void file_close(struct node *n)
{
    struct file_state *s = n->state;
    assert(!s->reopen && s->perm_fd < 0);
    file_once_free(n);
    host_close(n->w, s->fd); /* drops the locks */
    mem_free(s->filename);
}

static int device_probe(const char *filename)
{
    struct stat st;
    return stat(filename, &st) == 0 && (S_ISBLK(st.st_mode) || S_ISCHR(st.st_mode)) ? 100 : 0;
}

/* ---- permissions and reopening ---- */

static void file_abort_perm(struct node *n)
{
    struct file_state *s = n->state;
    if (s->perm_fd >= 0) {
        host_close(n->w, s->perm_fd);
        s->perm_fd = -1;
    }
    if (s->use_locks) {
        file_unlock_except(s->fd, s->held, s->held_against);
    }
}

/* Sees to it that what is open once the change is committed has this access mode. */
static int change_access(struct node *n, int access, struct error **err)
{
    struct file_state *s = n->state;
    bool reopening = s->reopen && s->reopen->fd >= 0;
    int *fd = reopening ? &s->reopen->fd : &s->perm_fd;
    int *oflags = reopening ? &s->reopen->oflags : &s->perm_oflags;
    int want = (*fd >= 0 ? *oflags & ~O_ACCMODE : s->oflags & ~O_ACCMODE) | access;

    if (want == (*fd >= 0 ? *oflags : s->oflags)) {
        return 0;
    }
    int opened = open_host(n->w, s->filename, want, err);
    if (opened < 0) {
        return opened;
    }
    if (*fd >= 0) {
        host_close(n->w, *fd);
    }
    *fd = opened;
    *oflags = want;
    return 0;
}

/*
 * Before anything is given up, what is wanted is locked beside what is held, and others' locks are
 * looked at. Where read-only or not depends on the permissions, the file is opened once more in the
 * right mode.
 */
static int file_check_perm(struct node *n, unsigned perm, unsigned shared, struct error **err)
{
    struct file_state *s = n->state;
    unsigned flags = n->reopening ? n->reopening->flags : n->open_flags;
    int ret = dynamic_access(flags) ? change_access(n, open_mode(flags, perm) & O_ACCMODE, err) : 0;
    if (ret < 0) {
        return ret;
    }
    if (!s->use_locks || (flags & OPEN_INACTIVE)) {
        return 0;
    }
    unsigned against = PERM_ALL & ~shared;
    ret = file_lock(s->fd, perm & ~s->held, against & ~s->held_against, err);
    if (ret == 0) {
        ret = file_lock_check(s->fd, perm, against, s->filename, err);
    }
    if (ret < 0) {
        file_abort_perm(n);
    }
    return ret;
}

/* Locks on the file that is open now are taken over by fd, which becomes the open one. */
static void switch_fd(struct node *n, int fd, int oflags)
{
    struct file_state *s = n->state;
    if (s->use_locks && file_lock(fd, s->held, s->held_against, NULL) < 0) {
        world_warn(n->w, "Could not keep the locks of '%s'", s->filename);
    }
    host_close(n->w, s->fd);
    s->fd = fd;
    s->oflags = oflags;
}

static void file_set_perm(struct node *n, unsigned perm, unsigned shared)
{
    struct file_state *s = n->state;
    if (s->use_locks && !(n->open_flags & OPEN_INACTIVE)) {
        s->held = perm;
        s->held_against = PERM_ALL & ~shared;
    }
    if (s->perm_fd >= 0) {
        switch_fd(n, s->perm_fd, s->perm_oflags);
        s->perm_fd = -1;
    } else if (s->use_locks) {
        /* After a reopen fd is a new one; with nothing new to lock this does nothing. */
        file_lock(s->fd, s->held, s->held_against, NULL);
    }
    if (s->use_locks) {
        file_unlock_except(s->fd, s->held, s->held_against);
    }
}

static int file_reopen_prepare(struct reopen *r, struct error **err)
{
    struct file_state *s = r->node->state;
    bool drop_cache = s->drop_cache;
    int ret = opts_get_bool(file_options, r->options, "drop-cache", &drop_cache, err);
    if (ret < 0) {
        return ret;
    }
    dict_del(r->options, "drop-cache");

    int oflags = open_mode(r->flags, 0);
    if (dynamic_access(r->flags)) {
        oflags =
            (oflags & ~O_ACCMODE) | (s->oflags & O_ACCMODE); /* until the permissions are checked */
    }
    int fd = -1;
    if (oflags != s->oflags) {
        fd = open_host(r->node->w, s->filename, oflags, err);
        if (fd < 0) {
            return fd;
        }
    }
    s->reopen = mem_zalloc(sizeof(*s->reopen));
    *s->reopen = (struct file_reopen){.fd = fd, .oflags = oflags, .drop_cache = drop_cache};
    return 0;
}

static void file_reopen_commit(struct reopen *r)
{
    struct file_state *s = r->node->state;
    s->drop_cache = s->reopen->drop_cache;
    if (s->reopen->fd >= 0) {
        switch_fd(r->node, s->reopen->fd, s->reopen->oflags);
    }
    mem_free(s->reopen);
    s->reopen = NULL;
}

static void file_reopen_abort(struct reopen *r)
{
    struct file_state *s = r->node->state;
    if (!s->reopen) {
        return;
    }
    if (s->reopen->fd >= 0) {
        host_close(r->node->w, s->reopen->fd);
    }
    mem_free(s->reopen);
    s->reopen = NULL;
}

/* ---- limits ---- */

struct probe_call {
    int fd;
    unsigned offset_align, mem_align; /* results; 0: not found */
};

static bool read_works(int fd, uint8_t *buf, size_t len)
{
    ssize_t ret;
    do {
        ret = pread(fd, buf, len, 0);
    } while (ret < 0 && errno == EINTR);
    return ret >= 0 || errno != EINVAL; /* bad sectors are no matter of alignment */
}

/* What direct I/O needs: asks the kernel, else tries reads. */
static int probe_alignment(void *arg)
{
    struct probe_call *p = arg;
#ifdef STATX_DIOALIGN
    struct statx sx;
    if (statx(p->fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &sx) == 0 &&
        (sx.stx_mask & STATX_DIOALIGN) && sx.stx_dio_offset_align) {
        p->offset_align = sx.stx_dio_offset_align;
        p->mem_align = sx.stx_dio_mem_align;
        return 0;
    }
#endif
    uint8_t *buf = mem_try_aligned(MAX_ALIGNMENT, 2 * MAX_ALIGNMENT);
    if (!buf) {
        return -ENOMEM;
    }
    for (unsigned a = DEVICE_SECTOR; a <= MAX_ALIGNMENT && !p->offset_align; a *= 2) {
        p->offset_align = read_works(p->fd, buf, a) ? a : 0;
    }
    for (unsigned a = DEVICE_SECTOR; a <= MAX_ALIGNMENT && !p->mem_align; a *= 2) {
        p->mem_align = read_works(p->fd, buf + a, MAX_ALIGNMENT) ? a : 0;
    }
    mem_free(buf);
    return 0;
}

static void file_refresh_limits(struct node *n, struct error **err)
{
    struct file_state *s = n->state;
    struct limits *l = &n->limits;

    l->min_mem_alignment = 1;
    l->opt_mem_alignment = MAX_ALIGNMENT;
    l->request_alignment = 1;
    if (s->oflags & O_DIRECT) {
        struct probe_call p = {.fd = s->fd};
        host_call(n->w, probe_alignment, &p);
        l->request_alignment = p.offset_align ? p.offset_align : MAX_ALIGNMENT;
        l->min_mem_alignment = p.mem_align ? p.mem_align : MAX_ALIGNMENT;
        l->opt_mem_alignment = MAX(l->min_mem_alignment, MAX_ALIGNMENT);
    } else if (s->is_device) {
        l->request_alignment = DEVICE_SECTOR;
    }
}

/* ---- reading and writing ---- */

static bool memory_fits(const struct node *n, const struct request *r)
{
    const struct file_state *s = n->state;
    size_t mask = n->limits.min_mem_alignment - 1, skip = r->iov_off, left = (size_t)r->bytes;
    if (!(s->oflags & O_DIRECT)) {
        return true;
    }
    for (int i = 0; i < r->iov->n && left; i++) {
        const struct iovec *v = &r->iov->v[i];
        if (skip >= v->iov_len) {
            skip -= v->iov_len;
            continue;
        }
        size_t len = MIN(v->iov_len - skip, left);
        if (((uintptr_t)v->iov_base + skip) & mask || len & mask) {
            return false;
        }
        left -= len;
        skip = 0;
    }
    return true;
}

/* Through an aligned buffer. */
static int transfer_bounced(struct node *n, const struct request *r)
{
    const struct file_state *s = n->state;
    size_t bytes = (size_t)r->bytes;
    void *buf = mem_try_aligned(n->limits.opt_mem_alignment, bytes);
    struct iov q;
    int ret = 0;

    if (!buf) {
        return -ENOMEM;
    }
    iov_single(&q, buf, bytes);
    if (r->op == REQ_WRITE) {
        iov_to_buf(r->iov, r->iov_off, buf, bytes);
        ret = host_pwritev(n->w, s->fd, &q, 0, bytes, r->offset);
    } else {
        ssize_t got = host_preadv(n->w, s->fd, &q, 0, bytes, r->offset);
        if (got >= 0) {
            iov_from_buf(r->iov, r->iov_off, buf, (size_t)got);
            iov_fill(r->iov, r->iov_off + (size_t)got, 0, bytes - (size_t)got);
        }
        ret = got < 0 ? (int)got : 0;
    }
    mem_free(buf);
    return ret;
}

/* Behind the end of file there are zeroes: a length is rounded up to whole sectors above. */
static int file_read(struct node *n, const struct request *r)
{
    const struct file_state *s = n->state;
    if (!memory_fits(n, r)) {
        return transfer_bounced(n, r);
    }
    file_once_begin(n, r->offset, r->bytes, false);
    ssize_t got = host_preadv(n->w, s->fd, r->iov, r->iov_off, (size_t)r->bytes, r->offset);
    if (got < 0) {
        return (int)got;
    }
    file_once_end(n, r->offset, r->bytes);
    if (got < r->bytes) {
        iov_fill(r->iov, r->iov_off + (size_t)got, 0, (size_t)(r->bytes - got));
    }
    return 0;
}

static int file_write(struct node *n, const struct request *r)
{
    const struct file_state *s = n->state;
    if (!memory_fits(n, r)) {
        return transfer_bounced(n, r);
    }
    file_once_begin(n, r->offset, r->bytes, true);
    int ret = host_pwritev(n->w, s->fd, r->iov, r->iov_off, (size_t)r->bytes, r->offset);
    file_once_end(n, r->offset, r->bytes);
    return ret;
}

static int file_flush_to_disk(struct node *n, const struct request *r)
{
    const struct file_state *s = n->state;
    return host_fdatasync(n->w, s->fd);
}

static int file_copy_range_from(struct node *n, struct child *src, int64_t src_off,
                                struct child *dst, int64_t dst_off, int64_t bytes,
                                unsigned read_flags, unsigned write_flags)
{
    return child_copy_range_to(src, src_off, dst, dst_off, bytes, read_flags, write_flags);
}

static int file_copy_range_to(struct node *n, struct child *src, int64_t src_off, struct child *dst,
                              int64_t dst_off, int64_t bytes, unsigned read_flags,
                              unsigned write_flags)
{
    const struct file_state *to = n->state;
    const struct block_driver *from_drv = src->node->drv;
    if (!from_drv || from_drv->copy_range_to != file_copy_range_to) {
        return -ENOTSUP;
    }
    const struct file_state *from = src->node->state;
    int64_t src_begin = src_off, dst_begin = dst_off, total = bytes;
    file_once_begin(src->node, src_off, bytes, false);
    file_once_begin(n, dst_off, bytes, true);
    while (bytes > 0) {
        ssize_t done = host_copy_range(n->w, from->fd, src_off, to->fd, dst_off, (size_t)bytes);
        if (done <= 0) {
            /* Nothing copied: behind the end of file, which only buffers can express. */
            return done == 0 || done == -EXDEV || done == -ENOSYS || done == -EINVAL ? -ENOTSUP
                                                                                     : (int)done;
        }
        src_off += done;
        dst_off += done;
        bytes -= done;
    }
    file_once_end(src->node, src_begin, total);
    file_once_end(n, dst_begin, total);
    return 0;
}

/* ---- status, size ---- */

struct seek_call {
    int fd;
    off_t offset, data, hole, end;
};

/* data: start of the first data at or behind offset; hole: its end; both `end` in a trailing hole.
 */
static int seek_data(void *arg)
{
    struct seek_call *c = arg;
    c->end = lseek(c->fd, 0, SEEK_END);
    if (c->end < 0) {
        return -errno;
    }
    c->data = lseek(c->fd, c->offset, SEEK_DATA);
    if (c->data < 0) {
        if (errno != ENXIO) {
            return -errno;
        }
        c->data = c->hole = c->end;
        return 0;
    }
    c->hole = lseek(c->fd, c->data, SEEK_HOLE);
    return c->hole < 0 ? -errno : 0;
}

static int file_block_status(struct node *n, bool precise, int64_t offset, int64_t bytes,
                             struct status *out)
{
    const struct file_state *s = n->state;
    struct seek_call c = {.fd = s->fd, .offset = offset};

    *out = (struct status){.flags = STATUS_DATA | STATUS_OFFSET_VALID | STATUS_ALLOCATED,
                           .bytes = bytes,
                           .map = offset,
                           .file = n};
    if (!precise || s->is_device || host_call(n->w, seek_data, &c) < 0) {
        return 0; /* data is always a right answer */
    }
    int64_t until;
    if (c.data > offset || offset >= c.end) {
        out->flags ^= STATUS_DATA | STATUS_ZERO;
        until = c.data >= c.end ? offset + bytes : c.data;
    } else if (c.hole > offset) {
        until = c.hole;
    } else {
        return 0; /* the host contradicts itself */
    }
    out->bytes = MIN(bytes, until - offset);
    if (!IS_ALIGNED(out->bytes, n->limits.request_alignment)) {
        /* Only the last block of a file ends inside an alignment unit. */
        out->bytes = MIN(bytes, ROUND_UP(out->bytes, n->limits.request_alignment));
    }
    return 0;
}

static int seek_end(void *arg)
{
    struct seek_call *c = arg;
    c->end = lseek(c->fd, 0, SEEK_END);
    return c->end < 0 ? -errno : 0;
}

static int64_t file_length(struct node *n)
{
    const struct file_state *s = n->state;
    struct seek_call c = {.fd = s->fd};
    int ret = host_call(n->w, seek_end, &c);
    return ret < 0 ? ret : c.end;
}

static int64_t file_allocated_size(struct node *n)
{
    const struct file_state *s = n->state;
    struct stat st;
    int ret = host_fstat(n->w, s->fd, &st);
    return ret < 0 ? ret : (int64_t)st.st_blocks * 512;
}

static int file_truncate(struct node *n, int64_t size, bool exact, enum prealloc prealloc,
                         unsigned flags, struct error **err)
{
    const struct file_state *s = n->state;
    return file_resize(n->w, s->fd, size, prealloc, err);
}

/* A device keeps its length; it may stand for a smaller one unless exactness is asked for. */
static int device_truncate(struct node *n, int64_t size, bool exact, enum prealloc prealloc,
                           unsigned flags, struct error **err)
{
    int64_t length = file_length(n);
    if (length < 0) {
        return error_set_errno(err, (int)-length, "Could not inquire current file length");
    }
    if (prealloc != PREALLOC_OFF) {
        return error_set(err, ENOTSUP,
                         "Preallocation mode '%s' unsupported for this non-regular file",
                         prealloc_names[prealloc]);
    }
    if (size != length && exact) {
        return error_set(err, ENOTSUP, "Cannot resize device files");
    }
    if (size > length) {
        return error_set(err, EINVAL, "Cannot grow device files");
    }
    return 0;
}

struct device_call {
    int fd;
    uint64_t range[2];
    int request;
};

static int device_ioctl(void *arg)
{
    struct device_call *c = arg;
    return ioctl(c->fd, (unsigned long)c->request, c->range) < 0 ? -errno : 0;
}

static int device_range_ioctl(struct node *n, const struct request *r, int request)
{
    const struct file_state *s = n->state;
    struct device_call c = {
        .fd = s->fd, .range = {(uint64_t)r->offset, (uint64_t)r->bytes}, .request = request};
    int ret = host_call(n->w, device_ioctl, &c);
    return ret == -EOPNOTSUPP || ret == -ENOTTY || ret == -EINVAL ? -ENOTSUP : ret;
}

static int device_discard(struct node *n, const struct request *r)
{
    return device_range_ioctl(n, r, BLKDISCARD);
}

static int device_write_zeroes(struct node *n, const struct request *r)
{
    int ret = r->flags & REQ_MAY_UNMAP ? file_write_zeroes(n, r) : -ENOTSUP;
    return ret == -ENOTSUP ? device_range_ioctl(n, r, BLKZEROOUT) : ret;
}

/* Nothing to tell, but that is an answer: a raw image on top prints it. */
static int file_info(struct node *n, struct image_info *out)
{
    return 0;
}

static bool file_has_zero_init(struct node *n)
{
    return true;
}

static int delete_call(void *arg)
{
    return unlink(arg) < 0 ? -errno : 0;
}

static int file_delete(struct node *n, struct error **err)
{
    const struct file_state *s = n->state;
    int ret = host_call(n->w, delete_call, s->filename);
    return ret < 0 ? error_set_errno(err, -ret, "Error when deleting file %s", s->filename) : 0;
}

static int drop_call(void *arg)
{
    const struct file_state *s = arg;
    if (fdatasync(s->fd) < 0) {
        return -errno;
    }
    return -posix_fadvise(s->fd, 0, 0, POSIX_FADV_DONTNEED);
}

/* Another host may have written the file: what is cached here is old. */
static void file_activate(struct node *n, struct error **err)
{
    struct file_state *s = n->state;
    if (!s->drop_cache || (s->oflags & O_DIRECT)) {
        return;
    }
    int ret = host_call(n->w, drop_call, s);
    if (ret < 0) {
        error_set_errno(err, -ret, "Could not drop the host's cache of '%s'", s->filename);
    }
}

#define FILE_COMMON                                                                                \
    .kind = DRIVER_PROTOCOL, .state_size = sizeof(struct file_state), .needs_filename = true,      \
    .open_options = file_options, .strong_options = file_strong_options, .close = file_close,      \
    .reopen_prepare = file_reopen_prepare, .reopen_commit = file_reopen_commit,                    \
    .reopen_abort = file_reopen_abort, .read = file_read, .write = file_write,                     \
    .flush_to_disk = file_flush_to_disk, .copy_range_from = file_copy_range_from,                  \
    .copy_range_to = file_copy_range_to, .block_status = file_block_status, .length = file_length, \
    .allocated_size = file_allocated_size, .info = file_info,                                      \
    .refresh_limits = file_refresh_limits, .check_perm = file_check_perm,                          \
    .set_perm = file_set_perm, .abort_perm = file_abort_perm, .activate = file_activate,           \
    .use_once = file_use_once

const struct block_driver driver_file = {
    FILE_COMMON,
    .name = "file",
    .protocol = "file",
    .create_options = file_create_options,
    .parse_filename = file_parse_filename,
    .open = file_open,
    .create = file_create,
    .create_json = file_create_json,
    .delete_file = file_delete,
    .write_zeroes = file_write_zeroes,
    .discard = file_discard,
    .truncate = file_truncate,
    .has_zero_init = file_has_zero_init,
};

const struct block_driver driver_host_device = {
    FILE_COMMON,
    .name = "host_device",
    .protocol = "host_device",
    .probe_device = device_probe,
    .parse_filename = device_parse_filename,
    .open = device_open,
    .write_zeroes = device_write_zeroes,
    .discard = device_discard,
    .truncate = device_truncate,
};
