/*
 * Programs for exploring an unmodified QEMU, on every format that it writes.
 *
 * Offsets are in units of what the format allocates at once, lengths at most 64 KiB, so that the
 * same alphabet meets every format and states stay small.
 */
#ifndef BLKREF_HARNESS_OUTSIDE_PROGRAMS_H
#define BLKREF_HARNESS_OUTSIDE_PROGRAMS_H

#include "ref/base/rng.h"
#include "trace/op.h"

size_t outside_image_count(void);
const char *outside_image(size_t i); /* "image ..." line, without newline */
/* Program n of the exhaustive set: every sequence of `ops` letters that the format knows, on a
 * fresh and on a written image. */
size_t outside_program_count(size_t image, unsigned ops);
void outside_program(size_t image, unsigned ops, size_t n, struct program *out);
/* A seeded program of 3 to max_ops operations. */
void outside_random(size_t image, struct rng *rng, unsigned max_ops, struct program *out);

#endif
