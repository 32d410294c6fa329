/*
 * The spec checkers of formats that are one file and need nothing but its bytes.
 *
 * Each reads a whole image by the clauses of specs/<format>.yaml and reports every violation by
 * clause: the second reading of the format beside the driver, which shares only the generated
 * layout with it.  What each models and leaves out stands at the head of its <format>_check.c.
 *
 * limits NULL: those of walk.h.  Each returns 0 when the walk came to its end (the report says what
 * it found; a header that cannot be interpreted ends the walk there), -EFBIG when a limit was
 * reached, -ENOMEM, or the reader's error; the report then holds what was found so far.
 */
#ifndef BLKREF_SPECS_FORMAT_CHECKS_H
#define BLKREF_SPECS_FORMAT_CHECKS_H

#include "specs/runtime/image.h"

/* What the promise's conditions (`when`) ask about the image. */
struct spec_state {
    const char *condition; /* the one that holds, or NULL */
};

typedef int spec_format_check(const struct spec_image *image, const struct spec_limits *limits,
                              struct spec_state *state, struct spec_report *r);

spec_format_check spec_qed_check; /* condition "dirty": the need-check feature */
spec_format_check spec_qcow_check;
spec_format_check spec_vdi_check;
spec_format_check spec_vpc_check;
spec_format_check spec_bochs_check;
spec_format_check spec_cloop_check;
spec_format_check spec_dmg_check;
spec_format_check spec_vhdx_check;      /* condition "log": there are changes to replay */
spec_format_check spec_parallels_check; /* condition "in_use": it was not closed */

#endif
