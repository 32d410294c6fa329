/*
 * The tables made from specs/qcow2.yaml, compiled once.
 */
#define SPEC_TABLES
#include "specs/qcow2_layout.h"

const struct spec_format *spec_qcow2(void)
{
    return &qcow2_spec;
}
