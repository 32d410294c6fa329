/*
 * Where data has runs of zeroes that need not be written.
 */
#include "ref/job/copy.h"

#include <assert.h>
#include "ref/base/mem.h"

/* The block of `align` bytes in which pos lies ends here, or the buffer. */
static int64_t block_end(int64_t offset, int64_t pos, int64_t bytes, int64_t align)
{
    return MIN(ROUND_DOWN(offset + pos, align) + align - offset, bytes);
}

/* End of the run of blocks from pos that are zero (or not). */
static int64_t run_end(const uint8_t *buf, int64_t offset, int64_t pos, int64_t bytes,
                       int64_t align, bool zero)
{
    while (pos < bytes) {
        int64_t end = block_end(offset, pos, bytes, align);
        if (buf_is_zero(buf + pos, (size_t)(end - pos)) != zero) {
            break;
        }
        pos = end;
    }
    return pos;
}

int64_t copy_split(const uint8_t *buf, int64_t offset, int64_t bytes, int64_t min_sparse,
                   bool *data)
{
    assert(bytes > 0 && min_sparse >= 512);
    int64_t align = (int64_t)1 << (63 - __builtin_clzll((unsigned long long)min_sparse));
    int64_t end = run_end(buf, offset, 0, bytes, align, true);
    *data = end == 0;
    while (*data) {
        end = run_end(buf, offset, end, bytes, align, false);
        int64_t zeroes = run_end(buf, offset, end, bytes, align, true);
        if (zeroes == bytes || zeroes - end >= min_sparse) {
            break;
        }
        end = zeroes;
    }
    return end;
}
