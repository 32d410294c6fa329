/*
 * The table of device models, and the one thing they do today: hold their backend with a guest's
 * permissions.
 */
#include "ref/device/front_end.h"

#include <errno.h>
#include <stdio.h>
#include "ref/base/mem.h"
#include "ref/block/graph.h"

struct front_end {
    const struct device_model *model;
    struct blk *blk;
};

static const struct opt_desc virtio_blk_options[] = {
    {.name = "driver", .type = OPT_STRING},
    {.name = "id", .type = OPT_STRING},
    {.name = "drive",
     .type = OPT_STRING,
     .help = "Node name or ID of a block device to use as a backend"},
    {.name = "share-rw", .type = OPT_BOOL, .def = "off"},
    {.name = NULL},
};

const struct device_model device_models[] = {
    {"virtio-blk-pci", "PCI", "virtio-blk", virtio_blk_options},
    {NULL, NULL, NULL, NULL},
};

const struct device_model *device_model_find(const char *name)
{
    for (const struct device_model *m = device_models; m->name; m++) {
        if (!strcmp(m->name, name) || (m->alias && !strcmp(m->alias, name))) {
            return m;
        }
    }
    return NULL;
}

void device_models_print(void)
{
    printf("Storage devices:\n");
    for (const struct device_model *m = device_models; m->name; m++) {
        printf("name \"%s\", bus %s", m->name, m->bus);
        if (m->alias) {
            printf(", alias \"%s\"", m->alias);
        }
        printf("\n");
    }
}

/* A named backend, or a new one around the node of that name. */
static struct blk *find_drive(struct world *w, const char *drive, struct error **err)
{
    struct blk *b = blk_find(w, drive);
    if (b) {
        blk_ref(b);
        return b;
    }
    struct node *n = node_find(w, drive);
    if (!n) {
        error_set(err, ENOENT, "Property 'virtio-blk-device.drive' can't find value '%s'", drive);
        return NULL;
    }
    b = blk_new(w, 0, PERM_ALL);
    if (blk_insert(b, n, err) < 0) {
        blk_unref(b);
        return NULL;
    }
    return b;
}

static int take_permissions(struct blk *b, bool share_rw, struct error **err)
{
    struct node *n = blk_node(b);
    if (!n) {
        return error_set(err, ENOMEDIUM, "Device needs media, but drive is empty");
    }
    unsigned perm = PERM_CONSISTENT_READ | (n->read_only ? 0 : PERM_WRITE);
    unsigned shared = PERM_CONSISTENT_READ | PERM_WRITE_UNCHANGED;
    if (share_rw) {
        shared |= PERM_WRITE;
    }
    return blk_set_perm(b, perm, shared, err);
}

struct front_end *front_end_new(struct world *w, struct value *opts, struct error **err)
{
    struct front_end *f = NULL;
    struct blk *b = NULL;
    bool share_rw = false;
    const char *name = dict_get_str(opts, "driver");
    const struct device_model *model = name ? device_model_find(name) : NULL;
    if (!model) {
        error_set(err, EINVAL, "'%s' is not a valid device model name", name ? name : "");
        goto out;
    }
    if (opts_validate(model->options, opts, err) < 0 ||
        opts_get_bool(model->options, opts, "share-rw", &share_rw, err) < 0) {
        goto out;
    }
    const char *drive = dict_get_str(opts, "drive");
    if (!drive) {
        error_set(err, EINVAL, "drive property not set");
        goto out;
    }
    b = find_drive(w, drive, err);
    if (!b) {
        goto out;
    }
    if (take_permissions(b, share_rw, err) < 0) {
        blk_unref(b);
        goto out;
    }
    f = mem_zalloc(sizeof(*f));
    f->model = model;
    f->blk = b;
out:
    value_free(opts);
    return f;
}

void front_end_free(struct front_end *f)
{
    if (f) {
        blk_unref(f->blk);
        mem_free(f);
    }
}
