/*
 * Values: what JSON can say.  null, bool, 64-bit integers (signed or unsigned), double, string,
 * list, dict.
 *
 * Models: the values that options, QMP and command lines are made of.  A dict iterates in QEMU's
 * key order, which is interface (scripts compare the text): keys ascending by H(key) mod 512, keys
 * of one bucket newest first, where in 32-bit arithmetic v = 0x238F13AF * len; v += byte[i] << (5 *
 * i mod 24) for every i, and H = 1103515243 * v + 12345.  Replacing a key's value keeps its place.
 * A tree has one owner; put and append take ownership.  Leaves out: parsing and printing (json.h).
 */
#ifndef BLKREF_BASE_VALUE_H
#define BLKREF_BASE_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum value_type {
    VALUE_NULL,
    VALUE_BOOL,
    VALUE_INT,  /* fits int64_t */
    VALUE_UINT, /* above INT64_MAX */
    VALUE_DOUBLE,
    VALUE_STRING,
    VALUE_LIST,
    VALUE_DICT,
};

struct value;

struct value *value_null(void);
struct value *value_bool(bool b);
struct value *value_int(int64_t i);
struct value *value_uint(uint64_t u); /* VALUE_INT when it fits */
struct value *value_double(double d);
struct value *value_str(const char *s);
struct value *value_strf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
struct value *value_list(void);
struct value *value_dict(void);
struct value *value_clone(const struct value *v);
void value_free(struct value *v); /* NULL is fine */
bool value_equal(const struct value *a, const struct value *b);

enum value_type value_type(const struct value *v);
/* These assert the type, except that value_get_double takes integers too. */
bool value_get_bool(const struct value *v);
int64_t value_get_int(const struct value *v);
uint64_t value_get_uint(const struct value *v); /* VALUE_UINT, or VALUE_INT >= 0 */
double value_get_double(const struct value *v);
const char *value_get_str(const struct value *v);

size_t list_len(const struct value *l);
struct value *list_at(const struct value *l, size_t i);
void list_append(struct value *l, struct value *v);
struct value *list_take_at(struct value *l, size_t i);

size_t dict_len(const struct value *d);
bool dict_has(const struct value *d, const char *key);
struct value *dict_get(const struct value *d, const char *key); /* NULL when absent */
void dict_put(struct value *d, const char *key, struct value *v);
void dict_put_str(struct value *d, const char *key, const char *s);
void dict_put_int(struct value *d, const char *key, int64_t i);
void dict_put_uint(struct value *d, const char *key, uint64_t u);
void dict_put_bool(struct value *d, const char *key, bool b);
struct value *dict_take(struct value *d, const char *key); /* removes; NULL when absent */
void dict_del(struct value *d, const char *key);
/* NULL when absent or not a string. */
const char *dict_get_str(const struct value *d, const char *key);
int64_t dict_get_int(const struct value *d, const char *key, int64_t def);
bool dict_get_bool(const struct value *d, const char *key, bool def);

/* Iteration in QEMU's key order; deleting the entry under the cursor is not allowed. */
struct dict_iter {
    const struct value *dict;
    size_t next;
    const char *key;
    struct value *value;
};
void dict_iter_start(struct dict_iter *it, const struct value *d);
bool dict_iter_next(struct dict_iter *it);
#define DICT_FOREACH(it, d) for (dict_iter_start(&(it), d); dict_iter_next(&(it));)

/*
 * Nested dicts and lists to one level of dotted keys ("a.b", "l.0.c"), in place; empty dicts and
 * lists stay.
 */
void dict_flatten(struct value *d);
/*
 * The other way: returns a new nested value, or NULL with err when keys contradict each other ("a"
 * beside "a.b", a list with a gap).  A name part "0", "1", ... makes a list; ".." in a key is a
 * literal dot.
 */
struct error;
struct value *dict_crumple(const struct value *d, struct error **err);
/* Moves every "prefix*" key of d into a new dict, without the prefix. */
struct value *dict_extract(struct value *d, const char *prefix);
/*
 * Moves keys of src into dst; an existing key is overwritten only if `overwrite`, else stays in
 * src. Shallow.
 */
void dict_join(struct value *dst, struct value *src, bool overwrite);

#endif
