/*
 * Processes that judge states.  See outside_workers.h.
 */
#include "harness/outside/outside_workers.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "harness/programs/shrink.h"
#include "ref/base/mem.h"

#define MAX_TEXT 65536

/* What a worker says: findings (number of the state, then texts), at last its counts. */
struct message {
    bool last;
    int32_t failed; /* errno: it could not go on */
    uint64_t n;
    struct crash_counts counts;
    uint64_t looked;
    uint32_t len[3]; /* id, why, description, each with its NUL */
};

struct finding {
    uint64_t n;
    char *text[3];
};

struct share {
    struct outside *x;
    const struct capture *c;
    const struct outside_options *o;
    unsigned me;
    int out;
    struct outside_eye *eye;
    unsigned findings;
};

static void send_all(int fd, const void *data, size_t len)
{
    for (size_t done = 0; done < len;) {
        ssize_t n = write(fd, (const char *)data + done, len - done);
        if (n <= 0) {
            _exit(1);
        }
        done += (size_t)n;
    }
}

static void send_finding(struct share *s, uint64_t n, const char *id, const char *why,
                         const char *description)
{
    const char *text[3] = {id, why, description ? description : ""};
    struct message m = {.n = n};
    for (int i = 0; i < 3; i++) {
        m.len[i] = (uint32_t)MIN(strlen(text[i]) + 1, (size_t)MAX_TEXT);
    }
    send_all(s->out, &m, sizeof(m));
    for (int i = 0; i < 3; i++) {
        send_all(s->out, text[i], m.len[i]);
    }
    s->findings++;
}

unsigned outside_flags_of(const struct outside_options *o, uint64_t n)
{
    unsigned use = !o->continue_every           ? OUTSIDE_NO_USE
                   : n % o->continue_every == 0 ? OUTSIDE_USE
                                                : 0;
    return (o->reference ? OUTSIDE_REFERENCE : 0) | use;
}

static bool enough(const struct share *s)
{
    return s->o->crash.max_findings && s->findings >= s->o->crash.max_findings;
}

static void judge_state(struct share *s, const struct crash_iter *it, const struct crash_state *st,
                        uint64_t n)
{
    struct strbuf why = STRBUF_INIT, id = STRBUF_INIT, text = STRBUF_INIT;
    const struct oracle *o = recording_oracle(&s->c->rec, st->cut);
    if (!outside_look(s->eye, s->c, st->set, o, ORACLE_CRASH, outside_flags_of(s->o, n), &why) &&
        failure_again(s->o->crash.alike, why.s, true)) {
        crash_iter_id(it, &id);
        crash_iter_describe(it, &text);
        send_finding(s, n, id.s, why.s ? why.s : "?", text.s);
    }
    strbuf_free(&why);
    strbuf_free(&id);
    strbuf_free(&text);
}

static void walk(struct share *s, struct crash_counts *counts)
{
    struct crash_iter *it = crash_iter_new(&s->c->rec.base, s->c->rec.log, &s->o->crash.bounds);
    struct crash_state st;
    for (uint64_t n = 0; !enough(s) && crash_iter_next(it, &st); n++) {
        if (n % s->o->workers == s->me) {
            judge_state(s, it, &st, n);
            counts->distinct++;
        }
    }
    struct crash_stats stats = crash_iter_stats(it);
    counts->cuts = stats.cuts;
    counts->states = stats.states;
    crash_iter_free(it);
}

static void work(struct share *s, const char *dir)
{
    struct message m = {.last = true};
    char *own = str_fmt("%s/%u", dir, s->me);
    s->eye = outside_eye_new(outside_programs(s->x), own, NULL);
    mem_free(own);
    if (!s->eye) {
        m.failed = EIO;
    } else {
        walk(s, &m.counts);
        m.looked = outside_eye_stats(s->eye).looked;
        outside_eye_free(s->eye);
    }
    send_all(s->out, &m, sizeof(m));
    close(s->out);
    _exit(0);
}

/* ---- all of them ---- */

struct pool {
    pid_t pid[WORKERS_MAX];
    int in[WORKERS_MAX];
    struct finding *found;
    size_t n_found;
};

static bool take(int fd, void *buf, size_t len)
{
    for (size_t done = 0; done < len;) {
        ssize_t n = read(fd, (char *)buf + done, len - done);
        if (n <= 0) {
            return false;
        }
        done += (size_t)n;
    }
    return true;
}

static bool take_finding(struct pool *w, int fd, const struct message *m)
{
    struct finding f = {.n = m->n};
    bool ok = true;
    for (int i = 0; i < 3 && ok; i++) {
        ok = m->len[i] > 0 && m->len[i] <= MAX_TEXT;
        f.text[i] = ok ? mem_alloc(m->len[i]) : NULL;
        ok = ok && take(fd, f.text[i], m->len[i]);
        if (ok) {
            f.text[i][m->len[i] - 1] = 0;
        }
    }
    w->found = mem_realloc(w->found, (w->n_found + 1) * sizeof(*w->found));
    w->found[w->n_found++] = f;
    return ok;
}

/* Everything one worker says; the workers behind it wait in their pipes meanwhile. */
static int listen_to(struct pool *w, int fd, struct outside_counts *counts, bool first)
{
    struct message m;
    while (take(fd, &m, sizeof(m))) {
        if (m.last) {
            counts->crash.distinct += m.counts.distinct;
            counts->crash.cuts += first ? m.counts.cuts : 0;
            counts->crash.states += first ? m.counts.states : 0;
            counts->looked += m.looked;
            return -m.failed;
        }
        if (!take_finding(w, fd, &m)) {
            break;
        }
    }
    return -ECHILD;
}

static int start_workers(struct pool *w, struct share *s, const char *dir)
{
    for (unsigned i = 0; i < s->o->workers; i++) {
        int fd[2];
        if (pipe(fd) < 0) {
            return -errno;
        }
        fflush(NULL);
        w->pid[i] = fork();
        if (w->pid[i] == 0) {
            close(fd[0]);
            s->me = i;
            s->out = fd[1];
            work(s, dir);
        }
        close(fd[1]);
        w->in[i] = fd[0];
        if (w->pid[i] < 0) {
            return -errno;
        }
    }
    return 0;
}

static int by_number(const void *a, const void *b)
{
    const struct finding *x = a, *y = b;
    return x->n < y->n ? -1 : x->n > y->n;
}

static void report_all(struct pool *w, crash_found *found, void *opaque)
{
    if (w->n_found) {
        qsort(w->found, w->n_found, sizeof(*w->found), by_number);
    }
    for (size_t i = 0; i < w->n_found; i++) {
        struct finding *f = &w->found[i];
        if (f->text[2]) {
            struct crash_finding said = {f->text[0], f->text[1], f->text[2], NULL};
            found(opaque, &said);
        }
        for (int k = 0; k < 3; k++) {
            mem_free(f->text[k]);
        }
    }
    mem_free(w->found);
}

int outside_judge_cuts(struct outside *x, const struct capture *c, const struct outside_options *o,
                       const char *dir, crash_found *found, void *opaque,
                       struct outside_counts *counts, struct error **err)
{
    struct share s = {.x = x, .c = c, .o = o};
    struct pool w = {.n_found = 0};
    assert(o->workers >= 1 && o->workers <= WORKERS_MAX);
    int ret = start_workers(&w, &s, dir);
    for (unsigned i = 0; i < o->workers && w.pid[i] > 0; i++) {
        int heard = listen_to(&w, w.in[i], counts, i == 0);
        ret = ret < 0 ? ret : heard;
        close(w.in[i]);
        waitpid(w.pid[i], NULL, 0);
    }
    report_all(&w, found, opaque);
    return ret < 0 ? error_set(err, -ret, "a process that judges states ended") : 0;
}
