/*
 * The spec checker of qcow2: reads a whole image by the clauses of specs/qcow2.yaml and reports
 * every violation by clause.
 *
 * Models: header and extensions, places and bounds of all tables, refcounts recomputed, bit 63,
 * overlaps, reserved bits, snapshots, bitmaps, the encryption header's space.  It is the second
 * reading of the format beside the driver and shares only the generated layout with it.  Leaves
 * out: guest data, decompression, the external data file, repair.
 */
#ifndef BLKREF_SPECS_QCOW2_CHECK_H
#define BLKREF_SPECS_QCOW2_CHECK_H

#include "specs/runtime/image.h"

/* What the header says; for spec_qcow2_holds() and callers that want to know. */
struct spec_qcow2_info {
    uint32_t version, cluster_bits, refcount_order, nb_snapshots;
    uint64_t size, incompatible, compatible, autoclear;
    bool has_bitmaps_extension;
    uint64_t data_clusters, compressed_clusters, zero_clusters; /* of the active tables */
};

/*
 * Judges the image.  limits NULL: 4 Mi clusters, 4 GiB of work.  info may be NULL.  Returns 0 when
 * the walk came to its end (the report says what it found; a header that cannot be interpreted ends
 * the walk there), -EFBIG when a limit was reached, -ENOMEM, or the reader's error; the report then
 * holds what was found so far.
 */
int spec_qcow2_check(const struct spec_image *image, const struct spec_limits *limits,
                     struct spec_qcow2_info *info, struct spec_report *r);

/* The same for an image in memory. */
int spec_qcow2_check_memory(const uint8_t *image, uint64_t size, struct spec_qcow2_info *info,
                            struct spec_report *r);

/* For spec_report_allowed(): the conditions of the promise, opaque being a struct spec_qcow2_info.
 */
bool spec_qcow2_holds(void *opaque, const char *when);

#endif
