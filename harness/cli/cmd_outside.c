/*
 * `blkref crash --subject qemu` and `blkref faults --subject qemu`: the explorers on an unmodified
 * QEMU; PROGRAM may hold a captured log (a reproducer), which is then judged instead of a new run.
 */
#include "harness/cli/cli.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "harness/campaign/explore_stages.h"
#include "harness/campaign/text_file.h"
#include "harness/cli/outside_set.h"
#include "ref/base/mem.h"

static const char usage[] =
    "Usage: blkref crash --subject qemu[=DIR] [--state ID] [--sector N] [--max N] [--workers N]\n"
    "                    [--continue N] [--no-reference] [--all] [--shrink] [--nbd]\n"
    "                    [--save FILE] [--dump DIR] PROGRAM\n"
    "       blkref crash --subject qemu[=DIR] (--exhaustive N | --random COUNT [--seed N])\n"
    "                    [--image TEXT] [--with OPERATION] [--part I/N]\n"
    "                    [--divergences FILE] [...]\n"
    "       blkref faults --subject qemu[=DIR] [--fault PLAN] [--modes LIST] [--max K] [--cuts N]\n"
    "                    [--all] (PROGRAM | --exhaustive N | --random COUNT ...)\n"
    "Runs PROGRAM with qemu-img and qemu-io of DIR (or PATH) on simulated disks behind FUSE, and\n"
    "judges what power cuts or faults leave by QEMU's own check and by what the guest reads.\n"
    "--exhaustive: all programs of N operations, on each image whose description holds TEXT; a\n"
    "finding that FILE (docs/divergences.txt) explains is called known.  --with: only those that\n"
    "have such an operation (write, zero, snapshot, amend, commit ...).\n"
    "--continue: every so manieth state is written to as well, which must change nothing else.\n"
    "--nbd: over NBD instead of FUSE, on a disk of fixed size.\n"
    "--dump writes the files of the state --state of a captured log into a folder.\n"
    "--save writes a reproducer with the captured log; such a file is a PROGRAM, too.\n";

struct args {
    const char *subject, *only, *save, *dump, *file, *image, *with, *modes, *divergences;
    unsigned sector, workers, findings, cuts, ops, random, further;
    unsigned long part, parts;
    uint64_t max, seed;
    bool faults, shrink, no_reference, drop_flushes, nbd;
};

bool outside_wants(int argc, char **argv)
{
    for (int i = 1; i + 1 < argc; i++) {
        if (!strcmp(argv[i], "--subject")) {
            return !strncmp(argv[i + 1], "qemu", 4);
        }
    }
    return false;
}

static bool take_word(struct args *a, const char *word)
{
    bool known = true;
    if (!strcmp(word, "--all")) {
        a->findings = 0;
    } else if (!strcmp(word, "--shrink")) {
        a->shrink = true;
    } else if (!strcmp(word, "--no-reference")) {
        a->no_reference = true;
    } else if (!strcmp(word, "--nbd") && !a->faults) {
        a->nbd = true;
    } else if (!strcmp(word, "--drop-flushes")) {
        a->drop_flushes = true;
    } else {
        known = false;
    }
    return known;
}

static bool is_operation(const char *name)
{
    bool found = false;
    for (int k = 0; k < OP_KINDS; k++) {
        found |= !strcmp(op_kind_name((enum op_kind)k), name);
    }
    return found;
}

static bool take_value(struct args *a, const char *word, const char *v)
{
    bool known = true;
    if (!strcmp(word, "--subject")) {
        a->subject = v;
    } else if (!strcmp(word, a->faults ? "--fault" : "--state")) {
        a->only = v;
    } else if (!strcmp(word, "--save")) {
        a->save = v;
    } else if (!strcmp(word, "--dump") && !a->faults) {
        a->dump = v;
    } else if (!strcmp(word, "--sector") && !a->faults) {
        a->sector = (unsigned)atoi(v);
    } else if (!strcmp(word, "--continue") && !a->faults) {
        a->further = (unsigned)atoi(v);
    } else if (!strcmp(word, "--workers")) {
        a->workers = (unsigned)atoi(v);
    } else if (!strcmp(word, "--max")) {
        a->max = strtoull(v, NULL, 10);
    } else if (!strcmp(word, "--modes") && a->faults) {
        a->modes = v;
    } else if (!strcmp(word, "--cuts") && a->faults) {
        a->cuts = (unsigned)atoi(v);
    } else if (!strcmp(word, "--exhaustive")) {
        a->ops = (unsigned)atoi(v);
    } else if (!strcmp(word, "--random")) {
        a->random = (unsigned)atoi(v);
    } else if (!strcmp(word, "--seed")) {
        a->seed = strtoull(v, NULL, 10);
    } else if (!strcmp(word, "--divergences")) {
        a->divergences = v;
    } else if (!strcmp(word, "--image")) {
        a->image = v;
    } else if (!strcmp(word, "--with")) {
        a->with = v;
        known = is_operation(v);
    } else if (!strcmp(word, "--part")) {
        known = sscanf(v, "%lu/%lu", &a->part, &a->parts) == 2;
    } else {
        known = false;
    }
    return known;
}

static bool parse(struct args *a, int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (argv[i][0] != '-' || !argv[i][1]) {
            a->file = argv[i];
        } else if (!take_word(a, argv[i])) {
            if (i + 1 == argc || !take_value(a, argv[i], argv[i + 1])) {
                return false;
            }
            i++;
        }
    }
    bool sector_ok = a->sector >= 512 && a->sector <= 65536 && IS_POW2(a->sector);
    bool source_ok = !a->file == (a->ops > 0 || a->random > 0) && a->ops <= 3;
    source_ok &= !a->file || !(a->image || a->with || a->parts > 1); /* which choose from sets */
    return source_ok && sector_ok && a->workers >= 1 && a->workers <= 16 && a->part < a->parts;
}

/* The first finding's state, for the reproducer; all are printed. */
struct heard {
    char *id;
};

static void hear_crash(void *opaque, const struct crash_finding *f)
{
    struct heard *h = opaque;
    h->id = h->id ? h->id : str_dup(f->id);
    printf("FAIL %s: %s\n%s", f->id, f->why, f->description);
}

static int save(const struct args *a, const struct program *p, const struct outside_options *o,
                const char *id, const char *capture, struct error **err)
{
    char *text = outside_repro(p, o, id, capture);
    int ret = text_file_write(a->save, text, err);
    mem_free(text);
    return ret;
}

static struct outside_options options_of(const struct args *a)
{
    struct outside_options o = outside_options_default;
    o.crash.bounds.sector = a->sector;
    o.crash.bounds.max_states = a->max ? a->max : o.crash.bounds.max_states;
    o.crash.max_findings = a->findings;
    o.crash.only = a->only;
    o.workers = a->workers;
    o.continue_every = a->further;
    o.reference = !a->no_reference;
    o.drop_flushes = a->drop_flushes;
    o.nbd = a->nbd;
    return o;
}

static void print_counts(const struct args *a, const struct outside *x,
                         const struct outside_counts *n)
{
    printf("%s %s: %llu cuts, %llu states, %llu judged, %llu shown to it, %llu findings\n",
           a->subject, outside_version(x), (unsigned long long)n->crash.cuts,
           (unsigned long long)n->crash.states, (unsigned long long)n->crash.distinct,
           (unsigned long long)n->looked, (unsigned long long)n->crash.findings);
}

static void print_program(const struct program *p)
{
    struct strbuf text = STRBUF_INIT;
    program_print(&text, p);
    fputs(text.s, stdout);
    strbuf_free(&text);
}

static int crash(const struct args *a, struct outside *x, struct program *p, const char *text,
                 struct error **err)
{
    struct outside_options o = options_of(a);
    struct outside_counts n = {0};
    struct heard h = {0};
    char *capture = NULL;
    int ret;
    if (a->shrink) {
        printf("%u programs tried; the smallest:\n", outside_shrink(x, p, &o, 200));
        print_program(p);
    }
    if (capture_is_in(text) && !a->shrink) {
        struct capture c;
        ret = capture_scan(x, text, p, &c, err);
        if (ret == 0) {
            ret = a->dump ? outside_dump(&c, &o.crash, a->dump, err)
                          : outside_crash(x, &c, &o, hear_crash, &h, &n, err);
            capture_free(&c);
        }
    } else {
        ret = outside_crash_program(x, p, &o, hear_crash, &h, &n, &capture, err);
    }
    if (ret == 0 && capture && a->save) {
        ret = save(a, p, &o, h.id, capture, err);
    }
    print_counts(a, x, &n);
    mem_free(capture);
    mem_free(h.id);
    return ret < 0 ? ret : n.crash.findings > 0;
}

struct heard_faults {
    const struct args *a;
    const struct program *p;
    bool saved;
};

static void hear_fault(void *opaque, const struct fault_finding *f, const struct capture *c)
{
    struct heard_faults *h = opaque;
    struct strbuf text = STRBUF_INIT;
    char *id = fault_finding_id(f);
    printf("FAIL %s: %s\n", id, f->why);
    mem_free(id);
    if (h->a->save && !h->saved) {
        char *head = outside_fault_repro(h->p, f);
        strbuf_puts(&text, head);
        capture_print(c, &text);
        h->saved = text_file_write(h->a->save, text.s, NULL) == 0;
        mem_free(head);
    }
    strbuf_free(&text);
}

static int fault_options_of(const struct args *a, struct fault_options *o, struct error **err)
{
    *o = fault_options_default;
    o->kmax = (unsigned)a->max;
    o->cuts = a->cuts;
    o->modes = fault_modes_parse(a->modes ? a->modes : "EIO,EIO+,ENOSPC,short");
    o->max_findings = a->findings;
    o->only = a->only;
    return o->modes ? 0 : error_set(err, EINVAL, "unknown way to fail in '%s'", a->modes);
}

static int faults(const struct args *a, struct outside *x, struct program *p, struct error **err)
{
    struct fault_options o;
    struct outside_fault_counts n = {0};
    struct heard_faults h = {a, p, false};
    if (fault_options_of(a, &o, err) < 0) {
        return -EINVAL;
    }
    int ret = outside_faults(x, p, &o, hear_fault, &h, &n, err);
    printf("%s %s: %llu runs, %llu faults fired, %llu findings\n", a->subject, outside_version(x),
           (unsigned long long)n.runs, (unsigned long long)n.fired, (unsigned long long)n.findings);
    return ret < 0 ? ret : n.findings > 0;
}

static int set(const struct args *a, struct outside *x, struct error **err)
{
    struct fault_options o;
    struct divergences *known = divergences_load(a->divergences, err);
    int ret = known ? fault_options_of(a, &o, err) : -EINVAL;
    if (ret == 0) {
        struct outside_set s = {.x = x,
                                .subject = "qemu",
                                .crash = options_of(a),
                                .faults = a->faults ? &o : NULL,
                                .image = a->image,
                                .with = a->with,
                                .ops = a->ops,
                                .random = a->random,
                                .seed = a->seed,
                                .part = a->part,
                                .parts = a->parts,
                                .known = known};
        ret = outside_set_run(&s);
    }
    divergences_free(known);
    return ret;
}

static int run(const struct args *a, struct program *p, const char *text, struct error **err)
{
    char dir[] = "/tmp/blkref.XXXXXX";
    assert(a->subject && (!a->file || (p && text)));
    const char *programs = strchr(a->subject, '=');
    if (!mkdtemp(dir)) {
        return error_set_errno(err, errno, "%s", dir);
    }
    signal(SIGPIPE, SIG_IGN);
    struct outside *x = outside_new("qemu", programs ? programs + 1 : NULL, dir, err);
    int ret = !x          ? -ENOTSUP
              : !a->file  ? set(a, x, err)
              : a->faults ? faults(a, x, p, err)
                          : crash(a, x, p, text, err);
    outside_free(x);
    rmdir(dir);
    return ret;
}

static int run_file(const struct args *a, struct error **err)
{
    struct program p;
    char *text;
    int ret = text_file_program(a->file, &p, &text, err);
    if (ret == 0) {
        ret = run(a, &p, text, err);
        program_free(&p);
        mem_free(text);
    }
    return ret;
}

int cmd_outside(int argc, char **argv, bool faults)
{
    struct args a = {.sector = 512,
                     .workers = 2,
                     .further = 8,
                     .findings = 3,
                     .parts = 1,
                     .seed = 1,
                     .divergences = "docs/divergences.txt",
                     .faults = faults};
    struct error *err = NULL;
    if (!parse(&a, argc, argv)) {
        fputs(usage, stderr);
        return 2;
    }
    int ret = a.file ? run_file(&a, &err) : run(&a, NULL, NULL, &err);
    if (err) {
        fprintf(stderr, "blkref: %s\n", err->msg);
    }
    error_free(err);
    return ret < 0 ? 2 : ret;
}
