/*
 * The minimiser: the smallest program that still fails.
 *
 * Drops operations (halves first), then image options, then makes offsets and sizes smaller, as
 * long as the caller's test still fails; bounded by a number of attempts.
 */
#ifndef BLKREF_HARNESS_SHRINK_H
#define BLKREF_HARNESS_SHRINK_H

#include "trace/op.h"

typedef bool shrink_test(const struct program *p, void *opaque); /* true: fails as before */

/* Changes *p in place; returns the number of attempts made. */
unsigned shrink_program(struct program *p, shrink_test *fails, void *opaque, unsigned max_attempts);

#endif
