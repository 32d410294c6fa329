/*
 * What the gate says: for a terminal, and as JSON.
 */
#include "reports/gate.h"

#include <stdio.h>
#include "ref/base/json.h"
#include "ref/base/mem.h"
#include "reports/store_int.h"

#define LISTED 100 /* of each class */

static const struct {
    const char *key, *word;
} classes[GATE_CLASSES] = {
    [GATE_NEW] = {"new", "NEW"},
    [GATE_KNOWN] = {"known", NULL},
    [GATE_GONE] = {"gone", "gone"},
    [GATE_UNKNOWN] = {"unknown", "not judged"},
    [GATE_ERROR] = {"subject-errors", "subject error"},
    [GATE_MISSING] = {"missing", "not run"},
};

/* What must be looked at stands last, where a terminal ends. */
static const enum gate_class told[] = {GATE_MISSING, GATE_UNKNOWN, GATE_GONE, GATE_ERROR, GATE_NEW};

static void tell(struct strbuf *out, const struct gate_entry *e)
{
    strbuf_printf(out, "%s %s, %s", classes[e->class].word, e->stage, e->subject);
    if (e->class != GATE_MISSING) {
        strbuf_printf(out, ", %s: %s", e->format, e->name);
    }
    strbuf_putc(out, '\n');
    if (e->class != GATE_NEW && e->class != GATE_ERROR) {
        return;
    }
    char *command = store_repro_command(e->repro);
    store_indented(out, e->detail);
    if (command) {
        strbuf_printf(out, "    again: %s\n", command);
    }
    mem_free(command);
}

static void tell_class(const struct gate *g, enum gate_class class, struct strbuf *out)
{
    size_t n = 0;
    for (size_t i = 0; i < g->n; i++) {
        if (g->entries[i].class == class && n++ < LISTED) {
            tell(out, &g->entries[i]);
        }
    }
    if (n > LISTED) {
        strbuf_printf(out, "%zu more: %s\n", n - LISTED, classes[class].word);
    }
}

void gate_text(const struct gate *g, struct strbuf *out)
{
    for (size_t i = 0; i < ARRAY_SIZE(told); i++) {
        tell_class(g, told[i], out);
    }
    strbuf_printf(out,
                  "%s%zu results: %zu new failures, %zu known, %zu gone, %zu not judged now,"
                  " %zu subject errors\n",
                  g->n > g->count[GATE_KNOWN] ? "\n" : "", g->compared, g->count[GATE_NEW],
                  g->count[GATE_KNOWN], g->count[GATE_GONE], g->count[GATE_UNKNOWN],
                  g->count[GATE_ERROR]);
}

static void put_text(struct value *to, const char *key, const char *text)
{
    if (text && *text) {
        dict_put(to, key, value_str(text));
    }
}

static struct value *entry_value(const struct gate_entry *e)
{
    struct value *v = value_dict();
    char *command = store_repro_command(e->repro);
    put_text(v, "stage", e->stage);
    put_text(v, "subject", e->subject);
    put_text(v, "format", e->format);
    put_text(v, "name", e->name);
    put_text(v, "detail", e->detail);
    put_text(v, "again", command);
    mem_free(command);
    return v;
}

void gate_json(const struct gate *g, struct strbuf *out)
{
    struct value *v = value_dict();
    dict_put(v, "compared", value_int((int64_t)g->compared));
    for (int c = 0; c < GATE_CLASSES; c++) {
        struct value *list = value_list();
        for (size_t i = 0; i < g->n; i++) {
            if (g->entries[i].class == (enum gate_class)c) {
                list_append(list, entry_value(&g->entries[i]));
            }
        }
        dict_put(v, classes[c].key, list);
    }
    json_write(out, v, true);
    strbuf_putc(out, '\n');
    value_free(v);
}
