/*
 * Planted defects of images, for tests that see a stage fail.
 */
#ifndef BLKREF_HARNESS_PLANT_H
#define BLKREF_HARNESS_PLANT_H

#include "fault/disk.h"

/* Raises the refcount of the first free cluster of a qcow2 image; no-op on anything else. */
void plant_leak(struct disk *d);
void plant_leak_file(const char *path);

#endif
