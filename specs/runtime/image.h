/*
 * What the checkers of whole images read from, and how far they go.
 */
#ifndef BLKREF_SPECS_IMAGE_H
#define BLKREF_SPECS_IMAGE_H

#include "specs/runtime/spec.h"

struct spec_image {
    /* Reads exactly len bytes inside the image; 0 or -errno. */
    int (*read)(void *opaque, uint64_t offset, void *buf, size_t len);
    void *opaque;
    uint64_t size; /* bytes of the file; what is behind reads as zeros */
};

struct spec_limits {
    uint64_t clusters; /* at most this many distinct clusters (grains ...) are tracked, 24 to 72
                          bytes each */
    uint64_t work;     /* at most this many bytes are read, entries and references visited */
};

#endif
