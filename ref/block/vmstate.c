/*
 * VM state: saved machine state next to the guest's disk, in the layer that has room for it.
 *
 * A driver without an area of its own hands the request to its primary child.
 */
#include <errno.h>
#include "ref/block/io_impl.h"

static int vmstate(struct node *n, struct request *r, bool save)
{
    if (!n->drv) {
        return -ENOMEDIUM;
    }
    struct child *primary = node_primary(n);
    int (*fn)(struct node *, const struct request *) =
        save ? n->drv->save_vmstate : n->drv->load_vmstate;
    int ret = -ENOTSUP;
    node_inc_in_flight(n);
    if (fn) {
        ret = fn(n, r);
    } else if (primary) {
        ret = vmstate(primary->node, r, save);
    }
    node_dec_in_flight(n);
    return MIN(ret, 0);
}

int node_load_vmstate(struct node *n, struct iov *q, int64_t pos)
{
    struct request r = {.op = REQ_READ,
                        .label = LABEL_VMSTATE_LOAD,
                        .offset = pos,
                        .bytes = (int64_t)q->size,
                        .iov = q};
    return io_check(r.offset, r.bytes) < 0 ? -EIO : vmstate(n, &r, false);
}

int node_save_vmstate(struct node *n, const struct iov *q, int64_t pos)
{
    struct request r = {.op = REQ_WRITE,
                        .label = LABEL_VMSTATE_SAVE,
                        .offset = pos,
                        .bytes = (int64_t)q->size,
                        .iov = q};
    return io_check(r.offset, r.bytes) < 0 ? -EIO : vmstate(n, &r, true);
}
