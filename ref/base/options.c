/*
 * Options: the comma syntax, checking against a table, typed access, and the text of `-o help`.
 *
 * A value that is null, a list or a dict is no option value: checks and access pass it over, as
 * QEMU's do.
 */
#include "ref/base/options.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include "ref/base/mem.h"
#include "ref/base/sizes.h"
#include "ref/base/strbuf.h"

/* ---- the comma syntax ---- */

char *opts_next_value(const char **text)
{
    struct strbuf out = STRBUF_INIT;
    const char *p = *text;

    while (*p && (*p != ',' || p[1] == ',')) {
        p += *p == ',';
        strbuf_putc(&out, *p++);
    }
    *text = p + (*p == ',');
    return strbuf_take(&out);
}

/* One comma-element: key and value (both owned), and the word it was when it stood without '='. */
struct element {
    char *key, *value;
    char *word;
};

/* `implied_key` (or NULL) is for an element without '='.  Moves *text behind the element. */
static struct element next_element(const char **text, const char *implied_key)
{
    const char *s = *text;
    size_t n = strcspn(s, "=,");
    struct element e = {NULL, NULL, NULL};

    if (s[n] == '=') {
        e.key = str_ndup(s, n);
        *text = s + n + 1;
        e.value = opts_next_value(text);
    } else if (implied_key) {
        e.key = str_dup(implied_key);
        e.value = opts_next_value(text);
    } else {
        bool off = strncmp(s, "no", 2) == 0;
        e.word = str_ndup(s, n);
        e.key = str_dup(e.word + (off ? 2 : 0));
        e.value = str_dup(off ? "off" : "on");
        *text = s + n + (s[n] == ',');
    }
    return e;
}

static void free_element(struct element *e)
{
    mem_free(e->key);
    mem_free(e->value);
    mem_free(e->word);
}

static bool is_help(const char *word)
{
    return strcmp(word, "help") == 0 || strcmp(word, "?") == 0;
}

struct value *opts_parse_noting(const char *text, const char *implied_key,
                                struct value *short_forms, struct error **err)
{
    struct value *d = value_dict();

    for (; *text; implied_key = NULL) {
        struct element e = next_element(&text, implied_key);
        dict_put_str(d, e.key, e.value);
        if (e.word && short_forms && !is_help(e.word)) {
            list_append(short_forms, value_strf("short-form boolean option '%s' deprecated\n"
                                                "Please use %s=%s instead",
                                                e.word, e.key, e.value));
        }
        free_element(&e);
    }
    return d;
}

struct value *opts_parse(const char *text, const char *implied_key, struct error **err)
{
    return opts_parse_noting(text, implied_key, NULL, err);
}

bool opts_has_help(const char *text)
{
    while (*text) {
        char *word = opts_next_value(&text);
        bool help = is_help(word);
        mem_free(word);
        if (help) {
            return true;
        }
    }
    return false;
}

/* ---- typed values ---- */

/*
 * The text of an option's value; NULL when v is absent or no option value.  *own, to be freed, is
 * what had to be made for it.
 */
static const char *text_of(const struct value *v, char **own)
{
    *own = NULL;
    if (!v) {
        return NULL;
    }
    switch (value_type(v)) {
    case VALUE_STRING:
        return value_get_str(v);
    case VALUE_BOOL:
        return value_get_bool(v) ? "on" : "off";
    case VALUE_INT:
        return *own = str_fmt("%lld", (long long)value_get_int(v));
    case VALUE_UINT:
        return *own = str_fmt("%llu", (unsigned long long)value_get_uint(v));
    case VALUE_DOUBLE:
        return *own = str_fmt("%.17g", value_get_double(v));
    default:
        return NULL;
    }
}

static int check_bool(const char *name, const char *s, bool *out, struct error **err)
{
    if (!parse_bool(s, out)) {
        return error_set(err, EINVAL, "Parameter '%s' expects 'on' or 'off'", name);
    }
    return 0;
}

static int check_number(const char *name, const char *s, uint64_t *out, struct error **err)
{
    int ret = parse_uint64(s, NULL, 0, out);

    if (ret == -ERANGE) {
        return error_set(err, EINVAL, "Value '%s' is too large for parameter '%s'", s, name);
    }
    if (ret < 0) {
        return error_set(err, EINVAL, "Parameter '%s' expects a number", name);
    }
    return 0;
}

static int check_size(const char *name, const char *s, uint64_t *out, struct error **err)
{
    int ret = parse_size(s, NULL, 'B', out);

    if (ret == -ERANGE) {
        return error_set(err, EINVAL, "Value '%s' is out of range for parameter '%s'", s, name);
    }
    if (ret < 0) {
        error_set(err, EINVAL, "Parameter '%s' expects a non-negative number below 2^64", name);
        error_hint(err,
                   "Optional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, peta-\n"
                   "and exabytes, respectively.\n");
        return -EINVAL;
    }
    return 0;
}

static int check_int(const char *name, const char *s, int64_t *out, struct error **err)
{
    if (parse_int64(s, NULL, 0, out) < 0) {
        return error_set(err, EINVAL, "Parameter '%s' expects integer", name);
    }
    return 0;
}

static int check_enum(const struct opt_desc *o, const char *name, const char *s, int *out,
                      struct error **err)
{
    for (int i = 0; o->values[i]; i++) {
        if (strcmp(o->values[i], s) == 0) {
            *out = i;
            return 0;
        }
    }
    return error_set(err, EINVAL, "Parameter '%s' does not accept value '%s'", name, s);
}

/* ---- tables ---- */

const struct opt_desc *opts_find(const struct opt_desc *table, const char *name)
{
    for (const struct opt_desc *o = table; o->name; o++) {
        if (o->name[0] != name[0]) {
            continue;
        }
        if (strcmp(o->name, name) == 0) {
            return o;
        }
        size_t n = o->type == OPT_DICT ? strlen(o->name) : 0;
        if (n && strncmp(o->name, name, n) == 0 && name[n] == '.') {
            return o;
        }
    }
    return NULL;
}

static int check_value(const struct opt_desc *o, const char *name, const char *s,
                       struct error **err)
{
    uint64_t u;
    int64_t i;
    int e;
    bool b;

    switch (o->type) {
    case OPT_BOOL:
        return check_bool(name, s, &b, err);
    case OPT_NUMBER:
        return check_number(name, s, &u, err);
    case OPT_SIZE:
        return check_size(name, s, &u, err);
    case OPT_INT:
        return check_int(name, s, &i, err);
    case OPT_ENUM:
        return check_enum(o, name, s, &e, err);
    case OPT_STRING:
    case OPT_DICT:
        return 0;
    }
    __builtin_unreachable();
}

/* s is NULL for what is no option value. */
static int validate_one(const struct opt_desc *table, const char *key, const char *s,
                        struct error **err)
{
    const struct opt_desc *o = opts_find(table, key);

    if (!o) {
        return error_set(err, EINVAL, "Invalid parameter '%s'", key);
    }
    return s ? check_value(o, key, s, err) : 0;
}

int opts_validate(const struct opt_desc *table, const struct value *d, struct error **err)
{
    struct dict_iter it;

    DICT_FOREACH (it, d) {
        char *own;
        int ret = validate_one(table, it.key, text_of(it.value, &own), err);
        mem_free(own);
        if (ret < 0) {
            return ret;
        }
    }
    return 0;
}

int opts_validate_text(const struct opt_desc *table, const char *text, struct error **err)
{
    int ret = 0;

    while (ret == 0 && *text) {
        struct element e = next_element(&text, NULL);
        ret = validate_one(table, e.key, e.value, err);
        free_element(&e);
    }
    return ret;
}

int opts_check_types(const struct opt_desc *table, const struct value *d, struct error **err)
{
    int ret = 0;

    for (; dict_len(d) > 0 && table->name && ret == 0; table++) {
        char *own;
        const char *s = text_of(dict_get(d, table->name), &own);
        ret = s ? check_value(table, table->name, s, err) : 0;
        mem_free(own);
    }
    return ret;
}

/* What command lines give is text already. */
static bool all_text(const struct value *d)
{
    struct dict_iter it;
    DICT_FOREACH (it, d) {
        if (value_type(it.value) != VALUE_STRING) {
            return false;
        }
    }
    return true;
}

void opts_settle(const struct opt_desc *table, struct value *d)
{
    if (all_text(d)) {
        return;
    }
    for (; table->name && dict_len(d) > 0; table++) {
        const struct value *v = table->type == OPT_DICT ? NULL : dict_get(d, table->name);
        if (!v || value_type(v) == VALUE_STRING) {
            continue;
        }
        char *own;
        const char *s = text_of(v, &own);
        if (!s) {
            dict_del(d, table->name);
        } else if (table->type == OPT_STRING || table->type == OPT_ENUM) {
            dict_put_str(d, table->name, s);
        }
        mem_free(own);
    }
}

struct value *opts_take(const struct opt_desc *table, struct value *d)
{
    struct value *taken = value_dict();

    for (const struct opt_desc *o = table; o->name; o++) {
        struct value *v = dict_take(d, o->name);
        if (v) {
            dict_put(taken, o->name, v);
        }
    }
    opts_settle(table, taken);
    return taken;
}

/* The text given for a name, or the table's default, or NULL; *own as text_of() has it. */
static const char *lookup(const struct opt_desc *t, const struct value *d, const char *name,
                          char **own)
{
    const char *s = text_of(dict_get(d, name), own);

    if (!s) {
        const struct opt_desc *o = opts_find(t, name);
        s = o ? o->def : NULL;
    }
    return s;
}

int opts_get_bool(const struct opt_desc *t, const struct value *d, const char *name, bool *out,
                  struct error **err)
{
    char *own;
    const char *s = lookup(t, d, name, &own);
    int ret = s ? check_bool(name, s, out, err) : 0;

    mem_free(own);
    return ret;
}

int opts_get_size(const struct opt_desc *t, const struct value *d, const char *name, uint64_t *out,
                  struct error **err)
{
    char *own;
    const char *s = lookup(t, d, name, &own);
    int ret = s ? check_size(name, s, out, err) : 0;

    mem_free(own);
    return ret;
}

int opts_get_number(const struct opt_desc *t, const struct value *d, const char *name,
                    uint64_t *out, struct error **err)
{
    char *own;
    const char *s = lookup(t, d, name, &own);
    int ret = s ? check_number(name, s, out, err) : 0;

    mem_free(own);
    return ret;
}

int opts_get_int(const struct opt_desc *t, const struct value *d, const char *name, int64_t *out,
                 struct error **err)
{
    char *own;
    const char *s = lookup(t, d, name, &own);
    int ret = s ? check_int(name, s, out, err) : 0;

    mem_free(own);
    return ret;
}

int opts_get_enum(const struct opt_desc *t, const struct value *d, const char *name, int *out,
                  struct error **err)
{
    const struct opt_desc *o = opts_find(t, name);
    char *own;
    const char *s = lookup(t, d, name, &own);
    int ret = s ? check_enum(o, name, s, out, err) : 0;

    mem_free(own);
    return ret;
}

const char *opts_get_str(const struct opt_desc *t, const struct value *d, const char *name)
{
    const char *s = dict_get_str(d, name);

    if (!s) {
        const struct opt_desc *o = opts_find(t, name);
        s = o ? o->def : NULL;
    }
    return s;
}

/* ---- help ---- */

static const char *type_name(enum opt_type type)
{
    switch (type) {
    case OPT_BOOL:
        return "bool (on/off)";
    case OPT_NUMBER:
    case OPT_INT:
        return "num";
    case OPT_SIZE:
        return "size";
    default:
        return "str";
    }
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

void opts_print_help(struct strbuf *out, const struct opt_desc *table, const char *title)
{
    size_t n = 0;

    while (table[n].name) {
        n++;
    }
    char **lines = mem_array(n, sizeof(*lines));
    for (size_t i = 0; i < n; i++) {
        const struct opt_desc *o = &table[i];
        char *head = str_fmt("%s=<%s>", o->name, type_name(o->type));
        lines[i] = o->help ? str_fmt("%-22s - %s", head, o->help) : str_dup(head);
        mem_free(head);
    }
    qsort(lines, n, sizeof(*lines), by_text);
    if (title) {
        strbuf_printf(out, "%s\n", title);
    }
    for (size_t i = 0; i < n; i++) {
        strbuf_printf(out, "  %s\n", lines[i]);
        mem_free(lines[i]);
    }
    mem_free(lines);
}
