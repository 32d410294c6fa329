/*
 * `blkref crash LOG`: crash states of a dm-log-writes file, whoever wrote it; and
 * `blkref crash --write-log FILE PROGRAM`, which makes one.
 *
 * Of a foreign log it is not known what the guest was promised: each state must open, its check
 * find only what the format's promise allows, and all its bytes be readable.
 */
#include "harness/sim/write_log.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "harness/campaign/explore_stages.h"
#include "harness/campaign/text_file.h"
#include "harness/outside/outside_explore.h"
#include "ref/base/mem.h"

static const char usage[] =
    "Usage: blkref crash [--subject qemu[=DIR]] [--format F] [--base IMAGE] [--from MARK]\n"
    "                    [--sector N] [--max N] [--all] LOG\n"
    "       blkref crash [--subject qemu[=DIR]] --write-log FILE PROGRAM\n"
    "LOG is a dm-log-writes file (QEMU's blklogwrites, Linux): what it says before MARK, on top "
    "of\n"
    "IMAGE, is the disk when the power may first be cut.\n";

struct args {
    const char *subject, *format, *base, *from, *write_log, *file;
    unsigned sector, findings;
    uint64_t max;
};

bool write_log_wants(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--write-log") || (argv[i][0] != '-' && write_log_is(argv[i]))) {
            return true;
        }
    }
    return false;
}

static bool take_value(struct args *a, const char *word, const char *v)
{
    const struct {
        const char *word, **to;
    } texts[] = {{"--subject", &a->subject},
                 {"--format", &a->format},
                 {"--base", &a->base},
                 {"--from", &a->from},
                 {"--write-log", &a->write_log}};
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        if (!strcmp(word, texts[i].word)) {
            *texts[i].to = v;
            return true;
        }
    }
    if (!strcmp(word, "--sector")) {
        a->sector = (unsigned)atoi(v);
    } else if (!strcmp(word, "--max")) {
        a->max = strtoull(v, NULL, 10);
    } else {
        return false;
    }
    return true;
}

static bool parse(struct args *a, int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (argv[i][0] != '-' || !argv[i][1]) {
            a->file = argv[i];
        } else if (!strcmp(argv[i], "--all")) {
            a->findings = 0;
        } else if (i + 1 == argc || !take_value(a, argv[i], argv[i + 1])) {
            return false;
        } else {
            i++;
        }
    }
    return a->file && a->sector >= 512 && a->sector <= 65536 && IS_POW2(a->sector) &&
           (!a->subject || !strncmp(a->subject, "qemu", 4));
}

static void print_finding(void *opaque, const struct crash_finding *f)
{
    printf("FAIL %s: %s\n%s", f->id, f->why, f->description);
}

/* ---- a log's states ---- */

static int look_by_reference(const struct args *a, const struct capture *c, struct sandbox *sb,
                             struct outside_counts *n)
{
    struct crash_bounds b = crash_options_default.bounds;
    struct crash_state s;
    struct looked l = {0};
    b.sector = a->sector;
    b.max_states = a->max ? a->max : b.max_states;
    struct crash_iter *it = crash_iter_new(&c->rec.base, c->rec.log, &b);
    while ((!a->findings || n->crash.findings < a->findings) && crash_iter_next(it, &s)) {
        if (!sandbox_look(sb, c->rec.program, s.set, &c->rec.oracle, ORACLE_CRASH,
                          LOOK_SPEC | LOOK_REPAIR, &l)) {
            struct strbuf id = STRBUF_INIT, text = STRBUF_INIT;
            crash_iter_id(it, &id);
            crash_iter_describe(it, &text);
            struct crash_finding f = {.id = id.s, .why = l.why.s, .description = text.s};
            print_finding(NULL, &f);
            n->crash.findings++;
            strbuf_free(&id);
            strbuf_free(&text);
        }
    }
    struct crash_stats st = crash_iter_stats(it);
    n->crash.cuts = st.cuts;
    n->crash.states = st.states;
    n->crash.distinct = st.distinct;
    crash_iter_free(it);
    strbuf_free(&l.why);
    return 0;
}

static int look_by_qemu(const struct args *a, const struct capture *c, struct outside *x,
                        struct outside_counts *n, struct error **err)
{
    struct outside_options o = outside_options_default;
    o.crash.bounds.sector = a->sector;
    o.crash.bounds.max_states = a->max ? a->max : o.crash.bounds.max_states;
    o.crash.max_findings = a->findings;
    return outside_crash(x, c, &o, print_finding, NULL, n, err);
}

static int load(const struct args *a, const struct program *p, struct disk_pool *pool,
                struct capture *c, struct error **err)
{
    memset(c, 0, sizeof(*c));
    c->rec.program = p;
    c->rec.log = disk_log_new(pool);
    c->rec.status = mem_array(1, sizeof(*c->rec.status));
    c->name[0] = str_dup("image");
    oracle_init(&c->rec.oracle, p);
    oracle_allow_anything(&c->rec.oracle);
    recording_remember(&c->rec, 0);
    int ret = write_log_load(a->file, a->base, a->from, &c->rec.base, c->rec.log, err);
    c->rec.end.n = 1;
    c->rec.end.disk[0] = disk_clone(c->rec.base.disk[0]);
    for (size_t i = 0; ret == 0 && i < disk_log_len(c->rec.log); i++) {
        ret = disk_op_apply(c->rec.end.disk[0], disk_log_op(c->rec.log, i));
    }
    return ret;
}

static int explore(const struct args *a, struct outside *x, struct process *process,
                   struct error **err)
{
    struct program p = {.size = 0};
    struct sandbox *sb = sandbox_new(process, &profile_reference, PLANT_NONE);
    struct disk_pool *pool = sandbox_pool(sb);
    struct outside_counts n = {0};
    struct capture c;
    snprintf(p.format, sizeof(p.format), "%s", a->format ? a->format : "qcow2");
    int ret = load(a, &p, pool, &c, err);
    if (ret == 0) {
        ret = x ? look_by_qemu(a, &c, x, &n, err) : look_by_reference(a, &c, sb, &n);
        printf("%llu cuts, %llu states, %llu judged, %llu findings\n",
               (unsigned long long)n.crash.cuts, (unsigned long long)n.crash.states,
               (unsigned long long)n.crash.distinct, (unsigned long long)n.crash.findings);
    }
    capture_free(&c);
    sandbox_free(sb);
    return ret < 0 ? ret : n.crash.findings > 0;
}

/* ---- a program's log ---- */

static int record_reference(const struct args *a, const struct program *p, struct process *process,
                            struct error **err)
{
    struct sandbox *sb = sandbox_new(process, &profile_reference, PLANT_NONE);
    struct recording rec;
    struct disk_set base;
    int ret = sandbox_create(sb, p, &base, err);
    if (ret == 0) {
        ret = sandbox_record(sb, p, &base, NULL, false, &rec, err);
        if (ret == 0) {
            ret = write_log_save(&rec.base, rec.log, 0, a->write_log, err);
        }
        recording_free(&rec);
        disk_set_free(&base);
    }
    sandbox_free(sb);
    return ret;
}

static int record_qemu(const struct args *a, const struct program *p, struct outside *x,
                       struct error **err)
{
    struct capture_how how = {.plan = NULL};
    struct capture c;
    int ret = outside_capture(x, p, &how, &c, err);
    if (ret == 0) {
        ret = write_log_save(&c.rec.base, c.rec.log, 0, a->write_log, err);
        capture_free(&c);
    }
    return ret;
}

static int record(const struct args *a, struct outside *x, struct process *process,
                  struct error **err)
{
    struct program p;
    int ret = text_file_program(a->file, &p, NULL, err);
    if (ret == 0) {
        ret = x ? record_qemu(a, &p, x, err) : record_reference(a, &p, process, err);
        program_free(&p);
    }
    return ret;
}

static int run(const struct args *a, struct error **err)
{
    char dir[] = "/tmp/blkref.XXXXXX";
    const char *programs = a->subject ? strchr(a->subject, '=') : NULL;
    struct outside *x = NULL;
    if (!mkdtemp(dir)) {
        return error_set_errno(err, errno, "%s", dir);
    }
    signal(SIGPIPE, SIG_IGN);
    if (a->subject) {
        x = outside_new("qemu", programs ? programs + 1 : NULL, dir, err);
    }
    struct process *process = process_new();
    int ret = a->subject && !x ? -ENOTSUP
              : a->write_log   ? record(a, x, process, err)
                               : explore(a, x, process, err);
    process_free(process);
    outside_free(x);
    rmdir(dir);
    return ret;
}

int cmd_write_log(int argc, char **argv)
{
    struct args a = {.sector = 512, .findings = 3};
    struct error *err = NULL;
    if (!parse(&a, argc, argv)) {
        fputs(usage, stderr);
        return 2;
    }
    int ret = run(&a, &err);
    if (ret < 0) {
        fprintf(stderr, "blkref: %s: %s\n", a.file, err ? err->msg : "cannot run");
    }
    error_free(err);
    return ret < 0 ? 2 : ret;
}
