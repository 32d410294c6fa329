/*
 * What is told about a disk, and its check, which looks only for grains behind the end of a file.
 */
#include "ref/format/vmdk/vmdk.h"

#include <errno.h>
#include <inttypes.h>

int vmdk_info(struct node *n, struct image_info *out)
{
    const struct vmdk *s = vmdk_state(n);
    out->needs_compressed_writes = s->nr_extents > 0;
    for (unsigned i = 0; i < s->nr_extents; i++) {
        const struct vmdk_extent *e = &s->extents[i];
        int size = e->kind == VMDK_FLAT ? 0 : (int)e->grain;
        out->cluster_size = i == 0 || out->cluster_size == size ? size : 0;
        out->needs_compressed_writes = out->needs_compressed_writes && e->compressed;
    }
    return 0;
}

static struct value *extent_value(const struct vmdk_extent *e)
{
    struct value *v = value_dict();
    if (e->compressed) {
        dict_put_bool(v, "compressed", true);
    }
    dict_put_str(v, "filename", e->file->node->filename ? e->file->node->filename : "");
    dict_put_str(v, "format", e->type);
    dict_put_uint(v, "virtual-size", e->sectors * VMDK_SECTOR);
    if (e->kind != VMDK_FLAT) {
        dict_put_uint(v, "cluster-size", e->grain);
    }
    return v;
}

struct value *vmdk_specific_info(struct node *n, struct error **err)
{
    const struct vmdk *s = vmdk_state(n);
    struct value *v = value_dict(), *data = value_dict(), *extents = value_list();
    for (unsigned i = 0; i < s->nr_extents; i++) {
        list_append(extents, extent_value(&s->extents[i]));
    }
    dict_put_str(data, "create-type", s->create_type ? s->create_type : "");
    dict_put_uint(data, "cid", s->cid);
    dict_put_uint(data, "parent-cid", s->parent_cid);
    dict_put(data, "extents", extents);
    dict_put_str(v, "type", "vmdk");
    dict_put(v, "data", data);
    return v;
}

static int check_extent(struct vmdk *s, struct vmdk_extent *e)
{
    struct vmdk_map m;
    uint64_t bytes = e->sectors * VMDK_SECTOR;
    int64_t len = child_length(e->file);
    for (uint64_t at = 0; e->kind != VMDK_FLAT && at < bytes; at += m.bytes) {
        int ret = len < 0 ? (int)len : vmdk_find(s, e, at, bytes - at, &m, NULL);
        uint64_t sector = e->first + at / VMDK_SECTOR;
        if (ret < 0) {
            world_report(s->w, REPORT_PLAIN,
                         "ERROR: could not get cluster_offset for sector %" PRIu64 "\n", sector);
            return ret;
        }
        uint64_t last = m.bytes == 0 ? 0 : (m.bytes - 1) / e->grain * e->grain;
        if (m.type == VMDK_DATA && m.host + last >= (uint64_t)len) {
            sector += m.host >= (uint64_t)len
                          ? 0
                          : DIV_ROUND_UP((uint64_t)len - m.host, e->grain) * e->grain / VMDK_SECTOR;
            world_report(s->w, REPORT_PLAIN,
                         "ERROR: cluster offset for sector %" PRIu64 " points after EOF\n", sector);
            return -EINVAL;
        }
    }
    return 0;
}

int vmdk_check(struct node *n, struct check_result *res, unsigned fix)
{
    struct vmdk *s = vmdk_state(n);
    int ret = fix ? -ENOTSUP : 0;
    for (unsigned i = 0; i < s->nr_extents && ret == 0; i++) {
        ret = check_extent(s, &s->extents[i]);
    }
    return ret;
}
