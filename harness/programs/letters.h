/*
 * Letters: the operations that the small programs of an explorer are spelled with.
 *
 * Offsets and lengths are written in eighths of the image's cluster, and bytes besides, so that one
 * alphabet meets every cluster size.  A write's content is the number of its operation, so no two
 * look alike.  Leaves out: which letters and which images an explorer takes.
 */
#ifndef BLKREF_HARNESS_LETTERS_H
#define BLKREF_HARNESS_LETTERS_H

#include <stdbool.h>
#include "trace/op.h"

struct letter {
    enum op_kind kind;
    unsigned flags;
    int eighths, add, len_eighths, len_add;
    const char *text;
};

/* A program of one of our lists, or of an "image ..." line alone, without operations yet. */
void program_start(const char *line, struct program *out);
/* Whether image i of a list of n lines is asked for: its line contains the text, or is the text
 * where that is a whole line of the list.  NULL asks for all. */
bool program_image_wanted(const char *(*line)(size_t i), size_t n, size_t i, const char *text);
/* shift: bytes further; beside: beside the operation before it. */
void program_add_letter(struct program *p, const struct letter *l, int64_t cluster, int64_t shift,
                        bool beside);

#endif
