/*
 * The rule engine: reading rules, the state machine, the active set.  Breakpoints are in breaks.c.
 */
#include "fault/rules_int.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "ref/base/mem.h"
#include "ref/base/sizes.h"

static const char *const iotype_names[FAULT_IO_COUNT] = {
    "read", "write", "write-zeroes", "discard", "flush", "block-status",
};

const char *fault_iotype_name(enum fault_iotype t)
{
    assert((unsigned)t < FAULT_IO_COUNT);
    return iotype_names[t];
}

int fault_iotype_parse(const char *name)
{
    for (int i = 0; name && i < FAULT_IO_COUNT; i++) {
        if (!strcmp(name, iotype_names[i])) {
            return i;
        }
    }
    return -1;
}

/* ---- sections: a dict of strings each, the keys of one rule ---- */

enum key_type { KEY_STR, KEY_NUM, KEY_BOOL };
struct key {
    const char *name;
    enum key_type type;
};
static const struct key inject_keys[] = {
    {"event", KEY_STR},  {"state", KEY_NUM}, {"iotype", KEY_STR},       {"errno", KEY_NUM},
    {"sector", KEY_NUM}, {"once", KEY_BOOL}, {"immediately", KEY_BOOL}, {"label", KEY_STR},
    {"scope", KEY_STR},  {NULL, 0},
};
static const struct key state_keys[] = {
    {"event", KEY_STR}, {"state", KEY_NUM}, {"new_state", KEY_NUM}, {"label", KEY_STR}, {NULL, 0},
};
static const char *const group_names[2] = {"inject-error", "set-state"};
static const struct key *const group_keys[2] = {inject_keys, state_keys};

/* Unsigned 64-bit text in C's bases; a minus sign wraps. */
static int parse_number(const char *name, const char *s, uint64_t *out, struct error **err)
{
    char *end;
    errno = 0;
    *out = strtoull(s, &end, 0);
    if (errno == ERANGE) {
        return error_set(err, EINVAL, "Value '%s' is too large for parameter '%s'", s, name);
    }
    if (end == s || *end) {
        return error_set(err, EINVAL, "Parameter '%s' expects a number", name);
    }
    return 0;
}

static int check_key(const struct key *k, const char *value, struct error **err)
{
    uint64_t n;
    bool b;

    if (k->type == KEY_NUM) {
        return parse_number(k->name, value, &n, err);
    }
    if (k->type == KEY_BOOL && !parse_bool(value, &b)) {
        return error_set(err, EINVAL, "Parameter '%s' expects 'on' or 'off'", k->name);
    }
    return 0;
}

/* Moves the keys that the group knows from `from` (strings) to a new section; the rest stays. */
static int add_section(struct fault_rules *r, int group, struct value *from, struct error **err)
{
    struct value *section = value_dict();

    for (const struct key *k = group_keys[group]; k->name; k++) {
        const char *s = dict_get_str(from, k->name);
        if (!s) {
            continue;
        }
        int ret = check_key(k, s, err);
        if (ret < 0) {
            value_free(section);
            return ret;
        }
        dict_put_str(section, k->name, s);
        dict_del(from, k->name);
    }
    list_append(r->sections[group], section);
    return 0;
}

/* ---- the configuration file ---- */

struct config {
    char group[64], id[64];
    struct value *keys; /* of the section being read; NULL before the first */
};

static bool is_identifier(const char *s)
{
    if (!isalpha((unsigned char)*s)) {
        return false;
    }
    while (*s && (isalnum((unsigned char)*s) || strchr("-._", *s))) {
        s++;
    }
    return !*s;
}

static int check_id(struct fault_rules *r, int group, const char *id, struct error **err)
{
    if (!is_identifier(id)) {
        int ret = error_set(err, EINVAL, "Parameter 'id' expects an identifier");
        error_hint(
            err,
            "Identifiers consist of letters, digits, '-', '.', '_', starting with a letter.\n");
        return ret;
    }
    if (dict_has(r->ids[group], id)) {
        return error_set(err, EINVAL, "Duplicate ID '%s' for %s", id, group_names[group]);
    }
    dict_put_bool(r->ids[group], id, true);
    return 0;
}

/* The section read so far is complete. */
static int end_section(struct fault_rules *r, struct config *c, struct error **err)
{
    struct dict_iter it;
    int group, ret;

    if (!c->keys) {
        return 0;
    }
    group = !strcmp(c->group, group_names[0]) ? 0 : !strcmp(c->group, group_names[1]) ? 1 : -1;
    if (group < 0) {
        return error_set(err, EINVAL, "There is no option group '%s'", c->group);
    }
    dict_del(c->keys, "id");
    ret = c->id[0] ? check_id(r, group, c->id, err) : 0;
    if (ret == 0) {
        ret = add_section(r, group, c->keys, err);
    }
    if (ret < 0) {
        return ret;
    }
    DICT_FOREACH (it, c->keys) {
        return error_set(err, EINVAL, "Invalid parameter '%s'", it.key);
    }
    return 0;
}

static int config_line(struct fault_rules *r, struct config *c, const char *line,
                       struct error **err)
{
    char group[64], id[64] = "", key[64], value[1024] = "";
    int ret;

    if (line[0] == '\n' || line[0] == '\0' || line[0] == '#') {
        return 0;
    }
    if (sscanf(line, "[%63s \"%63[^\"]\"]", group, id) == 2 ||
        sscanf(line, "[%63[^]]]", group) == 1) {
        ret = end_section(r, c, err);
        value_free(c->keys);
        c->keys = value_dict();
        strcpy(c->group, group);
        strcpy(c->id, id);
        return ret;
    }
    if (sscanf(line, " %63s", key) != 1) {
        return error_set(err, EINVAL, "parse error");
    }
    if (!c->keys) {
        return error_set(err, EINVAL, "no group defined");
    }
    sscanf(line, " %63s = \"%1023[^\"]\"", key, value);
    if (!strcmp(key, "id")) {
        snprintf(c->id, sizeof(c->id), "%.63s", value);
    }
    dict_put_str(c->keys, key, value);
    return 0;
}

int fault_rules_parse_config(struct fault_rules *r, const char *text, struct error **err)
{
    struct config c = {.keys = NULL};
    char line[1024];
    int ret = 0;

    while (*text && ret == 0) {
        /* A line is at most a buffer long, its end belongs to it. */
        size_t n = strcspn(text, "\n");
        n = MIN(n + (text[n] == '\n'), sizeof(line) - 1);
        memcpy(line, text, n);
        line[n] = '\0';
        text += n;
        ret = config_line(r, &c, line, err);
    }
    if (ret == 0) {
        ret = end_section(r, &c, err);
    }
    value_free(c.keys);
    return ret;
}

/* ---- the options ---- */

/* A scalar as the text the command line would have; NULL for null (no value: as if absent). */
static char *scalar_text(const struct value *v)
{
    switch (value_type(v)) {
    case VALUE_BOOL:
        return str_dup(value_get_bool(v) ? "on" : "off");
    case VALUE_INT:
        return str_fmt("%lld", (long long)value_get_int(v));
    case VALUE_UINT:
        return str_fmt("%llu", (unsigned long long)value_get_uint(v));
    case VALUE_DOUBLE:
        return str_fmt("%.17g", value_get_double(v));
    case VALUE_STRING:
        return str_dup(value_get_str(v));
    case VALUE_LIST:
    case VALUE_DICT:
        return str_dup("");
    case VALUE_NULL:
        break;
    }
    return NULL;
}

static bool group_knows(int group, const char *key)
{
    for (const struct key *k = group_keys[group]; k->name; k++) {
        if (!strcmp(k->name, key)) {
            return true;
        }
    }
    return false;
}

/* One section in option form; `d` is flat. */
static int option_section(struct fault_rules *r, int group, const struct value *d,
                          struct error **err)
{
    struct value *text = value_dict();
    struct dict_iter it;
    int ret;

    DICT_FOREACH (it, d) {
        char *s = scalar_text(it.value);
        if (s || !group_knows(group, it.key)) {
            dict_put_str(text, it.key, s ? s : "");
        }
        mem_free(s);
    }
    ret = add_section(r, group, text, err);
    if (ret == 0) {
        DICT_FOREACH (it, text) {
            ret = error_set(err, EINVAL, "[%s] section doesn't support the option '%s'",
                            group_names[group], it.key);
            break;
        }
    }
    value_free(text);
    return ret;
}

/* Takes everything that belongs to the group, flat and without the group's name. */
static struct value *take_group(struct value *options, const char *name)
{
    char *prefix = str_fmt("%s.", name);
    struct value *nested = dict_get(options, name), *d;

    if (nested && value_type(nested) == VALUE_LIST && list_len(nested) > 0) {
        struct value *l = dict_take(options, name);
        d = value_dict();
        for (size_t i = 0; i < list_len(l); i++) {
            char *key = str_fmt("%zu", i);
            dict_put(d, key, value_clone(list_at(l, i)));
            mem_free(key);
        }
        value_free(l);
    } else if (nested && value_type(nested) == VALUE_DICT && dict_len(nested) > 0) {
        d = dict_take(options, name);
    } else {
        d = value_dict();
    }
    /* Empty sections ("[{}]") must survive flattening: base keeps empty dicts and lists. */
    dict_flatten(d);
    struct value *flat = dict_extract(options, prefix);
    dict_flatten(flat);
    dict_join(d, flat, true);
    value_free(flat);
    mem_free(prefix);
    return d;
}

/* "0.event": the index, with *rest behind the dot (NULL: the index alone); -1 when it is none. */
static long key_index(const char *key, const char **rest)
{
    char *end;
    if (!isdigit((unsigned char)*key)) {
        return -1;
    }
    long i = strtol(key, &end, 10);
    if (*end != '.' && *end) {
        return -1;
    }
    *rest = *end ? end + 1 : NULL;
    return i;
}

/* Section i of the list form: 0 and *out, or -EINVAL; *out is NULL when there is none. */
static int take_index(struct value *d, int group, size_t i, struct value **out, struct error **err)
{
    char *own = str_fmt("%zu", i), *prefix = str_fmt("%zu.", i);
    struct value *whole = dict_take(d, own), *section = dict_extract(d, prefix);
    int ret = 0;

    *out = NULL;
    if (whole && !(value_type(whole) == VALUE_DICT && dict_len(whole) == 0)) {
        ret = error_set(err, EINVAL, "[%s] section (index %zu) does not consist of keys",
                        group_names[group], i);
    } else if (whole || dict_len(section) > 0) {
        *out = section;
        section = NULL;
    }
    value_free(whole);
    value_free(section);
    mem_free(own);
    mem_free(prefix);
    return ret;
}

static int take_list(struct fault_rules *r, int group, struct value *d, struct error **err)
{
    struct dict_iter it;
    struct value *section;
    int ret;

    for (size_t i = 0;; i++) {
        ret = take_index(d, group, i, &section, err);
        if (ret < 0 || !section) {
            break;
        }
        ret = option_section(r, group, section, err);
        value_free(section);
        if (ret < 0) {
            return ret;
        }
    }
    if (ret < 0) {
        return ret;
    }
    DICT_FOREACH (it, d) {
        return error_set(err, EINVAL, "Unused option '%s' for [%s]", it.key, group_names[group]);
    }
    return 0;
}

/* A single section without an index: {'event': ...}. */
static int take_single(struct fault_rules *r, int group, struct value *d, struct error **err)
{
    struct dict_iter it;
    const char *rest;

    DICT_FOREACH (it, d) {
        if (key_index(it.key, &rest) >= 0) {
            return error_set(err, EINVAL, "Unknown option '%s' for [%s]", it.key,
                             group_names[group]);
        }
    }
    return option_section(r, group, d, err);
}

int fault_rules_take_options(struct fault_rules *r, struct value *options, struct error **err)
{
    for (int group = 0; group < 2; group++) {
        struct value *d = take_group(options, group_names[group]);
        bool single = false;
        struct dict_iter it;
        int ret = 0;

        DICT_FOREACH (it, d) {
            single |= group_knows(group, it.key);
        }
        if (dict_len(d) > 0) {
            ret = single ? take_single(r, group, d, err) : take_list(r, group, d, err);
        }
        value_free(d);
        if (ret < 0) {
            return ret;
        }
    }
    return 0;
}

/* ---- from sections to rules ---- */

static int bad_value(const char *s, struct error **err)
{
    return error_set(err, EINVAL, "invalid parameter value: %s", s);
}

static uint64_t section_number(const struct value *s, const char *key, uint64_t def)
{
    const char *text = dict_get_str(s, key);
    return text ? strtoull(text, NULL, 0) : def;
}

static bool section_bool(const struct value *s, const char *key)
{
    bool b = false;
    if (dict_has(s, key)) {
        parse_bool(dict_get_str(s, key), &b);
    }
    return b;
}

static int build_inject(struct rule *rule, const struct value *s, struct error **err)
{
    const char *iotype = dict_get_str(s, "iotype"), *scope = dict_get_str(s, "scope");

    rule->iotypes = (1u << FAULT_IO_BLOCK_STATUS) - 1;
    if (iotype) {
        int t = fault_iotype_parse(iotype);
        if (t < 0) {
            return bad_value(iotype, err);
        }
        rule->iotypes = 1u << t;
    }
    rule->error = (int)section_number(s, "errno", EIO);
    rule->sector = (int64_t)section_number(s, "sector", UINT64_MAX);
    rule->once = section_bool(s, "once");
    rule->immediately = section_bool(s, "immediately");
    if (scope && strcmp(scope, "request") && strcmp(scope, "all")) {
        return bad_value(scope, err);
    }
    rule->scope_request = scope && !strcmp(scope, "request");
    if (rule->scope_request && !rule->label) {
        return error_set(err, EINVAL, "scope \"request\" needs a label");
    }
    return 0;
}

static int build_rule(struct fault_rules *r, int group, const struct value *s, struct error **err)
{
    const char *event = dict_get_str(s, "event");
    int label = label_parse(event), ret = 0;

    if (!event) {
        return error_set(err, EINVAL, "Missing event name for rule");
    }
    if (label < 0) {
        return bad_value(event, err);
    }
    struct rule *rule = mem_zalloc(sizeof(*rule));
    rule->set_state = group == 1;
    rule->state = (int)section_number(s, "state", 0);
    rule->label = str_dup(dict_get_str(s, "label"));
    if (rule->set_state) {
        rule->new_state = (int)section_number(s, "new_state", 0);
    } else {
        ret = build_inject(rule, s, err);
    }
    if (ret < 0) {
        mem_free(rule->label);
        mem_free(rule);
        return ret;
    }
    list_push(&r->rules[label], &rule->link);
    list_init(&rule->active);
    return 0;
}

int fault_rules_build(struct fault_rules *r, struct error **err)
{
    for (int group = 0; group < 2; group++) {
        for (size_t i = 0; i < list_len(r->sections[group]); i++) {
            int ret = build_rule(r, group, list_at(r->sections[group], i), err);
            if (ret < 0) {
                return ret;
            }
        }
        value_free(r->sections[group]);
        r->sections[group] = value_list();
    }
    return 0;
}

/* ---- the engine ---- */

struct fault_rules *fault_rules_new(void)
{
    struct fault_rules *r = mem_zalloc(sizeof(*r));
    for (int i = 0; i < LABEL_COUNT; i++) {
        list_init(&r->rules[i]);
    }
    list_init(&r->active);
    list_init(&r->breaks);
    list_init(&r->held);
    for (int i = 0; i < 2; i++) {
        r->sections[i] = value_list();
        r->ids[i] = value_dict();
    }
    r->state = 1;
    return r;
}

static void rule_free(struct rule *rule)
{
    list_remove(&rule->link);
    list_remove(&rule->active);
    mem_free(rule->label);
    mem_free(rule);
}

void fault_rules_free(struct fault_rules *r)
{
    struct rule *rule, *tmp;

    if (!r) {
        return;
    }
    fault_breaks_free(r);
    for (int i = 0; i < LABEL_COUNT; i++) {
        LIST_FOREACH_SAFE (rule, tmp, &r->rules[i], link) {
            rule_free(rule);
        }
    }
    for (int i = 0; i < 2; i++) {
        value_free(r->sections[i]);
        value_free(r->ids[i]);
    }
    mem_free(r);
}

bool fault_tag_matches(const char *glob, const struct fault_request *q)
{
    return !glob || (q && q->tag && fnmatch(glob, q->tag, 0) == 0);
}

static void clear_active(struct fault_rules *r)
{
    while (!list_empty(&r->active)) {
        list_remove(r->active.next);
    }
}

int fault_rules_event(struct fault_rules *r, enum label ev, const struct fault_request *q,
                      void *owner)
{
    int state = r->state; /* at entry: what all rules of the event see */
    bool fresh = true, moved = false;
    struct rule *rule;

    assert((unsigned)ev < LABEL_COUNT);
    LIST_FOREACH (rule, &r->rules[ev], link) {
        if ((rule->state && rule->state != state) || !fault_tag_matches(rule->label, q)) {
            continue;
        }
        if (rule->set_state) {
            r->state = moved ? r->state : rule->new_state;
            moved = true;
            continue;
        }
        if (fresh) {
            clear_active(r);
            fresh = false;
        }
        list_push(&r->active, &rule->active);
    }
    return fault_breaks_fire(r, ev, q, owner);
}

static bool rule_hits(const struct rule *rule, const struct fault_request *q)
{
    if (!(rule->iotypes >> q->iotype & 1)) {
        return false;
    }
    if (rule->scope_request && !fault_tag_matches(rule->label, q)) {
        return false;
    }
    if (rule->sector == -1) {
        return true;
    }
    /* Byte 512 * sector in [offset, offset + bytes), in unsigned arithmetic without overflow. */
    uint64_t start = (uint64_t)q->offset, first = start / 512 + (start % 512 != 0);
    return rule->sector >= 0 && q->bytes > 0 && (uint64_t)rule->sector >= first &&
           (uint64_t)rule->sector <= (start + (uint64_t)q->bytes - 1) / 512;
}

struct fault_error fault_rules_decide(struct fault_rules *r, const struct fault_request *q)
{
    struct rule *rule;

    assert((unsigned)q->iotype < FAULT_IO_COUNT && q->offset >= 0 && q->bytes >= 0);
    LIST_FOREACH (rule, &r->active, active) {
        if (!rule_hits(rule, q)) {
            continue;
        }
        struct fault_error e = {rule->error != 0, rule->error, rule->immediately};
        if (e.inject && rule->once) {
            rule_free(rule);
        }
        return e;
    }
    return (struct fault_error){.inject = false};
}
