/*
 * The tables made from specs/vdi.yaml, compiled once.
 */
#define SPEC_TABLES
#include "specs/vdi_layout.h"

const struct spec_format *spec_vdi(void)
{
    return &vdi_spec;
}
