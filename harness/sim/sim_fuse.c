/*
 * The FUSE server.  See sim_fuse.h.
 *
 * One thread takes requests in the order in which the kernel hands them out.  A request that the
 * fault plan holds back waits in a list: it is answered after so many others, or when nothing else
 * has come for HOLD_MS (its subject may be waiting for just this one).
 *
 * The kernel cuts a long write into requests of whole pages of the *writer's* memory, so a cut may
 * lie inside a sector of the file, where no disk would tear it: what lies behind the last whole
 * sector of a full request is put before the next one.
 */
#define FUSE_USE_VERSION 312
#include "harness/sim/sim_fuse.h"

#include <errno.h>
#include <fcntl.h>
#include <fuse3/fuse_lowlevel.h>
#include <linux/falloc.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>
#include "ref/base/mem.h"

#define SECTOR    512
#define HOLD_MS   20
#define MAX_HELD  16
#define MAX_WRITE (1 << 20)

struct held {
    fuse_req_t req; /* NULL: a free place */
    struct sim_ticket ticket;
    size_t asked; /* bytes that a write was asked to do */
};

struct tail {
    int disk;
    int64_t offset;
    size_t bytes; /* 0: none */
    bool refused; /* its sector could not be written: only with a request that continues it */
    char data[SECTOR];
};

struct sim_fuse {
    struct sim_store *store;
    struct tail tail;
    struct fuse_session *session;
    char *dir;
    pthread_t thread;
    bool mounted, running;
    struct held held[MAX_HELD];
};

/* Inode 1 is the folder, 2 + i disk i. */
static fuse_ino_t inode_of(int disk)
{
    return (fuse_ino_t)disk + 2;
}

static int disk_of(fuse_ino_t ino)
{
    return ino >= 2 && ino < 2 + DISK_SET_MAX ? (int)(ino - 2) : -1;
}

static struct sim_fuse *self(fuse_req_t req)
{
    return fuse_req_userdata(req);
}

/* A tail that no request continues is a write of its own. */
static void settle_tail(struct sim_fuse *f)
{
    struct tail *l = &f->tail;
    struct sim_request r = {.kind = SIM_WRITE,
                            .disk = l->disk,
                            .offset = l->offset,
                            .bytes = (int64_t)l->bytes,
                            .data = l->data};
    struct sim_ticket t;
    if (l->bytes && !l->refused) {
        sim_begin(f->store, &r, &t);
        sim_finish(f->store, &t, NULL);
    }
    l->bytes = 0;
}

static void fill_stat(struct sim_fuse *f, fuse_ino_t ino, struct stat *st)
{
    int disk = disk_of(ino);
    settle_tail(f);
    memset(st, 0, sizeof(*st));
    st->st_ino = ino;
    st->st_nlink = 1;
    st->st_uid = getuid();
    st->st_gid = getgid();
    st->st_blksize = DISK_PAGE;
    st->st_mode = S_IFDIR | 0700;
    if (disk >= 0) {
        st->st_mode = S_IFREG | 0600;
        st->st_size = sim_store_size(f->store, disk);
        st->st_blocks = sim_store_allocated(f->store, disk) / 512;
    }
}

/* ---- requests that may be held back ---- */

static bool answer(struct sim_fuse *f, fuse_req_t req, struct sim_ticket *t, size_t asked)
{
    uint8_t *buf = NULL;
    if (t->r.kind == SIM_READ) {
        buf = mem_alloc((size_t)MAX(t->r.bytes, 1));
    }
    int ret = sim_finish(f->store, t, buf);
    if (ret < 0) {
        fuse_reply_err(req, -ret);
    } else if (t->r.kind == SIM_READ) {
        fuse_reply_buf(req, (const char *)buf, (size_t)t->r.bytes);
    } else if (t->r.kind == SIM_WRITE) {
        fuse_reply_write(req, asked);
    } else if (t->r.kind == SIM_TRUNCATE && t->r.flags == 0) {
        struct stat st;
        fill_stat(f, inode_of(t->r.disk), &st);
        fuse_reply_attr(req, &st, 0);
    } else {
        fuse_reply_err(req, 0);
    }
    mem_free(buf);
    return ret == 0;
}

/* Takes a request in and answers it, or holds it back; false when it failed. */
static bool handle_asked(fuse_req_t req, const struct sim_request *r, size_t asked)
{
    struct sim_fuse *f = self(req);
    struct sim_ticket t;
    sim_begin(f->store, r, &t);
    for (int i = 0; i < MAX_HELD && t.hold; i++) {
        if (!f->held[i].req) {
            f->held[i] = (struct held){req, t, asked};
            return true;
        }
    }
    if (t.hold == SIM_HUNG) {
        fuse_reply_err(req, -sim_cancel(f->store, &t));
        return false;
    }
    return answer(f, req, &t, asked);
}

static void handle(fuse_req_t req, const struct sim_request *r)
{
    settle_tail(self(req));
    handle_asked(req, r, 0);
}

/* `served`: one more request was answered; else nothing came for a while. */
static void look_at_held(struct sim_fuse *f, bool served)
{
    bool released = sim_store_released(f->store);
    for (int i = 0; i < MAX_HELD; i++) {
        struct held *h = &f->held[i];
        fuse_req_t req = h->req;
        if (!req) {
            continue;
        }
        if (h->ticket.hold == SIM_HUNG) {
            if (released) {
                h->req = NULL;
                fuse_reply_err(req, -sim_cancel(f->store, &h->ticket));
            }
        } else if (!served || --h->ticket.hold < 0 || released) {
            h->req = NULL;
            answer(f, req, &h->ticket, h->asked);
        }
    }
}

static bool any_held(const struct sim_fuse *f)
{
    for (int i = 0; i < MAX_HELD; i++) {
        if (f->held[i].req) {
            return true;
        }
    }
    return false;
}

/* ---- operations ---- */

static void op_init(void *opaque, struct fuse_conn_info *conn)
{
    conn->max_write = MAX_WRITE;
    conn->want &= ~(unsigned)(FUSE_CAP_WRITEBACK_CACHE | FUSE_CAP_AUTO_INVAL_DATA);
}

static void reply_entry(fuse_req_t req, int disk, struct fuse_file_info *fi)
{
    struct fuse_entry_param e = {.ino = inode_of(disk)};
    if (disk < 0) {
        fuse_reply_err(req, -disk);
        return;
    }
    fill_stat(self(req), e.ino, &e.attr);
    if (fi) {
        fi->direct_io = 1;
        fuse_reply_create(req, &e, fi);
    } else {
        fuse_reply_entry(req, &e);
    }
}

static void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    reply_entry(req, sim_store_open(self(req)->store, name, false), NULL);
}

static void op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
                      struct fuse_file_info *fi)
{
    reply_entry(req, sim_store_open(self(req)->store, name, true), fi);
}

static void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    fuse_reply_err(req, -sim_store_unlink(self(req)->store, name));
}

static void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct stat st;
    fill_stat(self(req), ino, &st);
    fuse_reply_attr(req, &st, 0);
}

static void op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set,
                       struct fuse_file_info *fi)
{
    int disk = disk_of(ino);
    if (disk < 0 || !(to_set & FUSE_SET_ATTR_SIZE)) {
        op_getattr(req, ino, fi); /* times and owners are not kept */
    } else if (attr->st_size < 0 || attr->st_size > DISK_MAX) {
        fuse_reply_err(req, EFBIG);
    } else {
        struct sim_request r = {.kind = SIM_TRUNCATE, .disk = disk, .offset = attr->st_size};
        handle(req, &r);
    }
}

static void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    fi->direct_io = 1;
    if (disk_of(ino) < 0) {
        fuse_reply_err(req, EISDIR);
    } else {
        fuse_reply_open(req, fi);
    }
}

static bool bad_range(fuse_req_t req, off_t offset, uint64_t bytes)
{
    if (offset < 0 || bytes > DISK_MAX || offset > DISK_MAX - (int64_t)bytes) {
        fuse_reply_err(req, EFBIG);
        return true;
    }
    return false;
}

/* A read ends at the end of the file. */
static void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
                    struct fuse_file_info *fi)
{
    int disk = disk_of(ino);
    if (bad_range(req, offset, size)) {
        return;
    }
    int64_t left = sim_store_size(self(req)->store, disk) - offset;
    if (left <= 0) {
        fuse_reply_buf(req, NULL, 0);
        return;
    }
    struct sim_request r = {
        .kind = SIM_READ, .disk = disk, .offset = offset, .bytes = MIN((int64_t)size, left)};
    handle(req, &r);
}

static bool write_joined(fuse_req_t req, struct sim_request *r, size_t asked)
{
    struct sim_fuse *f = self(req);
    struct tail *l = &f->tail;
    char *joined = mem_alloc(l->bytes + (size_t)r->bytes);
    memcpy(joined, l->data, l->bytes);
    memcpy(joined + l->bytes, r->data, (size_t)r->bytes);
    r->data = joined;
    r->offset = l->offset;
    r->bytes += (int64_t)l->bytes;
    l->bytes = 0;
    bool ok = handle_asked(req, r, asked);
    mem_free(joined);
    return ok;
}

static void op_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t offset,
                     struct fuse_file_info *fi)
{
    struct sim_fuse *f = self(req);
    struct tail *l = &f->tail;
    struct sim_request r = {.kind = SIM_WRITE, .disk = disk_of(ino), .offset = offset, .data = buf};
    struct tail next = {.disk = r.disk};
    if (bad_range(req, offset, size)) {
        return;
    }
    if (size >= MAX_WRITE - DISK_PAGE && (offset + (int64_t)size) % SECTOR) {
        next.bytes = (size_t)((offset + (int64_t)size) % SECTOR);
        next.offset = offset + (int64_t)(size - next.bytes);
        memcpy(next.data, buf + (size - next.bytes), next.bytes);
    }
    r.bytes = (int64_t)(size - next.bytes);
    if (l->bytes && l->disk == r.disk && l->offset + (int64_t)l->bytes == offset) {
        struct tail before = *l;
        if (!write_joined(req, &r, size)) {
            /* The writer was told that these bytes are there, and may go on behind them. */
            next = before;
            next.refused = true;
        }
    } else {
        settle_tail(f);
        next.bytes = handle_asked(req, &r, size) ? next.bytes : 0;
    }
    f->tail = next;
}

static void op_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
    struct sim_request r = {.kind = SIM_FLUSH, .disk = disk_of(ino)};
    handle(req, &r);
}

/* close(): flushes nothing. */
static void op_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    settle_tail(self(req));
    fuse_reply_err(req, 0);
}

static void op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t offset, off_t length,
                         struct fuse_file_info *fi)
{
    struct sim_request r = {.disk = disk_of(ino), .offset = offset, .bytes = length};
    if (length <= 0 || bad_range(req, offset, (uint64_t)length)) {
        if (length <= 0) {
            fuse_reply_err(req, EINVAL);
        }
        return;
    }
    int64_t size = sim_store_size(self(req)->store, r.disk);
    bool keep = mode & FALLOC_FL_KEEP_SIZE;
    mode &= ~FALLOC_FL_KEEP_SIZE;
    if (mode != 0 && mode != FALLOC_FL_PUNCH_HOLE && mode != FALLOC_FL_ZERO_RANGE) {
        fuse_reply_err(req, EOPNOTSUPP);
        return;
    }
    if (mode == 0) { /* what is there stays; new space reads as zeroes */
        if (keep || offset + length <= size) {
            fuse_reply_err(req, 0);
            return;
        }
        r = (struct sim_request){.kind = SIM_TRUNCATE, .disk = r.disk, .offset = offset + length};
        r.flags = DISK_OP_ALLOCATE; /* not answered with attributes */
        handle(req, &r);
        return;
    }
    r.kind = mode == FALLOC_FL_PUNCH_HOLE ? SIM_DISCARD : SIM_ZERO;
    /* Zeroed space is a hole for SEEK_DATA, as unwritten extents of host file systems are. */
    if (keep || r.kind == SIM_DISCARD) {
        r.bytes = MIN(r.bytes, size - offset);
    }
    if (r.bytes <= 0) {
        fuse_reply_err(req, 0);
        return;
    }
    handle(req, &r);
}

static void op_lseek(fuse_req_t req, fuse_ino_t ino, off_t offset, int whence,
                     struct fuse_file_info *fi)
{
    settle_tail(self(req));
    int64_t at = whence == SEEK_DATA || whence == SEEK_HOLE
                     ? sim_store_seek(self(req)->store, disk_of(ino), offset, whence == SEEK_HOLE)
                     : -EINVAL;
    if (at < 0) {
        fuse_reply_err(req, (int)-at);
    } else {
        fuse_reply_lseek(req, at);
    }
}

static void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
                       struct fuse_file_info *fi)
{
    struct sim_fuse *f = self(req);
    char *buf = mem_alloc(size), name[256];
    size_t used = 0;
    for (off_t i = offset; i < DISK_SET_MAX; i++) {
        struct stat st = {.st_ino = inode_of((int)i), .st_mode = S_IFREG};
        sim_store_lock(f->store);
        const char *n = sim_store_name(f->store, (int)i);
        snprintf(name, sizeof(name), "%s", n ? n : "");
        sim_store_unlock(f->store);
        if (!name[0]) {
            continue;
        }
        size_t len = fuse_add_direntry(req, buf + used, size - used, name, &st, i + 1);
        if (len > size - used) {
            break;
        }
        used += len;
    }
    fuse_reply_buf(req, buf, used);
    mem_free(buf);
}

static void op_statfs(fuse_req_t req, fuse_ino_t ino)
{
    struct statvfs st = {.f_bsize = DISK_PAGE,
                         .f_frsize = DISK_PAGE,
                         .f_blocks = 1 << 28,
                         .f_bfree = 1 << 28,
                         .f_bavail = 1 << 28,
                         .f_namemax = 255};
    fuse_reply_statfs(req, &st);
}

static const struct fuse_lowlevel_ops operations = {
    .init = op_init,
    .lookup = op_lookup,
    .create = op_create,
    .unlink = op_unlink,
    .getattr = op_getattr,
    .setattr = op_setattr,
    .open = op_open,
    .read = op_read,
    .write = op_write,
    .fsync = op_fsync,
    .flush = op_flush,
    .fallocate = op_fallocate,
    .lseek = op_lseek,
    .readdir = op_readdir,
    .statfs = op_statfs,
};

/* ---- serving ---- */

static void *serve(void *opaque)
{
    struct sim_fuse *f = opaque;
    struct fuse_buf buf = {.mem = NULL};
    while (!fuse_session_exited(f->session)) {
        struct pollfd fd = {.fd = fuse_session_fd(f->session), .events = POLLIN};
        int ready = poll(&fd, 1, any_held(f) ? HOLD_MS : -1);
        if (ready < 0 && errno != EINTR) {
            break;
        }
        if (ready == 0) {
            look_at_held(f, false);
        }
        if (ready <= 0) {
            continue;
        }
        int n = fuse_session_receive_buf(f->session, &buf);
        if (n == -EINTR) {
            continue;
        }
        if (n <= 0) {
            break;
        }
        fuse_session_process_buf(f->session, &buf);
        look_at_held(f, true);
    }
    sim_store_release(f->store);
    look_at_held(f, false);
    free(buf.mem);
    return NULL;
}

/* Mounts of our own vanish with the last of our processes. */
static void take_own_mounts(void)
{
    if (getuid() == 0 && unshare(CLONE_NEWNS) == 0) {
        mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL);
    }
}

static void quiet(enum fuse_log_level level, const char *format, va_list ap) {}

struct sim_fuse *sim_fuse_new(struct sim_store *s, const char *dir, struct error **err)
{
    char *argv[] = {"blkref", "-o", "fsname=blkref,subtype=sim", NULL};
    struct fuse_args args = FUSE_ARGS_INIT(3, argv);
    if (access("/dev/fuse", R_OK | W_OK) < 0) {
        error_set(err, ENOTSUP, "no FUSE here: /dev/fuse: %s", strerror(errno));
        return NULL;
    }
    struct sim_fuse *f = mem_zalloc(sizeof(*f));
    f->store = s;
    f->dir = str_dup(dir);
    take_own_mounts();
    fuse_set_log_func(quiet);
    f->session = fuse_session_new(&args, &operations, sizeof(operations), f);
    f->mounted = f->session && fuse_session_mount(f->session, dir) == 0;
    f->running = f->mounted && pthread_create(&f->thread, NULL, serve, f) == 0;
    fuse_set_log_func(NULL);
    fuse_opt_free_args(&args);
    if (!f->running) {
        error_set(err, ENOTSUP, "no FUSE here: '%s' cannot be mounted", dir);
        sim_fuse_free(f);
        return NULL;
    }
    return f;
}

void sim_fuse_free(struct sim_fuse *f)
{
    if (!f) {
        return;
    }
    if (f->running) {
        sim_store_release(f->store);
        fuse_session_exit(f->session);
    }
    if (f->mounted) {
        fuse_session_unmount(f->session);
    }
    if (f->running) {
        pthread_join(f->thread, NULL);
    }
    if (f->session) {
        fuse_session_destroy(f->session);
    }
    mem_free(f->dir);
    mem_free(f);
}
