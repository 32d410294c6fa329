/*
 * Reports: what a program tells its user, on the sink of the world.
 *
 * Models: QEMU's prefixes, and its order: standard output keeps its buffer while standard error is
 * written at once, so in a pipe that both share messages come before what was printed earlier;
 * scripts compare that order.  Who tells of something about to be done calls world_flush_stdout().
 */
#include "ref/engine/internal.h"

#include <stdio.h>
#include <stdlib.h>

static void to_stdio(struct world *w, enum report_kind kind, const char *text)
{
    static const char *const label[] = {
        [REPORT_ERROR] = "",
        [REPORT_WARNING] = "warning: ",
        [REPORT_INFO] = "info: ",
    };

    if (kind == REPORT_STDOUT) {
        fputs(text, stdout);
        return;
    }
    if (kind == REPORT_PLAIN) {
        fputs(text, stderr);
    } else {
        fprintf(stderr, "%s%s%s%s\n", w->prog_name ? w->prog_name : "", w->prog_name ? ": " : "",
                label[kind], text);
    }
    fflush(stderr);
}

void world_flush_stdout(struct world *w)
{
    if (!w->report) {
        fflush(stdout);
    }
}

void report_nothing(void *opaque, enum report_kind kind, const char *text) {}

static void report(struct world *w, enum report_kind kind, const char *text)
{
    if (w->report) {
        w->report(w->report_opaque, kind, text);
    } else {
        to_stdio(w, kind, text);
    }
}

static void reportv(struct world *w, enum report_kind kind, const char *fmt, va_list ap)
{
    if (w->report != report_nothing) {
        char *text = str_vfmt(fmt, ap);
        report(w, kind, text);
        mem_free(text);
    }
}

void world_report(struct world *w, enum report_kind kind, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    reportv(w, kind, fmt, ap);
    va_end(ap);
}

void world_warn(struct world *w, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    reportv(w, REPORT_WARNING, fmt, ap);
    va_end(ap);
}

void world_report_error(struct world *w, struct error *err)
{
    report(w, REPORT_ERROR, err->msg);
    if (err->hint) {
        report(w, REPORT_PLAIN, err->hint);
    }
    error_free(err);
}

void world_fatal(struct world *w)
{
    if (w->exit_on_fatal) {
        exit(1);
    }
}
