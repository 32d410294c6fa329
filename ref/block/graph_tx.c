/*
 * Change lists: steps that were done and can be committed or taken back together.
 *
 * Each step does its work when it is added; commit finishes it, abort undoes it, in reverse order;
 * clean drops what its argument holds either way.
 */
#include "ref/block/graph.h"

#include <stddef.h>

struct step {
    struct list link;
    const struct graph_action *action;
    _Alignas(max_align_t) char arg[];
};

struct graph_tx {
    struct list steps; /* oldest first */
    size_t used;       /* bytes of room: few steps need no memory of their own */
    _Alignas(max_align_t) char room[960];
};

struct graph_tx *graph_tx_new(struct world *w)
{
    (void)w;
    struct graph_tx *tx = mem_alloc(sizeof(*tx));
    list_init(&tx->steps);
    tx->used = 0;
    return tx;
}

void *graph_tx_add(struct graph_tx *tx, const struct graph_action *a, const void *arg, size_t size)
{
    size_t need = ROUND_UP(sizeof(struct step) + size, sizeof(max_align_t));
    struct step *s;
    if (need <= sizeof(tx->room) - tx->used) {
        s = (struct step *)(tx->room + tx->used);
        tx->used += need;
    } else {
        s = mem_alloc(need);
    }
    s->action = a;
    memcpy(s->arg, arg, size);
    list_push(&tx->steps, &s->link);
    return s->arg;
}

static void clean_up(struct graph_tx *tx)
{
    struct step *s, *next;
    LIST_FOREACH_SAFE (s, next, &tx->steps, link) {
        if (s->action->clean) {
            s->action->clean(s->arg);
        }
        bool in_room = (char *)s >= tx->room && (char *)s < tx->room + sizeof(tx->room);
        if (!in_room) {
            mem_free(s);
        }
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
