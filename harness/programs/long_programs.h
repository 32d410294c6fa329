/*
 * Long programs: two dozen seeded operations on images with more metadata than the caches hold.
 */
#ifndef BLKREF_HARNESS_LONG_PROGRAMS_H
#define BLKREF_HARNESS_LONG_PROGRAMS_H

#include "ref/base/rng.h"
#include "trace/op.h"

size_t long_image_count(void);
const char *long_image(size_t i); /* its line, without newline */
/* A program on that image; program_free(). */
void long_program(size_t image, struct rng *rng, struct program *out);

#endif
