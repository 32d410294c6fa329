/*
 * What images of each format take, and which images the stages make of it.
 *
 * Models: a kind of image for each name that `campaign --format` knows: formats that can be
 * written, and "crypt", which is encrypted qcow2; its share of the programs of a campaign; the
 * operations that it takes; combinations of create options that change its layout.  Leaves out:
 * formats that nobody here can make (bochs, cloop, dmg), and VHDX with sectors of 4096 bytes, for
 * which create has no option.
 */
#ifndef BLKREF_HARNESS_IMAGE_KINDS_H
#define BLKREF_HARNESS_IMAGE_KINDS_H

#include "trace/op.h"

enum image_ability {
    IMAGE_COMPRESSES = 1,
    IMAGE_SNAPSHOTS = 2,
    IMAGE_AMENDS = 4, /* qcow2's options */
    IMAGE_SHRINKS = 8,
    IMAGE_GROWS = 16,
    IMAGE_HAS_BACKING = 32,       /* it may have a backing file */
    IMAGE_COMMITS = 64,           /* that takes what is committed from it */
    IMAGE_TAKES_COMMIT = 128,     /* from an overlay */
    IMAGE_PREALLOCATES = 256,     /* also what grows */
    IMAGE_WHOLE_GRAINS = 512,     /* each is written once, and whole */
    IMAGE_BEGINS_AS_NOISE = 1024, /* what was never written deciphers to something */
};

struct image_kind {
    const char *name, *format;
    unsigned share; /* of 100 programs of all kinds */
    unsigned can;   /* enum image_ability */
};

extern const struct image_kind image_kinds[]; /* ends with name NULL */
/* NULL: there is none. */
const struct image_kind *image_kind_named(const char *name);
/* The kind of a program's image, and what it takes with its options. */
const struct image_kind *image_kind_of(const struct program *p);
unsigned image_abilities(const struct program *p);

/*
 * The n-th image that the stages read and write make, of all kinds: format, options, backing;
 * operations and size are for the caller.  False at the end.
 */
bool image_combination(unsigned n, struct program *p);

#endif
