/*
 * Comparing two runs: both are read in the order of their keys, side by side.
 */
#include "reports/gate.h"

#include <errno.h>
#include <sys/stat.h>
#include "ref/base/mem.h"
#include "reports/store_int.h"

/* A run that is read; its row at hand is valid while `there`. */
struct side {
    const char *path;
    struct store *s;
    sqlite3_stmt *q;
    bool there;
};

enum { COL_STAGE, COL_SUBJECT, COL_FORMAT, COL_NAME, COL_VERDICT, COL_DETAIL, COL_REPRO };

/* What must be equal for two runs to be comparable. */
static const char *const facts[] = {"seed", "count", "format", "image"};

static void step(struct side *x)
{
    x->there = store_next(x->s, x->q);
}

static void start(struct side *x)
{
    x->q = store_query(x->s, "SELECT stage, subject, format, name, verdict, detail, repro"
                             " FROM result WHERE run = ?1 ORDER BY stage, subject, format, name");
    step(x);
}

static bool verdict_is(const struct side *x, enum verdict v)
{
    return x->there && !strcmp(store_text(x->q, COL_VERDICT), verdict_names[v]);
}

/* Which of the two stands first; 0: the same result. */
static int order(const struct side *a, const struct side *b)
{
    if (!a->there || !b->there) {
        return a->there ? -1 : 1;
    }
    for (int c = COL_STAGE; c <= COL_NAME; c++) {
        int way = strcmp(store_text(a->q, c), store_text(b->q, c));
        if (way) {
            return way;
        }
    }
    return 0;
}

static struct gate_entry *entry(struct gate *g, enum gate_class class)
{
    if (g->n == g->cap) {
        g->cap = g->cap ? g->cap * 2 : 16;
        g->entries = mem_realloc(g->entries, g->cap * sizeof(*g->entries));
    }
    g->count[class]++;
    g->entries[g->n] = (struct gate_entry){.class = class};
    return &g->entries[g->n++];
}

static void add(struct gate *g, enum gate_class class, const struct side *x)
{
    struct gate_entry *e = entry(g, class);
    e->stage = str_dup(store_text(x->q, COL_STAGE));
    e->subject = str_dup(store_text(x->q, COL_SUBJECT));
    e->format = str_dup(store_text(x->q, COL_FORMAT));
    e->name = str_dup(store_text(x->q, COL_NAME));
    e->detail = str_dup(store_text(x->q, COL_DETAIL));
    e->repro = str_dup(store_text(x->q, COL_REPRO));
}

/* Has the run any result of the stage and subject? */
static bool ran(struct store *s, const char *stage, const char *subject)
{
    bool any = false;
    sqlite3_stmt *q = store_query(s, "SELECT count(*) FROM result WHERE run = ?1 AND stage = ?2"
                                     " AND subject = ?3");
    if (q) {
        sqlite3_bind_text(q, 2, stage, -1, SQLITE_TRANSIENT);
        sqlite3_bind_text(q, 3, subject, -1, SQLITE_TRANSIENT);
    }
    while (store_next(s, q)) {
        any = sqlite3_column_int64(q, 0) > 0;
    }
    return any;
}

static void judge_old(struct gate *g, const struct side *old, const struct side *now, bool same)
{
    if (!verdict_is(old, VERDICT_FAIL) || (same && verdict_is(now, VERDICT_FAIL))) {
        return;
    }
    bool judged = same
                      ? verdict_is(now, VERDICT_PASS) || verdict_is(now, VERDICT_DIVERGENCE)
                      : ran(now->s, store_text(old->q, COL_STAGE), store_text(old->q, COL_SUBJECT));
    add(g, judged ? GATE_GONE : GATE_UNKNOWN, old);
}

static void judge_now(struct gate *g, const struct side *old, const struct side *now, bool same)
{
    g->compared++;
    if (verdict_is(now, VERDICT_FAIL)) {
        add(g, same && verdict_is(old, VERDICT_FAIL) ? GATE_KNOWN : GATE_NEW, now);
    } else if (verdict_is(now, VERDICT_SUBJECT_ERROR)) {
        add(g, GATE_ERROR, now);
    }
}

static void compare_rows(struct gate *g, struct side *old, struct side *now)
{
    start(old);
    start(now);
    while (old->there || now->there) {
        int way = order(old, now);
        if (way <= 0) {
            judge_old(g, old, now, way == 0);
        }
        if (way >= 0) {
            judge_now(g, old, now, way == 0);
        }
        if (way <= 0) {
            step(old);
        }
        if (way >= 0) {
            step(now);
        }
    }
}

static void find_missing(struct gate *g, struct side *old, struct side *now)
{
    old->q = store_query(old->s, "SELECT DISTINCT stage, subject FROM result WHERE run = ?1"
                                 " ORDER BY stage, subject");
    while (store_next(old->s, old->q)) {
        const char *stage = store_text(old->q, 0), *subject = store_text(old->q, 1);
        if (!ran(now->s, stage, subject)) {
            struct gate_entry *e = entry(g, GATE_MISSING);
            e->stage = str_dup(stage);
            e->subject = str_dup(subject);
            e->format = str_dup("");
            e->name = str_dup("");
            e->detail = str_dup("");
            e->repro = str_dup("");
        }
    }
}

/* ---- may they be compared? ---- */

static int check_fact(struct side *old, struct side *now, const char *key, struct error **err)
{
    char *a = store_read_fact(old->s, key), *b = store_read_fact(now->s, key);
    int ret = 0;
    if (!a != !b || (a && strcmp(a, b))) {
        ret = error_set(err, EINVAL,
                        "the baseline's %s is %s, this run's is %s: other programs were run"
                        " (--allow-different compares them all the same)",
                        key, a ? a : "not set", b ? b : "not set");
    }
    mem_free(a);
    mem_free(b);
    return ret;
}

static bool same_run(const struct side *old, const struct side *now)
{
    struct stat a, b;
    return old->s->run == now->s->run && !stat(old->path, &a) && !stat(now->path, &b) &&
           a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

/* A campaign names its stages when it has ended: one that was killed has not judged everything. */
static int check_ended(struct side *now, struct error **err)
{
    char *stages = store_read_fact(now->s, "stages");
    int ret = stages ? 0
                     : error_set(err, EINVAL,
                                 "%s: the campaign did not run to its end, so its"
                                 " silence means nothing",
                                 now->path);
    mem_free(stages);
    return ret;
}

static int check_comparable(const struct gate_options *o, struct side *old, struct side *now,
                            struct error **err)
{
    int ret = same_run(old, now)
                  ? error_set(err, EINVAL, "%s: baseline and current are the same run", now->path)
                  : check_ended(now, err);
    for (size_t i = 0; i < ARRAY_SIZE(facts) && ret == 0 && !o->allow_different; i++) {
        ret = check_fact(old, now, facts[i], err);
    }
    return ret;
}

int gate_compare(const struct gate_options *o, struct gate *out, struct error **err)
{
    struct side old = {.path = o->baseline}, now = {.path = o->current};
    int ret = -EIO;
    *out = (struct gate){0};
    old.s = store_open_read(o->baseline, o->baseline_run, err);
    now.s = old.s ? store_open_read(o->current, 0, err) : NULL;
    if (now.s) {
        ret = check_comparable(o, &old, &now, err);
    }
    if (ret == 0) {
        compare_rows(out, &old, &now);
        find_missing(out, &old, &now);
        const char *broken = old.s->broken ? old.s->broken : now.s->broken;
        ret = broken ? error_set(err, EIO, "%s", broken) : 0;
    }
    store_close(old.s);
    store_close(now.s);
    return ret;
}

int64_t gate_run_of(const char *path, const char *key, char **value, struct error **err)
{
    struct store *s = store_open_read(path, 0, err);
    int64_t run = s ? s->run : -EIO;
    if (s && key) {
        *value = store_read_fact(s, key);
    }
    store_close(s);
    return run;
}

void gate_free(struct gate *g)
{
    for (size_t i = 0; i < g->n; i++) {
        struct gate_entry *e = &g->entries[i];
        mem_free(e->stage);
        mem_free(e->subject);
        mem_free(e->format);
        mem_free(e->name);
        mem_free(e->detail);
        mem_free(e->repro);
    }
    mem_free(g->entries);
    *g = (struct gate){0};
}
