/*
 * Unpacking whole blocks of images, as jobs for host_call().
 */
#ifndef BLKREF_FORMAT_UNPACK_H
#define BLKREF_FORMAT_UNPACK_H

#include <stddef.h>
#include <stdint.h>

struct unpack {
    const uint8_t *in;
    size_t in_size; /* bytes behind the end of the stream are not looked at */
    uint8_t *out;
    size_t out_size; /* all of it must be filled, and no more */
};

/* `arg` is a struct unpack; 0 or -EIO. */
int unpack_zlib(void *arg);
int unpack_bzip2(void *arg);

#endif
