/*
 * Block status and image information of qcow2.
 *
 * DATA clusters of an image with preallocated metadata may be holes below: then the layer below is
 * asked, too.
 */
#include "ref/format/qcow2/crypt.h"

#include <errno.h>

int qcow2_block_status(struct node *n, bool precise, int64_t offset, int64_t bytes,
                       struct status *out)
{
    struct qcow2 *s = qcow2_state(n);
    uint64_t count = (uint64_t)bytes, host;
    enum subcluster_type type;
    co_lock(s->w, &s->lock);
    int ret =
        s->dead ? -ENOMEDIUM : qcow2_get_host(s, (uint64_t)offset, &count, &host, &type, NULL);
    bool recurse =
        ret == 0 && !n->encrypted && type == SUBCLUSTER_NORMAL && qcow2_metadata_preallocated(s);
    co_unlock(s->w, &s->lock);
    if (ret < 0) {
        return ret;
    }
    *out = (struct status){.bytes = (int64_t)count};
    switch (type) {
    case SUBCLUSTER_NORMAL:
        out->flags = STATUS_DATA | STATUS_ALLOCATED | (recurse ? STATUS_RECURSE : 0);
        break;
    case SUBCLUSTER_COMPRESSED:
        out->flags = STATUS_DATA | STATUS_ALLOCATED | STATUS_COMPRESSED;
        break;
    case SUBCLUSTER_ZERO_PLAIN:
    case SUBCLUSTER_ZERO_ALLOC:
        out->flags = STATUS_ZERO | STATUS_ALLOCATED;
        break;
    default:
        break;
    }
    /* What the host has of an encrypted image is not what the guest reads. */
    if (!n->encrypted && (type == SUBCLUSTER_NORMAL || type == SUBCLUSTER_ZERO_ALLOC ||
                          type == SUBCLUSTER_UNALLOCATED_ALLOC)) {
        out->flags |= STATUS_OFFSET_VALID;
        out->map = (int64_t)host;
        out->file = s->data_file->node;
    }
    return 0;
}

#define PREALLOC_LOOK_MAX (1 << 22) /* refcounts and empty parts that are looked at */

bool qcow2_metadata_preallocated(struct qcow2 *s)
{
    if (s->prealloc_state == PREALLOC_KNOWN_NO || s->prealloc_state == PREALLOC_KNOWN_YES) {
        return s->prealloc_state == PREALLOC_KNOWN_YES;
    }
    int64_t used = 0, have = node_allocated_size(s->n->file->node), len = child_length(s->n->file);
    s->prealloc_state = PREALLOC_KNOWN_NO;
    if (have < 0 || len < 0) {
        return false;
    }
    /* Clearly more clusters in use than the host has space for (an eighth, and a few for rounding):
     * some are holes. */
    int64_t limit = ((have + have / 8) >> s->cluster_bits) + 4,
            clusters = (int64_t)size_to_clusters(s, (uint64_t)len);
    /* A long file may be nearly all hole: parts without a refcount block are passed over, and
     * looking has an end. */
    int64_t looked = 0;
    for (int64_t i = 0; i < clusters && used < limit && looked < PREALLOC_LOOK_MAX; i++, looked++) {
        uint64_t refcount, block = (uint64_t)i >> s->refblock_bits;
        if (block >= s->reftable_size) {
            break;
        }
        if (!(s->reftable[block] & REFT_OFFSET_MASK)) {
            i |= (int64_t)s->refblock_size - 1;
            continue;
        }
        if (qcow2_get_refcount(s, (uint64_t)i, &refcount) < 0) {
            return false;
        }
        used += refcount != 0;
    }
    if (used >= limit) {
        s->prealloc_state = PREALLOC_KNOWN_YES;
    }
    return used >= limit;
}

int qcow2_info(struct node *n, struct image_info *out)
{
    struct qcow2 *s = qcow2_state(n);
    out->cluster_size = (int)s->cluster_size;
    out->vm_state_offset =
        (int64_t)((uint64_t)s->l1_vm_state_index << (s->l2_bits + s->cluster_bits));
    out->is_dirty = s->incompatible & QCOW2_INCOMPAT_DIRTY;
    out->bitmaps = s->nb_bitmaps;
    return 0;
}

struct value *qcow2_specific_info(struct node *n, struct error **err)
{
    struct qcow2 *s = qcow2_state(n);
    struct value *d = value_dict(), *v = value_dict();
    dict_put_str(d, "compat", s->version < 3 ? "0.10" : "1.1");
    dict_put_int(d, "refcount-bits", s->refcount_bits);
    dict_put_str(d, "compression-type",
                 s->compression_type == QCOW2_COMPRESSION_ZSTD ? "zstd" : "zlib");
    if (s->version >= 3) {
        dict_put_bool(d, "lazy-refcounts", s->compatible & QCOW2_COMPAT_LAZY_REFCOUNTS);
        dict_put_bool(d, "corrupt", s->incompatible & QCOW2_INCOMPAT_CORRUPT);
        dict_put_bool(d, "extended-l2", s->extended_l2);
        if (s->image_data_file) {
            dict_put_str(d, "data-file", s->image_data_file);
        }
        if (has_data_file(s)) {
            dict_put_bool(d, "data-file-raw", data_file_is_raw(s));
        }
    }
    if (s->crypt_method != QCOW2_CRYPT_NONE) {
        dict_put(d, "encrypt", qcow2_crypt_info(s));
    }
    dict_put_str(v, "type", "qcow2");
    dict_put(v, "data", d);
    return v;
}
