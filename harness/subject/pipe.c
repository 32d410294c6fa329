/*
 * Child processes behind pipes.
 */
#include "harness/subject/pipe.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "harness/subject/forkserver.h"
#include "harness/subject/spawn.h"
#include "ref/base/mem.h"

/* A fork of the server's, or else a child of ours; never both. */
static int start(struct pipe *p, char *const argv[], char *const env[], int in, int out)
{
    pid_t pid = p->server ? forkserver_start(p->server, argv, in, out) : -ENOTSUP;
    if (pid != -ENOTSUP) {
        p->pid = MAX(pid, 0);
        return MIN(pid, 0);
    }
    p->server = NULL;
    return spawn_program(&p->pid, argv, env, in, out, -1);
}

int pipe_start(struct pipe *p, struct forkserver *server, char *const argv[], char *const env[])
{
    int in[2], out[2];
    memset(p, 0, sizeof(*p));
    p->server = server;
    p->limit_ms = PIPE_LIMIT_MS;
    p->limit_cpu_ms = PIPE_LIMIT_CPU_MS;
    if (pipe2(in, O_CLOEXEC) < 0) {
        return -errno;
    }
    if (pipe2(out, O_CLOEXEC) < 0) {
        int ret = -errno;
        close(in[0]);
        close(in[1]);
        return ret;
    }
    int ret = start(p, argv, env, in[0], out[1]);
    close(in[0]);
    close(out[1]);
    p->in = in[1];
    p->out = out[0];
    if (ret < 0) {
        close(p->in);
        close(p->out);
        p->pid = 0;
    }
    return ret;
}

int pipe_send(struct pipe *p, const char *text)
{
    size_t len = strlen(text);
    while (len) {
        ssize_t n = write(p->in, text, len);
        if (n < 0 && errno != EINTR) {
            return -errno;
        }
        text += MAX(n, 0);
        len -= (size_t)MAX(n, 0);
    }
    return 0;
}

/* It would run, had the machine a CPU for it. */
static bool wants_to_run(const struct pipe *p)
{
    char *name = str_fmt("/proc/%d/stat", (int)p->pid), state = 0;
    FILE *f = fopen(name, "r");
    bool ok = f && fscanf(f, "%*d (%*[^)]) %c", &state) == 1;
    if (f) {
        fclose(f);
    }
    mem_free(name);
    return ok && state == 'R';
}

/* It said nothing for the limit: is it at work? */
static bool at_work(struct pipe *p)
{
    clockid_t clock;
    struct timespec t;
    int64_t before = p->cpu_ms;
    if (clock_getcpuclockid(p->pid, &clock) || clock_gettime(clock, &t) < 0) {
        return false;
    }
    p->cpu_ms = (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
    return (p->cpu_ms > before || wants_to_run(p)) && p->cpu_ms < p->limit_cpu_ms;
}

/* > 0 bytes came or may come, 0 the end, < 0 an error or a hang. */
static int take(struct pipe *p)
{
    char buf[16384];
    struct pollfd fd = {.fd = p->out, .events = POLLIN};
    int ready = poll(&fd, 1, p->limit_ms);
    if (ready == 0) {
        return at_work(p) ? 1 : -ETIMEDOUT;
    }
    if (ready < 0) {
        return errno == EINTR ? 1 : -errno;
    }
    ssize_t n = read(p->out, buf, sizeof(buf));
    if (n > 0) {
        strbuf_add(&p->answer, buf, (size_t)n);
    }
    return n < 0 ? -errno : (int)n;
}

int pipe_answer(struct pipe *p, const char *marker)
{
    size_t len = strlen(marker);
    strbuf_reset(&p->answer);
    for (;;) {
        int n = take(p);
        if (n <= 0) {
            return n < 0 ? n : -EPIPE;
        }
        if (p->answer.len >= len && !memcmp(p->answer.s + p->answer.len - len, marker, len)) {
            p->answer.len -= len;
            p->answer.s[p->answer.len] = 0;
            return 0;
        }
    }
}

static int reap(struct pipe *p)
{
    int status, ret = 0;
    if (p->server) {
        ret = forkserver_wait(p->server, &status);
    } else {
        while (waitpid(p->pid, &status, 0) < 0 && errno == EINTR) {
        }
    }
    p->pid = 0;
    close(p->out);
    strbuf_puts(&p->answer, "");
    if (ret < 0) {
        return ret;
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : -ECHILD;
}

int pipe_finish(struct pipe *p)
{
    int n;
    if (!p->pid) {
        return -ECHILD;
    }
    strbuf_reset(&p->answer);
    close(p->in);
    while ((n = take(p)) > 0) {
    }
    if (n < 0) {
        kill(p->pid, SIGKILL);
    }
    int status = reap(p);
    return n < 0 ? n : status;
}

void pipe_kill(struct pipe *p)
{
    if (p->pid) {
        kill(p->pid, SIGKILL);
        close(p->in);
        reap(p);
    }
    strbuf_free(&p->answer);
}

int pipe_run(struct forkserver *server, char *const argv[], char *const env[],
             struct strbuf *output)
{
    struct pipe p;
    int ret = pipe_start(&p, server, argv, env);
    if (ret == 0) {
        ret = pipe_finish(&p);
    }
    if (output) {
        strbuf_puts(output, p.answer.s ? p.answer.s : "");
    }
    strbuf_free(&p.answer);
    return ret;
}
