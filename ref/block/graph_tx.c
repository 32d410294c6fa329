/*
 * Change lists: steps that were done and can be committed or taken back together.
 *
 * Each step does its work when it is added; commit finishes it, abort undoes it, in reverse order;
 * clean frees its argument either way.
 */
#include "ref/block/graph.h"

struct step {
    struct list link;
    const struct graph_action *action;
    void *arg;
};

struct graph_tx {
    struct list steps; /* oldest first */
};

struct graph_tx *graph_tx_new(struct world *w)
{
    (void)w;
    struct graph_tx *tx = mem_alloc(sizeof(*tx));
    list_init(&tx->steps);
    return tx;
}

void graph_tx_add(struct graph_tx *tx, const struct graph_action *a, void *arg)
{
    struct step *s = mem_alloc(sizeof(*s));
    s->action = a;
    s->arg = arg;
    list_push(&tx->steps, &s->link);
}

static void clean_up(struct graph_tx *tx)
{
    struct step *s, *next;
    LIST_FOREACH_SAFE (s, next, &tx->steps, link) {
        if (s->action->clean) {
            s->action->clean(s->arg);
        }
        mem_free(s);
    }
    mem_free(tx);
}

void graph_tx_commit(struct graph_tx *tx)
{
    struct step *s;
    LIST_FOREACH (s, &tx->steps, link) {
        if (s->action->commit) {
            s->action->commit(s->arg);
        }
    }
    clean_up(tx);
}

void graph_tx_abort(struct graph_tx *tx)
{
    for (struct list *l = tx->steps.prev; l != &tx->steps; l = l->prev) {
        struct step *s = LIST_ENTRY(l, struct step, link);
        if (s->action->abort) {
            s->action->abort(s->arg);
        }
    }
    clean_up(tx);
}
