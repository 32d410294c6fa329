/*
 * The one explicit list of drivers.  A new driver is a line here.
 */
#include "ref/tools/drivers.h"
#include "ref/filter/filter.h"
#include "ref/format/format.h"
#include "ref/protocol/protocol.h"

/* clang-format off: one a line */
static const struct driver_entry entries[] = {
    {.drv = &driver_file},
    {.drv = &driver_host_device},
    {.drv = &driver_null_co},
    {.drv = &driver_null_aio},
    {.drv = &driver_sim},
    {.drv = &driver_nbd},
    {.drv = &driver_vvfat},
    {.drv = &driver_blkdebug},
    {.drv = &driver_blkverify},
    {.drv = &driver_raw},
    {.drv = &driver_qcow2},
    {.drv = &driver_luks},
    {.drv = &driver_bochs},
    {.drv = &driver_cloop},
    {.drv = &driver_qed},
    {.drv = &driver_qcow},
    {.drv = &driver_vdi},
    {.drv = &driver_dmg},
    {.drv = &driver_vpc},
    {.drv = &driver_parallels},
    {.drv = &driver_vhdx},
    {.drv = &driver_vmdk},
    {.drv = NULL},
};
/* clang-format on */

const struct driver_list all_drivers = {entries};
