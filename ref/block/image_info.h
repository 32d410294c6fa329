/*
 * What `info`, query-named-block-nodes and `map` say about a node, as values (keys are interface).
 */
#ifndef BLKREF_BLOCK_IMAGE_INFO_H
#define BLKREF_BLOCK_IMAGE_INFO_H

#include "ref/base/strbuf.h"
#include "ref/block/node.h"

/* ImageInfo of qapi/block-core.json (without backing-image); NULL with err. */
struct value *image_info(struct node *n, struct error **err);
/* The human text of `qemu-img info` for one image_info() value. */
void image_info_text(struct strbuf *out, const struct value *info);
/* The lines of "Format specific information" (nested keys indented by `indent` more levels),
 * without the heading. */
void image_info_specific_text(struct strbuf *out, const struct value *specific, int indent);
/* Driver's cluster size etc. of n, or of what it filters; -ENOMEDIUM, -ENOTSUP. */
int node_info(struct node *n, struct image_info *out);
/* One line of a snapshot table; NULL sn: the heading. */
void snapshot_text(struct strbuf *out, const struct snapshot_info *sn);

#endif
