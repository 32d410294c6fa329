/*
 * Programs made from a seed: image options in all their combinations, operations aligned and not.
 *
 * The same seed gives the same program on every build.
 */
#ifndef BLKREF_HARNESS_GENERATE_H
#define BLKREF_HARNESS_GENERATE_H

#include "ref/base/rng.h"
#include "trace/op.h"

enum generate_flag {
    GEN_FILES = 1,     /* images are files: every preallocation mode */
    GEN_QCOW2 = 2,     /* qcow2 only */
    GEN_VMDK = 8,      /* vmdk only */
    GEN_LUKS = 16,     /* luks only; QEMU takes seconds to create one */
    GEN_CRYPT = 32,    /* encrypted qcow2 only: AES, LUKS */
    GEN_NO_ERRORS = 4, /* nothing that must fail */
    GEN_PLAIN = 256,   /* times 1 + n: only images of the n-th plain format, see generate_flags() */
};

/* The flags that ask for images of one format; 0: not known. */
unsigned generate_flags(const char *format);

/* A program of about `ops` operations; p->ops by program_free(). */
void generate_program(struct rng *r, unsigned ops, unsigned flags, struct program *p);
/* Adds operations to a program whose image is given. */
void generate_operations(struct rng *r, unsigned ops, unsigned flags, struct program *p);
/* The n-th combination of create options that every read and write stage goes through; false at the
 * end. */
bool generate_image(unsigned n, struct program *p);

#endif
