/*
 * The NBD server of simulated disks.  See sim_nbd.h; the protocol is NBD's own document.
 */
#include "harness/sim/sim_nbd.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "ref/base/bytes.h"
#include "ref/base/mem.h"

#define HOLD_MS      20 /* nothing else comes: who is delayed is answered */
#define MAX_CLIENTS  16
#define MAX_BATCH    16
#define MAX_OPTION   4096
#define MAX_TRANSFER (32 << 20)

#define MAGIC_INIT     0x4e42444d41474943ULL
#define MAGIC_OPTION   0x49484156454f5054ULL
#define MAGIC_OPTREPLY 0x3e889045565a9ULL
#define MAGIC_REQUEST  0x25609513u
#define MAGIC_REPLY    0x67446698u

enum { OPT_EXPORT_NAME = 1, OPT_ABORT, OPT_LIST, OPT_INFO = 6, OPT_GO };
enum { REP_ACK = 1, REP_SERVER, REP_INFO };
#define REP_ERR(n) (0x80000000u + (n))
enum { ERR_UNSUP = 1, ERR_INVALID = 3, ERR_UNKNOWN = 6, ERR_TOO_BIG = 9 };
enum { CMD_READ, CMD_WRITE, CMD_DISC, CMD_FLUSH, CMD_TRIM, CMD_WRITE_ZEROES = 6 };
enum { FLAG_FIXED_NEWSTYLE = 1, FLAG_NO_ZEROES = 2 };
enum { CMD_FLAG_FUA = 1, CMD_FLAG_NO_HOLE = 2 };
/* has flags, flush, FUA, trim, write zeroes */
#define EXPORT_FLAGS (1 | 1 << 2 | 1 << 3 | 1 << 5 | 1 << 6)

struct client {
    struct sim_nbd *n;
    pthread_t thread;
    int fd; /* -1: free */
    bool started;
    int disk;
    bool no_zeroes;
};

struct sim_nbd {
    struct sim_store *store;
    char *path;
    int fd, wake[2];
    pthread_t thread;
    bool running;
    struct client clients[MAX_CLIENTS];
};

struct pending {
    uint64_t handle;
    struct sim_ticket ticket;
    int error; /* refused at once */
};

static bool take(int fd, void *buf, size_t len)
{
    for (size_t done = 0; done < len;) {
        ssize_t n = recv(fd, (char *)buf + done, len - done, 0);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return false;
        }
        done += (size_t)n;
    }
    return true;
}

static bool put(int fd, const void *buf, size_t len)
{
    for (size_t done = 0; done < len;) {
        ssize_t n = send(fd, (const char *)buf + done, len - done, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return false;
        }
        done += (size_t)n;
    }
    return true;
}

/* ---- handshake ---- */

static bool put_option_reply(struct client *c, uint32_t option, uint32_t type, const void *data,
                             uint32_t len)
{
    uint8_t head[20];
    store_be64(head, MAGIC_OPTREPLY);
    store_be32(head + 8, option);
    store_be32(head + 12, type);
    store_be32(head + 16, len);
    return put(c->fd, head, sizeof(head)) && put(c->fd, data, len);
}

/* The disk of an export's name, or < 0. */
static int find_export(struct client *c, const uint8_t *name, uint32_t len)
{
    char *text = str_ndup((const char *)name, len);
    const char *plain = text[0] == '/' ? text + 1 : text;
    int disk = len ? sim_store_open(c->n->store, plain, false) : 0;
    mem_free(text);
    return disk;
}

/* 1 transmission begins, 0 go on, -1 the connection ends. */
static int export_name(struct client *c, const uint8_t *data, uint32_t len)
{
    uint8_t reply[134] = {0};
    c->disk = find_export(c, data, len);
    if (c->disk < 0) {
        return -1;
    }
    store_be64(reply, (uint64_t)sim_store_size(c->n->store, c->disk));
    store_be16(reply + 8, EXPORT_FLAGS);
    return put(c->fd, reply, c->no_zeroes ? 10 : sizeof(reply)) ? 1 : -1;
}

static int go(struct client *c, uint32_t option, const uint8_t *data, uint32_t len)
{
    uint8_t info[12] = {0};
    uint32_t name_len = len >= 6 ? load_be32(data) : UINT32_MAX;
    if (name_len > len - 6) {
        return put_option_reply(c, option, REP_ERR(ERR_INVALID), NULL, 0) ? 0 : -1;
    }
    int disk = find_export(c, data + 4, name_len);
    if (disk < 0) {
        return put_option_reply(c, option, REP_ERR(ERR_UNKNOWN), NULL, 0) ? 0 : -1;
    }
    c->disk = disk;
    store_be64(info + 2, (uint64_t)sim_store_size(c->n->store, disk));
    store_be16(info + 10, EXPORT_FLAGS);
    bool ok = put_option_reply(c, option, REP_INFO, info, sizeof(info)) &&
              put_option_reply(c, option, REP_ACK, NULL, 0);
    return !ok ? -1 : option == OPT_GO;
}

static int list(struct client *c)
{
    uint8_t data[260];
    for (int i = 0; i < DISK_SET_MAX; i++) {
        sim_store_lock(c->n->store);
        const char *name = sim_store_name(c->n->store, i);
        uint32_t len = name ? (uint32_t)MIN(strlen(name), (size_t)255) : 0;
        memcpy(data + 4, name ? name : "", len);
        sim_store_unlock(c->n->store);
        store_be32(data, len);
        if (len && !put_option_reply(c, OPT_LIST, REP_SERVER, data, len + 4)) {
            return -1;
        }
    }
    return put_option_reply(c, OPT_LIST, REP_ACK, NULL, 0) ? 0 : -1;
}

static int take_option(struct client *c)
{
    uint8_t head[16], data[MAX_OPTION];
    if (!take(c->fd, head, sizeof(head)) || load_be64(head) != MAGIC_OPTION) {
        return -1;
    }
    uint32_t option = load_be32(head + 8), len = load_be32(head + 12);
    if (len > sizeof(data) || !take(c->fd, data, len)) {
        return -1;
    }
    switch (option) {
    case OPT_EXPORT_NAME:
        return export_name(c, data, len);
    case OPT_ABORT:
        put_option_reply(c, option, REP_ACK, NULL, 0);
        return -1;
    case OPT_LIST:
        return list(c);
    case OPT_INFO:
    case OPT_GO:
        return go(c, option, data, len);
    default:
        return put_option_reply(c, option, REP_ERR(ERR_UNSUP), NULL, 0) ? 0 : -1;
    }
}

static bool handshake(struct client *c)
{
    uint8_t hello[18], flags[4];
    int ret = 0;
    store_be64(hello, MAGIC_INIT);
    store_be64(hello + 8, MAGIC_OPTION);
    store_be16(hello + 16, FLAG_FIXED_NEWSTYLE | FLAG_NO_ZEROES);
    if (!put(c->fd, hello, sizeof(hello)) || !take(c->fd, flags, sizeof(flags))) {
        return false;
    }
    c->no_zeroes = load_be32(flags) & FLAG_NO_ZEROES;
    while (ret == 0) {
        ret = take_option(c);
    }
    return ret > 0;
}

/* ---- transmission ---- */

static int wire_error(int error)
{
    static const int known[] = {EPERM, EIO, ENOMEM, EINVAL, ENOSPC, EOVERFLOW, EOPNOTSUPP};
    for (size_t i = 0; i < ARRAY_SIZE(known); i++) {
        if (error == known[i]) {
            return error;
        }
    }
    return error ? EIO : 0;
}

/* Fills *r; 0 or a positive errno. */
static int translate(struct client *c, uint16_t flags, uint16_t type, uint64_t offset, uint32_t len,
                     struct sim_request *r)
{
    uint64_t size = (uint64_t)sim_store_size(c->n->store, c->disk);
    *r = (struct sim_request){.disk = c->disk};
    if (type == CMD_FLUSH) {
        r->kind = SIM_FLUSH;
        return 0;
    }
    if (offset > size || len > size - offset) {
        return type == CMD_WRITE || type == CMD_WRITE_ZEROES ? ENOSPC : EINVAL;
    }
    r->offset = (int64_t)offset;
    r->bytes = len;
    r->flags = flags & CMD_FLAG_FUA ? DISK_OP_FUA : 0;
    switch (type) {
    case CMD_READ:
        r->kind = SIM_READ;
        return len > MAX_TRANSFER ? EOVERFLOW : 0;
    case CMD_WRITE:
        r->kind = SIM_WRITE;
        return 0;
    case CMD_TRIM:
        r->kind = SIM_DISCARD;
        return 0;
    case CMD_WRITE_ZEROES:
        r->kind = SIM_ZERO;
        r->flags |= flags & CMD_FLAG_NO_HOLE ? DISK_OP_ALLOCATE : 0;
        return 0;
    default:
        return EINVAL;
    }
}

/* Takes one request in; false: the connection ends. */
static bool take_request(struct client *c, struct pending *p)
{
    uint8_t head[28];
    struct sim_request r;
    if (!take(c->fd, head, sizeof(head)) || load_be32(head) != MAGIC_REQUEST) {
        return false;
    }
    uint16_t flags = load_be16(head + 4), type = load_be16(head + 6);
    uint32_t len = load_be32(head + 24);
    if (type == CMD_DISC || (type == CMD_WRITE && len > MAX_TRANSFER)) {
        return false;
    }
    void *data = type == CMD_WRITE ? mem_alloc(MAX(len, 1u)) : NULL;
    bool ok = !data || take(c->fd, data, len);
    if (ok) {
        memset(p, 0, sizeof(*p));
        p->handle = load_be64(head + 8);
        p->error = translate(c, flags, type, load_be64(head + 16), len, &r);
        r.data = data;
        if (!p->error) {
            sim_begin(c->n->store, &r, &p->ticket);
        }
    }
    mem_free(data);
    return ok;
}

static bool put_reply(struct client *c, struct pending *p)
{
    uint8_t head[16];
    bool read = !p->error && p->ticket.r.kind == SIM_READ;
    size_t bytes = read ? (size_t)p->ticket.r.bytes : 0;
    uint8_t *buf = read ? mem_alloc(MAX(bytes, (size_t)1)) : NULL;
    int error = p->error;
    if (!error && p->ticket.hold == SIM_HUNG) {
        error = -sim_cancel(c->n->store, &p->ticket);
    } else if (!error) {
        error = -sim_finish(c->n->store, &p->ticket, buf);
    }
    store_be32(head, MAGIC_REPLY);
    store_be32(head + 4, (uint32_t)wire_error(error));
    store_be64(head + 8, p->handle);
    bool ok = put(c->fd, head, sizeof(head)) && (!read || error || put(c->fd, buf, bytes));
    mem_free(buf);
    return ok;
}

static bool more_to_read(int fd, int timeout)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    return poll(&p, 1, timeout) > 0; /* its end, too */
}

/* Answers what may be answered now; what is held back stays.  Returns how many stay, < 0 at the
 * end. */
static int answer(struct client *c, struct pending *batch, int n, bool idle)
{
    bool released = sim_store_released(c->n->store);
    int left = 0;
    for (int i = 0; i < n; i++) {
        struct sim_ticket *t = &batch[i].ticket;
        bool hung = t->hold == SIM_HUNG,
             wait = hung ? !released : t->hold > 0 && !idle && !released;
        if (wait) {
            t->hold -= !hung;
            batch[left++] = batch[i];
        } else if (!put_reply(c, &batch[i])) {
            return -1;
        }
    }
    return left;
}

static void transmit(struct client *c)
{
    struct pending batch[MAX_BATCH];
    int n = 0;
    while (n >= 0) {
        bool full = n == MAX_BATCH, came = !full && more_to_read(c->fd, n ? HOLD_MS : -1);
        bool idle = !came;
        if (full) {
            poll(NULL, 0, HOLD_MS);
        }
        while (came && n < MAX_BATCH) {
            if (!take_request(c, &batch[n])) {
                return;
            }
            n++;
            came = more_to_read(c->fd, 0);
        }
        n = answer(c, batch, n, idle);
    }
}

static void *serve_client(void *opaque)
{
    struct client *c = opaque;
    if (handshake(c)) {
        transmit(c);
    }
    shutdown(c->fd, SHUT_RDWR);
    return NULL;
}

/* ---- the server ---- */

static void end_client(struct client *c)
{
    if (c->started) {
        shutdown(c->fd, SHUT_RDWR);
        pthread_join(c->thread, NULL);
        close(c->fd);
        c->started = false;
    }
}

/* A place of a client that has gone, or a free one; NULL: all are busy. */
static struct client *free_place(struct sim_nbd *n)
{
    for (int i = 0; i < MAX_CLIENTS; i++) {
        struct client *c = &n->clients[i];
        char byte;
        bool gone = c->started && recv(c->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
        if (gone) {
            end_client(c);
        }
        if (!c->started) {
            return c;
        }
    }
    return NULL;
}

static void *accept_all(void *opaque)
{
    struct sim_nbd *n = opaque;
    struct pollfd fds[2] = {{.fd = n->fd, .events = POLLIN}, {.fd = n->wake[0], .events = POLLIN}};
    for (;;) {
        if (poll(fds, 2, -1) < 0 && errno != EINTR) {
            break;
        }
        if (fds[1].revents) {
            break;
        }
        int fd = fds[0].revents ? accept4(n->fd, NULL, NULL, SOCK_CLOEXEC) : -1;
        struct client *c = fd >= 0 ? free_place(n) : NULL;
        if (fd >= 0 && !c) {
            close(fd);
        } else if (c) {
            *c = (struct client){.n = n, .fd = fd};
            c->started = pthread_create(&c->thread, NULL, serve_client, c) == 0;
            if (!c->started) {
                close(fd);
            }
        }
    }
    return NULL;
}

struct sim_nbd *sim_nbd_new(struct sim_store *s, const char *path, struct error **err)
{
    struct sim_nbd *n = mem_zalloc(sizeof(*n));
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    n->store = s;
    n->path = str_dup(path);
    n->wake[0] = n->wake[1] = -1;
    n->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool fits = strlen(path) < sizeof(addr.sun_path);
    if (fits) {
        memcpy(addr.sun_path, path, strlen(path) + 1);
    }
    if (!fits || n->fd < 0 || bind(n->fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 ||
        listen(n->fd, MAX_CLIENTS) < 0 || pipe2(n->wake, O_CLOEXEC) < 0 ||
        pthread_create(&n->thread, NULL, accept_all, n) != 0) {
        error_set_errno(err, fits ? errno : ENAMETOOLONG, "%s", path);
        sim_nbd_free(n);
        return NULL;
    }
    n->running = true;
    return n;
}

void sim_nbd_free(struct sim_nbd *n)
{
    if (!n) {
        return;
    }
    if (n->running) {
        sim_store_release(n->store);
        if (write(n->wake[1], "", 1) == 1) {
            pthread_join(n->thread, NULL);
        }
        for (int i = 0; i < MAX_CLIENTS; i++) {
            end_client(&n->clients[i]);
        }
        unlink(n->path);
    }
    for (int i = 0; i < 2; i++) {
        if (n->wake[i] >= 0) {
            close(n->wake[i]);
        }
    }
    if (n->fd >= 0) {
        close(n->fd);
    }
    mem_free(n->path);
    mem_free(n);
}
