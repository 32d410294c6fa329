/*
 * Internal snapshots of any node: done by the node's driver, or by the primary child of one that
 * has no data elsewhere.
 */
#include "ref/block/snapshot.h"

#include <errno.h>
#include "ref/block/io.h"

/* The child that holds all of n, when n's driver leaves snapshots to it. */
static struct node *fallback(struct node *n)
{
    struct child *primary = node_primary(n);
    struct child *c;
    LIST_FOREACH (c, &n->children, children_link) {
        if (c != primary && (c->role & (ROLE_DATA | ROLE_METADATA | ROLE_FILTERED))) {
            return NULL;
        }
    }
    return primary ? primary->node : NULL;
}

/* A list of snapshots is what every driver with snapshots has. */
static struct node *snapshot_layer(struct node *n)
{
    while (n && n->drv && !n->drv->snapshot_list) {
        n = fallback(n);
    }
    return n && n->drv ? n : NULL;
}

bool snapshot_can(struct node *n)
{
    if (!n->drv || n->read_only) {
        return false;
    }
    struct node *layer = snapshot_layer(n);
    return layer && layer->drv->snapshot_create;
}

int snapshot_create(struct node *n, struct snapshot_info *sn)
{
    if (!n->drv) {
        return -ENOMEDIUM;
    }
    struct node *layer = snapshot_layer(n);
    if (!layer || !layer->drv->snapshot_create) {
        return -ENOTSUP;
    }
    /* A write under way to a cluster that was its image's alone must not go to one that is shared
     * by now. */
    node_drain_begin(n);
    int ret = layer->drv->snapshot_create(layer, sn);
    node_drain_end(n);
    return ret;
}

/* What lies above the layer sees another length now. */
static int refresh_lengths(struct node *n, struct node *layer)
{
    int ret = node_refresh_length(layer);
    for (; ret == 0 && n != layer; n = fallback(n)) {
        ret = node_refresh_length(n);
    }
    return ret;
}

int snapshot_goto(struct node *n, const char *id_or_name, struct error **err)
{
    if (!n->drv) {
        return error_set(err, ENOMEDIUM, "Block driver is closed");
    }
    if (!list_empty(&n->dirty_bitmaps)) {
        return error_set(err, EBUSY, "Device has active dirty bitmaps");
    }
    struct node *layer = snapshot_layer(n);
    if (!layer || !layer->drv->snapshot_goto) {
        return error_set(err, ENOTSUP, "Block driver does not support snapshots");
    }
    node_drain_begin(n);
    int ret = layer->drv->snapshot_goto(layer, id_or_name);
    if (ret == 0) {
        ret = refresh_lengths(n, layer);
    }
    layer->write_gen++;
    node_drain_end(n);
    return ret < 0 ? error_set_errno(err, -ret, "Failed to load snapshot") : 0;
}

static int check_names(struct node *n, const char *id, const char *name, struct error **err)
{
    if (!n->drv) {
        return error_set(err, ENOMEDIUM, "Device '%s' has no medium", node_device_name(n));
    }
    if (!id && !name) {
        return error_set(err, EINVAL, "snapshot_id and name are both NULL");
    }
    return 0;
}

static int unsupported(struct node *n, const char *what, struct error **err)
{
    return error_set(err, ENOTSUP, "Block format '%s' used by device '%s' does not support %s",
                     n->drv->name, node_device_name(n), what);
}

int snapshot_delete(struct node *n, const char *id, const char *name, struct error **err)
{
    int ret = check_names(n, id, name, err);
    if (ret < 0) {
        return ret;
    }
    struct node *layer = snapshot_layer(n);
    if (!layer || !layer->drv->snapshot_delete) {
        return unsupported(n, "internal snapshot deletion", err);
    }
    node_drain_begin(n);
    ret = layer->drv->snapshot_delete(layer, id, name, err);
    node_drain_end(n);
    return ret;
}

int snapshot_list(struct node *n, struct snapshot_info **out)
{
    *out = NULL;
    if (!n->drv) {
        return -ENOMEDIUM;
    }
    struct node *layer = snapshot_layer(n);
    return layer ? layer->drv->snapshot_list(layer, out) : -ENOTSUP;
}

int snapshot_find(struct node *n, struct snapshot_info *out, const char *name)
{
    struct snapshot_info *list;
    int count = snapshot_list(n, &list);
    int found = 0;
    if (count < 0 && count != -ENOMEDIUM && count != -ENOTSUP) {
        return count;
    }
    for (int i = 0; i < count && !found; i++) {
        if (strcmp(list[i].name, name) == 0) {
            *out = list[i];
            found = 1;
        }
    }
    mem_free(list);
    return found;
}

int snapshot_find_by_id_and_name(struct node *n, const char *id, const char *name,
                                 struct snapshot_info *out, struct error **err)
{
    struct snapshot_info *list;
    int found = 0;
    int count = snapshot_list(n, &list);
    if (count < 0) {
        return error_set_errno(err, -count, "Failed to get a snapshot list");
    }
    for (int i = 0; i < count && !found; i++) {
        if ((!id || strcmp(list[i].id, id) == 0) && (!name || strcmp(list[i].name, name) == 0)) {
            *out = list[i];
            found = 1;
        }
    }
    mem_free(list);
    return found;
}

int snapshot_load(struct node *n, const char *id, const char *name, struct error **err)
{
    int ret = check_names(n, id, name, err);
    if (ret < 0) {
        return ret;
    }
    if (!n->read_only) {
        return error_set(err, EINVAL, "Device is not readonly");
    }
    if (!n->drv->snapshot_load) {
        return unsupported(n, "temporarily loading internal snapshots", err);
    }
    ret = n->drv->snapshot_load(n, id, name, err);
    return ret < 0 ? ret : node_refresh_length(n);
}
