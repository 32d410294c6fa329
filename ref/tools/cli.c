/*
 * Shared answers of the server programs to probes.
 */
#include "ref/tools/cli.h"

#include <stdlib.h>

#include "ref/base/mem.h"
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
