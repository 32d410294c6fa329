/*
 * The tables made from specs/vpc.yaml, compiled once.
 */
#define SPEC_TABLES
#include "specs/vpc_layout.h"

const struct spec_format *spec_vpc(void)
{
    return &vpc_spec;
}
