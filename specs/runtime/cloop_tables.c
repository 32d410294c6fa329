/*
 * The tables made from specs/cloop.yaml, compiled once.
 */
#define SPEC_TABLES
#include "specs/cloop_layout.h"

const struct spec_format *spec_cloop(void)
{
    return &cloop_spec;
}
