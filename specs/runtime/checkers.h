/*
 * The checkers of whole images, by format: one line each in checkers.c.
 */
#ifndef BLKREF_SPECS_CHECKERS_H
#define BLKREF_SPECS_CHECKERS_H

#include "specs/runtime/image.h"

struct spec_checker {
    const char *format;
    const struct spec_format *(*spec)(void);
    /*
     * Whether the first bytes of a file look like the format.  head: at most 512 bytes of len, all
     * there is when the file is shorter.
     */
    bool (*probe)(const uint8_t *head, size_t len);
    /*
     * Judges the image; limits NULL: the checker's own.  0 when the walk came to its end, else
     * -errno.  *clause: the first clause whose violation the promise does not allow after a power
     * cut, NULL when all is lawful.
     */
    int (*check)(const struct spec_image *image, const struct spec_limits *limits,
                 struct spec_report *r, const char **clause);
};

/* NULL when the format has none. */
const struct spec_checker *spec_checker_find(const char *format);
const struct spec_checker *spec_checker_probe(const uint8_t *head, size_t len);

#endif
