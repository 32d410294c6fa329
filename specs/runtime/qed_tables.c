/*
 * The tables made from specs/qed.yaml, compiled once.
 */
#define SPEC_TABLES
#include "specs/qed_layout.h"

const struct spec_format *spec_qed(void)
{
    return &qed_spec;
}
