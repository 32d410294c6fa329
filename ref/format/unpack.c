/*
 * Unpacking whole blocks: a stream must end, with its checksum right, just where the block is full.
 */
#include "ref/format/unpack.h"

#include <bzlib.h>
#include <errno.h>
#include <stdbool.h>
#include <zlib.h>

int unpack_zlib(void *arg)
{
    struct unpack *u = arg;
    z_stream z = {.next_in = (uint8_t *)(uintptr_t)u->in,
                  .avail_in = (uInt)u->in_size,
                  .next_out = u->out,
                  .avail_out = (uInt)u->out_size};
    if (inflateInit(&z) != Z_OK) {
        return -EIO;
    }
    int ret = inflate(&z, Z_FINISH);
    bool whole = ret == Z_STREAM_END && z.avail_out == 0;
    inflateEnd(&z);
    return whole ? 0 : -EIO;
}

int unpack_bzip2(void *arg)
{
    struct unpack *u = arg;
    bz_stream z = {.next_in = (char *)(uintptr_t)u->in,
                   .avail_in = (unsigned)u->in_size,
                   .next_out = (char *)u->out,
                   .avail_out = (unsigned)u->out_size};
    if (BZ2_bzDecompressInit(&z, 0, 0) != BZ_OK) {
        return -EIO;
    }
    int ret = BZ2_bzDecompress(&z);
    bool whole = ret == BZ_STREAM_END && z.avail_out == 0;
    BZ2_bzDecompressEnd(&z);
    return whole ? 0 : -EIO;
}
