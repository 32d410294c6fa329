/*
 * Create: making an image as a job.
 *
 * Models: blockdev-create (a driver's own options, nested, JSON types) and creation from a recipe
 * as qemu-img does it; progress is 0 of 1, and 1 of 1 when it is over, well or not.  A creation
 * cannot be interrupted: a cancel takes effect behind it, and what was made stays.
 */
#ifndef BLKREF_JOB_CREATE_H
#define BLKREF_JOB_CREATE_H

#include "ref/block/image_make.h"
#include "ref/job/job.h"

/*
 * A job in CREATED that calls drv->create_json with opts (consumed in any case; without `driver`).
 * NULL with err: "Driver does not support blockdev-create", or what job_new() says.
 */
struct job *create_job_new(struct world *w, const char *id, const struct block_driver *drv,
                           struct value *opts, unsigned flags, struct error **err);
/* The recipe stays the caller's and must outlive the job. */
struct job *create_job_from_recipe(struct world *w, const char *id,
                                   const struct image_recipe *recipe, struct error **err);

#endif
