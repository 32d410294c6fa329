/*
 * The filter drivers: nodes that stand between others and do not change what the guest sees.
 */
#ifndef BLKREF_FILTER_FILTER_H
#define BLKREF_FILTER_FILTER_H

#include "ref/block/driver.h"

extern const struct block_driver driver_blkdebug;
extern const struct block_driver driver_blkverify;

#endif
