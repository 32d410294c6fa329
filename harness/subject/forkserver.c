/*
 * The client of the preloaded fork server.  See forkserver.h.
 */
#include "harness/subject/forkserver.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include "harness/subject/preload.h"
#include "harness/subject/spawn.h"
#include "ref/base/mem.h"
#include "ref/base/strbuf.h"

struct forkserver {
    char *program, *also;
    pid_t pid, owner; /* pid 0: no server */
    int control;
};

static int spawn_server(struct forkserver *f, const char *lib, int control)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC), ret = -errno;
    if (null >= 0) {
        char *argv[] = {f->program, NULL};
        char *libs = str_fmt("%s%s%s", lib, f->also ? ":" : "", f->also ? f->also : "");
        char *fd = str_fmt("BLKREF_FORKSERVER=%d", SPAWN_CONTROL_FD);
        char **env = preload_environment(libs, fd);
        ret = spawn_program(&f->pid, argv, env, null, null, control);
        f->pid = ret < 0 ? 0 : f->pid;
        preload_environment_free(env);
        mem_free(fd);
        mem_free(libs);
        close(null);
    }
    return ret;
}

static void start_server(struct forkserver *f)
{
    char *lib = preload_library("forkserver");
    int control[2];
    if (lib && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, control) == 0) {
        if (spawn_server(f, lib, control[1]) == 0) {
            f->control = control[0];
        } else {
            close(control[0]);
        }
        close(control[1]);
    }
    mem_free(lib);
}

/* The server ends when nobody holds the other end. */
static void stop_server(struct forkserver *f)
{
    if (f->pid) {
        close(f->control);
        if (f->owner == getpid()) {
            waitpid(f->pid, NULL, 0);
        }
    }
    f->pid = 0;
}

struct forkserver *forkserver_new(const char *program, const char *also)
{
    struct forkserver *f = mem_zalloc(sizeof(*f));
    f->program = str_dup(program);
    f->also = str_dup(also);
    f->owner = getpid();
    start_server(f);
    return f;
}

void forkserver_free(struct forkserver *f)
{
    if (f) {
        stop_server(f);
        mem_free(f->program);
        mem_free(f->also);
        mem_free(f);
    }
}

bool forkserver_fast(const struct forkserver *f)
{
    return f->pid != 0 && f->owner == getpid();
}

static int send_line(const struct forkserver *f, char *const argv[], const int fds[2])
{
    struct strbuf line = STRBUF_INIT;
    uint32_t len = 0;
    strbuf_add(&line, (const char *)&len, sizeof(len)); /* room */
    for (int i = 0; argv[i]; i++) {
        strbuf_add(&line, argv[i], strlen(argv[i]) + 1);
    }
    len = (uint32_t)(line.len - sizeof(len));
    memcpy(line.s, &len, sizeof(len));
    union {
        struct cmsghdr align;
        char room[CMSG_SPACE(2 * sizeof(int))];
    } control = {0};
    struct iovec iov = {line.s, line.len};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control.room,
                         .msg_controllen = sizeof(control.room)};
    struct cmsghdr *rights = CMSG_FIRSTHDR(&msg);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(2 * sizeof(int));
    memcpy(CMSG_DATA(rights), fds, 2 * sizeof(int));
    ssize_t n = sendmsg(f->control, &msg, MSG_NOSIGNAL);
    int ret = n == (ssize_t)line.len ? 0 : -EPIPE;
    strbuf_free(&line);
    return ret;
}

static int take_number(struct forkserver *f, int32_t *number)
{
    ssize_t n;
    do {
        n = recv(f->control, number, sizeof(*number), MSG_WAITALL);
    } while (n < 0 && errno == EINTR);
    if (n != sizeof(*number)) {
        stop_server(f);
        return -EPIPE;
    }
    return 0;
}

pid_t forkserver_start(struct forkserver *f, char *const argv[], int in, int out)
{
    int32_t pid = 0, status;
    const int fds[2] = {in, out};
    if (!forkserver_fast(f)) {
        return -ENOTSUP;
    }
    if (send_line(f, argv, fds) < 0) {
        stop_server(f);
        return -ENOTSUP;
    }
    int ret = take_number(f, &pid);
    if (ret == 0 && pid < 0) { /* it could not fork */
        ret = take_number(f, &status);
        pid = -ENOTSUP;
    }
    return ret < 0 ? ret : pid;
}

int forkserver_wait(struct forkserver *f, int *status)
{
    int32_t number = 0;
    int ret = take_number(f, &number);
    *status = number;
    return ret;
}
