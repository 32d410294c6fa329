/*
 * What the explorers ask a format's promise (specs/FORMAT.yaml, `promise:`), by program.
 *
 * Leaves out: contents of sectors (oracle.h), and what a check may find (specs/runtime/spec.h).
 */
#ifndef BLKREF_HARNESS_PROMISE_H
#define BLKREF_HARNESS_PROMISE_H

#include "harness/sandbox/sandbox.h"

/* May the program leave lost space though nothing disturbed it? */
bool promise_leaks(const struct program *p);
/* Does the image on the set's first disk refuse to be opened for writing, until a check repaired
 * it? */
bool promise_refuses(const struct program *p, const struct disk_set *set);

#endif
