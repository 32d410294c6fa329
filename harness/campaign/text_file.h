/*
 * Whole text files in and out.
 */
#ifndef BLKREF_HARNESS_TEXT_FILE_H
#define BLKREF_HARNESS_TEXT_FILE_H

#include "ref/base/error.h"

#define TEXT_FILE_MAX (16 << 20)

char *text_file_read(const char *path, struct error **err); /* mem_free(); NULL with err */
int text_file_write(const char *path, const char *text, struct error **err);

#endif
