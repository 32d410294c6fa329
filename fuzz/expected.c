/*
 * What the guest's disk must hold.  See expected.h.
 */
#include "fuzz/expected.h"

#include "ref/base/rng.h"

void expected_set(struct expected *e, int64_t offset, int64_t bytes, const void *data)
{
    unsigned n = 0;
    for (unsigned i = 0; i < e->n; i++) {
        const struct piece *old = &e->piece[i];
        if (old->offset >= offset + bytes || offset >= old->offset + old->bytes) {
            e->piece[n++] = *old;
        }
    }
    if (data && n < EXPECTED_PIECES) {
        e->piece[n++] = (struct piece){offset, bytes, hash_bytes(data, (size_t)bytes, 0)};
    }
    e->n = n;
}

void expected_cut(struct expected *e, int64_t length)
{
    expected_set(e, length, INT64_MAX - length, NULL);
}

bool expected_kept(const struct piece *piece, const void *data)
{
    return piece->hash == hash_bytes(data, (size_t)piece->bytes, 0);
}
