/*
 * Commands that are known but not there yet: refused.
 */
#include "ref/tools/img/img.h"

static int refuse(struct tool *t, const char *name)
{
    tool_error(t, "the command '%s' is not there yet", name);
    return 1;
}

#define PENDING(name) \
    int img_##name(struct tool *t, int argc, char **argv) { return refuse(t, #name); }

PENDING(measure)
PENDING(dd)
PENDING(bench)
