/*
 * Guessing an image's format from its first bytes.
 *
 * What no driver recognises is raw.  Leaves out: the warning about that, and the guard against
 * turning a guessed raw image into something else (both the raw driver's).
 */
#include <errno.h>
#include "ref/block/graph.h"
#include "ref/block/io.h"
#include "ref/block/open_impl.h"

#define PROBE_SIZE 2048

static char *probe_describe(const struct child *c)
{
    return str_fmt("format probing of node '%s'", c->node->node_name);
}

static const struct child_class probe_class = {.name = "probe", .describe = probe_describe};

static int read_start(struct node *file, uint8_t *buf, size_t size, struct error **err)
{
    int64_t len = node_length(file);
    if (len < 0) {
        return (int)len;
    }
    len = MIN(len, (int64_t)size);
    if (len == 0) {
        return 0;
    }
    node_ref(file);
    struct child *c = graph_attach_root(file, "probe", &probe_class, ROLE_DATA | ROLE_PRIMARY,
                                        PERM_CONSISTENT_READ, PERM_ALL, NULL, err);
    if (!c) {
        return -EPERM;
    }
    int r = child_pread(c, 0, buf, len, LABEL_PROBE_READ, NULL);
    graph_detach_root(c);
    return r < 0 ? r : (int)len;
}

const struct block_driver *probe_node(struct node *file, bool *guessed_raw, struct error **err)
{
    uint8_t buf[PROBE_SIZE] = {0};
    struct error *local = NULL;
    const struct block_driver *drv = NULL;
    *guessed_raw = false;
    int n = file->sg ? 0 : read_start(file, buf, sizeof(buf), &local);
    if (n < 0) {
        if (local) {
            error_propagate(err, local);
        } else {
            error_set_errno(err, -n, "Could not read image for determining its format");
        }
        return NULL;
    }
    if (n > 0) {
        drv = driver_probe(file->w, buf, (size_t)n, file->filename ? file->filename : "");
    }
    if (!drv || strcmp(drv->name, "raw") == 0) {
        drv = driver_find(file->w, "raw");
        *guessed_raw = true;
        if (!drv) {
            error_set(err, ENOENT, "Could not determine image format: No compatible driver found");
        }
    }
    return drv;
}
