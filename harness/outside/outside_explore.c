/*
 * Crash states of captured logs, judged by QEMU.  See outside_explore.h.
 */
#include "harness/outside/outside_explore.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "harness/explore/timeline.h"
#include "harness/outside/outside_look.h"
#include "harness/programs/shrink.h"
#include "ref/base/mem.h"

#define MAX_WORKERS 16
#define MAX_TEXT    65536

const struct outside_options outside_options_default = {
    .crash = {.bounds = {.exhaustive = 8,
                         .drops = 2,
                         .torn = 1,
                         .orders = 4,
                         .samples = 64,
                         .seed = 1,
                         .sector = 512,
                         .max_states = 2000},
              .max_findings = 3},
    .workers = 2,
    .continue_every = 8,
    .reference = true,
};

/* ---- scratch folders ---- */

/* In memory where the machine has that: states come by the thousand. */
char *outside_scratch(const struct outside *x)
{
    static const char *const places[] = {"/dev/shm", NULL};
    for (int i = 0; i < 2; i++) {
        char *dir = str_fmt("%s/blkref.XXXXXX", places[i] ? places[i] : outside_dir(x));
        if (mkdtemp(dir)) {
            return dir;
        }
        mem_free(dir);
    }
    return NULL;
}

static void remove_folder(const char *dir)
{
    DIR *d = opendir(dir);
    struct dirent *e;
    while (d && (e = readdir(d))) {
        char *name = str_fmt("%s/%s", dir, e->d_name);
        if (strcmp(e->d_name, ".") && strcmp(e->d_name, "..") && unlink(name) < 0) {
            remove_folder(name);
        }
        mem_free(name);
    }
    if (d) {
        closedir(d);
    }
    rmdir(dir);
}

void outside_scratch_remove(char *dir)
{
    if (dir) {
        remove_folder(dir);
    }
    mem_free(dir);
}

/* ---- one process's share ---- */

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

/* Of state number n. */
static unsigned flags_of(const struct share *s, uint64_t n)
{
    unsigned every = s->o->continue_every;
    unsigned use = !every ? OUTSIDE_NO_USE : n % every == 0 ? OUTSIDE_USE : 0;
    return (s->o->reference ? OUTSIDE_REFERENCE : 0) | use;
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
    if (!outside_look(s->eye, s->c, st->set, o, ORACLE_CRASH, flags_of(s, n), &why) &&
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

static struct outside_eye *open_eye(struct share *s, const char *dir, struct error **err)
{
    char *own = str_fmt("%s/%u", dir, s->me);
    s->eye = outside_eye_new(outside_programs(s->x), own, err);
    mem_free(own);
    return s->eye;
}

static void work(struct share *s, const char *dir)
{
    struct message m = {.last = true};
    if (!open_eye(s, dir, NULL)) {
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
    pid_t pid[MAX_WORKERS];
    int in[MAX_WORKERS];
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

/* Time line and maps (timeline.h) of a state, or of the end. */
static char *draw(const struct share *s, const char *id)
{
    const struct recording *rec = &s->c->rec;
    unsigned sector = s->o->crash.bounds.sector;
    struct strbuf out = STRBUF_INIT;
    struct disk_set left = {0};
    bool cut = id[0] == 'c';
    timeline_recorded(rec, id, sector, &out);
    outside_eye_map(s->eye, s->c, &rec->base, "# map fresh ", &out);
    outside_eye_map(s->eye, s->c, &rec->end, cut ? "# map uncut " : "# map end ", &out);
    if (cut && crash_state_build(&rec->base, rec->log, sector, id, &left, NULL) == 0) {
        outside_eye_map(s->eye, s->c, &left, "# map left ", &out);
        disk_set_free(&left);
    }
    return strbuf_take(&out);
}

static void report_all(struct pool *w, struct share *s, crash_found *found, void *opaque,
                       struct outside_counts *counts, unsigned before)
{
    const struct outside_options *o = s->o;
    if (w->n_found) {
        qsort(w->found, w->n_found, sizeof(*w->found), by_number);
    }
    for (size_t i = 0; i < w->n_found; i++) {
        struct finding *f = &w->found[i];
        if (f->text[2] && (!o->crash.max_findings || before + i < o->crash.max_findings)) {
            char *timeline = draw(s, f->text[0]);
            struct crash_finding said = {f->text[0], f->text[1], f->text[2], timeline};
            counts->crash.findings++;
            found(opaque, &said);
            mem_free(timeline);
        }
        for (int k = 0; k < 3; k++) {
            mem_free(f->text[k]);
        }
    }
    mem_free(w->found);
}

static int explore_cuts(struct share *s, const char *dir, crash_found *found, void *opaque,
                        struct outside_counts *counts, unsigned before, struct error **err)
{
    struct pool w = {.n_found = 0};
    int ret = start_workers(&w, s, dir);
    for (unsigned i = 0; i < s->o->workers && w.pid[i] > 0; i++) {
        int heard = listen_to(&w, w.in[i], counts, i == 0);
        ret = ret < 0 ? ret : heard;
        close(w.in[i]);
        waitpid(w.pid[i], NULL, 0);
    }
    report_all(&w, s, found, opaque, counts, before);
    return ret < 0 ? error_set(err, -ret, "a process that judges states ended") : 0;
}

/* ---- one state, and the end ---- */

struct reporter {
    const struct share *share;
    crash_found *found;
    void *opaque;
    struct crash_counts *counts;
    unsigned n;
};

static void report(struct reporter *r, const char *id, const char *why)
{
    struct crash_finding f = {.id = id, .why = why ? why : "?", .description = ""};
    if (!failure_again(r->share->o->crash.alike, f.why, id[0] == 'c')) {
        return;
    }
    char *timeline = draw(r->share, id);
    f.timeline = timeline;
    r->n++;
    r->counts->findings++;
    r->found(r->opaque, &f);
    mem_free(timeline);
}

/* What was refused at once leaks nothing; what failed half way may. */
static bool any_failed(const struct recording *rec)
{
    for (size_t i = 0; i < rec->program->n_ops; i++) {
        if (rec->status[i] < 0) {
            return true;
        }
    }
    return false;
}

static void judge_end(struct share *s, struct reporter *r)
{
    struct strbuf why = STRBUF_INIT;
    unsigned clean = any_failed(&s->c->rec) ? 0 : OUTSIDE_CLEAN;
    if (s->c->rec.wrong) {
        report(r, "run", s->c->rec.why.s);
    }
    if (!outside_look(s->eye, s->c, &s->c->rec.end, &s->c->rec.oracle, ORACLE_LIVE,
                      clean | flags_of(s, 0), &why)) {
        report(r, "end", why.s);
    }
    strbuf_free(&why);
}

static int judge_only(struct share *s, struct reporter *r, struct error **err)
{
    struct disk_set set = {0};
    struct strbuf why = STRBUF_INIT;
    const char *id = s->o->crash.only;
    int ret =
        crash_state_build(&s->c->rec.base, s->c->rec.log, s->o->crash.bounds.sector, id, &set, err);
    if (ret == 0) {
        const struct oracle *o = recording_oracle(&s->c->rec, strtoull(id + 1, NULL, 10));
        r->counts->distinct++;
        if (!outside_look(s->eye, s->c, &set, o, ORACLE_CRASH, flags_of(s, 0), &why)) {
            report(r, id, why.s);
        }
        disk_set_free(&set);
    }
    strbuf_free(&why);
    return ret;
}

int outside_crash(struct outside *x, const struct capture *c, const struct outside_options *o,
                  crash_found *found, void *opaque, struct outside_counts *counts,
                  struct error **err)
{
    struct share s = {.x = x, .c = c, .o = o, .me = o->workers};
    struct reporter r = {&s, found, opaque, &counts->crash, 0};
    assert(o->workers >= 1 && o->workers <= MAX_WORKERS);
    char *dir = outside_scratch(x);
    int ret = dir && open_eye(&s, dir, err) ? 0 : -EIO;
    if (ret == 0 && o->crash.only && o->crash.only[0] == 'c') {
        ret = judge_only(&s, &r, err);
    } else if (ret == 0) {
        judge_end(&s, &r);
        counts->looked += outside_eye_stats(s.eye).looked;
        if (!o->crash.only && !(o->crash.max_findings && r.n >= o->crash.max_findings)) {
            ret = explore_cuts(&s, dir, found, opaque, counts, r.n, err);
        }
    }
    outside_eye_free(s.eye);
    outside_scratch_remove(dir);
    return ret;
}

int outside_dump(const struct capture *c, const struct crash_options *o, const char *dir,
                 struct error **err)
{
    struct disk_set set = {0};
    int ret = crash_state_build(&c->rec.base, c->rec.log, o->bounds.sector, o->only, &set, err);
    struct outside_eye *e = ret == 0 ? outside_eye_new(NULL, dir, err) : NULL;
    if (e && outside_eye_write(e, c, &set) < 0) {
        ret = error_set(err, EIO, "%s: cannot be written", dir);
    }
    ret = ret == 0 && !e ? -EIO : ret;
    outside_eye_free(e);
    disk_set_free(&set);
    return ret;
}

int outside_crash_program(struct outside *x, const struct program *p,
                          const struct outside_options *o, crash_found *found, void *opaque,
                          struct outside_counts *counts, char **text, struct error **err)
{
    struct capture_how how = {.drop_flushes = o->drop_flushes, .nbd = o->nbd};
    struct capture c;
    uint64_t before = counts->crash.findings;
    int ret = outside_capture(x, p, &how, &c, err);
    if (text) {
        *text = NULL;
    }
    if (ret < 0) {
        return ret;
    }
    ret = outside_crash(x, &c, o, found, opaque, counts, err);
    if (text && counts->crash.findings > before) {
        struct strbuf out = STRBUF_INIT;
        capture_print(&c, &out);
        *text = strbuf_take(&out);
    }
    capture_free(&c);
    return ret;
}

/* ---- smaller programs, and reproducers ---- */

struct shrinking {
    struct outside *x;
    struct outside_options o;
    char *why; /* of the first finding */
    bool cut;
};

static void remember(void *opaque, const struct crash_finding *f)
{
    struct shrinking *s = opaque;
    if (!s->why) {
        s->why = str_dup(f->why);
        s->cut = f->id[0] == 'c';
    }
}

static bool still_fails(const struct program *p, void *opaque)
{
    struct shrinking *s = opaque;
    struct outside_counts n = {0};
    int ret = outside_crash_program(s->x, p, &s->o, remember, s, &n, NULL, NULL);
    return ret == 0 && n.crash.findings > 0;
}

unsigned outside_shrink(struct outside *x, struct program *p, const struct outside_options *o,
                        unsigned max_attempts)
{
    struct shrinking s = {.x = x, .o = *o};
    unsigned attempts = 0;
    s.o.crash.max_findings = 1;
    s.o.crash.only = NULL;
    if (still_fails(p, &s)) {
        struct failure first = {s.why, s.cut};
        s.o.crash.alike = &first;
        attempts = shrink_program(p, still_fails, &s, max_attempts);
    }
    mem_free(s.why);
    return attempts;
}

char *outside_repro(const struct program *p, const struct outside_options *o, const char *id,
                    const char *capture)
{
    char *head = crash_repro(p, &o->crash, id);
    char *all = str_fmt("%s%s", head, capture ? capture : "");
    mem_free(head);
    return all;
}
