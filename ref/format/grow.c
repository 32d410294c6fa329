/*
 * Growing an image's file.  See grow.h.
 */
#include "ref/format/grow.h"

#include <errno.h>
#include "ref/base/mem.h"

int format_grow_zeroed(struct child *file, int64_t from, int64_t size, const struct request *r)
{
    int64_t len = child_length(file);
    if (len < 0 || len >= size) {
        return len < 0 ? (int)len : 0;
    }
    int ret = child_truncate(file, size, false, PREALLOC_OFF, REQ_ZERO_GROWN, NULL);
    if (ret != -ENOTSUP) {
        return ret;
    }
    ret = child_truncate(file, size, false, PREALLOC_OFF, 0, NULL);
    from = MAX(from, len);
    return ret < 0 ? ret : child_pwrite_zeroes(file, from, size - from, 0, LABEL_PREALLOCATE, r);
}
