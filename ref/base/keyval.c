/*
 * Dotted options: "driver=qcow2,file.driver=file,file.filename=x" as nested dicts and lists of
 * strings.
 *
 * Models the syntax of the options that QMP's schema types (--blockdev, --export, --object,
 * --nbd-server). A part of a key is a QAPI name (a letter, then letters, digits, '-', '_'; or
 * "__RFQDN_" before one), or, not in front, a number that makes its parent a list.  Leaves out: the
 * types, which the schema knows.
 */
#include "ref/base/options.h"

#include <ctype.h>
#include <errno.h>
#include "ref/base/mem.h"
#include "ref/base/sizes.h"
#include "ref/base/strbuf.h"

#define MAX_PART  127 /* bytes of one part of a key */
#define MAX_PARTS 512 /* of one key: trees are walked recursively */

/* Length of a number at s. */
static size_t index_len(const char *s)
{
    return strspn(s, "0123456789");
}

static bool is_letter(char c)
{
    return isalpha((unsigned char)c) && (unsigned char)c < 0x80;
}

/* Length of "__RFQDN_" at s, 0 when it is not there. */
static size_t prefix_len(const char *s)
{
    if (s[0] != '_' || s[1] != '_') {
        return 0;
    }
    size_t n = 2;
    while (is_letter(s[n]) || isdigit((unsigned char)s[n]) || s[n] == '-' || s[n] == '.') {
        n++;
    }
    return s[n] == '_' ? n + 1 : 0;
}

/* Length of the name at s, 0 when there is none. */
static size_t name_len(const char *s)
{
    size_t n = prefix_len(s);

    if (!is_letter(s[n])) {
        return 0;
    }
    while (is_letter(s[n]) || isdigit((unsigned char)s[n]) || s[n] == '-' || s[n] == '_') {
        n++;
    }
    return n;
}

/*
 * Walks the dots of key[0..len) down from root, making dicts, and puts v into the last.  Takes
 * ownership of v.  Numbers are plain keys here; make_lists() turns their dicts into lists.
 */
static int put_dotted(struct value *root, const char *key, size_t len, struct value *v,
                      struct error **err)
{
    struct value *at = root;
    int ret = 0;

    for (size_t start = 0, parts = 1;; parts++) {
        size_t n = start ? index_len(key + start) : 0;
        n = n ? n : name_len(key + start);
        size_t stop = start + n;
        if (n == 0 || stop > len || (stop < len && key[stop] != '.')) {
            ret = error_set(err, EINVAL, "Invalid parameter '%.*s'", (int)len, key);
            break;
        }
        if (parts > MAX_PARTS) {
            ret = error_set(err, EINVAL, "Parameter '%.*s' has more than %d parts", (int)len, key,
                            MAX_PARTS);
            break;
        }
        if (n > MAX_PART) {
            ret = error_set(err, EINVAL, "Parameter%s '%.*s' is too long",
                            n == len ? "" : " fragment", (int)n, key + start);
            break;
        }
        char *part = str_ndup(key + start, n);
        struct value *old = dict_get(at, part);
        bool leaf = stop == len;
        if (old && (value_type(old) == VALUE_DICT) == leaf) {
            ret = error_set(err, EINVAL, "Parameters '%.*s.*' used inconsistently", (int)stop, key);
        } else if (leaf) {
            dict_put(at, part, v);
            v = NULL;
        } else {
            if (!old) {
                dict_put(at, part, value_dict());
            }
            at = dict_get(at, part);
        }
        mem_free(part);
        if (ret < 0 || leaf) {
            break;
        }
        start = stop + 1;
    }
    value_free(v);
    return ret;
}

/* The list that a dict of numbers stands for; `name` is its dotted name with a dot behind. */
static struct value *list_of(const struct value *d, const char *name, struct error **err)
{
    size_t n = dict_len(d);
    const struct value **at = mem_array(n, sizeof(*at));
    int64_t index, largest = -1;
    struct dict_iter it;

    DICT_FOREACH (it, d) {
        bool fits = parse_int64(it.key, NULL, 10, &index) == 0;
        largest = MAX(largest, fits ? index : INT64_MAX);
        if (fits && (uint64_t)index < n) {
            at[index] = it.value;
        }
    }
    struct value *l = value_list();
    for (size_t i = 0; i < n && (int64_t)i <= largest; i++) {
        if (!at[i]) {
            error_set(err, EINVAL, "Parameter '%s%zu' missing", name, i);
            value_free(l);
            l = NULL;
            break;
        }
        list_append(l, value_clone(at[i]));
    }
    mem_free(at);
    return l;
}

/*
 * Replaces every dict of numbers below d; `name` is d's dotted name with a dot behind.  Returns d
 * or a list.
 */
static struct value *make_lists(struct value *d, const char *name, struct error **err)
{
    size_t numbers = 0;
    struct dict_iter it;

    DICT_FOREACH (it, d) {
        numbers += isdigit((unsigned char)*it.key) != 0;
        if (value_type(it.value) != VALUE_DICT) {
            continue;
        }
        char *sub_name = str_fmt("%s%s.", name, it.key);
        struct value *sub = make_lists(it.value, sub_name, err);
        mem_free(sub_name);
        if (!sub) {
            return NULL;
        }
        if (sub != it.value) {
            dict_put(d, it.key, sub);
        }
    }
    if (numbers == 0) {
        return d;
    }
    if (numbers != dict_len(d)) {
        error_set(err, EINVAL, "Parameters '%s*' used inconsistently", name);
        return NULL;
    }
    return list_of(d, name, err);
}

static bool is_help(const char *s, size_t len)
{
    return (len == 4 && strncmp(s, "help", 4) == 0) || (len == 1 && *s == '?');
}

/* One element of text into d; moves *text behind it. */
static int parse_element(const char **text, const char *implied_key, struct value *d, bool *help,
                         struct error **err)
{
    const char *s = *text;
    size_t len = strcspn(s, "=,");

    if (s[len] != '=' && is_help(s, len)) {
        *help = true;
        *text = s + len + (s[len] == ',');
        return 0;
    }
    if (s[len] != '=' && implied_key && len > 0) {
        *text = s + len + (s[len] == ',');
        struct value *v = value_strf("%.*s", (int)len, s);
        return put_dotted(d, implied_key, strlen(implied_key), v, err);
    }
    if (s[len] != '=') {
        struct value *scratch = value_dict();
        int ret = put_dotted(scratch, s, len, value_null(), err);
        value_free(scratch);
        return ret < 0 ? ret
                       : error_set(err, EINVAL, "Expected '=' after parameter '%.*s'", (int)len, s);
    }
    *text = s + len + 1;
    char *value = opts_next_value(text);
    int ret = put_dotted(d, s, len, value_str(value), err);
    mem_free(value);
    return ret;
}

struct value *keyval_parse(const char *text, const char *implied_key, bool *help,
                           struct error **err)
{
    struct value *d = value_dict();
    bool wants_help = false;
    int ret = 0;

    for (; *text && ret == 0; implied_key = NULL) {
        ret = parse_element(&text, implied_key, d, &wants_help, err);
    }
    if (ret == 0 && wants_help && !help) {
        ret = error_set(err, EINVAL, "Help is not available for this option");
    }
    if (ret == 0 && !make_lists(d, "", err)) {
        ret = -EINVAL;
    }
    if (help) {
        *help = wants_help;
    }
    if (ret < 0) {
        value_free(d);
        return NULL;
    }
    return d;
}
