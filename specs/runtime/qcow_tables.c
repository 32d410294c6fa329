/*
 * The tables made from specs/qcow.yaml, compiled once.
 */
#define SPEC_TABLES
#include "specs/qcow_layout.h"

const struct spec_format *spec_qcow(void)
{
    return &qcow_spec;
}
