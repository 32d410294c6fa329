/*
 * QEMU's programs on the files of one state.
 *
 * Models: a scratch folder into which a state's disks are written under their own names; qemu-img
 * check, check -r and convert, and qemu-io, on the image there, each a fork of a server.  Leaves
 * out: what their answers mean (outside_look.h).
 */
#ifndef BLKREF_HARNESS_OUTSIDE_TOOLS_H
#define BLKREF_HARNESS_OUTSIDE_TOOLS_H

#include "harness/outside/outside.h"

#define TOOLS_PIECE  (256 * 1024)
#define TOOLS_GUEST  "guest.raw"  /* what tools_read() made */
#define TOOLS_BEFORE "before.raw" /* the same before the image was used further */

struct outside_tools {
    char *dir, *img_name, *io_name;
    struct forkserver *img, *io; /* when first used */
    uint8_t *buf;                /* TOOLS_PIECE bytes for all who hold the tools */
};

/* programs: as in outside_new(); dir is made when missing.  0, or -errno with err. */
int tools_open(struct outside_tools *t, const char *programs, const char *dir, struct error **err);
void tools_close(struct outside_tools *t);
char *tools_file(const struct outside_tools *t, const char *name); /* mem_free() */

/* 0 or -EIO. */
int tools_write(struct outside_tools *t, const struct capture *c, const struct disk_set *set);
/* --image-opts that name the files there, whatever names the image holds; mem_free(). */
char *tools_options(const struct outside_tools *t, const struct capture *c);

/* What qemu-img check says. */
struct complaint {
    char *wrong; /* NULL: nothing but leaks */
    char *text;  /* all it printed */
    int leaks;
};
struct complaint tools_check(struct outside_tools *t, const char *options);
void complaint_free(struct complaint *c);
void tools_repair(struct outside_tools *t, const char *options);
/* Opens for writing, does one command, flushes and closes: what a user does after the cut.  The
 * exit status. */
int tools_use(struct outside_tools *t, const char *options, const char *command,
              struct strbuf *out);

/* Offsets that could not be read. */
struct unreadable {
    int64_t *at;
    size_t n;
};
/* The guest's bytes into TOOLS_GUEST, zeroes where they cannot be read.  NULL, or what went wrong;
 * mem_free(). */
char *tools_read(struct outside_tools *t, const char *options, struct unreadable *u);

/* The line that says what is wrong: the first with "ERROR", else the first; mem_free(). */
char *telling_line(const char *text);
/* Names differ from run to run. */
const char *without_folder(const struct outside_tools *t, const char *line);

#endif
