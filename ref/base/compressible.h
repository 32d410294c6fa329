/*
 * Is it worth a compressor's time?
 */
#ifndef BLKREF_BASE_COMPRESSIBLE_H
#define BLKREF_BASE_COMPRESSIBLE_H

#include <stdbool.h>
#include <stddef.h>

/*
 * False when data looks so much like noise (encrypted, compressed already) that deflate or zstd
 * would hardly make it smaller; true is no promise.  Takes a tenth of deflate's time on noise, and
 * next to nothing on text.  A few KiB are never called noise.
 */
bool buf_compressible(const void *data, size_t len);

#endif
