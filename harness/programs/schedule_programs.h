/*
 * Programs for the schedule explorer: each pair of operations beside each other, and seeded groups
 * of three.
 */
#ifndef BLKREF_HARNESS_SCHEDULE_PROGRAMS_H
#define BLKREF_HARNESS_SCHEDULE_PROGRAMS_H

#include "ref/base/rng.h"
#include "trace/op.h"

size_t schedule_image_count(void);
const char *schedule_image(size_t i); /* "image ..." line, without newline */
/* Pair n of image i: two letters of the alphabet beside each other, behind each of the preludes. */
size_t schedule_pair_count(void);
void schedule_pair(size_t image, size_t n, struct program *out);
/* Parts of one block, in pairs; and three of which one uses a cluster, one gives it up and one may
 * be given it. */
size_t schedule_close_count(void);
void schedule_close(size_t image, size_t n, struct program *out);
/* One relies on what the other has entered in memory, and may fail to write. */
size_t schedule_reliant_count(void);
void schedule_reliant(size_t image, size_t n, struct program *out);
size_t schedule_reuse_count(void);
void schedule_reuse(size_t image, size_t n, struct program *out);
/* A request in flight beside what drains. */
size_t schedule_drain_count(void);
void schedule_drain(size_t image, size_t n, struct program *out);
/* A prelude, two lines of two to four operations each beside each other, and a look at the end. */
void schedule_random(size_t image, struct rng *rng, struct program *out);

#endif
