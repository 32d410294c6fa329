/*
 * Attachments: state that other rooms hang off a world, by key.
 */
#include "ref/engine/internal.h"

#include <assert.h>

struct attachment {
    struct attachment *next;
    const void *key;
    void *p;
    void (*destroy)(void *p);
};

void *world_attachment(const struct world *w, const void *key)
{
    for (const struct attachment *a = w->attachments; a; a = a->next) {
        if (a->key == key) {
            return a->p;
        }
    }
    return NULL;
}

void world_attach(struct world *w, const void *key, void *p, void (*destroy)(void *p))
{
    assert(!world_attachment(w, key));
    struct attachment *a = mem_alloc(sizeof(*a));
    *a = (struct attachment){.next = w->attachments, .key = key, .p = p, .destroy = destroy};
    w->attachments = a;
}

/* The latest first. */
void attachments_free(struct world *w)
{
    while (w->attachments) {
        struct attachment *a = w->attachments;
        w->attachments = a->next;
        if (a->destroy) {
            a->destroy(a->p);
        }
        mem_free(a);
    }
}
