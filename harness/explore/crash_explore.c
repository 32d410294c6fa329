/*
 * The crash explorer.  See crash_explore.h.
 */
#include "harness/explore/crash_explore.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "ref/base/mem.h"

const struct crash_options crash_options_default = {
    .bounds = {.exhaustive = 8,
               .drops = 2,
               .torn = 1,
               .orders = 4,
               .samples = 64,
               .seed = 1,
               .sector = 512,
               .max_states = 20000,
               .max_built = 40000},
    .spec_every = 16,
    .repair_every = 16,
    .nested_every = 64,
    .max_findings = 3,
};

/* Of a repair that is cut: its metadata is all there is, and it is short. */
static const struct crash_bounds nested_bounds = {.exhaustive = 6,
                                                  .drops = 1,
                                                  .torn = 1,
                                                  .orders = 2,
                                                  .samples = 16,
                                                  .seed = 1,
                                                  .sector = 512,
                                                  .max_states = 100,
                                                  .max_built = 500};

struct exploring {
    struct sandbox *sb;
    const struct crash_options *o;
    struct recording rec;
    struct looked looked;
    crash_found *found;
    void *opaque;
    struct crash_counts *counts;
    unsigned findings;
};

static bool enough(const struct exploring *x)
{
    return x->o->max_findings && x->findings >= x->o->max_findings;
}

static void report(struct exploring *x, const char *id, const char *why, const char *description)
{
    if (!failure_again(x->o->alike, why, id[0] == 'c')) {
        return;
    }
    struct crash_finding f = {.id = id, .why = why, .description = description};
    x->findings++;
    x->counts->findings++;
    x->found(x->opaque, &f);
}

/* inner: of the repair of that state; NULL: the state itself. */
static void report_state(struct exploring *x, const struct crash_iter *it,
                         const struct crash_iter *inner)
{
    struct strbuf id = STRBUF_INIT, text = STRBUF_INIT;
    crash_iter_id(it, &id);
    crash_iter_describe(it, &text);
    if (inner) {
        strbuf_putc(&id, '/');
        crash_iter_id(inner, &id);
        strbuf_puts(&text, "and while that was repaired:\n");
        crash_iter_describe(inner, &text);
    }
    report(x, id.s, x->looked.why.s, text.s ? text.s : "");
    strbuf_free(&id);
    strbuf_free(&text);
}

static bool due(unsigned every, uint64_t n)
{
    return every && n % every == 0;
}

/* An image whose refcounts may be behind has them repaired at opening: look at that each time. */
static unsigned how(const struct exploring *x, uint64_t n)
{
    bool lazy = strstr(x->rec.program->options, "lazy_refcounts=on");
    return (due(x->o->spec_every, n) ? LOOK_SPEC : 0) |
           (lazy || due(x->o->repair_every, n) ? LOOK_REPAIR : 0);
}

static struct crash_bounds inner_bounds(const struct exploring *x)
{
    struct crash_bounds b = nested_bounds;
    b.sector = x->o->bounds.sector;
    b.seed = x->o->bounds.seed;
    return b;
}

/* Power goes again while what a cut left is opened and repaired.  outer: that state's id. */
static void explore_repair(struct exploring *x, const struct disk_set *set, const struct oracle *o,
                           const struct crash_iter *outer)
{
    struct recording rec;
    struct error *err = NULL;
    struct crash_state s;
    struct crash_bounds bounds = inner_bounds(x);
    if (sandbox_repair(x->sb, x->rec.program, set, &rec, &err) < 0) {
        strbuf_puts(&x->looked.why, err->msg);
        report_state(x, outer, NULL);
        error_free(err);
    } else if (disk_log_len(rec.log) > 0) {
        struct crash_iter *it = crash_iter_new(&rec.base, rec.log, &bounds);
        while (!enough(x) && crash_iter_next(it, &s)) {
            x->counts->nested++;
            if (!sandbox_look(x->sb, x->rec.program, s.set, o, ORACLE_CRASH, LOOK_REPAIR,
                              &x->looked)) {
                report_state(x, outer, it);
            }
        }
        crash_iter_free(it);
    }
    recording_free(&rec);
}

/* Flushes of any disk that had completed when power was cut. */
static unsigned flushes_before(const struct disk_log *log, uint64_t cut)
{
    unsigned n = 0;
    for (size_t i = 0; i < disk_log_len(log); i++) {
        const struct disk_op *op = disk_log_op(log, i);
        n += op->kind == DISK_OP_FLUSH && op->completed < cut && !(op->flags & DISK_OP_FAILED);
    }
    return n;
}

static void explore_cuts(struct exploring *x)
{
    struct crash_iter *it = crash_iter_new(&x->rec.base, x->rec.log, &x->o->bounds);
    struct crash_state s;
    uint64_t cut = 0;
    unsigned epoch = 0;
    for (uint64_t n = 0; !enough(x) && crash_iter_next(it, &s); n++) {
        epoch = s.cut == cut ? epoch : flushes_before(x->rec.log, s.cut);
        cut = s.cut;
        x->counts->epoch[MIN(epoch, CRASH_EPOCHS - 1)]++;
        const struct oracle *o = recording_oracle(&x->rec, s.cut);
        if (!sandbox_look(x->sb, x->rec.program, s.set, o, ORACLE_CRASH, how(x, n), &x->looked)) {
            report_state(x, it, NULL);
        } else if (due(x->o->nested_every, n)) {
            explore_repair(x, s.set, o, it);
        }
    }
    struct crash_stats st = crash_iter_stats(it);
    x->counts->cuts += st.cuts;
    x->counts->states += st.states;
    x->counts->distinct += st.distinct;
    x->counts->cut_off += !enough(x) && !crash_iter_done(it);
    crash_iter_free(it);
}

/* The stamp that an id names: "c<T>...". */
static uint64_t id_cut(const char *id)
{
    return id[0] == 'c' ? strtoull(id + 1, NULL, 10) : 0;
}

/* The state `id` of what a repair of *set did takes its place in *set. */
static int cut_repair(struct exploring *x, const char *id, struct disk_set *set, struct error **err)
{
    struct recording rec;
    struct disk_set inner = {0};
    int ret = sandbox_repair(x->sb, x->rec.program, set, &rec, err);
    if (ret == 0) {
        ret = crash_state_build(&rec.base, rec.log, x->o->bounds.sector, id, &inner, err);
    }
    recording_free(&rec);
    if (ret == 0) {
        disk_set_free(set);
        *set = inner;
    }
    return ret;
}

static int explore_one(struct exploring *x, struct error **err)
{
    struct disk_set set;
    const char *inner = strchr(x->o->only, '/');
    char *outer = str_ndup(x->o->only, strcspn(x->o->only, "/"));
    int ret = crash_state_build(&x->rec.base, x->rec.log, x->o->bounds.sector, outer, &set, err);
    mem_free(outer);
    if (ret < 0) {
        return ret;
    }
    ret = inner ? cut_repair(x, inner + 1, &set, err) : 0;
    const struct oracle *o = recording_oracle(&x->rec, id_cut(x->o->only));
    x->counts->distinct++;
    if (ret == 0 && !sandbox_look(x->sb, x->rec.program, &set, o, ORACLE_CRASH,
                                  LOOK_SPEC | LOOK_REPAIR, &x->looked)) {
        report(x, x->o->only, x->looked.why.s, "");
    }
    disk_set_free(&set);
    return ret;
}

/* No cut at all: everything that was written is there, and nothing is leaked. */
static void judge_end(struct exploring *x)
{
    unsigned look = recording_may_leak(&x->rec) ? LOOK_SPEC : LOOK_CLEAN | LOOK_SPEC;
    if (x->rec.wrong) {
        report(x, "run", x->rec.why.s, "");
    }
    if (!sandbox_look(x->sb, x->rec.program, &x->rec.end, &x->rec.oracle, ORACLE_LIVE, look,
                      &x->looked)) {
        report(x, "end", x->looked.why.s, "");
    }
}

int crash_explore(struct sandbox *sb, const struct program *p, const struct crash_options *o,
                  crash_found *found, void *opaque, struct crash_counts *counts, struct error **err)
{
    struct exploring x = {.sb = sb, .o = o, .found = found, .opaque = opaque, .counts = counts};
    struct disk_set base;
    int ret = sandbox_create(sb, p, &base, err);
    if (ret < 0) {
        return ret;
    }
    ret = sandbox_record(sb, p, &base, NULL, false, &x.rec, err);
    bool one = o->only && o->only[0] == 'c';
    if (ret == 0 && one) {
        ret = explore_one(&x, err);
    } else if (ret == 0) {
        judge_end(&x);
        if (!o->only) {
            explore_cuts(&x);
        }
    }
    recording_free(&x.rec);
    disk_set_free(&base);
    strbuf_free(&x.looked.why);
    return ret;
}

char *crash_repro(const struct program *p, const struct crash_options *o, const char *id)
{
    struct strbuf out = STRBUF_INIT;
    strbuf_printf(&out, "# crash: state %s sector %u\n", id, o->bounds.sector);
    program_print(&out, p);
    return strbuf_take(&out);
}
