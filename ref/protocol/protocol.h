/*
 * The protocol drivers: what stands at the bottom of a graph.
 */
#ifndef BLKREF_PROTOCOL_PROTOCOL_H
#define BLKREF_PROTOCOL_PROTOCOL_H

#include "ref/block/driver.h"

extern const struct block_driver driver_file;
extern const struct block_driver driver_host_device;
extern const struct block_driver driver_null_co;
extern const struct block_driver driver_null_aio;
extern const struct block_driver driver_sim;
extern const struct block_driver driver_nbd;
extern const struct block_driver driver_vvfat;

#endif
