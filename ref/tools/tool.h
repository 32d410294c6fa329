/*
 * What the five programs share: a world for their one coroutine, reports with their prefix, exit
 * status.
 */
#ifndef BLKREF_TOOLS_TOOL_H
#define BLKREF_TOOLS_TOOL_H

#include <stdbool.h>
#include <stdio.h>
#include "ref/base/value.h"
#include "ref/engine/world.h"

struct tool {
    struct world *w;
    const char *name; /* prefix of messages: "qemu-img" */
    const char *argv0;
    int argc;
    char **argv;
    int status;          /* exit status */
    struct list objects; /* user-created objects */
};

/*
 * Makes a process and a world (profile "optimized", or BLKREF_PROFILE=reference; back end from
 * BLKREF_AIO = sync, threads, io_uring; sync by default, threads for `qemu-img convert`), runs body
 * in a coroutine, tears all down; returns tool->status.
 */
int tool_run(const char *name, int argc, char **argv, void (*body)(struct tool *t));

/* "PROG: MSG" on stderr. */
void tool_error(struct tool *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Prints err with hints and frees it. */
void tool_report(struct tool *t, struct error *err);

/* opts_parse(), with the warnings that short forms ("key" for "key=on") get. */
struct value *tool_parse_options(struct world *w, const char *text, const char *implied_key,
                                 struct error **err);

/* --object / object-add: "type,id=...,key=value"; 0 or -errno with err. */
int tool_add_object(struct tool *t, const char *text, struct error **err);

void img_body(struct tool *t);
void io_body(struct tool *t);
void nbd_body(struct tool *t);
void storage_daemon_body(struct tool *t);
void system_body(struct tool *t);

#endif
