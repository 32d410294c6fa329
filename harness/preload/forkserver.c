/*
 * Preloaded into a program under test: starts it once, then forks it for each command line.
 *
 * Models: an unmodified program, stopped before its main(), that waits for command lines on a
 * socket; each runs in a fork of it, so exec and dynamic linking are paid once.  Protocol (native
 * byte order): to here a uint32 length and that many bytes, arguments each with its NUL, and two
 * descriptors (SCM_RIGHTS), the run's standard input and its output and error; back an int32
 * process id, then an int32 wait status.  Leaves out: programs that start threads before main().
 */
#include <dlfcn.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define MAX_ARGS 64
#define MAX_LINE 65536

typedef int main_function(int argc, char **argv, char **envp);
typedef int start_function(main_function *main, int argc, char **argv, void (*init)(void),
                           void (*fini)(void), void (*rtld_fini)(void), void *stack_end);

start_function __libc_start_main;

/* The only place for it: main() takes no argument of ours. */
static main_function *program_main;

/* The descriptors come with the first byte of a command line. */
static int take(int fd, void *buf, size_t len, int fds[2])
{
    for (size_t done = 0; done < len;) {
        union {
            struct cmsghdr align;
            char room[CMSG_SPACE(2 * sizeof(int))];
        } control;
        struct iovec iov = {(char *)buf + done, len - done};
        struct msghdr msg = {.msg_iov = &iov,
                             .msg_iovlen = 1,
                             .msg_control = control.room,
                             .msg_controllen = sizeof(control.room)};
        ssize_t n = recvmsg(fd, &msg, 0);
        if (n <= 0) {
            return -1;
        }
        const struct cmsghdr *rights = CMSG_FIRSTHDR(&msg);
        if (rights && rights->cmsg_len == CMSG_LEN(2 * sizeof(int))) {
            memcpy(fds, CMSG_DATA(rights), 2 * sizeof(int));
        }
        done += (size_t)n;
    }
    return 0;
}

/* One command line; < 0 at the end of the stream. */
static int take_line(int fd, char *line, char **argv, int *argc, int fds[2])
{
    uint32_t len;
    if (take(fd, &len, sizeof(len), fds) < 0 || len == 0 || len > MAX_LINE ||
        take(fd, line, len, fds) < 0 || line[len - 1]) {
        return -1;
    }
    *argc = 0;
    for (uint32_t at = 0; at < len && *argc < MAX_ARGS; at += (uint32_t)strlen(line + at) + 1) {
        argv[(*argc)++] = line + at;
    }
    argv[*argc] = NULL;
    return 0;
}

static void become(int control, const int fds[2])
{
    dup2(fds[0], 0);
    dup2(fds[1], 1);
    dup2(fds[1], 2);
    close(fds[0]);
    close(fds[1]);
    close(control);
}

static int serve(int argc, char **argv, char **envp)
{
    const char *number = getenv("BLKREF_FORKSERVER");
    if (!number) {
        return program_main(argc, argv, envp);
    }
    int fd = atoi(number);
    char line[MAX_LINE], *args[MAX_ARGS + 1];
    unsetenv("LD_PRELOAD");
    unsetenv("BLKREF_FORKSERVER");
    int fds[2];
    while (take_line(fd, line, args, &argc, fds) == 0) {
        int32_t pid = fork(), status = -1;
        if (pid == 0) {
            become(fd, fds);
            exit(program_main(argc, args, environ));
        }
        close(fds[0]);
        close(fds[1]);
        if (write(fd, &pid, sizeof(pid)) != sizeof(pid)) {
            break;
        }
        if (pid > 0) {
            waitpid(pid, &status, 0);
        }
        if (write(fd, &status, sizeof(status)) != sizeof(status)) {
            break;
        }
    }
    return 0;
}

int __libc_start_main(main_function *program, int argc, char **argv, void (*init)(void),
                      void (*fini)(void), void (*rtld_fini)(void), void *stack_end)
{
    start_function *real = (start_function *)dlsym(RTLD_NEXT, "__libc_start_main");
    program_main = program;
    return real(serve, argc, argv, init, fini, rtld_fini, stack_end);
}
