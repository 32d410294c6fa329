/*
 * Command-line pieces of the server programs: version text, refusing what is not there.
 */
#ifndef BLKREF_TOOLS_CLI_H
#define BLKREF_TOOLS_CLI_H

#include "ref/tools/tool.h"

/* "QEMU emulator version 7.2.0" and what stands below it; `words` between name and number. */
void cli_version(const char *words);
/* Says that `what` is not supported and sets status 1. */
void cli_refuse(struct tool *t, const char *what);
/* "Supported formats: a b c\nSupported formats (read-only): ...": image formats, filters and
 * protocols we have. */
void cli_print_formats(struct tool *t);

/* "Supported formats: a b c", as image tools list them in their help. */
void cli_print_image_formats(struct tool *t);

/*
 * -T [enable=]PATTERN,events=FILE: this build has no trace events, so every pattern is warned of as
 * an event that does not exist.  0, or -1 when the program ends (t->status is set).
 */
int cli_trace(struct tool *t, const char *text);

#endif
