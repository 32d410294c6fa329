/*
 * Shared answers of the server programs to probes.
 */
#include "ref/tools/cli.h"

#include <errno.h>
#include <stdlib.h>

#include "ref/base/mem.h"
#include "ref/base/options.h"
#include "ref/base/strbuf.h"
#include "ref/block/driver.h"
#include "ref/tools/release.h"

void cli_version(const char *words)
{
    printf("%s %s\n", words, release_current()->version);
    printf("blkref, an independent reference block layer\n");
}

void cli_refuse(struct tool *t, const char *what)
{
    tool_error(t, "%s is not supported by this build", what);
    t->status = 1;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* " a b c" of all drivers, sorted; caller frees. */
static char *format_names(struct tool *t)
{
    const struct driver_list *list = block_drivers(t->w);
    size_t n = 0;
    while (list->entries[n].drv || list->entries[n].name) {
        n++;
    }
    const char **names = mem_array(n + 1, sizeof(*names));
    size_t used = 0;
    for (size_t i = 0; i < n; i++) {
        const struct driver_entry *e = &list->entries[i];
        if (e->drv && e->drv->internal_only) {
            continue;
        }
        names[used++] = e->drv ? e->drv->name : e->name;
    }
    qsort(names, used, sizeof(*names), by_name);

    struct strbuf line = STRBUF_INIT;
    for (size_t i = 0; i < used; i++) {
        strbuf_printf(&line, " %s", names[i]);
    }
    mem_free(names);
    return strbuf_take(&line);
}

void cli_print_image_formats(struct tool *t)
{
    char *names = format_names(t);
    printf("Supported formats:%s\n", names);
    mem_free(names);
}

void cli_print_formats(struct tool *t)
{
    char *names = format_names(t);
    printf("Supported formats:%s\n", names);
    printf("Supported formats (read-only):%s\n", names);
    mem_free(names);
}

/* A name a line; "#" starts a comment, "-" switches off. */
static int read_events(struct tool *t, const char *path)
{
    FILE *f = fopen(path, "r");
    if (!f) {
        fprintf(stderr, "%s:%s: %s\n", t->name, path, strerror(errno));
        return -1;
    }
    char line[1024];
    for (int n = 1; fgets(line, sizeof(line), f); n++) {
        line[strcspn(line, "\r\n")] = 0;
        if (*line && *line != '#') {
            fprintf(stderr, "%s:%s:%d: warning: trace event '%s' does not exist\n", t->name, path,
                    n, line + (*line == '-'));
        }
    }
    fclose(f);
    return 0;
}

/* 0, or -1 after a message. */
static int take_trace_key(struct tool *t, const char *key, const struct value *v)
{
    const char *text = value_get_str(v);
    if (!strcmp(key, "enable")) {
        world_report(t->w, REPORT_WARNING, "trace event '%s' does not exist",
                     text + (*text == '-')); /* "-": switched off */
    } else if (!strcmp(key, "events")) {
        return read_events(t, text);
    } else if (!strcmp(key, "file")) {
        tool_error(t, "-T file: this build has no trace events to write");
        return -1;
    } else {
        tool_error(t, "Invalid parameter '%s'", key);
        return -1;
    }
    return 0;
}

int cli_trace(struct tool *t, const char *text)
{
    struct value *options = opts_parse(text, "enable", NULL);
    struct dict_iter it;
    int ret = 0;
    if (opts_has_help(text)) {
        value_free(options);
        return -1; /* the list of events is empty */
    }
    DICT_FOREACH (it, options) {
        if (take_trace_key(t, it.key, it.value) < 0) {
            t->status = 1;
            ret = -1;
            break;
        }
    }
    value_free(options);
    return ret;
}
