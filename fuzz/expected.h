/*
 * What the guest's disk must hold: pieces that were read or written, by their hashes.
 *
 * Models: an image that a check found clean keeps what is there until it is overwritten.  Leaves
 * out: pieces of which nothing is known any more (a failed write, a discard).
 */
#ifndef BLKREF_FUZZ_EXPECTED_H
#define BLKREF_FUZZ_EXPECTED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { EXPECTED_PIECES = 48 };

struct expected {
    struct piece {
        int64_t offset, bytes;
        uint64_t hash;
    } piece[EXPECTED_PIECES];
    unsigned n;
};

/* The range holds data from now on; with data NULL nothing is known of it. */
void expected_set(struct expected *e, int64_t offset, int64_t bytes, const void *data);
/* The disk ends there. */
void expected_cut(struct expected *e, int64_t length);
bool expected_kept(const struct piece *piece, const void *data);

#endif
