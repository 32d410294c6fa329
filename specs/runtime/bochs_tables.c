/*
 * The tables made from specs/bochs.yaml, compiled once.
 */
#define SPEC_TABLES
#include "specs/bochs_layout.h"

const struct spec_format *spec_bochs(void)
{
    return &bochs_spec;
}
