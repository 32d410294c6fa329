/*
 * `create` as users ask for it: format name, -o text, backing file, size; what qemu-img and
 * drive-mirror share.
 */
#ifndef BLKREF_BLOCK_IMAGE_MAKE_H
#define BLKREF_BLOCK_IMAGE_MAKE_H

#include "ref/block/open.h"

struct image_recipe {
    const char *filename, *format;
    const char *options; /* -o text, or NULL */
    const char *backing_file, *backing_format;
    int64_t size;   /* bytes, -1: from the backing file or the options */
    unsigned flags; /* OPEN_NO_BACKING: do not open the backing file */
    bool quiet;     /* no "Formatting ..." line */
};
int image_make(struct world *w, const struct image_recipe *r, struct error **err);

#endif
