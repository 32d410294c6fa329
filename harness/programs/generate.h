/*
 * Programs made from a seed: image options in all their combinations, operations aligned and not.
 *
 * The same seed gives the same program on every build.
 */
#ifndef BLKREF_HARNESS_GENERATE_H
#define BLKREF_HARNESS_GENERATE_H

#include "harness/programs/image_kinds.h"
#include "ref/base/rng.h"
#include "trace/op.h"

enum generate_flag {
    GEN_FILES = 1,     /* images are files: every preallocation mode */
    GEN_NO_ERRORS = 2, /* nothing that must fail */
};

/*
 * A program of about `ops` operations; p->ops by program_free().  kind: of its image; NULL: drawn,
 * each kind by its share.
 */
void generate_program(struct rng *r, unsigned ops, unsigned flags, const struct image_kind *kind,
                      struct program *p);
/* Adds operations to a program whose image is given. */
void generate_operations(struct rng *r, unsigned ops, unsigned flags, struct program *p);
/* The n-th image that the stages read and write go through, with its size; false at the end. */
bool generate_image(unsigned n, struct program *p);

#endif
