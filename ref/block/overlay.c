/*
 * Temporary overlays: an image opened so that what is written vanishes when it is closed.
 *
 * A qcow2 file in the directory for temporary files, unlinked as soon as it is open, with the image
 * as its backing file.  Leaves out: TMPDIR.
 */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>
#include "ref/block/graph.h"
#include "ref/block/io.h"
#include "ref/block/open_impl.h"
#include "ref/engine/host.h"

#define TRIES 100

/* A name that did not exist and does now; mem_free().  NULL with err. */
static char *make_file(struct world *w, struct error **err)
{
    static const char digits[] = "abcdefghijklmnopqrstuvwxyz0123456789";
    for (int tries = 1;; tries++) {
        char *name = str_dup("/var/tmp/vl.XXXXXX");
        for (char *p = strchr(name, 'X'); *p; p++) {
            *p = digits[rng_below(world_rng(w), sizeof(digits) - 1)];
        }
        int fd = host_open(w, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (fd >= 0) {
            host_close(w, fd);
            return name;
        }
        if (fd != -EEXIST || tries == TRIES) {
            error_set_errno(err, -fd, "Could not open temporary file '%s'", name);
            mem_free(name);
            return NULL;
        }
        mem_free(name);
    }
}

static int unlink_file(void *arg)
{
    return unlink(arg) < 0 ? -errno : 0;
}

static struct node *open_overlay(struct world *w, const struct block_driver *qcow2,
                                 const char *name, int64_t size, unsigned flags, struct error **err)
{
    struct value *o = value_dict();
    char *text = str_fmt("%lld", (long long)size);
    dict_put_str(o, "size", text);
    mem_free(text);
    int r = image_create(w, qcow2, name, o, err);
    value_free(o);
    if (r < 0) {
        error_prepend(err, "Could not create temporary overlay '%s': ", name);
        return NULL;
    }
    o = value_dict();
    dict_put_str(o, "driver", "qcow2");
    dict_put_str(o, "file.driver", "file");
    dict_put_str(o, "file.filename", name);
    return node_open(w, NULL, NULL, o, flags | OPEN_NO_FLUSH, err);
}

struct node *open_temporary_overlay(struct node *base, unsigned flags, struct error **err)
{
    struct world *w = base->w;
    const struct block_driver *qcow2 = driver_find(w, "qcow2");
    int64_t size = node_length(base);
    if (!qcow2) {
        error_set(err, ENOTSUP, "Temporary overlays need the driver 'qcow2'");
        return NULL;
    }
    if (size < 0) {
        error_set_errno(err, (int)-size, "Could not get image size");
        return NULL;
    }
    char *name = make_file(w, err);
    if (!name) {
        return NULL;
    }
    struct node *top = open_overlay(w, qcow2, name, size, flags, err);
    host_call(w, unlink_file, name);
    mem_free(name);
    if (top && graph_append(top, base, err) < 0) {
        node_unref(top);
        top = NULL;
    }
    return top;
}
