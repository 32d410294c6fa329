/*
 * Front-ends: the device models that a guest sees, as far as the block layer notices them.
 *
 * Models: attaching a backend with the permissions the model needs, and detaching.  Leaves out:
 * guests, queues, trays and error policies (no guest runs here).
 */
#ifndef BLKREF_DEVICE_FRONT_END_H
#define BLKREF_DEVICE_FRONT_END_H

#include "ref/base/options.h"
#include "ref/block/backend.h"

struct device_model {
    const char *name, *bus, *alias;
    const struct opt_desc *options;
};
/* Ends with name == NULL. */
extern const struct device_model device_models[];

struct front_end;
/*
 * `opts` (consumed): driver, drive (a backend's or node's name), id, share-rw, and nothing else;
 * messages as QEMU's
 * `-device`.  NULL with err.
 */
struct front_end *front_end_new(struct world *w, struct value *opts, struct error **err);
void front_end_free(struct front_end *f);
const struct device_model *device_model_find(const char *name);
void device_models_print(void);

#endif
