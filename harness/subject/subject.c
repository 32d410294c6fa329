/*
 * What all subjects share: file names, options, extents, statuses, info without place and time.
 */
#include "harness/subject/subject.h"

#include <errno.h>
#include <stdio.h>
#include "ref/base/mem.h"

const char *const planted_names[] = {"none", "flip-byte", "drop-flush",    "leak-cluster",
                                     "race", "deadlock",  "swallow-error", NULL};

void subject_layer_name(char name[32], unsigned layer)
{
    snprintf(name, 32, "layer%u.img", layer);
}

const char *subject_format(const struct program *p, unsigned layer)
{
    return layer ? "qcow2" : p->format;
}

const char *subject_base_format(const struct program *p)
{
    return strcmp(p->format, "vmdk") == 0 ? "vmdk" : "raw";
}

bool subject_encrypted(const struct program *p)
{
    return !strcmp(p->format, "luks") || strstr(p->options, "encrypt.format=");
}

/* "encrypt.key-secret" for a layer that has a key, else NULL. */
static const char *key_name(const struct program *p, unsigned layer)
{
    bool qcow2 = !strcmp(p->format, "qcow2");
    return !subject_encrypted(p) || (layer && !qcow2)
               ? NULL /* overlays of others have no options */
           : strcmp(p->format, "luks") ? "encrypt.key-secret"
                                       : "key-secret";
}

void subject_key_options(const struct program *p, unsigned layer, struct value *options)
{
    struct strbuf prefix = STRBUF_INIT;
    strbuf_puts(&prefix, "");
    for (unsigned i = layer + 1; i-- > 0;) {
        const char *name = key_name(p, i);
        if (name) {
            char *key = str_fmt("%s%s", prefix.s, name);
            dict_put_str(options, key, SUBJECT_SECRET_ID);
            mem_free(key);
        }
        strbuf_puts(&prefix, "backing.");
    }
    strbuf_free(&prefix);
}

static bool only_first_image(const char *option)
{
    return !strncmp(option, "data_file", 9) || !strncmp(option, "preallocation=", 14);
}

char *subject_options(const struct program *p, const char *prefix, bool overlay)
{
    struct strbuf out = STRBUF_INIT;
    const char *s = overlay && strcmp(p->format, "qcow2") ? "" : p->options;
    strbuf_puts(&out, "");
    while (*s) {
        size_t len = strcspn(s, ",");
        char *option = str_ndup(s, len);
        s += len + (s[len] == ',');
        if (!overlay || !only_first_image(option)) {
            strbuf_puts(&out, out.len ? "," : "");
            if (!strcmp(option, "data_file=data")) {
                strbuf_printf(&out, "data_file=%s%s", prefix, SUBJECT_DATA);
            } else {
                strbuf_puts(&out, option);
            }
        }
        mem_free(option);
    }
    const char *key = key_name(p, overlay);
    if (key) {
        bool luks = !strstr(p->options, "encrypt.format=aes");
        strbuf_printf(&out, "%s%s=" SUBJECT_SECRET_ID, out.len ? "," : "", key);
        strbuf_puts(&out, !luks                       ? ""
                          : strcmp(key, "key-secret") ? ",encrypt.iter-time=10"
                                                      : ",iter-time=10");
    }
    return strbuf_take(&out);
}

static bool alike(const struct extent *a, const struct extent *b)
{
    return a->data == b->data && a->zero == b->zero && a->present == b->present &&
           a->depth == b->depth;
}

void extents_add(struct extent **list, int *n, const struct extent *e)
{
    struct extent *last = *n ? &(*list)[*n - 1] : NULL;
    if (last && alike(last, e) && last->offset + last->bytes == e->offset) {
        last->bytes += e->bytes;
        return;
    }
    *list = mem_realloc(*list, ((size_t)*n + 1) * sizeof(**list));
    (*list)[(*n)++] = *e;
}

bool extents_equal(const struct extent *a, int na, const struct extent *b, int nb)
{
    for (int i = 0; i < MIN(na, nb); i++) {
        if (!alike(&a[i], &b[i]) || a[i].offset != b[i].offset || a[i].bytes != b[i].bytes) {
            return false;
        }
    }
    return na == nb;
}

void extent_text(struct strbuf *out, const struct extent *e)
{
    strbuf_printf(out, "%lld+%lld:%s%s%s%d", (long long)e->offset, (long long)e->bytes,
                  e->data ? "d" : "", e->zero ? "z" : "", e->present ? "p" : "", e->depth);
}

static void normalise_snapshots(struct value *list)
{
    for (size_t i = 0; list && value_type(list) == VALUE_LIST && i < list_len(list); i++) {
        struct value *sn = list_at(list, i);
        dict_del(sn, "date-sec");
        dict_del(sn, "date-nsec");
    }
}

/* Identity, and what a derivation costs here and now. */
static void normalise_luks(struct value *v)
{
    struct value *slots = v && value_type(v) == VALUE_DICT ? dict_get(v, "slots") : NULL;
    for (size_t i = 0; slots && i < list_len(slots); i++) {
        dict_del(list_at(slots, i), "iters");
    }
    if (slots) {
        dict_del(v, "uuid");
        dict_del(v, "master-key-iters");
    }
}

void info_normalise(struct value *info)
{
    static const char *const gone[] = {"filename",         "actual-size",
                                       "backing-filename", "full-backing-filename",
                                       "backing-image",    "children"};
    for (size_t i = 0; i < ARRAY_SIZE(gone); i++) {
        dict_del(info, gone[i]);
    }
    normalise_snapshots(dict_get(info, "snapshots"));
    struct value *specific = dict_get(info, "format-specific");
    struct value *data = specific ? dict_get(specific, "data") : NULL;
    if (data && value_type(data) == VALUE_DICT) {
        struct value *extents = dict_get(data, "extents");
        dict_del(data, "data-file");
        normalise_luks(dict_get(data, "encrypt"));
        normalise_luks(data);
        dict_del(data, "cid");
        dict_del(data, "parent-cid");
        for (size_t i = 0; extents && i < list_len(extents); i++) {
            dict_del(list_at(extents, i), "filename");
        }
    }
}

bool status_equal(int a, int b)
{
    bool both_fail = a < 0 && b < 0;
    return a == b || (both_fail && (a == SUBJECT_FAILED || b == SUBJECT_FAILED));
}

void status_text(char text[32], int status)
{
    if (status == 0) {
        snprintf(text, 32, "ok");
    } else if (status == SUBJECT_FAILED) {
        snprintf(text, 32, "failed");
    } else if (status == SUBJECT_ERROR) {
        snprintf(text, 32, "subject error");
    } else {
        const char *name = strerrorname_np(-status);
        snprintf(text, 32, "%s", name ? name : "unknown error");
    }
}

void subject_free(struct subject *s)
{
    if (!s) {
        return;
    }
    s->ops->close(s);
    s->ops->free(s);
    mem_free(s->dir);
    mem_free(s->version);
    mem_free(s);
}
