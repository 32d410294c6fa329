/*
 * Create jobs: one call that makes the image.
 */
#include "ref/job/create.h"

#include <errno.h>
#include "ref/base/mem.h"

struct create {
    const struct block_driver *drv; /* NULL: from the recipe */
    struct value *opts;
    const struct image_recipe *recipe;
};

static int create_run(struct job *j, struct error **err)
{
    struct create *c = j->opaque;
    job_progress_total(j, 1);
    int ret = c->drv ? c->drv->create_json(j->w, c->opts, err) : image_make(j->w, c->recipe, err);
    job_progress(j, 1);
    return ret;
}

static void create_free(struct job *j)
{
    struct create *c = j->opaque;
    value_free(c->opts);
    mem_free(c);
}

static const struct job_driver create_driver = {
    .type = JOB_CREATE, .run = create_run, .free = create_free};

static struct job *new_job(struct world *w, const char *id, const struct create *c, unsigned flags,
                           struct error **err)
{
    struct create *own = mem_zalloc(sizeof(*own));
    *own = *c;
    struct job *j = job_new(w, id, &create_driver, own, flags, err);
    if (!j) {
        value_free(own->opts);
        mem_free(own);
    }
    return j;
}

struct job *create_job_new(struct world *w, const char *id, const struct block_driver *drv,
                           struct value *opts, unsigned flags, struct error **err)
{
    if (!drv->create_json) {
        value_free(opts);
        error_set(err, ENOTSUP, "Driver does not support blockdev-create");
        return NULL;
    }
    return new_job(w, id, &(struct create){.drv = drv, .opts = opts}, flags, err);
}

struct job *create_job_from_recipe(struct world *w, const char *id,
                                   const struct image_recipe *recipe, struct error **err)
{
    return new_job(w, id, &(struct create){.recipe = recipe}, 0, err);
}
