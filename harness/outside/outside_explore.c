/*
 * Crash states of captured logs, judged by QEMU.  See outside_explore.h.
 */
#include "harness/outside/outside_explore.h"

#include <errno.h>
#include <stdlib.h>
#include "harness/explore/timeline.h"
#include "harness/outside/outside_tools.h"
#include "harness/outside/outside_workers.h"
#include "harness/outside/scratch.h"
#include "harness/programs/shrink.h"
#include "ref/base/mem.h"

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

/* One capture, and who wants to hear of it. */
struct judging {
    struct outside *x;
    const struct capture *c;
    const struct outside_options *o;
    struct outside_eye *eye;
    crash_found *found;
    void *opaque;
    struct outside_counts *counts;
    unsigned n; /* findings */
};

static bool enough(const struct judging *j)
{
    return j->o->crash.max_findings && j->n >= j->o->crash.max_findings;
}

/* Time line and maps (timeline.h) of a state, or of the end. */
static char *draw(const struct judging *j, const char *id)
{
    const struct recording *rec = &j->c->rec;
    unsigned sector = j->o->crash.bounds.sector;
    struct strbuf out = STRBUF_INIT;
    struct disk_set left = {0};
    bool cut = id[0] == 'c';
    timeline_recorded(rec, id, sector, &out);
    outside_eye_map(j->eye, j->c, &rec->base, "# map fresh ", &out);
    outside_eye_map(j->eye, j->c, &rec->end, cut ? "# map uncut " : "# map end ", &out);
    if (cut && crash_state_build(&rec->base, rec->log, sector, id, &left, NULL) == 0) {
        outside_eye_map(j->eye, j->c, &left, "# map left ", &out);
        disk_set_free(&left);
    }
    return strbuf_take(&out);
}

/* Of the processes each stops at enough, not all of them together. */
static void report(void *opaque, const struct crash_finding *f)
{
    struct judging *j = opaque;
    if (enough(j) || !failure_again(j->o->crash.alike, f->why, f->id[0] == 'c')) {
        return;
    }
    char *timeline = draw(j, f->id);
    struct crash_finding said = {f->id, f->why, f->description, timeline};
    j->n++;
    j->counts->crash.findings++;
    j->found(j->opaque, &said);
    mem_free(timeline);
}

static void report_one(struct judging *j, const char *id, const char *why)
{
    report(j, &(struct crash_finding){.id = id, .why = why ? why : "?", .description = ""});
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

static void judge_end(struct judging *j)
{
    const struct recording *rec = &j->c->rec;
    struct strbuf why = STRBUF_INIT;
    unsigned clean = any_failed(rec) ? 0 : OUTSIDE_CLEAN;
    if (rec->wrong) {
        report_one(j, "run", rec->why.s);
    }
    if (!outside_look(j->eye, j->c, &rec->end, &rec->oracle, ORACLE_LIVE,
                      clean | outside_flags_of(j->o, 0), &why)) {
        report_one(j, "end", why.s);
    }
    strbuf_free(&why);
}

static int judge_only(struct judging *j, struct error **err)
{
    const struct recording *rec = &j->c->rec;
    const char *id = j->o->crash.only;
    struct disk_set set = {0};
    struct strbuf why = STRBUF_INIT;
    int ret = crash_state_build(&rec->base, rec->log, j->o->crash.bounds.sector, id, &set, err);
    if (ret == 0) {
        const struct oracle *o = recording_oracle(rec, strtoull(id + 1, NULL, 10));
        j->counts->crash.distinct++;
        if (!outside_look(j->eye, j->c, &set, o, ORACLE_CRASH, outside_flags_of(j->o, 0), &why)) {
            report_one(j, id, why.s);
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
    struct judging j = {.x = x, .c = c, .o = o, .found = found, .opaque = opaque, .counts = counts};
    char *dir = scratch_new(outside_dir(x));
    char *own = dir ? str_fmt("%s/end", dir) : NULL;
    j.eye = own ? outside_eye_new(outside_programs(x), own, err) : NULL;
    int ret = j.eye ? 0 : -EIO;
    if (ret == 0 && o->crash.only && o->crash.only[0] == 'c') {
        ret = judge_only(&j, err);
    } else if (ret == 0) {
        judge_end(&j);
        counts->looked += outside_eye_stats(j.eye).looked;
        if (!o->crash.only && !enough(&j)) {
            ret = outside_judge_cuts(x, c, o, dir, report, &j, counts, err);
        }
    }
    outside_eye_free(j.eye);
    mem_free(own);
    scratch_remove(dir);
    return ret;
}

int outside_dump(const struct capture *c, const struct crash_options *o, const char *dir,
                 struct error **err)
{
    struct disk_set set = {0};
    int ret = crash_state_build(&c->rec.base, c->rec.log, o->bounds.sector, o->only, &set, err);
    if (ret == 0) {
        struct outside_tools t;
        ret = tools_open(&t, NULL, dir, err);
        if (ret == 0 && tools_write(&t, c, &set) < 0) {
            ret = error_set(err, EIO, "%s: cannot be written", dir);
        }
        tools_close(&t);
    }
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
