/*
 * The tables made from specs/fat.yaml, compiled once.
 */
#define SPEC_TABLES
#include "specs/fat_layout.h"

const struct spec_format *spec_fat(void)
{
    return &fat_spec;
}
