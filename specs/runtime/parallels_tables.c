/*
 * The tables made from specs/parallels.yaml, compiled once.
 */
#define SPEC_TABLES
#include "specs/parallels_layout.h"

const struct spec_format *spec_parallels(void)
{
    return &parallels_spec;
}
