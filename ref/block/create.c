/*
 * Creating images: checks the options against the driver's table and the protocol's, then calls the
 * driver.
 *
 * Options that only the protocol driver below knows ("nocow") are allowed for formats and handed
 * down. Leaves out: what `create` prints, and the size taken from a backing file (the tools').
 */
#include <errno.h>
#include <stdlib.h>
#include "ref/base/options.h"
#include "ref/block/io.h"
#include "ref/block/open.h"

static size_t table_len(const struct opt_desc *t)
{
    size_t n = 0;
    while (t && t[n].name) {
        n++;
    }
    return n;
}

struct opt_desc *image_create_table(const struct block_driver *drv,
                                    const struct block_driver *protocol)
{
    const struct opt_desc *a = drv->create_options;
    const struct opt_desc *b = protocol && protocol != drv ? protocol->create_options : NULL;
    size_t n = table_len(a);
    struct opt_desc *t = mem_array(n + table_len(b) + 1, sizeof(*t));
    if (n) {
        memcpy(t, a, n * sizeof(*t));
    }
    for (; b && b->name; b++) {
        if (!opts_find(t, b->name)) {
            t[n++] = *b;
        }
    }
    return t;
}

/* Formats need a protocol that can create, or a file that is there already. */
static int find_protocol(struct world *w, const struct block_driver *drv, const char *filename,
                         const struct block_driver **protocol, struct error **err)
{
    *protocol = NULL;
    if (!drv->create) {
        return error_set(err, ENOTSUP, "Format driver '%s' does not support image creation",
                         drv->name);
    }
    if (drv->kind == DRIVER_PROTOCOL) {
        return 0;
    }
    *protocol = driver_for_filename(w, filename, true, err);
    if (!*protocol) {
        return -EINVAL;
    }
    if (!(*protocol)->create_options && !(*protocol)->create) {
        return error_set(err, ENOTSUP, "Protocol driver '%s' does not support image creation",
                         (*protocol)->name);
    }
    return 0;
}

int image_create_check(struct world *w, const struct block_driver *drv, const char *filename,
                       const struct value *opts, struct error **err)
{
    const struct block_driver *protocol;
    int r = find_protocol(w, drv, filename, &protocol, err);
    if (r < 0) {
        return r;
    }
    struct opt_desc *t = image_create_table(drv, protocol);
    /* Enumerations are judged by the driver, after the caller said what it is about to make. */
    for (struct opt_desc *d = t; d->name; d++) {
        if (d->type == OPT_ENUM) {
            d->type = OPT_STRING;
        }
    }
    r = opts_validate(t, opts, err);
    mem_free(t);
    return r;
}

int image_create(struct world *w, const struct block_driver *drv, const char *filename,
                 struct value *opts, struct error **err)
{
    const struct block_driver *protocol;
    struct error *local = NULL;
    int r = find_protocol(w, drv, filename, &protocol, err);
    if (r < 0) {
        return r;
    }
    struct opt_desc *t = image_create_table(drv, protocol);
    r = opts_validate(t, opts, err);
    mem_free(t);
    if (r < 0) {
        return r;
    }
    r = drv->create(w, filename, opts, &local);
    if (r < 0 && !local) {
        error_set_errno(&local, -r, "Could not create image");
    }
    error_propagate(err, local);
    return r;
}

/* A protocol that cannot create may still have the file: it is cut to nothing and written anew. */
static int reuse_file(struct world *w, const struct block_driver *drv, const char *filename,
                      struct error **err)
{
    struct error *local = NULL;
    struct value *o = value_dict();
    dict_put_str(o, "driver", drv->name);
    struct node *n =
        node_open(w, filename, NULL, o, OPEN_RDWR | OPEN_RESIZE | OPEN_PROTOCOL, &local);
    if (!n) {
        error_prepend(
            &local,
            "Protocol driver '%s' does not support image creation, and opening the image failed: ",
            drv->name);
        error_propagate(err, local);
        return -EINVAL;
    }
    node_unref(n);
    return 0;
}

int image_create_file(struct world *w, const char *filename, struct value *opts, struct error **err)
{
    const struct block_driver *drv = driver_for_filename(w, filename, true, err);
    if (!drv) {
        return -ENOENT;
    }
    if (!drv->create) {
        return reuse_file(w, drv, filename, err);
    }
    /* Only what the protocol knows goes down. */
    struct value *own = value_dict();
    struct dict_iter it;
    if (opts) {
        DICT_FOREACH (it, opts) {
            if (opts_find(drv->create_options, it.key)) {
                dict_put(own, it.key, value_clone(it.value));
            }
        }
    }
    struct error *local = NULL;
    int r = drv->create(w, filename, own, &local);
    if (r < 0 && !local) {
        error_set_errno(&local, -r, "Could not create '%s'", filename);
    }
    error_propagate(err, local);
    value_free(own);
    return r;
}
