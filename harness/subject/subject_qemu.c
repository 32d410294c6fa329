/*
 * Unmodified QEMU programs as a subject: qemu-img and qemu-io behind pipes, images in files.
 *
 * Models: one qemu-io session for each stretch between reopens; what image tools do needs the image
 * closed.  The guest's bytes are compared by `read -P` over runs of equal bytes; map, check and
 * info come from qemu-img's JSON. Statuses are read off messages.  LUKS key derivations are
 * measured on a CPU clock of ours (preload/clock.c).  Leaves out: a running emulator.
 */
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>
#include "harness/subject/forkserver.h"
#include "harness/subject/pipe.h"
#include "harness/subject/preload.h"
#include "harness/subject/shadow.h"
#include "harness/subject/subject.h"
#include "ref/base/json.h"
#include "ref/base/mem.h"

#define PROMPT   "qemu-io> "
#define MAX_ARGS 24

struct qemu {
    char *programs, *img, *io;
    struct forkserver *img_server, *io_server;
    char **env; /* of both programs, where there is no server */
    struct program p;
    unsigned layers;
    bool have_image;
    struct pipe session;
};

static char *file_name(const struct subject *s, const char *name)
{
    return str_fmt("%s/%s", s->dir, name);
}

static char *layer_name(const struct subject *s, unsigned layer)
{
    char name[32];
    subject_layer_name(name, layer);
    return file_name(s, name);
}

/* An errno from "...: MESSAGE" at the end of the first line. */
static int status_of_message(const char *text)
{
    size_t line = strcspn(text, "\n");
    for (int e = 1; e < 134; e++) {
        const char *message = strerror(e);
        size_t len = strlen(message);
        if (line > len + 2 && !memcmp(text + line - len, message, len) &&
            !memcmp(text + line - len - 2, ": ", 2)) {
            return -e;
        }
    }
    return SUBJECT_FAILED;
}

static int misbehaved(struct subject *s, struct error **err, const char *what)
{
    error_set(err, ECHILD, "%s: %s ended or did not answer", s->name, what);
    return SUBJECT_ERROR;
}

/* ---- qemu-img ---- */

/* args end with NULL.  0, SUBJECT_FAILED with the message in err, or SUBJECT_ERROR. */
static int img_output(struct subject *s, struct strbuf *output, const char *const *args,
                      struct error **err)
{
    struct qemu *q = s->state;
    char *argv[MAX_ARGS + 2] = {q->img};
    struct strbuf text = STRBUF_INIT;
    for (int i = 0; args[i] && i < MAX_ARGS; i++) {
        argv[i + 1] = (char *)args[i];
    }
    int status = pipe_run(q->img_server, argv, q->env, &text);
    if (status < 0) {
        strbuf_free(&text);
        return misbehaved(s, err, args[0]);
    }
    if (output) {
        strbuf_add(output, text.s, text.len);
    }
    if (status) {
        error_set(err, EIO, "%.*s", (int)strcspn(text.s, "\n"), text.s);
    }
    strbuf_free(&text);
    return status ? SUBJECT_FAILED : 0;
}

#define IMG(s, err, ...) img_output(s, NULL, (const char *const[]){__VA_ARGS__, NULL}, err)

/* How a program of QEMU's is told of an image: switches, and the name behind them.  chain: it opens
 * the backing files too, and wants their keys. */
struct target {
    const char *args[4];
    int n;
    char *name;
};

static struct target target_of(const struct subject *s, unsigned layer, bool chain)
{
    const struct qemu *q = s->state;
    const char *format = subject_format(&q->p, layer);
    struct target t = {.name = layer_name(s, layer)};
    if (!subject_encrypted(&q->p)) {
        t.args[t.n++] = "-f";
        t.args[t.n++] = format;
        return t;
    }
    struct value *options = value_dict();
    struct strbuf text = STRBUF_INIT;
    struct dict_iter it;
    subject_key_options(&q->p, layer, options);
    strbuf_printf(&text, "driver=%s,file.filename=%s", format, t.name);
    DICT_FOREACH (it, options) {
        if (chain || strncmp(it.key, "backing.", 8) != 0) {
            strbuf_printf(&text, ",%s=%s", it.key, value_get_str(it.value));
        }
    }
    value_free(options);
    mem_free(t.name);
    t.name = strbuf_take(&text);
    t.args[t.n++] = "--object";
    t.args[t.n++] = "secret,id=" SUBJECT_SECRET_ID ",data=" SUBJECT_SECRET;
    t.args[t.n++] = "--image-opts";
    return t;
}

/* `qemu-img WORDS... TARGET SIZE`; NULLs among the words are left out, size may be NULL. */
static int img_on_top(struct subject *s, struct strbuf *output, struct error **err,
                      const char *const *words, int n_words, const char *size)
{
    const struct qemu *q = s->state;
    struct target t = target_of(s, q->layers - 1, strcmp(words[0], "info") != 0);
    const char *args[MAX_ARGS];
    int n = 0;
    for (int i = 0; i < n_words; i++) {
        if (words[i]) {
            args[n++] = words[i];
        }
    }
    for (int i = 0; i < t.n; i++) {
        args[n++] = t.args[i];
    }
    args[n++] = t.name;
    args[n++] = size;
    args[n] = NULL;
    int ret = img_output(s, output, args, err);
    mem_free(t.name);
    return ret;
}

#define IMG_TOP(s, err, size, ...)                                                                 \
    img_on_top(s, NULL, err, (const char *const[]){__VA_ARGS__},                                   \
               sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *), size)

/* ---- the qemu-io session ---- */

static int session_end(struct subject *s, struct error **err)
{
    struct qemu *q = s->state;
    if (!q->session.pid) {
        return 0;
    }
    int status = pipe_finish(&q->session);
    strbuf_free(&q->session.answer);
    return status < 0 ? misbehaved(s, err, "qemu-io") : 0;
}

/* Starts one; a failed open ends qemu-io with status 1 and a message. */
static int session_start(struct subject *s, struct error **err)
{
    struct qemu *q = s->state;
    struct target t = target_of(s, q->layers - 1, true);
    char *argv[12] = {q->io, "-d", "unmap", "-t", "writeback"};
    for (int i = 0; i < t.n; i++) {
        argv[5 + i] = (char *)t.args[i];
    }
    argv[5 + t.n] = t.name;
    int ret = pipe_start(&q->session, q->io_server, argv, q->env);
    if (ret == 0 && pipe_answer(&q->session, PROMPT) < 0) {
        char *said = str_dup(q->session.answer.s ? q->session.answer.s : "");
        ret = pipe_finish(&q->session) == 1 ? SUBJECT_FAILED : SUBJECT_ERROR;
        strbuf_free(&q->session.answer);
        error_set(err, EIO, "%.*s", (int)strcspn(said, "\n"), said);
        mem_free(said);
    }
    mem_free(t.name);
    return ret;
}

/* Sends one command; its output is in session.answer. */
static int session_command(struct subject *s, const char *command, struct error **err)
{
    struct qemu *q = s->state;
    int ret = q->session.pid ? 0 : session_start(s, err);
    if (ret < 0) {
        return ret;
    }
    if (pipe_send(&q->session, command) < 0 || pipe_answer(&q->session, PROMPT) < 0) {
        pipe_kill(&q->session);
        return misbehaved(s, err, "qemu-io");
    }
    return 0;
}

static int session_op(struct subject *s, const char *command, struct error **err)
{
    struct qemu *q = s->state;
    int ret = session_command(s, command, err);
    if (ret < 0 || !q->session.answer.len) {
        return ret;
    }
    const char *text = q->session.answer.s;
    error_set(err, EIO, "%.*s", (int)strcspn(text, "\n"), text);
    return status_of_message(text);
}

/* ---- making ---- */

static int write_raw(const struct subject *s, const char *file, int64_t size, struct error **err)
{
    char *name = file_name(s, file);
    FILE *f = fopen(name, "wb");
    int ret = f ? 0 : -errno;
    uint8_t *buf = mem_alloc(64 * KiB);
    size = ROUND_UP(size, 512);
    for (int64_t at = 0; ret == 0 && at < size; at += 64 * KiB) {
        size_t n = (size_t)MIN(64 * KiB, size - at);
        shadow_backing_fill(buf, at, n);
        ret = fwrite(buf, 1, n, f) == n ? 0 : -EIO;
    }
    if (f && fclose(f) && ret == 0) {
        ret = -EIO;
    }
    if (ret < 0) {
        error_set_errno(err, -ret, "%s", name);
        ret = SUBJECT_ERROR;
    }
    mem_free(buf);
    mem_free(name);
    return ret;
}

/* The content is written as a plain file; other formats are made from it. */
static int write_base(struct subject *s, const struct program *p, struct error **err)
{
    const char *format = subject_base_format(p);
    if (strcmp(format, "raw") == 0) {
        return write_raw(s, SUBJECT_BASE, p->size, err);
    }
    char *raw = file_name(s, "base.raw"), *name = file_name(s, SUBJECT_BASE);
    int ret = write_raw(s, "base.raw", p->size, err);
    ret = ret < 0 ? ret : IMG(s, err, "convert", "-f", "raw", "-O", format, raw, name);
    unlink(raw);
    mem_free(raw);
    mem_free(name);
    return ret;
}

static int make_layer(struct subject *s, unsigned layer, const char *backing,
                      const char *backing_format, struct error **err)
{
    struct qemu *q = s->state;
    const char *args[MAX_ARGS] = {"create", "-q", "-f", subject_format(&q->p, layer)};
    char size[32], *prefix = file_name(s, ""), *options = subject_options(&q->p, prefix, layer > 0);
    char *name = layer_name(s, layer);
    int n = 4;
    if (subject_encrypted(&q->p)) {
        args[n++] = "--object";
        args[n++] = "secret,id=" SUBJECT_SECRET_ID ",data=" SUBJECT_SECRET;
    }
    if (*options) {
        args[n++] = "-o";
        args[n++] = options;
    }
    if (backing) {
        args[n++] = "-b";
        args[n++] = backing;
        args[n++] = "-F";
        args[n++] = backing_format;
    }
    args[n++] = name;
    if (!layer) {
        snprintf(size, sizeof(size), "%lld", (long long)q->p.size);
        args[n++] = size;
    }
    args[n] = NULL;
    int ret = img_output(s, NULL, args, err);
    mem_free(prefix);
    mem_free(options);
    mem_free(name);
    return ret;
}

static void start(struct subject *s, const struct program *p, unsigned layers)
{
    struct qemu *q = s->state;
    s->ops->close(s);
    q->p = program_clone(p);
    q->layers = layers;
    q->have_image = true;
}

static int qemu_create(struct subject *s, const struct program *p, struct error **err)
{
    char *base = file_name(s, SUBJECT_BASE);
    start(s, p, 1);
    int ret = p->backing ? write_base(s, p, err) : 0;
    if (ret == 0) {
        ret = make_layer(s, 0, p->backing ? base : NULL, p->backing ? subject_base_format(p) : NULL,
                         err);
    }
    mem_free(base);
    return ret < 0 ? ret : session_start(s, err);
}

static int qemu_open(struct subject *s, const struct program *p, unsigned layers,
                     struct error **err)
{
    start(s, p, layers);
    return session_start(s, err);
}

static void qemu_close(struct subject *s)
{
    struct qemu *q = s->state;
    session_end(s, NULL);
    if (q->have_image) {
        program_free(&q->p);
    }
    q->have_image = false;
}

/* ---- operations ---- */

/* With the image closed: runs one qemu-img command and opens it again. */
static int image_op(struct subject *s, const struct op *op, struct error **err)
{
    static const char *const actions[OP_KINDS] = {
        [OP_SNAPSHOT] = "-c", [OP_APPLY] = "-a", [OP_DELSNAP] = "-d"};
    char size[32], prealloc[48];
    int ret = session_end(s, err);
    if (ret == 0 && op->kind == OP_RESIZE) {
        snprintf(size, sizeof(size), "%lld", (long long)op->bytes);
        snprintf(prealloc, sizeof(prealloc), "--preallocation=%s", prealloc_names[op->prealloc]);
        ret = IMG_TOP(s, err, size, "resize", "-q", "--shrink",
                      op->prealloc == PREALLOC_OFF ? NULL : prealloc);
    } else if (ret == 0 && op->kind == OP_AMEND) {
        ret = IMG_TOP(s, err, NULL, "amend", "-q", "-o", op->text);
    } else if (ret == 0 && op->kind == OP_COMMIT) {
        ret = IMG_TOP(s, err, NULL, "commit", "-q");
    } else if (ret == 0 && subject_encrypted(&((struct qemu *)s->state)->p)) {
        ret = IMG_TOP(s, err, NULL, "snapshot", "-q", actions[op->kind], op->text);
    } else if (ret == 0) {
        /* Without a format, as people do: qemu-img snapshot takes none. */
        struct qemu *q = s->state;
        char *name = layer_name(s, q->layers - 1);
        ret = IMG(s, err, "snapshot", "-q", actions[op->kind], op->text, name);
        mem_free(name);
    }
    if (ret == SUBJECT_ERROR) {
        return ret;
    }
    int opened = session_start(s, ret < 0 ? NULL : err);
    return opened == SUBJECT_ERROR || ret == 0 ? opened : ret;
}

static int overlay_op(struct subject *s, struct error **err)
{
    struct qemu *q = s->state;
    if (q->layers == SUBJECT_LAYERS) {
        return error_set(err, EINVAL, "too many overlays");
    }
    int ret = session_end(s, err);
    char *backing = layer_name(s, q->layers - 1);
    if (ret == 0) {
        ret = make_layer(s, q->layers, backing, subject_format(&q->p, q->layers - 1), err);
        q->layers += ret == 0;
    }
    mem_free(backing);
    if (ret == SUBJECT_ERROR) {
        return ret;
    }
    int opened = session_start(s, ret < 0 ? NULL : err);
    return ret < 0 ? ret : opened;
}

static void range_command(char command[96], const char *words, const struct op *op)
{
    snprintf(command, 96, "%s %lld %lld\n", words, (long long)op->offset, (long long)op->bytes);
}

static int io_op(struct subject *s, const struct op *op, struct error **err)
{
    char command[96], words[48];
    switch (op->kind) {
    case OP_WRITE:
    case OP_WRITE_COMPRESSED:
        snprintf(words, sizeof(words), "write -q %s%s-P %u", op->flags & OP_FUA ? "-f " : "",
                 op->kind == OP_WRITE_COMPRESSED ? "-c " : "", op->seed);
        break;
    case OP_ZERO:
        snprintf(words, sizeof(words), "write -q -z%s%s", op->flags & OP_UNMAP ? " -u" : "",
                 op->flags & OP_NO_FALLBACK ? " -n" : "");
        break;
    case OP_DISCARD:
        snprintf(words, sizeof(words), "discard -q");
        break;
    case OP_READ:
        snprintf(words, sizeof(words), "read -q");
        break;
    default:
        return session_op(s, "flush\n", err);
    }
    range_command(command, words, op);
    return session_op(s, command, err);
}

static int qemu_apply(struct subject *s, const struct op *op, struct error **err)
{
    int ret;
    switch (op->kind) {
    case OP_EXTEND:
        return error_set(err, ENOTSUP, "only simulated disks are extended");
    case OP_REOPEN:
        if (op->text[0]) {
            return error_set(err, ENOTSUP, "options are not changed in place here");
        }
        ret = session_end(s, err);
        return ret < 0 ? ret : session_start(s, err);
    case OP_OVERLAY:
        return overlay_op(s, err);
    case OP_SNAPSHOT:
    case OP_APPLY:
    case OP_DELSNAP:
    case OP_RESIZE:
    case OP_AMEND:
    case OP_COMMIT:
        return image_op(s, op, err);
    default:
        return io_op(s, op, err);
    }
}

/* ---- looking ---- */

static int64_t qemu_length(struct subject *s)
{
    int64_t length = -EIO;
    struct value *info = s->ops->info(s, NULL);
    if (info) {
        length = dict_get_int(info, "virtual-size", -EIO);
        value_free(info);
    }
    return length;
}

static int verify_run(struct subject *s, const struct shadow_run *run, struct error **err)
{
    struct qemu *q = s->state;
    char command[96];
    snprintf(command, sizeof(command), "read -q -P %u %lld %lld\n", run->value,
             (long long)run->offset, (long long)run->bytes);
    int ret = session_command(s, command, err);
    if (ret == 0 && q->session.answer.len) {
        const char *text = q->session.answer.s;
        error_set(err, EILSEQ, "guest bytes %lld+%lld are not 0x%02x: %.*s", (long long)run->offset,
                  (long long)run->bytes, run->value, (int)strcspn(text, "\n"), text);
        ret = 1;
    }
    return ret;
}

static int verify_length(struct subject *s, int64_t length, struct error **err)
{
    struct qemu *q = s->state;
    char command[96];
    snprintf(command, sizeof(command), "read -q %lld 1\n", (long long)length);
    int ret = session_command(s, command, err);
    if (ret == 0 && !q->session.answer.len) {
        error_set(err, EILSEQ, "image is longer than %lld", (long long)length);
        ret = 1;
    }
    return ret;
}

static int qemu_verify(struct subject *s, const struct shadow *sh, struct error **err)
{
    struct shadow_run run;
    int ret = 0;
    for (int64_t at = 0; ret == 0 && shadow_run_at(sh, at, &run); at += run.bytes) {
        ret = verify_run(s, &run, err);
    }
    return ret ? ret : verify_length(s, sh->size, err);
}

static struct value *img_json(struct subject *s, const char *command, struct error **err)
{
    struct strbuf text = STRBUF_INIT;
    const char *const words[] = {command, "-U", "--output=json"};
    struct value *v = NULL;
    if (img_on_top(s, &text, err, words, 3, NULL) == 0) {
        v = json_parse(text.s, err);
    }
    strbuf_free(&text);
    return v;
}

static bool flag(const struct value *d, const char *key)
{
    return dict_get_bool(d, key, false);
}

static int qemu_map(struct subject *s, struct extent **out, struct error **err)
{
    int n = 0;
    *out = NULL;
    int ret = session_op(s, "flush\n", err);
    struct value *list = ret < 0 ? NULL : img_json(s, "map", err);
    if (!list) {
        return ret < 0 ? ret : SUBJECT_ERROR;
    }
    for (size_t i = 0; i < list_len(list); i++) {
        const struct value *d = list_at(list, i);
        struct extent e = {
            .offset = dict_get_int(d, "start", -1),
            .bytes = dict_get_int(d, "length", -1),
            .data = flag(d, "data"),
            .zero = flag(d, "zero"),
            .present = flag(d, "present"),
            .depth = (int)dict_get_int(d, "depth", 0),
        };
        extents_add(out, &n, &e);
    }
    value_free(list);
    return n;
}

/* Exit statuses of `check`: 0 clean, 1 could not, 2 corruptions, 3 leaks, 63 the format has none.
 */
static int qemu_check(struct subject *s, struct subject_check *out, struct error **err)
{
    struct qemu *q = s->state;
    struct strbuf text = STRBUF_INIT;
    struct target t = target_of(s, q->layers - 1, true);
    char *argv[12] = {q->img, "check", "--output=json"};
    for (int i = 0; i < t.n; i++) {
        argv[3 + i] = (char *)t.args[i];
    }
    argv[3 + t.n] = t.name;
    int ret = session_end(s, err);
    int status = ret < 0 ? -1 : pipe_run(q->img_server, argv, q->env, &text);
    memset(out, 0, sizeof(*out));
    if (status == 63) {
        ret = -ENOTSUP;
    } else if (status == 0 || status == 2 || status == 3) {
        const char *json = strchr(text.s, '{');
        struct value *v = json ? json_parse(json, err) : NULL;
        if (v) {
            out->corruptions = (int)dict_get_int(v, "corruptions", 0);
            out->leaks = (int)dict_get_int(v, "leaks", 0);
            out->check_errors = (int)dict_get_int(v, "check-errors", 0);
        } else {
            ret = SUBJECT_ERROR;
        }
        value_free(v);
    } else {
        ret = status < 0 ? SUBJECT_ERROR : SUBJECT_FAILED;
        error_set(err, EIO, "check: %.*s", text.s ? (int)strcspn(text.s, "\n") : 0,
                  text.s ? text.s : "");
    }
    strbuf_free(&text);
    mem_free(t.name);
    return ret == 0 ? session_start(s, err) : ret;
}

static struct value *qemu_info(struct subject *s, struct error **err)
{
    struct value *v = img_json(s, "info", err);
    if (v && value_type(v) == VALUE_DICT) {
        info_normalise(v);
    }
    return v;
}

static void qemu_free(struct subject *s)
{
    struct qemu *q = s->state;
    pipe_kill(&q->session);
    forkserver_free(q->img_server);
    forkserver_free(q->io_server);
    mem_free(q->programs);
    mem_free(q->img);
    mem_free(q->io);
    preload_environment_free(q->env);
    mem_free(q);
}

static const struct subject_ops qemu_ops = {
    .create = qemu_create,
    .open = qemu_open,
    .apply = qemu_apply,
    .verify = qemu_verify,
    .length = qemu_length,
    .map = qemu_map,
    .check = qemu_check,
    .info = qemu_info,
    .close = qemu_close,
    .free = qemu_free,
};

/* "7.2.22" from "qemu-img version 7.2.22 (...)". */
static char *program_version(char *program, const char *word)
{
    char *argv[] = {program, "--version", NULL}, *version = NULL;
    struct strbuf text = STRBUF_INIT;
    if (pipe_run(NULL, argv, NULL, &text) == 0) {
        const char *at = strstr(text.s, word);
        at = at ? at + strlen(word) : NULL;
        version = at ? str_ndup(at, strcspn(at, " \n")) : NULL;
    }
    strbuf_free(&text);
    return version;
}

struct subject *subject_qemu_new(const char *name, const char *programs, const char *dir,
                                 struct error **err)
{
    struct subject *s = mem_zalloc(sizeof(*s));
    struct qemu *q = mem_zalloc(sizeof(*q));
    q->programs = str_dup(programs);
    q->img = programs ? str_fmt("%s/qemu-img", programs) : str_dup("qemu-img");
    q->io = programs ? str_fmt("%s/qemu-io", programs) : str_dup("qemu-io");
    char *clock = preload_library("clock");
    q->env = preload_environment(clock, NULL);
    q->img_server = forkserver_new(q->img, clock);
    q->io_server = forkserver_new(q->io, clock);
    mem_free(clock);
    s->ops = &qemu_ops;
    s->state = q;
    s->dir = str_dup(dir);
    snprintf(s->name, sizeof(s->name), "%s", name);
    s->version = program_version(q->img, "qemu-img version ");
    char *io_version = program_version(q->io, "qemu-io version ");
    if (!s->version || !io_version) {
        error_set(err, ENOENT, "%s: %s does not run", name, s->version ? q->io : q->img);
        subject_free(s);
        s = NULL;
    }
    mem_free(io_version);
    return s;
}

bool subject_is_qemu(const struct subject *s, const char **programs)
{
    bool is = s->ops == &qemu_ops;
    *programs = is ? ((const struct qemu *)s->state)->programs : NULL;
    return is;
}
