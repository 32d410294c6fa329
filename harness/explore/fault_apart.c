/*
 * The fault explorer in a process of its own: an assertion, a signal or an endless loop of the
 * subject is a finding like any other, and the explorer goes on.
 *
 * The child writes records to a pipe: the plan it starts with, findings, in the end its counts.
 */
#include "harness/explore/fault_explore_int.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include "ref/base/mem.h"

#define APART_SECONDS 60 /* of CPU time for one run; "goes on without bound" */
#define TEXT_MAX      (1u << 20)

enum record_kind { RECORD_START, RECORD_FINDING, RECORD_COUNTS, RECORD_ERROR };
struct record {
    uint32_t kind, len[3];
};

static void put(int fd, const void *data, size_t len)
{
    const char *p = data;
    while (len > 0) {
        ssize_t n = write(fd, p, len);
        if (n <= 0) {
            _exit(3);
        }
        p += n;
        len -= (size_t)n;
    }
}

static void put_record(int fd, enum record_kind kind, const char *a, const char *b, const char *c)
{
    const char *text[3] = {a, b, c};
    struct record r = {.kind = kind};
    for (int i = 0; i < 3; i++) {
        r.len[i] = text[i] ? (uint32_t)strlen(text[i]) + 1 : 0;
    }
    put(fd, &r, sizeof(r));
    for (int i = 0; i < 3; i++) {
        put(fd, text[i], r.len[i]);
    }
}

struct child {
    int fd;
};

/* The limit is of one run, however many a program has. */
static void tell_start(void *opaque, const char *plan)
{
    const struct child *c = opaque;
    struct rlimit limit = {0, RLIM_INFINITY};
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    limit.rlim_cur = (rlim_t)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) + APART_SECONDS;
    setrlimit(RLIMIT_CPU, &limit);
    put_record(c->fd, RECORD_START, plan, NULL, NULL);
}

static void tell_finding(void *opaque, const struct fault_finding *f)
{
    const struct child *c = opaque;
    put_record(c->fd, RECORD_FINDING, f->fault, f->state, f->why);
}

static void run_child(struct faulting *x, int fd)
{
    struct child c = {fd};
    struct error *err = NULL;
    struct faulting mine = *x;
    mine.found = tell_finding;
    mine.starting = tell_start;
    mine.opaque = &c;
    mine.counts = mem_zalloc(sizeof(*mine.counts));
    if (fault_walk(&mine, &err) < 0) {
        put_record(fd, RECORD_ERROR, err ? err->msg : "does not run", NULL, NULL);
    }
    struct record r = {.kind = RECORD_COUNTS};
    put(fd, &r, sizeof(r));
    put(fd, mine.counts, sizeof(*mine.counts));
    _exit(0);
}

static bool get(int fd, void *data, size_t len)
{
    char *p = data;
    while (len > 0) {
        ssize_t n = read(fd, p, len);
        if (n <= 0) {
            return false;
        }
        p += n;
        len -= (size_t)n;
    }
    return true;
}

struct parent {
    struct faulting *x;
    int fd;
    char *plan; /* what the child runs just now */
    char *failed;
    bool complete;
};

static bool get_texts(struct parent *p, const struct record *r, char *text[3])
{
    bool ok = true;
    for (int i = 0; i < 3; i++) {
        text[i] = NULL;
        if (r->len[i] && ok) {
            ok = r->len[i] <= TEXT_MAX;
            text[i] = ok ? mem_alloc(r->len[i]) : NULL;
            ok = ok && get(p->fd, text[i], r->len[i]) && text[i][r->len[i] - 1] == '\0';
        }
    }
    return ok;
}

static bool take_record(struct parent *p)
{
    struct record r;
    char *text[3];
    if (!get(p->fd, &r, sizeof(r))) {
        return false;
    }
    if (r.kind == RECORD_COUNTS) {
        struct fault_counts *n = mem_alloc(sizeof(*n));
        p->complete = get(p->fd, n, sizeof(*n));
        if (p->complete) {
            fault_counts_add(p->x->counts, n);
        }
        mem_free(n);
        return false;
    }
    bool ok = get_texts(p, &r, text);
    if (ok && r.kind == RECORD_FINDING) {
        struct fault_finding f = {.fault = text[0], .state = text[1], .why = text[2]};
        p->x->found(p->x->opaque, &f);
    } else if (ok) {
        char **to = r.kind == RECORD_START ? &p->plan : &p->failed;
        mem_free(*to);
        *to = text[0];
        text[0] = NULL;
    }
    for (int i = 0; i < 3; i++) {
        mem_free(text[i]);
    }
    return ok;
}

static void report_death(struct parent *p, int status)
{
    char why[120];
    int sig = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    if (sig == SIGXCPU) {
        snprintf(why, sizeof(why), "goes on without bound: not done after %d s of CPU time",
                 APART_SECONDS);
    } else if (sig) {
        snprintf(why, sizeof(why), "dies: %s", strsignal(sig));
    } else {
        snprintf(why, sizeof(why), "ends the process with status %d", WEXITSTATUS(status));
    }
    struct fault_finding f = {.fault = p->plan ? p->plan : "none", .why = why, .died = true};
    if (!failure_again(p->x->o->alike, why, false)) {
        return;
    }
    p->x->counts->findings++;
    p->x->found(p->x->opaque, &f);
}

int fault_walk_apart(struct faulting *x, struct error **err)
{
    int fds[2], status = 0, ret = 0;
    fflush(NULL);
    if (pipe(fds) < 0) {
        return error_set_errno(err, errno, "pipe");
    }
    pid_t pid = fork();
    if (pid < 0) {
        close(fds[0]);
        close(fds[1]);
        return error_set_errno(err, errno, "fork");
    }
    if (pid == 0) {
        close(fds[0]);
        run_child(x, fds[1]);
    }
    close(fds[1]);
    struct parent p = {.x = x, .fd = fds[0]};
    while (take_record(&p)) {
    }
    close(fds[0]);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    if (!p.complete || status) {
        report_death(&p, status);
    }
    if (p.failed) {
        ret = error_set(err, EINVAL, "%s", p.failed);
    }
    mem_free(p.failed);
    mem_free(p.plan);
    return ret;
}
