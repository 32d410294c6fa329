/*
 * nbd: the name of a protocol that is not there yet.
 *
 * Models: that `nbd:` begins a URL, so that what is wrong about a command line beside it is told
 * first, as QEMU tells it.  Leaves out: everything else; opening one is refused.
 */
#include <errno.h>
#include "ref/block/node.h"
#include "ref/protocol/protocol.h"

static int nbd_parse_filename(const char *filename, struct value *opts, struct error **err)
{
    return error_set(err, ENOTSUP, "Protocol 'nbd' is not supported by this program");
}

static int nbd_open(struct node *n, struct value *opts, unsigned flags, struct error **err)
{
    return error_set(err, ENOTSUP, "Protocol 'nbd' is not supported by this program");
}

const struct block_driver driver_nbd = {
    .name = "nbd",
    .protocol = "nbd",
    .kind = DRIVER_PROTOCOL,
    .internal_only = true,
    .parse_filename = nbd_parse_filename,
    .open = nbd_open,
};
