/*
 * What an outsider's request is for: a guess, as a label.
 *
 * Models: the place (header, L1, L2, refcount structures of a qcow2 image; header and tables of
 * other formats as far as two fields tell) and the bytes.  Guest data of our programs is uniform in
 * each sector, so a write with a sector that is not uniform carries metadata (or a copy that it
 * merges with).  A wrong guess tears too much or too little, but invents no state that a disk could
 * not leave: any write may be torn.
 */
#ifndef BLKREF_HARNESS_SIM_CLASSIFY_H
#define BLKREF_HARNESS_SIM_CLASSIFY_H

#include "fault/disk.h"
#include "fault/label.h"

/* data: the bytes of a write, NULL for others. */
enum label sim_classify(const struct disk *d, const char *format, bool write, int64_t offset,
                        int64_t bytes, const void *data);

#endif
