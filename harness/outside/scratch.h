/*
 * Scratch folders for states that are shown to QEMU.
 *
 * Models: a folder of its own, in memory where the machine has that (states come by the thousand).
 */
#ifndef BLKREF_HARNESS_SCRATCH_H
#define BLKREF_HARNESS_SCRATCH_H

/* otherwise: the folder to make it in where there is no memory.  NULL with errno; mem_free(). */
char *scratch_new(const char *otherwise);
/* With all that is in it; frees the name, too.  NULL is fine. */
void scratch_remove(char *dir);

#endif
