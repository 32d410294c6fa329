/*
 * The one explicit list of drivers.
 */
#ifndef BLKREF_TOOLS_DRIVERS_H
#define BLKREF_TOOLS_DRIVERS_H

#include "ref/block/driver.h"

extern const struct driver_list all_drivers;

#endif
