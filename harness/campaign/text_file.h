/*
 * Whole text files in and out, and programs in them.
 */
#ifndef BLKREF_HARNESS_TEXT_FILE_H
#define BLKREF_HARNESS_TEXT_FILE_H

#include "ref/base/error.h"
#include "trace/op.h"

#define TEXT_FILE_MAX (64 << 20)

/* "-": standard input.  mem_free(); NULL with err, which names the file. */
char *text_file_read(const char *path, struct error **err);
/* A program's file; *text (mem_free(); text may be NULL) has what it holds besides. */
int text_file_program(const char *path, struct program *out, char **text, struct error **err);
int text_file_write(const char *path, const char *text, struct error **err);

#endif
