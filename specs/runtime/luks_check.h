/*
 * The spec checker of LUKS 1: judges a volume's header and the places of its key material by the
 * clauses of specs/luks.yaml.
 *
 * Models: texts, ranges, key slots, overlaps, bounds.  Leaves out: everything that needs a
 * password: whether key material gives a key, and the payload.
 */
#ifndef BLKREF_SPECS_LUKS_CHECK_H
#define BLKREF_SPECS_LUKS_CHECK_H

#include "specs/runtime/spec.h"

/*
 * header: the first 592 bytes; size: bytes of the file (or of the encryption header's space in a
 * qcow2 image, `detached`: the payload lies elsewhere, only its offset is judged).
 */
void spec_luks_check(const uint8_t *header, uint64_t size, bool detached, struct spec_report *r);

#endif
