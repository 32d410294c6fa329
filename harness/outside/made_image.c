/*
 * The image that the subject made last.  See made_image.h.
 */
#include "harness/outside/made_image.h"

#include <string.h>
#include "ref/base/mem.h"

bool made_image_fits(const struct made_image *m, const struct program *p, bool nbd)
{
    const struct program *i = &m->image;
    return m->there && m->nbd == nbd && i->size == p->size && i->backing == p->backing &&
           !strcmp(i->format, p->format) && !strcmp(i->options, p->options);
}

void made_image_keep(struct made_image *m, const struct program *p, bool nbd, struct sim_store *s)
{
    made_image_forget(m);
    m->image = *p;
    m->image.ops = NULL;
    m->image.n_ops = 0;
    m->there = true;
    m->nbd = nbd;
    m->set = disk_set_clone(sim_store_set(s));
    for (int i = 0; i < m->set.n; i++) {
        m->name[i] = str_dup(sim_store_name(s, i));
    }
}

void made_image_put(const struct made_image *m, struct sim_store *s)
{
    for (int i = 0; i < m->set.n; i++) {
        if (m->name[i]) {
            sim_store_put(s, i, m->name[i], m->set.disk[i]);
        }
    }
}

void made_image_forget(struct made_image *m)
{
    for (int i = 0; i < m->set.n; i++) {
        mem_free(m->name[i]);
    }
    disk_set_free(&m->set);
    memset(m, 0, sizeof(*m));
}
