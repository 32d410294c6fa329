/*
 * The tables made from specs/vhdx.yaml, compiled once.
 */
#define SPEC_TABLES
#include "specs/vhdx_layout.h"

const struct spec_format *spec_vhdx(void)
{
    return &vhdx_spec;
}
