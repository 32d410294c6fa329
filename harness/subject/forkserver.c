/*
 * The client of the preloaded fork server.  See forkserver.h.
 */
#include "harness/subject/forkserver.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include "harness/subject/pipe.h"
#include "harness/subject/preload.h"
#include "ref/base/mem.h"

#define CONTROL_FD 198 /* in the server */

struct forkserver {
    char *program;
    pid_t pid; /* 0: no server, run it the ordinary way */
    int control, output;
};

static int spawn(struct forkserver *f, const char *lib, int control, int output)
{
    posix_spawn_file_actions_t files;
    char *argv[] = {f->program, NULL}, *fd = str_fmt("BLKREF_FORKSERVER=%d", CONTROL_FD);
    char **env = preload_environment(lib, fd);
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&files, output, 1);
    posix_spawn_file_actions_adddup2(&files, output, 2);
    posix_spawn_file_actions_adddup2(&files, control, CONTROL_FD);
    int ret = posix_spawnp(&f->pid, f->program, &files, NULL, argv, env);
    posix_spawn_file_actions_destroy(&files);
    preload_environment_free(env);
    mem_free(fd);
    f->pid = ret ? 0 : f->pid;
    return -ret;
}

static void start(struct forkserver *f)
{
    char *lib = preload_library("forkserver");
    int control[2] = {-1, -1}, output[2] = {-1, -1};
    if (lib && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, control) == 0 &&
        pipe2(output, O_CLOEXEC) == 0 && spawn(f, lib, control[1], output[1]) == 0) {
        f->control = control[0];
        f->output = output[0];
        control[0] = output[0] = -1;
    }
    for (int i = 0; i < 2; i++) {
        if (control[i] >= 0) {
            close(control[i]);
        }
        if (output[i] >= 0) {
            close(output[i]);
        }
    }
    mem_free(lib);
}

static void stop(struct forkserver *f)
{
    if (f->pid) {
        close(f->control);
        close(f->output);
        waitpid(f->pid, NULL, 0);
    }
    f->pid = 0;
}

struct forkserver *forkserver_new(const char *program)
{
    struct forkserver *f = mem_zalloc(sizeof(*f));
    f->program = str_dup(program);
    start(f);
    return f;
}

void forkserver_free(struct forkserver *f)
{
    if (f) {
        stop(f);
        mem_free(f->program);
        mem_free(f);
    }
}

bool forkserver_fast(const struct forkserver *f)
{
    return f->pid != 0;
}

static int send_line(const struct forkserver *f, char *const argv[])
{
    struct strbuf line = STRBUF_INIT;
    uint32_t len = 0;
    strbuf_add(&line, (const char *)&len, sizeof(len)); /* room */
    for (int i = 0; argv[i]; i++) {
        strbuf_add(&line, argv[i], strlen(argv[i]) + 1);
    }
    len = (uint32_t)(line.len - sizeof(len));
    memcpy(line.s, &len, sizeof(len));
    ssize_t n = send(f->control, line.s, line.len, MSG_NOSIGNAL);
    int ret = n == (ssize_t)line.len ? 0 : -EPIPE;
    strbuf_free(&line);
    return ret;
}

static int take_output(const struct forkserver *f, struct strbuf *out)
{
    char buf[16384];
    ssize_t n = read(f->output, buf, sizeof(buf));
    if (n > 0 && out) {
        strbuf_add(out, buf, (size_t)n);
    }
    return n > 0 ? 0 : -EPIPE;
}

/* Waits for one number on the control socket, and takes what is printed meanwhile. */
static int wait_number(const struct forkserver *f, int32_t *number, struct strbuf *out)
{
    for (;;) {
        struct pollfd fds[] = {{.fd = f->control, .events = POLLIN},
                               {.fd = f->output, .events = POLLIN}};
        int ready = poll(fds, 2, PIPE_LIMIT_MS);
        if (ready == 0) {
            return -ETIMEDOUT;
        }
        if (ready > 0 && fds[1].revents & POLLIN && take_output(f, out) < 0) {
            return -EPIPE;
        }
        if (ready > 0 && !(fds[1].revents & POLLIN) && fds[0].revents) {
            ssize_t n = recv(f->control, number, sizeof(*number), MSG_WAITALL);
            return n == sizeof(*number) ? 0 : -EPIPE;
        }
    }
}

/* What was printed before the status came, and not taken yet. */
static void drain(const struct forkserver *f, struct strbuf *out)
{
    struct pollfd fd = {.fd = f->output, .events = POLLIN};
    while (poll(&fd, 1, 0) > 0 && fd.revents & POLLIN && take_output(f, out) == 0) {
    }
}

int forkserver_run(struct forkserver *f, char *const argv[], struct strbuf *out)
{
    int32_t pid = 0, status = 0;
    if (!f->pid) {
        return pipe_run(argv, NULL, out);
    }
    int ret = send_line(f, argv);
    if (ret == 0) {
        ret = wait_number(f, &pid, out);
    }
    if (ret == 0) {
        ret = wait_number(f, &status, out);
        if (ret == -ETIMEDOUT && pid > 0) {
            kill(pid, SIGKILL);
            wait_number(f, &status, out);
        }
    }
    drain(f, out);
    if (ret < 0) {
        if (ret != -ETIMEDOUT) {
            stop(f); /* the server itself is gone: the ordinary way from now on */
        }
        return ret;
    }
    if (out) {
        strbuf_puts(out, "");
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : -ECHILD;
}
