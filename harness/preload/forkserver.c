/*
 * Preloaded into a program under test: starts it once, then forks it for each command line.
 *
 * Models: an unmodified program, stopped before its main(), that waits for command lines on a
 * socket; each runs in a fork of it, so exec and dynamic linking are paid once.  Protocol (native
 * byte order): to here a uint32 length and that many bytes, arguments each with its NUL; back an
 * int32 process id, then an int32 wait status.  Output goes to the standard output and error that
 * the server was started with.  Leaves out: programs that start threads before main().
 */
#include <dlfcn.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
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

static int take(int fd, void *buf, size_t len)
{
    for (size_t done = 0; done < len;) {
        ssize_t n = read(fd, (char *)buf + done, len - done);
        if (n <= 0) {
            return -1;
        }
        done += (size_t)n;
    }
    return 0;
}

/* One command line; < 0 at the end of the stream. */
static int take_line(int fd, char *line, char **argv, int *argc)
{
    uint32_t len;
    if (take(fd, &len, sizeof(len)) < 0 || len == 0 || len > MAX_LINE || take(fd, line, len) < 0 ||
        line[len - 1]) {
        return -1;
    }
    *argc = 0;
    for (uint32_t at = 0; at < len && *argc < MAX_ARGS; at += (uint32_t)strlen(line + at) + 1) {
        argv[(*argc)++] = line + at;
    }
    argv[*argc] = NULL;
    return 0;
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
    while (take_line(fd, line, args, &argc) == 0) {
        int32_t pid = fork(), status = -1;
        if (pid == 0) {
            close(fd);
            exit(program_main(argc, args, environ));
        }
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
