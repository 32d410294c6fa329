/*
 * What the files of qcow2's amend share.
 */
#ifndef BLKREF_FORMAT_QCOW2_AMEND_H
#define BLKREF_FORMAT_QCOW2_AMEND_H

#include "ref/format/qcow2/qcow2.h"

/* Progress of several operations in a row, each in units of its own. */
struct amend_progress {
    struct node *n;
    amend_progress_fn *fn; /* NULL: nobody looks */
    void *opaque;
    int total, current, last;      /* operations, counted from 1; `last` reported */
    int processed;                 /* operations that are through */
    int64_t completed, last_total; /* units of those; of the running one */
};
void amend_report(struct amend_progress *p, int64_t done, int64_t total);

/* amend_refcount.c (locked) */
int amend_refcount_width(struct qcow2 *s, unsigned order, struct amend_progress *p,
                         struct error **err);
/* amend_expand.c: also used for "does any L1 table lead to a compressed cluster" (locked): 1, 0,
 * -errno */
int amend_has_compressed(struct qcow2 *s);

#endif
