/*
 * Text form of operations and programs.
 *
 * Parsing is strict: unknown words, missing or surplus numbers, ranges beyond int64 are errors that
 * name the line.
 */
#include "trace/op.h"

#include <errno.h>
#include <stdio.h>
#include "ref/base/mem.h"
#include "ref/base/sizes.h"

enum shape { SHAPE_NONE, SHAPE_RANGE, SHAPE_RANGE_SEED, SHAPE_TEXT, SHAPE_MAY_TEXT, SHAPE_SIZE };

static const struct {
    const char *name;
    enum shape shape;
    unsigned flags; /* those it may carry */
} kinds[OP_KINDS] = {
    [OP_WRITE] = {"write", SHAPE_RANGE_SEED, OP_FUA},
    [OP_WRITE_COMPRESSED] = {"writec", SHAPE_RANGE_SEED, 0},
    [OP_ZERO] = {"zero", SHAPE_RANGE, OP_UNMAP | OP_NO_FALLBACK},
    [OP_DISCARD] = {"discard", SHAPE_RANGE, 0},
    [OP_READ] = {"read", SHAPE_RANGE, 0},
    [OP_FLUSH] = {"flush", SHAPE_NONE, 0},
    [OP_SNAPSHOT] = {"snapshot", SHAPE_TEXT, 0},
    [OP_APPLY] = {"apply", SHAPE_TEXT, 0},
    [OP_DELSNAP] = {"delsnap", SHAPE_TEXT, 0},
    [OP_RESIZE] = {"resize", SHAPE_SIZE, 0},
    [OP_AMEND] = {"amend", SHAPE_TEXT, 0},
    [OP_OVERLAY] = {"overlay", SHAPE_NONE, 0},
    [OP_COMMIT] = {"commit", SHAPE_NONE, 0},
    [OP_REOPEN] = {"reopen", SHAPE_MAY_TEXT, 0},
    [OP_CHECK] = {"check", SHAPE_NONE, 0},
    [OP_VMSAVE] = {"vmsave", SHAPE_RANGE_SEED, 0},
    [OP_VMLOAD] = {"vmload", SHAPE_RANGE, 0},
    [OP_EXTEND] = {"extend", SHAPE_SIZE, 0},
};

static const struct {
    const char *name;
    unsigned flag;
} flag_words[] = {{"fua", OP_FUA}, {"unmap", OP_UNMAP}, {"nofallback", OP_NO_FALLBACK}};

const char *op_kind_name(enum op_kind k)
{
    return kinds[k].name;
}

void op_fill(void *buf, uint32_t seed, int64_t offset, size_t len)
{
    memset(buf, (int)seed, len);
}

/* The next word of *line, copied; false at the end or when it does not fit. */
static bool next_word(const char **line, char *word, size_t cap)
{
    const char *s = *line + strspn(*line, " \t");
    size_t len = strcspn(s, " \t");
    *line = s + len;
    if (!len || len >= cap) {
        return false;
    }
    memcpy(word, s, len);
    word[len] = 0;
    return true;
}

static bool next_number(const char **line, int64_t *out)
{
    char word[32];
    uint64_t value;
    if (!next_word(line, word, sizeof(word)) || parse_size(word, NULL, 'B', &value) < 0 ||
        value > INT64_MAX) {
        return false;
    }
    *out = (int64_t)value;
    return true;
}

static bool parse_range(const char **line, struct op *op)
{
    return next_number(line, &op->offset) && next_number(line, &op->bytes) &&
           op->offset <= INT64_MAX - op->bytes;
}

static bool parse_flags(const char **line, struct op *op)
{
    char word[16];
    while (next_word(line, word, sizeof(word))) {
        unsigned flag = 0;
        for (size_t i = 0; i < ARRAY_SIZE(flag_words); i++) {
            if (!strcmp(word, flag_words[i].name)) {
                flag = flag_words[i].flag;
            }
        }
        if (!flag || !(flag & kinds[op->kind].flags)) {
            return false;
        }
        op->flags |= flag;
    }
    return (*line)[strspn(*line, " \t")] == 0;
}

static bool parse_prealloc(const char **line, struct op *op)
{
    char word[16];
    if ((*line)[strspn(*line, " \t")] == 0) {
        return true;
    }
    if (!next_word(line, word, sizeof(word))) {
        return false;
    }
    for (int i = 0; prealloc_names[i]; i++) {
        if (!strcmp(word, prealloc_names[i])) {
            op->prealloc = (enum prealloc)i;
            return true;
        }
    }
    return false;
}

static bool parse_arguments(const char **line, struct op *op)
{
    int64_t seed = 0;
    switch (kinds[op->kind].shape) {
    case SHAPE_NONE:
        return true;
    case SHAPE_RANGE:
        return parse_range(line, op);
    case SHAPE_RANGE_SEED:
        if (!parse_range(line, op) || !next_number(line, &seed) || seed < 1 || seed > 255) {
            return false;
        }
        op->seed = (uint32_t)seed;
        return true;
    case SHAPE_TEXT:
        return next_word(line, op->text, sizeof(op->text));
    case SHAPE_MAY_TEXT:
        return (*line)[strspn(*line, " \t")] == 0 || next_word(line, op->text, sizeof(op->text));
    case SHAPE_SIZE:
        return next_number(line, &op->bytes) && (op->kind == OP_EXTEND || parse_prealloc(line, op));
    }
    return false;
}

int op_parse(const char *line, struct op *out, struct error **err)
{
    char word[16];
    const char *rest = line;
    memset(out, 0, sizeof(*out));
    if (next_word(&rest, word, sizeof(word))) {
        for (int k = 0; k < OP_KINDS; k++) {
            if (strcmp(word, kinds[k].name)) {
                continue;
            }
            out->kind = (enum op_kind)k;
            if (parse_arguments(&rest, out) && parse_flags(&rest, out)) {
                return 0;
            }
            return error_set(err, EINVAL, "bad arguments in operation '%s'", line);
        }
    }
    return error_set(err, EINVAL, "unknown operation '%s'", line);
}

void op_print(struct strbuf *out, const struct op *op)
{
    strbuf_puts(out, kinds[op->kind].name);
    switch (kinds[op->kind].shape) {
    case SHAPE_NONE:
        break;
    case SHAPE_RANGE:
    case SHAPE_RANGE_SEED:
        strbuf_printf(out, " %lld %lld", (long long)op->offset, (long long)op->bytes);
        if (kinds[op->kind].shape == SHAPE_RANGE_SEED) {
            strbuf_printf(out, " %u", op->seed);
        }
        break;
    case SHAPE_TEXT:
    case SHAPE_MAY_TEXT:
        strbuf_printf(out, "%s%s", op->text[0] ? " " : "", op->text);
        break;
    case SHAPE_SIZE:
        strbuf_printf(out, " %lld", (long long)op->bytes);
        if (op->prealloc != PREALLOC_OFF) {
            strbuf_printf(out, " %s", prealloc_names[op->prealloc]);
        }
        break;
    }
    for (size_t i = 0; i < ARRAY_SIZE(flag_words); i++) {
        if (op->flags & flag_words[i].flag) {
            strbuf_printf(out, " %s", flag_words[i].name);
        }
    }
}

void program_add(struct program *p, const struct op *op)
{
    p->ops = mem_realloc(p->ops, (p->n_ops + 1) * sizeof(*p->ops));
    p->ops[p->n_ops++] = *op;
}

void program_cut(struct program *p, size_t at, size_t n)
{
    bool beside = p->ops[at].beside;
    memmove(p->ops + at, p->ops + at + n, (p->n_ops - at - n) * sizeof(*p->ops));
    p->n_ops -= n;
    if (at < p->n_ops) {
        p->ops[at].beside = p->ops[at].beside && beside;
    }
}

size_t program_group(const struct program *p, size_t at)
{
    size_t n = 1;
    while (at + n < p->n_ops && p->ops[at + n].beside) {
        n++;
    }
    return n;
}

struct program program_clone(const struct program *p)
{
    struct program copy = *p;
    copy.ops = p->n_ops ? mem_dup(p->ops, p->n_ops * sizeof(*p->ops)) : NULL;
    return copy;
}

void program_free(struct program *p)
{
    mem_free(p->ops);
    p->ops = NULL;
    p->n_ops = 0;
}

static int parse_image(const char *line, struct program *p, struct error **err)
{
    char word[sizeof(p->options)];
    const char *rest = line;
    if (!next_word(&rest, word, sizeof(word)) || strcmp(word, "image") ||
        !next_word(&rest, p->format, sizeof(p->format)) || !next_number(&rest, &p->size)) {
        return error_set(err, EINVAL, "expected 'image FORMAT SIZE [backing] [OPTIONS]', not '%s'",
                         line);
    }
    while (next_word(&rest, word, sizeof(word))) {
        if (!strcmp(word, "backing")) {
            p->backing = true;
        } else if (p->options[0]) {
            return error_set(err, EINVAL, "surplus word '%s' in '%s'", word, line);
        } else {
            memcpy(p->options, word, sizeof(p->options));
        }
    }
    if (rest[strspn(rest, " \t")]) {
        return error_set(err, EINVAL, "options too long in '%s'", line);
    }
    return 0;
}

/* One line of operations. */
static int parse_line(char *line, struct program *p, struct error **err)
{
    struct op op;
    size_t n = 0;
    bool commits = false, changes = false;
    for (char *rest = line, *end; rest; rest = end) {
        end = strstr(rest, "||");
        if (end) {
            *end = 0;
            end += 2;
        }
        int ret = op_parse(rest, &op, err);
        if (ret < 0) {
            return ret;
        }
        op.beside = n++ > 0;
        bool alone = op.kind == OP_OVERLAY || (op.kind == OP_REOPEN && !op.text[0]);
        commits |= op.kind == OP_COMMIT;
        changes |= op.kind != OP_COMMIT && op.kind != OP_READ && op.kind != OP_FLUSH;
        if ((op.beside || end) && (alone || (commits && changes))) {
            return error_set(err, EINVAL, "'%s' cannot run beside others", rest);
        }
        if (n > OP_GROUP_MAX) {
            return error_set(err, EINVAL, "more than %d operations beside each other",
                             OP_GROUP_MAX);
        }
        program_add(p, &op);
    }
    return 0;
}

int program_parse(const char *text, struct program *out, struct error **err)
{
    bool have_image = false;
    int ret = 0;
    memset(out, 0, sizeof(*out));
    while (*text && ret == 0) {
        size_t len = strcspn(text, "\n");
        char *line = str_ndup(text, len);
        text += len + (text[len] == '\n');
        line[strcspn(line, "#\r")] = 0;
        if (line[strspn(line, " \t")]) {
            if (!have_image) {
                ret = parse_image(line, out, err);
                have_image = true;
            } else {
                ret = parse_line(line, out, err);
            }
        }
        mem_free(line);
    }
    if (ret == 0 && !have_image) {
        ret = error_set(err, EINVAL, "empty program: no 'image' line");
    }
    if (ret < 0) {
        program_free(out);
    }
    return ret;
}

void program_print(struct strbuf *out, const struct program *p)
{
    strbuf_printf(out, "image %s %lld%s", p->format, (long long)p->size,
                  p->backing ? " backing" : "");
    if (p->options[0]) {
        strbuf_printf(out, " %s", p->options);
    }
    for (size_t i = 0; i < p->n_ops; i++) {
        strbuf_puts(out, p->ops[i].beside ? " || " : "\n");
        op_print(out, &p->ops[i]);
    }
    strbuf_putc(out, '\n');
}
