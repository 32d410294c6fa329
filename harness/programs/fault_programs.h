/*
 * Programs for the fault explorer that go on behind an operation with many steps, so that what it
 * left half done in memory or on disk is used.
 */
#ifndef BLKREF_HARNESS_FAULT_PROGRAMS_H
#define BLKREF_HARNESS_FAULT_PROGRAMS_H

#include "trace/op.h"

size_t fault_program_count(void);
void fault_program(size_t n, struct program *out);

#endif
