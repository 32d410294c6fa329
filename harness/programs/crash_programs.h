/*
 * Programs for the crash and fault explorers: a small exhaustive set, and seeded ones.
 */
#ifndef BLKREF_HARNESS_CRASH_PROGRAMS_H
#define BLKREF_HARNESS_CRASH_PROGRAMS_H

#include "ref/base/rng.h"
#include "trace/op.h"

/* Images that differ in what metadata is written, and in which order. */
size_t crash_image_count(void);
const char *crash_image(size_t i); /* "image ..." line, without newline */
/* Its format, by its line. */
const char *crash_image_format(size_t i);
/*
 * Program n of the exhaustive set of an image: every sequence of `ops` letters of the alphabet, on
 * a fresh and on a written image.  A flush is a letter, so what lies between two others may be
 * durable or not.  The number of programs is the same for all images.
 */
size_t crash_program_count(unsigned ops);
void crash_program(size_t image, unsigned ops, size_t n, struct program *out);
/* A seeded program of 3 to `max_ops` operations on image i. */
void crash_random(size_t image, struct rng *rng, unsigned max_ops, struct program *out);
/* Hand-made programs that reach the labels which small programs do not; count 0 to n - 1. */
size_t crash_special_count(void);
void crash_special(size_t n, struct program *out);

#endif
