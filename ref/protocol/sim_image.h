/*
 * A simulated disk as the spec checkers of whole images read it.
 */
#ifndef BLKREF_PROTOCOL_SIM_IMAGE_H
#define BLKREF_PROTOCOL_SIM_IMAGE_H

#include "fault/disk.h"
#include "specs/runtime/image.h"

static inline int sim_image_read(void *opaque, uint64_t offset, void *buf, size_t len)
{
    disk_read(opaque, (int64_t)offset, buf, len);
    return 0;
}

/* All of the disk as it is just now; borrowed. */
static inline struct spec_image sim_image(struct disk *d)
{
    return (struct spec_image){.read = sim_image_read, .opaque = d, .size = (uint64_t)disk_size(d)};
}

#endif
