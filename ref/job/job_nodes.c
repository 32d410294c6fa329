/*
 * Edges from a job to its nodes.
 */
#include "ref/job/job_nodes.h"

#include <assert.h>
#include <errno.h>
#include "ref/base/mem.h"
#include "ref/block/io.h"

struct edge {
    struct list link;
    struct job_nodes *owner;
    struct child *c;
    bool blocks;
};

/* ---- the edge's class: its parent is a struct edge ---- */

static struct job *job_of(const struct child *c)
{
    return ((struct edge *)c->parent)->owner->j;
}

static char *describe(const struct child *c)
{
    const struct job *j = job_of(c);
    return str_fmt("%s job '%s'", job_type_names[j->drv->type], j->id ? j->id : "");
}

static void drained_begin(struct child *c)
{
    job_pause(job_of(c));
}

static bool drained_poll(struct child *c)
{
    return job_busy(job_of(c));
}

static void drained_end(struct child *c)
{
    job_resume(job_of(c));
}

static const struct child_class job_class = {
    .name = "job",
    .describe = describe,
    .drained_begin = drained_begin,
    .drained_poll = drained_poll,
    .drained_end = drained_end,
};

/* ---- */

static struct job_nodes *nodes_of(struct job *j)
{
    return j->nodes;
}

/* Whoever drains one of the nodes looks again. */
static void rested(struct job *j)
{
    struct edge *e;
    LIST_FOREACH (e, &nodes_of(j)->edges, link) {
        node_drain_kick(e->c->node);
    }
}

void job_nodes_init(struct job_nodes *s, struct job *j)
{
    assert(!j->nodes);
    *s = (struct job_nodes){.j = j};
    list_init(&s->edges);
    error_set(&s->reason, EBUSY, "block device is in use by block job: %s",
              job_type_names[j->drv->type]);
    j->nodes = s;
    j->rested = rested;
}

struct child *job_nodes_add(struct job_nodes *s, const char *name, struct node *n, unsigned perm,
                            unsigned shared, bool block, struct error **err)
{
    struct edge *e = mem_zalloc(sizeof(*e));
    *e = (struct edge){.owner = s, .blocks = block};
    node_ref(n);
    e->c = graph_attach_root(n, name, &job_class, 0, perm, shared, e, err);
    if (!e->c) {
        mem_free(e);
        return NULL;
    }
    list_push(&s->edges, &e->link);
    if (block) {
        node_block_all(n, s->reason);
    }
    return e->c;
}

void job_nodes_drop(struct job_nodes *s)
{
    while (!list_empty(&s->edges)) {
        struct edge *e = LIST_FIRST(&s->edges, struct edge, link);
        list_remove(&e->link);
        if (e->blocks) {
            node_unblock_all(e->c->node, s->reason);
        }
        graph_detach_root(e->c);
        mem_free(e);
    }
    s->j->rested = NULL;
    s->j->nodes = NULL;
    error_clear(&s->reason);
}
