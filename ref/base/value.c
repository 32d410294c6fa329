/*
 * Values: JSON-like trees.  A list is an array; a dict is an array kept in QEMU's key order
 * (value.h), so that iteration is a walk, lookup a binary search by bucket, and insertion a move of
 * a few pointers.
 */
#include "ref/base/value.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include "ref/base/error.h"
#include "ref/base/mem.h"
#include "ref/base/sizes.h"

#define BUCKETS     512
#define MAX_NESTING 512 /* of dict_crumple(): its recursion must fit a coroutine's stack */

struct entry {
    unsigned bucket;
    char *key;
    struct value *value;
};

struct value {
    enum value_type type;
    union {
        bool b;
        int64_t i;
        uint64_t u;
        double d;
        char *s; /* behind the value, in the same piece of memory */
        struct {
            struct value **at;
            size_t n, cap;
        } list;
        struct {
            struct entry *at;
            size_t n, cap;
        } dict;
    };
};

static struct value *new_value(enum value_type type)
{
    struct value *v = mem_zalloc(sizeof(*v));

    v->type = type;
    return v;
}

struct value *value_null(void)
{
    return new_value(VALUE_NULL);
}

struct value *value_bool(bool b)
{
    struct value *v = new_value(VALUE_BOOL);

    v->b = b;
    return v;
}

struct value *value_int(int64_t i)
{
    struct value *v = new_value(VALUE_INT);

    v->i = i;
    return v;
}

struct value *value_uint(uint64_t u)
{
    if (u <= INT64_MAX) {
        return value_int((int64_t)u);
    }
    struct value *v = new_value(VALUE_UINT);
    v->u = u;
    return v;
}

struct value *value_double(double d)
{
    struct value *v = new_value(VALUE_DOUBLE);

    v->d = d;
    return v;
}

struct value *value_str(const char *s)
{
    assert(s);
    size_t size = strlen(s) + 1;
    struct value *v = mem_alloc(sizeof(*v) + size);

    v->type = VALUE_STRING;
    v->s = memcpy(v + 1, s, size);
    return v;
}

struct value *value_strf(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    char *s = str_vfmt(fmt, ap);
    va_end(ap);
    struct value *v = value_str(s);
    mem_free(s);
    return v;
}

struct value *value_list(void)
{
    return new_value(VALUE_LIST);
}

struct value *value_dict(void)
{
    return new_value(VALUE_DICT);
}

/* ---- trees ---- */

static struct value *clone_dict(const struct value *v)
{
    struct value *c = value_dict();

    c->dict.n = c->dict.cap = v->dict.n;
    c->dict.at = mem_array(v->dict.n, sizeof(*c->dict.at));
    for (size_t i = 0; i < v->dict.n; i++) {
        const struct entry *e = &v->dict.at[i];
        c->dict.at[i] = (struct entry){e->bucket, str_dup(e->key), value_clone(e->value)};
    }
    return c;
}

struct value *value_clone(const struct value *v)
{
    switch (v->type) {
    case VALUE_NULL:
        return value_null();
    case VALUE_BOOL:
        return value_bool(v->b);
    case VALUE_INT:
        return value_int(v->i);
    case VALUE_UINT:
        return value_uint(v->u);
    case VALUE_DOUBLE:
        return value_double(v->d);
    case VALUE_STRING:
        return value_str(v->s);
    case VALUE_LIST: {
        struct value *c = value_list();
        for (size_t i = 0; i < v->list.n; i++) {
            list_append(c, value_clone(v->list.at[i]));
        }
        return c;
    }
    case VALUE_DICT:
        return clone_dict(v);
    }
    __builtin_unreachable();
}

void value_free(struct value *v)
{
    if (!v) {
        return;
    }
    if (v->type == VALUE_LIST) {
        for (size_t i = 0; i < v->list.n; i++) {
            value_free(v->list.at[i]);
        }
        mem_free(v->list.at);
    } else if (v->type == VALUE_DICT) {
        for (size_t i = 0; i < v->dict.n; i++) {
            mem_free(v->dict.at[i].key);
            value_free(v->dict.at[i].value);
        }
        mem_free(v->dict.at);
    }
    mem_free(v);
}

static bool list_equal(const struct value *a, const struct value *b)
{
    if (a->list.n != b->list.n) {
        return false;
    }
    for (size_t i = 0; i < a->list.n; i++) {
        if (!value_equal(a->list.at[i], b->list.at[i])) {
            return false;
        }
    }
    return true;
}

/* Keys of one bucket may stand in either order. */
static bool dict_equal(const struct value *a, const struct value *b)
{
    if (a->dict.n != b->dict.n) {
        return false;
    }
    for (size_t i = 0; i < a->dict.n; i++) {
        const struct value *other = dict_get(b, a->dict.at[i].key);
        if (!other || !value_equal(a->dict.at[i].value, other)) {
            return false;
        }
    }
    return true;
}

bool value_equal(const struct value *a, const struct value *b)
{
    if (a->type != b->type) {
        return false;
    }
    switch (a->type) {
    case VALUE_NULL:
        return true;
    case VALUE_BOOL:
        return a->b == b->b;
    case VALUE_INT:
        return a->i == b->i;
    case VALUE_UINT:
        return a->u == b->u;
    case VALUE_DOUBLE:
        return a->d == b->d;
    case VALUE_STRING:
        return strcmp(a->s, b->s) == 0;
    case VALUE_LIST:
        return list_equal(a, b);
    case VALUE_DICT:
        return dict_equal(a, b);
    }
    __builtin_unreachable();
}

/* ---- scalars ---- */

enum value_type value_type(const struct value *v)
{
    return v->type;
}

bool value_get_bool(const struct value *v)
{
    assert(v->type == VALUE_BOOL);
    return v->b;
}

int64_t value_get_int(const struct value *v)
{
    assert(v->type == VALUE_INT);
    return v->i;
}

uint64_t value_get_uint(const struct value *v)
{
    assert(v->type == VALUE_UINT || (v->type == VALUE_INT && v->i >= 0));
    return v->type == VALUE_UINT ? v->u : (uint64_t)v->i;
}

double value_get_double(const struct value *v)
{
    assert(v->type == VALUE_INT || v->type == VALUE_UINT || v->type == VALUE_DOUBLE);
    return v->type == VALUE_INT ? (double)v->i : v->type == VALUE_UINT ? (double)v->u : v->d;
}

const char *value_get_str(const struct value *v)
{
    assert(v->type == VALUE_STRING);
    return v->s;
}

/* ---- lists ---- */

size_t list_len(const struct value *l)
{
    assert(l->type == VALUE_LIST);
    return l->list.n;
}

struct value *list_at(const struct value *l, size_t i)
{
    assert(l->type == VALUE_LIST && i < l->list.n);
    return l->list.at[i];
}

void list_append(struct value *l, struct value *v)
{
    assert(l->type == VALUE_LIST && v);
    if (l->list.n == l->list.cap) {
        l->list.cap = MAX((size_t)4, l->list.cap * 2);
        l->list.at = mem_realloc(l->list.at, l->list.cap * sizeof(*l->list.at));
    }
    l->list.at[l->list.n++] = v;
}

struct value *list_take_at(struct value *l, size_t i)
{
    struct value *v = list_at(l, i);

    l->list.n--;
    memmove(&l->list.at[i], &l->list.at[i + 1], (l->list.n - i) * sizeof(*l->list.at));
    return v;
}

/* ---- dicts ---- */

static unsigned bucket_of(const char *key)
{
    size_t len = strlen(key);
    uint32_t v = 0x238F13AFu * (uint32_t)len;

    for (size_t i = 0; i < len; i++) {
        v += (uint32_t)(unsigned char)key[i] << (5 * i % 24);
    }
    return (1103515243u * v + 12345u) % BUCKETS;
}

/* Index of the first entry of `bucket`, or of where it would stand. */
static size_t bucket_start(const struct value *d, unsigned bucket)
{
    size_t lo = 0, hi = d->dict.n;

    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (d->dict.at[mid].bucket < bucket) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return lo;
}

/* Most names differ in the first byte. */
static bool same(const char *a, const char *b)
{
    return *a == *b && strcmp(a, b) == 0;
}

/* Few entries are looked through sooner than the bucket is computed. */
static struct entry *find_among_few(const struct value *d, const char *key)
{
    for (size_t i = 0; i < d->dict.n; i++) {
        if (same(d->dict.at[i].key, key)) {
            return &d->dict.at[i];
        }
    }
    return NULL;
}

static struct entry *find(const struct value *d, const char *key)
{
    assert(d->type == VALUE_DICT);
    if (d->dict.n <= 4) {
        return find_among_few(d, key);
    }
    unsigned bucket = bucket_of(key);
    for (size_t i = bucket_start(d, bucket); i < d->dict.n; i++) {
        struct entry *e = &d->dict.at[i];
        if (e->bucket != bucket) {
            break;
        }
        if (same(e->key, key)) {
            return e;
        }
    }
    return NULL;
}

size_t dict_len(const struct value *d)
{
    assert(d->type == VALUE_DICT);
    return d->dict.n;
}

bool dict_has(const struct value *d, const char *key)
{
    return find(d, key) != NULL;
}

struct value *dict_get(const struct value *d, const char *key)
{
    struct entry *e = find(d, key);

    return e ? e->value : NULL;
}

void dict_put(struct value *d, const char *key, struct value *v)
{
    struct entry *e = find(d, key);

    assert(v && v != d);
    if (e) {
        value_free(e->value);
        e->value = v;
        return;
    }
    if (d->dict.n == d->dict.cap) {
        d->dict.cap = MAX((size_t)8, d->dict.cap * 2);
        d->dict.at = mem_realloc(d->dict.at, d->dict.cap * sizeof(*d->dict.at));
    }
    unsigned bucket = bucket_of(key);
    e = &d->dict.at[bucket_start(d, bucket)];
    memmove(e + 1, e, (size_t)(d->dict.at + d->dict.n - e) * sizeof(*e));
    *e = (struct entry){bucket, str_dup(key), v};
    d->dict.n++;
}

void dict_put_str(struct value *d, const char *key, const char *s)
{
    dict_put(d, key, value_str(s));
}

void dict_put_int(struct value *d, const char *key, int64_t i)
{
    dict_put(d, key, value_int(i));
}

void dict_put_uint(struct value *d, const char *key, uint64_t u)
{
    dict_put(d, key, value_uint(u));
}

void dict_put_bool(struct value *d, const char *key, bool b)
{
    dict_put(d, key, value_bool(b));
}

struct value *dict_take(struct value *d, const char *key)
{
    struct entry *e = find(d, key);

    if (!e) {
        return NULL;
    }
    struct value *v = e->value;
    mem_free(e->key);
    d->dict.n--;
    memmove(e, e + 1, (size_t)(d->dict.at + d->dict.n - e) * sizeof(*e));
    return v;
}

void dict_del(struct value *d, const char *key)
{
    value_free(dict_take(d, key));
}

const char *dict_get_str(const struct value *d, const char *key)
{
    const struct value *v = dict_get(d, key);

    return v && v->type == VALUE_STRING ? v->s : NULL;
}

int64_t dict_get_int(const struct value *d, const char *key, int64_t def)
{
    const struct value *v = dict_get(d, key);

    return v && v->type == VALUE_INT ? v->i : def;
}

bool dict_get_bool(const struct value *d, const char *key, bool def)
{
    const struct value *v = dict_get(d, key);

    return v && v->type == VALUE_BOOL ? v->b : def;
}

void dict_iter_start(struct dict_iter *it, const struct value *d)
{
    assert(d->type == VALUE_DICT);
    *it = (struct dict_iter){.dict = d};
}

bool dict_iter_next(struct dict_iter *it)
{
    if (it->next >= it->dict->dict.n) {
        return false;
    }
    const struct entry *e = &it->dict->dict.at[it->next++];
    it->key = e->key;
    it->value = e->value;
    return true;
}

/* ---- flat and nested forms ---- */

static bool has_children(const struct value *v)
{
    return (v->type == VALUE_DICT && v->dict.n) || (v->type == VALUE_LIST && v->list.n);
}

/* Puts v, taken apart, into flat under the name `key`.  Takes ownership of v. */
static void flatten_into(struct value *flat, const char *key, struct value *v)
{
    if (!has_children(v)) {
        dict_put(flat, key, v);
        return;
    }
    if (v->type == VALUE_DICT) {
        for (size_t i = 0; i < v->dict.n; i++) {
            struct entry *e = &v->dict.at[i];
            char *name = str_fmt("%s.%s", key, e->key);
            flatten_into(flat, name, e->value);
            mem_free(name);
            mem_free(e->key);
        }
        v->dict.n = 0;
    } else {
        for (size_t i = 0; i < v->list.n; i++) {
            char *name = str_fmt("%s.%zu", key, i);
            flatten_into(flat, name, v->list.at[i]);
            mem_free(name);
        }
        v->list.n = 0;
    }
    value_free(v);
}

void dict_flatten(struct value *d)
{
    struct value *nested = value_dict();

    assert(d->type == VALUE_DICT);
    for (size_t i = 0; i < d->dict.n; i++) {
        struct entry *e = &d->dict.at[i];
        if (has_children(e->value)) {
            dict_put(nested, e->key, e->value);
            mem_free(e->key);
            e->key = NULL;
        }
    }
    size_t kept = 0;
    for (size_t i = 0; i < d->dict.n; i++) {
        if (d->dict.at[i].key) {
            d->dict.at[kept++] = d->dict.at[i];
        }
    }
    d->dict.n = kept;
    for (size_t i = 0; i < nested->dict.n; i++) {
        flatten_into(d, nested->dict.at[i].key, nested->dict.at[i].value);
        mem_free(nested->dict.at[i].key);
    }
    nested->dict.n = 0;
    value_free(nested);
}

/* First part of a dotted key, ".." read as a literal dot; *rest is NULL after the last part. */
static char *first_part(const char *key, const char **rest)
{
    char *part = mem_alloc(strlen(key) + 1), *w = part;

    *rest = NULL;
    while (*key) {
        if (*key == '.' && key[1] != '.') {
            *rest = key + 1;
            break;
        }
        key += *key == '.';
        *w++ = *key++;
    }
    *w = '\0';
    return part;
}

/*
 * A list index is any number that fits; "00" and "-1" count as one, though only "0", "1", ... name
 * elements.
 */
static bool is_index(const char *s, int64_t *index)
{
    return parse_int64(s, NULL, 10, index) == 0;
}

/*
 * One level: a dict of part -> scalar, or part -> dict of the rests (these dicts hold flat keys
 * again). `nested` says which parts have rests.
 */
static struct value *split_level(const struct value *d, struct value *nested, struct error **err)
{
    struct value *level = value_dict();
    struct dict_iter it;

    DICT_FOREACH (it, d) {
        const char *rest;
        char *part = first_part(it.key, &rest);
        struct value *old = dict_get(level, part);
        bool mixed = old && (!rest || !dict_has(nested, part));
        if (!mixed && rest) {
            if (!old) {
                old = value_dict();
                dict_put(level, part, old);
                dict_put_bool(nested, part, true);
            }
            dict_put(old, rest, value_clone(it.value));
        } else if (!mixed) {
            dict_put(level, part, value_clone(it.value));
        }
        mem_free(part);
        if (mixed) {
            error_set(err, EINVAL, "Cannot mix scalar and non-scalar keys");
            value_free(level);
            return NULL;
        }
    }
    return level;
}

/*
 * Turns a dict of "0" .. "n-1" into a list.  Takes ownership of d; other dicts are returned as they
 * are.
 */
static struct value *listify(struct value *d, struct error **err)
{
    size_t indices = 0;
    int64_t index, largest = -1;

    for (size_t i = 0; i < d->dict.n; i++) {
        if (is_index(d->dict.at[i].key, &index)) {
            indices++;
            largest = MAX(largest, index);
        }
    }
    if (indices == 0) {
        return d;
    }
    if (indices != d->dict.n) {
        error_set(err, EINVAL, "Cannot mix list and non-list keys");
        value_free(d);
        return NULL;
    }
    if ((uint64_t)largest != indices - 1) {
        error_set(err, EINVAL,
                  "List indices are not contiguous, saw %zu elements but %" PRId64 " largest index",
                  indices, largest);
        value_free(d);
        return NULL;
    }
    struct value *l = value_list();
    for (size_t i = 0; i < indices; i++) {
        char name[24];
        snprintf(name, sizeof(name), "%zu", i);
        struct value *v = dict_take(d, name);
        if (!v) {
            error_set(err, EINVAL, "Missing list index %zu", i);
            value_free(l);
            value_free(d);
            return NULL;
        }
        list_append(l, v);
    }
    value_free(d);
    return l;
}

static struct value *crumple(const struct value *d, int depth, struct error **err)
{
    if (depth > MAX_NESTING) {
        error_set(err, EINVAL, "Keys have more than %d parts", MAX_NESTING);
        return NULL;
    }
    struct value *nested = value_dict();
    struct value *level = split_level(d, nested, err);
    struct dict_iter it;

    if (level) {
        DICT_FOREACH (it, nested) {
            struct value *sub = crumple(dict_get(level, it.key), depth + 1, err);
            if (!sub) {
                value_free(level);
                level = NULL;
                break;
            }
            dict_put(level, it.key, sub);
        }
    }
    value_free(nested);
    return level && depth > 0 ? listify(level, err) : level;
}

struct value *dict_crumple(const struct value *d, struct error **err)
{
    return crumple(d, 0, err);
}

/* Moves the entry at index i out of d. */
static struct entry take_entry(struct value *d, size_t i)
{
    struct entry e = d->dict.at[i];

    d->dict.n--;
    memmove(&d->dict.at[i], &d->dict.at[i + 1], (d->dict.n - i) * sizeof(e));
    return e;
}

struct value *dict_extract(struct value *d, const char *prefix)
{
    struct value *out = value_dict();
    size_t len = strlen(prefix);

    assert(d->type == VALUE_DICT);
    for (size_t i = 0; i < d->dict.n;) {
        if (strncmp(d->dict.at[i].key, prefix, len) != 0) {
            i++;
            continue;
        }
        struct entry e = take_entry(d, i);
        dict_put(out, e.key + len, e.value);
        mem_free(e.key);
    }
    return out;
}

void dict_join(struct value *dst, struct value *src, bool overwrite)
{
    assert(dst->type == VALUE_DICT && src->type == VALUE_DICT && dst != src);
    for (size_t i = 0; i < src->dict.n;) {
        if (!overwrite && dict_has(dst, src->dict.at[i].key)) {
            i++;
            continue;
        }
        struct entry e = take_entry(src, i);
        dict_put(dst, e.key, e.value);
        mem_free(e.key);
    }
}
