/*
 * What the guest's disk must hold: pieces that were read or written, by their hashes.
 *
 * Models: an image that a check found clean keeps what is there until it is overwritten.  Leaves
 * out: pieces of which nothing is known any more (a failed write, a discard).
 */
#ifndef BLKREF_FUZZ_PROMISE_H
#define BLKREF_FUZZ_PROMISE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PROMISE_PIECES = 48 };

struct promise {
    struct piece {
        int64_t offset, bytes;
        uint64_t hash;
    } piece[PROMISE_PIECES];
    unsigned n;
};

/* The range holds data from now on; with data NULL nothing is known of it. */
void promise_set(struct promise *p, int64_t offset, int64_t bytes, const void *data);
/* The disk ends there. */
void promise_cut(struct promise *p, int64_t length);
bool promise_kept(const struct piece *piece, const void *data);

#endif
