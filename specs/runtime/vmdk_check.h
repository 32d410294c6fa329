/*
 * The spec checker of vmdk: reads a whole extent by the clauses of specs/vmdk.yaml and reports
 * every violation by clause.
 *
 * Models: header or footer, grain directory and tables with their redundant copies, what overlaps
 * what, markers of compressed grains; hosted and ESX (COWD) extents.  Of seSparse only the headers.
 * It is the second reading of the format beside the driver and shares only the generated layout
 * with it.  Leaves out: the descriptor's text, guest data, decompression, the chain of extents.
 */
#ifndef BLKREF_SPECS_VMDK_CHECK_H
#define BLKREF_SPECS_VMDK_CHECK_H

#include "specs/runtime/image.h"

struct spec_vmdk_info {
    uint64_t sectors, grain_size; /* of the extent; of a grain, sectors */
    uint64_t tables, grains, zeroed_grains;
    bool compressed, redundant;
};

/*
 * Judges the extent.  limits NULL: 4 Mi grains and tables, 4 GiB of work.  info may be NULL.
 * Returns 0 when the walk came to its end (the report says what it found; a header that cannot be
 * interpreted ends the walk there), -EFBIG when a limit was reached, -ENOMEM, or the reader's
 * error; the report then holds what was found so far.
 */
int spec_vmdk_check(const struct spec_image *image, const struct spec_limits *limits,
                    struct spec_vmdk_info *info, struct spec_report *r);

/* The same for an extent in memory. */
int spec_vmdk_check_memory(const uint8_t *image, uint64_t size, struct spec_vmdk_info *info,
                           struct spec_report *r);

#endif
