/*
 * What the guest's disk must hold.  See promise.h.
 */
#include "fuzz/promise.h"

#include "ref/base/rng.h"

void promise_set(struct promise *p, int64_t offset, int64_t bytes, const void *data)
{
    unsigned n = 0;
    for (unsigned i = 0; i < p->n; i++) {
        const struct piece *old = &p->piece[i];
        if (old->offset >= offset + bytes || offset >= old->offset + old->bytes) {
            p->piece[n++] = *old;
        }
    }
    if (data && n < PROMISE_PIECES) {
        p->piece[n++] = (struct piece){offset, bytes, hash_bytes(data, (size_t)bytes, 0)};
    }
    p->n = n;
}

void promise_cut(struct promise *p, int64_t length)
{
    promise_set(p, length, INT64_MAX - length, NULL);
}

bool promise_kept(const struct piece *piece, const void *data)
{
    return piece->hash == hash_bytes(data, (size_t)piece->bytes, 0);
}
