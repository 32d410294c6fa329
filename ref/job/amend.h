/*
 * Amend: changing the creation options of an image as a job.
 *
 * Models: x-blockdev-amend (a driver's own options, nested, JSON types; progress is 0 of 1 and then
 * 1 of 1) and `qemu-img amend` (flat options; progress as the driver reports it).  The node is held
 * while the job lives; it cannot be interrupted: a cancel takes effect behind it.
 */
#ifndef BLKREF_JOB_AMEND_H
#define BLKREF_JOB_AMEND_H

#include "ref/block/node.h"
#include "ref/job/job.h"

/*
 * x-blockdev-amend: a job in CREATED for node n, which must be one of driver drv; opts (without
 * `driver`) are consumed in any case.  NULL with err.
 */
struct job *amend_job_new(const char *id, struct node *n, const struct block_driver *drv,
                          struct value *opts, bool force, unsigned flags, struct error **err);
/* Flat options, checked against n->drv->amend_options, which must exist; consumed in any case. */
struct job *amend_job_flat(const char *id, struct node *n, struct value *opts, bool force,
                           struct error **err);

#endif
