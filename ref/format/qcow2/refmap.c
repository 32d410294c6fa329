/*
 * Sparse counters of references to host clusters, for check: memory goes with what is referred to,
 * not with the file.
 */
#include "ref/format/qcow2/check.h"

#include <errno.h>
#include <stdlib.h>

void refmap_free(struct refmap *m)
{
    for (size_t i = 0; i < m->nb_slots; i++) {
        mem_free(m->slot[i]);
    }
    mem_free(m->slot);
    *m = (struct refmap){0};
}

/* The slot that has the page, or the empty one where it belongs. */
static struct refmap_page **slot_of(const struct refmap *m, uint64_t first)
{
    size_t i =
        (size_t)((first / REFMAP_PAGE) * UINT64_C(0x9e3779b97f4a7c15) >> 32) & (m->nb_slots - 1);
    while (m->slot[i] && m->slot[i]->first != first) {
        i = (i + 1) & (m->nb_slots - 1);
    }
    return &m->slot[i];
}

static bool grow(struct refmap *m)
{
    struct refmap old = *m;
    m->nb_slots = old.nb_slots ? old.nb_slots * 2 : 16;
    m->slot = mem_try_array(m->nb_slots, sizeof(*m->slot));
    if (!m->slot) {
        *m = old;
        return false;
    }
    for (size_t i = 0; i < old.nb_slots; i++) {
        if (old.slot[i]) {
            *slot_of(m, old.slot[i]->first) = old.slot[i];
        }
    }
    mem_free(old.slot);
    return true;
}

struct refmap_page *refmap_page(struct refmap *m, uint64_t cluster)
{
    uint64_t first = ROUND_DOWN(cluster, (uint64_t)REFMAP_PAGE);
    if (m->last && m->last->first == first) {
        return m->last;
    }
    struct refmap_page *p = m->nb_slots ? *slot_of(m, first) : NULL;
    if (p) {
        m->last = p;
    }
    return p;
}

uint32_t *refmap_at(struct refmap *m, uint64_t cluster)
{
    struct refmap_page *p = refmap_page(m, cluster);
    if (!p) {
        if (m->used * 2 >= m->nb_slots && !grow(m)) {
            return NULL;
        }
        p = mem_try_zalloc(sizeof(*p));
        if (!p) {
            return NULL;
        }
        p->first = ROUND_DOWN(cluster, (uint64_t)REFMAP_PAGE);
        *slot_of(m, p->first) = p;
        m->used++;
        m->last = p;
    }
    return &p->count[cluster % REFMAP_PAGE];
}

uint32_t refmap_get(struct refmap *m, uint64_t cluster)
{
    const struct refmap_page *p = refmap_page(m, cluster);
    return p ? p->count[cluster % REFMAP_PAGE] : 0;
}

static int by_first(const void *a, const void *b)
{
    const struct refmap_page *const *x = a, *const *y = b;
    return ((*x)->first > (*y)->first) - ((*x)->first < (*y)->first);
}

int refmap_sorted(const struct refmap *m, struct refmap_page ***pages)
{
    struct refmap_page **p = mem_try_array(m->used ? m->used : 1, sizeof(*p));
    if (!p) {
        return -ENOMEM;
    }
    size_t n = 0;
    for (size_t i = 0; i < m->nb_slots; i++) {
        if (m->slot[i]) {
            p[n++] = m->slot[i];
        }
    }
    qsort(p, n, sizeof(*p), by_first);
    *pages = p;
    return 0;
}
