/*
 * Parts of creating an image: see create.h.
 */
#include "ref/format/create.h"

#include <errno.h>

struct node *format_create_file(struct world *w, const char *filename, const struct value *opts,
                                const struct opt_desc *own_table, struct error **err)
{
    struct value *rest = value_clone(opts);
    value_free(opts_take(own_table, rest));
    int ret = image_create_file(w, filename, rest, err);
    value_free(rest);
    return ret < 0
               ? NULL
               : node_open(w, filename, NULL, NULL, OPEN_RDWR | OPEN_RESIZE | OPEN_PROTOCOL, err);
}

struct node *format_take_node(struct world *w, struct value *opts, const char *key,
                              struct error **err)
{
    struct value *v = dict_take(opts, key);
    struct node *n = NULL;
    if (v && value_type(v) == VALUE_STRING) {
        n = node_open(w, NULL, value_get_str(v), NULL, 0, err);
        value_free(v);
    } else if (v) {
        n = node_open(w, NULL, NULL, v, OPEN_RDWR | OPEN_RESIZE | OPEN_PROTOCOL, err);
    } else {
        error_set(err, EINVAL, "Parameter '%s' is missing", key);
    }
    return n;
}

struct blk *format_create_blk(struct world *w, struct node *file, struct error **err)
{
    struct blk *b = blk_new(w, PERM_WRITE | PERM_RESIZE, PERM_ALL);
    int ret = blk_insert(b, file, err);
    if (ret == 0) {
        blk_set_allow_write_beyond_eof(b, true);
        ret = blk_truncate(b, 0, false, PREALLOC_OFF, 0, err);
    }
    if (ret < 0) {
        blk_unref(b);
        return NULL;
    }
    return b;
}
