/*
 * What creating an image has in common, whatever the format.
 */
#ifndef BLKREF_FORMAT_CREATE_H
#define BLKREF_FORMAT_CREATE_H

#include "ref/block/backend.h"

/*
 * The protocol file `filename`, made new and opened for writing; of opts, what own_table has is not
 * handed down.  The caller owns a reference; NULL with err.
 */
struct node *format_create_file(struct world *w, const char *filename, const struct value *opts,
                                const struct opt_desc *own_table, struct error **err);
/* A node by name, or opened from nested options, taken out of opts; the caller owns a reference.
 * NULL with err. */
struct node *format_take_node(struct world *w, struct value *opts, const char *key,
                              struct error **err);
/* A backend on `file`, which is cut to nothing; may write behind its end. NULL with err. */
struct blk *format_create_blk(struct world *w, struct node *file, struct error **err);

#endif
