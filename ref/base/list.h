/*
 * Intrusive doubly linked lists with a sentinel head.
 */
#ifndef BLKREF_BASE_LIST_H
#define BLKREF_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>
#include "ref/base/mem.h"

struct list {
    struct list *next, *prev;
};

static inline void list_init(struct list *h)
{
    h->next = h->prev = h;
}
static inline bool list_empty(const struct list *h)
{
    return h->next == h;
}
static inline void list_insert_(struct list *n, struct list *p, struct list *x)
{
    n->prev = p;
    n->next = x;
    p->next = n;
    x->prev = n;
}
static inline void list_push(struct list *h, struct list *n)
{
    list_insert_(n, h->prev, h);
} /* tail */
static inline void list_push_front(struct list *h, struct list *n)
{
    list_insert_(n, h, h->next);
}
static inline void list_remove(struct list *n)
{
    n->prev->next = n->next;
    n->next->prev = n->prev;
    n->next = n->prev = n;
}
#define LIST_ENTRY(p, type, member) container_of(p, type, member)
#define LIST_FIRST(h, type, member) LIST_ENTRY((h)->next, type, member)
#define LIST_FOREACH(it, h, member)                                                                \
    for (it = LIST_ENTRY((h)->next, __typeof__(*it), member); &it->member != (h);                  \
         it = LIST_ENTRY(it->member.next, __typeof__(*it), member))
#define LIST_FOREACH_SAFE(it, tmp, h, member)                                                      \
    for (it = LIST_ENTRY((h)->next, __typeof__(*it), member),                                      \
        tmp = LIST_ENTRY(it->member.next, __typeof__(*it), member);                                \
         &it->member != (h); it = tmp, tmp = LIST_ENTRY(it->member.next, __typeof__(*it), member))

#endif
