/*
 * Run-time options of an open qcow2 image (options.c).
 */
#ifndef BLKREF_FORMAT_QCOW2_OPTIONS_H
#define BLKREF_FORMAT_QCOW2_OPTIONS_H

#include "ref/format/qcow2/qcow2.h"

struct qcow2_options {
    bool use_lazy_refcounts;
    bool discard_passthrough[DISCARD_TYPES];
    unsigned overlap_check;
    uint64_t l2_entries, refblock_entries;
    unsigned l2_entry_size;
    uint64_t cache_clean_interval;
    char *secret; /* id of the key's; owned, or NULL */
};

extern const struct opt_desc qcow2_open_options[];
/* Takes its keys out of d (flat); nothing of s changes. */
int qcow2_parse_options(const struct qcow2 *s, struct value *d, unsigned flags,
                        struct qcow2_options *o, struct error **err);
/* A new overlap template replaces all old overlap options, a new total cache size the old sizes. */
void qcow2_join_options(struct value *options, struct value *old);
/* Caches are made anew: the old ones must be clean. */
void qcow2_apply_options(struct qcow2 *s, const struct qcow2_options *o);

#endif
