/*
 * The format drivers: what gives the bytes of a protocol a meaning.
 */
#ifndef BLKREF_FORMAT_FORMAT_H
#define BLKREF_FORMAT_FORMAT_H

#include "ref/block/driver.h"

extern const struct block_driver driver_raw;
extern const struct block_driver driver_qcow2;
extern const struct block_driver driver_luks;
extern const struct block_driver driver_bochs;
extern const struct block_driver driver_cloop;
extern const struct block_driver driver_qed;
extern const struct block_driver driver_qcow;
extern const struct block_driver driver_vdi;
extern const struct block_driver driver_dmg;
extern const struct block_driver driver_vpc;
extern const struct block_driver driver_parallels;
extern const struct block_driver driver_vhdx;
extern const struct block_driver driver_vmdk;

#endif
