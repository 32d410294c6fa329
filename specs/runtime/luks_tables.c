/*
 * The tables made from specs/luks.yaml, compiled once.
 */
#define SPEC_TABLES
#include "specs/luks_layout.h"

const struct spec_format *spec_luks(void)
{
    return &luks_spec;
}
