/*
 * The image that the subject made last.
 *
 * Models: programs on the same image are explored one after the other; the subject makes the image
 * once, later captures begin with a copy of its disks.  Leaves out: making it (outside.c).
 */
#ifndef BLKREF_HARNESS_MADE_IMAGE_H
#define BLKREF_HARNESS_MADE_IMAGE_H

#include "harness/sim/sim_store.h"
#include "trace/op.h"

struct made_image {
    struct program image; /* without operations */
    bool there, nbd;      /* nbd: made on exports of a fixed size */
    struct disk_set set;
    char *name[DISK_SET_MAX]; /* NULL: no such disk */
};

/* Is it p's image? */
bool made_image_fits(const struct made_image *m, const struct program *p, bool nbd);
/* Keeps what the store holds as p's image; what was kept before is forgotten. */
void made_image_keep(struct made_image *m, const struct program *p, bool nbd, struct sim_store *s);
/* Puts the disks into a store that has none, but for reserved names. */
void made_image_put(const struct made_image *m, struct sim_store *s);
void made_image_forget(struct made_image *m);

#endif
