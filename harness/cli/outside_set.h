/*
 * Sets of programs on an unmodified QEMU: all of N operations, or seeded ones, on every image of
 * outside_programs.h; each finding is held against the divergence list, as stage qemu-crash does.
 */
#ifndef BLKREF_HARNESS_OUTSIDE_SET_H
#define BLKREF_HARNESS_OUTSIDE_SET_H

#include "harness/campaign/divergence.h"
#include "harness/outside/outside_explore.h"

struct outside_set {
    struct outside *x;
    const char *subject;                /* as the divergence list calls it */
    struct outside_options crash;       /* power cuts, where faults is NULL */
    const struct fault_options *faults; /* each request goes wrong in each of these ways */
    const char *image;    /* only images whose line contains it, or is it; NULL: all */
    const char *with;     /* only programs that have an operation of that name; NULL: all */
    unsigned ops, random; /* operations of a program; or so many seeded programs */
    uint64_t seed;
    unsigned long part, parts; /* every parts-th program from part on */
    struct divergences *known;
};

/* Prints a line a finding, a line an image and the sum.  0: nothing that is not known, 1: findings,
 * -errno: a program could not be run (told on stderr). */
int outside_set_run(const struct outside_set *s);

#endif
