/*
 * Growing an image's file so that the new part reads as zeroes.
 */
#ifndef BLKREF_FORMAT_GROW_H
#define BLKREF_FORMAT_GROW_H

#include "ref/block/io.h"

/*
 * The file has `size` bytes afterwards, when it had fewer; new bytes read as zeroes: by the host
 * where it says so, else they are written from `from` on (what lies before is a gap that nothing
 * refers to).  0 or -errno.
 */
int format_grow_zeroed(struct child *file, int64_t from, int64_t size, const struct request *r);

#endif
