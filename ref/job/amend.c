/*
 * Amend jobs: one call of the driver that changes the image.
 */
#include "ref/job/amend.h"

#include <assert.h>
#include <errno.h>
#include "ref/base/mem.h"

struct amend {
    struct node *n; /* a reference */
    struct value *opts;
    bool flat, force;
};

/* The driver says how far it is in units of its own, which it may change on the way. */
static void follow(struct node *n, int64_t done, int64_t total, void *opaque)
{
    struct job *j = opaque;
    job_progress_total(j, total);
    job_progress(j, done - j->done);
}

static int amend_run(struct job *j, struct error **err)
{
    struct amend *a = j->opaque;
    const struct block_driver *drv = a->n->drv;
    if (!drv) {
        return error_set(err, ENOMEDIUM, "Node '%s' has no medium", a->n->node_name);
    }
    if (a->flat) {
        return drv->amend(a->n, a->opts, follow, j, a->force, err);
    }
    job_progress_total(j, 1);
    int ret = drv->amend_json(a->n, a->opts, a->force, err);
    job_progress(j, 1);
    return ret;
}

static void amend_clean(struct job *j)
{
    struct amend *a = j->opaque;
    node_unref(a->n);
    a->n = NULL;
}

static void amend_free(struct job *j)
{
    struct amend *a = j->opaque;
    assert(!a->n);
    value_free(a->opts);
    mem_free(a);
}

static const struct job_driver amend_driver = {
    .type = JOB_AMEND, .run = amend_run, .clean = amend_clean, .free = amend_free};

static struct job *new_job(const char *id, const struct amend *a, unsigned flags,
                           struct error **err)
{
    struct amend *own = mem_zalloc(sizeof(*own));
    *own = *a;
    struct job *j = job_new(a->n->w, id, &amend_driver, own, flags, err);
    if (j) {
        node_ref(own->n);
    } else {
        value_free(own->opts);
        mem_free(own);
    }
    return j;
}

struct job *amend_job_new(const char *id, struct node *n, const struct block_driver *drv,
                          struct value *opts, bool force, unsigned flags, struct error **err)
{
    if (n->drv != drv) {
        error_set(err, EINVAL, "x-blockdev-amend doesn't support changing the block driver");
    } else if (!drv->amend_json) {
        error_set(err, ENOTSUP, "Driver does not support x-blockdev-amend");
    } else {
        return new_job(id, &(struct amend){.n = n, .opts = opts, .force = force}, flags, err);
    }
    value_free(opts);
    return NULL;
}

struct job *amend_job_flat(const char *id, struct node *n, struct value *opts, bool force,
                           struct error **err)
{
    assert(n->drv->amend);
    return new_job(id, &(struct amend){.n = n, .opts = opts, .flat = true, .force = force}, 0, err);
}
