/*
 * qemu-io's frame: the session, the command table, parsing and printing.
 *
 * Models: the commands of qemu-io 7.2 with their messages; the monitor's `qemu-io` runs the same
 * commands on a node of its own.  An aio request that is done is reported when the session polls:
 * while it waits for its next line, and in aio_flush, sleep, wait_break, wait, reopen and close.
 *
 * Our extension: -L TAG on every command that sends requests labels the request, `wait TAG` waits
 * for what is labelled so, and `break` takes filters (docs/fault-rules.md).
 */
#ifndef BLKREF_TOOLS_IO_IO_H
#define BLKREF_TOOLS_IO_IO_H

#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include "ref/block/backend.h"
#include "ref/tools/tool.h"

#define IO_MAX_BYTES 2147483136LL /* largest request: INT_MAX rounded down to sectors */
#define IO_PATTERN   0xcd         /* what writes without -P write */

struct io_session {
    struct world *w;
    struct blk *blk; /* NULL: no file open */
    bool image_opts; /* --image-opts: `open` takes options instead of a name */
    bool misalign;   /* -m: buffers start off their alignment */
    bool quit;
    bool polling;      /* aio requests report as they finish, else on the next io_poll() */
    unsigned pending;  /* aio requests that have not reported */
    struct list aio;   /* those, struct aio in the order of their starts */
    struct list done;  /* those that are done, in the order of their ends */
    struct waitq idle; /* woken whenever one is done */
    struct list tags;  /* request tags in use, kept until the session ends */
};

struct io_command {
    const char *name, *alias;
    int (*run)(struct io_session *s, int argc,
               char **argv); /* 0 or -errno; prints its own messages */
    int min_args, max_args;  /* without the name; max -1: no bound */
    unsigned perm;           /* what the backend must have */
    bool no_file;            /* works without an open file */
    const char *args;        /* synopsis */
    const char *summary;
    const char *help; /* further help, or NULL */
};

/* NULL when there is no such command. */
const struct io_command *io_find(const char *name);
const struct io_command *io_table(size_t *n);
/* Runs one line; 0 or -errno. */
int io_run_line(struct io_session *s, const char *line);
/* Prints the synopsis of the command (wrong usage); returns -EINVAL. */
int io_usage(const char *command);
/* getopt() over one command's words, started anew with `restart`; prints "CMD: invalid option --
 * 'x'". */
int io_getopt(int argc, char **argv, const char *options, bool *restart);

/* ---- parsing: print the message and return < 0 on bad input ---- */
int64_t io_parse_number(struct io_session *s, const char *text);
int io_parse_pattern(const char *text); /* 0 to 255 */
/* ---- printing ---- */
/* "1.500 KiB", "64 KiB", "512 bytes". */
void io_size_text(char out[40], double value);
struct io_report {
    int64_t start;       /* CLOCK_REAL, ns */
    bool machine, quiet; /* -C, -q */
};
/* The two lines behind a finished request ("wrote N/N bytes at offset O" ...). */
void io_report_done(struct io_session *s, const struct io_report *r, const char *verb,
                    int64_t offset, int64_t count, int64_t total, int ops);
void io_dump(const uint8_t *buf, int64_t offset, int64_t len);
/* Aligned memory for requests, filled with `byte`; NULL after a message. */
uint8_t *io_alloc(struct io_session *s, size_t len, int byte);
void io_free(struct io_session *s, uint8_t *buf);
/* A copy of the tag that lives as long as the session. */
const char *io_tag(struct io_session *s, const char *tag);
/* Was something labelled with a tag that the glob matches? */
bool io_tag_known(const struct io_session *s, const char *glob);
/* Reports the aio requests that are done. */
void io_poll(struct io_session *s);
/* Waits for all aio requests. */
void io_wait_idle(struct io_session *s);

/* Opens; NULL name: everything is in options (consumed).  0 or -errno after a message. */
int io_open_file(struct io_session *s, const char *name, unsigned flags, bool writethrough,
                 bool force_share, struct value *options);

#define IO_COMMAND(name) int io_cmd_##name(struct io_session *s, int argc, char **argv)
IO_COMMAND(abort);
IO_COMMAND(aio_flush);
IO_COMMAND(aio_read);
IO_COMMAND(aio_write);
IO_COMMAND(alloc);
IO_COMMAND(break);
IO_COMMAND(close);
IO_COMMAND(discard);
IO_COMMAND(flush);
IO_COMMAND(help);
IO_COMMAND(info);
IO_COMMAND(length);
IO_COMMAND(map);
IO_COMMAND(open);
IO_COMMAND(quit);
IO_COMMAND(read);
IO_COMMAND(readv);
IO_COMMAND(remove_break);
IO_COMMAND(reopen);
IO_COMMAND(resume);
IO_COMMAND(sigraise);
IO_COMMAND(sleep);
IO_COMMAND(truncate);
IO_COMMAND(wait);
IO_COMMAND(wait_break);
IO_COMMAND(write);
IO_COMMAND(writev);

#endif
