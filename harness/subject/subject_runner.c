/*
 * Another build of ours as a subject, through its `run` command: program lines in, one result line
 * an operation out.
 *
 * The line says status, length, a hash of the guest's bytes and the map; `check` adds the check's
 * counts (runner.c prints it). Leaves out: reading bytes; only the hash is compared.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include "harness/subject/pipe.h"
#include "harness/subject/shadow.h"
#include "harness/subject/subject.h"
#include "ref/base/mem.h"

struct runner {
    char *program;
    struct pipe session;
    int status; /* of the last line */
    long long length;
    uint64_t hash;
    char *map;
};

static int misbehaved(struct subject *s, struct error **err)
{
    struct runner *r = s->state;
    pipe_kill(&r->session);
    error_set(err, ECHILD, "%s: ended or did not answer", s->name);
    return SUBJECT_ERROR;
}

/* Sends a line and takes its answer: "STATUS LENGTH HASH MAP". */
static int exchange(struct subject *s, const char *line, struct error **err)
{
    struct runner *r = s->state;
    int used = 0;
    if (!r->session.pid) {
        return error_set(err, ENOMEDIUM, "no image");
    }
    if (pipe_send(&r->session, line) < 0 || pipe_answer(&r->session, "\n") < 0 ||
        sscanf(r->session.answer.s, "%d %lld %" SCNx64 " %n", &r->status, &r->length, &r->hash,
               &used) != 3 ||
        !used) {
        return misbehaved(s, err);
    }
    mem_free(r->map);
    r->map = str_dup(r->session.answer.s + used);
    if (r->status < 0) {
        error_set(err, r->status > -4000 ? -r->status : EIO, "status %d", r->status);
    }
    return r->status;
}

static void runner_close(struct subject *s)
{
    struct runner *r = s->state;
    if (r->session.pid) {
        pipe_finish(&r->session);
        strbuf_free(&r->session.answer);
    }
}

static int runner_create(struct subject *s, const struct program *p, struct error **err)
{
    struct runner *r = s->state;
    char *argv[] = {r->program, "run", "--lines", "-", NULL};
    struct program head = *p;
    struct strbuf text = STRBUF_INIT;
    runner_close(s);
    if (pipe_start(&r->session, NULL, argv, NULL) < 0) {
        return misbehaved(s, err);
    }
    head.n_ops = 0;
    program_print(&text, &head);
    int ret = exchange(s, text.s, err);
    strbuf_free(&text);
    return ret;
}

static int runner_apply(struct subject *s, const struct op *op, struct error **err)
{
    struct strbuf text = STRBUF_INIT;
    op_print(&text, op);
    strbuf_putc(&text, '\n');
    int ret = exchange(s, text.s, err);
    strbuf_free(&text);
    return ret;
}

static int runner_verify(struct subject *s, const struct shadow *sh, struct error **err)
{
    const struct runner *r = s->state;
    uint64_t hash = shadow_hash(sh);
    if (r->length == sh->size && r->hash == hash) {
        return 0;
    }
    error_set(err, EILSEQ, "length %lld, hash %016" PRIx64 ", not %lld, %016" PRIx64, r->length,
              r->hash, (long long)sh->size, hash);
    return 1;
}

static int64_t runner_length(struct subject *s)
{
    const struct runner *r = s->state;
    return r->length;
}

/* "OFFSET+BYTES:FLAGSDEPTH" words, as extent_text() writes them. */
static int runner_map(struct subject *s, struct extent **out, struct error **err)
{
    const struct runner *r = s->state;
    const char *at = r->map ? r->map : "";
    int n = 0, used = 0;
    long long offset, bytes;
    *out = NULL;
    while (sscanf(at, "%lld+%lld:%n", &offset, &bytes, &used) == 2) {
        struct extent e = {.offset = offset, .bytes = bytes};
        for (at += used; *at && !(*at >= '0' && *at <= '9'); at++) {
            e.data |= *at == 'd';
            e.zero |= *at == 'z';
            e.present |= *at == 'p';
        }
        e.depth = *at ? *at - '0' : 0;
        at += *at != 0;
        extents_add(out, &n, &e);
        at += strspn(at, " ");
    }
    return n;
}

static int runner_check(struct subject *s, struct subject_check *out, struct error **err)
{
    struct runner *r = s->state;
    int ret = exchange(s, "check\n", err);
    if (ret == 0 &&
        sscanf(r->map, "%d %d %d", &out->corruptions, &out->leaks, &out->check_errors) != 3) {
        return misbehaved(s, err);
    }
    return ret;
}

static void runner_free(struct subject *s)
{
    struct runner *r = s->state;
    pipe_kill(&r->session);
    mem_free(r->program);
    mem_free(r->map);
    mem_free(r);
}

static const struct subject_ops runner_ops = {
    .create = runner_create,
    .apply = runner_apply,
    .verify = runner_verify,
    .length = runner_length,
    .map = runner_map,
    .check = runner_check,
    .close = runner_close,
    .free = runner_free,
};

struct subject *subject_runner_new(const char *name, const char *program, struct error **err)
{
    char *argv[] = {(char *)program, "--version", NULL};
    if (pipe_run(NULL, argv, NULL, NULL) != 0) {
        error_set(err, ENOENT, "%s: %s does not run", name, program);
        return NULL;
    }
    struct subject *s = mem_zalloc(sizeof(*s));
    struct runner *r = mem_zalloc(sizeof(*r));
    r->program = str_dup(program);
    s->ops = &runner_ops;
    s->state = r;
    snprintf(s->name, sizeof(s->name), "%s", name);
    return s;
}
