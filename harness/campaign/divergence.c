/*
 * The divergence list.
 */
#include "harness/campaign/divergence.h"

#include <errno.h>
#include <fnmatch.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>
#include "harness/campaign/text_file.h"
#include "ref/base/mem.h"

static const struct {
    const char *name;
    size_t member;
} keys[] = {
    {"id", offsetof(struct divergence, id)},
    {"why", offsetof(struct divergence, why)},
    {"repro", offsetof(struct divergence, repro)},
    {"stage", offsetof(struct divergence, stage)},
    {"subject", offsetof(struct divergence, subject)},
    {"version", offsetof(struct divergence, version)},
    {"format", offsetof(struct divergence, format)},
    {"detail", offsetof(struct divergence, detail)},
    {"program", offsetof(struct divergence, program)},
};

static char **member(struct divergence *e, size_t i)
{
    return (char **)((char *)e + keys[i].member);
}

static int parse_line(struct divergence *e, const char *line, unsigned number, struct error **err)
{
    size_t len = strcspn(line, ":");
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
        if (line[len] == ':' && strlen(keys[i].name) == len && !memcmp(line, keys[i].name, len)) {
            const char *value = line + len + 1 + strspn(line + len + 1, " \t");
            if (*member(e, i)) {
                return error_set(err, EINVAL, "line %u: '%s' given twice", number, keys[i].name);
            }
            *member(e, i) = str_dup(value);
            return 0;
        }
    }
    return error_set(err, EINVAL, "line %u: expected 'KEY: VALUE', not '%s'", number, line);
}

static int finish_entry(struct divergences *d, struct divergence *e, unsigned number,
                        struct error **err)
{
    bool empty = true;
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
        empty = empty && !*member(e, i);
    }
    if (empty) {
        return 0;
    }
    d->entries = mem_realloc(d->entries, (d->n + 1) * sizeof(*d->entries));
    d->entries[d->n++] = *e;
    int ret = e->id && e->why
                  ? 0
                  : error_set(err, EINVAL, "entry before line %u: needs id and why", number);
    memset(e, 0, sizeof(*e));
    return ret;
}

struct divergences *divergences_parse(const char *text, struct error **err)
{
    struct divergences *d = mem_zalloc(sizeof(*d));
    struct divergence e = {.id = NULL};
    unsigned number = 1;
    int ret = 0;
    for (; *text && ret == 0; number++) {
        size_t len = strcspn(text, "\n");
        char *line = str_ndup(text, len);
        text += len + (text[len] == '\n');
        if (!line[strspn(line, " \t\r")]) {
            ret = finish_entry(d, &e, number, err);
        } else if (line[0] != '#') {
            ret = parse_line(&e, line, number, err);
        }
        mem_free(line);
    }
    int last = finish_entry(d, &e, number, ret < 0 ? NULL : err);
    if (ret < 0 || last < 0) {
        divergences_free(d);
        return NULL;
    }
    return d;
}

struct divergences *divergences_load(const char *path, struct error **err)
{
    if (access(path, F_OK) < 0) {
        return mem_zalloc(sizeof(struct divergences));
    }
    char *text = text_file_read(path, err);
    struct divergences *d = text ? divergences_parse(text, err) : NULL;
    mem_free(text);
    if (!d) {
        error_prepend(err, "%s: ", path);
        return NULL;
    }
    const char *slash = strrchr(path, '/');
    d->dir = slash ? str_ndup(path, (size_t)(slash - path)) : str_dup(".");
    return d;
}

void divergences_free(struct divergences *d)
{
    for (size_t n = 0; d && n < d->n; n++) {
        for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
            mem_free(*member(&d->entries[n], i));
        }
    }
    if (d) {
        mem_free(d->entries);
        mem_free(d->dir);
    }
    mem_free(d);
}

static bool fits(const char *glob, const char *text)
{
    return !glob || (text && fnmatch(glob, text, FNM_EXTMATCH) == 0);
}

const struct divergence *divergences_match(struct divergences *d, const struct difference_facts *f)
{
    for (size_t n = 0; d && n < d->n; n++) {
        struct divergence *e = &d->entries[n];
        if (fits(e->stage, f->stage) && fits(e->subject, f->subject) &&
            fits(e->version, f->version) && fits(e->format, f->format) &&
            fits(e->detail, f->detail) && fits(e->program, f->program)) {
            e->seen++;
            return e;
        }
    }
    return NULL;
}
