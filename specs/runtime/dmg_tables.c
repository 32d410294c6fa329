/*
 * The tables made from specs/dmg.yaml, compiled once.
 */
#define SPEC_TABLES
#include "specs/dmg_layout.h"

const struct spec_format *spec_dmg(void)
{
    return &dmg_spec;
}
