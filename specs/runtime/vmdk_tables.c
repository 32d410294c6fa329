/*
 * The tables made from specs/vmdk.yaml, compiled once.
 */
#define SPEC_TABLES
#include "specs/vmdk_layout.h"

const struct spec_format *spec_vmdk(void)
{
    return &vmdk_spec;
}
